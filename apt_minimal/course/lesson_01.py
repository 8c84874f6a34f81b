"""Lesson 01: attention."""

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from apt_minimal.attention import merge_heads, scaled_dot_product_attention, split_heads
from apt_minimal.course.checking import check, combine, difference, say

__all__ = ["check_attention", "check_masked_attention", "check_multi_head_attention", "check_telling_inputs"]


# What can go wrong with the scale: scores, query and key, [b, h, n, k], [b, h, n, d_h] and [b, h, k, d_h] -> scores.
_SCALES = {
    "": lambda s, q, k: s / q.shape[-1] ** 0.5,
    "the scores are not divided by √d_h: the longer the vectors, the nearer the softmax comes to a hard choice": (
        lambda s, q, k: s
    ),
    "the scores are multiplied by √d_h instead of divided": lambda s, q, k: s * q.shape[-1] ** 0.5,
    "the scores are divided by d_h, not by its root (or by the root twice)": lambda s, q, k: s / q.shape[-1],
    "the scores are divided by the root of the full width h · d_h; each score is a sum over one head's d_h numbers": (
        lambda s, q, k: s / (q.shape[1] * q.shape[-1]) ** 0.5
    ),
    "the scores are divided by the root of the number of keys; what makes them large is d_h": (
        lambda s, q, k: s / k.shape[-2] ** 0.5
    ),
    "the scores are divided by the root of the number of queries; what makes them large is d_h": (
        lambda s, q, k: s / q.shape[-2] ** 0.5
    ),
    "the scores are divided by the root of the number of heads; what makes them large is d_h": (
        lambda s, q, k: s / q.shape[1] ** 0.5
    ),
    "the scores are divided by the fourth root of d_h: by √d_h once, or queries and keys by the fourth root each": (
        lambda s, q, k: s / q.shape[-1] ** 0.25
    ),
}
# A size of the heads taken from an example.
_FIXED_SCALES = {
    f"the scores are always divided by √{size}; d_h is not always {size}: take it from the shape": (
        lambda s, q, k, size=size: s / size**0.5
    )
    for size in (2, 4, 8, 16, 64)
}
_AXES = {
    "": lambda s: s.softmax(-1),
    "the softmax runs over the queries; it is the weights of one query over the keys that must sum to 1": (
        lambda s: s.softmax(-2)
    ),
    "the softmax runs over the heads; it is the weights of one query over the keys that must sum to 1": (
        lambda s: s.softmax(1)
    ),
    "queries see only the keys up to their own position (causal); here every key may be looked at": (
        lambda s: s.masked_fill(~torch.ones(s.shape[-2:]).tril().bool(), float("-inf")).softmax(-1)
    ),
    "the softmax runs over the batch: the examples must not know of each other": lambda s: s.softmax(0),
    "the scores have the wrong sign: the keys that match least get the most weight": lambda s: (-s).softmax(-1),
}


def _exp_over_sum(scores: Tensor, largest: Tensor | float) -> Tensor:
    e = (scores - largest).exp()
    return e / e.sum(-1, keepdim=True)


_NORMALISED = {
    **_AXES,
    "one softmax over queries and keys together; each query needs weights of its own that sum to 1": (
        lambda s: s.flatten(-2).softmax(-1).view_as(s)
    ),
    "the softmax is taken twice: the second one evens out the weights": lambda s: s.softmax(-1).softmax(-1),
    "there is no softmax: the raw scores serve as weights": lambda s: s,
    "a sigmoid stands where the softmax should: the weights of a query don't sum to 1": lambda s: s.sigmoid(),
    "e^score is never divided by its sum over the keys": lambda s: s.exp(),
    "log_softmax gives the logarithms of the weights, not the weights": lambda s: s.log_softmax(-1),
    "the scores are divided by their sum without e^…: such weights can be negative": lambda s: s / s.sum(-1, True),
    "a hard choice: only the best key's value comes through; the weights should be a softmax": (
        lambda s: torch.nn.functional.one_hot(s.argmax(-1), s.shape[-1]).to(s.dtype)
    ),
    "e^score overflows for large scores; torch's softmax subtracts each row's largest score first": (
        lambda s: _exp_over_sum(s, 0.0)
    ),
    "e^score overflows for large scores, and setting the NaNs to 0 brings no weight back": (
        lambda s: _exp_over_sum(s, 0.0).nan_to_num()
    ),
    "one largest score is subtracted for all rows: where a row lies far below it, all its e^… are 0, and 0/0 is NaN": (
        lambda s: _exp_over_sum(s, s.max())
    ),
    "what is subtracted from a row is never below 0: where all its scores lie far below, their e^… are 0: 0/0 is NaN": (
        lambda s: _exp_over_sum(s, s.amax(-1, keepdim=True).clamp(min=0))
    ),
    "what is subtracted from a row's scores is not its largest: where they lie far apart, e^… still overflows": (
        lambda s: _exp_over_sum(s, s.mean(-1, keepdim=True))
    ),
    "the largest score over the queries is subtracted; it must be the largest of the row, over the keys": (
        lambda s: _exp_over_sum(s, s.amax(-2, keepdim=True))
    ),
}


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: Callable, normalise: Callable) -> Tensor:
    return normalise(scale(query @ key.mT, query, key)) @ value


def _extremes(signs: tuple[int, ...], scores: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Query [2, 3, n, 16] and key [2, 3, k, 16]: query i scores signs[i] · scores[j] with key j.

    Keep scores that may be looked at 10 apart: rounding errors (1e-4 in 500) would move weights of a softer choice.
    """
    query = torch.full((2, 3, len(signs), 16), 4.0) * torch.tensor(signs).unsqueeze(-1)
    key = torch.ones(2, 3, len(scores), 16) * torch.tensor(scores).unsqueeze(-1) / 16
    return query, key


def _heads_second(x: Tensor) -> Tensor:
    return rearrange(x, "b n h d_h -> b h n d_h")


def _heads_third(x: Tensor) -> Tensor:
    return rearrange(x, "b h n d_h -> b n h d_h")


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _cut_anew(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3])


# How [b, n, h, d_h] becomes [b, h, n, d_h], and how the result comes back.
_LAYOUTS = {
    "": (_heads_second, _heads_third),
    "heads look at heads: @ (or torch's function) works on the last two axes, and in this layout these are h and d_h": (
        _as_it_is,
        _as_it_is,
    ),
    "reshape (or view) cuts the numbers anew in their old order; to exchange two axes takes rearrange or transpose": (
        _cut_anew,
        _cut_anew,
    ),
    "on the way in, reshape (or view) cuts the numbers anew in their old order; to exchange two axes takes rearrange": (
        _cut_anew,
        _heads_third,
    ),
    "on the way back, reshape (or view) cuts the numbers anew in their old order; use rearrange or transpose there": (
        _heads_second,
        _cut_anew,
    ),
    "the result is [b, h, n, d_h]; it should come back in the layout of the query, [b, n, h, d_h]": (
        _heads_second,
        _as_it_is,
    ),
}


def check_attention(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 1.1: answer(query, key, value) is attention in the layout [b, n, h, d_h]."""

    def with_layout(layout, scale, normalise=_AXES[""]):
        way_in, way_out = layout
        return lambda *qkv: way_out(_attend(*map(way_in, qkv), scale, normalise))

    def plain(query, key, value):
        return with_layout(_LAYOUTS[""], _SCALES[""])(query, key, value)

    def weights(query, key, value):
        query, key = _heads_second(query), _heads_second(key)
        return _AXES[""](_SCALES[""](query @ key.mT, query, key))

    def softmax_last(query, key, value):
        query, key, value = map(_heads_second, (query, key, value))
        return _heads_third((_SCALES[""](query @ key.mT, query, key) @ value).softmax(-1))

    def one_set_of_weights(size):
        def mistake(query, key, value):
            scores = torch.einsum("bnhd,bkhd->bnk", query, key) / size(query) ** 0.5
            return torch.einsum("bnk,bkhd->bnhd", scores.softmax(-1), value)

        return mistake

    shared = "the scores are summed over the heads: all heads share one set of weights, and each needs its own"

    def counted_by_queries(query, key, value):
        if query.shape[1] > key.shape[1]:
            raise IndexError
        return plain(query, key[:, : query.shape[1]], value[:, : query.shape[1]])

    mistakes = combine(partial(with_layout, _LAYOUTS[""]), _SCALES, _NORMALISED)
    mistakes |= combine(with_layout, _LAYOUTS, _SCALES)
    mistakes |= {said: with_layout(_LAYOUTS[""], scale) for said, scale in _FIXED_SCALES.items()}
    mistakes |= {
        "only as many keys are looked at as there are queries; there may be more": (
            lambda q, k, v: plain(q, k[:, : q.shape[1]], v[:, : q.shape[1]])
        ),
        "the keys are counted up to n, the number of queries; there are k of them": counted_by_queries,
        "these are the weights; multiply the values by them": weights,
        "these are the weights, [b, h, n, k] in [b, n, h, k]; multiply the values by them": (
            lambda *qkv: _heads_third(weights(*qkv))
        ),
        "one tensor is asked for, the attended values; you return the weights as well": (
            lambda *qkv: (plain(*qkv), weights(*qkv))
        ),
        shared: one_set_of_weights(lambda query: query.shape[-1]),
        f"{shared}; so the root is that of the full width": one_set_of_weights(lambda query: query[0, 0].numel()),
        "the heads are merged; the result should keep them apart, [b, n, h, d_h]": lambda *qkv: plain(*qkv).flatten(2),
        "the softmax comes after the values; it belongs to the scores, before": softmax_last,
        "√d_h divides the weights, after the softmax; it must divide the scores, before": (
            lambda q, k, v: plain(q * q.shape[-1] ** 0.5, k, v) / q.shape[-1] ** 0.5
        ),
        "queries and keys are exchanged: each key asks, and the queries answer": lambda q, k, v: plain(k, q, v),
        "keys and values are exchanged: the keys decide on the weights, the values are what is mixed": (
            lambda q, k, v: plain(q, v, k)
        ),
        "the keys are mixed; the weights belong on the values": lambda q, k, v: plain(q, k, k),
        "the queries are compared with the values; the weights come from the keys": lambda q, k, v: plain(q, v, v),
        "the queries are compared with themselves: the keys play no part": lambda q, k, v: plain(q, q, v),
        "the weights are transposed before they meet the values": (
            lambda q, k, v: _heads_third(weights(q, k, v).mT @ _heads_second(v))
        ),
    }
    generator = torch.Generator().manual_seed(0)

    def trial(b, n, k, h, d_h):
        return tuple(torch.randn(b, length, h, d_h, generator=generator) for length in (n, k, k))

    def extreme(signs, scores):
        values = torch.randn(2, len(scores), 3, 16, generator=generator)
        return *map(_heads_third, _extremes(signs, scores)), values

    attend = "softmax(q Kᵀ / √d_h) V, each head for itself: compare the shapes after each step with [b, n, h, d_h]"
    trials = [
        (attend, trial(2, 5, 7, 3, 6)),
        ("with as many keys as queries, nothing may be transposed by mistake", trial(2, 4, 4, 3, 5)),
        ("with as many heads as tokens, no two axes may be taken for each other", trial(2, 3, 3, 3, 6)),
        ("sizes that are all equal must not hide which axis is which", trial(4, 4, 4, 4, 4)),
        ("a single query over several keys", trial(1, 1, 6, 2, 8)),
        ("a single key gets the whole weight, 1", trial(2, 3, 1, 2, 4)),
        ("one head must stay an axis of its own", trial(2, 4, 3, 1, 5)),
        ("queries and keys of size 1", trial(3, 2, 4, 2, 1)),
        (
            "scores near 500 must not overflow, and where all scores of a row lie near −500, e^… must not be 0 for all",
            extreme((-1, 1, 1, -1), (500, 490, 480)),
        ),
        ("where all scores lie near −150, e^… must not be 0 for all of them", extreme((-1, -1), (150, 140, 130))),
        ("where all scores lie near −500, e^… must not be 0 for all of them", extreme((-1, -1), (500, 490, 480))),
        ("another precision must work too", tuple(x.double() for x in trial(2, 3, 5, 4, 2))),
        (
            "the scores of one row may lie as far apart as 500 and −500",
            extreme((1, 1), (-460, -470, 500, -480, -490, -500)),
        ),
    ]
    return check(answer, plain, trials, mistakes)


# Where the mask [b, k] acts on the scores [b, h, n, k]: True where it lets a query look.
_PLACES = {
    "": lambda m: rearrange(m, "b k -> b 1 1 k"),
    "the mask hides queries; it is the keys that are padding, whoever asks": lambda m: rearrange(m, "b k -> b 1 k 1"),
    "the mask [b, k] meets [n, k]: examples are taken for queries. It needs axes for h and n: [b, 1, 1, k]": (
        lambda m: m
    ),
    "the mask meets [h, n, k]: examples are taken for heads. It needs an axis for h too: [b, 1, 1, k]": (
        lambda m: rearrange(m, "b k -> 1 b 1 k")
    ),
    "queries are masked along with the keys; the mask is about the keys only": (
        lambda m: rearrange(m, "b k -> b 1 1 k") & rearrange(m, "b k -> b 1 k 1")
    ),
}
_SIGNS = {
    "": lambda m: m,
    "the mask is upside down: True is where a query may look": lambda m: ~m,
}


def _over_sum(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


# How hidden keys are kept out: scores, hidden [broadcastable], softmax, the low value -> weights.
_FILLS = {
    "": lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden, low)),
    "hidden scores are set to 0, and e^0 = 1 is no small weight": (
        lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden, 0.0))
    ),
    "hidden weights (or values) are set to 0 after the softmax: what is left no longer sums to 1": (
        lambda s, hidden, softmax, low: softmax(s).masked_fill(hidden, 0.0)
    ),
    "hidden scores are set to 0, where e^0 = 1 still takes weight, and then that weight is thrown away": (
        lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden, 0.0)).masked_fill(hidden, 0.0)
    ),
    "the mask is added to the scores as 0 and 1: that lifts a score by 1, and hides nothing": (
        lambda s, hidden, softmax, low: softmax(s + (~hidden).to(s.dtype))
    ),
    "hidden scores get plus infinity, or an example with any padding is set to 0: its real keys still count": (
        lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden, -low))
    ),
    "hidden keys still count in the softmax, in its sum or as the largest score, which is subtracted: where they score "
    "far above the real ones, nothing is left of these": (
        lambda s, hidden, softmax, low: _over_sum(softmax(s).masked_fill(hidden, 0.0))
    ),
    "one largest score is subtracted for all queries: where one's scores lie far below it, all its e^… are 0": (
        lambda s, hidden, softmax, low: _exp_over_sum(
            s.masked_fill(hidden, float("-inf")), s.masked_fill(hidden, float("-inf")).max()
        )
    ),
    "hidden scores get a very large positive number: then only padding is seen": (
        lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden, 1e9))
    ),
    "0 is taken to mean hidden: a real key may score exactly 0 as well, as one of zeros does": (
        lambda s, hidden, softmax, low: softmax(s.masked_fill(hidden | (s == 0), low))
    ),
    "0 · ∞ is NaN: a mask times −∞ spoils the scores that are not hidden; set them with masked_fill": (
        lambda s, hidden, softmax, low: softmax(s + hidden.to(s.dtype) * float("-inf"))
    ),
    "−∞ comes after the softmax; it belongs to the scores, before": (
        lambda s, hidden, softmax, low: softmax(s).masked_fill(hidden, low)
    ),
    "a second softmax runs over the weights: 0 among them gets e^0 = 1 again": (
        lambda s, hidden, softmax, low: softmax(softmax(s).masked_fill(hidden, 0.0))
    ),
    "a second softmax runs over weights that have been through one already": (
        lambda s, hidden, softmax, low: softmax(softmax(s).masked_fill(hidden, low))
    ),
    "the mask changes nothing: padding is seen like everything else": lambda s, hidden, softmax, low: softmax(s),
}
# What a query that may look nowhere gets: the low value, and whether NaNs become 0.
_NOWHERE = {
    "": (float("-inf"), True),
    "a query that may look nowhere must give zeros; 0/0 makes it NaN": (float("-inf"), False),
    "a query that may look nowhere must give zeros; with equally low scores it gets the mean of all values": (
        -1e9,
        False,
    ),
}


def _without_nan(x: Tensor) -> Tensor:
    return x.masked_fill(x.isnan(), 0.0)


def check_masked_attention(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 1.2: answer(query, key, value, mask) is attention with padded keys hidden, mask [b, k]."""

    def right(query, key, value, mask):
        return scaled_dot_product_attention(query, key, value, rearrange(mask, "b k -> b 1 1 k"))[0]

    def make(place, sign, fill, nowhere, scale, axis):
        low, clean = nowhere

        def mistake(query, key, value, mask):
            hidden = ~sign(place(mask))
            weights = fill(scale(query @ key.mT, query, key), hidden, axis, low)
            return (_without_nan(weights) if clean else weights) @ value

        return mistake

    def weights(query, key, value, mask):
        return scaled_dot_product_attention(query, key, value, rearrange(mask, "b k -> b 1 1 k"))[1]

    factors = (_PLACES, _SIGNS, _FILLS, _NOWHERE)
    mistakes = combine(make, *factors, _SCALES, _AXES, at_most=3)

    def cut(query, key, value, mask):
        longest = mask.sum(1).max()
        return right(query, key[:, :, :longest], value[:, :, :longest], mask[:, :longest])

    def first_always(query, key, value, mask):
        first = torch.arange(mask.shape[1]) == 0
        return right(query, key, value, mask | (first & mask.any(1, keepdim=True)))

    def padding_silenced(query, key, value, mask):
        output = right(query, key, value, mask)
        return output * mask[:, None, :, None] if query.shape[2] == key.shape[2] else output

    mistakes |= {said: make(*(f[""] for f in factors), scale, _AXES[""]) for said, scale in _FIXED_SCALES.items()}
    mistakes |= {
        "the padding is taken to stand at the end; it may stand anywhere": (
            lambda q, k, v, m: right(q, k, v, m.sort(dim=1, descending=True).values)
        ),
        "keys are cut off behind the largest number of real ones; padding may stand in front of them": cut,
        "the first key is always looked at; it may be padding as well": first_always,
        "where n = k, the outputs of padding tokens are set to 0; the mask is about the keys only": padding_silenced,
        "only as many queries are answered as there are keys; there may be more": (
            lambda q, k, v, m: right(q[:, :, : k.shape[2]], k, v, m)
        ),
        "these are the weights; multiply the values by them": weights,
        "one tensor is asked for, the attended values; you return the weights as well": (
            lambda *inputs: (right(*inputs), weights(*inputs))
        ),
    }
    generator = torch.Generator().manual_seed(0)

    def trial(b, h, n, k, d_h, *rows):
        query, key, value = (torch.randn(b, h, length, d_h, generator=generator) for length in (n, k, k))
        return query, key, value, torch.tensor(rows).bool()

    def extreme(signs, scores, *rows):
        values = torch.randn(2, 3, len(scores), 16, generator=generator)
        return *_extremes(signs, scores), values, torch.tensor(rows).bool()

    zero_key = trial(2, 3, 4, 5, 6, [1, 1, 1, 0, 0], [0, 1, 1, 1, 0])
    zero_key[1][:, :, 1] = 0.0
    trials = [
        (
            "hidden keys must get a weight of exactly 0, and the others must sum to 1",
            trial(2, 3, 4, 5, 6, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]),
        ),
        ("padding may stand anywhere, in front too", trial(2, 3, 4, 6, 5, [0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0])),
        (
            "with as many keys as queries, the mask is still about the keys",
            trial(2, 3, 5, 5, 4, [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]),
        ),
        ("there may be more queries than keys", trial(2, 3, 6, 4, 5, [1, 1, 1, 0], [0, 1, 1, 0])),
        (
            "with as many examples as queries, the mask is still one row for each example",
            trial(3, 2, 3, 4, 5, [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]),
        ),
        (
            "with as many examples as heads, the mask is still one row for each example",
            trial(3, 3, 2, 4, 5, [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1]),
        ),
        (
            "sizes that are all equal must not hide which axis is which",
            trial(4, 4, 4, 4, 4, [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]),
        ),
        ("where nothing is hidden, a mask changes nothing", trial(2, 3, 4, 5, 6, [1] * 5, [1] * 5)),
        ("one head must stay an axis of its own", trial(2, 1, 3, 4, 5, [1, 1, 0, 0], [0, 1, 1, 1])),
        ("one example, one token", trial(1, 2, 1, 1, 4, [1])),
        (
            "an example that is all padding: its queries may look nowhere, and must give zeros",
            trial(3, 2, 4, 5, 6, [0] * 5, [1, 1, 1, 0, 0], [0] * 5),
        ),
        ("one example, all padding: its queries may look nowhere, and must give zeros", trial(1, 2, 3, 4, 5, [0] * 4)),
        (
            "scores may lie near −500: what hides a key must put it below any of them, and their e^… must not all be 0",
            extreme((-1, -1, -1, -1), (500, 500, 500), [1, 0, 0], [0, 0, 1]),
        ),
        (
            "hidden scores may lie near 500, real ones near −500: hidden keys must go before their e^… enter a sum",
            extreme((-1, 1, -1, 1), (500, -500, 490, -490, -480), [1, 0, 0, 0, 0], [1, 0, 1, 0, 0]),
        ),
        (
            "the scores of one query's real keys may lie as far apart as 500 and −500",
            extreme((1, 1, 1), (-460, -470, 500, -480, -490, -500), [1] * 6, [1, 1, 1, 1, 1, 0]),
        ),
        ("one query's scores may lie near 500, another's near −500", extreme((1, -1), (500, 490), [1] * 2, [1] * 2)),
        ("a real key may be all zeros: its score is 0, and e^0 = 1 counts", zero_key),
    ]
    return check(answer, right, trials, mistakes)


# Which weights make queries, keys, values (None: x itself) and the output.
_ROLES = {
    "": lambda q, k, v, o: (q, k, v, o),
    "the weights of queries and keys are exchanged": lambda q, k, v, o: (k, q, v, o),
    "the weights of keys and values are exchanged": lambda q, k, v, o: (q, v, k, o),
    "the weights of queries and values are exchanged": lambda q, k, v, o: (v, k, q, o),
    "the weights of values and output are exchanged: w_v makes values, w_o comes last": lambda q, k, v, o: (q, k, o, v),
    "the same weights make queries, keys and values: each needs its own": lambda q, k, v, o: (q, q, q, o),
    "the keys are made with the queries' weights": lambda q, k, v, o: (q, q, v, o),
    "the values are made with the keys' weights": lambda q, k, v, o: (q, k, k, o),
    "the queries are x itself: project them with w_q": lambda q, k, v, o: (None, k, v, o),
    "the keys are x itself: project them with w_k": lambda q, k, v, o: (q, None, v, o),
    "the values are x itself: project them with w_v": lambda q, k, v, o: (q, k, None, o),
    "queries, keys and values are x itself: project them first": lambda q, k, v, o: (None, None, None, o),
}
# x Wᵀ or x W: for queries, keys, values and the output.
_PRODUCTS = {
    "": (True, True, True, True),
    "this computes x W; weights are kept as nn.Linear keeps them, [out, in], so the product is x Wᵀ": (False,) * 4,
    "queries, keys and values are x W; weights are kept as nn.Linear keeps them, so they are x Wᵀ": (
        (False, False, False, True)
    ),
    "the output is multiplied by w_o; weights are kept as nn.Linear keeps them, so it is w_o transposed": (
        (True, True, True, False)
    ),
    "the queries are x W; weights are kept as nn.Linear keeps them, so they are x Wᵀ": (False, True, True, True),
    "the keys are x W; weights are kept as nn.Linear keeps them, so they are x Wᵀ": (True, False, True, True),
    "the values are x W; weights are kept as nn.Linear keeps them, so they are x Wᵀ": (True, True, False, True),
}


def _dealt(x: Tensor, num_heads: int) -> Tensor:
    return rearrange(x, "b n (d_h h) -> b h n d_h", h=num_heads)


def _cut(x: Tensor, num_heads: int) -> Tensor:
    return x.reshape(x.shape[0], num_heads, x.shape[1], -1)


def _pasted(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], -1)


def _gathered(x: Tensor) -> Tensor:
    return rearrange(x, "b h n d_h -> b n (d_h h)")


# How d is cut into heads, and how the heads are put side by side again.
_HEADS = {
    "": (split_heads, merge_heads),
    'split with "(d_h h)": a head takes every h-th column instead of d_h neighbouring ones': (_dealt, merge_heads),
    'merged with "(d_h h)": the heads are shuffled together instead of put side by side': (split_heads, _gathered),
    'split and merged with "(d_h h)": a head takes every h-th column instead of d_h neighbouring ones': (
        _dealt,
        _gathered,
    ),
    "reshape (or view) to [b, h, n, d_h] cuts across the tokens; split d first, then exchange the axes": (
        _cut,
        merge_heads,
    ),
    "the heads are merged by reshape (or view) alone; exchange the axes h and n first": (split_heads, _pasted),
    "reshape (or view) to [b, h, n, d_h] and back cuts across the tokens; split d first, then exchange the axes": (
        _cut,
        _pasted,
    ),
    "heads look at heads: the tokens must stand in the last axis but one, [b, h, n, d_h]": (
        lambda x, num_heads: rearrange(x, "b n (h d_h) -> b n h d_h", h=num_heads),
        lambda x: rearrange(x, "b n h d_h -> b n (h d_h)"),
    ),
    "there is one big head: num_heads changes nothing": (lambda x, num_heads: x[:, None], lambda x: x[:, 0]),
    "num_heads is taken for the size of a head": (
        lambda x, num_heads: rearrange(x, "b n (h d_h) -> b h n d_h", d_h=num_heads),
        merge_heads,
    ),
    "there are always 3 heads; num_heads says how many": (lambda x, num_heads: split_heads(x, 3), merge_heads),
    "the heads stand side by side in reverse order": (split_heads, lambda x: merge_heads(x.flip(1))),
    "the heads are not merged: the result should be [b, n, d]": (split_heads, None),
}
_ENDS = {
    "": lambda attended, projected, x: projected,
    "the output projection w_o is missing": lambda attended, projected, x: attended,
    "x is added to the result; that is the layer's business (lesson 02), not the attention's": (
        lambda attended, projected, x: x + projected
    ),
}
_BATCH = {
    "": _as_it_is,
    "the examples of the batch look at each other: x is [b, n, d], not [n, b, d] (torch: batch_first=True)": (
        lambda x: x.transpose(0, 1)
    ),
}


def check_multi_head_attention(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]) -> bool:
    """Exercise 1.3: answer(x, w_q, w_k, w_v, w_o, num_heads) is multi-head self-attention, [b, n, d]."""

    def make(roles, products, heads, scale, axis, end, batch):
        split, merge = heads

        def mistake(x, w_q, w_k, w_v, w_o, num_heads):
            x = batch(x)
            weights = zip(roles(w_q, w_k, w_v, w_o), products, strict=True)
            *maps, w_last = (w if w is None or not transposed else w.T for w, transposed in weights)
            made = (x if w is None else x @ w for w in maps)
            attended = _attend(*(split(t, num_heads) for t in made), scale, axis)
            if merge is None:
                return attended
            attended = merge(attended)
            return batch(end(attended, attended @ w_last, x))

        return mistake

    def weights(x, w_q, w_k, w_v, w_o, num_heads):
        query, key = (split_heads(x @ w.T, num_heads) for w in (w_q, w_k))
        return _AXES[""](_SCALES[""](query @ key.mT, query, key))

    def mean_weights(x, w_q, w_k, w_v, w_o, num_heads):
        return weights(x, w_q, w_k, w_v, w_o, num_heads).mean(1) @ (x @ w_v.T) @ w_o.T

    factors = (_ROLES, _PRODUCTS, _HEADS, _SCALES, _AXES, _ENDS, _BATCH)
    right = make(*(factor[""] for factor in factors))
    mistakes = combine(make, *factors)
    fixed = [{"": factor[""]} | (_FIXED_SCALES if factor is _SCALES else {}) for factor in factors]
    mistakes |= combine(make, *fixed, at_most=1)
    mistakes |= {
        "one tensor is asked for, the output; you return the weights as well": (
            lambda *inputs: (right(*inputs), weights(*inputs))
        ),
        "the heads' weights are averaged: each head must mix its own values with its own weights": mean_weights,
    }
    generator = torch.Generator().manual_seed(0)

    def trial(b, n, d, num_heads, size=1.0):
        x = size * torch.randn(b, n, d, generator=generator)
        return x, *(torch.randn(d, d, generator=generator) / d**0.5 for _ in range(4)), num_heads

    # Widths are multiples of 3, so that an answer that always makes 3 heads raises no error and can be named.
    trials = [
        ("project, split into heads, attend, merge, project: compare the shape after each step", trial(3, 5, 12, 2)),
        ("with as many heads as tokens, no two axes may be taken for each other", trial(2, 3, 12, 3)),
        ("with as many examples as tokens, no two axes may be taken for each other", trial(4, 4, 12, 2)),
        ("sizes that are all equal must not hide which axis is which", trial(3, 3, 9, 3)),
        ("one head is attention over the whole width", trial(2, 3, 6, 1)),
        ("as many heads as columns: each head has size 1", trial(2, 3, 6, 6)),
        ("one example with a single token: its weight is 1, and it is projected twice", trial(1, 1, 6, 2)),
        ("larger x makes sharper weights", trial(2, 6, 12, 4, size=2.0)),
    ]
    return check(answer, right, trials, mistakes)


def _masked_softmax(scores: Tensor, mask: Tensor, axis: int = -1) -> Tensor:
    return scores.masked_fill(~mask, float("-inf")).softmax(axis).masked_fill(~mask, 0.0)


# The faulty attentions that lesson 01 shows: query, key, value [b, h, n, d_h] and mask [b, 1, 1, n] -> [b, h, n, d_h].
_FAULTY = {
    "softmax_over_queries": lambda q, k, v, m: _masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, m, -2) @ v,
    "keys_ask": lambda q, k, v, m: _masked_softmax(k @ q.mT / q.shape[-1] ** 0.5, m) @ v,
    "scaled_by_keys": lambda q, k, v, m: _masked_softmax(q @ k.mT / k.shape[-2] ** 0.5, m) @ v,
    "masks_queries": lambda q, k, v, m: _masked_softmax(q @ k.mT / q.shape[-1] ** 0.5, m.mT) @ v,
}


def _why_hidden(fault: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> str:
    """Why a faulty attention gives the right result on these inputs, as far as their look tells."""
    scores, seen = query @ key.mT, mask[0, 0, 0]
    largest = _masked_softmax(scores / query.shape[-1] ** 0.5, mask).amax(-1)
    sums = (scores / query.shape[-1] ** 0.5).exp()
    sums = torch.cat([sums.sum(-1), sums.sum(-2)], dim=-1)
    values = value[:, :, seen]
    still_means = fault in ("keys_ask", "scaled_by_keys")  # its weights over the keys that are seen sum to 1
    tests = {
        "all values are 0, so any weights give 0": not value.any(),
        "no query may look anywhere, so every result is 0": not seen.any(),
        "the mask is True everywhere, so it doesn't matter what it is applied to": (
            fault == "masks_queries" and seen.all()
        ),
        "only one key may be looked at: its weight is 1, whatever its score": still_means and seen.sum() == 1,
        "all values that may be looked at are equal, so any weights that sum to 1 give the same": (
            still_means and (values == values[:, :, :1]).all()
        ),
        "the number of keys is d_h": fault == "scaled_by_keys" and key.shape[-2] == query.shape[-1],
        "all scores are equal, and so are all weights": still_means and (scores == scores[..., :1, :1]).all(),
        "the scores are symmetric (queries equal to keys make them so), so it doesn't matter who asks": (
            fault == "keys_ask" and torch.equal(scores, scores.mT)
        ),
        "the scores lie so far apart that one key takes nearly all the weight of each query, in both": (
            still_means and (largest > 0.98).all()
        ),
        "the rows of e^score and its columns have one and the same sum": (
            fault == "softmax_over_queries" and seen.all() and torch.allclose(sums, sums[..., :1])
        ),
    }
    return next((reason for reason, applies in tests.items() if applies), "nowhere do they differ by more than 0.01")


def _form_fault(inputs) -> str:
    """What is wrong with the form of the inputs; empty if nothing is."""
    if not isinstance(inputs, list | tuple) or len(inputs) != 4 or not all(isinstance(x, Tensor) for x in inputs):
        return "return four tensors: query, key, value, mask"
    query, key, value, mask = inputs
    if not all(x.is_floating_point() for x in (query, key, value)) or mask.dtype != torch.bool:
        return "query, key and value must be of a floating-point dtype, the mask boolean"
    n, d_h = query.shape[-2:] if query.dim() == 4 else (0, 0)
    if not (1 <= n <= 4 and 1 <= d_h <= 4) or not all(x.shape == (1, 1, n, d_h) for x in (query, key, value)):
        return "query, key and value must have one and the same shape [1, 1, n, d_h], with n and d_h from 1 to 4"
    if mask.shape != (1, 1, 1, n):
        return f"the mask must have the shape [1, 1, 1, n], here [1, 1, 1, {n}], not {list(mask.shape)}"
    if not all(((x == x.round()) & (x.abs() <= 3)).all() for x in (query, key, value)):
        return "query, key and value must hold whole numbers from −3 to 3"
    return ""


def check_telling_inputs(answer: Callable[[], tuple[Tensor, Tensor, Tensor, Tensor]]) -> bool:
    """Exercise 1.4: answer() is query, key, value and mask on which each faulty attention of the lesson shows."""
    try:
        inputs = answer()
    except NotImplementedError:
        print("… not solved yet")
        return False
    except Exception as error:
        return say(False, difference(error, None))
    if fault := _form_fault(inputs):
        return say(False, fault)
    inputs = *(x.detach().double() for x in inputs[:3]), inputs[3]
    right = scaled_dot_product_attention(*inputs)[0]
    hidden = [name for name, faulty in _FAULTY.items() if (faulty(*inputs) - right).abs().max() <= 0.01]
    if not hidden:
        return say(True, "right")
    others = f" (hidden too: {', '.join(hidden[1:])})" if hidden[1:] else ""
    return say(False, f"on these inputs {hidden[0]} gives the right result: {_why_hidden(hidden[0], *inputs)}{others}")
