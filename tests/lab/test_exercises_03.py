"""Lesson 03's checkers pass right answers in different styles, and name the usual mistakes."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from apt_minimal import attention
from apt_minimal.course import lesson_03 as exercises

check_e1, check_mass = exercises.check_prefix_attention, exercises.check_prefix_mass
check_undo, check_can = exercises.check_undo_prefix, exercises.check_can_a_prefix


# 3.1 in three styles


def e1_with_the_package(q, k, v, pk, pv, mask):
    pk, pv = (p.expand(len(q), -1, -1) for p in (pk, pv))
    return attention.prefix_attention(q, k, v, pk, pv, mask)


def e1_with_einops(q, k, v, pk, pv, mask):
    pk, pv = (rearrange(p, "l (h d) -> 1 h l d", h=q.shape[1]).repeat(len(q), 1, 1, 1) for p in (pk, pv))
    scores = einsum(q, torch.cat([pk, k], 2), "b h n d, b h k d -> b h n k") * q.shape[-1] ** -0.5
    if mask is not None:
        mask = torch.cat([mask.new_ones(*mask.shape[:3], pk.shape[2]), mask], -1)
        scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -1e9)
    weights = F.softmax(scores, -1)
    return weights @ torch.cat([pv, v], 2), weights


def e1_by_loop(q, k, v, pk, pv, mask):
    b, h, n, d_h = q.shape
    l = len(pk)
    out, weights = torch.zeros(b, h, n, d_h).double(), torch.zeros(b, h, n, l + n).double()
    for i in range(b):
        for j in range(h):
            columns = slice(j * d_h, (j + 1) * d_h)
            keys = torch.cat([pk[:, columns], k[i, j]]).double()
            values = torch.cat([pv[:, columns], v[i, j]]).double()
            for t in range(n):
                e = torch.exp(keys @ q[i, j, t].double() / math.sqrt(d_h))
                if mask is not None:
                    e[l:] *= mask[i, 0, 0]
                weights[i, j, t] = e / e.sum()
                out[i, j, t] = weights[i, j, t] @ values
    return [out, weights]


def e1_fused_and_in_place(q, k, v, pk, pv, mask):
    wide = None if mask is None else F.pad(mask, (len(pk), 0), value=True)
    pk, pv = (attention.split_heads(p.repeat(len(q), 1, 1), q.shape[1]) for p in (pk, pv))
    k, v = torch.cat((pk, k), dim=-2), torch.cat((pv, v), dim=-2)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=wide)
    q /= q.shape[-1] ** 0.5
    scores = q @ k.mT
    if wide is not None:
        scores[~wide.expand_as(scores)] = -torch.inf
    return out, scores.softmax(dim=-1)


# 3.2


def mass_by_logsumexp(q, k, l, mask):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.where(mask, torch.tensor(-math.inf))
    return torch.sigmoid(scores[..., :l].logsumexp(-1) - scores[..., l:].logsumexp(-1))


def mass_in_double(q, k, l, mask):
    q, k = q.double(), k.double()
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k).div(q.shape[-1] ** 0.5)
    if mask is not None:
        scores.masked_fill_(~mask, -math.inf)
    scores -= scores.max(dim=-1, keepdim=True).values
    weights = scores.exp()
    return weights[..., :l].sum(-1) / weights.sum(-1)


def mass_with_the_package(q, k, l, mask):
    return 1 - attention.attention_weights(q, k, mask)[..., l:].sum(-1)


# 3.3


def undo_with_einops(output, mass, prefix_output):
    m = rearrange(mass, "b h n -> b h n 1")
    return (output - m * prefix_output) / (1 - m)


def undo_by_loop(output, mass, prefix_output):
    plain = output.clone()
    for place in torch.cartesian_prod(*(torch.arange(size) for size in mass.shape)).tolist():
        i, j, t = place
        plain[i, j, t] = (output[i, j, t] - mass[i, j, t] * prefix_output[i, j, t]) / (1 - mass[i, j, t])
    return plain


def undo_as_extrapolation(output, mass, prefix_output):
    return output + (mass / (1 - mass))[..., None] * (output - prefix_output)


def undo_in_place(output, mass, prefix_output):
    output -= torch.einsum("bhn,bhnd->bhnd", mass, prefix_output)
    return output.div_(1 - mass[:, :, :, None])


# 3.4


def can_by_ratio(before, after):
    factors = after / before
    return bool((factors - factors[0]).abs().max() < 1e-6 and 0 < factors[0] < 1)


def can_by_loop(before, after):
    factor = sum(after.tolist())
    return 0 < factor < 1 and all(
        abs(y - factor * x) < 1e-6 for x, y in zip(before.tolist(), after.tolist(), strict=True)
    )


def can_by_products(before, after):
    same = torch.allclose(torch.outer(before, after), torch.outer(after, before))
    return same & (after.min() > 0) & (after.sum() < 1)


@pytest.mark.parametrize(
    "check, answer",
    [
        *((check_e1, e1) for e1 in (e1_with_the_package, e1_with_einops, e1_by_loop, e1_fused_and_in_place)),
        *((check_mass, mass) for mass in (mass_by_logsumexp, mass_in_double, mass_with_the_package)),
        *((check_undo, undo) for undo in (undo_with_einops, undo_by_loop, undo_as_extrapolation, undo_in_place)),
        *((check_can, can) for can in (can_by_ratio, can_by_loop, can_by_products)),
    ],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def e1(
    front_keys=True, front_values=True, pad=True, front_mask=True, cut="l (h d) -> h l d", cut_values=None, scale=None
):
    """E1 as a student writes it, with one thing changed."""

    def wrong(q, k, v, pk, pv, mask):
        l, h = len(pk), q.shape[1]
        pk, pv = rearrange(pk, cut, h=h), rearrange(pv, cut_values or cut, h=h)
        pk, pv = (p.unsqueeze(0).expand(len(q), *p.shape) for p in (pk, pv))
        k = torch.cat([pk, k] if front_keys else [k, pk], dim=2)
        v = torch.cat([pv, v] if front_values else [v, pv], dim=2)
        scores = q @ k.mT / (scale or (lambda d, h: d**0.5))(q.shape[-1], h)
        if mask is not None:
            scores = scores.masked_fill(~F.pad(mask, (l, 0) if front_mask else (0, l), value=pad), -math.inf)
        weights = torch.softmax(scores, dim=-1)
        return weights @ v, weights

    return wrong


def scores_of(q, k, v, pk, pv, mask):
    pk = attention.split_heads(pk.expand(len(q), -1, -1), q.shape[1])
    scores = torch.cat([q @ pk.mT, q @ k.mT], dim=-1) * q.shape[-1] ** -0.5
    return scores if mask is None else scores.masked_fill(~F.pad(mask, (pk.shape[2], 0), value=True), -math.inf)


def e1_mask_forgotten(q, k, v, pk, pv, mask):
    return e1()(q, k, v, pk, pv, None)


def e1_mask_not_widened(q, k, v, pk, pv, mask):
    out, weights = e1()(q, k, v, pk, pv, None)
    if mask is not None:
        weights.masked_fill(~mask, 0.0)
    return out, weights


def e1_mask_upside_down(q, k, v, pk, pv, mask):
    return e1()(q, k, v, pk, pv, None if mask is None else mask.logical_not())


def e1_wide_mask_upside_down(q, k, v, pk, pv, mask):
    return e1(pad=False)(q, k, v, pk, pv, None if mask is None else mask.logical_not())


def e1_mask_after_softmax(q, k, v, pk, pv, mask):
    _, weights = e1()(q, k, v, pk, pv, None)
    if mask is not None:
        weights = weights * F.pad(mask, (len(pk), 0), value=True)
    pv = attention.split_heads(pv.expand(len(q), -1, -1), q.shape[1])
    return weights @ torch.cat([pv, v], 2), weights


def e1_multiplies_scores_by_mask(q, k, v, pk, pv, mask):
    pk, pv = (attention.split_heads(p.expand(len(q), -1, -1), q.shape[1]) for p in (pk, pv))
    scores = q @ torch.cat([pk, k], 2).mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores * F.pad(mask.float(), (pk.shape[2], 0), value=1.0)
    weights = scores.softmax(-1)
    return weights @ torch.cat([pv, v], 2), weights


def e1_view(q, k, v, pk, pv, mask):
    b, h, _, d_h = q.shape
    pk, pv = (p.view(1, h, len(p), d_h).expand(b, -1, -1, -1) for p in (pk, pv))
    wide = None if mask is None else F.pad(mask, (pk.shape[2], 0), value=True)
    return attention.scaled_dot_product_attention(q, torch.cat([pk, k], 2), torch.cat([pv, v], 2), wide)


def e1_first_columns(q, k, v, pk, pv, mask):
    pk, pv = (p[:, : q.shape[-1]].repeat(1, q.shape[1]) for p in (pk, pv))
    return e1()(q, k, v, pk, pv, mask)


def e1_two_softmaxes(q, k, v, pk, pv, mask, share=1.0):
    pk, pv = (attention.split_heads(p.expand(len(q), -1, -1), q.shape[1]) for p in (pk, pv))
    own, theirs = (
        attention.scaled_dot_product_attention(q, k, v, mask),
        attention.scaled_dot_product_attention(q, pk, pv),
    )
    return share * (theirs[0] + own[0]), share * torch.cat([theirs[1], own[1]], -1)


def e1_over_queries(q, k, v, pk, pv, mask):
    pk, pv = (attention.split_heads(p.expand(len(q), -1, -1), q.shape[1]) for p in (pk, pv))
    scores = q @ torch.cat([pk, k], 2).mT / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~F.pad(mask, (pk.shape[2], 0), value=True), -math.inf)
    weights = scores.softmax(2)
    return weights @ torch.cat([pv, v], 2), weights


def e1_first_mask(q, k, v, pk, pv, mask):
    return e1()(q, k, v, pk, pv, None if mask is None else mask[:1])


def e1_padded_queries_zero(q, k, v, pk, pv, mask):
    out, weights = e1()(q, k, v, pk, pv, mask)
    return (out, weights) if mask is None else (out * mask.mT, weights * mask.mT)


def e1_hidden_at_minus_30(q, k, v, pk, pv, mask):
    scores = scores_of(q, k, v, pk, pv, mask)
    weights = scores.masked_fill(scores == -math.inf, -30.0).softmax(-1)
    return weights @ torch.cat([attention.split_heads(pv.expand(len(q), -1, -1), q.shape[1]), v], 2), weights


def e1_prefix_unscaled(q, k, v, pk, pv, mask):
    return e1()(q, k, v, pk * q.shape[-1] ** 0.5, pv, mask)


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (e1(front_keys=False, front_values=False, front_mask=False), "leaves the output as it is"),
        (e1(front_keys=False, front_values=False), "a mask to match"),
        (e1(front_keys=False, front_values=False, front_mask=False, pad=False), "seen by every query"),
        (e1(front_values=False), "the values behind"),
        (e1(front_keys=False, front_mask=False), "the keys behind"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, pv, pk, mask), "swapped"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, pk, pk, mask), "P_k is used twice"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, pv, pv, mask), "P_v is used twice"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, pk, torch.zeros_like(pv), mask), "its values are missing"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, torch.zeros_like(pk), pv, mask), "keys are missing"),
        (e1(pad=False), "the prefix is hidden"),
        (e1(front_mask=False), "new columns stand behind the input's, and the keys'"),
        (e1(front_mask=False, pad=False), "behind the input's, and hold False"),
        (e1_mask_not_widened, "has the mask a column"),
        (e1_mask_forgotten, "look at padding"),
        (e1_mask_upside_down, "input's mask is upside down"),
        (e1_wide_mask_upside_down, "prefix included"),
        (e1_mask_after_softmax, "after the softmax"),
        (e1_multiplies_scores_by_mask, "must be −inf"),
        (e1(cut="l (d h) -> h l d"), "✗ P is cut"),
        (e1(cut="l (d h) -> h l d", cut_values="l (h d) -> h l d"), "P_k is cut"),
        (e1(cut_values="l (d h) -> h l d"), "P_v is cut"),
        (e1_view, "only reshaped"),
        (e1_first_columns, "columns of its own"),
        (e1(scale=lambda d, h: 1.0), "not divided by √d_h"),
        (e1(scale=lambda d, h: (h * d) ** 0.5), "divided by √d:"),
        (e1(scale=lambda d, h: d), "root is missing"),
        (e1_prefix_unscaled, "the input's are"),
        (e1_over_queries, "each query's weights"),
        (e1_two_softmaxes, "added up"),
        (lambda *x: e1_two_softmaxes(*x, share=0.5), "half of each"),
        (lambda *x: e1()(*x)[::-1], "first the output"),
        (e1(scale=lambda d, h: d**-0.5), "multiplied by"),
        (lambda q, k, v, pk, pv, mask: attention.scaled_dot_product_attention(q, k, v, mask), "not there at all"),
        (lambda *x: (e1()(*x)[0], e1()(*x)[1].mean(1)), "averaged over the heads"),
        (lambda *x: (e1()(*x)[0], scores_of(*x)), "these are the scores"),
        (lambda *x: e1()(*x)[0], "return the weights too"),
        (lambda *x: (e1()(*x)[0], e1()(*x)[1][..., len(x[3]) :]), "all l + n"),
        (lambda *x: (e1()(*x)[0].transpose(1, 2).flatten(2), e1()(*x)[1]), "heads stay apart"),
        (e1_first_mask, "the first one's mask"),
        (e1_padded_queries_zero, "not who may look"),
        (e1(scale=lambda d, h: 1.0, pad=False), "the prefix is hidden: the new columns hold False (or 0), and False"),
        (e1(cut="l (d h) -> h l d", scale=lambda d, h: d), "'(d_h h)'; the scores are divided by d_h"),
        (e1_hidden_at_minus_30, "hundreds above"),
        (lambda q, k, v, pk, pv, mask: e1()(q, k, v, 2 * pk, pv, mask), "put P in front"),
        (lambda q, k, v, pk, pv, mask: attention.prefix_attention(q, k, v, pk, pv, mask), "put P in front"),
    ],
)
def test_prefix_attention_names_the_mistake(answer, diagnosis, capsys):
    fails(check_e1, answer, diagnosis, capsys)


def first_tokens(mask):
    return None if mask is None else torch.arange(mask.shape[-1]) < mask.sum(-1, keepdim=True)


def softmaxed(q, k, mask, power=0.5, fill=-math.inf, axis=-1):
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** power
    return torch.softmax(scores if mask is None else scores.masked_fill(mask.logical_not(), fill), dim=axis)


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., -l:].sum(-1), "last l keys"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., l:].sum(-1), "input's share"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].mean(-1), "mean weight"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].max(-1).values, "largest weight"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., 0], "first prefix token's"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., : l + 1].sum(-1), "l + 1 terms"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., : l - 1].sum(-1), "l − 1 terms"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l], "one by one"),
        (lambda q, k, l, mask: softmaxed(q, k, mask).sum(-1), "always 1"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-2), "sums over the queries"),
        (lambda q, k, l, mask: (q @ k.mT)[..., :l].sum(-1) / q.shape[-1] ** 0.5, "before the softmax"),
        (lambda q, k, l, mask: (q @ k[:, :, :l].mT / q.shape[-1] ** 0.5).softmax(-1).sum(-1), "always 1"),
        (lambda q, k, l, mask: (q @ k[:, :, :l].mT / q.shape[-1] ** 0.5).sigmoid().sum(-1), "in place of the softmax"),
        (lambda q, k, l, mask: softmaxed(q, k, None)[..., :l].sum(-1), "padding takes weight"),
        (lambda q, k, l, mask: softmaxed(q, k, mask, fill=0.0)[..., :l].sum(-1), "must be −inf"),
        (lambda q, k, l, mask: softmaxed(q, k, mask if mask is None else ~mask)[..., :l].sum(-1), "upside down"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1).mean(1), "over the heads"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1).mean(-1), "over the queries"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1).mean(0), "over the examples"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1).mean(), "over everything"),
        (lambda q, k, l, mask: softmaxed(q, k, mask, power=0)[..., :l].sum(-1), "not divided"),
        (lambda q, k, l, mask: softmaxed(q, k, mask, power=1)[..., :l].sum(-1), "root is missing"),
        (lambda q, k, l, mask: softmaxed(q, k, mask, power=-0.5)[..., :l].sum(-1), "multiplied by"),
        (lambda q, k, l, mask: softmaxed(q, k, None)[..., l:].sum(-1), "the input's share; padding takes weight"),
        (lambda q, k, l, mask: softmaxed(q, k, None)[..., :l].mean(-1), "the mass is their sum; padding takes weight"),
        (
            lambda q, k, l, mask: softmaxed(q, k, mask, power=0)[..., :l].mean(-1),
            "the mass is their sum; the scores are not divided",
        ),
        (lambda q, k, l, mask: softmaxed(q, k, mask, axis=2)[..., :l].sum(-1), "each query's weights"),
        (lambda q, k, l, mask: softmaxed(q, k, mask).softmax(-1)[..., :l].sum(-1), "twice"),
        (
            lambda q, k, l, mask: softmaxed(q, k, None if mask is None else mask[:1])[..., :l].sum(-1),
            "first one's mask",
        ),
        (lambda q, k, l, mask: softmaxed(q, k, mask, fill=-100.0)[..., :l].sum(-1), "may lie far above"),
        (lambda q, k, l, mask: softmaxed(q, k, first_tokens(mask))[..., :l].sum(-1), "on the left"),
        (lambda q, k, l, mask: attention.prefix_mass(q, k, l, None if mask is None else ~mask), "upside down (a query"),
        (lambda q, k, l, mask: torch.full(q.shape[:3], l / k.shape[2]), "all scores are equal"),
        (
            lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1) / softmaxed(q, k, mask)[..., l:].sum(-1),
            "over the input's",
        ),
        (lambda q, k, l, mask: (m := attention.prefix_mass(q, k, l, mask)) / (1 - m), "m / (1 − m)"),
        (lambda q, k, l, mask: 2 * softmaxed(q, k, mask)[..., :l].sum(-1), "then, for each query"),
        (lambda q, k, l, mask: softmaxed(q, k, mask)[..., :l].sum(-1, keepdim=True), "then, for each query"),
        (lambda q, k, l, mask: softmaxed(q, k, mask, fill=-3.0)[..., :l].sum(-1), "no weight at all"),
    ],
)
def test_prefix_mass_names_the_mistake(answer, diagnosis, capsys):
    fails(check_mass, answer, diagnosis, capsys)


def test_exponentials_by_hand_overflow(capsys):
    def overflows(q, k, l, mask):
        e = (q @ k.mT / q.shape[-1] ** 0.5).exp()
        e = e if mask is None else e * mask
        return e[..., :l].sum(-1) / e.sum(-1)

    fails(check_mass, overflows, "leave the exponentials to softmax", capsys)
    fails(
        check_mass, lambda q, k, l, mask: overflows(q.double(), k.double(), l, mask), "too much for any float", capsys
    )


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (lambda o, m, p: (o - (1 - m[..., None]) * p) / m[..., None], "swapped: the prefix's share"),
        (lambda o, m, p: (o - m[..., None] * p) / m[..., None], "not by m"),
        (lambda o, m, p: (o - (1 - m[..., None]) * p) / (1 - m[..., None]), "the prefix's share is m"),
        (lambda o, m, p: o - m[..., None] * p, "still shrunk by"),
        (lambda o, m, p: o - (1 - m[..., None]) * p, "(1 − m) of it"),
        (lambda o, m, p: (o - m[..., None] * p) * (1 - m[..., None]), "don't multiply"),
        (lambda o, m, p: (o - p) / (1 - m[..., None]), "only a share m"),
        (lambda o, m, p: o - p, "whole is too much"),
        (lambda o, m, p: o / (1 - m[..., None]), "undoes only the shrinking"),
        (lambda o, m, p: (o + m[..., None] * p) / (1 - m[..., None]), "subtract it"),
        (lambda o, m, p: (1 - m[..., None]) * o + m[..., None] * p, "E4 forwards, with the output"),
        (lambda o, m, p: m[..., None] * o + (1 - m[..., None]) * p, "and with m and 1 − m swapped"),
        (lambda o, m, p: o / (1 - m[..., None]) - m[..., None] * p, "not the output alone"),
        (lambda o, m, p: o - m[..., None] * p / (1 - m[..., None]), "part alone"),
        (lambda o, m, p: o / m[..., None], "and the input's share is 1 − m"),
        (lambda o, m, p: (m[..., None] * p - o) / (1 - m[..., None]), "the sign is turned"),
        (lambda o, m, p: (p - m[..., None] * o) / (1 - m[..., None]), "are swapped"),
        (lambda o, m, p: (m[..., None] * o - p) / (1 - m[..., None]), "and the sign with them"),
        (lambda o, m, p: m[..., None] * p, "the other part"),
        (lambda o, m, p: (1 - m[..., None]) * o, "once more"),
        (lambda o, m, p: (o - m * p) / (1 - m), "left to broadcasting"),
        (lambda o, m, p: (o - m[:, :, None] * p) / (1 - m[:, :, None]), "not to the d_h numbers"),
        (lambda o, m, p: (o - m[:, None] * p) / (1 - m[:, None]), "wrong place"),
        (lambda o, m, p: (o - m.mean(2)[..., None, None] * p) / (1 - m.mean(2)[..., None, None]), "over queries"),
        (lambda o, m, p: (o - m.mean(1)[:, None, :, None] * p) / (1 - m.mean(1)[:, None, :, None]), "over heads"),
        (lambda o, m, p: (o - m.mean() * p) / (1 - m.mean()), "over everything"),
        (lambda o, m, p: o, "as it was given"),
        (lambda o, m, p: p, "own output"),
        (lambda o, m, p: (o - m[..., None] * p) / (1 + m[..., None]), "not by 1 + m"),
        (lambda o, m, p: (o - m[..., None] * p) / (1 - m[..., None]) ** 2, "divide by it once"),
        (lambda o, m, p: o - m[:, :, None] * p, "still shrunk by 1 − m; the mass belongs to the queries"),
        (lambda o, m, p: 2 * o, "solve E4"),
    ],
)
def test_undo_prefix_names_the_mistake(answer, diagnosis, capsys):
    fails(check_undo, answer, diagnosis, capsys)


def ranks(weights):
    return weights.argsort(stable=True).tolist()


def proportional(before, after):
    return torch.allclose(after * before.sum(), before * after.sum())


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (lambda x, y: True, "always says True"),
        (lambda x, y: False, "always says False"),
        (lambda x, y: not can_by_ratio(x, y), "turn it round"),
        (lambda x, y: bool(0 < y.sum() < 1), "a smaller sum is not enough: the ratios between"),
        (lambda x, y: bool(y.sum() < 1), "something must be left"),
        (lambda x, y: all(a > b for a, b in zip(x, y, strict=True)), "every weight shrinks"),
        (lambda x, y: all(a >= b for a, b in zip(x, y, strict=True)), "no weight grows"),
        (lambda x, y: bool(x.argmax() == y.argmax()), "the largest stays"),
        (lambda x, y: torch.equal(x.argsort(stable=True), y.argsort(stable=True)), "order stays"),
        (lambda x, y: bool(y.sum() > 0) and proportional(x, y), "ends excluded"),
        (proportional, "let through, too"),
        (lambda x, y: bool(0 < y.sum() <= 1) and proportional(x, y), "a factor of 1 would"),
        (lambda x, y: bool(y.sum() < 1) and proportional(x, y), "a factor of 0 would"),
        (lambda x, y: bool(y.sum() <= 1) and proportional(x, y), "0 and of 1"),
        (lambda x, y: bool(((x - y) - (x - y)[0]).abs().max() < 1e-6), "not differences"),
        (lambda x, y: torch.equal(x, y), "does change"),
        (lambda x, y: bool((y > 0).all()) and bool((y < x).all()), "stays above 0"),
        (lambda x, y: bool(0 < sum(y) < 1) and ranks(x) == ranks(y), "the order stays and the sum"),
        (lambda x, y: bool((x - y).min() > 0) and ranks(x) == ranks(y), "the order stays and every weight"),
        (lambda x, y: bool(0 < y.sum() <= 1), "at most 1"),
        (lambda x, y: bool(abs(y.sum() - 1) < 1e-6), "a sum of 1"),
        (lambda x, y: torch.equal(2 * y, x), "not only ½"),
        (lambda x, y: bool(y.sum() < 0.6) and proportional(x, y), "all weights times"),
        (lambda x, y: torch.allclose(x.sort()[0] * y.sum(), y.sort()[0]) and bool(0 < y.sum() < 1), "change places"),
        (lambda x, y: torch.allclose(y / x, (y / x)[:1], atol=0.1) and bool(0 < y.sum() < 1), "a little too large"),
        (lambda x, y: torch.allclose(y, x * y.sum(), atol=0.02) and bool(0 < y.sum() < 1), "a little too large"),
        (lambda x, y: len(x) == 1 or can_by_ratio(x, y), "takes something of it"),
        (lambda x, y: None, "returns None"),
    ],
)
def test_can_a_prefix_names_the_mistake(answer, diagnosis, capsys):
    fails(check_can, answer, diagnosis, capsys)


@pytest.mark.parametrize("check", [check_e1, check_mass, check_undo, check_can])
def test_an_unsolved_exercise_is_no_error(check, capsys):
    def unsolved(*inputs):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"


def fails(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and diagnosis in said, said
