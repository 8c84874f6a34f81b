"""Answers to the exercises of lesson 03, written from their text alone."""

import math
from fractions import Fraction
from itertools import combinations, pairwise

import pytest
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from torch import nn

from apt_minimal.attention import attention_weights, scaled_dot_product_attention, split_heads
from apt_minimal.lab import exercises


def cut(p, query):
    """[l, d] -> [b, h, l, d_h], as the text asks."""
    return repeat(p, "l (h d_h) -> b h l d_h", b=query.shape[0], h=query.shape[1])


def wider(mask, l, value=True):
    return None if mask is None else F.pad(mask, (l, 0), value=value)


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
    z_x, z_p = of_input.logsumexp(-1, keepdim=True), of_prefix.logsumexp(-1, keepdim=True)
    total = torch.logaddexp(z_x, z_p)
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
    "split_heads_and_expand": e1(lambda p, q: split_heads(p.expand(len(q), *p.shape), q.shape[1])),
}


def attend_with(scale=None, dim=-1, fill=-math.inf, after=False, twist=lambda output, weights: (output, weights)):
    """An attention with a wrong scale, axis, filling or result."""

    def attend(query, key, value, mask):
        scores = query @ key.mT / (math.sqrt(query.shape[-1]) if scale is None else scale(query))
        if mask is not None and not after:
            scores = scores.masked_fill(~mask, fill)
        weights = scores.softmax(dim)
        if mask is not None and after:
            weights = weights * mask
        return twist(weights @ value, weights)

    return attend


def two_softmaxes(query, key, value, prefix_key, prefix_value, mask):
    of_prefix = scaled_dot_product_attention(query, cut(prefix_key, query), cut(prefix_value, query))
    of_input = scaled_dot_product_attention(query, key, value, mask)
    return (of_prefix[0] + of_input[0]) / 2, torch.cat([of_prefix[1], of_input[1]], dim=-1) / 2


def mass_of_masked_input(query, key, value, prefix_key, prefix_value, mask):
    _, weights = e1()(query, key, value, prefix_key, prefix_value, None)
    m = weights[..., : len(prefix_key)].sum(-1, keepdim=True)
    prefix, p_w = scaled_dot_product_attention(query, cut(prefix_key, query), cut(prefix_value, query))
    inner, w = scaled_dot_product_attention(query, key, value, mask)
    return m * prefix + (1 - m) * inner, torch.cat([m * p_w, (1 - m) * w], -1)


def only_keys_scaled(query, key, value, prefix_key, prefix_value, mask):
    return e1()(query, key, value, prefix_key * math.sqrt(query.shape[-1]), prefix_value, mask)


def mask_changed(query, key, value, prefix_key, prefix_value, mask):
    result = e1()(query, key, value, prefix_key, prefix_value, mask)
    if mask is not None:
        mask.logical_not_()
    return result


def query_scaled_in_place(query, key, value, prefix_key, prefix_value, mask):
    query /= math.sqrt(query.shape[-1])
    return e1(attend=attend_with(lambda q: 1))(query, key, value, prefix_key, prefix_value, mask)


def prefix_scaled_in_place(query, key, value, prefix_key, prefix_value, mask):
    result = e1()(query, key, value, prefix_key, prefix_value, mask)
    prefix_value.mul_(0.5)
    return result


WRONG_3_1 = {
    "mask_ignored": ("the mask is ignored", e1(widen=lambda mask, l: None)),
    "mask_false": ("the mask is widened with False", e1(widen=lambda mask, l: wider(mask, l, False))),
    "mask_other_side": (
        "the mask is widened on the right",
        e1(widen=lambda mask, l: None if mask is None else F.pad(mask, (0, l), value=True)),
    ),
    "mask_inverted": (
        "the mask is read as True = hidden",
        e1(widen=lambda mask, l: None if mask is None else wider(~mask, l)),
    ),
    "mask_of_first_example": (
        "every example gets the first one's mask",
        e1(widen=lambda mask, l: None if mask is None else wider(mask[:1], l)),
    ),
    "mask_needed": ("crashes if mask is None", e1(widen=lambda mask, l: F.pad(mask, (l, 0), value=True))),
    "mask_fill_0": ("hidden scores are set to 0", e1(attend=attend_with(fill=0.0))),
    "mask_fill_minus_10": ("hidden scores are set to −10, not −∞", e1(attend=attend_with(fill=-10.0))),
    "mask_after_softmax": ("weights are zeroed after the softmax", e1(attend=attend_with(after=True))),
    "mass_without_mask": ("the mass counts hidden tokens", mass_of_masked_input),
    "prefix_behind": (
        "the prefix stands behind the input",
        e1(behind=True, widen=lambda mask, l: None if mask is None else F.pad(mask, (0, l), value=True)),
    ),
    "columns_interleaved": (
        "head 1 gets every h-th column",
        e1(lambda p, q: repeat(p, "l (d_h h) -> b h l d_h", b=q.shape[0], h=q.shape[1])),
    ),
    "view_mixes_tokens": (
        "reshaped to [h, l, d_h] without a transpose",
        e1(lambda p, q: p.reshape(q.shape[1], len(p), -1).expand(len(q), -1, -1, -1)),
    ),
    "heads_reversed_in_values": (
        "the value's heads are in reverse order",
        e1(cut_value=lambda p, q: cut(p, q).flip(1)),
    ),
    "columns_interleaved_in_values": (
        "the prefix's values are cut as (d_h h)",
        e1(cut_value=lambda p, q: repeat(p, "l (d_h h) -> b h l d_h", b=q.shape[0], h=q.shape[1])),
    ),
    "first_head_for_all": (
        "every head gets the first head's columns",
        e1(lambda p, q: cut(p, q)[:, :1].expand_as(cut(p, q))),
    ),
    "prefixes_swapped": (
        "P_k and P_v swapped",
        lambda q, k, v, p_k, p_v, mask: e1()(q, k, v, p_v, p_k, mask),
    ),
    "key_as_value": ("P_k as values, too", lambda q, k, v, p_k, p_v, mask: e1()(q, k, v, p_k, p_k, mask)),
    "values_zero": ("the prefix's values are left out", e1(cut_value=lambda p, q: torch.zeros_like(cut(p, q)))),
    "prefix_tokens_reversed": ("the prefix's tokens in reverse order", e1(lambda p, q: cut(p, q).flip(2))),
    "batch_of_1": (
        "the prefix is not repeated over the batch",
        e1(lambda p, q: rearrange(p, "l (h d_h) -> 1 h l d_h", h=q.shape[1])),
    ),
    "two_heads": ("h = 2 is written in", e1(lambda p, q: repeat(p, "l (h d_h) -> b h l d_h", h=2, b=len(q)))),
    "scale_of_d": ("√d instead of √d_h", e1(attend=attend_with(lambda q: math.sqrt(q.shape[1] * q.shape[3])))),
    "scale_of_n": ("√n instead of √d_h", e1(attend=attend_with(lambda q: math.sqrt(q.shape[2])))),
    "no_scale": ("no scale", e1(attend=attend_with(lambda q: 1))),
    "prefix_not_scaled": ("the prefix's scores are not divided by √d_h", only_keys_scaled),
    "two_softmaxes": ("two softmaxes, averaged", two_softmaxes),
    "softmax_over_queries": ("softmax over the queries", e1(attend=attend_with(dim=-2))),
    "two_mistakes": (
        "no scale, and the mask widened with False",
        e1(widen=lambda mask, l: wider(mask, l, False), attend=attend_with(lambda q: 1)),
    ),
    "behind_and_interleaved": (
        "prefix behind, columns interleaved",
        e1(
            lambda p, q: repeat(p, "l (d_h h) -> b h l d_h", b=len(q), h=q.shape[1]),
            behind=True,
            widen=lambda mask, l: None if mask is None else F.pad(mask, (0, l), value=True),
        ),
    ),
    "weights_of_input_only": (
        "returns the input's weights alone",
        e1(attend=attend_with(twist=lambda o, w: (o, w[..., -o.shape[2] :]))),
    ),
    "weights_input_first": (
        "returns the weights with the input's first",
        e1(attend=attend_with(twist=lambda o, w: (o, w.roll(o.shape[2], -1)))),
    ),
    "weights_averaged": (
        "weights averaged over the heads",
        e1(attend=attend_with(twist=lambda o, w: (o, w.mean(1, keepdim=True).expand_as(w)))),
    ),
    "heads_merged": (
        "returns [b, n, d]",
        e1(attend=attend_with(twist=lambda o, w: (rearrange(o, "b h n d -> b n (h d)"), w))),
    ),
    "output_only": ("returns the output alone", e1(attend=attend_with(twist=lambda o, w: o))),
    "swapped_results": ("returns weights, output", e1(attend=attend_with(twist=lambda o, w: (w, o)))),
    "without_prefix": ("no prefix at all", lambda q, k, v, p_k, p_v, mask: scaled_dot_product_attention(q, k, v, mask)),
    "mask_changed": ("changes the mask", mask_changed),
    "query_changed": ("divides the query in place", query_scaled_in_place),
    "prefix_changed": ("changes P_v in place", prefix_scaled_in_place),
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


def log_z(query, key, l, mask, scale=None):
    scores = einsum(query, key, "b h n d, b h k d -> b h n k") / (scale or math.sqrt(query.shape[-1]))
    if mask is not None:
        scores = torch.where(mask, scores, -math.inf)
    return scores[..., :l].logsumexp(-1), scores[..., l:].logsumexp(-1)


def mass_by_sigmoid(query, key, l, mask):
    prefix, inputs = log_z(query, key, l, mask)
    return torch.sigmoid(prefix - inputs)


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
    "quotient_of_logs": lambda *x: (lambda p, i: (p - torch.logaddexp(p, i)).exp())(*log_z(*x)),
    "one_over_one_plus": lambda *x: (lambda p, i: 1 / (1 + (i.double() - p.double()).exp()))(*log_z(*x)).float(),
}


def by_hand(largest, query, key, l, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    e = (scores - largest(scores)).exp()
    return e[..., :l].sum(-1) / e.sum(-1)


def soft_by(scale=None, keep=lambda mask, l: mask, dim=-1, take=lambda weights, l: weights[..., :l].sum(-1)):
    def answer(query, key, l, mask):
        scores = query @ key.mT / (math.sqrt(query.shape[-1]) if scale is None else scale(query, key))
        mask = keep(mask, l)
        return take((scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim), l)

    return answer


def mask_after(query, key, l, mask):
    weights = attention_weights(query, key)
    return (weights if mask is None else weights * mask)[..., :l].sum(-1)


def mask_as_number(query, key, l, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores * mask).softmax(-1)[..., :l].sum(-1)


def key_scaled_in_place(query, key, l, mask):
    key.div_(math.sqrt(query.shape[-1]))
    return soft_by(lambda q, k: 1)(query, key, l, mask)


def mask_switched_on(query, key, l, mask):
    m = soft_by()(query, key, l, mask)
    if mask is not None:
        mask[...] = True
    return m


def in_float16(query, key, l, mask):
    scores = (query @ key.mT / math.sqrt(query.shape[-1])).half()
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)[..., :l].sum(-1).float()


WRONG_3_2 = {
    "input_share": ("the input's share, 1 − m", soft_by(take=lambda w, l: w[..., l:].sum(-1))),
    "last_l": ("sums the last l weights", soft_by(take=lambda w, l: w[..., -l:].sum(-1))),
    "one_token": ("the first prefix token's weight alone", soft_by(take=lambda w, l: w[..., 0])),
    "one_too_few": ("l − 1 of the l tokens", soft_by(take=lambda w, l: w[..., : l - 1].sum(-1))),
    "one_too_many": ("l + 1 tokens", soft_by(take=lambda w, l: w[..., : l + 1].sum(-1))),
    "mean": ("mean instead of sum", soft_by(take=lambda w, l: w[..., :l].mean(-1))),
    "largest": ("the largest weight in the prefix", soft_by(take=lambda w, l: w[..., :l].amax(-1))),
    "three_tokens": ("l = 3 is written in", soft_by(take=lambda w, l: w[..., :3].sum(-1))),
    "keepdim": ("returns [b, h, n, 1]", soft_by(take=lambda w, l: w[..., :l].sum(-1, keepdim=True))),
    "not_summed": ("returns [b, h, n, l]", soft_by(take=lambda w, l: w[..., :l])),
    "first_l_queries": ("sums over the queries", soft_by(take=lambda w, l: w[..., :l].sum(-2))),
    "heads_averaged": (
        "averaged over the heads",
        soft_by(take=lambda w, l: w[..., :l].sum(-1).mean(1, True).expand(w.shape[:3])),
    ),
    "queries_averaged": (
        "averaged over the queries",
        soft_by(take=lambda w, l: w[..., :l].sum(-1).mean(2, True).expand(w.shape[:3])),
    ),
    "axes_swapped": ("returns [b, n, h]", soft_by(take=lambda w, l: w[..., :l].sum(-1).mT)),
    "rounded": ("rounded to two places", soft_by(take=lambda w, l: w[..., :l].sum(-1).round(decimals=2))),
    "softmax_over_queries": ("softmax over the queries", soft_by(dim=-2)),
    "no_scale": ("no scale", soft_by(lambda q, k: 1)),
    "scale_of_keys": ("√(l + n) instead of √d_h", soft_by(lambda q, k: math.sqrt(k.shape[2]))),
    "scale_twice": ("d_h instead of √d_h", soft_by(lambda q, k: q.shape[-1])),
    "mask_ignored": ("the mask is ignored", soft_by(keep=lambda mask, l: None)),
    "mask_inverted": (
        "the mask is read as True = hidden",
        soft_by(keep=lambda mask, l: None if mask is None else ~mask),
    ),
    "mask_inverted_on_input": (
        "True = hidden, prefix always seen",
        soft_by(keep=lambda mask, l: None if mask is None else torch.cat([mask[..., :l], ~mask[..., l:]], -1)),
    ),
    "mask_of_first_example": (
        "every example gets the first one's mask",
        soft_by(keep=lambda mask, l: None if mask is None else mask[:1]),
    ),
    "mask_shifted": ("the mask moved by l", soft_by(keep=lambda mask, l: None if mask is None else mask.roll(-l, -1))),
    "mask_needed": ("crashes if mask is None", soft_by(keep=lambda mask, l: mask.bool())),
    "mask_widened_again": ("widens the mask once more", soft_by(keep=wider)),
    "mask_after_softmax": ("weights are zeroed after the softmax", mask_after),
    "mask_as_number": ("scores times mask: hidden scores are 0", mask_as_number),
    "overflow": ("e^score overflows", lambda *x: by_hand(lambda s: 0, *x)),
    "overflow_to_half": ("e^score overflows, NaN replaced by ½", lambda *x: by_hand(lambda s: 0, *x).nan_to_num(0.5)),
    "overflow_in_float64": (
        "e^score in float64 without the maximum",
        lambda q, k, l, mask: by_hand(lambda s: 0, q.double(), k.double(), l, mask).float(),
    ),
    "clamped": ("scores clamped at 80", lambda *x: by_hand(lambda s: (s - 80).clamp(min=0), *x)),
    "overall_maximum": ("subtracts the maximum of the whole tensor", lambda *x: by_hand(lambda s: s.max(), *x)),
    "maximum_of_head": ("subtracts the maximum of each head", lambda *x: by_hand(lambda s: s.amax((2, 3), True), *x)),
    "maximum_over_queries": (
        "subtracts the maximum over the queries",
        lambda *x: by_hand(lambda s: s.amax(2, True), *x),
    ),
    "mean_subtracted": (
        "subtracts the mean",
        lambda *x: by_hand(lambda s: s.masked_fill(s.isinf(), 0).mean(-1, True), *x),
    ),
    "exp_of_logs": ("e^logsumexp overflows", lambda *x: (lambda p, i: p.exp() / (p.exp() + i.exp()))(*log_z(*x))),
    "sigmoid_flipped": ("σ(ln Z_X − ln Z_P)", lambda *x: (lambda p, i: (i - p).sigmoid())(*log_z(*x))),
    "ratio": ("Z_P / Z_X", lambda *x: (lambda p, i: (p - i).exp())(*log_z(*x))),
    "logs": ("ln m instead of m", lambda *x: (lambda p, i: p - torch.logaddexp(p, i))(*log_z(*x))),
    "counts": (
        "l / (l + n), whatever the scores",
        lambda q, k, l, mask: torch.full(q.shape[:3], l / k.shape[2]),
    ),
    "float16": ("scores in float16", in_float16),
    "no_scale_no_mask": ("no scale and no mask", soft_by(lambda q, k: 1, keep=lambda mask, l: None)),
    "key_changed": ("divides the key in place", key_scaled_in_place),
    "mask_changed": ("changes the mask", mask_switched_on),
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


RIGHT_3_3 = {
    "none_axis": lambda o, m, p: (o - m[..., None] * p) / (1 - m[..., None]),
    "loops": undo_by_loops,
    "module_axis_in_front": Undo(),
    "in_place_on_a_copy": undo_in_place,
    "solved_in_float64": undo_by_solving,
    "lerp": lambda o, m, p: torch.lerp(p, o, 1 / (1 - m.unsqueeze(3))),
    "further_away": lambda o, m, p: o + einsum(m / (1 - m), o - p, "b h n, b h n d -> b h n d"),
    "log_space": lambda o, m, p: o * (-torch.log1p(-m)).exp()[..., None] - p * torch.logit(m).exp()[..., None],
}


def undo_with(spread):
    """The right formula with the mass spread over the wrong axis or the wrong numbers."""
    return lambda o, m, p: (o - spread(m, o) * p) / (1 - spread(m, o))


def undo_changing_output(output, mass, prefix_output):
    output -= mass[..., None] * prefix_output
    return output / (1 - mass[..., None])


def undo_changing_prefix(output, mass, prefix_output):
    return (output - prefix_output.mul_(mass[..., None])) / (1 - mass[..., None])


def undo_changing_mass(output, mass, prefix_output):
    undone = output - mass[..., None] * prefix_output
    return undone / mass.neg_().add_(1)[..., None]


WRONG_3_3 = {
    "not_divided": ("not divided by 1 − m", lambda o, m, p: o - m[..., None] * p),
    "divided_by_m": ("divided by m", lambda o, m, p: (o - m[..., None] * p) / m[..., None]),
    "prefix_out_of_output": (
        "solves for the prefix's part",
        lambda o, m, p: (o - (1 - m[..., None]) * p) / m[..., None],
    ),
    "m_for_1_minus_m": (
        "m and 1 − m swapped in the numerator",
        lambda o, m, p: (o - (1 - m[..., None]) * p) / (1 - m[..., None]),
    ),
    "multiplied": ("multiplied by 1 − m", lambda o, m, p: (o - m[..., None] * p) * (1 - m[..., None])),
    "forward": ("E4 forwards: adds the prefix again", lambda o, m, p: (1 - m[..., None]) * o + m[..., None] * p),
    "plus": ("plus instead of minus", lambda o, m, p: (o + m[..., None] * p) / (1 - m[..., None])),
    "bracket": ("a bracket is missing", lambda o, m, p: o - m[..., None] * p / (1 - m[..., None])),
    "mass_on_output": ("only the output is divided", lambda o, m, p: o / (1 - m[..., None]) - m[..., None] * p),
    "prefix_not_weighted": ("P's output is subtracted whole", lambda o, m, p: (o - p) / (1 - m[..., None])),
    "difference": ("output − P's output", lambda o, m, p: o - p),
    "one_plus_m": ("divided by 1 + m", lambda o, m, p: (o - m[..., None] * p) / (1 + m[..., None])),
    "twice_divided": ("divided by (1 − m)²", lambda o, m, p: (o - m[..., None] * p) / (1 - m[..., None]) ** 2),
    "not_unsqueezed": ("[b, h, n] against [b, h, n, d_h] as it is", undo_with(lambda m, o: m)),
    "along_d_h": ("mass along d_h instead of the queries", undo_with(lambda m, o: m[:, :, None])),
    "heads_for_tokens": (
        "heads and queries of the mass mixed up",
        undo_with(lambda m, o: m.mT.reshape(m.shape)[..., None]),
    ),
    "axis_at_1": ("new axis at 1", undo_with(lambda m, o: m[:, None])),
    "axis_at_0": ("new axis at 0", undo_with(lambda m, o: m[None])),
    "half": ("m = ½ throughout", undo_with(lambda m, o: 0.5)),
    "mean_of_queries": ("mass averaged over the queries", undo_with(lambda m, o: m.mean(2, keepdim=True)[..., None])),
    "mean_of_heads": ("mass averaged over the heads", undo_with(lambda m, o: m.mean(1, keepdim=True)[..., None])),
    "first_head": ("the first head's mass for all", undo_with(lambda m, o: m[:, :1, :, None])),
    "first_example": ("the first example's mass for all", undo_with(lambda m, o: m[:1, ..., None])),
    "clamped": ("mass clamped to 0.2 … 0.8", undo_with(lambda m, o: m.clamp(0.2, 0.8)[..., None])),
    "rounded": ("mass rounded to one place", undo_with(lambda m, o: m.round(decimals=1)[..., None])),
    "along_d_h_not_divided": ("mass along d_h, and not divided", lambda o, m, p: o - m[:, :, None] * p),
    "prefix_returned": ("returns P's output", lambda o, m, p: p),
    "output_returned": ("returns the output as it is", lambda o, m, p: o),
    "heads_merged": ("returns [b, n, d]", lambda *x: rearrange(RIGHT_3_3["none_axis"](*x), "b h n d -> b n (h d)")),
    "float16": ("in float16", lambda o, m, p: RIGHT_3_3["none_axis"](o.half(), m.half(), p.half()).to(o.dtype)),
    "output_changed": ("changes the output in place", undo_changing_output),
    "prefix_changed": ("changes P's output in place", undo_changing_prefix),
    "mass_changed": ("changes the mass in place", undo_changing_mass),
}


# 3.4: can_a_prefix(before, after)


def can_by_loops(before, after):
    before, after = before.tolist(), after.tolist()
    for i in range(len(before)):
        for j in range(i):
            if before[i] * after[j] != before[j] * after[i]:
                return False
    return 0 < sum(after) < 1


def can_by_fractions(before, after):
    factors = {Fraction(y) / Fraction(x) for x, y in zip(before.tolist(), after.tolist(), strict=True)}
    return len(factors) == 1 and 0 < factors.pop() < 1


class Can:
    def __call__(self, before, after):
        kept = after.double().sum().item()
        if not 0 < kept < 1:
            return False
        return all(y == kept * x for x, y in zip(before.double(), after.double(), strict=True))


def can_in_log_space(before, after):
    if (after <= 0).any():
        return False
    factors = after.double().log() - before.double().log()
    return bool(factors.max() < -1e-12 and factors.max() - factors.min() < 1e-9)


def can_by_making_the_prefix(before, after):
    m = 1 - after.double().sum().item()
    if m <= 0 or m >= 1:
        return False
    scores = torch.cat([torch.tensor([math.log(m / (1 - m))], dtype=torch.float64), before.double().log()])
    return torch.allclose(scores.softmax(0)[1:], after.double(), rtol=1e-9, atol=1e-12)


RIGHT_3_4 = {
    "one_factor": lambda x, y: bool((y / x == y[0] / x[0]).all() and 0 < y[0] < x[0]),
    "loops_over_pairs": can_by_loops,
    "fractions": can_by_fractions,
    "class": Can(),
    "log_space": can_in_log_space,
    "the_prefix_made": can_by_making_the_prefix,
    "sum_times_before": lambda x, y: 0 < float(y.sum()) < 1 and torch.equal(y, x * y.sum()),
    "rank": lambda x, y: bool((torch.outer(x, y) == torch.outer(y, x)).all()) and 0 < y.sum().item() < 1,
    "minimum_is_maximum": lambda x, y: (lambda r: 0 < min(r) == max(r) < 1)((y / x).tolist()),
}


def proportional(x, y):
    return bool((y / x == (y / x)[0]).all())


def can_without_zeros(before, after):
    kept = after != 0
    ratios = after[kept] / before[kept]
    return bool(kept.any() and (ratios == ratios[0]).all() and 0 < ratios[0] < 1)


def can_changing(before, after):
    answer = RIGHT_3_4["one_factor"](before, after)
    after /= after.sum()
    return answer


def can_changing_before(before, after):
    before *= after.sum()
    return bool(torch.equal(before, after) and 0 < after.sum() < 1)


WRONG_3_4 = {
    "any_factor": ("any common factor will do", proportional),
    "factor_1": ("m = 0 is allowed", lambda x, y: proportional(x, y) and 0 < y.sum().item() <= 1),
    "factor_0": ("m = 1 is allowed", lambda x, y: proportional(x, y) and 0 <= y.sum().item() < 1),
    "factor_0_and_1": ("m = 0 and m = 1 are allowed", lambda x, y: proportional(x, y) and 0 <= y.sum().item() <= 1),
    "factor_negative": (
        "a negative factor is allowed",
        lambda x, y: proportional(x, y) and y.sum().item() < 1 and y[0].item() != 0,
    ),
    "factor_above_1": (
        "a factor above 1 is allowed",
        lambda x, y: proportional(x, y) and y[0].item() > 0 and y.sum().item() != 1,
    ),
    "absolute": ("signs are ignored", lambda x, y: proportional(x, y.abs()) and 0 < y.abs().sum().item() < 1),
    "absolute_factor": ("|after.sum()| below 1", lambda x, y: proportional(x, y) and 0 < abs(y.sum().item()) < 1),
    "sum": ("looks at the sum alone", lambda x, y: 0 < y.sum().item() < 1),
    "all_smaller": ("every weight smaller", lambda x, y: bool(((y < x) & (y > 0)).all())),
    "all_smaller_or_zero": ("every weight between 0 and before", lambda x, y: bool(((y < x) & (y >= 0)).all())),
    "same_order": (
        "the same order, and a sum below 1",
        lambda x, y: torch.equal(x.argsort(), y.argsort()) and 0 < y.sum().item() < 1,
    ),
    "sorted": (
        "compares them sorted",
        lambda x, y: RIGHT_3_4["one_factor"](x.sort().values, y.sort().values),
    ),
    "order_and_smaller": (
        "the same order, every weight smaller",
        lambda x, y: torch.equal(x.argsort(), y.argsort()) and bool(((y < x) & (y > 0)).all()),
    ),
    "same_difference": (
        "the same difference instead of the same factor",
        lambda x, y: bool((x - y == (x - y)[0]).all()) and 0 < y.sum().item() < 1,
    ),
    "two_tokens": ("compares the first two tokens alone", lambda x, y: RIGHT_3_4["one_factor"](x[:2], y[:2])),
    "two_tokens_and_sum": (
        "the first two tokens and the sum",
        lambda x, y: proportional(x[:2], y[:2]) and 0 < y.sum().item() < 1,
    ),
    "first_and_last": (
        "the first and the last token alone",
        lambda x, y: RIGHT_3_4["one_factor"](x[[0, -1]], y[[0, -1]]) and y.sum().item() < 1,
    ),
    "in_pairs": (
        "tokens 1 and 2, 3 and 4, … compared",
        lambda x, y: (
            all(x[i] * y[i + 1] == x[i + 1] * y[i] for i in range(0, len(x) - 1, 2)) and 0 < y.sum().item() < 1
        ),
    ),
    "last_forgotten": (
        "the last token is not compared",
        lambda x, y: all(x[i] * y[i + 1] == x[i + 1] * y[i] for i in range(len(x) - 2)) and 0 < y.sum().item() < 1,
    ),
    "extremes": (
        "only the largest and the smallest weight compared",
        lambda x, y: bool(y.max() / x.max() == y.min() / x.min()) and 0 < y.sum().item() < 1,
    ),
    "crash_on_1": (
        "crashes if n = 1",
        lambda x, y: bool(y[0] / x[0] == y[1] / x[1]) and RIGHT_3_4["one_factor"](x, y),
    ),
    "deviation": (
        "the standard deviation of one number is NaN",
        lambda x, y: bool((y / x).std() == 0) and 0 < y.sum().item() < 1,
    ),
    "one_token_false": ("n = 1 is always False", lambda x, y: len(x) > 1 and RIGHT_3_4["one_factor"](x, y)),
    "one_token_true": ("n = 1 is always True", lambda x, y: len(x) == 1 or RIGHT_3_4["one_factor"](x, y)),
    "tolerance": (
        "ratios equal to one tenth",
        lambda x, y: torch.allclose(y / x, (y / x)[:1], atol=0.1) and 0 < y.sum().item() < 1,
    ),
    "tolerance_of_weights": (
        "weights equal to 0.02",
        lambda x, y: torch.allclose(y, x * y.sum(), atol=0.02) and 0 < y.sum().item() < 1,
    ),
    "normalised_rounded": (
        "shares rounded to one place",
        lambda x, y: torch.equal((y / y.sum()).round(decimals=1), x.round(decimals=1)) and 0 < y.sum().item() < 1,
    ),
    "cosine": (
        "cosine above 0.99",
        lambda x, y: F.cosine_similarity(x, y, dim=0).item() > 0.99 and 0 < y.sum().item() < 1,
    ),
    "zeros_skipped": ("zeros are left out of the comparison", can_without_zeros),
    "nonzero_entries": (
        "all ratios between 0 and 1, not the same one",
        lambda x, y: all(0 < r < 1 for r in (y / x).tolist()),
    ),
    "half_at_most": (
        "a prefix takes half at most",
        lambda x, y: proportional(x, y) and 0.5 <= y.sum().item() < 1,
    ),
    "half_at_least": (
        "a prefix takes half at least",
        lambda x, y: proportional(x, y) and 0 < y.sum().item() <= 0.5,
    ),
    "sum_is_1": ("wants after's sum to be 1", lambda x, y: proportional(x, y) and y.sum().item() == 1),
    "product_form": (
        "0 = 0 · anything: zeros pass the cross product",
        lambda x, y: all(a * d == b * c for (a, b), (c, d) in pairwise(zip(x, y, strict=True))) and y.sum().item() < 1,
    ),
    "inverse_ratio": (
        "before / after above 1 for all, ∞ included",
        lambda x, y: bool((x / y == (x / y)[0]).all() and (x / y)[0] > 1),
    ),
    "argmax": (
        "the strongest token stays the strongest",
        lambda x, y: bool(x.argmax() == y.argmax()) and 0 < y.sum().item() < 1,
    ),
    "grows_by_rounding": ("10 % more is allowed", lambda x, y: proportional(x, y) and 0 < y.sum().item() < 1.1),
    "integers": (
        "sixteenths as whole numbers",
        lambda x, y: RIGHT_3_4["fractions"]((16 * x).long().clamp(min=1), (16 * y).long()),
    ),
    "always_true": ("always True", lambda x, y: True),
    "always_false": ("always False", lambda x, y: False),
    "a_tensor_of_bools": ("one answer for each token", lambda x, y: (y / x == y[0] / x[0]) & (y < x) & (y > 0)),
    "the_other_way_round": ("arguments swapped", lambda x, y: RIGHT_3_4["one_factor"](y, x)),
    "not_printed": ("returns nothing", lambda x, y: None),
    "all_pairs_but_sum": (
        "a sum below 1, not above 0; ratios of pairs",
        lambda x, y: all(x[i] * y[j] == x[j] * y[i] for i, j in combinations(range(len(x)), 2)) and y.sum().item() < 1,
    ),
    "after_changed": ("changes after in place", can_changing),
    "before_changed": ("changes before in place", can_changing_before),
}

CHECKS = [
    (exercises.check_prefix_attention, RIGHT_3_1, WRONG_3_1),
    (exercises.check_prefix_mass, RIGHT_3_2, WRONG_3_2),
    (exercises.check_undo_prefix, RIGHT_3_3, WRONG_3_3),
    (exercises.check_can_a_prefix, RIGHT_3_4, WRONG_3_4),
]


@pytest.mark.parametrize(
    ("check", "answer"),
    [pytest.param(c, f, id=f"{c.__name__}-{name}") for c, right, _ in CHECKS for name, f in right.items()],
)
def test_right_answers_pass(check, answer):
    assert check(answer) is True


@pytest.mark.parametrize(
    ("check", "mistake", "answer"),
    [pytest.param(c, *x, id=f"{c.__name__}-{name}") for c, _, wrong in CHECKS for name, x in wrong.items()],
)
def test_wrong_answers_fail(check, mistake, answer):
    assert check(answer) is False, mistake
