"""Lesson 01's checkers pass right answers in different styles, and name the usual mistakes."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from apt_minimal.attention import scaled_dot_product_attention
from apt_minimal.course import lesson_01 as exercises

INF = math.inf


def swap(x):
    return x.transpose(1, 2)


# 1.1: query [b, n, h, d_h]


def attend_by_rearranging(query, key, value):
    q, k, v = (rearrange(x, "b n h d -> b h n d") for x in (query, key, value))
    return rearrange((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v, "b h n d -> b n h d")


def attend_by_einsum(query, key, value):
    weights = F.softmax(einsum(query, key, "b n h d, b k h d -> b n k h") * query.shape[-1] ** -0.5, dim=2)
    return einsum(weights, value, "b n k h, b k h d -> b n h d")


def attend_by_loops(query, key, value):
    out = torch.empty_like(query)
    for i, h in [(i, h) for i in range(len(query)) for h in range(query.shape[2])]:
        for n in range(query.shape[1]):
            scores = (key[i, :, h].double() * query[i, n, h].double()).sum(-1) / query.shape[-1] ** 0.5
            exp = (scores - scores.max()).exp()
            out[i, n, h] = (exp / exp.sum()) @ value[i, :, h].double()
    return out


def attend_in_place(query, key, value):
    query *= query.shape[-1] ** -0.5
    return torch.einsum("bhnk,bkhd->bnhd", torch.einsum("bnhd,bkhd->bhnk", query, key).softmax(3), value)


def attend_with_torch(query, key, value):
    return swap(F.scaled_dot_product_attention(swap(query), swap(key), swap(value)))


# 1.2: mask [b, k]


def masked_by_filling(query, key, value, mask):
    mask = mask[:, None, None]
    scores = (query @ key.transpose(-1, -2) / math.sqrt(query.size(-1))).masked_fill(~mask, float("-inf"))
    return torch.nan_to_num(scores.softmax(-1)) @ value


def masked_with_torch(query, key, value, mask):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])


def masked_by_loops(query, key, value, mask):
    out = torch.zeros_like(query)
    for i, real in enumerate(mask):
        if real.any():
            scores = query[i].double() @ key[i][:, real].double().mT / query.shape[-1] ** 0.5
            out[i] = (scores.softmax(-1) @ value[i][:, real].double()).float()
    return out


def masked_with_a_number(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    scores = scores + (1.0 - mask.float())[:, None, None, :] * torch.finfo(scores.dtype).min
    return (scores.softmax(-1) @ value) * mask.any(1)[:, None, None, None]


def masked_by_renormalising(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    weights = scores.softmax(-1) * mask[:, None, None, :]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-12) @ value


def masked_with_minus_10000(query, key, value, mask):
    scores = torch.where(mask[:, None, None], query @ key.mT / query.shape[-1] ** 0.5, -1e4)
    return scores.softmax(-1) * mask[:, None, None] @ value


def masked_by_logarithm(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5 + mask.float().log()[:, None, None, :]
    return torch.where(mask.any(1)[:, None, None, None], scores.softmax(-1) @ value, 0.0)


# 1.3


def heads_in_double(x, *weights):
    *weights, num_heads = weights
    return heads_by_loops(x.double(), *(w.double() for w in weights), num_heads)


def heads_by_rearranging(x, w_q, w_k, w_v, w_o, num_heads):
    q, k, v = (rearrange(x @ w.T, "b n (h d) -> b h n d", h=num_heads) for w in (w_q, w_k, w_v))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return rearrange(weights @ v, "b h n d -> b n (h d)") @ w_o.T


def heads_by_loops(x, w_q, w_k, w_v, w_o, num_heads):
    size, outs = x.shape[-1] // num_heads, []
    for h in range(num_heads):
        rows = slice(h * size, (h + 1) * size)
        q, k, v = F.linear(x, w_q[rows]), F.linear(x, w_k[rows]), F.linear(x, w_v[rows])
        outs.append(F.scaled_dot_product_attention(q, k, v))
    return F.linear(torch.cat(outs, dim=-1), w_o)


def heads_by_views(x, w_q, w_k, w_v, w_o, num_heads):
    b, n, d = x.shape
    q, k, v = (F.linear(x, w).view(b, n, num_heads, d // num_heads).transpose(1, 2) for w in (w_q, w_k, w_v))
    attended = F.softmax(torch.matmul(q, k.transpose(2, 3)) / (d // num_heads) ** 0.5, dim=-1) @ v
    return F.linear(attended.transpose(1, 2).contiguous().view(b, n, d), w_o)


def heads_with_torch(x, w_q, w_k, w_v, w_o, num_heads):
    module = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, batch_first=True, dtype=x.dtype)
    module.in_proj_weight.data = torch.cat([w_q, w_k, w_v])
    module.out_proj.weight.data = w_o
    return module(x, x, x)[0]


# 1.4


QUERY, KEY, VALUE = [[1, 0], [0, 2], [1, 1]], [[2, 1], [0, -1], [1, 3]], [[1, 0], [0, 1], [2, 3]]


def telling(query=QUERY, key=KEY, value=VALUE, mask=(1, 1, 0)):
    tensors = [torch.tensor(rows)[None, None].float() for rows in (query, key, value)]
    return lambda: (*tensors, torch.tensor(mask)[None, None, None].bool())


def telling_in_double():
    *tensors, mask = telling()()
    return [x.double().requires_grad_() for x in tensors] + [mask]


def telling_by_chance():
    torch.manual_seed(3)
    return *torch.randint(-3, 4, (3, 1, 1, 4, 3)).float(), torch.tensor([[[[True, False, True, True]]]])


@pytest.mark.parametrize(
    "check, answer",
    [
        (exercises.check_attention, attend_by_rearranging),
        (exercises.check_attention, attend_by_einsum),
        (exercises.check_attention, attend_by_loops),
        (exercises.check_attention, attend_in_place),
        (exercises.check_attention, attend_with_torch),
        (exercises.check_attention, lambda *qkv: attend_by_einsum(*(x.float() for x in qkv))),
        (exercises.check_attention, lambda *qkv: attend_by_einsum(*(x.double() for x in qkv))),
        (exercises.check_masked_attention, masked_by_filling),
        (exercises.check_masked_attention, masked_with_torch),
        (exercises.check_masked_attention, masked_by_loops),
        (exercises.check_masked_attention, masked_with_a_number),
        (exercises.check_masked_attention, masked_with_minus_10000),
        (exercises.check_masked_attention, masked_by_logarithm),
        (exercises.check_multi_head_attention, heads_by_rearranging),
        (exercises.check_multi_head_attention, heads_by_loops),
        (exercises.check_multi_head_attention, heads_by_views),
        (exercises.check_multi_head_attention, heads_with_torch),
        (exercises.check_multi_head_attention, heads_in_double),
        (exercises.check_telling_inputs, telling()),
        (exercises.check_telling_inputs, telling_in_double),
        (exercises.check_telling_inputs, telling_by_chance),
    ],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def attend(scale=lambda q, k: q.shape[-1] ** 0.5, softmax=lambda s: s.softmax(-1), sign=1):
    def answer(query, key, value):
        q, k, v = swap(query), swap(key), swap(value)
        return swap(softmax(sign * q @ k.mT / scale(q, k)) @ v)

    return answer


def heads_at_heads(query, key, value):
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value


def reshaped_in(query, key, value):
    b, _, h, d = query.shape
    q, k, v = (x.reshape(b, h, -1, d) for x in (query, key, value))
    return swap(F.scaled_dot_product_attention(q, k, v))


def reshaped_out(query, key, value):
    return attend_with_torch(query, key, value).transpose(1, 2).contiguous().view(query.shape)


def reshaped_both_ways(query, key, value):
    return swap(reshaped_in(query, key, value)).reshape(query.shape)


def the_weights(query, key, value):
    return (swap(query) @ swap(key).mT / query.shape[-1] ** 0.5).softmax(-1)


def scaled_weights(query, key, value):
    return swap((swap(query) @ swap(key).mT).softmax(-1) / query.shape[-1] ** 0.5 @ swap(value))


def softmax_at_the_end(query, key, value):
    return swap((swap(query) @ swap(key).mT / query.shape[-1] ** 0.5 @ swap(value)).softmax(-1))


def transposed_weights(query, key, value):
    return swap(the_weights(query, key, value).transpose(-1, -2) @ swap(value))


def merged_first(query, key, value):
    q, k, v = (x.flatten(2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).view(query.shape)


def hard(scores):
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)


def less(scores, largest):
    e = (scores - largest).exp()
    return e / e.sum(-1, keepdim=True)


def up_to_n(query, key, value):
    out = torch.zeros_like(query)
    for b in range(len(query)):
        for h in range(query.shape[2]):
            for n in range(query.shape[1]):
                scores = torch.stack([query[b, n, h] @ key[b, j, h] for j in range(query.shape[1])])
                weights = (scores / query.shape[-1] ** 0.5).softmax(0)
                out[b, n, h] = sum(w * value[b, j, h] for j, w in enumerate(weights))
    return out


def full_width(q, k):
    return (q.shape[1] * q.shape[-1]) ** 0.5


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (attend(lambda q, k: 1), "not divided by √d_h"),
        (attend(lambda q, k: q.shape[-1] ** -0.5), "multiplied by √d_h"),
        (attend(lambda q, k: q.shape[-1]), "by d_h, not by its root"),
        (attend(lambda q, k: k.shape[-2] ** 0.5), "root of the number of keys"),
        (attend(lambda q, k: q.shape[-2] ** 0.5), "root of the number of queries"),
        (attend(lambda q, k: q.shape[1] ** 0.5), "root of the number of heads"),
        (attend(full_width), "full width"),
        (attend(lambda q, k: q.shape[-1] ** 0.25), "fourth root"),
        (attend(softmax=lambda s: s.softmax(-2)), "runs over the queries"),
        (attend(softmax=lambda s: s.softmax(1)), "runs over the heads"),
        (attend(softmax=lambda s: s.softmax(0)), "runs over the batch"),
        (attend(softmax=lambda s: s.flatten(2).softmax(-1).reshape(s.shape)), "queries and keys together"),
        (attend(softmax=lambda s: s), "no softmax"),
        (attend(softmax=torch.sigmoid), "sigmoid"),
        (attend(softmax=torch.exp), "never divided"),
        (attend(softmax=lambda s: F.log_softmax(s, dim=-1)), "log_softmax"),
        (attend(softmax=lambda s: s / s.sum(-1, keepdim=True)), "can be negative"),
        (attend(softmax=hard), "hard choice"),
        (attend(sign=-1), "wrong sign"),
        (attend(softmax=lambda s: s.exp() / s.exp().sum(-1, keepdim=True)), "overflows"),
        (attend(softmax=lambda s: (e := (s - s.max()).exp()) / e.sum(-1, keepdim=True)), "subtracted for all rows"),
        (attend(softmax=lambda s: (s.exp() / s.exp().sum(-1, keepdim=True)).nan_to_num(0.0)), "brings no weight back"),
        (attend(softmax=lambda s: less(s, s.amax(-1, keepdim=True).clamp(min=0))), "is never below 0"),
        (attend(softmax=lambda s: less(s, s.abs().amax(-1, keepdim=True))), "is never below 0"),
        (attend(softmax=lambda s: less(s, s.mean(-1, keepdim=True))), "is not its largest"),
        (attend(softmax=lambda s: less(s, s.amax(-2, keepdim=True))), "largest score over the queries"),
        (attend(softmax=lambda s: less(s, s.amax(-1, keepdim=True).clamp(min=-100))), "near −500, e^…"),
        (attend(softmax=lambda s: less(s, s.amax(-1, keepdim=True).clamp(-300, 300))), "near −500, e^…"),
        (attend(lambda q, k: 2), "always divided by √4"),
        (lambda q, k, v: attend_by_einsum(q, k[:, : q.shape[1]], v[:, : q.shape[1]]), "only as many keys"),
        (up_to_n, "counted up to n"),
        (attend(lambda q, k: 1, lambda s: s.softmax(-2)), "not divided by √d_h: the longer the vectors"),
        (attend(lambda q, k: 1, lambda s: s.softmax(-2)), "; the softmax runs over the queries"),
        (attend(softmax=lambda s: s.softmax(-1).softmax(-1)), "taken twice"),
        (lambda q, k, v: swap(F.scaled_dot_product_attention(swap(q), swap(k), swap(v), is_causal=True)), "causal"),
        (lambda q, k, v: attend_with_torch(q, k, v).flatten(2), "the heads are merged"),
        (lambda *qkv: merged_first(*qkv), "one set of weights, and each needs its own; so the root"),
        (lambda q, k, v: merged_first(q * q.shape[2] ** 0.5, k, v), "one set of weights"),
        (heads_at_heads, "heads look at heads"),
        (F.scaled_dot_product_attention, "heads look at heads"),
        (reshaped_in, "on the way in, reshape"),
        (reshaped_out, "on the way back, reshape"),
        (reshaped_both_ways, "✗ reshape (or view)"),
        (lambda q, k, v: swap(attend_with_torch(q, k, v)), "the result is [b, h, n, d_h]"),
        (the_weights, "these are the weights"),
        (lambda *qkv: (attend_with_torch(*qkv), the_weights(*qkv)), "the weights as well"),
        (softmax_at_the_end, "comes after the values"),
        (scaled_weights, "divides the weights"),
        (lambda q, k, v: attend_by_rearranging(k, q, v), "queries and keys are exchanged"),
        (lambda q, k, v: attend_with_torch(q, v, k), "keys and values are exchanged"),
        (lambda q, k, v: attend_with_torch(q, k, k), "the keys are mixed"),
        (transposed_weights, "transposed"),
        (lambda q, k, v: v, "softmax(q Kᵀ"),
        (lambda q, k, v: None, "returns None"),
    ],
)
def test_mistakes_in_attention(answer, diagnosis, capsys):
    named(exercises.check_attention, answer, diagnosis, capsys)


def named(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and said.count("\n") == 1 and diagnosis in said


def fill_hidden(scores, mask):
    return scores.masked_fill(~mask, -INF)


def no_nan(weights, mask):
    return weights.nan_to_num()


def masked(fill=fill_hidden, after=no_nan, place="b k -> b 1 1 k", scale=0.5, dim=-1):
    """What is done to the scores, and what to the weights after the softmax."""

    def answer(query, key, value, mask):
        mask = rearrange(mask, place)
        weights = fill(query @ key.mT / query.shape[-1] ** scale, mask).softmax(dim)
        return after(weights, mask) @ value

    return answer


def keep(scores_or_weights, mask):
    return scores_or_weights


def largest_of_all(query, key, value, mask):
    scores = fill_hidden(query @ key.mT / query.shape[-1] ** 0.5, mask[:, None, None])
    return less(scores, scores.max()).nan_to_num() @ value


def first_keys(mask):
    return torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)


def outer(query, key, value, mask):
    both = mask[:, None, :, None] & mask[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=both)


def first_key(mask):
    return torch.arange(mask.shape[1]) == 0


def cut_to_longest(query, key, value, mask):
    longest = int(mask.sum(1).max())
    return masked_by_loops(query, key[:, :, :longest], value[:, :, :longest], mask[:, :longest])


def silenced(query, key, value, mask):
    out = masked_with_torch(query, key, value, mask)
    return out * mask[:, None, :, None] if mask.shape[1] == query.shape[2] else out


def last_example_only(query, key, value, mask):
    out = masked(after=keep)(query, key, value, mask)
    out[-1] = out[-1].nan_to_num()
    return out


def first_example_only(query, key, value, mask):
    out = masked(after=keep)(query, key, value, mask)
    out[0] = out[0].nan_to_num()
    return out


def zeroed_keys_and_values(query, key, value, mask):
    key, value = (x * mask[:, None, :, None] for x in (key, value))
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (masked(lambda s, m: s.masked_fill(m, -INF)), "upside down"),
        (masked(lambda s, m: s.masked_fill(m, -INF), keep), "upside down"),
        (masked(lambda s, m: s.masked_fill(m, -1e9), keep), "upside down"),
        (masked(after=keep), "0/0 makes it NaN"),
        (masked(lambda s, m: s.masked_fill(~m, -1e9), keep), "mean of all"),
        (masked(lambda s, m: s.masked_fill(~m, torch.finfo(s.dtype).min), keep), "mean of all"),
        (masked(keep, lambda w, m: w * m), "no longer sums to 1"),
        (lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v * m[:, None, :, None]), "no longer sums to 1"),
        (masked(lambda s, m: s * m, keep), "no small weight"),
        (lambda q, k, v, m: F.scaled_dot_product_attention(q, k * m[:, None, :, None], v), "no small weight"),
        (masked(lambda s, m: s * m, lambda w, m: w * m), "thrown away"),
        (zeroed_keys_and_values, "thrown away"),
        (masked(lambda s, m: s + m, keep), "lifts a score by 1"),
        (masked(lambda s, m: s.masked_fill(~m, INF), keep), "plus infinity"),
        (masked(lambda s, m: s.masked_fill(~m, 1e9), keep), "very large positive"),
        (masked(lambda s, m: (z := s * m).masked_fill(z == 0, -INF)), "0 is taken to mean hidden"),
        (largest_of_all, "one largest score is subtracted for all queries"),
        (masked(lambda s, m: s + ~m * -INF, keep), "0 · ∞"),
        (masked(keep, lambda w, m: w.masked_fill(~m, -INF)), "comes after the softmax"),
        (masked(keep, lambda w, m: (w * m).softmax(-1)), "gets e^0 = 1 again"),
        (masked(keep, lambda w, m: w.masked_fill(~m, -INF).softmax(-1).nan_to_num()), "been through one already"),
        (masked(keep, keep), "changes nothing"),
        (masked(place="b k -> b 1 k 1"), "hides queries"),
        (masked(after=keep, place="b k -> b 1 k 1"), "hides queries"),
        (masked(place="b k -> b k"), "examples are taken for queries"),
        (masked(place="b k -> b k", after=keep), "examples are taken for queries"),
        (masked(place="b k -> 1 b 1 k"), "examples are taken for heads"),
        (outer, "masked along with the keys"),
        (lambda q, k, v, m: masked_by_filling(q, k, v, first_keys(m)), "taken to stand at the end"),
        (cut_to_longest, "cut off behind"),
        (lambda q, k, v, m: masked_by_filling(q, k, v, m | (m.any(1, True) & first_key(m))), "first key is always"),
        (silenced, "where n = k, the outputs"),
        (lambda q, k, v, m: masked_by_filling(q[:, :, : k.shape[2]], k, v, m), "only as many queries"),
        (masked_by_renormalising, "nothing is left of these"),
        (masked(lambda s, m: s - 100.0 * ~m, lambda w, m: w * m), "nothing is left of these"),
        (
            masked(keep, lambda w, m: w * m / (w * m).sum(-1, keepdim=True)),
            "nothing is left of these; a query that may",
        ),
        (
            masked(lambda s, m: s + (m + 1e-9).log(), lambda w, m: w * m.any(-1, True)),
            "near −500",
        ),
        (masked(lambda s, m: s.masked_fill(~m, -500.0), lambda w, m: w * m.any(-1, True)), "near −500"),
        (first_example_only, "all padding"),
        (last_example_only, "all padding"),
        (lambda q, k, v, m: masked_by_filling(q, k, v, m) * m.all(1)[:, None, None, None], "or an example with any"),
        (masked(scale=0.25), "fourth root"),
        (masked(lambda s, m: s.masked_fill(~m, -30.0), lambda w, m: w * m), "near −500"),
        (masked(scale=0), "not divided by √d_h"),
        (masked(scale=1), "not by its root"),
        (masked(scale=0, after=keep), "0/0 makes it NaN; the scores are not divided"),
        (masked(dim=-2), "runs over the queries"),
        (masked(dim=1), "runs over the heads"),
        (lambda *inputs: masked_by_filling(*inputs)[:, 0], "exactly 0"),
        (masked(lambda s, m: s.masked_fill(~m, -100.0), lambda w, m: w * m), "near −500"),
        (lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m[:, None, None])[1], "these are the weights"),
        (lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m[:, None, None]), "the weights as well"),
    ],
)
def test_mistakes_in_masked_attention(answer, diagnosis, capsys):
    named(exercises.check_masked_attention, answer, diagnosis, capsys)


def heads(
    split="b n (h d) -> b h n d",
    merge="b h n d -> b n (h d)",
    scale=lambda q, x: q.shape[-1] ** 0.5,
    weights=("w_q", "w_k", "w_v"),
    product=lambda x, w: x @ w.T,
    last=lambda y, w, x: y @ w.T,
    dim=-1,
):
    def answer(x, w_q, w_k, w_v, w_o, num_heads):
        given = {"w_q": w_q, "w_k": w_k, "w_v": w_v, None: None}
        made = (x if name is None else product(x, given[name]) for name in weights)
        q, k, v = (rearrange(t, split, h=num_heads) for t in made)
        attended = (q @ k.mT / scale(q, x)).softmax(dim) @ v
        return last(rearrange(attended, merge), w_o, x)

    return answer


def heads_by_wrong_views(into=True, back=True):
    def answer(x, w_q, w_k, w_v, w_o, num_heads):
        b, n, d = x.shape
        q, k, v = (x @ w.T for w in (w_q, w_k, w_v))
        if into:
            q, k, v = (t.reshape(b, num_heads, n, -1) for t in (q, k, v))
        else:
            q, k, v = (t.reshape(b, n, num_heads, -1).transpose(1, 2) for t in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v)
        return (attended if back else attended.transpose(1, 2)).reshape(b, n, d) @ w_o.T

    return answer


def one_head(x, w_q, w_k, w_v, w_o, num_heads):
    return F.scaled_dot_product_attention(x @ w_q.T, x @ w_k.T, x @ w_v.T) @ w_o.T


def not_batch_first(x, w_q, w_k, w_v, w_o, num_heads):
    module = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, dtype=x.dtype)
    module.in_proj_weight.data, module.out_proj.weight.data = torch.cat([w_q, w_k, w_v]), w_o
    return module(x, x, x)[0]


def averaged(x, w_q, w_k, w_v, w_o, num_heads):
    q, k = (rearrange(x @ w.T, "b n (h d) -> b h n d", h=num_heads) for w in (w_q, w_k))
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).mean(dim=1) @ (x @ w_v.T) @ w_o.T


def reversed_heads(x, w_q, w_k, w_v, w_o, num_heads):
    q, k, v = (rearrange(x @ w.T, "b n (h d) -> b h n d", h=num_heads) for w in (w_q, w_k, w_v))
    return rearrange(F.scaled_dot_product_attention(q, k, v).flip(1), "b h n d -> b n (h d)") @ w_o.T


def size_for_number(x, w_q, w_k, w_v, w_o, num_heads):
    return heads_by_rearranging(x, w_q, w_k, w_v, w_o, x.shape[-1] // num_heads)


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (heads(product=lambda x, w: x @ w, last=lambda y, w, x: y @ w), "this computes x W"),
        (heads(product=lambda x, w: x @ w), "queries, keys and values are x W"),
        (heads(last=lambda y, w, x: y @ w), "w_o transposed"),
        (heads("b n (d h) -> b h n d"), '✗ split with "(d_h h)"'),
        (heads(merge="b h n d -> b n (d h)"), '✗ merged with "(d_h h)"'),
        (heads("b n (d h) -> b h n d", "b h n d -> b n (d h)"), "split and merged"),
        (heads("b n (h d) -> b n h d", "b n h d -> b n (h d)"), "heads look at heads"),
        (heads_by_wrong_views(True, True), "and back cuts across"),
        (heads_by_wrong_views(True, False), "[b, h, n, d_h] cuts across"),
        (heads_by_wrong_views(False, True), "merged by reshape"),
        (heads(scale=lambda q, x: x.shape[-1] ** 0.5), "full width"),
        (heads(scale=lambda q, x: 1), "not divided by √d_h"),
        (heads(scale=lambda q, x: q.shape[-1]), "not by its root"),
        (heads(scale=lambda q, x: q.shape[1] ** 0.5), "number of heads"),
        (heads(scale=lambda q, x: x.shape[1] ** 0.5), "number of keys"),
        (heads(scale=lambda q, x: 2), "always divided by √4"),
        (heads(scale=lambda q, x: -(q.shape[-1] ** 0.5)), "wrong sign"),
        (heads(dim=0), "runs over the batch"),
        (lambda x, w_q, *rest: heads_by_loops(x, w_q.T, *rest), "✗ the queries are x W;"),
        (lambda x, w_q, w_k, *rest: heads_by_views(x, w_q, w_k.T, *rest), "✗ the keys are x W;"),
        (lambda x, w_q, w_k, w_v, *rest: heads_by_views(x, w_q, w_k, w_v.T, *rest), "✗ the values are x W;"),
        (lambda x, w_q, w_k, w_v, w_o, h: heads_by_loops(x, w_q, w_k, w_o, w_v, h), "values and output are exchanged"),
        (lambda *inputs: heads_by_loops(*inputs[:-1], 3), "always 3 heads"),
        (reversed_heads, "in reverse order"),
        (heads(last=lambda y, w, x: y), "output projection w_o is missing"),
        (heads(last=lambda y, w, x: x + y @ w.T), "x is added"),
        (heads(weights=("w_k", "w_q", "w_v")), "queries and keys are exchanged"),
        (heads(weights=("w_q", "w_v", "w_k")), "keys and values are exchanged"),
        (heads(weights=("w_q", "w_q", "w_q")), "each needs its own"),
        (heads(weights=("w_q", "w_k", "w_k")), "made with the keys' weights"),
        (heads(weights=("w_q", "w_k", None)), "the values are x itself"),
        (heads(weights=(None, "w_k", "w_v")), "the queries are x itself"),
        (heads(weights=("w_q", None, "w_v")), "the keys are x itself"),
        (heads(weights=(None, None, None)), "project them first"),
        (heads(dim=-2), "runs over the queries"),
        (heads(dim=1), "runs over the heads"),
        (one_head, "one big head"),
        (size_for_number, "size of a head"),
        (not_batch_first, "examples of the batch look at each other"),
        (averaged, "weights are averaged"),
        (
            heads(scale=lambda q, x: x.shape[-1] ** 0.5, last=lambda y, w, x: y),
            "; the output projection w_o is missing",
        ),
        (heads(last=lambda y, w, x: -y @ w.T), "project, split"),
        (lambda *inputs: (heads_by_loops(*inputs), None), "project, split"),
    ],
)
def test_mistakes_in_multi_head_attention(answer, diagnosis, capsys):
    named(exercises.check_multi_head_attention, answer, diagnosis, capsys)


def with_n_equal_d_h():
    torch.manual_seed(1)
    return *torch.randint(-3, 4, (3, 1, 1, 3, 3)).float(), torch.tensor([[[[True, True, False]]]])


def raises():
    return torch.zeros(2) @ torch.zeros(3)


EYE = torch.eye(4).tolist()


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (telling(mask=(1, 1, 1)), "masks_queries gives the right result: the mask is True everywhere"),
        (telling(key=QUERY), "keys_ask gives the right result: the scores are symmetric"),
        (with_n_equal_d_h, "scaled_by_keys gives the right result: the number of keys is d_h"),
        (
            telling(EYE, EYE, EYE, (1, 1, 1, 1)),
            "softmax_over_queries gives the right result: the rows of e^score and its columns",
        ),
        (telling(EYE, EYE, EYE, (1, 1, 1, 1)), "(hidden too: keys_ask, scaled_by_keys, masks_queries)"),
        (telling(mask=(1, 0, 0)), "keys_ask gives the right result: only one key"),
        (telling(mask=(0, 0, 0)), "no query may look anywhere"),
        (telling(value=[[0, 0]] * 3), "all values are 0"),
        (telling(value=[[1, 2]] * 3), "keys_ask gives the right result: all values that may be looked at are equal"),
        (telling(query=[[1, 1]] * 3, key=[[1, 1]] * 3), "all scores are equal"),
        (telling([[3, 3], [-3, -3], [3, 0]], [[3, 3], [-3, -3], [1, 1]]), "so far apart"),
        (telling([[2]], [[1]], [[3]], (1,)), "hidden too"),
        (lambda: telling()()[:3], "return four tensors"),
        (lambda: None, "return four tensors"),
        (lambda: (*telling()()[:3], torch.tensor([[[[1, 1, 0]]]])), "the mask boolean"),
        (lambda: [x.long() if x.is_floating_point() else x for x in telling()()], "floating-point"),
        (lambda: (*telling()()[:3], torch.tensor([True, True, False])), "the mask must have the shape"),
        (lambda: (*telling()()[:2], torch.ones(1, 1, 3, 5), telling()()[3]), "one and the same shape"),
        (telling([[0.5, 0], [0, 2], [1, 1]]), "whole numbers"),
        (telling([[4, 0], [0, 2], [1, 1]]), "whole numbers"),
        (telling([[math.nan, 0], [0, 2], [1, 1]]), "whole numbers"),
        (raises, "RuntimeError"),
    ],
)
def test_inputs_that_hide_a_fault_or_are_malformed(answer, diagnosis, capsys):
    named(exercises.check_telling_inputs, answer, diagnosis, capsys)


@pytest.mark.parametrize("name", exercises.__all__)
def test_an_unsolved_exercise_is_no_error(name, capsys):
    def unsolved(*inputs):
        raise NotImplementedError

    assert not getattr(exercises, name)(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"


def test_the_faulty_attentions_are_those_the_lesson_shows():
    lesson = json.loads((Path(__file__).parents[2] / "notebooks/01_attention.ipynb").read_text(encoding="utf-8"))
    (source,) = ("".join(cell["source"]) for cell in lesson["cells"] if cell["id"] == "faulty")
    shown = {"math": math}
    exec(source, shown)
    inputs = *torch.randn(3, 1, 1, 4, 3), torch.tensor([[[[True, True, False, True]]]])
    for name, faulty in exercises._FAULTY.items():
        assert torch.allclose(shown[name](*inputs), faulty(*inputs), atol=1e-6)
