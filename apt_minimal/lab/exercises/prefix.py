"""Lesson 03: prefixes."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from apt_minimal.attention import prefix_mass, scaled_dot_product_attention
from apt_minimal.lab.exercises.checking import check

__all__ = ["check_can_a_prefix", "check_prefix_attention", "check_prefix_mass", "check_undo_prefix"]


def check_prefix_attention(answer: Callable[..., tuple[Tensor, Tensor]]) -> bool:
    """Exercise 3.1: answer(query, key, value, prefix_key, prefix_value, mask) is E1 with heads: output and weights.

    query, key, value [b, h, n, d_h]; prefix_key, prefix_value [l, d]; mask boolean [b, 1, 1, n] or None.
    """
    make = torch.Generator().manual_seed(3)

    def inputs(b, h, n, l, d_h, lengths=None, size=1.0):
        shapes = [(b, h, n, d_h)] * 3 + [(l, h * d_h)] * 2
        tensors = [size * torch.randn(shape, generator=make) for shape in shapes]
        real = None if lengths is None else torch.tensor(lengths)
        mask = None if real is None else rearrange(torch.arange(n) < real[:, None], "b n -> b 1 1 n")
        return *tensors, mask

    left = inputs(2, 2, 5, 3, 4)[:5] + (torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]]).bool()[:, None, None],)
    trials = [
        ("without a mask: put P in front, then attend as in lesson 01", inputs(2, 3, 5, 4, 2)),
        ("every example gets the same prefix, also where there is only one example", inputs(1, 2, 6, 3, 5)),
        ("a prefix may have one token, and the input one token", inputs(3, 2, 1, 1, 4)),
        ("with a mask: every query may look at the prefix, and at no padding", inputs(3, 2, 5, 4, 3, [5, 3, 1])),
        ("with l = n: which columns of the mask belong to the prefix?", inputs(2, 4, 4, 4, 4, [4, 2])),
        ("padding may stand on the left, or on both sides", left),
        ("numbers may be large", inputs(2, 2, 3, 2, 4, [3, 1], size=4.0)),
    ]
    return check(answer, _prefix_attention, trials, _prefix_attention_mistakes())


def _prefix_attention(query, key, value, prefix_key, prefix_value, mask=None):
    """E1 with a prefix that all examples share."""
    prefix = (_heads(p, query) for p in (prefix_key, prefix_value))
    return _attend(query, key, value, *prefix, mask)


def _heads(prefix: Tensor, query: Tensor, pattern: str = "l (h d_h) -> b h l d_h") -> Tensor:
    return repeat(prefix, pattern, b=query.shape[0], h=query.shape[1])


def _attend(query, key, value, prefix_key, prefix_value, mask=None, pad=True):
    mask = mask if mask is None else F.pad(mask, (prefix_key.shape[2], 0), value=pad)
    return scaled_dot_product_attention(
        query, torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2), mask
    )


def _prefix_attention_mistakes() -> Mapping[str, Callable]:
    """What goes wrong in 3.1: each of these is E1 with one thing changed."""

    def using(change: Callable) -> Callable:
        """`change` gets the prefix already cut into heads."""

        def wrong(query, key, value, prefix_key, prefix_value, mask=None):
            return change(query, key, value, _heads(prefix_key, query), _heads(prefix_value, query), mask)

        return wrong

    def behind(q, k, v, pk, pv, mask, order=(1, 1), mask_behind=True, pad=True):
        """Prefix behind the keys (order[0]), behind the values (order[1])."""
        key, value = (
            torch.cat([x, p] if last else [p, x], 2) for x, p, last in zip((k, v), (pk, pv), order, strict=True)
        )
        pads = (0, pk.shape[2]) if order[0] and mask_behind else (pk.shape[2], 0)
        return scaled_dot_product_attention(q, key, value, None if mask is None else F.pad(mask, pads, value=pad))

    def cut(pattern, value_pattern="l (h d_h) -> b h l d_h"):
        def wrong(q, k, v, pk, pv, mask=None):
            return _attend(q, k, v, _heads(pk, q, pattern), _heads(pv, q, value_pattern), mask)

        return wrong

    def cut_rows(q, k, v, pk, pv, mask=None):
        shape = (q.shape[1], len(pk), q.shape[3])
        pk, pv = (p.reshape(shape).expand(len(q), *shape) for p in (pk, pv))
        return _attend(q, k, v, pk, pv, mask)

    def first_head(q, k, v, pk, pv, mask):
        return _attend(q, k, v, pk[:, :1].expand_as(pk), pv[:, :1].expand_as(pv), mask)

    def widen(pads, value):
        def wrong(q, k, v, pk, pv, mask):
            l = pk.shape[2]
            mask = None if mask is None else F.pad(mask, (l, 0) if pads == "front" else (0, l), value=value)
            return scaled_dot_product_attention(q, torch.cat([pk, k], 2), torch.cat([pv, v], 2), mask)

        return wrong

    def unwidened(q, k, v, pk, pv, mask):
        return scaled_dot_product_attention(q, torch.cat([pk, k], 2), torch.cat([pv, v], 2), mask)

    def inverted(q, k, v, pk, pv, mask, pad=True):
        return _attend(q, k, v, pk, pv, None if mask is None else ~mask, pad)

    def by_hand(q, k, v, pk, pv, mask, scale=None, axis=-1, prefix_scale=None, keep="before"):
        """E1 written out, with another scale, another axis, or a mask that comes too late."""
        l, scale = pk.shape[2], scale or q.shape[-1] ** 0.5
        scores = q @ torch.cat([pk, k], 2).transpose(-1, -2) / scale
        scores[..., :l] *= 1 if prefix_scale is None else prefix_scale
        real = torch.ones_like(scores[:1, :1, :1]).bool() if mask is None else F.pad(mask, (l, 0), value=True)
        if keep == "before":
            scores = scores.masked_fill(~real, -math.inf)
        if keep == "other":
            scores = scores.masked_fill(real, -math.inf) if mask is not None else scores
        if keep == "zero":
            scores = scores.masked_fill(~real, 0.0)
        weights = scores.softmax(axis)
        if keep == "after":
            weights = weights * real
        return weights @ torch.cat([pv, v], 2), weights

    def two_softmaxes(q, k, v, pk, pv, mask, share=1.0):
        own, weights = scaled_dot_product_attention(q, k, v, mask)
        extra, more = scaled_dot_product_attention(q, pk, pv)
        return share * (own + extra), share * torch.cat([more, weights], -1)

    def also(change):
        """A change made to the pair (output, weights) that is right."""

        def wrong(*inputs):
            return change(*_prefix_attention(*inputs), len(inputs[3]))

        return wrong

    @using
    def also_scores(q, k, v, pk, pv, mask):
        scores = q @ torch.cat([pk, k], 2).transpose(-1, -2) / q.shape[-1] ** 0.5
        wide = None if mask is None else F.pad(mask, (pk.shape[2], 0), value=True)
        scores = scores if mask is None else scores.masked_fill(~wide, -math.inf)
        return _attend(q, k, v, pk, pv, mask)[0], scores

    flipped = "l (d_h h) -> b h l d_h"
    right_order = "l (h d_h) -> b h l d_h"
    return {
        "P stands behind K here; E1 wants [P_k; K]: the output is the same, but the prefix's weights come first": using(
            behind
        ),
        "P stands behind K, and the mask's new columns in front: E1 wants [P_k; K], and a mask to match": using(
            lambda *x: behind(*x, mask_behind=False)
        ),
        "P stands behind K, and a mask hides it (False: may not look): E1 wants [P_k; K], seen by every query": using(
            lambda *x: behind(*x, pad=False)
        ),
        "the keys have the prefix in front and the values behind: each weight then meets another token's value": using(
            lambda *x: behind(*x, order=(0, 1))
        ),
        "the values have the prefix in front and the keys behind: each weight then meets another token's value": using(
            lambda *x: behind(*x, order=(1, 0))
        ),
        "P_k and P_v are swapped: P_k is what queries are compared with, P_v is what they get": (
            lambda q, k, v, pk, pv, mask=None: _prefix_attention(q, k, v, pv, pk, mask)
        ),
        "P_k is used twice: the values need P_v": (
            lambda q, k, v, pk, pv, mask=None: _prefix_attention(q, k, v, pk, pk, mask)
        ),
        "P_v is used twice: the keys need P_k": (
            lambda q, k, v, pk, pv, mask=None: _prefix_attention(q, k, v, pv, pv, mask)
        ),
        "the prefix takes attention but its values are missing: [P_v; V] belongs to the weights of [P_k; K]": using(
            lambda q, k, v, pk, pv, mask: _attend(q, k, v, pk, 0 * pv, mask)
        ),
        "the prefix's keys are missing (all its scores are 0): queries are compared with [P_k; K]": using(
            lambda q, k, v, pk, pv, mask: _attend(q, k, v, 0 * pk, pv, mask)
        ),
        "with a mask the prefix is hidden: the new columns hold False (or 0), and False means: may not look": using(
            widen("front", False)
        ),
        "the mask's new columns stand behind the input's, and the keys' in front": using(widen("behind", True)),
        "the mask's new columns stand behind the input's, and hold False, which means: may not look": using(
            widen("behind", False)
        ),
        "right without a mask; with one it stops with an error: the mask covers n keys, now there are l + n": (
            using(unwidened)
        ),
        "the mask is not used: queries look at padding": using(lambda q, k, v, pk, pv, mask: _attend(q, k, v, pk, pv)),
        "the input's mask is upside down: True means that a query may look": using(inverted),
        "the mask is upside down, prefix included: True means that a query may look": using(
            lambda *x: inverted(*x, pad=False)
        ),
        "the mask is upside down, prefix included (which leaves NaN): True means that a query may look": using(
            lambda *x: by_hand(*x, keep="other")
        ),
        "the mask comes after the softmax: the padding has taken its share, and the weights don't sum to 1": using(
            lambda *x: by_hand(*x, keep="after")
        ),
        "masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf": using(
            lambda *x: by_hand(*x, keep="zero")
        ),
        "P is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'": (
            cut(flipped, flipped)
        ),
        "P_k is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'": (
            cut(flipped, right_order)
        ),
        "P_v is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'": (
            cut(right_order, flipped)
        ),
        "P is only reshaped to [h, l, d_h], which mixes tokens with heads: cut its columns first": (cut_rows),
        "every head gets the first head's part of the prefix: each has d_h columns of its own": using(first_head),
        "the scores are not divided by √d_h": using(lambda *x: by_hand(*x, scale=1.0)),
        "the scores are divided by √d: each head has its own dot product, of d_h numbers": using(
            lambda q, *x: by_hand(q, *x, scale=(q.shape[1] * q.shape[3]) ** 0.5)
        ),
        "the scores are divided by d_h: the root is missing": using(lambda q, *x: by_hand(q, *x, scale=q.shape[3])),
        "the prefix's scores are not divided by √d_h, and the input's are": using(
            lambda q, *x: by_hand(q, *x, prefix_scale=q.shape[3] ** 0.5)
        ),
        "the softmax runs over the queries: it is each query's weights that sum to 1": using(
            lambda *x: by_hand(*x, axis=-2)
        ),
        "there are two softmaxes, added up: E1 has one, over prefix and input together": using(two_softmaxes),
        "there are two softmaxes, half of each: E1 has one, over prefix and input together": using(
            lambda *x: two_softmaxes(*x, share=0.5)
        ),
        "the scores are multiplied by √d_h: divide": using(lambda q, *x: by_hand(q, *x, scale=q.shape[3] ** -0.5)),
        "the prefix is not there at all: this is plain attention": using(
            lambda q, k, v, pk, pv, mask: scaled_dot_product_attention(q, k, v, mask)
        ),
        "these are the scores: return the weights, after the softmax": also_scores,
        "averaged over the heads: each head has its own weights, [b, h, n, l + n]": also(
            lambda output, weights, l: (output, weights.mean(1))
        ),
        "the order is: first the output, then the weights": also(lambda output, weights, l: (weights, output)),
        "the output alone is not enough: return the weights too": also(lambda output, weights, l: output),
        "the weights returned are the input's alone: return all l + n of them": also(
            lambda output, weights, l: (output, weights[..., l:])
        ),
        "heads stay apart here: the output is [b, h, n, d_h]": also(
            lambda output, weights, l: (rearrange(output, "b h n d_h -> b n (h d_h)"), weights)
        ),
    }


def check_prefix_mass(answer: Callable[..., Tensor]) -> bool:
    """Exercise 3.2: answer(query, key, l, mask) is m(q), [b, h, n]; the keys [b, h, l + n, d_h] have the prefix first.

    mask: boolean [b, 1, 1, l + n] or None.
    """
    make = torch.Generator().manual_seed(5)

    def inputs(b, h, n, l, d_h, lengths=None, size=1.0):
        query, key = (size * torch.randn(b, h, k, d_h, generator=make) for k in (n, l + n))
        if lengths is None:
            return query, key, l, None
        return query, key, l, rearrange(torch.arange(l + n) < l + torch.tensor(lengths)[:, None], "b k -> b 1 1 k")

    large = inputs(2, 2, 4, 3, 4, [4, 2], size=10.0)
    trials = [
        ("one number for each example, head and query", inputs(2, 3, 5, 4, 6)),
        ("the prefix may be one token", inputs(1, 2, 4, 1, 3)),
        ("with l = n, which half is the prefix?", inputs(2, 2, 3, 3, 3)),
        ("with a mask: padding gets no weight at all", inputs(3, 2, 5, 2, 4, [5, 3, 1])),
        ("the input may be one token", inputs(2, 1, 1, 5, 2, [1, 1])),
        ("numbers may be large, and e^100 is too much for a float: leave the exponentials to softmax", large),
    ]

    def using(reduce: Callable = lambda weights, l: weights[..., :l].sum(-1), **wrong) -> Callable:
        """m(q) with another way to get the weights, or another way to sum them up."""

        def mistake(query, key, l, mask=None):
            return reduce(_weights(query, key, mask, **wrong), l)

        return mistake

    def mass_then(change: Callable) -> Callable:
        return using(lambda weights, l: change(weights[..., :l].sum(-1)))

    mistakes = {
        "these are the weights of the last l keys: the prefix stands in front": using(lambda w, l: w[..., -l:].sum(-1)),
        "that is 1 − m(q), the input's share": mass_then(lambda m: 1 - m),
        "this is prefix over input, m / (1 − m): the mass is a share of the whole": mass_then(lambda m: m / (1 - m)),
        "this is the prefix's weight over the input's: the mass is a share of the whole": using(
            lambda w, l: w[..., :l].sum(-1) / w[..., l:].sum(-1)
        ),
        "this is the mean weight of a prefix token: the mass is their sum": using(lambda w, l: w[..., :l].mean(-1)),
        "this is the largest weight of a prefix token: the mass is their sum": using(lambda w, l: w[..., :l].amax(-1)),
        "this is the first prefix token's weight: the mass is the sum over all l": using(lambda w, l: w[..., 0]),
        "the sum has l + 1 terms: the slice that ends before l has l": using(lambda w, l: w[..., : l + 1].sum(-1)),
        "the sum has l − 1 terms: the slice that ends before l has l": using(lambda w, l: w[..., : l - 1].sum(-1)),
        "these are the prefix tokens' weights one by one: the mass is their sum": using(lambda w, l: w[..., :l]),
        "this sum is always 1: the softmax runs over all l + n keys, the sum over the prefix's l": using(
            lambda w, l: w.sum(-1)
        ),
        "this sums over the queries: sum over the prefix's keys, for each query": using(
            lambda w, l: w[..., :l].sum(-2)
        ),
        "these are sums of scores, before the softmax: a mass is a sum of weights": using(normal=lambda scores: scores),
        "σ in place of the softmax: weights compete with each other, and σ looks at one score alone": using(
            normal=torch.sigmoid
        ),
        "the softmax runs over the queries: it is each query's weights that sum to 1": using(
            normal=lambda scores: scores.softmax(-2)
        ),
        "the softmax is taken twice": using(normal=lambda scores: scores.softmax(-1).softmax(-1)),
        "padding takes weight here: it must be masked before the softmax (not at all, or only after it, is too late)": (
            lambda q, k, l, mask=None: prefix_mass(q, k, l)
        ),
        "that is the input's share, 1 − m(q), and padding has its part in it": (
            lambda q, k, l, mask=None: 1 - prefix_mass(q, k, l)
        ),
        "the mass is a sum, not a mean, and padding must get no weight": (
            lambda q, k, l, mask=None: prefix_mass(q, k, l) / l
        ),
        "the mass is a sum, not a mean, and the scores are not divided by √d_h": using(
            lambda w, l: w[..., :l].mean(-1), power=0.0
        ),
        "the scores are multiplied by √d_h: divide": using(power=-0.5),
        "masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf": using(fill=0.0),
        "the mask is upside down: True means that a query may look": (
            lambda q, k, l, mask=None: prefix_mass(q, k, l, None if mask is None else ~mask)
        ),
        "the mask is upside down (and where nothing is padded, it leaves NaN): True means that a query may look": (
            lambda q, k, l, mask=None: _weights(q, k, None if mask is None else ~mask)[..., :l].sum(-1)
        ),
        "averaged over the heads: every head has its own mass": mass_then(lambda m: m.mean(1)),
        "averaged over the queries: every query has its own mass": mass_then(lambda m: m.mean(2)),
        "averaged over the examples: every example has its own mass": mass_then(lambda m: m.mean(0)),
        "averaged over everything: every head and query has its own mass": mass_then(lambda m: m.mean()),
        "the scores are not divided by √d_h": using(power=0.0),
        "the scores are divided by d_h: the root is missing": using(power=1.0),
        "this is l / (l + n), right only where all scores are equal": using(
            lambda w, l: 0 * w[..., 0] + l / w.shape[-1]
        ),
    }
    return check(answer, prefix_mass, trials, mistakes)


def _weights(query, key, mask, power=0.5, fill=-math.inf, normal=lambda scores: scores.softmax(-1)) -> Tensor:
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** power
    return normal(scores if mask is None else scores.masked_fill(~mask, fill))


def check_undo_prefix(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 3.3: answer(output, mass, prefix_output) is Attn(q; K, V), what the layer would give without its prefix.

    output, prefix_output [b, h, n, d_h]; mass [b, h, n].
    """
    make = torch.Generator().manual_seed(7)

    def inputs(b, h, n, d_h):
        plain, prefix = (torch.randn(b, h, n, d_h, generator=make) for _ in range(2))
        mass = 0.1 + 0.8 * torch.rand(b, h, n, generator=make)
        return (1 - mass.unsqueeze(-1)) * plain + mass.unsqueeze(-1) * prefix, mass, prefix

    trials = [
        (
            "solve E4 for Attn(q; K, V); one mass for each query, the same for all d_h numbers of its output",
            inputs(2, 3, 4, 5),
        ),
        ("with n = d_h: which of the two axes does the mass belong to?", inputs(2, 3, 4, 4)),
        ("with b = h = n = d_h, broadcasting fits in every direction: say which you mean", inputs(3, 3, 3, 3)),
        ("one example, one head, one query", inputs(1, 1, 1, 6)),
    ]

    def axis(place):
        """The mass put on other axes, or, None, left to broadcasting."""

        def wrong(output, mass, prefix):
            m = mass if place is None else mass.unsqueeze(place)
            return (output - m * prefix) / (1 - m)

        return wrong

    def spread(formula):
        return lambda output, mass, prefix: formula(output, mass.unsqueeze(-1), prefix)

    mistakes = {
        "m and 1 − m are swapped: the prefix's share is m": spread(lambda o, m, p: (o - (1 - m) * p) / m),
        "divide by 1 − m, not by m": spread(lambda o, m, p: (o - m * p) / m),
        "the prefix's share is m · Attn(q; P_k, P_v), not (1 − m) · Attn(q; P_k, P_v)": spread(
            lambda o, m, p: (o - (1 - m) * p) / (1 - m)
        ),
        "the prefix's part is gone, but the rest is still shrunk by 1 − m": spread(lambda o, m, p: o - m * p),
        "the prefix's part, (1 − m) of it, is gone; but its share is m, and the rest is still shrunk": spread(
            lambda o, m, p: o - (1 - m) * p
        ),
        "the rest was shrunk by 1 − m: divide by it, don't multiply": spread(lambda o, m, p: (o - m * p) * (1 - m)),
        "only a share m of Attn(q; P_k, P_v) is in the output: subtract m times it": spread(
            lambda o, m, p: (o - p) / (1 - m)
        ),
        "subtracting Attn(q; P_k, P_v) whole is too much, and the rest was shrunk by 1 − m": spread(
            lambda o, m, p: o - p
        ),
        "the prefix's part is still in it: dividing by 1 − m undoes only the shrinking": spread(
            lambda o, m, p: o / (1 - m)
        ),
        "the prefix's part was added: subtract it": spread(lambda o, m, p: (o + m * p) / (1 - m)),
        "that is E4 forwards, with the output in place of Attn(q; K, V): turn the equation round": spread(
            lambda o, m, p: (1 - m) * o + m * p
        ),
        "that is E4 forwards, and with m and 1 − m swapped: turn the equation round": spread(
            lambda o, m, p: m * o + (1 - m) * p
        ),
        "divide the whole difference by 1 − m, not the output alone: mind the brackets": spread(
            lambda o, m, p: o / (1 - m) - m * p
        ),
        "divide the whole difference by 1 − m, not the prefix's part alone: mind the brackets": spread(
            lambda o, m, p: o - m * p / (1 - m)
        ),
        "the prefix's part is still in it, and the input's share is 1 − m, not m": spread(lambda o, m, p: o / m),
        "the sign is turned: it is output − m · Attn(q; P_k, P_v), not the other way round": spread(
            lambda o, m, p: (m * p - o) / (1 - m)
        ),
        "output and Attn(q; P_k, P_v) are swapped": spread(lambda o, m, p: (p - m * o) / (1 - m)),
        "output and Attn(q; P_k, P_v) are swapped, and the sign with them": spread(
            lambda o, m, p: (m * o - p) / (1 - m)
        ),
        "this is the prefix's part of the output: the other part is asked for": spread(lambda o, m, p: m * p),
        "multiplying by 1 − m shrinks the output once more: subtract the prefix's part, then divide": spread(
            lambda o, m, p: (1 - m) * o
        ),
        "the mass [b, h, n] is left to broadcasting, which lines it up with the last axes, [h, n, d_h]": axis(None),
        "the mass belongs to the queries, not to the d_h numbers of an output: give it a last axis of 1": axis(-2),
        "the mass [b, h, n] got its new axis in the wrong place: the last one of 1 is d_h's": axis(1),
        "averaged over queries: every query has its own mass": lambda o, m, p: (
            (o - m.mean(-1)[..., None, None] * p) / (1 - m.mean(-1)[..., None, None])
        ),
        "averaged over heads: every head has its own mass": lambda o, m, p: (
            (o - m.mean(1, keepdim=True).unsqueeze(-1) * p) / (1 - m.mean(1, keepdim=True).unsqueeze(-1))
        ),
        "averaged over everything: every query of every head has its own mass": lambda o, m, p: (
            (o - m.mean() * p) / (1 - m.mean())
        ),
    }
    return check(answer, lambda o, m, p: (o - m.unsqueeze(-1) * p) / (1 - m.unsqueeze(-1)), trials, mistakes)


def check_can_a_prefix(answer: Callable[[Tensor, Tensor], bool]) -> bool:
    """Exercise 3.4: answer(before, after) says whether some prefix in this layer turns one query's weights on the input
    tokens, `before` [n], into `after` [n]."""

    def right(before: Tensor, after: Tensor) -> bool:
        share = after.sum()
        return bool(0 < share < 1 and torch.allclose(after / share, before, rtol=1e-3, atol=0.0))

    def same_order(before: Tensor, after: Tensor) -> bool:
        return before.argsort(stable=True).equal(after.argsort(stable=True))

    # Halves of halves: sums and ratios are exact, so no answer can stumble over rounding.
    before, even, pair = [1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4, [3 / 4, 1 / 4]
    cases = [
        ("all weights times ½: the prefix has the other half", before, [x / 2 for x in before]),
        ("all weights times the same small factor: the prefix has nearly everything", before, [x / 64 for x in before]),
        ("all weights times the same factor a little below 1", even, [15 / 64] * 4),
        ("it makes no difference how unequal the weights are", pair, [3 / 8, 1 / 8]),
        ("one input token has weight 1 before, less after: the rest is the prefix's", [1.0], [3 / 4]),
        ("two tokens change places", before, [1 / 8, 1 / 16, 1 / 16, 1 / 4]),
        (
            "the order stays, but the large weight has grown at the small ones' cost",
            before,
            [5 / 8, 1 / 8, 1 / 16, 1 / 16],
        ),
        ("the largest stays the largest, but two others change places", before, [1 / 4, 1 / 32, 1 / 16, 1 / 16]),
        ("one token's weight is halved, the others stay", before, [1 / 4, 1 / 4, 1 / 8, 1 / 8]),
        ("every weight is smaller by the same amount", before, [7 / 16, 3 / 16, 1 / 16, 1 / 16]),
        ("two change places, and the prefix gets nothing", before, [1 / 4, 1 / 2, 1 / 8, 1 / 8]),
        ("all become equal", before, [1 / 8] * 4),
        ("equal weights become unequal", even, [1 / 4, 1 / 8, 1 / 16, 1 / 16]),
        ("one token is not seen any more", before, [1 / 4, 1 / 8, 1 / 16, 0.0]),
        ("one token takes all that the input gets", before, [1 / 2, 0.0, 0.0, 0.0]),
        ("all ratios change by turning the weights round", pair, [1 / 8, 3 / 8]),
        ("nothing changes at all: but e^score is never 0, so a prefix always takes something", before, before),
        ("a prefix cannot take everything: the input's e^score is never 0 either", before, [0.0] * 4),
        ("all weights grow: together they are 1 without a prefix, and cannot be more with one", even, [3 / 8] * 4),
        ("the ratios stay, the sum is above 1: these are no weights of one softmax", before, [x * 1.5 for x in before]),
    ]
    trials = [(hint, (torch.tensor(one), torch.tensor(other))) for hint, one, other in cases]
    mistakes = {
        "your function always says True: some changes are out of a prefix's reach": lambda before, after: True,
        "your function always says False: some changes are within a prefix's reach": lambda before, after: False,
        "your function says True exactly where a prefix cannot do it: turn it round": (
            lambda before, after: not right(before, after)
        ),
        "a smaller sum is not enough: the ratios between the input's weights must stay": (
            lambda before, after: bool(0 < after.sum() < 1)
        ),
        "a smaller sum is not enough: the ratios must stay, and something must be left for the input": (
            lambda before, after: bool(after.sum() < 1)
        ),
        "it is not enough that every weight shrinks: all must shrink by the same factor": (
            lambda before, after: bool((after < before).all())
        ),
        "it is not enough that every weight shrinks and stays above 0: all must shrink by the same factor": (
            lambda before, after: bool((after > 0).all() and (after < before).all())
        ),
        "it is not enough that the order stays and the sum shrinks: all must shrink by the same factor": (
            lambda before, after: bool(0 < after.sum() < 1) and same_order(before, after)
        ),
        "it is not enough that the order stays and every weight shrinks: all must shrink by the same factor": (
            lambda before, after: bool((after < before).all()) and same_order(before, after)
        ),
        "a sum of at most 1 is not enough: the ratios between the input's weights must stay": (
            lambda before, after: bool(0 < after.sum() <= 1)
        ),
        "a sum of 1 is out of a prefix's reach, since it takes something itself; and it is the ratios that must stay": (
            lambda before, after: bool(after.sum() == 1)
        ),
        "not only ½: every factor strictly between 0 and 1 is within reach": (
            lambda before, after: torch.allclose(after, before / 2)
        ),
        "it is not enough that no weight grows: all must shrink, by the same factor": (
            lambda before, after: bool((after <= before).all())
        ),
        "it is not enough that the order stays: all weights must shrink by the same factor": (same_order),
        "it is not enough that the largest stays the largest: all weights must shrink by the same factor": (
            lambda before, after: bool(before.argmax() == after.argmax())
        ),
        "the same ratios are not enough: the factor must lie between 0 and 1, ends excluded": (
            lambda before, after: torch.allclose(after / after.sum(), before)
        ),
        "the same ratios are not enough: the factor must lie between 0 and 1, both excluded (0 is let through, too)": (
            lambda before, after: torch.allclose(after, before * (after[0] / before[0]))
        ),
        "a factor of 1 would need a prefix without any weight, and e^score is never 0": lambda before, after: bool(
            0 < after.sum() <= 1 and torch.allclose(after / after.sum(), before)
        ),
        "a factor of 0 would leave the input without any weight, and e^score is never 0": lambda before, after: bool(
            after.sum() < 1 and torch.allclose(after, before * (after[0] / before[0]))
        ),
        "factors of 0 and of 1 are out of reach: e^score is never 0, for the prefix and for the input": (
            lambda before, after: bool(after.sum() <= 1 and torch.allclose(after, before * (after[0] / before[0])))
        ),
        "it is factors that count, not differences: every weight is multiplied by 1 − m": (
            lambda before, after: torch.allclose(after - before, (after - before)[0].expand_as(before))
        ),
        "a prefix does change the weights of the input: it multiplies all of them by 1 − m": (
            lambda before, after: torch.allclose(after, before)
        ),
    }
    return check(answer, right, trials, mistakes)
