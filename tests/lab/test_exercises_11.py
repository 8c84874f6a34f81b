"""The checkers of lesson 11: right answers pass in any style, and mistakes are named."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

from apt_minimal.course import lesson_11 as exercises
from apt_minimal.lab.read.rankings import lengths_from

# 11.1


def by_leaving_out(q, k, v, p_k, p_v, gone):
    kept = [i for i in range(p_k.shape[2]) if i not in gone]
    return F.scaled_dot_product_attention(q, torch.cat([p_k[:, :, kept], k], 2), torch.cat([p_v[:, :, kept], v], 2))


def by_masking(q, k, v, p_k, p_v, gone, value=-math.inf, when="before", position=0, over=-1):
    scores = torch.einsum("bhnd,bhkd->bhnk", q, torch.cat([p_k, k], 2)) / q.shape[-1] ** 0.5
    columns = [position + i for i in gone]
    if when == "before":
        scores[..., columns] = value
    weights = scores.softmax(over)
    if when == "after":
        weights[..., columns] = 0.0
    return weights @ torch.cat([p_v, v], 2)


def by_renormalising(q, k, v, p_k, p_v, gone):
    scores = q @ torch.cat([p_k, k], 2).transpose(2, 3) / math.sqrt(q.shape[3])
    weights = scores.double().softmax(-1)
    kept = torch.ones(scores.shape[-1], dtype=torch.float64)
    kept[gone] = 0
    weights = weights * kept
    return (weights / weights.sum(-1, keepdim=True) @ torch.cat([p_v, v], 2).double()).to(q.dtype)


def by_a_mask(q, k, v, p_k, p_v, gone):
    mask = torch.ones(p_k.shape[2] + k.shape[2], dtype=torch.bool)
    mask[gone] = False
    return F.scaled_dot_product_attention(q, torch.cat([p_k, k], 2), torch.cat([p_v, v], 2), attn_mask=mask[None])


def zeroed(*parts):
    def answer(q, k, v, p_k, p_v, gone):
        for name, part in (("key", p_k), ("value", p_v)):
            if name in parts:
                part[:, :, gone] = 0.0
        return by_leaving_out(q, k, v, p_k, p_v, [])

    return answer


def keeping_only(q, k, v, p_k, p_v, gone):
    return by_leaving_out(q, k, v, p_k, p_v, [i for i in range(p_k.shape[2]) if i not in gone])


def keeping_first_values(q, k, v, p_k, p_v, gone):
    kept = [i for i in range(p_k.shape[2]) if i not in gone]
    keys, values = torch.cat([p_k[:, :, kept], k], 2), torch.cat([p_v[:, :, : len(kept)], v], 2)
    return F.scaled_dot_product_attention(q, keys, values)


def unscaled(q, k, v, p_k, p_v, gone):
    return by_leaving_out(q * q.shape[-1] ** 0.5, k, v, p_k, p_v, gone)


# 11.2


def by_flatten(given, without, mask):
    keep = mask.bool()[..., None]
    return torch.stack(
        [(g * k - w * k).norm() / (w * k).norm() for g, w, k in zip(given, without, keep, strict=True)]
    ).mean()


def by_squares(given, without, mask, inside=lambda g, w: (g - w).pow(2), below=lambda g, w: w.pow(2), power=0.5):
    m = (mask > 0).unsqueeze(-1).to(given.dtype)
    given, without = given * m, without * m
    return (inside(given, without).sum((1, 2)) ** power / below(given, without).sum((1, 2)) ** power).mean()


def by_indexing(given, without, mask):
    ratios = []
    for i in range(len(given)):
        g, w = given[i][mask[i].bool()], without[i][mask[i].bool()]
        ratios.append(torch.linalg.vector_norm(g - w) / torch.linalg.vector_norm(w))
    return sum(ratios) / len(ratios)


def with_padding(given, without, mask):
    return ((given - without).flatten(1).norm(dim=1) / without.flatten(1).norm(dim=1)).mean()


def over_the_batch(given, without, mask):
    m = mask.bool()
    return (given - without)[m].norm() / without[m].norm()


def masked_norms(x, mask):
    return (x * mask.bool()[..., None]).flatten(1).norm(dim=1)


# 11.3


def by_scipy(one, other):
    return float(spearmanr(one.numpy(), other.numpy()).statistic)


def by_comparing(one, other):
    def ranks(x):
        return (x[:, None] > x).sum(1) + ((x[:, None] == x).sum(1) + 1) / 2

    return torch.corrcoef(torch.stack([ranks(one), ranks(other)]).double())[0, 1].item()


def by_loops(one, other):
    def ranks(x):
        x = x.tolist()
        order = sorted(x)
        return [(order.index(value) + len(order) - 1 - order[::-1].index(value)) / 2 for value in x]

    return pearsonr(ranks(one), ranks(other)).statistic.item()


def by_ranks(method):
    return lambda a, b: float(np.corrcoef(rankdata(a, method), rankdata(b, method))[0, 1])


def short_formula(a, b):
    d = rankdata(a) - rankdata(b)
    return float(1 - 6 * (d**2).sum() / (len(a) * (len(a) ** 2 - 1)))


# 11.4


def by_sorting(reading, budget, order=lambda rest: -rest, start=math.floor, weigh=lambda r: max(r, 0.0)):
    weights = [weigh(r) for r in reading]
    shares = [budget * w / sum(weights) for w in weights]
    lengths = [start(s) for s in shares]
    for i in sorted(range(len(reading)), key=lambda i: order(shares[i] - lengths[i]))[: max(0, budget - sum(lengths))]:
        lengths[i] += 1
    return lengths


def by_numpy(reading, budget):
    weights = np.maximum(reading, 0)
    shares = budget * weights / weights.sum()
    lengths = np.floor(shares).astype(int)
    lengths[np.argsort(lengths - shares, kind="stable")[: budget - lengths.sum()]] += 1
    return lengths.tolist()


def one_at_a_time(reading, budget):
    total = sum(r for r in reading if r > 0)
    shares = [budget * max(r, 0) / total for r in reading]
    lengths = [int(s) for s in shares]
    rest = [s - n for s, n in zip(shares, lengths, strict=True)]
    while sum(lengths) < budget:
        i = rest.index(max(rest))
        lengths[i] += 1
        rest[i] = -1.0
    return tuple(lengths)


def rounded_down(reading, budget):
    return by_sorting(reading, budget, order=lambda rest: rest)[:0] or [
        math.floor(budget * max(r, 0) / sum(max(x, 0) for x in reading)) for r in reading
    ]


def rest_to(i):
    def answer(reading, budget):
        lengths = rounded_down(reading, budget)
        lengths[i(reading)] += budget - sum(lengths)
        return lengths

    return answer


# 11.5

SOLUTION = {
    "rescale": {"scale", "prefix_norm"},
    "negate": {"scale"},
    "fold": {"alpha", "prefix_norm"},
    "permute": set(),
}


def but(move, *names):
    return lambda asked: set(names) if asked == move else SOLUTION[asked]


ATTENTION, EFFECT, RANKS = (
    exercises.check_attention_without,
    exercises.check_effect,
    exercises.check_rank_correlation,
)
LENGTHS, MOVED = exercises.check_lengths, exercises.check_moved
RIGHT = [
    *((ATTENTION, answer) for answer in (by_leaving_out, by_masking, by_renormalising, by_a_mask)),
    *((EFFECT, answer) for answer in (by_flatten, by_squares, by_indexing)),
    *((RANKS, answer) for answer in (by_scipy, by_comparing, by_loops)),
    *((LENGTHS, answer) for answer in (by_sorting, by_numpy, one_at_a_time, lengths_from)),
    *((MOVED, answer) for answer in (SOLUTION.get, lambda move: sorted(SOLUTION[move]), but("permute"))),
]
WRONG = [
    (ATTENTION, zeroed("key"), "a key of zeros still scores 0"),
    (ATTENTION, zeroed("value"), "the others get no more attention"),
    (ATTENTION, zeroed("key", "value"), "no missing token"),
    (ATTENTION, lambda *x: by_masking(*x, when="after"), "after the softmax is the same"),
    (ATTENTION, lambda *x: by_masking(*x, value=0.0), "a key of zeros still scores 0"),
    (ATTENTION, lambda *x: by_leaving_out(*x[:-1], []), "nothing has been removed"),
    (ATTENTION, keeping_only, "keeps them and removes the others"),
    (ATTENTION, lambda *x: by_leaving_out(*x[:-1], [i - 1 for i in x[-1]]), "counted from 0"),
    (ATTENTION, lambda *x: by_leaving_out(*x[:-1], x[-1][:1]), "the first one only"),
    (ATTENTION, lambda *x: by_leaving_out(*x[:-1], range(99) if x[-1] else []), "not the whole prefix"),
    (ATTENTION, lambda *x: by_leaving_out(*x[:-1], range(len(x[-1]))), "but the first ones"),
    (ATTENTION, keeping_first_values, "a key and its value go together"),
    (
        ATTENTION,
        lambda *x: by_leaving_out(*x[:-1], range(min(x[-1]), 1 + max(x[-1])) if x[-1] else []),
        "not all between the first and the last",
    ),
    (ATTENTION, unscaled, "divided by √d_h"),
    (ATTENTION, lambda *x: unscaled(*x[:-1], []), "nothing has been removed; the scores are divided"),
    (ATTENTION, lambda q, k, v, p_k, p_v, gone: by_leaving_out(q, p_k, p_v, k, v, gone), "two of five"),
    (ATTENTION, lambda *x: by_masking(*x, over=-2), "two of five"),
    (ATTENTION, lambda *x: by_masking(*x, value=-1.0), "two of five"),
    *((ATTENTION, lambda *x, low=low: by_masking(*x, value=low), "far below 0") for low in (-20.0, -50.0)),
    (ATTENTION, lambda *x: None, "is there a return"),
    (EFFECT, with_padding, "padding must have no part"),
    (EFFECT, lambda g, w, m: (masked_norms(g - w, m) / w.flatten(1).norm(dim=1)).mean(), "in what you divide by"),
    (EFFECT, over_the_batch, "over the whole batch"),
    (EFFECT, lambda g, w, m: by_squares(g, w, m, below=lambda g, w: g.pow(2)), "measured against the output without"),
    (
        EFFECT,
        lambda g, w, m: by_squares(g, w, m, below=lambda g, w: w * 0 + 1 / w[0].numel()),
        "still has to be divided",
    ),
    (EFFECT, lambda g, w, m: by_squares(g, w, m, power=1), "not squared norms"),
    (EFFECT, lambda g, w, m: (masked_norms(g, m) / masked_norms(w, m) - 1).mean(), "how much longer the output gets"),
    (EFFECT, lambda g, w, m: (masked_norms(g, m) / masked_norms(w, m) - 1).abs().mean(), "longer or shorter"),
    (EFFECT, lambda g, w, m: by_flatten(g, w, m) * len(g), "not the sum"),
    (EFFECT, lambda g, w, m: masked_norms(g - w, m) / masked_norms(w, m), "one number"),
    (EFFECT, lambda g, w, m: masked_norms(g - w, m).mean() / masked_norms(w, m).mean(), "one sum over all inputs"),
    (EFFECT, lambda g, w, m: ((g - w).norm(dim=2) / w.norm(dim=2))[m.bool()].mean(), "inputs differ in length"),
    (
        EFFECT,
        lambda g, w, m: (((g - w).norm(dim=2) / w.norm(dim=2) * m).sum(1) / m.sum(1)).mean(),
        "a ratio for each token",
    ),
    (
        EFFECT,
        lambda g, w, m: by_squares(g, w, m, inside=lambda g, w: (g - w).abs(), below=lambda g, w: w.abs(), power=1),
        "not a sum of absolute values",
    ),
    (EFFECT, lambda g, w, m: (g - w).flatten(1).norm(dim=1).div(g.flatten(1).norm(dim=1)).mean(), "; padding must"),
    (EFFECT, lambda g, w, m: by_flatten(g, w, m).item(), "a tensor is expected"),
    (RANKS, lambda a, b: float(np.corrcoef(a, b)[0, 1]), "take that of their ranks"),
    (RANKS, lambda a, b: float(np.corrcoef(a.argsort(stable=True), b.argsort(stable=True))[0, 1]), "argsort tells"),
    (RANKS, by_ranks("ordinal"), "the first of them"),
    (RANKS, by_ranks("min"), "not the lowest"),
    (RANKS, by_ranks("max"), "not the highest"),
    (RANKS, by_ranks("dense"), "1, 2.5, 2.5, 4"),
    (RANKS, short_formula, "the short formula"),
    (RANKS, lambda a, b: float(kendalltau(a, b).statistic), "Kendall"),
    (RANKS, lambda a, b: -by_scipy(a, b), "the sign"),
    (RANKS, lambda a, b: by_scipy(a, b) ** 2, "nothing is squared"),
    (RANKS, lambda a, b: abs(by_scipy(a, b)), "no absolute value"),
    (RANKS, lambda a, b: by_comparing((100 * a).round(), (100 * b).round()), "close together"),
    (RANKS, lambda a, b: by_scipy(a, b) if a.min() > -2 else 0.0, "may be negative"),
    (LENGTHS, lambda r, b: [round(b * max(x, 0) / sum(max(y, 0) for y in r)) for x in r], "rounded by itself"),
    (LENGTHS, rounded_down, "who gets the rest"),
    (LENGTHS, lambda r, b: by_sorting(r, b, start=math.ceil), "exceed the budget"),
    (LENGTHS, lambda r, b: by_sorting(r[::-1], b)[::-1], "the lower layer comes first"),
    (LENGTHS, lambda r, b: by_sorting(r, b, order=lambda rest: rest), "not the smallest"),
    (LENGTHS, lambda r, b: by_sorting(r, b, order=lambda rest: 0), "not to the lowest layers"),
    (LENGTHS, rest_to(lambda r: r.index(max(r))), "for the largest reading"),
    (LENGTHS, rest_to(lambda r: -1), "for the last layer"),
    (LENGTHS, lambda r, b: by_sorting(r, b, weigh=lambda x: x), "below 0 counts as 0: no prefix"),
    (LENGTHS, lambda r, b: by_sorting(r, b, weigh=abs), "absolute value"),
    (LENGTHS, lambda r, b: by_sorting(r, b, weigh=lambda x: 1), "the same for every layer"),
    (LENGTHS, lambda r, b: [max(1, n) for n in by_sorting(r, b)], "reading may be 0"),
    (LENGTHS, lambda r, b: dict(enumerate(by_sorting(r, b))), "0.9, 1.8 and 6.3"),
    (MOVED, but("rescale", "scale"), "rescale changes prefix_norm too"),
    (MOVED, but("rescale"), "rescale does change something"),
    (MOVED, but("rescale", "scale", "prefix_norm", "mass"), "rescale does not change mass"),
    (MOVED, but("negate", "scale", "prefix_norm"), "negate does not change prefix_norm"),
    (MOVED, but("negate", "scale", "effect"), "negate does not change effect"),
    (MOVED, but("fold", "alpha"), "fold changes prefix_norm too"),
    (MOVED, but("fold", "prefix_norm"), "fold changes alpha too"),
    (MOVED, but("permute", "alpha"), "permute does not change alpha"),
    (MOVED, but("rescale", "lambda", "scale"), "no such reading: 'lambda'"),
    (MOVED, lambda move: "scale", "a set of names"),
    (MOVED, lambda move: None, "a set of names"),
]


@pytest.mark.parametrize("check, answer", RIGHT)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


@pytest.mark.parametrize("check, answer, said", WRONG)
def test_mistakes_are_named(check, answer, said, capsys):
    assert not check(answer)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and said in out and out.count("\n") == 1, out


@pytest.mark.parametrize("check", [ATTENTION, EFFECT, RANKS, LENGTHS, MOVED])
def test_unsolved_says_so(check, capsys):
    def unsolved(*_):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"
