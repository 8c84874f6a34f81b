"""Lesson 04's checkers pass right answers in different styles, and name the usual mistakes."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce

from apt_minimal.course import lesson_04 as exercises
from apt_minimal.gates import TokenGate, mean_token

gate, mean, prefix, remove, probe = (
    exercises.check_token_gate,
    exercises.check_masked_mean,
    exercises.check_gate_prefix,
    exercises.check_remove_tokens,
    exercises.check_reads_padding,
)


# 4.1


def gate_by_loop(hidden, mask, weight):
    rows = []
    for states, real in zip(hidden, mask, strict=True):
        h = states[[bool(r) for r in real].index(True)]
        rows.append([1 / (1 + math.exp(-float(h @ w))) for w in weight])
    return torch.tensor(rows)


def gate_by_package(hidden, mask, weight):
    module = TokenGate(*weight.shape)
    module.weight.data = weight
    return module(hidden, mask)


def gate_by_einsum(hidden, mask, weight):
    first = F.one_hot(mask.float().argmax(dim=1), mask.shape[1]).to(hidden.dtype)
    return einsum(hidden, first, weight, "b n d, b n, l d -> b l").sigmoid()


def gate_by_linear(hidden, mask, weight):
    real = mask.bool()
    first = (real.cumsum(dim=1) == 1) & real
    return 1 / (1 + torch.exp(-F.linear(hidden[first].double(), weight.double())))


def pick(hidden, mask):
    return hidden[torch.arange(len(hidden)), mask.int().argmax(dim=1)]


def last_real(hidden, mask):
    return torch.stack([h[m.bool()][-1] for h, m in zip(hidden, mask, strict=True)])


def where_zeros_end(hidden, mask):
    return torch.stack([h[min(int((m == 0).sum()), len(h) - 1)] for h, m in zip(hidden, mask, strict=True)])


# 4.2


def mean_by_loop(hidden, mask):
    return torch.stack([h[m.bool()].mean(dim=0) for h, m in zip(hidden, mask, strict=True)])


def mean_by_where(hidden, mask):
    kept = torch.where(mask[..., None] != 0, hidden, torch.zeros(()))
    return reduce(kept, "b n d -> b d", "sum") / mask.float().sum(dim=1, keepdim=True)


def mean_in_place(hidden, mask):
    hidden[mask == 0] = 0
    return einsum(hidden, mask.to(hidden.dtype), "b n d, b n -> b d") / mask.sum(1)[:, None]


def nan_mean(hidden, mask):
    return hidden.double().masked_fill(mask[:, :, None].logical_not(), math.nan).nanmean(dim=1)


def filled(hidden, mask):
    return hidden.masked_fill(mask[:, :, None] == 0, 0)


# 4.3


def prefix_by_loop(key, value, alpha):
    return [torch.stack([torch.stack([g * r for g, r in zip(a, p, strict=True)]) for a in alpha]) for p in (key, value)]


def prefix_by_einsum(key, value, alpha):
    return einsum(alpha, key, "b l, l d -> b l d"), einsum(alpha, value, "b l, l d -> b l d")


def prefix_by_diagonal(key, value, alpha):
    gates = torch.diag_embed(alpha)
    return gates @ key, gates @ value


def whole(alpha, p):
    return p.expand(len(alpha), *p.shape)


# 4.4


def remove_by_loop(query, key, value, prefix_key, prefix_value, keep):
    rows = []
    for q, k, v, p_k, p_v, stay in zip(query, key, value, prefix_key, prefix_value, keep, strict=True):
        k, v = torch.cat([p_k[stay], k]), torch.cat([p_v[stay], v])
        rows.append((q @ k.T / q.shape[1] ** 0.5).softmax(dim=1) @ v)
    return torch.stack(rows)


def remove_fused(query, key, value, prefix_key, prefix_value, keep):
    look = torch.cat([keep, keep.new_ones(key.shape[:2])], dim=1)[:, None]
    keys, values = torch.cat([prefix_key, key], 1), torch.cat([prefix_value, value], 1)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=look)


def remove_by_log(query, key, value, prefix_key, prefix_value, keep):
    scores = einsum(query, torch.cat([prefix_key, key], 1), "b n d, b k d -> b n k") / math.sqrt(query.shape[2])
    scores[:, :, : keep.shape[1]] += keep.double().log()[:, None]
    return scores.softmax(-1).to(value.dtype) @ torch.cat([prefix_value, value], 1)


def hides_late(query, key, value, prefix_key, prefix_value, keep):
    scores = query @ torch.cat([prefix_key, key], 1).mT / math.sqrt(query.shape[2])
    weights = scores.softmax(-1) * F.pad(keep, (0, key.shape[1]), value=True)[:, None]
    return weights / weights.sum(-1, keepdim=True) @ torch.cat([prefix_value, value], 1)


def remove_with_big_number(query, key, value, prefix_key, prefix_value, keep):
    scores = query @ torch.cat([prefix_key, key], 1).mT / math.sqrt(query.shape[2])
    low = rearrange(F.pad((~keep) * -1e9, (0, key.shape[1])), "b k -> b 1 k")
    return (scores + low).softmax(-1) @ torch.cat([prefix_value, value], 1)


def attend(query, key, value, prefix_key, prefix_value, change=lambda scores: scores, scale=None):
    scores = query @ torch.cat([prefix_key, key], 1).mT / (scale or math.sqrt(query.shape[2]))
    return change(scores).softmax(-1) @ torch.cat([prefix_value, value], 1)


def removing(low, inverse=False):
    def answer(query, key, value, prefix_key, prefix_value, keep):
        look = F.pad(~keep if inverse else keep, (0, key.shape[1]), value=True)[:, None]
        return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, low))

    return answer


def zero_key(query, key, value, prefix_key, prefix_value, keep):
    return attend(query, key, value, prefix_key * keep[..., None], prefix_value)


def zero_both(query, key, value, prefix_key, prefix_value, keep):
    return attend(query, key, value, prefix_key * keep[..., None], prefix_value * keep[..., None])


def zero_value(query, key, value, prefix_key, prefix_value, keep):
    return attend(query, key, value, prefix_key, prefix_value * keep[..., None])


def zero_weight(query, key, value, prefix_key, prefix_value, keep):
    scores = query @ torch.cat([prefix_key, key], 1).mT / math.sqrt(query.shape[2])
    weights = scores.softmax(-1) * F.pad(keep, (0, key.shape[1]), value=True)[:, None]
    return weights @ torch.cat([prefix_value, value], 1)


def infinite_key(query, key, value, prefix_key, prefix_value, keep):
    return attend(query, key, value, prefix_key.masked_fill(~keep[..., None], -math.inf), prefix_value)


def removes_words(query, key, value, prefix_key, prefix_value, keep):
    look = torch.cat([torch.ones_like(keep), keep], dim=1)[:, None]
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, -math.inf))


def by_query(query, key, value, prefix_key, prefix_value, keep):
    look = F.pad(keep, (0, key.shape[1]), value=True)
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, -math.inf))


def adds_mask(query, key, value, prefix_key, prefix_value, keep):
    look = F.pad(keep, (0, key.shape[1]), value=True)[:, None]
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s + look.to(s.dtype))


def adding(number):
    def answer(query, key, value, prefix_key, prefix_value, keep):
        gone = F.pad(~keep, (0, key.shape[1]))[:, None]
        return attend(query, key, value, prefix_key, prefix_value, lambda s: s + number * gone)

    return answer


def masks_words(query, key, value, prefix_key, prefix_value, keep):
    look = F.pad(keep, (0, key.shape[1]))[:, None]
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, -math.inf))


def pads_in_front(query, key, value, prefix_key, prefix_value, keep):
    look = F.pad(keep, (key.shape[1], 0), value=True)[:, None]
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, -math.inf))


def zeros_found(query, key, value, prefix_key, prefix_value, keep):
    keys = prefix_key * keep[..., None]
    return attend(query, key, value, keys, prefix_value, lambda s: s.masked_fill(s == 0, -math.inf))


def unscaled(query, key, value, prefix_key, prefix_value, keep):
    look = F.pad(keep, (0, key.shape[1]), value=True)[:, None]
    return attend(query, key, value, prefix_key, prefix_value, lambda s: s.masked_fill(~look, -math.inf), scale=1)


def removed(keep):
    return lambda s: s.masked_fill(~F.pad(keep, (0, s.shape[2] - keep.shape[1]), value=True)[:, None], -math.inf)


def by_hand(largest):
    def answer(query, key, value, prefix_key, prefix_value, keep):
        scores = removed(keep)(query @ torch.cat([prefix_key, key], 1).mT / math.sqrt(query.shape[2]))
        e = torch.exp(scores - largest(scores))
        return e / e.sum(-1, keepdim=True) @ torch.cat([prefix_value, value], 1)

    return answer


def over_queries(query, key, value, prefix_key, prefix_value, keep):
    scores = query @ torch.cat([prefix_key, key], 1).mT / math.sqrt(query.shape[2])
    look = F.pad(keep, (0, key.shape[1]), value=True)[:, None]
    return scores.masked_fill(~look, -math.inf).softmax(1) @ torch.cat([prefix_value, value], 1)


# 4.5


def padded(gate, sides=("right", "left", "both"), fill=None, extra=3, tolerance=1e-5, words=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, words, 8, generator=generator)
    blank = torch.randn(2, extra, 8, generator=generator) if fill is None else torch.full((2, extra, 8), fill)
    alone = gate(x, None)
    real, none = torch.ones(2, words), torch.zeros(2, extra)
    for side in sides:
        before, after = side != "right", side != "left"
        states, mask = [blank] * before + [x] + [blank] * after, [none] * before + [real] + [none] * after
        alpha = gate(torch.cat(states, 1), torch.cat(mask, 1))
        if (alpha - alone).abs().max() > tolerance:
            return True
    return False


def padded_on_both_sides(gate):
    x = torch.randn(1, 9, 8, generator=torch.Generator().manual_seed(7)) * 3
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 0, 0]]).bool()
    return not torch.allclose(gate(x, mask), gate(x[:, 3:7], mask[:, 3:7]), atol=1e-5)


def padding_as_tensor(gate):
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(8))
    moved = torch.tensor(False)
    for before, after in ((0, 1), (1, 0), (5, 0), (0, 5), (2, 2)):
        wide = F.pad(x, (0, 0, before, after), value=2.5)
        moved |= ((gate(wide, F.pad(torch.ones(4, 3).int(), (before, after))) - gate(x)).abs() > 1e-5).any()
    return moved


def only_contents(gate):
    generator = torch.Generator().manual_seed(9)
    one, other = (torch.randn(1, 8, 8, generator=generator) for _ in range(2))
    other[:, 2:6] = one[:, 2:6]
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])
    return bool((gate(one, mask) - gate(other, mask)).abs().max() > 1e-5)


@pytest.mark.parametrize(
    "check, answer",
    [(gate, f) for f in (gate_by_loop, gate_by_package, gate_by_einsum, gate_by_linear)]
    + [(mean, f) for f in (mean_by_loop, mean_by_where, mean_in_place, nan_mean, mean_token)]
    + [(prefix, f) for f in (prefix_by_loop, prefix_by_einsum, prefix_by_diagonal)]
    + [(remove, f) for f in (remove_by_loop, remove_fused, remove_by_log)]
    + [(remove, f) for f in (remove_with_big_number, removing(-math.inf), removing(-1e9))]
    + [(probe, f) for f in (padded, padded_on_both_sides, padding_as_tensor)],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


@pytest.mark.parametrize(
    "check, answer, diagnosis",
    [
        (gate, lambda h, m, w: (h[:, 0] @ w.T).sigmoid(), "position 0 is padding"),
        (gate, lambda h, m, w: (h[torch.arange(len(h)), m.argmax(1)] @ w.T).sigmoid(), "argmax refuses"),
        (gate, lambda h, m, w: (h[:, -1] @ w.T).sigmoid(), "the last position"),
        (gate, lambda h, m, w: (last_real(h, m) @ w.T).sigmoid(), "the last real one"),
        (gate, lambda h, m, w: (where_zeros_end(h, m) @ w.T).sigmoid(), "counting the 0s"),
        (gate, lambda h, m, w: (h.mean(1) @ w.T).sigmoid(), "all positions, padding too"),
        (gate, lambda h, m, w: (mean_by_loop(h, m) @ w.T).sigmoid(), "mean over the real tokens"),
        (gate, lambda h, m, w: (h[:, m[0].int().argmax()] @ w.T).sigmoid(), "own first position"),
        (gate, lambda h, m, w: (pick(h, m) @ w).sigmoid(), "transpose it"),
        (gate, lambda h, m, w: (pick(h, m) @ w.view(w.shape[1], -1)).sigmoid(), "reshape does not"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T / h.shape[2] ** 0.5).sigmoid(), "√d"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T).softmax(1), "gates compete"),
        (gate, lambda h, m, w: F.softmax(pick(h, m) @ w.T, dim=0), "examples of a batch"),
        (gate, lambda h, m, w: pick(h, m) @ w.T, "σ is missing"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T).sigmoid().sigmoid(), "twice"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T).tanh(), "tanh"),
        (gate, lambda h, m, w: 1 - (pick(h, m) @ w.T).sigmoid(), "1 − α"),
        (gate, lambda h, m, w: F.relu(pick(h, m) @ w.T), "relu"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T > 0).float(), "do not round"),
        (gate, lambda h, m, w: (h[:, 0] @ w.T).softmax(-1), "position 0 is padding"),
        (gate, lambda h, m, w: (h[:, 0] @ w.T).softmax(-1), "; σ is the sigmoid"),
        (gate, lambda h, m, w: (mean_by_loop(h, m) @ w.T).softmax(0), "; σ is the sigmoid"),
        (gate, lambda h, m, w: (h[:, 0] @ w).sigmoid(), "; weight is Wᵀ"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T).sigmoid()[:, None], "shape"),
        (gate, lambda h, m, w: (pick(h, m) @ w.T).sigmoid() ** 2, "without padding"),
        (
            gate,
            lambda h, m, w: ((h * (m.cumsum(1) == 1)[..., None]).sum(1) @ w.T).sigmoid(),
            "behind a single real one",
        ),
        (gate, lambda h, m, w: pick(h.sigmoid(), m) @ w.T, "around h W"),
        (gate, lambda h, m, w: (1 + pick(h, m) @ w.T).sigmoid(), "no bias"),
        (gate, lambda h, m, w: (h[:, m.int().argmax(1)] @ w.T).sigmoid(), "hidden_states[:, position]"),
        (gate, lambda h, m, w: (pick(h, (~m).bool() ^ True) @ w.T).sigmoid(), "~ makes −2"),
        (mean, lambda h, m: h.mean(1), "padding is in the sum"),
        (mean, lambda h, m: h.mean(1), "not by n"),
        (mean, lambda h, m: (h * m[..., None]).sum(1) / m.sum(1, keepdim=True), "0 · NaN is NaN"),
        (mean, lambda h, m: (h * m[..., None]).mean(1), "0 · NaN is NaN"),
        (mean, lambda h, m: h.sum(1) / m.sum(1, keepdim=True), "padding is in the sum"),
        (mean, lambda h, m: filled(h, m).mean(1), "not by n"),
        (mean, lambda h, m: filled(h, m).sum(1), "a sum is no mean"),
        (mean, lambda h, m: filled(h, m).sum(1) / m.sum(), "whole batch"),
        (mean, lambda h, m: filled(h, m).sum(1) / (m.sum() / len(m)), "batch's average"),
        (mean, lambda h, m: filled(h, m).sum(1) / m.sum(1), "last axis"),
        (mean, lambda h, m: filled(h, m).sum(1) / m[0].sum(), "first example's"),
        (mean, lambda h, m: filled(h, m).sum(1) / h.shape[2], "not by d"),
        (mean, lambda h, m: filled(h, 1 - m.int()).sum(1) / m.sum(1, keepdim=True), "adds up the padding"),
        (mean, lambda h, m: filled(h, m).sum(1) / m.sum(1, keepdim=True).clamp(min=2), "at least 2"),
        (mean, lambda h, m: filled(h, m).sum(1) / m.sum(1).max(), "the longest sentence's"),
        (mean, lambda h, m: filled(h, m).sum(1) / m.sum(0)[:, None], "along n, not along b"),
        (mean, lambda h, m: filled(h, m[:1].expand_as(m)).sum(1) / m.sum(1, keepdim=True), "own mask"),
        (mean, lambda h, m: mean_by_loop(h, m.sort(1)[0]), "padding may stand on the right"),
        (mean, lambda h, m: mean_by_loop(h, m.sort(1, descending=True)[0]), "padding may stand on the left"),
        (mean, lambda h, m: h.masked_fill((~m).bool()[..., None], 0).sum(1) / m.sum(1, keepdim=True), "~ makes −2"),
        (mean, lambda h, m: h.nan_to_num().sum(1) / m.sum(1, keepdim=True), "the mask says"),
        (mean, lambda h, m: filled(h, m).sum(1, keepdim=True) / m.sum(1)[:, None, None], "shape"),
        (mean, lambda h, m: h.masked_fill(m[..., None] == 0, -1e9).amax(1), "plain mean"),
        (prefix, lambda k, v, a: (a[..., None] * k, whole(a, v)), "in the value: no gate is applied"),
        (prefix, lambda k, v, a: (whole(a, k), a[..., None] * v), "in the key: no gate is applied"),
        (prefix, lambda k, v, a: (a[..., None] * k, v), "each example has its own"),
        (prefix, lambda k, v, a: (k, a[..., None] * v), "each example has its own"),
        (prefix, lambda k, v, a: (a[:, None] * k, a[:, None] * v), "not to one of the d columns"),
        (prefix, lambda k, v, a: (a[..., None] * v, a[..., None] * k), "other order"),
        (prefix, lambda k, v, a: (a[..., None] * k,) * 2, "made from the key"),
        (prefix, lambda k, v, a: (a.mean(1)[:, None, None] * k, a.mean(1)[:, None, None] * v), "do not average α"),
        (prefix, lambda k, v, a: (a[..., None] ** 2 * k, a[..., None] ** 2 * v), "applied twice"),
        (prefix, lambda k, v, a: ((1 - a)[..., None] * k, (1 - a)[..., None] * v), "1 − α"),
        (prefix, lambda k, v, a: (a.sigmoid()[..., None] * k, a.sigmoid()[..., None] * v), "no second sigmoid"),
        (prefix, lambda k, v, a: (a[..., None] * k, a[..., None] ** 2 * v), "in the value: α is applied twice"),
        (prefix, lambda k, v, a: (a[:, :1, None] * whole(a, k), a[:, :1, None] * whole(a, v)), "the first one's"),
        (prefix, lambda k, v, a: (a.T[..., None] * k[:, None], a.T[..., None] * v[:, None]), "the batch comes first"),
        (prefix, lambda k, v, a: (a[..., None] * k, (a[..., None] * v).mT), "value 2"),
        (prefix, lambda k, v, a: (a[..., None] + k, a[..., None] + v), "does not add"),
        (prefix, lambda k, v, a: (a @ k, a @ v), "matrix product"),
        (prefix, lambda k, v, a: (a * k, a * v), "needs a last axis"),
        (prefix, lambda k, v, a: torch.cat([a[..., None] * k, a[..., None] * v], -1), "two tensors"),
        (prefix, lambda k, v, a: a[..., None] * k, "two tensors"),
        (prefix, lambda k, v, a: torch.stack([a[..., None] * k, a[..., None] * v]), "yours are stacked"),
        (gate, lambda h, m, w: (mean_by_loop(h, m) * m.sum(1, keepdim=True) @ w.T).sigmoid(), "the sum of"),
        (remove, lambda q, k, v, p, w, keep: attend(q, k, v, p, w), "nothing is removed"),
        (remove, lambda q, k, v, p, w, keep: attend(q, k, v, p[:, :0], w[:, :0]), "whole prefix"),
        (remove, removing(-math.inf, inverse=True), "yours removes those"),
        (remove, zero_key, "a score of 0"),
        (remove, removing(0.0), "a score of 0"),
        (remove, removing(1e-9), "1e-9"),
        (remove, zero_both, "which damps the rest"),
        (remove, zero_value, "keep their share"),
        (remove, zero_weight, "keep their share"),
        (remove, infinite_key, "belongs in the score"),
        (remove, removes_words, "not input tokens"),
        (remove, by_query, "not to a query"),
        (remove, adds_mask, "only lifts"),
        (remove, unscaled, "that is missing"),
        (remove, over_queries, "not over the queries"),
        (remove, removing(-1.0), "−1 is not low"),
        (remove, removing(-10.0), "(such as −10) is not low"),
        (remove, removing(-100.0), "(such as −100) is not low"),
        (remove, removing(-50.0), "is not low enough for every score"),
        (remove, adding(-10.0), "subtracting a number (such as 10)"),
        (remove, adding(-30.0), "subtracting a number"),
        (remove, masks_words, "F.pad fills"),
        (remove, pads_in_front, "yours marks the last l"),
        (remove, lambda *x: removing(-math.inf)(*x[:-1], x[-1][:1]), "own keep"),
        (remove, zeros_found, "a score of 0 is a score"),
        (remove, lambda *x: removing(-math.inf)(*x).sum(1), "shape"),
        (remove, hides_late, "the mask comes after the softmax"),
        (remove, by_hand(lambda s: 0.0), "e^score overflows"),
        (remove, by_hand(lambda s: s.max()), "one largest score is subtracted for all queries"),
        (remove, lambda *x: attend(*x[:5], removed(x[5]), scale=2), "d is not always 4"),
        (remove, lambda *x: attend(*x[:5], removed(x[5]), scale=x[5].shape[1] ** 0.5), "not by √l"),
        (remove, lambda *x: removing(-math.inf)(*x[:5], x[5].any(0).expand_as(x[5])), "what one example keeps"),
        (remove, lambda *x: removing(-math.inf)(*x[:5], x[5].sort(1, descending=True)[0]), "not only how many"),
        (remove, lambda *x: masks_words(*x).nan_to_num(), "the input tokens are masked too"),
        (probe, lambda g: False, "no fault with any"),
        (probe, lambda g: True, "fault with every"),
        (probe, lambda g: not padded(g), "the other way round"),
        (probe, lambda g: padded(g, sides=["right"]), "padding on the left"),
        (probe, lambda g: padded(g, sides=["left"]), "padding on the right"),
        (probe, lambda g: padded(g, fill=0.0), "padding of zeros"),
        (probe, lambda g: padded(g, tolerance=10.0), "no fault"),
        (probe, lambda g: padded(g, tolerance=0.0, words=7), "tolerance"),
        (probe, lambda g: padded(g, tolerance=1e-3), "a thousandth"),
        (probe, lambda g: padded(g, fill=math.nan), "NaN > 1e-5 is False"),
        (probe, only_contents, "change the amount too"),
        (probe, lambda g: "safe", "got safe"),
    ],
)
def test_each_usual_mistake_gets_its_own_diagnosis(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and diagnosis in said


@pytest.mark.parametrize("check", [gate, mean, prefix, remove, probe])
def test_an_unsolved_exercise_says_so(check, capsys):
    def unsolved(*inputs):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"
