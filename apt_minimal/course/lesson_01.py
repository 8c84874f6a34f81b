"""Lesson 01: attention."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_01_faults import check_telling_inputs as check_telling_inputs  # exercise 1.4
from apt_minimal.course.lesson_01_head import check_look_back as check_look_back  # exercise 1.5


def extremes(signs, scores):
    """Query [2, 3, n, 16] and key [2, 3, k, 16]: query i scores signs[i] · scores[j] with key j.

    Keep scores that may be looked at 10 apart: rounding errors (1e-4 in 500) would move weights of a softer choice.
    """
    query = torch.ones(2, 3, len(signs), 16) * 4 * torch.tensor(signs).unsqueeze(-1)
    return query, torch.ones(2, 3, len(scores), 16) * torch.tensor(scores).unsqueeze(-1) / 16


def attend(query, key, value):
    """softmax(q Kᵀ / √d_h) V with the heads behind the tokens: [b, n, h, d_h] -> [b, n, h, d_h]."""
    scores = einsum(query, key, "b n h d_h, b k h d_h -> b h n k")
    scaled = scores / math.sqrt(query.shape[-1])
    weights = scaled.softmax(dim=-1)
    return einsum(weights, value, "b h n k, b k h d_h -> b n h d_h")


@exercise(attend)
def check_attention(draw):
    """
    ? In this layout `query @ key.mT` multiplies over the last two axes. Which axes are these?
    ? Exchange the axes with rearrange, and back at the end. Or spell einsum's patterns: which axis is summed over?
    ? scores = einsum(query, key, "b n h d_h, b k h d_h -> b h n k")
    the scores are not divided by √d_h: with longer vectors the softmax becomes a hard choice → scaled = scores
    the root is of one head's d_h, not of the full width h · d_h → scaled = scores / math.sqrt(query[0, 0].numel())
    the root is of d_h, not of the number of heads → scaled = scores / math.sqrt(query.shape[2])
    the scores are always divided by 2; d_h is not always 4: take it from the shape → scaled = scores / 2
    the scores are divided by d_h, not by its root → scaled = scores / query.shape[-1]
    the scores are multiplied by √d_h instead of divided → scaled = scores * math.sqrt(query.shape[-1])
    the softmax runs over the queries; it is one query's weights that must sum to 1 → weights = scaled.softmax(dim=-2)
    the softmax runs over the heads; it is one query's weights that must sum to 1 → weights = scaled.softmax(dim=1)
    e^score overflows; torch's softmax subtracts each row's largest score first →
        weights = (e := scaled.exp()) / e.sum(-1, True)
    e^score overflows, and NaN is no 0 → weights = ((e := scaled.exp()) / e.sum(-1, True)).nan_to_num()
    one largest score is subtracted for all rows: far below it all e^… are 0 →
        weights = (e := (scaled - scaled.max()).exp()) / e.sum(-1, True)
    subtract each row's largest score: its first, or its mean, may lie far below it, and e^… overflows →
        weights = (e := (scaled - scaled[..., :1]).exp()) / e.sum(-1, True)
    heads look at heads: @ works on the last two axes, h and d_h → scores = query @ key.mT; return weights @ value
    the scores are summed over the heads, and each needs its own →
        scores = einsum(query, key, "b n h d, b k h d -> b n k")[:, None].expand(-1, query.shape[2], -1, -1)
    a query looks at all keys, not only at as many as there are queries →
        return attend(query, key[:, : query.shape[1]], value[:, : query.shape[1]])
    on the way back, reshape cuts the numbers anew in their old order; use rearrange or transpose there →
        return (weights @ value.transpose(1, 2)).reshape(query.shape)
    one tensor is asked for, the attended values; you return the weights as well →
        return (weights @ value.transpose(1, 2)).transpose(1, 2), weights
    """
    one, keys = torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, :2, None]
    yield "scores 1 and 0", one, keys, 10 * keys
    for tests, b, n, k, h, d_h in (
        ("more keys than queries", 2, 5, 7, 3, 6),
        ("n = k", 2, 4, 4, 3, 5),
        ("n = k = h", 2, 3, 3, 3, 6),
        ("all sizes the same", 4, 4, 4, 4, 4),
        ("one key", 2, 3, 1, 2, 4),
        ("one head", 2, 4, 3, 1, 5),
        ("d_h = 1", 3, 2, 4, 2, 1),
    ):
        yield tests, draw(b, n, h, d_h), draw(b, k, h, d_h), draw(b, k, h, d_h)
    yield "float64", *(draw(2, n, 4, 2).double() for n in (3, 5, 5))
    for tests, signs, scores in (
        ("scores near 500 and near −500", (-1, 1, 1, -1), (500, 490, 480)),
        ("500 and −500 in one row", (1, 1), (-460, -470, 500, -480, -490, -500)),
    ):
        yield tests, *(x.transpose(1, 2) for x in extremes(signs, scores)), draw(2, len(scores), 3, 16)


def masked_attention(query, key, value, mask):
    """softmax(q Kᵀ / √d_h) V over the keys where mask [b, k] is True; all hidden gives zeros, [b, h, n, d_h]."""
    hidden = ~rearrange(mask, "b k -> b 1 1 k")
    scores = einsum(query, key, "b h n d_h, b h k d_h -> b h n k") / math.sqrt(query.shape[-1])
    seen = scores.masked_fill(hidden, -math.inf)
    weights = seen.softmax(dim=-1).masked_fill(hidden, 0.0)
    return einsum(weights, value, "b h n k, b h k d_h -> b h n d_h")


def soft(scores, mask):
    """A softmax that gives padding alone zeros, but takes the other scores as they are."""
    return (scores.softmax(-1) * mask.any(-1)[:, None, None, None]).nan_to_num()


@exercise(masked_attention)
def check_masked_attention(draw):
    """
    ? The mask is [b, k], the scores are [b, h, n, k]. Which axes does the mask lack?
    ? Give the mask its axes, set hidden scores with masked_fill before the softmax, and think of 0/0 after it.
    ? weights = scores.masked_fill(hidden, -math.inf).softmax(dim=-1).masked_fill(hidden, 0.0)
    the scores are not divided by √d_h: with longer vectors the softmax becomes a hard choice → scores = query @ key.mT
    the mask is upside down: True is where a query may look → hidden = rearrange(mask, "b k -> b 1 1 k")
    the mask hides queries; it is the keys that are padding, whoever asks →
        seen = scores; weights = seen.softmax(-1); return (weights @ value).masked_fill(~mask[:, None, :, None], 0.0)
    the mask [b, k] meets [n, k]: examples are taken for queries. It needs axes for h and n → hidden = ~mask
    the mask meets [h, n, k]: examples are taken for heads. It needs an axis for h too → hidden = ~mask[:, None]
    the mask changes nothing: padding is seen like everything else → seen = scores; weights = seen.softmax(dim=-1)
    padding may stand anywhere: ask the mask, don't count → hidden = ~mask.sort(1, True).values[:, None, None]
    the first key is hidden too where the mask says so → hidden = ~F.pad(mask[:, 1:], (1, 0), value=True)[:, None, None]
    hidden weights are set to 0 after the softmax: what is left no longer sums to 1 → seen = scores
    hidden scores are set to 0, and e^0 = 1 is no small weight →
        seen = scores.masked_fill(hidden, 0.0); weights = seen.softmax(dim=-1)
    hidden keys of 0 score 0, and e^0 = 1 is no small weight → seen = scores.masked_fill(hidden, 0.0)
    a hidden score of −100 is not low enough for all that may be seen: take −∞ →
        seen = scores.masked_fill(hidden, -100.0); weights = soft(seen, mask)
    log(mask + 1e-9) lowers hidden scores by 21: where they are high, this is not enough →
        seen = scores + (mask[:, None, None] + 1e-9).log(); weights = soft(seen, mask)
    real keys may score 0, too: hide by the mask, not by the score →
        seen = scores.masked_fill(hidden | (scores == 0), -math.inf); weights = soft(seen, mask)
    a query that may look nowhere must give zeros; 0/0 makes it NaN → weights = seen.softmax(dim=-1)
    a query that may look nowhere must give zeros; with equally low scores it gets the mean of all values →
        seen = scores.masked_fill(hidden, -1e9); weights = seen.softmax(dim=-1)
    one example of padding alone makes only its own results zeros, not those of the others →
        return weights @ value * mask.any(-1).all()
    an example with some padding has results: only padding alone gives zeros →
        weights = seen.softmax(-1).nan_to_num() * mask.all(-1)[:, None, None, None]
    hidden keys are thrown away after the softmax: where they score far above the real ones, nothing is left →
        seen = scores.softmax(dim=-1).masked_fill(hidden, 0.0)
        weights = (seen / seen.sum(dim=-1, keepdim=True)).nan_to_num()
    one largest score is subtracted for all rows: far below it all e^… are 0 →
        weights = ((e := (seen - seen.max()).exp()) / e.sum(-1, True)).nan_to_num()
    one tensor is asked for, the attended values; you return the weights as well → return weights @ value, weights
    """
    one, keys = torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, None, :3]
    yield "the last of three keys hidden", one, keys, 10 * keys, torch.tensor([[True, True, False]])
    for tests, b, h, n, k, *rows in (
        ("padding anywhere", 2, 3, 4, 6, [0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0]),
        ("n = k", 2, 3, 5, 5, [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]),
        ("more queries than keys", 2, 3, 6, 4, [1, 1, 1, 0], [0, 1, 1, 0]),
        ("b = n", 3, 2, 3, 4, [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]),
        ("b = h", 3, 3, 2, 4, [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1]),
        ("all sizes the same", 4, 4, 4, 4, [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]),
        ("nothing hidden", 2, 1, 4, 5, [1] * 5, [1] * 5),
        ("padding alone", 3, 2, 4, 5, [0] * 5, [1, 1, 1, 0, 0], [0] * 5),
    ):
        yield tests, *(draw(b, h, size, 4) for size in (n, k, k)), torch.tensor(rows).bool()
    for tests, signs, scores, *rows in (
        ("scores near −500", (-1, -1), (500, 500, 500), [1, 0, 0], [0, 0, 1]),
        ("hidden scores near 500", (-1, 1), (500, -500, 490, -490, -480), [1, 0, 0, 0, 0], [1, 0, 1, 0, 0]),
        ("500 and −500 in one row", (1, 1, 1), (-460, -470, 500, -480, -490, -500), [1] * 6, [1] * 5 + [0]),
        ("500 in one row, −500 in another", (1, -1), (500, 490), [1, 1], [1, 1]),
    ):
        yield tests, *extremes(signs, scores), draw(2, 3, len(scores), 16), torch.tensor(rows).bool()
    key = draw(2, 3, 3, 4).index_fill(2, torch.tensor([1]), 0.0)
    yield "a real key of zeros", draw(2, 3, 4, 4), key, draw(2, 3, 3, 4), torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()


def multi_head_attention(x, w_q, w_k, w_v, w_o, num_heads):
    """Project x [b, n, d] by three matrices [d, d], attend head by head, merge and project: [b, n, d]."""
    query, key, value = (rearrange(F.linear(x, w), "b n (h d_h) -> b h n d_h", h=num_heads) for w in (w_q, w_k, w_v))
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    heads = scores.softmax(dim=-1) @ value
    merged = rearrange(heads, "b h n d_h -> b n (h d_h)")
    return F.linear(merged, w_o)


def cut(pattern, *projected, **sizes):
    """Cut projections [b, n, d] into heads by a pattern of the last axis: [b, h, n, d_h] each."""
    return (rearrange(x, f"b n {pattern} -> b h n d_h", **sizes) for x in projected)


@exercise(multi_head_attention)
def check_multi_head_attention(draw):
    """
    ? Which five steps stand between x and the result, and what is the shape after each?
    ? Project, split, attend, merge, project. F.linear(x, w) computes x Wᵀ. What is the size in the square root?
    ? query = rearrange(F.linear(x, w_q), "b n (h d_h) -> b h n d_h", h=num_heads)
    the scores are not divided by √d_h: with longer vectors the softmax becomes a hard choice → scores = query @ key.mT
    the root is of one head's d_h, not of the full width h · d_h → scores = query @ key.mT / math.sqrt(x.shape[-1])
    the root is of d_h, not of the number of heads → scores = query @ key.mT / math.sqrt(num_heads)
    the scores are always divided by 2; d_h is not always 4: take it from the shape → scores = query @ key.mT / 2
    keys look at queries: it is the queries that ask → scores = key @ query.mT / math.sqrt(query.shape[-1])
    the softmax runs over the queries; it is one query's weights that must sum to 1 →
        heads = scores.softmax(dim=-2) @ value
    the softmax runs over the heads; it is one query's weights that must sum to 1 → heads = scores.softmax(1) @ value
    all four are x W; weights are kept as nn.Linear keeps them, so it is x Wᵀ →
        query, key, value = cut("(h d_h)", x @ w_q, x @ w_k, x @ w_v, h=num_heads); return merged @ w_o
    the query is x W; weights are kept as nn.Linear keeps them, so it is x Wᵀ →
        return multi_head_attention(x, w_q.T, w_k, w_v, w_o, num_heads)
    the output is multiplied by w_o; weights are kept as nn.Linear keeps them, so it is w_oᵀ → return merged @ w_o
    split with "(d_h h)": a head takes every h-th column instead of d_h neighbouring ones →
        query, key, value = cut("(d_h h)", *(F.linear(x, w) for w in (w_q, w_k, w_v)), h=num_heads)
    split and merged with "(d_h h)": a head takes every h-th column instead of d_h neighbouring ones →
        query, key, value = cut("(d_h h)", *(F.linear(x, w) for w in (w_q, w_k, w_v)), h=num_heads)
        merged = rearrange(heads, "b h n d_h -> b n (d_h h)")
    reshape to [b, h, n, d_h] and back cuts across the tokens; split d first, then exchange axes →
        query, key, value = (F.linear(x, w).reshape(len(x), num_heads, x.shape[1], -1) for w in (w_q, w_k, w_v))
        merged = heads.reshape(x.shape)
    the heads are merged by reshape (or view) alone; exchange the axes h and n first → merged = heads.reshape(x.shape)
    the heads are merged in reverse order → merged = rearrange(heads.flip(1), "b h n d_h -> b n (h d_h)")
    num_heads is taken for the size of a head →
        query, key, value = cut("(h d_h)", *(F.linear(x, w) for w in (w_q, w_k, w_v)), d_h=num_heads)
    the output projection w_o is missing → return merged
    the examples of the batch look at each other: x is [b, n, d], not [n, b, d] (torch: batch_first=True) →
        return multi_head_attention(x.transpose(0, 1), w_q, w_k, w_v, w_o, num_heads).transpose(0, 1)
    """
    swap = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    yield "two heads of size 1", torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), swap, torch.eye(2), 4 * swap, swap, 2
    for tests, b, n, d, num_heads in (
        ("all sizes different", 3, 5, 12, 2),
        ("as many heads as tokens", 2, 3, 12, 3),
        ("as many examples as tokens", 4, 4, 12, 2),
        ("all sizes the same", 3, 3, 9, 3),
        ("one head", 2, 3, 6, 1),
        ("heads of size 1", 2, 3, 6, 6),
        ("one token", 1, 1, 6, 2),
    ):
        yield tests, draw(b, n, d), *(draw(d, d) / d**0.5 for _ in range(4)), num_heads
