"""Lesson 01: attention."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from apt_minimal.course.check import Exercise, draws
from apt_minimal.course.lesson_01_faults import check_telling_inputs as check_telling_inputs  # exercise 1.4
from apt_minimal.course.lesson_01_head import check_look_back as check_look_back  # exercise 1.5

NO_ROOT = "the scores are not divided by √d_h: the longer the vectors, the nearer the softmax comes to a hard choice"
BY_D = "the root is that of the full width h · d_h; each score is a sum over one head's d_h numbers"
BY_2 = "the scores are always divided by 2; d_h is not always 4: take it from the shape"
OVER_QUERIES = "the softmax runs over the queries; it is the weights of one query over the keys that must sum to 1"
OVER_HEADS = "the softmax runs over the heads; it is the weights of one query over the keys that must sum to 1"
TWO = "one tensor is asked for, the attended values; you return the weights as well"


def extremes(signs, scores) -> tuple[Tensor, Tensor]:
    """Query [2, 3, n, 16] and key [2, 3, k, 16]: query i scores signs[i] · scores[j] with key j.

    Keep scores that may be looked at 10 apart: rounding errors (1e-4 in 500) would move weights of a softer choice.
    """
    query = torch.ones(2, 3, len(signs), 16) * 4 * torch.tensor(signs).unsqueeze(-1)
    return query, torch.ones(2, 3, len(scores), 16) * torch.tensor(scores).unsqueeze(-1) / 16


# 1.1


def attend(query, key, value):
    scores = einsum(query, key, "b n h d_h, b k h d_h -> b h n k")
    scaled = scores / math.sqrt(query.shape[-1])
    weights = scaled.softmax(dim=-1)
    return einsum(weights, value, "b h n k, b k h d_h -> b n h d_h")


LARGEST = "weights = (scaled - {0}).exp() / (scaled - {0}).exp().sum(dim=-1, keepdim=True)"
ATTENTION = {
    NO_ROOT: "scaled = scores",
    BY_D: "scaled = scores / math.sqrt(query[0, 0].numel())",
    BY_2: "scaled = scores / 2",
    "the scores are multiplied by √d_h instead of divided": "scaled = scores * math.sqrt(query.shape[-1])",
    OVER_QUERIES: "weights = scaled.softmax(dim=-2)",
    OVER_HEADS: "weights = scaled.softmax(dim=1)",
    "e^score overflows; torch's softmax subtracts each row's largest score first": LARGEST.format(0),
    "one largest score is subtracted for all rows: far below it all e^… are 0": LARGEST.format("scaled.max()"),
    "heads look at heads: @ works on the last two axes, h and d_h": "scores = query @ key.mT\nreturn weights @ value",
    "the scores are summed over the heads: all heads share one set of weights, and each needs its own": (
        "scores = einsum(query, key, 'b n h d_h, b k h d_h -> b n k')[:, None].expand(-1, query.shape[2], -1, -1)"
    ),
    "on the way back, reshape cuts the numbers anew in their old order; use rearrange or transpose there": (
        "return (weights @ value.transpose(1, 2)).reshape(query.shape)"
    ),
    TWO: "return (weights @ value.transpose(1, 2)).transpose(1, 2), weights",
}


def attention_trials():
    draw, one, keys = draws(0), torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, :2, None]
    yield "scores 1 and 0", (one, keys, 10 * keys)
    for tests, b, n, k, h, d_h in (
        ("more keys than queries", 2, 5, 7, 3, 6),
        ("n = k", 2, 4, 4, 3, 5),
        ("n = k = h", 2, 3, 3, 3, 6),
        ("all sizes the same", 4, 4, 4, 4, 4),
        ("one key", 2, 3, 1, 2, 4),
        ("one head", 2, 4, 3, 1, 5),
        ("d_h = 1", 3, 2, 4, 2, 1),
    ):
        yield tests, (draw(b, n, h, d_h), draw(b, k, h, d_h), draw(b, k, h, d_h))
    yield "float64", tuple(draw(2, n, 4, 2).double() for n in (3, 5, 5))
    for tests, signs, scores in (
        ("scores near 500 and near −500", (-1, 1, 1, -1), (500, 490, 480)),
        ("500 and −500 in one row", (1, 1), (-460, -470, 500, -480, -490, -500)),
    ):
        yield tests, (*(x.transpose(1, 2) for x in extremes(signs, scores)), draw(2, len(scores), 3, 16))


ATTENTION_HINTS = (
    "In this layout `query @ key.mT` multiplies over the last two axes. Which axes are these?",
    "Exchange the axes with rearrange, and back at the end. Or spell einsum's patterns: which axis is summed over?",
    'scores = einsum(query, key, "b n h d_h, b k h d_h -> b h n k")',
)
check_attention = Exercise(attend, attention_trials, ATTENTION, hints=ATTENTION_HINTS)

# 1.2


def masked_attention(query, key, value, mask):
    hidden = ~rearrange(mask, "b k -> b 1 1 k")
    scores = einsum(query, key, "b h n d_h, b h k d_h -> b h n k") / math.sqrt(query.shape[-1])
    seen = scores.masked_fill(hidden, -math.inf)
    weights = seen.softmax(dim=-1).masked_fill(hidden, 0.0)
    return einsum(weights, value, "b h n k, b h k d_h -> b h n d_h")


BARE = "weights = seen.softmax(dim=-1)"
MASKED_ATTENTION = {
    NO_ROOT: "scores = query @ key.mT",
    "the mask is upside down: True is where a query may look": "hidden = rearrange(mask, 'b k -> b 1 1 k')",
    "the mask hides queries; it is the keys that are padding, whoever asks": (
        f"seen = scores\n{BARE}\nreturn (weights @ value).masked_fill(~mask[:, None, :, None], 0.0)"
    ),
    "the mask [b, k] meets [n, k]: examples are taken for queries. It needs axes for h and n": "hidden = ~mask",
    "the mask meets [h, n, k]: examples are taken for heads. It needs an axis for h too": "hidden = ~mask[:, None]",
    "the mask changes nothing: padding is seen like everything else": f"seen = scores\n{BARE}",
    "hidden weights are set to 0 after the softmax: what is left no longer sums to 1": "seen = scores",
    "hidden scores are set to 0, and e^0 = 1 is no small weight": f"seen = scores.masked_fill(hidden, 0.0)\n{BARE}",
    "a query that may look nowhere must give zeros; 0/0 makes it NaN": BARE,
    "a query that may look nowhere must give zeros; with equally low scores it gets the mean of all values": (
        f"seen = scores.masked_fill(hidden, -1e9)\n{BARE}"
    ),
    "hidden keys are thrown away after the softmax: where they score far above the real ones, nothing is left": (
        "seen = scores.softmax(dim=-1).masked_fill(hidden, 0.0)\n"
        "weights = (seen / seen.sum(dim=-1, keepdim=True)).nan_to_num()"
    ),
    TWO: "return weights @ value, weights",
}


def masked_trials():
    draw, one, keys = draws(1), torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, None, :3]
    yield "the last of three keys hidden", (one, keys, 10 * keys, torch.tensor([[True, True, False]]))
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
        yield tests, (*(draw(b, h, size, 4) for size in (n, k, k)), torch.tensor(rows).bool())
    for tests, signs, scores, *rows in (
        ("scores near −500", (-1, -1), (500, 500, 500), [1, 0, 0], [0, 0, 1]),
        ("hidden scores near 500", (-1, 1), (500, -500, 490, -490, -480), [1, 0, 0, 0, 0], [1, 0, 1, 0, 0]),
        ("500 and −500 in one row", (1, 1, 1), (-460, -470, 500, -480, -490, -500), [1] * 6, [1] * 5 + [0]),
        ("500 in one row, −500 in another", (1, -1), (500, 490), [1, 1], [1, 1]),
    ):
        yield tests, (*extremes(signs, scores), draw(2, 3, len(scores), 16), torch.tensor(rows).bool())
    key = draw(2, 3, 3, 4).index_fill(2, torch.tensor([1]), 0.0)
    yield "a real key of zeros", (draw(2, 3, 4, 4), key, draw(2, 3, 3, 4), torch.tensor([[1, 1, 0], [0, 1, 1]]).bool())


MASKED_HINTS = (
    "The mask is [b, k], the scores are [b, h, n, k]. Which axes does the mask lack?",
    "Give the mask its axes, set hidden scores with masked_fill before the softmax, and think of 0/0 after it.",
    "weights = scores.masked_fill(hidden, -math.inf).softmax(dim=-1).masked_fill(hidden, 0.0)",
)
check_masked_attention = Exercise(masked_attention, masked_trials, MASKED_ATTENTION, hints=MASKED_HINTS)

# 1.3


def multi_head_attention(x, w_q, w_k, w_v, w_o, num_heads):
    query, key, value = (rearrange(F.linear(x, w), "b n (h d_h) -> b h n d_h", h=num_heads) for w in (w_q, w_k, w_v))
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    heads = scores.softmax(dim=-1) @ value
    merged = rearrange(heads, "b h n d_h -> b n (h d_h)")
    return F.linear(merged, w_o)


PROJECT = "query, key, value = ({} for w in (w_q, w_k, w_v))"
NEIGHBOURS = '"(d_h h)": a head takes every h-th column instead of d_h neighbouring ones'
DEALT = PROJECT.format("rearrange(F.linear(x, w), 'b n (d_h h) -> b h n d_h', h=num_heads)")
CUT = PROJECT.format("F.linear(x, w).reshape(len(x), num_heads, x.shape[1], -1)")
TIMES = PROJECT.format("rearrange(x @ w, 'b n (h d_h) -> b h n d_h', h=num_heads)")
SIZE = PROJECT.format("rearrange(F.linear(x, w), 'b n (h d_h) -> b h n d_h', d_h=num_heads)")
PASTED = "merged = heads.reshape(x.shape)"
MULTI_HEAD = {
    NO_ROOT: "scores = query @ key.mT",
    BY_D: "scores = query @ key.mT / math.sqrt(x.shape[-1])",
    BY_2: "scores = query @ key.mT / 2",
    OVER_QUERIES: "heads = scores.softmax(dim=-2) @ value",
    OVER_HEADS: "heads = scores.softmax(dim=1) @ value",
    "all four are x W; weights are kept as nn.Linear keeps them, so it is x Wᵀ": f"{TIMES}\nreturn merged @ w_o",
    "the output is multiplied by w_o; weights are kept as nn.Linear keeps them, so it is w_oᵀ": "return merged @ w_o",
    f"split with {NEIGHBOURS}": DEALT,
    f"split and merged with {NEIGHBOURS}": f"{DEALT}\nmerged = rearrange(heads, 'b h n d_h -> b n (d_h h)')",
    "reshape to [b, h, n, d_h] and back cuts across the tokens; split d first, then exchange axes": f"{CUT}\n{PASTED}",
    "the heads are merged by reshape (or view) alone; exchange the axes h and n first": PASTED,
    "num_heads is taken for the size of a head": SIZE,
    "the output projection w_o is missing": "return merged",
}
BATCH_FIRST = "the examples of the batch look at each other: x is [b, n, d], not [n, b, d] (torch: batch_first=True)"
OTHER = {BATCH_FIRST: lambda x, *rest: multi_head_attention(x.transpose(0, 1), *rest).transpose(0, 1)}


def multi_head_trials():
    draw, swap = draws(2), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    yield "two heads of size 1", (torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), swap, torch.eye(2), 4 * swap, swap, 2)
    for tests, b, n, d, num_heads in (
        ("all sizes different", 3, 5, 12, 2),
        ("as many heads as tokens", 2, 3, 12, 3),
        ("as many examples as tokens", 4, 4, 12, 2),
        ("all sizes the same", 3, 3, 9, 3),
        ("one head", 2, 3, 6, 1),
        ("heads of size 1", 2, 3, 6, 6),
        ("one token", 1, 1, 6, 2),
    ):
        yield tests, (draw(b, n, d), *(draw(d, d) / d**0.5 for _ in range(4)), num_heads)


MULTI_HEAD_HINTS = (
    "Which five steps stand between x and the result, and what is the shape after each?",
    "Project, split, attend, merge, project. F.linear(x, w) computes x Wᵀ. What is the size in the square root?",
    'query = rearrange(F.linear(x, w_q), "b n (h d_h) -> b h n d_h", h=num_heads)',
)
check_multi_head_attention = Exercise(
    multi_head_attention, multi_head_trials, MULTI_HEAD, OTHER, hints=MULTI_HEAD_HINTS
)
