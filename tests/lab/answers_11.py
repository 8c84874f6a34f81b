"""Answers to the exercises of lesson 11: how they came about is said in test_answers.py."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from scipy.stats import rankdata

from apt_minimal import course as exercises

# 11.1: attention_without(query, key, value, prefix_key, prefix_value, gone)


def einops_style(query, key, value, prefix_key, prefix_value, gone):
    kept = sorted(set(range(prefix_key.size(2))) - set(gone))
    k = torch.cat((prefix_key[:, :, kept, :], key), dim=-2)
    v = torch.cat((prefix_value[:, :, kept, :], value), dim=-2)
    weights = F.softmax(einsum(query, k, "b h n d, b h k d -> b h n k") * query.shape[-1] ** -0.5, dim=-1)
    return einsum(weights, v, "b h n k, b h k d -> b h n d")


def loops(query, key, value, prefix_key, prefix_value, gone):
    out = torch.empty_like(query)
    for i, j in np.ndindex(query.shape[0], query.shape[1]):
        rows = [r for r in range(prefix_key.shape[2]) if r not in gone]
        k = torch.vstack([*(prefix_key[i, j, r] for r in rows), key[i, j]]).double()
        v = torch.vstack([*(prefix_value[i, j, r] for r in rows), value[i, j]]).double()
        for q in range(query.shape[2]):
            s = k @ query[i, j, q].double() / math.sqrt(k.shape[1])
            w = (s - s.max()).exp()
            out[i, j, q] = (w[:, None] * v).sum(0) / w.sum()
    return out


def added_mask(query, key, value, prefix_key, prefix_value, gone):
    bias = torch.zeros(prefix_key.shape[2] + key.shape[2])
    for token in gone:
        bias[token] = float("-inf")
    scores = query.matmul(torch.cat([prefix_key, key], 2).mT) / query.shape[3] ** 0.5 + bias
    return torch.softmax(scores, -1).matmul(torch.cat([prefix_value, value], 2))


def e4(query, key, value, prefix_key, prefix_value, gone):
    """Interpolate between what is left of the prefix and the input, with E4's mass."""
    kept = [i for i in range(prefix_key.shape[2]) if i not in gone]
    scale = query.shape[-1] ** -0.5
    own = query @ rearrange(key, "b h n d -> b h d n") * scale
    if not kept:
        return own.softmax(-1) @ value
    other = query @ rearrange(prefix_key[:, :, kept], "b h l d -> b h d l") * scale
    m = (other.logsumexp(-1) - torch.cat([other, own], -1).logsumexp(-1)).exp().unsqueeze(-1)
    return (1 - m) * (own.softmax(-1) @ value) + m * (other.softmax(-1) @ prefix_value[:, :, kept])


RIGHT_11_1 = {"einops": einops_style, "loops": loops, "added_mask": added_mask, "e4": e4}


def filled(query, key, value, prefix_key, prefix_value, gone, number=0.0, late=False, columns=list):
    scores = query @ torch.cat([prefix_key, key], 2).mT / query.shape[-1] ** 0.5
    if not late:
        scores[..., columns(gone)] = number
    weights = scores.softmax(-1)
    if late:
        weights[..., columns(gone)] = number
    return weights @ torch.cat([prefix_value, value], 2)


WRONG_11_1 = {
    "scores_0": ("a score of 0 is not removal", filled),
    "weights_0": ("weights set to 0, not renormalised", lambda *x: filled(*x, late=True)),
    "tiny_number": ("added after the softmax", lambda *x: filled(*x, number=1e-9, late=True)),
    "behind": (
        "the columns of a prefix behind the input",
        lambda q, k, *x: filled(q, k, *x, number=-math.inf, columns=lambda gone: [k.shape[2] + i - 1 for i in gone]),
    ),
    "from_1": ("counted from 1", lambda *x: einops_style(*x[:-1], [i - 1 for i in x[-1]])),
    "last_one": ("the last of gone only", lambda *x: einops_style(*x[:-1], x[-1][-1:])),
    "whole": ("the whole prefix", lambda *x: einops_style(*x[:-1], range(10_000))),
    "value_kept": (
        "the key is taken out, its value's row stays in the wrong place",
        lambda q, k, v, p_k, p_v, gone: einops_style(
            q,
            torch.cat([p_k[:, :, [i for i in range(p_k.shape[2]) if i not in gone]], k], 2),
            torch.cat([p_v, v], 2)[:, :, : p_k.shape[2] - len(gone) + k.shape[2]],
            p_k[:, :, :0],
            p_v[:, :, :0],
            [],
        ),
    ),  # fmt: skip
    "scaled_by_d": ("divided by d_h", lambda q, *x: einops_style(q / q.shape[-1] ** 0.5, *x)),
    "order": ("order of gone matters", lambda *x: einops_style(*x) if x[-1] == sorted(x[-1]) else x[0] * 0),
    "half_key": (
        "replaced by a key of halves",
        lambda q, k, v, p_k, p_v, gone: einops_style(
            q, k, v, p_k.index_fill(2, torch.tensor(gone, dtype=torch.long), 0.5), p_v, []
        ),
    ),
    "minus_30": ("a score of −30", lambda *x: filled(*x, number=-30.0)),
}

# 11.2: effect(given, without, mask)


def by_rows(given, without, mask):
    total = 0.0
    for g, w, m in zip(given, without, mask, strict=True):
        real = m.nonzero().flatten()
        total = total + ((g[real] - w[real]) ** 2).sum().sqrt() / (w[real] ** 2).sum().sqrt()
    return total / given.shape[0]


def by_einsum(given, without, mask):
    m = mask.to(given.dtype)
    change = einsum((given - without) ** 2, m, "b n d, b n -> b")
    base = einsum(without**2, m, "b n d, b n -> b")
    return torch.sqrt(change / base).mean()


def by_frobenius(given, without, mask):
    m = mask.bool().unsqueeze(2)
    zero = torch.zeros((), dtype=given.dtype)
    difference = torch.where(m, given - without, zero)
    return (torch.linalg.matrix_norm(difference) / torch.linalg.matrix_norm(torch.where(m, without, zero))).mean()


RIGHT_11_2 = {"rows": by_rows, "einsum": by_einsum, "frobenius": by_frobenius}

WRONG_11_2 = {
    "all_tokens": ("padding counts", lambda g, w, m: by_einsum(g, w, torch.ones_like(m))),
    "padding_only": ("the mask turned round", lambda g, w, m: by_einsum(g, w, ~m.bool())),
    "denominator": ("divided by the other", lambda g, w, m: by_einsum(w, g, m)),
    "sum_of_both": ("divided by half the sum", lambda g, w, m: 2 * by_einsum(g, w, m) / (1 + by_einsum(g, 0 * g, m))),
    "no_root": ("squares", lambda g, w, m: ((((g - w) ** 2).sum(2) * m).sum(1) / ((w**2).sum(2) * m).sum(1)).mean()),
    "spectral": (
        "the largest singular value",
        lambda g, w, m: (
            torch.linalg.matrix_norm((g - w) * m.bool()[..., None], 2)
            / torch.linalg.matrix_norm(w * m.bool()[..., None], 2)
        ).mean(),
    ),
    "padding_below": (
        "padding in the denominator",
        lambda g, w, m: (((g - w) * m.bool()[..., None]).flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1)).mean(),
    ),
    "first_token": ("first token only", lambda g, w, m: ((g - w)[:, 0].norm(dim=1) / w[:, 0].norm(dim=1)).mean()),
    "per_number": ("number by number", lambda g, w, m: ((g - w) / w)[m.bool()].abs().mean()),
    "pooled": ("all tokens weigh the same", lambda g, w, m: ((g - w).norm(dim=2) / w.norm(dim=2))[m.bool()].mean()),
    "shape_1": ("shape [1]", lambda g, w, m: by_einsum(g, w, m)[None]),
    "per_cent": ("in per cent", lambda g, w, m: 100 * by_einsum(g, w, m)),
    "cosine": (
        "an angle",
        lambda g, w, m: (1 - F.cosine_similarity((g * m[..., None]).flatten(1), (w * m[..., None]).flatten(1))).mean(),
    ),
}

# 11.3: rank_correlation(one, other)


def by_counting(one, other):
    def places(x):
        x = x.tolist()
        return np.array([sum(y < v for y in x) + (sum(y == v for y in x) + 1) / 2 for v in x])

    return float(np.corrcoef(places(one), places(other))[0, 1])


def by_unique(one, other):
    def places(x):
        _, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
        return (counts.cumsum(0) - (counts - 1) / 2)[inverse].double()

    a, b = places(one), places(other)
    return (torch.cov(torch.stack([a, b]))[0, 1] / (a.std() * b.std())).item()


def by_signs(one, other):
    """Sums of signs are ranks, but for a factor and the mean."""
    a, b = ((x[:, None] - x).sign().sum(1).double() for x in (one, other))
    return float(a @ b / (a @ a * (b @ b)) ** 0.5)


RIGHT_11_3 = {"counting": by_counting, "unique": by_unique, "signs": by_signs}


def correlate(a, b):
    return float(np.corrcoef(np.asarray(a, dtype=float), np.asarray(b, dtype=float))[0, 1])


WRONG_11_3 = {
    "double_argsort": ("ties in order", lambda a, b: correlate(*(x.argsort(stable=True).argsort() for x in (a, b)))),
    "values": ("the values themselves", correlate),
    "min": ("lowest ranks", lambda a, b: correlate(*(rankdata(x, "min") for x in (a, b)))),
    "dense": ("dense ranks", lambda a, b: correlate(*(rankdata(x, "dense") for x in (a, b)))),
    "one_turned": ("one ranked from the top", lambda a, b: -by_counting(a, b)),
    "formula": (
        "the short formula",
        lambda a, b: 1 - 6 * sum((rankdata(a) - rankdata(b)) ** 2) / (len(a) ** 3 - len(a)),
    ),
    "mixed": ("one ranked, one not", lambda a, b: correlate(rankdata(a), b)),
    "cosine": ("no mean taken off", lambda a, b: rankdata(a) @ rankdata(b) / np.linalg.norm(rankdata(a)) ** 2),
    "covariance": ("not divided", lambda a, b: float(np.cov(rankdata(a), rankdata(b))[0, 1])),
    "rounded": ("too coarse", lambda a, b: by_counting((100 * a).round(), (100 * b).round())),
    "from_order": ("argsort once", lambda a, b: correlate(a.argsort(stable=True), b.argsort(stable=True))),
    "rescaled": ("0 to 1", lambda a, b: (1 + by_counting(a, b)) / 2),
}  # fmt: skip

# 11.4: lengths(reading, budget)


def with_fractions(reading, budget):
    weights = [max(Fraction(r), Fraction(0)) for r in reading]
    shares = [Fraction(budget) * w / sum(weights) for w in weights]
    left = budget - sum(s.numerator // s.denominator for s in shares)
    first = sorted(range(len(shares)), key=lambda i: (-(shares[i] % 1), i))[:left]
    return [int(s) + (i in first) for i, s in enumerate(shares)]


def with_counter(reading, budget):
    total = sum(r for r in reading if r > 0)
    rests = {i: budget * r / total % 1 for i, r in enumerate(reading) if r > 0}
    lengths = [int(budget * r / total) if r > 0 else 0 for r in reading]
    for i, _ in Counter(rests).most_common(budget - sum(lengths)):  # equal ones in the order of the layers
        lengths[i] += 1
    return lengths


def with_torch(reading, budget):
    r = torch.tensor(reading, dtype=torch.float64).clamp(min=0)
    shares = budget * r / r.sum()
    order = (shares.floor() - shares).argsort(stable=True)
    lengths = shares.floor().long()
    lengths[order[: budget - int(lengths.sum())]] += 1
    return lengths.tolist()


RIGHT_11_4 = {"fractions": with_fractions, "counter": with_counter, "torch": with_torch}


def until_spent(reading, budget):
    """Round, then take from or give to the longest until it fits."""
    total = sum(max(r, 0) for r in reading)
    lengths = [round(budget * max(r, 0) / total) for r in reading]
    while sum(lengths) != budget:
        lengths[lengths.index(max(lengths))] += 1 if sum(lengths) < budget else -1
    return lengths


def by_divisors(reading, budget):
    """d'Hondt's highest averages: another rule."""
    lengths = [0] * len(reading)
    for _ in range(budget):
        averages = [max(r, 0) / (n + 1) for r, n in zip(reading, lengths, strict=True)]
        lengths[averages.index(max(averages))] += 1
    return lengths


WRONG_11_4 = {
    "rounded": ("rounded", lambda r, b: [round(b * max(x, 0) / sum(max(y, 0) for y in r)) for x in r]),
    "until_spent": ("repaired at the longest", until_spent),
    "divisors": ("highest averages", by_divisors),
    "upper_first": ("ties to the upper layer", lambda r, b: with_fractions(r[::-1], b)[::-1]),
    "negative": ("negatives kept", lambda r, b: [int(b * x / sum(r)) for x in r]),
    "absolute": ("absolute values", lambda r, b: with_fractions([abs(x) for x in r], b)),
    "at_least_one": ("everyone gets one", lambda r, b: [1 + n for n in with_fractions(r, max(b - len(r), 0))]),
    "equal": ("equal lengths", lambda r, b: with_fractions([1.0] * len(r), b)),
    "by_rank": ("shares by rank", lambda r, b: with_fractions([float(x) for x in rankdata(r)], b)),
    "softmax": ("shares by softmax", lambda r, b: with_fractions([math.exp(x) for x in r], b)),
    "down": ("rounded down", lambda r, b: [int(b * max(x, 0) / sum(max(y, 0) for y in r)) for x in r]),
    "floats": ("floats", lambda r, b: [n + 0.25 for n in with_fractions(r, b)]),
    "sorted": ("longest first", lambda r, b: sorted(with_fractions(r, b), reverse=True)),
}

# 11.5: moved(move)

TABLE = {
    "rescale": ["scale", "prefix_norm"],
    "negate": ["scale"],
    "fold": ["alpha", "prefix_norm"],
    "permute": [],
}


def by_arithmetic(move):
    """Do the move on numbers: λ, one constant α and two prefix tokens of length 1."""
    scale, alpha, rows = 2.0, [0.25, 0.5], [3.0, -4.0]
    new = {
        "rescale": (2 * scale, alpha, [r / 2 for r in rows]),
        "negate": (-scale, alpha, [-r for r in rows]),
        "fold": (scale, [1.0, 1.0], [a * r for a, r in zip(alpha, rows, strict=True)]),
        "permute": (scale, alpha[::-1], rows[::-1]),
    }[move]

    def read(scale, alpha, rows):
        gated = [abs(scale) * a * abs(r) for a, r in zip(alpha, rows, strict=True)]
        return {"alpha": sum(alpha), "scale": scale, "prefix_norm": sum(map(abs, rows)), "gated_norm": sum(gated)}

    before, after = read(scale, alpha, rows), read(*new)
    return {name for name in before if before[name] != after[name]}


def changed(move, names):
    return lambda asked: set(names.split()) if asked == move else set(TABLE[asked])


RIGHT_11_5 = {
    "arithmetic": by_arithmetic,
    "table": lambda move: set(TABLE[move]),
    "frozen": lambda move: frozenset(TABLE[move]),
}

WRONG_11_5 = {
    "only_lambda": ("‖P‖ changes too", changed("rescale", "scale")),
    "mass_moves": ("the mass stays", changed("rescale", "scale prefix_norm mass")),
    "gated_moves": ("the gated norm stays", changed("rescale", "scale prefix_norm gated_norm")),
    "negative_length": ("a length has no sign", changed("negate", "scale prefix_norm")),
    "negative_gated": ("nor has the gated one", changed("negate", "scale gated_norm")),
    "negative_nothing": ("λ changes its sign", changed("negate", "")),
    "fold_effect": ("the effect stays", changed("fold", "alpha prefix_norm effect")),
    "fold_scale": ("λ stays", changed("fold", "alpha prefix_norm scale")),
    "fold_alpha": ("P changes", changed("fold", "alpha")),
    "permute_alpha": ("a mean has no order", changed("permute", "alpha prefix_norm")),
    "permute_mass": ("nor has the softmax", changed("permute", "mass effect")),
    "nothing": ("nothing changes", lambda move: set()),
}

CHECKS = [
    (exercises.check_attention_without, RIGHT_11_1, WRONG_11_1),
    (exercises.check_effect, RIGHT_11_2, WRONG_11_2),
    (exercises.check_rank_correlation, RIGHT_11_3, WRONG_11_3),
    (exercises.check_lengths, RIGHT_11_4, WRONG_11_4),
    (exercises.check_moved, RIGHT_11_5, WRONG_11_5),
]
