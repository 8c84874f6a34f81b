"""Answers to the exercises of lesson 03."""

import math
from fractions import Fraction
from itertools import combinations

import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from apt_minimal import course

e1, mass = course.check_prefix_attention.solution, course.check_prefix_mass.solution


def prefix_by_e4(query, key, value, prefix_key, prefix_value, mask):
    q, k, v, p_k, p_v = (x.double() for x in (query, key, value, prefix_key, prefix_value))
    p_k, p_v = (x.unflatten(1, (q.shape[1], -1)).movedim(1, 0) for x in (p_k, p_v))  # [h, l, d_h]
    of_input = einsum(q, k, "b h n d, b h k d -> b h n k") * q.shape[-1] ** -0.5
    if mask is not None:
        of_input = torch.where(mask, of_input, -torch.inf)
    of_prefix = einsum(q, p_k, "b h n d, h l d -> b h n l") * q.shape[-1] ** -0.5
    total = torch.logaddexp(of_input.logsumexp(-1, keepdim=True), of_prefix.logsumexp(-1, keepdim=True))
    w_x, w_p = (of_input - total).exp(), (of_prefix - total).exp()
    output = w_x @ v + einsum(w_p, p_v, "b h n l, h l d -> b h n d")
    return output.to(query.dtype), torch.cat([w_p, w_x], dim=-1).to(query.dtype)


def prefix_head_by_head(query, key, value, prefix_key, prefix_value, mask):
    outputs, weights = [], []
    for i, columns in enumerate(torch.arange(prefix_key.shape[1]).chunk(query.shape[1])):
        k = torch.cat([prefix_key[:, columns].expand(len(query), -1, -1), key[:, i]], dim=1)
        v = torch.cat([prefix_value[:, columns].expand(len(query), -1, -1), value[:, i]], dim=1)
        scores = torch.bmm(query[:, i], k.mT).div_(math.sqrt(query.shape[-1]))
        if mask is not None:
            scores[..., len(prefix_key) :].masked_fill_(~mask[:, 0], torch.finfo(scores.dtype).min)
        weights.append(scores.sub_(scores.amax(-1, keepdim=True)).exp_())
        weights[-1] /= weights[-1].sum(-1, keepdim=True)
        outputs.append(weights[-1] @ v)
    return [torch.stack(outputs, 1), torch.stack(weights, 1)]


def prefix_with(fill=-math.inf, lower=0.0, size=None):
    """E1 with a wrong number for hidden scores or taken from them, or a wrong size in the root."""

    def answer(query, key, value, prefix_key, prefix_value, mask):
        l = len(prefix_key)
        p_k, p_v = (rearrange(p, "l (h d) -> h l d", h=query.shape[1]) for p in (prefix_key, prefix_value))
        keys, values = (torch.cat([p.expand(len(x), *p.shape), x], 2) for p, x in ((p_k, key), (p_v, value)))
        scores = query @ keys.mT / math.sqrt(size(query) if size else query.shape[-1])
        if mask is not None:
            hidden = ~F.pad(mask, (l, 0), value=True)
            scores = scores - lower * hidden if lower else scores.masked_fill(hidden, fill)
        return scores.softmax(-1) @ values, scores.softmax(-1)

    return answer


def with_lengths(f, mask_at):
    """An answer that takes lengths from the mask, as if all padding stood behind."""

    def answer(*inputs):
        mask = inputs[mask_at]
        behind = None if mask is None else torch.arange(mask.shape[-1]) < mask.sum(-1, keepdim=True)
        return f(*inputs[:mask_at], behind)

    return answer


WRONG_3_1 = {
    "lengths": with_lengths(e1, 5),
    "fill_minus_500": prefix_with(fill=-500.0),
    "minus_1000": prefix_with(lower=1000.0),
    "root_of_n": prefix_with(size=lambda query: query.shape[2]),
    "heads_of_values_reversed": lambda q, k, v, p_k, p_v, m: e1(
        q, k, v, p_k, rearrange(p_v, "l (h d) -> l h d", h=q.shape[1]).flip(1).flatten(1), m
    ),
    "squeezed": lambda *x: tuple(y.squeeze(2) for y in e1(*x)),
}


def mass_by_sigmoid(query, key, l, mask):
    scores = einsum(query, key, "b h n d, b h k d -> b h n k") / query.shape[-1] ** 0.5
    scores = scores if mask is None else torch.where(mask, scores, -math.inf)
    return torch.sigmoid(scores[..., :l].logsumexp(-1) - scores[..., l:].logsumexp(-1))


def mass_by_torch_function(query, key, l, mask):
    mark = (torch.arange(key.shape[2]) < l).to(query.dtype).view(1, 1, -1, 1).expand(*key.shape[:2], -1, 1)
    return F.scaled_dot_product_attention(query, key, mark.contiguous(), attn_mask=mask).squeeze(-1)


def by_hand(largest=lambda scores: scores.amax(-1, keepdim=True), hide_late=False, fill=-math.inf, lower=0.0):
    """Exponentials taken by hand, with `largest(scores)` subtracted."""

    def answer(query, key, l, mask):
        scores = query.double() @ key.double().mT / math.sqrt(query.shape[-1])
        if mask is not None and not hide_late:
            scores = scores - lower * ~mask if lower else scores.masked_fill(~mask, fill)
        e = (scores - largest(scores)).exp()
        e = e * mask if mask is not None and hide_late else e
        return (e[..., :l].sum(-1) / e.sum(-1)).to(query.dtype)

    return answer


WRONG_3_2 = {
    "three_tokens": lambda q, k, l, mask: mass(q, k, 3, mask),
    "lengths": with_lengths(mass, 3),
    "heads_averaged": lambda *x: mass(*x).mean(1, keepdim=True).expand(x[0].shape[:3]),
    "root_of_keys": lambda q, k, l, mask: mass(q * math.sqrt(q.shape[-1] / k.shape[2]), k, l, mask),
    "fill_minus_1000": by_hand(fill=-1000.0),
    "minus_2000": by_hand(lower=2000.0),
    "largest_of_all": by_hand(torch.max),
    "largest_of_hidden_too": by_hand(hide_late=True),
    "overflow_in_float64": by_hand(lambda scores: 0),
}


def undo_by_loops(output, mass, prefix_output):
    undone = torch.empty_like(output)
    for index in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        m = mass[tuple(index[:3])].item()
        undone[tuple(index)] = (output[tuple(index)].item() - m * prefix_output[tuple(index)].item()) / (1 - m)
    return undone


def undo_by_lerp(output, mass, prefix_output):
    return torch.lerp(prefix_output, output, 1 / (1 - mass[..., None]))


def undo_with(spread):
    """E4 solved, with the mass spread over the wrong axis."""
    return lambda o, m, p: (o - spread(m, o) * p) / (1 - spread(m, o))


WRONG_3_3 = {
    "axis_only_if_needed": undo_with(lambda m, o: m if m.shape == o.shape[1:] else m[..., None]),
    "heads_for_queries": undo_with(lambda m, o: m.mT.reshape(m.shape)[..., None]),
    "first_example": undo_with(lambda m, o: m[:1, ..., None]),
    "clamped": undo_with(lambda m, o: m.clamp(0.15, 0.85)[..., None]),
    "squeezed": lambda *x: undo_by_loops(*x).squeeze(),
}


def can_by_loops(before, after):
    before, after = before.tolist(), after.tolist()
    for i, j in combinations(range(len(before)), 2):
        if before[i] * after[j] != before[j] * after[i]:
            return False
    return 0 < sum(after) < 1


def can_by_fractions(before, after):
    factors = {Fraction(y) / Fraction(x) for x, y in zip(before.tolist(), after.tolist(), strict=True)}
    return len(factors) == 1 and 0 < factors.pop() < 1


def between(y):
    return 0 < y.sum().item() < 1


def can_without_zeros(before, after):
    kept = after != 0
    ratios = after[kept] / before[kept]
    return bool(kept.any() and (ratios == ratios[0]).all() and 0 < ratios[0] < 1)


WRONG_3_4 = {
    "sorted": lambda x, y: can_by_loops(x.sort().values, y.sort().values) and bool(x.argmax() == y.argmax()),
    "in_pairs": lambda x, y: between(y) and all(x[i] * y[i + 1] == x[i + 1] * y[i] for i in range(0, len(x) - 1, 2)),
    "no_neighbours": lambda x, y: len(x) > 1 and can_by_loops(x, y),
    "factor_up_to_095": lambda x, y: can_by_loops(x, y) and bool(y.sum() < 0.95),
    "one_token_true": lambda x, y: len(x) == 1 or can_by_loops(x, y),
    "order": lambda x, y: torch.equal(x.argsort(), y.argsort()) and bool(((y < x) & (y > 0)).all()),
    "ratios_to_one_thousandth": lambda x, y: torch.allclose(y, x * y.sum(), rtol=1e-3) and between(y),
    "weights_to_002": lambda x, y: torch.allclose(y, x * y.sum(), atol=0.02) and between(y),
    "zeros_skipped": can_without_zeros,
    "number_for_truth": lambda x, y: int(can_by_loops(x, y)),
}

CHECKS = [
    (course.check_prefix_attention, {"e4": prefix_by_e4, "head_by_head": prefix_head_by_head}, WRONG_3_1),
    (course.check_prefix_mass, {"sigmoid": mass_by_sigmoid, "torch": mass_by_torch_function}, WRONG_3_2),
    (course.check_undo_prefix, {"loops": undo_by_loops, "lerp": undo_by_lerp}, WRONG_3_3),
    (course.check_can_a_prefix, {"loops": can_by_loops, "fractions": can_by_fractions}, WRONG_3_4),
]
