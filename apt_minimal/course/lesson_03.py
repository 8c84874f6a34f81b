"""Lesson 03: prefixes."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from apt_minimal.attention import prefix_mass, scaled_dot_product_attention
from apt_minimal.course.checking import check, combine

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
        (
            "numbers may be large, and e^100 is too much for a float: leave the exponentials to softmax",
            inputs(2, 2, 3, 2, 4, size=10.0),
        ),
        ("a hidden score may lie hundreds above all that are seen, or below", _far_apart(12, 83, make)),
    ]
    return check(answer, _prefix_attention, trials, _prefix_attention_mistakes())


def _prefix_attention(query, key, value, prefix_key, prefix_value, mask=None):
    """E1 with a prefix that all examples share."""
    key, value = (torch.cat([_heads(p, query), x], 2) for p, x in ((prefix_key, key), (prefix_value, value)))
    mask = mask if mask is None else F.pad(mask, (len(prefix_key), 0), value=True)
    return scaled_dot_product_attention(query, key, value, mask)


def _far_apart(q: float, k: float, make: torch.Generator) -> tuple:
    """Arguments of 3.1 whose seen scores are about −q k / 2 in example 1 and q k / 2 in example 2, the hidden opposite;
    the last query of each is the other way round.

    Queries and keys are whole numbers and d_h is 4, so that the scores are exact. They lie within 1.5 of ±q k / 2: with
    that just below the text's limit, a hidden score that is lowered by the distance of the two limits still shows.
    """
    b, h, n, l, d_h = 2, 4, 3, 2, 4
    query, key = (torch.randint(-1, 2, (b, h, n, d_h), generator=make).float() for _ in range(2))
    prefix_key = torch.randint(-1, 2, (l, h * d_h), generator=make).float()
    mask = torch.tensor([[False, True, True], [True, True, False]])[:, None, None]
    query[0, ..., 0], query[1, ..., 0], prefix_key[:, ::d_h] = q, -q, -k
    query[:, :, -1, 0] *= -1
    key[..., 0] = torch.where(mask[:, 0], -k, k)
    value, prefix_value = (torch.randn(shape, generator=make) for shape in (key.shape, prefix_key.shape))
    return query, key, value, prefix_key, prefix_value, mask


def _heads(prefix: Tensor, query: Tensor, pattern: str = "l (h d_h) -> b h l d_h") -> Tensor:
    return repeat(prefix, pattern, b=query.shape[0], h=query.shape[1])


def _e1(parts, cuts, layout, masked, softmax, scale, result) -> Callable:
    """E1 with one choice for each of its steps, those of `_prefix_attention_mistakes`."""

    def attend(query, key, value, prefix_key, prefix_value, mask=None):
        pair = (cut(p, query) for cut, p in zip(cuts, parts(prefix_key, prefix_value), strict=True))
        keys_behind, values_behind, columns_behind, shown = layout
        key, value = (
            torch.cat([x, p] if behind else [p, x], 2)
            for p, x, behind in zip(pair, (key, value), (keys_behind, values_behind), strict=True)
        )
        l, (change, fill) = len(prefix_key), masked
        scores = query @ key.mT / scale(*query.shape[1::2])
        if mask is not None:
            pads = (0, 0) if shown is None else (0, l) if columns_behind else (l, 0)
            scores = fill(scores, F.pad(change(mask), pads, value=bool(shown)))
        weights = softmax(scores, l)
        if mask is not None and fill is _too_late:
            weights = weights * F.pad(change(mask), pads, value=bool(shown))
        return result(weights @ value, weights, scores, l)

    return attend


def _hide(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -math.inf)


def _too_late(scores: Tensor, mask: Tensor) -> Tensor:
    return scores


def _prefix_attention_mistakes() -> Mapping[str, Callable]:
    """What goes wrong in 3.1: each of these is E1 with one step changed, or two."""

    def rows(p, query):
        return p.reshape(query.shape[1], len(p), -1).expand(len(query), -1, -1, -1)

    def interleaved(p, query):
        return _heads(p, query, "l (d_h h) -> b h l d_h")

    def first_head(p, query):
        return _heads(p, query)[:, :1].expand(-1, query.shape[1], -1, -1)

    def apart(scores, l):
        return torch.cat([scores[..., :l].softmax(-1), scores[..., l:].softmax(-1)], -1)

    def padded_queries_zero(*inputs):
        output, weights = _prefix_attention(*inputs)
        return (output, weights) if inputs[5] is None else (output * inputs[5].mT, weights * inputs[5].mT)

    parts = {
        "": lambda pk, pv: (pk, pv),
        "P_k and P_v are swapped: P_k is what queries are compared with, P_v is what they get": lambda pk, pv: (pv, pk),
        "P_k is used twice: the values need P_v": lambda pk, pv: (pk, pk),
        "P_v is used twice: the keys need P_k": lambda pk, pv: (pv, pv),
        "the prefix takes attention but its values are missing: [P_v; V] belongs to the weights of [P_k; K]": (
            lambda pk, pv: (pk, 0 * pv)
        ),
        "the prefix's keys are missing (all its scores are 0): queries are compared with [P_k; K]": (
            lambda pk, pv: (0 * pk, pv)
        ),
    }
    wrong_way = "cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'"
    cuts = {
        "": (_heads, _heads),
        f"P is {wrong_way}": (interleaved, interleaved),
        f"P_k is {wrong_way}": (interleaved, _heads),
        f"P_v is {wrong_way}": (_heads, interleaved),
        "P is only reshaped to [h, l, d_h], which mixes tokens with heads: cut its columns first": (rows, rows),
        "every head gets the first head's part of the prefix: each has d_h columns of its own": (first_head,) * 2,
    }
    layout = {  # prefix behind the keys, behind the values, its columns behind the mask's, and what they hold
        "": (False, False, False, True),
        "P stands behind K here, and E1 wants [P_k; K]: that leaves the output as it is, but the prefix's weights come "
        "first": (True, True, True, True),
        "P stands behind K, and the mask's new columns in front: E1 wants [P_k; K], and a mask to match": (
            (True, True, False, True)
        ),
        "P stands behind K, and a mask hides it (False: may not look): E1 wants [P_k; K], seen by every query": (
            (True, True, True, False)
        ),
        "the keys have the prefix in front and the values behind: each weight then meets another token's value": (
            (False, True, False, True)
        ),
        "the values have the prefix in front and the keys behind: each weight then meets another token's value": (
            (True, False, True, True)
        ),
        "with a mask the prefix is hidden: the new columns hold False (or 0), and False means: may not look": (
            (False, False, False, False)
        ),
        "the mask's new columns stand behind the input's, and the keys' in front": (False, False, True, True),
        "the mask's new columns stand behind the input's, and hold False, which means: may not look": (
            (False, False, True, False)
        ),
        "right without a mask; with one it stops with an error: has the mask a column for each of the l + n keys?": (
            (False, False, False, None)
        ),
    }
    masked = {  # what becomes of the mask, and what the wider one does to the scores
        "": (lambda mask: mask, _hide),
        "the mask is not used: queries look at padding": (lambda mask: mask, lambda scores, mask: scores),
        "the input's mask is upside down: True means that a query may look": (torch.logical_not, _hide),
        "the mask is upside down, prefix included: True means that a query may look": (
            (lambda mask: mask, lambda scores, mask: _hide(scores, ~mask))
        ),
        "the mask comes after the softmax: the padding has taken its share, and the weights don't sum to 1": (
            (lambda mask: mask, _too_late)
        ),
        "masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf": (
            (lambda mask: mask, lambda scores, mask: scores.masked_fill(~mask, 0.0))
        ),
        "all examples get the first one's mask: each has its own": (lambda mask: mask[:1], _hide),
    }
    softmax = {
        "": lambda scores, l: scores.softmax(-1),
        "the softmax runs over the queries: it is each query's weights that sum to 1": lambda scores, l: scores.softmax(
            -2
        ),
        "there are two softmaxes, added up: E1 has one, over prefix and input together": apart,
        "there are two softmaxes, half of each: E1 has one, over prefix and input together": lambda scores, l: (
            apart(scores, l) / 2
        ),
    }
    scale = {
        "": lambda h, d_h: d_h**0.5,
        "the scores are not divided by √d_h": lambda h, d_h: 1.0,
        "the scores are divided by √d: each head has its own dot product, of d_h numbers": lambda h, d_h: (
            (h * d_h) ** 0.5
        ),
        "the scores are divided by d_h: the root is missing": lambda h, d_h: d_h,
        "the scores are multiplied by √d_h: divide": lambda h, d_h: d_h**-0.5,
    }
    result = {
        "": lambda output, weights, scores, l: (output, weights),
        "these are the scores: return the weights, after the softmax": lambda output, weights, scores, l: (
            output,
            scores,
        ),
        "averaged over the heads: each head has its own weights, [b, h, n, l + n]": (
            lambda output, weights, scores, l: (output, weights.mean(1))
        ),
        "the order is: first the output, then the weights": lambda output, weights, scores, l: (weights, output),
        "the output alone is not enough: return the weights too": lambda output, weights, scores, l: output,
        "the weights returned are the input's alone: return all l + n of them": (
            lambda output, weights, scores, l: (output, weights[..., l:])
        ),
        "heads stay apart here: the output is [b, h, n, d_h]": (
            lambda output, weights, scores, l: (rearrange(output, "b h n d_h -> b n (h d_h)"), weights)
        ),
    }
    alone = {
        "the prefix is not there at all: this is plain attention": lambda q, k, v, pk, pv, mask: (
            scaled_dot_product_attention(q, k, v, mask)
        ),
        "the prefix's scores are not divided by √d_h, and the input's are": lambda q, k, v, pk, pv, mask: (
            _prefix_attention(q, k, v, q.shape[-1] ** 0.5 * pk, pv, mask)
        ),
        "the mask says what may be looked at, not who may look: padding has queries, too": padded_queries_zero,
    }
    return alone | combine(_e1, parts, cuts, layout, masked, softmax, scale, result)


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

    left = torch.tensor([[1, 1, 0, 0, 1, 1], [1, 1, 0, 1, 1, 0]]).bool()[:, None, None]
    query, key, _, prefix_key, _, mask = _far_apart(4, 499, make)
    far = query, torch.cat([_heads(prefix_key, query), key], 2), 2, F.pad(mask, (2, 0), value=True)
    large = inputs(2, 2, 4, 3, 4, size=10.0)
    trials = [
        (
            "without a mask: a softmax over all l + n keys, then, for each query, the sum of the first l",
            inputs(2, 3, 5, 4, 6),
        ),
        ("the prefix may be one token", inputs(1, 2, 4, 1, 3)),
        ("with l = n, which half is the prefix?", inputs(2, 2, 3, 3, 3)),
        ("with a mask: padding gets no weight at all", inputs(3, 2, 5, 2, 4, [3, 5, 1])),
        ("padding may stand on the left, or on both sides", (*inputs(2, 3, 4, 2, 4)[:3], left)),
        ("the input may be one token", inputs(2, 1, 1, 5, 2, [1, 1])),
        ("numbers may be large, and e^100 is too much for a float: leave the exponentials to softmax", large),
        ("a hidden score may lie far above all that are seen, or below, and e^900 is too much for any float", far),
    ]

    parts = {
        "": lambda w, l: w[..., :l].sum(-1),
        "these are the weights of the last l keys: the prefix stands in front": lambda w, l: w[..., -l:].sum(-1),
        "that is 1 − m(q), the input's share": lambda w, l: 1 - w[..., :l].sum(-1),
        "this is prefix over input, m / (1 − m): the mass is a share of the whole": lambda w, l: (
            w[..., :l].sum(-1) / (1 - w[..., :l].sum(-1))
        ),
        "this is the prefix's weight over the input's: the mass is a share of the whole": lambda w, l: (
            w[..., :l].sum(-1) / w[..., l:].sum(-1)
        ),
        "this is the mean weight of a prefix token: the mass is their sum": lambda w, l: w[..., :l].mean(-1),
        "this is the largest weight of a prefix token: the mass is their sum": lambda w, l: w[..., :l].amax(-1),
        "this is the first prefix token's weight: the mass is the sum over all l": lambda w, l: w[..., 0],
        "the sum has l + 1 terms: the slice that ends before l has l": lambda w, l: w[..., : l + 1].sum(-1),
        "the sum has l − 1 terms: the slice that ends before l has l": lambda w, l: w[..., : l - 1].sum(-1),
        "these are the prefix tokens' weights one by one: the mass is their sum": lambda w, l: w[..., :l],
        "this sum is always 1: the softmax runs over all l + n keys, the sum over the prefix's l": lambda w, l: w.sum(
            -1
        ),
        "this sums over the queries: sum over the prefix's keys, for each query": lambda w, l: w[..., :l].sum(-2),
        "this is l / (l + n), right only where all scores are equal": lambda w, l: 0 * w[..., 0] + l / w.shape[-1],
    }
    masked = {
        "": _hide,
        "padding takes weight here: it must be masked before the softmax (not at all, or only after it, is too late)": (
            lambda scores, mask: scores
        ),
        "masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf": (
            lambda scores, mask: scores.masked_fill(~mask, 0.0)
        ),
        "the mask is upside down: True means that a query may look": lambda scores, mask: _hide(scores, ~mask),
        "all examples get the first one's mask: each has its own": lambda scores, mask: _hide(scores, mask[:1]),
    }
    normal = {
        "": lambda scores: scores.softmax(-1),
        "these are sums of scores, before the softmax: a mass is a sum of weights": lambda scores: scores,
        "σ in place of the softmax: weights compete with each other, and σ looks at one score alone": torch.sigmoid,
        "the softmax runs over the queries: it is each query's weights that sum to 1": lambda scores: scores.softmax(
            -2
        ),
        "the softmax is taken twice": lambda scores: scores.softmax(-1).softmax(-1),
    }
    power = {
        "": 0.5,
        "the scores are not divided by √d_h": 0.0,
        "the scores are divided by d_h: the root is missing": 1.0,
        "the scores are multiplied by √d_h: divide": -0.5,
    }
    averaged = {
        "": lambda m: m,
        "averaged over the heads: every head has its own mass": lambda m: m.mean(1),
        "averaged over the queries: every query has its own mass": lambda m: m.mean(2),
        "averaged over the examples: every example has its own mass": lambda m: m.mean(0),
        "averaged over everything: every head and query has its own mass": lambda m: m.mean(),
    }

    def make_mass(part, masked, normal, power, averaged):
        def mass(query, key, l, mask=None):
            scores = query @ key.mT / query.shape[-1] ** power
            return averaged(part(normal(scores if mask is None else masked(scores, mask)), l))

        return mass

    mistakes = {
        "the mask is upside down (a query that may look nowhere then has mass 0): True means that a query may look": (
            lambda q, k, l, mask: prefix_mass(q, k, l, None if mask is None else ~mask)
        )
    } | combine(make_mass, parts, masked, normal, power, averaged)
    return check(answer, prefix_mass, trials, mistakes)


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

    formulas = {
        "": lambda o, m, p: (o - m * p) / (1 - m),
        "m and 1 − m are swapped: the prefix's share is m": lambda o, m, p: (o - (1 - m) * p) / m,
        "divide by 1 − m, not by m": lambda o, m, p: (o - m * p) / m,
        "the prefix's share is m · Attn(q; P_k, P_v), not (1 − m) · Attn(q; P_k, P_v)": lambda o, m, p: (
            (o - (1 - m) * p) / (1 - m)
        ),
        "the prefix's part is gone, but the rest is still shrunk by 1 − m": lambda o, m, p: o - m * p,
        "the prefix's part, (1 − m) of it, is gone; but its share is m, and the rest is still shrunk": lambda o, m, p: (
            o - (1 - m) * p
        ),
        "the rest was shrunk by 1 − m: divide by it, don't multiply": lambda o, m, p: (o - m * p) * (1 - m),
        "only a share m of Attn(q; P_k, P_v) is in the output: subtract m times it": lambda o, m, p: (o - p) / (1 - m),
        "subtracting Attn(q; P_k, P_v) whole is too much, and the rest was shrunk by 1 − m": lambda o, m, p: o - p,
        "the prefix's part is still in it: dividing by 1 − m undoes only the shrinking": lambda o, m, p: o / (1 - m),
        "the prefix's part was added: subtract it": lambda o, m, p: (o + m * p) / (1 - m),
        "that is E4 forwards, with the output in place of Attn(q; K, V): turn the equation round": lambda o, m, p: (
            (1 - m) * o + m * p
        ),
        "that is E4 forwards, and with m and 1 − m swapped: turn the equation round": lambda o, m, p: (
            m * o + (1 - m) * p
        ),
        "divide the whole difference by 1 − m, not the output alone: mind the brackets": lambda o, m, p: (
            o / (1 - m) - m * p
        ),
        "divide the whole difference by 1 − m, not the prefix's part alone: mind the brackets": lambda o, m, p: (
            o - m * p / (1 - m)
        ),
        "divide the difference by 1 − m: without brackets, / 1 − m divides by 1 and subtracts m": lambda o, m, p: (
            o - m * p - m
        ),
        "the prefix's part is still in it, and the input's share is 1 − m, not m": lambda o, m, p: o / m,
        "the sign is turned: it is output − m · Attn(q; P_k, P_v), not the other way round": lambda o, m, p: (
            (m * p - o) / (1 - m)
        ),
        "output and Attn(q; P_k, P_v) are swapped": lambda o, m, p: (p - m * o) / (1 - m),
        "output and Attn(q; P_k, P_v) are swapped, and the sign with them": lambda o, m, p: (m * o - p) / (1 - m),
        "this is the prefix's part of the output: the other part is asked for": lambda o, m, p: m * p,
        "multiplying by 1 − m shrinks the output once more: subtract the prefix's part, then divide": lambda o, m, p: (
            (1 - m) * o
        ),
        "this is the output as it was given: turn E4 round": lambda o, m, p: o,
        "this is Attn(q; P_k, P_v), the prefix's own output: Attn(q; K, V) is asked for": lambda o, m, p: p,
        "the rest was shrunk by 1 − m: divide by that, not by 1 + m": lambda o, m, p: (o - m * p) / (1 + m),
        "the rest was shrunk by 1 − m once: divide by it once": lambda o, m, p: (o - m * p) / (1 - m) ** 2,
    }
    masses = {
        "": lambda m: m.unsqueeze(-1),
        "the mass [b, h, n] is left to broadcasting, which lines it up with the last axes, [h, n, d_h]": lambda m: m,
        "the mass belongs to the queries, not to the d_h numbers of an output: give it a last axis of 1": lambda m: (
            m.unsqueeze(-2)
        ),
        "the mass [b, h, n] got its new axis in the wrong place: the last one of 1 is d_h's": lambda m: m.unsqueeze(1),
        "averaged over queries: every query has its own mass": lambda m: m.mean(-1)[..., None, None],
        "averaged over heads: every head has its own mass": lambda m: m.mean(1, keepdim=True).unsqueeze(-1),
        "averaged over everything: every query of every head has its own mass": lambda m: m.mean(),
    }

    def undo(formula, mass):
        return lambda output, m, prefix: formula(output, mass(m), prefix)

    return check(answer, undo(formulas[""], masses[""]), trials, combine(undo, formulas, masses))


def check_can_a_prefix(answer: Callable[[Tensor, Tensor], bool]) -> bool:
    """Exercise 3.4: answer(before, after) says whether some prefix in this layer turns one query's weights on the input
    tokens, `before` [n], into `after` [n]."""

    def right(before: Tensor, after: Tensor) -> bool:
        share = after.sum()
        return bool(0 < share < 1 and torch.allclose(after / share, before, rtol=1e-3, atol=0.0))

    def same_order(before: Tensor, after: Tensor) -> bool:
        return before.argsort(stable=True).equal(after.argsort(stable=True))

    # Halves of halves: sums and products are exact, so no answer can stumble over rounding.
    before, even, pair = [1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4, [3 / 4, 1 / 4]
    cases = [
        ("all weights times ½: the prefix has the other half", before, [x / 2 for x in before]),
        ("all weights times the same small factor: the prefix has nearly everything", before, [x / 64 for x in before]),
        ("all weights times the same factor a little below 1", even, [63 / 256] * 4),
        ("it makes no difference how unequal the weights are", pair, [3 / 8, 1 / 8]),
        ("one input token has weight 1 before, less after: the rest is the prefix's", [1.0], [3 / 4]),
        ("one input token with weight 1: the prefix always takes something of it", [1.0], [1.0]),
        ("one input token: the prefix cannot take all of it", [1.0], [0.0]),
        ("two tokens change places, and all shrink by the same factor", before, [1 / 16, 1 / 8, 1 / 16, 1 / 4]),
        ("two small weights change places, and all shrink by the same factor", before, [1 / 4, 1 / 16, 1 / 8, 1 / 16]),
        (
            "the order stays, but the large weight has grown at the small ones' cost",
            before,
            [5 / 8, 1 / 8, 1 / 16, 1 / 16],
        ),
        ("the largest is halved, and the others are not", before, [1 / 4, 1 / 32, 1 / 16, 1 / 16]),
        (
            "within the first two the ratio stays, and within the last two, but not between them",
            even,
            [1 / 8, 1 / 8, 1 / 16, 1 / 16],
        ),
        ("one weight is a little too large", even, [1 / 8, 1 / 8, 1 / 8, 33 / 256]),
        ("two equal weights are equal no more", [1 / 2, 1 / 2], [1 / 4, 17 / 64]),
        ("two equal weights differ by very little", [1 / 2, 1 / 2], [1 / 4, 257 / 1024]),
        (
            "all weights are small after, and one is twice what it should be",
            before,
            [1 / 128, 1 / 256, 1 / 512, 1 / 256],
        ),
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
