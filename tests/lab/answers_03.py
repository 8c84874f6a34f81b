"""Answers to the exercises of lesson 03: how they came about is said in test_answers.py."""

import math
from fractions import Fraction
from itertools import combinations, pairwise

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from torch import nn

from apt_minimal import course as exercises
from apt_minimal.attention import attention_weights, scaled_dot_product_attention


def cut(p, query):
    """[l, d] -> [b, h, l, d_h], as the text asks."""
    return repeat(p, "l (h d_h) -> b h l d_h", b=query.shape[0], h=query.shape[1])


def wider(mask, l, value=True):
    return None if mask is None else F.pad(mask, (l, 0), value=value)


def where_mask(change):
    """What to do to a mask where there is one."""
    return lambda mask, l: None if mask is None else change(mask, l)


# 3.1: prefix_attention(query, key, value, prefix_key, prefix_value, mask)


def e1(cut_key=cut, cut_value=None, widen=wider, attend=scaled_dot_product_attention, behind=False):
    """E1 in steps, each of which can be got wrong."""

    def answer(query, key, value, prefix_key, prefix_value, mask):
        p_k, p_v = cut_key(prefix_key, query), (cut_value or cut_key)(prefix_value, query)
        order = -1 if behind else 1
        key, value = (torch.cat(pair[::order], dim=2) for pair in ([p_k, key], [p_v, value]))
        return attend(query, key, value, widen(mask, len(prefix_key)))

    return answer


def prefix_by_loops(query, key, value, prefix_key, prefix_value, mask):
    b, h, n, d_h = query.shape
    l = len(prefix_key)
    output, weights = torch.zeros_like(query), torch.zeros(b, h, n, l + n, dtype=query.dtype)
    for i, j, t in torch.cartesian_prod(*map(torch.arange, (b, h, n))).tolist():
        columns = slice(j * d_h, (j + 1) * d_h)
        keys = [*prefix_key[:, columns], *key[i, j]]
        values = [*prefix_value[:, columns], *value[i, j]]
        seen = [p < l or mask is None or bool(mask[i, 0, 0, p - l]) for p in range(l + n)]
        scores = [float(query[i, j, t].double() @ k.double()) / math.sqrt(d_h) for k in keys]
        top = max(s for s, yes in zip(scores, seen, strict=True) if yes)
        e = [math.exp(s - top) if yes else 0.0 for s, yes in zip(scores, seen, strict=True)]
        for p in range(l + n):
            weights[i, j, t, p] = e[p] / sum(e)
            output[i, j, t] += e[p] / sum(e) * values[p]
    return output, weights


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


def prefix_by_torch_function(query, key, value, prefix_key, prefix_value, mask):
    def ahead(p, x):
        return torch.cat([p.view(len(p), x.shape[1], -1).transpose(0, 1).expand(len(x), -1, -1, -1), x], -2)

    k, v = ahead(prefix_key, key), ahead(prefix_value, value)
    if mask is not None:
        mask = torch.cat([torch.ones(*mask.shape[:3], len(prefix_key), dtype=torch.bool), mask], dim=-1)
    eye = torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:3], -1)
    return [F.scaled_dot_product_attention(query, k, x, attn_mask=mask) for x in (v, eye)]


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
    return torch.stack(outputs, 1), torch.stack(weights, 1)


class WithAdditiveMask(nn.Module):
    def forward(self, query, key, value, prefix_key, prefix_value, mask):
        k = torch.cat([cut(prefix_key, query), key], 2)
        scores = query @ k.transpose(-2, -1) / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores + F.pad(torch.zeros(mask.shape).masked_fill(~mask, -math.inf), (len(prefix_key), 0))
        weights = torch.softmax(scores, -1)
        return weights @ torch.cat([cut(prefix_value, query), value], 2), weights


RIGHT_3_1 = {
    "package_attention": e1(),
    "loops": prefix_by_loops,
    "e4_log_space_float64": prefix_by_e4,
    "torch_function_as_list": prefix_by_torch_function,
    "head_by_head_in_place": prefix_head_by_head,
    "module_additive_mask": WithAdditiveMask(),
}


def attend_with(scale=None, fill=-math.inf, lower=None):
    """An attention with a wrong scale, or a wrong number for hidden scores or taken from them."""

    def attend(query, key, value, mask):
        scores = query @ key.mT / (math.sqrt(query.shape[-1]) if scale is None else scale(query))
        if mask is not None:
            scores = scores.masked_fill(~mask, fill) if lower is None else scores - lower * ~mask
        weights = scores.softmax(-1)
        return weights @ value, weights

    return attend


def mass_of_masked_input(query, key, value, prefix_key, prefix_value, mask):
    _, weights = e1()(query, key, value, prefix_key, prefix_value, None)
    m = weights[..., : len(prefix_key)].sum(-1, keepdim=True)
    prefix, p_w = scaled_dot_product_attention(query, cut(prefix_key, query), cut(prefix_value, query))
    inner, w = scaled_dot_product_attention(query, key, value, mask)
    return m * prefix + (1 - m) * inner, torch.cat([m * p_w, (1 - m) * w], -1)


def padded_queries_zero(query, key, value, prefix_key, prefix_value, mask):
    output, weights = e1()(query, key, value, prefix_key, prefix_value, mask)
    return (output, weights) if mask is None else (output * mask.mT, weights * mask.mT)


def interleaved(p, query):
    return repeat(p, "l (d_h h) -> b h l d_h", b=query.shape[0], h=query.shape[1])


def first_tokens_of(mask):
    """The mask of sentences that are as long, with all padding on the right."""
    return torch.arange(mask.shape[-1]) < mask.sum(-1, keepdim=True)


WRONG_3_1 = {
    "mask_false": ("the mask is widened with False", e1(widen=lambda mask, l: wider(mask, l, False))),
    "mask_of_first_example": ("the first one's mask for all", e1(widen=where_mask(lambda m, l: wider(m[:1], l)))),
    "padding_on_the_right": ("takes lengths", e1(widen=where_mask(lambda m, l: wider(first_tokens_of(m), l)))),
    "fill_minus_30": ("hidden scores are −30, not −∞", e1(attend=attend_with(fill=-30.0))),
    "fill_minus_500": ("hidden scores are −500, which seen ones may be", e1(attend=attend_with(fill=-500.0))),
    "minus_1000": ("hidden scores are lowered by 1000: from 500 to −500", e1(attend=attend_with(lower=1000.0))),
    "mass_without_mask": ("the mass counts hidden tokens", mass_of_masked_input),
    "padded_queries_zero": ("the mask hides queries, too", padded_queries_zero),
    "values_interleaved": ("P_v is cut as (d_h h)", e1(cut_value=interleaved)),
    "heads_reversed_in_values": ("P_v's heads are in reverse order", e1(cut_value=lambda p, q: cut(p, q).flip(1))),
    "view_mixes_tokens": (
        "reshaped to [h, l, d_h] without a transpose",
        e1(lambda p, q: p.reshape(q.shape[1], len(p), -1).expand(len(q), -1, -1, -1)),
    ),
    "two_heads": ("h = 2 is written in", e1(lambda p, q: repeat(p, "l (h d_h) -> b h l d_h", h=2, b=len(q)))),
    "scale_of_n": ("√n instead of √d_h", e1(attend=attend_with(lambda q: math.sqrt(q.shape[2])))),
    "behind_and_interleaved": (
        "the prefix behind, its columns interleaved",
        e1(interleaved, behind=True, widen=where_mask(lambda m, l: F.pad(m, (0, l), value=True))),
    ),
    "squeezed": ("an axis of one token is lost", lambda *x: tuple(y.squeeze(2) for y in e1()(*x))),
}


# 3.2: mass(query, key, l, mask)


def mass_by_loops(query, key, l, mask):
    m = query.new_zeros(query.shape[:3])
    for b, h, n in torch.cartesian_prod(*map(torch.arange, m.shape)).tolist():
        scores = (key[b, h].double() @ query[b, h, n].double() / math.sqrt(query.shape[-1])).tolist()
        if mask is not None:
            scores = [s if yes else -math.inf for s, yes in zip(scores, mask[b, 0, 0].tolist(), strict=True)]
        e = [math.exp(s - max(scores)) for s in scores]
        m[b, h, n] = math.fsum(e[:l]) / math.fsum(e)
    return m


def mass_by_sigmoid(query, key, l, mask):
    scores = einsum(query, key, "b h n d, b h k d -> b h n k") / query.shape[-1] ** 0.5
    scores = scores if mask is None else torch.where(mask, scores, -math.inf)
    return torch.sigmoid(scores[..., :l].logsumexp(-1) - scores[..., l:].logsumexp(-1))


def mass_by_torch_function(query, key, l, mask):
    mark = (torch.arange(key.shape[2]) < l).to(query.dtype).view(1, 1, -1, 1).expand(*key.shape[:2], -1, 1)
    return F.scaled_dot_product_attention(query, key, mark.contiguous(), attn_mask=mask).squeeze(-1)


def mass_in_place(query, key, l, mask):
    e = torch.matmul(query, key.mT).mul_(query.shape[-1] ** -0.5)
    if mask is not None:
        e.masked_fill_(mask.logical_not(), torch.finfo(e.dtype).min)
    e.sub_(e.amax(dim=3, keepdim=True)).exp_()
    return e.narrow(3, 0, l).sum(3).div_(e.sum(3))


class Mass:
    def __call__(self, query, key, l, mask):
        weights = attention_weights(query, key, mask)
        return reduce(weights[:, :, :, :l], "b h n l -> b h n", "sum")


RIGHT_3_2 = {
    "class_package_weights": Mass(),
    "loops": mass_by_loops,
    "sigmoid": mass_by_sigmoid,
    "torch_function": mass_by_torch_function,
    "in_place": mass_in_place,
    "what_the_input_leaves": lambda q, k, l, mask: 1 - attention_weights(q, k, mask)[..., l:].sum(-1),
}


def soft(scale=None, keep=lambda mask, l: mask, fill=-math.inf, dim=-1, take=lambda w, l: w[..., :l].sum(-1)):
    """A mass whose scale, mask, axis or sum can be got wrong."""

    def answer(query, key, l, mask):
        scores = query @ key.mT / (math.sqrt(query.shape[-1]) if scale is None else scale(query, key))
        mask = keep(mask, l)
        return take((scores if mask is None else scores.masked_fill(~mask, fill)).softmax(dim), l)

    return answer


def by_hand(largest, hide_late=False, dtype=torch.float32):
    """Exponentials taken by hand, with `largest(scores)` subtracted."""

    def answer(query, key, l, mask):
        scores = query.to(dtype) @ key.to(dtype).mT / math.sqrt(query.shape[-1])
        if mask is not None and not hide_late:
            scores = scores.masked_fill(~mask, -math.inf)
        e = (scores - largest(scores)).exp()
        e = e * mask if mask is not None and hide_late else e
        return (e[..., :l].sum(-1) / e.sum(-1)).to(query.dtype)

    return answer


def mass_lowered(query, key, l, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores - 2000.0 * ~mask).softmax(-1)[..., :l].sum(-1)


WRONG_3_2 = {
    "one_too_few": ("l − 1 of the l tokens", soft(take=lambda w, l: w[..., : l - 1].sum(-1))),
    "three_tokens": ("l = 3 is written in", soft(take=lambda w, l: w[..., :3].sum(-1))),
    "heads_averaged": (
        "averaged over the heads",
        soft(take=lambda w, l: w[..., :l].sum(-1).mean(1, keepdim=True).expand(w.shape[:3])),
    ),
    "softmax_over_queries": ("softmax over the queries", soft(dim=-2)),
    "scale_of_keys": ("√(l + n) instead of √d_h", soft(lambda q, k: math.sqrt(k.shape[2]))),
    "mask_of_first_example": ("the first one's mask for all", soft(keep=where_mask(lambda m, l: m[:1]))),
    "mask_inverted_on_input": (
        "True = hidden, but for the prefix",
        soft(keep=where_mask(lambda m, l: torch.cat([m[..., :l], ~m[..., l:]], -1))),
    ),
    "padding_on_the_right": ("takes lengths", soft(keep=where_mask(lambda m, l: first_tokens_of(m)))),
    "fill_minus_100": ("hidden scores are −100, not −∞", soft(fill=-100.0)),
    "fill_minus_1000": ("hidden scores are −1000, which seen ones may be", soft(fill=-1000.0)),
    "minus_2000": ("hidden scores are lowered by 2000: from 1000 to −1000", mass_lowered),
    "overall_maximum": ("subtracts the maximum of the whole tensor", by_hand(lambda s: s.max())),
    "largest_of_hidden_too": (
        "subtracts a hidden maximum: 0/0 where the seen scores are far below",
        by_hand(lambda s: s.amax(-1, keepdim=True), hide_late=True),
    ),
    "overflow_in_float64": ("e^score in float64, which overflows at 710", by_hand(lambda s: 0, dtype=torch.float64)),
    "no_scale_no_mask": ("no scale and no mask", soft(lambda q, k: 1, keep=lambda mask, l: None)),
}


# 3.3: undo_prefix(output, mass, prefix_output)


def undo_by_loops(output, mass, prefix_output):
    undone = torch.empty_like(output)
    for index in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        m = mass[tuple(index[:3])].item()
        undone[tuple(index)] = (output[tuple(index)].item() - m * prefix_output[tuple(index)].item()) / (1 - m)
    return undone


class Undo(nn.Module):
    def forward(self, output, mass, prefix_output):
        o, p = (rearrange(x, "b h n d -> d b h n") for x in (output, prefix_output))
        return rearrange((o - mass * p) / (1 - mass), "d b h n -> b h n d")


def undo_in_place(output, mass, prefix_output):
    undone = output.clone()
    for i in range(output.shape[-1]):
        undone[..., i].sub_(mass.mul(prefix_output[..., i])).div_(mass.neg().add(1))
    return undone


def undo_by_solving(output, mass, prefix_output):
    m = mass.double().flatten()
    right = (output.double() - mass.double()[..., None] * prefix_output.double()).reshape(len(m), -1)
    return torch.linalg.solve(torch.diag(1 - m), right).view_as(output).to(output.dtype)


def undo(spread=lambda m, o: m[..., None], formula=lambda o, m, p: (o - m * p) / (1 - m)):
    """E4 solved, where the mass can be spread over the wrong axis, or the formula be wrong."""
    return lambda o, m, p: formula(o, spread(m, o), p)


RIGHT_3_3 = {
    "none_axis": undo(),
    "loops": undo_by_loops,
    "module_axis_in_front": Undo(),
    "in_place_on_a_copy": undo_in_place,
    "solved_in_float64": undo_by_solving,
    "lerp": lambda o, m, p: torch.lerp(p, o, 1 / (1 - m.unsqueeze(3))),
    "further_away": lambda o, m, p: o + einsum(m / (1 - m), o - p, "b h n, b h n d -> b h n d"),
}


WRONG_3_3 = {
    "not_divided": ("not divided by 1 − m", undo(formula=lambda o, m, p: o - m * p)),
    "prefix_out_of_output": ("m and 1 − m swapped", undo(formula=lambda o, m, p: (o - (1 - m) * p) / m)),
    "bracket": ("a bracket is missing", undo(formula=lambda o, m, p: o - m * p / (1 - m))),
    "one_plus_m": ("divided by 1 + m", undo(formula=lambda o, m, p: (o - m * p) / (1 + m))),
    "prefix_returned": ("returns the prefix's output", lambda o, m, p: p),
    "not_unsqueezed": ("[b, h, n] against [b, h, n, d_h] as it is", undo(lambda m, o: m)),
    "along_d_h": ("mass along d_h instead of the queries", undo(lambda m, o: m[:, :, None])),
    "axis_only_if_needed": (
        "no new axis where the shapes broadcast without one",
        undo(lambda m, o: m if m.shape == o.shape[1:] else m[..., None]),
    ),
    "heads_for_queries": ("heads and queries mixed up", undo(lambda m, o: m.mT.reshape(m.shape)[..., None])),
    "first_example": ("the first example's mass for all", undo(lambda m, o: m[:1, ..., None])),
    "clamped": ("mass clamped to 0.15 … 0.85", undo(lambda m, o: m.clamp(0.15, 0.85)[..., None])),
    "squeezed": ("axes of 1 are lost", lambda *x: undo()(*x).squeeze()),
    "along_d_h_not_divided": (
        "mass along d_h, and not divided",
        undo(lambda m, o: m[:, :, None], lambda o, m, p: o - m * p),
    ),
}


# 3.4: can_a_prefix(before, after)


def can_by_loops(before, after):
    before, after = before.tolist(), after.tolist()
    for i, j in combinations(range(len(before)), 2):
        if before[i] * after[j] != before[j] * after[i]:
            return False
    return 0 < sum(after) < 1


def can_by_fractions(before, after):
    factors = {Fraction(y) / Fraction(x) for x, y in zip(before.tolist(), after.tolist(), strict=True)}
    return len(factors) == 1 and 0 < factors.pop() < 1


class Can:
    def __call__(self, before, after):
        kept = after.double().sum().item()
        return 0 < kept < 1 and all(y == kept * x for x, y in zip(before.double(), after.double(), strict=True))


def can_in_log_space(before, after):
    if (after <= 0).any():
        return False
    factors = after.double().log() - before.double().log()
    return bool(factors.max() < -1e-12 and factors.max() - factors.min() < 1e-9)


def can_by_making_the_prefix(before, after):
    m = 1 - after.double().sum().item()
    if m <= 0 or m >= 1:
        return False
    prefix_score = torch.tensor([math.log(m / (1 - m))], dtype=torch.float64)
    weights = torch.cat([prefix_score, before.double().log()]).softmax(0)
    return torch.allclose(weights[1:], after.double(), rtol=1e-9, atol=1e-12)


RIGHT_3_4 = {
    "one_factor": lambda x, y: bool((y / x == y[0] / x[0]).all() and 0 < y[0] < x[0]),
    "loops_over_pairs": can_by_loops,
    "fractions": can_by_fractions,
    "class": Can(),
    "log_space": can_in_log_space,
    "the_prefix_made": can_by_making_the_prefix,
    "no_negative_sum": lambda x, y: proportional(x, y) and bool(y.any()) and y.sum().item() < 1,  # none is negative
    "absolute": lambda x, y: proportional(x, y.abs()) and between(y.abs()),
    "minimum_is_maximum": lambda x, y: (lambda r: 0 < min(r) == max(r) < 1)((y / x).tolist()),
}


def proportional(x, y):
    return bool((y / x == (y / x)[0]).all())


def between(y):
    return 0 < y.sum().item() < 1


def can_without_zeros(before, after):
    kept = after != 0
    ratios = after[kept] / before[kept]
    return bool(kept.any() and (ratios == ratios[0]).all() and 0 < ratios[0] < 1)


WRONG_3_4 = {
    "any_factor": ("any common factor will do", proportional),
    "factor_0_and_1": ("m = 0 and m = 1 are allowed", lambda x, y: proportional(x, y) and 0 <= y.sum().item() <= 1),
    "order_and_smaller": (
        "the same order, every weight smaller",
        lambda x, y: torch.equal(x.argsort(), y.argsort()) and bool(((y < x) & (y > 0)).all()),
    ),
    "sorted": (
        "the largest in its place, the others compared sorted",
        lambda x, y: proportional(x.sort().values, y.sort().values) and between(y) and bool(x.argmax() == y.argmax()),
    ),
    "in_pairs": (
        "tokens 1 and 2, 3 and 4, … compared",
        lambda x, y: all(x[i] * y[i + 1] == x[i + 1] * y[i] for i in range(0, len(x) - 1, 2)) and between(y),
    ),
    "no_neighbours": (
        "a token alone has no ratio to compare",
        lambda x, y: len(x) > 1 and not (y / x).diff().any() and between(y),
    ),
    "factor_up_to_095": ("a factor above 0.95 counts as 1", lambda x, y: proportional(x, y) and 0 < y.sum() < 0.95),
    "one_token_true": ("n = 1 is always True", lambda x, y: len(x) == 1 or (proportional(x, y) and between(y))),
    "ratios_about_equal": (
        "ratios equal to one tenth",
        lambda x, y: torch.allclose(y / x, (y / x)[:1], atol=0.1) and between(y),
    ),
    "ratios_rounded": (
        "ratios equal to two decimals",
        lambda x, y: len({round(r, 2) for r in (y / x).tolist()}) == 1 and between(y),
    ),
    "weights_about_equal": (
        "weights equal to 0.02",
        lambda x, y: torch.allclose(y, x * y.sum(), atol=0.02) and between(y),
    ),
    "zeros_skipped": ("zeros are left out of the comparison", can_without_zeros),
    "zeros_in_products": (
        "0 · a = 0 · b: zeros pass the cross product",
        lambda x, y: all(a * d == b * c for (a, b), (c, d) in pairwise(zip(x, y, strict=True))) and y.sum().item() < 1,
    ),
}

CHECKS = [
    (exercises.check_prefix_attention, RIGHT_3_1, WRONG_3_1),
    (exercises.check_prefix_mass, RIGHT_3_2, WRONG_3_2),
    (exercises.check_undo_prefix, RIGHT_3_3, WRONG_3_3),
    (exercises.check_can_a_prefix, RIGHT_3_4, WRONG_3_4),
]
