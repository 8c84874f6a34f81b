"""Lesson 02: BERT's encoder.

The usual mistakes are kept apart by the part of an answer that they concern (a factor of `combine`), so that two made
at once are named as well. Where ε is large in a trial, it is because a norm with a small one hides a factor before it.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.checking import Trials, check, combine

__all__ = ["check_embed", "check_layer", "check_layer_norm", "check_pack", "check_position_ids"]


def _judge(answer: Callable, build: Callable, factors: tuple, trials: Trials, **more: Callable) -> bool:
    """Check an answer against what `build` makes of the right choices; the other choices are the mistakes."""
    right = build(*(factor[""] for factor in factors))
    return check(answer, right, trials, combine(build, *factors) | more)


def _draw(seed: int) -> Callable[..., Tensor]:
    """A source of normal random tensors of given sizes, the same at every call of a checker."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


# 2.1. Over which axes, by their number
_AXES = {
    "": lambda dims: (dims - 1,),
    "normalise each token by itself, over the last dimension, not over the tokens": lambda dims: (max(dims - 2, 0),),
    "each token has its own mean and variance; these are of a whole example": lambda dims: tuple(range(dims))[-2:],
    "each token has its own mean and variance; these are of all but the first dimension": (
        lambda dims: tuple(range(1, dims)) or (0,)
    ),
    "each token has its own mean and variance; these are of the whole tensor": lambda dims: tuple(range(dims)),
    "normalise over the last dimension, not over the first": lambda dims: (0,),
    "normalise over the last dimension, -1; yours is the one before it": lambda dims: (-2,),
    "normalise over the last dimension: that is -1, and not always 2": lambda dims: (2,),
    "normalise over the last dimension: that is -1, and not always 1": lambda dims: (1,),
    "normalise over the last dimension, -1; with three dimensions or more yours is 1": lambda dims: (min(1, dims - 1),),
}
_CENTRES = {"": True, "the mean is not subtracted from x": False}
# What serves as the variance. s: the sum of the squared deviations; c: of how many
_VARIANCES = {
    "": lambda x, s, c, over: s / c,
    "the variance is the biased one: divide by d, not by d − 1 (torch's default)": lambda x, s, c, over: s / (c - 1),
    "a variance is the mean of the squares, not their sum": lambda x, s, c, over: s,
    "a variance averages squared deviations from the mean, not x² itself": lambda x, s, c, over: (x**2).mean(**over),
    "each token has its own variance; yours is that of the whole tensor": lambda x, s, c, over: x.var(unbiased=False),
    "each token has its own variance, a biased one; yours is x.var(), of the whole tensor": lambda x, s, c, o: x.var(),
}
_ROOT = "divide by √(variance + ε): "
# By what to divide. v: the variance; d: the mean absolute deviation
_SIZES = {
    "": lambda v, eps, d: (v + eps).sqrt(),
    _ROOT + "your ε is outside the square root": lambda v, eps, d: v.sqrt() + eps,
    "where is ε? Without it a vector of equal numbers is 0/0": lambda v, eps, d: v.sqrt(),
    _ROOT + "the root is missing": lambda v, eps, d: v + eps,
    _ROOT + "the root and ε are missing": lambda v, eps, d: v,
    _ROOT + "your ε is squared": lambda v, eps, d: (v + eps**2).sqrt(),
    _ROOT + "your ε is under a root of its own": lambda v, eps, d: v.sqrt() + eps**0.5,
    _ROOT + "your root is taken twice": lambda v, eps, d: (v.sqrt() + eps).sqrt(),
    _ROOT + "your ε is added twice, inside and outside": lambda v, eps, d: (v + eps).sqrt() + eps,
    _ROOT + "your ε is subtracted": lambda v, eps, d: (v - eps).sqrt(),
    _ROOT + "ε is added; it is no lower limit of the variance": lambda v, eps, d: v.clamp(min=eps).sqrt(),
    _ROOT + "ε is added; it is no lower limit of the root": lambda v, eps, d: v.sqrt().clamp(min=eps),
    _ROOT + "ε is added always, not only where that is 0": lambda v, eps, d: v.where(v > 0, eps).sqrt(),
    "ε is an argument; yours is fixed at 1e-5": lambda v, eps, d: (v + 1e-5).sqrt(),
    "ε is an argument; yours is fixed at 1e-6": lambda v, eps, d: (v + 1e-6).sqrt(),
    "ε is an argument; yours is fixed at 1e-12": lambda v, eps, d: (v + 1e-12).sqrt(),
    "average the squares of the deviations, not their absolute values": lambda v, eps, d: d + eps,
    "average the squares, not the absolute values (and where is ε?)": lambda v, eps, d: d,
    _ROOT + "you multiply by it": lambda v, eps, d: 1 / (v + eps).sqrt(),
    "the division is missing": lambda v, eps, d: 1.0,
}
_AFFINES = {
    "": lambda y, weight, bias: y * weight + bias,
    "weight and bias are swapped: the weight multiplies, the bias is added": lambda y, w, b: y * b + w,
    "the weight is missing": lambda y, w, b: y + b,
    "the bias is missing": lambda y, w, b: y * w,
    "weight and bias are missing": lambda y, w, b: y,
    "first times weight, then plus bias: you add the bias first": lambda y, w, b: (y + b) * w,
    "the weight multiplies as it is, not as 1 + weight": lambda y, w, b: y * (1 + w) + b,
    "the bias is added, not subtracted": lambda y, w, b: y * w - b,
    "the weight multiplies, it doesn't divide": lambda y, w, b: y / w + b,
    "the weight multiplies, it isn't added": lambda y, w, b: y + w + b,
}


def _norm(axes: Callable, centre: bool, variance: Callable, size: Callable, affine: Callable) -> Callable:
    def norm(x, weight, bias, eps):
        over = {"dim": axes(x.dim()), "keepdim": True}
        deviation, count = x - x.mean(**over), math.prod(x.shape[i] for i in over["dim"])
        v = variance(x, (deviation**2).sum(**over), count, over)
        return affine((deviation if centre else x) / size(v, eps, deviation.abs().mean(**over)), weight, bias)

    return norm


def _norm_without_keepdim(unbiased: bool | None, mean: bool = False, variance: bool = False) -> Callable:
    """`unbiased`: of torch's variance; None: the variance is the mean of the squared deviations, as in the lesson."""

    def norm(x, weight, bias, eps):
        deviation = x - x.mean(-1, keepdim=mean)
        square = deviation if unbiased is None else x - x.mean(-1, keepdim=True)
        v = (square**2).sum(-1, keepdim=variance) / (x.shape[-1] - bool(unbiased))
        return deviation / (v + eps).sqrt() * weight + bias

    return norm


def check_layer_norm(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> bool:
    """Exercise 2.1: answer(x, weight, bias, eps) normalises x, [..., d], over its last dimension."""
    kept = "without keepdim=True {} up with another dimension of x, or with none".format
    more = {
        kept("mean and variance line"): _norm_without_keepdim(False),
        kept("mean and variance line") + "; the variance is the biased one: divide by d": _norm_without_keepdim(True),
        kept("mean and variance, of these deviations, line"): _norm_without_keepdim(None),
        kept("the mean lines"): _norm_without_keepdim(False, variance=True),
        kept("the mean, and so the deviations, lines"): _norm_without_keepdim(None, variance=True),
        kept("the variance lines"): _norm_without_keepdim(False, mean=True),
        "normalise first: weight and bias come after the division": (
            lambda x, w, b, eps: F.layer_norm(x * w + b, x.shape[-1:], None, None, eps)
        ),
    }
    draw = _draw(1)

    def trial(hint, *shape, eps=1e-5, scale=1.0, shift=1.0):
        return hint, (draw(*shape) * scale + shift, draw(shape[-1]) + 2.0, draw(shape[-1]), eps)

    usual = "(x − mean) / √(variance + ε) over the last dimension; then times weight, plus bias"
    small = "numbers close together show where ε belongs: added to the variance, under the root"
    alone = "a dimension may have the size 1: return x's shape"
    trials = [
        trial(usual, 2, 5, 7, shift=3.0),
        trial("x may be a single vector, [d]", 6, shift=-2.0),
        trial("there may be as many tokens as features: normalise over the last dimension", 4, 4),
        trial("sizes may all be equal: normalise over the last dimension only", 3, 3, 3),
        trial("any number of dimensions may come before the last", 2, 3, 2, 5, eps=1e-3),
        trial(alone, 1, 4, 6),
        trial(alone, 3, 1, 5),
        trial("a large ε shows where it belongs: added to the variance, under the root", 3, 4, 6, eps=0.5),
        trial(small, 3, 6, eps=0.05, scale=0.02),
        trial(small, 3, 6, scale=1e-6, shift=0.0),
        ("a vector of equal numbers has variance 0: ε keeps it from 0/0", (torch.ones(2, 3, 4), *draw(2, 4), 1e-5)),
    ]
    more |= combine(partial(_norm, _AXES[""], _CENTRES[""]), _VARIANCES, _SIZES, _AFFINES, at_most=3)
    return _judge(answer, _norm, (_AXES, _CENTRES, _VARIANCES, _SIZES, _AFFINES), trials, **more)


def _places(ids: Tensor, first: int = 0) -> Tensor:
    """The default positions, or a mask's places: 0, 1, 2, … in every example."""
    return torch.arange(first, first + ids.shape[1]).expand(ids.shape)


def _numbered(mask: Tensor) -> Tensor:
    """The right answer of 2.5."""
    return (mask.long().cumsum(1) - 1) * mask.long()


def _within(ids: Tensor, kinds: Tensor, *which: int) -> Tensor:
    """Positions that begin at 0 again with the tokens of a type."""
    places = _places(ids)
    for kind in which:
        places = torch.where(kinds == kind, (kinds == kind).cumsum(dim=1) - 1, places)
    return places


# 2.2. Three rows for each token. i: ids; k: types, zeros where none are given; t: the table, or types that may be None
_WORDS = {
    "": lambda ids, table: table[ids],
    "the word embedding is missing": lambda ids, table: torch.zeros_like(table[ids]),
    "the word embedding is taken as it is, not times √d": lambda ids, table: table[ids] * table.shape[1] ** 0.5,
    "the word embedding is one row for each token: by id, not by place": lambda ids, t: t[_places(ids)],
    "id 0 is a row of the word table like any other; yours adds zeros there": lambda i, t: t[i] * i.ne(0)[..., None],
}
_COUNT_ALL = "positions count every token, whatever the ids: "
_POSITIONS = {
    "": lambda i, k, t: t[_places(i)],
    "positions count from 0, not from 1": lambda i, k, t: t[_places(i, 1)],
    "the position embedding is missing": lambda i, k, t: torch.zeros(1),
    "position means the place in the sentence, not in the batch": lambda i, k, t: t[torch.arange(len(i))][:, None],
    "there is one position for each of the n tokens, not for each example": lambda i, k, t: t[torch.arange(len(i))],
    "of the position table only the first n rows are added": lambda i, k, t: t,
    "position means the place in the sentence, not the token's id": lambda i, k, t: t[i],
    "position means the place in the sentence, not the type": lambda i, k, t: t[k],
    "positions count from the left, not from the right": lambda i, k, t: t[_places(i).flip(1)],
    "each example begins at position 0": lambda i, k, t: t[torch.arange(i.numel()).view(i.shape)],
    "every token has position 0 in yours": lambda i, k, t: t[0],
    "every token has the last position in yours": lambda i, k, t: t[i.shape[1] - 1],
    "positions run on through a pair; yours begin again in the second text": lambda i, k, t: t[_within(i, k, 1)],
    "positions run on through a pair; in yours each type has its own count": lambda i, k, t: t[_within(i, k, 0, 1)],
    _COUNT_ALL + "yours leaves out those of id 0": lambda i, k, t: t[(i.ne(0).cumsum(1) - 1).clamp(min=0)],
    _COUNT_ALL + "yours leaves out those of id 0, and puts them at 0": lambda i, k, t: t[_numbered(i.ne(0))],
    _COUNT_ALL + "yours puts those of id 0 at position 0": lambda i, k, t: t[_places(i) * i.ne(0)],
}
_TYPES = {
    "": lambda t, k, table: table[k],
    "the token type embedding is missing": lambda t, k, table: torch.zeros(1),
    "token_type_ids are not used: every token is of type 0 in yours": lambda t, k, table: table[0],
    "every token is of type 1 in yours": lambda t, k, table: table[1],
    "without token_type_ids every token is of type 0, and type 0 has a vector, too: add it": (
        lambda t, k, table: torch.zeros(1) if t is None else table[k]
    ),
    "without token_type_ids every token is of type 0, not of type 1": (
        lambda t, k, table: table[1] if t is None else table[k]
    ),
    "token_type_ids may be None: every token is of type 0 then": lambda t, k, table: table[t],
    "token_type_ids may be None, not only a tensor": lambda t, k, table: table[t.long()],
    "token_type_ids may be None; no table takes that": lambda t, k, table: F.embedding(t, table),
    "types 0 and 1 are swapped": lambda t, k, table: table[k if t is None else 1 - k],
    "types 0 and 1 are swapped, and so every token is of type 1 where none are given": lambda t, k, table: table[1 - k],
    "each token has its own type; yours takes that of its example's first": lambda t, k, table: table[k[:, :1]],
    "each example has its own types; yours takes the first example's": lambda t, k, table: table[k[:1]],
    "type 0 has a vector, too; yours adds one for type 1 only": lambda t, k, table: table[1] * k[..., None],
}
_LATE = "the norm comes after the whole sum: "
_SUMS = {
    "": lambda w, p, t, norm: norm(w + p + t),
    "the norm is missing": lambda w, p, t, norm: w + p + t,
    _LATE + "you normalise each summand": lambda w, p, t, norm: norm(w) + norm(p) + norm(t),
    _LATE + "you normalise each summand, too": lambda w, p, t, norm: norm(norm(w) + norm(p) + norm(t)),
    _LATE + "you normalise the word embedding only": lambda w, p, t, norm: norm(w) + p + t,
    _LATE + "you normalise the word embedding, too": lambda w, p, t, norm: norm(norm(w) + p + t),
    _LATE + "you add the type after it": lambda w, p, t, norm: norm(w + p) + t,
    _LATE + "you add the position after it": lambda w, p, t, norm: norm(w + t) + p,
    _LATE + "you add the word after it": lambda w, p, t, norm: norm(p + t) + w,
    "the norm is applied twice": lambda w, p, t, norm: norm(norm(w + p + t)),
    "the three are added; you take their mean": lambda w, p, t, norm: norm((w + p + t) / 3),
    "the three are added, not multiplied": lambda w, p, t, norm: norm(w * p * t),
    "the three are added; you multiply by the type": lambda w, p, t, norm: norm((w + p) * t),
    "the three are added, not put side by side": lambda w, p, t, norm: torch.cat([w, p, t], dim=-1),
    "the three are added; yours stand side by side": lambda w, p, t, norm: norm(torch.cat([w, p, t], dim=-1)),
    "the position is added, not subtracted": lambda w, p, t, norm: norm(w - p + t),
    "the type is added, not subtracted": lambda w, p, t, norm: norm(w + p - t),
    "return [b, n, d], one row for each example; yours is [n, b, d]": lambda w, p, t, f: f(w + p + t).transpose(0, 1),
}


def _embedding(words: Callable, positions: Callable, types: Callable, add: Callable) -> Callable:
    def embed(ids, type_ids, word, position, token_type, norm):
        kinds = torch.zeros_like(ids) if type_ids is None else type_ids
        rows = words(ids, word), positions(ids, kinds, position), types(type_ids, kinds, token_type)
        return add(*torch.broadcast_tensors(*rows), norm)

    return embed


def check_embed(answer: Callable) -> bool:
    """Exercise 2.2: answer(input_ids, token_type_ids, word, position, token_type, norm) -> [b, n, d]."""
    draw, some = _draw(2), torch.Generator().manual_seed(2)

    def trial(hint, ids, types, d=5):
        """`ids`: given, or b and n; `types`: given, or "mixed", "pair" or None."""
        ids = torch.randint(11, ids, generator=some) if isinstance(ids, tuple) else torch.tensor(ids)
        if types == "mixed":
            types = torch.randint(2, ids.shape, generator=some)
        elif types == "pair":
            types = (_places(ids) > ids.shape[1] // 2).long()
        elif types is not None:
            types = torch.tensor(types)
        tables = draw(11, d), draw(40, d), draw(2, d)
        return hint, (ids, types, *tables, lambda x: F.layer_norm(x, x.shape[-1:], eps=0.1) * 1.5 + 0.5)

    usual = "three rows are added: word by id, position by place (0, 1, …), token type by type; then the norm, once"
    none = "without token_type_ids (None) every token is of type 0"
    trials = [
        trial(usual, (2, 5), "pair", 7),
        trial("each example has its own types, and begins at position 0", (3, 4), "mixed", 6),
        trial(none, (2, 5), None, 6),
        trial("an id of 0 is a token like any other", [[3, 0, 5, 0, 0, 7], [0, 4, 4, 0, 2, 0]], "pair"),
        trial("one example may be all of type 0, another not", (3, 4), [[0] * 4, [0, 0, 1, 1], [0, 1, 1, 1]]),
        trial("token_type_ids may be given and all be 0: type 0 has a vector, too", (2, 3), [[0] * 3] * 2),
        trial("there may be as many examples as tokens: positions go along the sentence", (4, 4), "mixed", 4),
        trial("a longer sentence", (2, 24), "pair", 3),
        trial("one example: return [b, n, d] all the same", (1, 6), "pair", 3),
        trial("a sentence of one token: return [b, n, d] all the same", (3, 1), "mixed"),
        trial(none + ": one token in one example", (1, 1), None, 4),
    ]
    return _judge(answer, _embedding, (_WORDS, _POSITIONS, _TYPES, _SUMS), trials)


# 2.3. One half of a layer: input, part, norm
_HALVES = {
    "": lambda x, f, norm: norm(x + f(x)),
    "{part} is pre-norm: BERT normalises the sum": lambda x, f, norm: x + f(norm(x)),
    "the residual of {part} is missing": lambda x, f, norm: norm(f(x)),
    "the norm of {part} precedes the addition": lambda x, f, norm: x + norm(f(x)),
    "the norm after {part} is missing": lambda x, f, norm: x + f(x),
    "residual and norm of {part} are missing": lambda x, f, norm: f(x),
    "what goes into {part} is not normalised again": lambda x, f, norm: norm(x + f(norm(x))),
    "what goes into {part} is not normalised first, nor its residual": lambda x, f, n: n(n(x) + f(n(x))),
    "the residual of {part} is what goes in, as it is: not normalised": lambda x, f, n: n(x) + f(n(x)),
    "the residual of {part} is what goes in, as it is: not normalised, too": lambda x, f, n: n(n(x) + f(x)),
    "the norm after {part} comes after the addition, and only there": lambda x, f, norm: norm(x + norm(f(x))),
    "the sum after {part} is replaced by its norm, not added to it": lambda x, f, n: x + f(x) + n(x + f(x)),
    "the residual of {part} is added before the norm only, not after it, too": lambda x, f, n: x + n(x + f(x)),
    "the residual of {part} is added twice": lambda x, f, norm: norm(2 * x + f(x)),
    "{part} is missing": lambda x, f, norm: norm(x),
    "{part} and its norm are missing": lambda x, f, norm: x,
    "{part} is applied twice": lambda x, f, norm: norm(x + f(f(x))),
    "{part} and its norm are applied twice": lambda x, f, n: n(n(x + f(x)) + f(n(x + f(x)))),
    "the norm after {part} is applied twice": lambda x, f, norm: norm(norm(x + f(x))),
    "what comes out of {part} is added, not subtracted": lambda x, f, norm: norm(x - f(x)),
    "what comes out of {part} is added, not multiplied": lambda x, f, norm: norm(x * f(x)),
    "the sum after {part} must not be halved": lambda x, f, norm: norm((x + f(x)) / 2),
}
# Which part stands first and second (0: attention, 1: feed-forward), and which norm
_PLANS = {
    "": ((0, 1), (0, 1)),
    "the two norms are swapped": ((0, 1), (1, 0)),
    "attention_norm stands in both places": ((0, 1), (0, 0)),
    "feed_forward_norm stands in both places": ((0, 1), (1, 1)),
    "the attention and its norm come first, then the feed-forward and its own": ((1, 0), (1, 0)),
    "the two parts are swapped: the attention comes first, then the feed-forward": ((1, 0), (0, 1)),
    "the attention stands in both places": ((0, 0), (0, 1)),
    "the feed-forward stands in both places": ((1, 1), (0, 1)),
}
# The same slip in both halves
_ALIKE = {
    "": "",
    "this is pre-norm: BERT normalises after each addition": "{part} is pre-norm: BERT normalises the sum",
    "both residuals are missing: what goes into a part is added to what comes out": "the residual of {part} is missing",
    "the norms come after the additions, not before them: norm(x + f(x))": "the norm of {part} precedes the addition",
    "both norms are missing": "the norm after {part} is missing",
    "norms and residuals are missing": "residual and norm of {part} are missing",
    "the sums must not be halved": "the sum after {part} must not be halved",
}
_INPUT = "the residual of the feed-forward is what goes into it, the first half's output: not "
# Here the second half takes something else than what the first one returns. s: x + attention(x); y: its norm.
_CROSSED = {
    _INPUT + "x": lambda x, s, y, norm, f, last: last(x + f(y)),
    _INPUT + "the sum before its norm": lambda x, s, y, norm, f, last: last(s + f(y)),
    _INPUT + "x; and the norm comes after the addition": lambda x, s, y, norm, f, last: x + last(f(y)),
    _INPUT + "x; and the norm after it is missing": lambda x, s, y, norm, f, last: x + f(y),
    _INPUT + "x; and feed_forward_norm is not used": lambda x, s, y, norm, f, last: norm(x + f(y)),
    "the feed-forward works on what the first half returns, not on x": lambda x, s, y, n, f, last: last(y + f(x)),
    "the feed-forward works on the first half's output after its norm": lambda x, s, y, n, f, last: last(y + f(s)),
    "the second half adds what went into it; x is added once more": lambda x, s, y, n, f, last: last(x + y + f(y)),
    "x is added once more, after the last norm": lambda x, s, y, norm, f, last: x + last(y + f(y)),
    "the first sum has a norm of its own, before the feed-forward": lambda x, s, y, norm, f, last: last(s + f(x)),
    "the feed-forward works on what the first half returns; yours adds up x and both parts, then takes both norms": (
        lambda x, s, y, norm, f, last: last(norm(s + f(x)))
    ),
    "the first norm comes before the feed-forward; yours both come at the end": (
        lambda x, s, y, norm, f, last: last(norm(s + f(s)))
    ),
    "the feed-forward is left out of the sum": lambda x, s, y, norm, f, last: last(y + y),
}


def _layer(first: Callable, second: Callable, plan: tuple) -> Callable:
    def layer(x, attention, attention_norm, feed_forward, feed_forward_norm):
        halves, norms = ((first, attention), (second, feed_forward)), (attention_norm, feed_forward_norm)
        for part, norm in zip(*plan, strict=True):
            half, function = halves[part]
            x = half(x, function, norms[norm])
        return x

    return layer


def check_layer(answer: Callable) -> bool:
    """Exercise 2.3: answer(x, attention, attention_norm, feed_forward, feed_forward_norm) -> [b, n, d]."""

    def both(slip, plan):
        return _layer(_HALVES[slip], _HALVES[slip], plan)

    def crossed(end):
        return lambda x, a, norm, f, last: end(x, x + a(x), norm(x + a(x)), norm, f, last)

    sides = [
        {s.format(part=f"the {part}"): half for s, half in _HALVES.items()} for part in ("attention", "feed-forward")
    ]
    more = {said: crossed(end) for said, end in _CROSSED.items()} | combine(_layer, *sides, _PLANS)
    draw = _draw(3)

    def trial(hint, b, n, d, scale=1.0):
        mix, inner, outer = (draw(*shape) / d**0.5 for shape in ((d, d), (d, 2 * d), (2 * d, d)))
        affine = draw(4, d) + torch.tensor([2.0, 0.0, -2.0, 1.0])[:, None]

        def attention(x):
            return (x @ x.transpose(-2, -1) / d**0.5).softmax(dim=-1) @ x @ mix + 0.5

        def feed_forward(x):
            return F.gelu(x @ inner) @ outer - 0.5

        one, two = (lambda x, i=i: F.layer_norm(x, (d,), affine[i], affine[i + 1], 0.1) for i in (0, 2))
        return hint, (draw(b, n, d) * scale, attention, one, feed_forward, two)

    usual = "two halves, each norm(input + part(input)): attention, then feed-forward on what the first half returns"
    trials = [
        trial(usual, 2, 5, 7),
        trial("sizes may be equal", 4, 4, 4),
        trial("one example of one token", 1, 1, 6),
        trial("large inputs", 3, 4, 5, 3.0),
    ]
    return _judge(answer, both, (_ALIKE, _PLANS), trials, **more)


# 2.4. The layers taken: from the one asked for, and how many there are
def _beginning_with(layer: int, count: int) -> list[int]:
    return [i for i in range(count) if str(i).startswith(str(layer))]


_WHOLE = 'the layer\'s number must fit as a whole: "layer.1" is also the beginning of "layer.10"'
_PICKS = {
    "": lambda layer, count: [layer],
    "layers are numbered from 0, as in the names; yours is the one below": lambda layer, count: [layer - 1],
    "layers are numbered from 0, as in the names; yours is the one above": lambda layer, count: [layer + 1],
    "yours is layer 0, whichever is asked for": lambda layer, count: [0],
    _WHOLE: _beginning_with,
    _WHOLE + " (yours takes the last that fits)": lambda layer, count: _beginning_with(layer, count)[-1:],
    "a layer's number may have two digits": lambda layer, count: [int(str(layer)[0])],
    'sorted as text, "10" comes before "2"': lambda layer, count: [int(sorted(map(str, range(count)))[layer])],
}
_NAMES = "query", "key", "value", "output"
# Which parts, of the weights and of the biases
_ORDERS = {"": ((0, 1, 2), (0, 1, 2))}
for _parts in [*permutations(range(3)), (0, 0, 0), (0, 1, 1), (0, 1, 3), (1, 2, 3), (0, 1), (1, 2), (0, 1, 2, 3)]:
    _said = "the order is query, key, value; yours is " + ", ".join(_NAMES[i] for i in _parts)
    if _parts != (0, 1, 2):
        _ORDERS[_said] = _parts, _parts
    if _parts != (0, 1, 2) and set(_parts) == {0, 1, 2}:
        _ORDERS[_said + " (in the weight)"] = _parts, (0, 1, 2)
        _ORDERS[_said + " (in the bias)"] = (0, 1, 2), _parts
_ROWS = "query, key and value stand below each other, d rows each: "
_TURNED = _ROWS + "yours are transposed; these weights are [out, in], as torch's"
_WEIGHTS = {
    "": torch.cat,
    _ROWS + "yours stand beside each other": lambda parts: torch.cat(parts, dim=1),
    _ROWS + "yours have a dimension of their own": torch.stack,
    _TURNED: lambda parts: torch.cat([part.T for part in parts]),
    _ROWS + "yours stand beside each other, transposed": lambda parts: torch.cat([p.T for p in parts], dim=1),
    _ROWS + "yours take turns, row by row": lambda parts: torch.stack(parts, dim=1).flatten(0, 1),
    _ROWS + "yours are added up": sum,
} | {
    f"{_TURNED} (the {name})": lambda parts, i=i: torch.cat([*parts[:i], parts[i].T, *parts[i + 1 :]])
    for i, name in enumerate(_NAMES[:3])
}
_BIASES = {
    "": torch.cat,
    "the bias is one vector of 3d numbers; yours has two dimensions": torch.stack,
    "the biases stand one behind the other, d numbers each; yours take turns": lambda b: torch.stack(b, 1).flatten(),
    "the biases are added up, not one behind the other": sum,
    "the biases are those in state, not 0": lambda parts: torch.zeros_like(torch.cat(parts)),
    "there are three biases; yours is the query's alone": lambda parts: parts[0],
}


def _scale_query(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    scale = torch.ones(len(bias))
    scale[: weight.shape[1]] /= weight.shape[1] ** 0.5
    return weight * scale[:, None], bias * scale


_PAIRS = {
    "": lambda weight, bias: (weight, bias),
    "first the weight, then the bias": lambda weight, bias: (bias, weight),
    "the bias is missing: return both, weight and bias": lambda weight, bias: weight,
    "the query's rows are as in state: it is attention that divides, later, and by √d_h": _scale_query,
}


def _pack(pick: Callable, order: tuple, join_weights: Callable, join_biases: Callable, out: Callable) -> Callable:
    def pack(state, layer):
        starts = [f"encoder.layer.{i}.attention" for i in pick(layer, 1 + max(map(_layer_of, state)))]
        places = ("self.query", "self.key", "self.value", "output.dense")
        weights, biases = (
            [state[f"{start}.{places[i]}.{kind}"] for start in starts for i in parts]
            for kind, parts in zip(("weight", "bias"), order, strict=True)
        )
        return out(join_weights(weights), join_biases(biases))

    return pack


def _layer_of(name: str) -> int:
    """The number of the layer in a tensor's name; -1 if there is none."""
    return int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1


def _bert_state(layers: int, d: int, draw: Callable) -> dict[str, Tensor]:
    """A state dict with the names of transformers' `BertModel`, in its order."""
    linear = {f"attention.self.{name}": (d, d) for name in _NAMES[:3]} | {"attention.output.dense": (d, d)}
    wide = {"intermediate.dense": (2 * d, d), "output.dense": (d, 2 * d)}
    shapes = linear | {"attention.output.LayerNorm": (d,)} | wide | {"output.LayerNorm": (d,)}
    state = {f"embeddings.{name}_embeddings.weight": draw(9, d) for name in ("word", "position", "token_type")}
    state |= {f"embeddings.LayerNorm.{kind}": draw(d) for kind in ("weight", "bias")}
    for i in range(layers):
        for name, shape in shapes.items():
            state[f"encoder.layer.{i}.{name}.weight"] = draw(*shape)
            state[f"encoder.layer.{i}.{name}.bias"] = draw(shape[0])
    return state


def check_pack(answer: Callable[[Mapping[str, Tensor], int], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 2.4: answer(state, layer) joins a layer's query, key and value: a weight [3d, d] and a bias [3d]."""
    small, large = _bert_state(2, 6, _draw(4)), _bert_state(13, 4, _draw(5))
    trials = [
        ("weight [3d, d] and bias [3d], of query, key and value, in this order", (small, 1)),
        ("layer 0 is the first", (small, 0)),
        ("layer 1 is neither layer 10 nor layer 11", (large, 1)),
        ("a layer's number may have two digits", (large, 11)),
    ]
    return _judge(answer, _pack, (_PICKS, _ORDERS, _WEIGHTS, _BIASES, _PAIRS), trials)


def _first(mask: Tensor) -> Tensor:
    return mask.int().argmax(dim=1, keepdim=True)


def _padding(mask: Tensor) -> Tensor:
    return (mask == 0).sum(dim=1, keepdim=True)


_ZERO = "padding gets 0, too: "
_ALL_PADDING = "only padding on the left moves a sentence; yours subtracts all padding"
_POSITION_MISTAKES = {
    "these are the default positions: with padding on the left the sentence doesn't begin at 0": _places,
    "the padding on the left is still counted: the first real token must get 0": lambda m: _places(m) * m.long(),
    "real tokens are numbered from 0, not from 1": lambda m: m.long().cumsum(1) * m.long(),
    "real tokens are numbered from 0, not from 1; padding gets 0": lambda m: m.long().cumsum(1),
    _ZERO + "yours gets −1 on the left, and the last number on the right": lambda m: m.long().cumsum(1) - 1,
    _ZERO + "on the right yours gets the last number": lambda m: (m.long().cumsum(1) - 1).clamp(min=0),
    _ZERO + "yours gets −1": lambda m: (m.long().cumsum(1) * m.long()) - 1,
    _ZERO + "yours gets 1": lambda m: (m.long().cumsum(1) - 1).masked_fill(m == 0, 1),
    _ZERO + "on the right yours counts on": lambda m: (_places(m) - _first(m)).clamp(min=0),
    _ZERO + "on the left yours is negative, on the right it counts on": lambda m: _places(m) - _first(m),
    _ALL_PADDING: lambda m: (_places(m) - _padding(m)) * m.long(),
    _ALL_PADDING + " (and keeps what is below 0 at 0)": lambda m: (_places(m) - _padding(m)).clamp(min=0) * m.long(),
    _ALL_PADDING + "; padding gets 0": lambda m: _places(m) - _padding(m),
    _ALL_PADDING + "; padding on the right gets 0, too": lambda m: (_places(m) - _padding(m)).clamp(min=0),
    "count along the tokens, not along the batch": lambda m: (m.long().cumsum(0) - 1) * m.long(),
    "count the real tokens, not the padding": lambda m: (m == 0).long().cumsum(1),
    "count the real tokens, not the padding (and from 0)": lambda m: ((m == 0).long().cumsum(1) - 1).clamp(min=0),
    "number from the left: your last real token gets 0": lambda m: (m.flip(1).long().cumsum(1).flip(1) - 1) * m.long(),
    "each example begins at 0; yours goes on where the one before it ended": (
        lambda m: (m.long().flatten().cumsum(0).view(m.shape) - 1) * m.long()
    ),
    "each example has its own padding; yours takes the first example's positions for all": (
        lambda m: _numbered(m)[:1].expand(m.shape)
    ),
    "each example has its own padding; yours shifts all by the first example's": (
        lambda m: (_places(m) - _first(m)[0]).clamp(min=0) * m.long()
    ),
    "each example has its own padding; yours shifts all by the batch's least": (
        lambda m: (_places(m) - _first(m).min()) * m.long()
    ),
    "the real tokens stay where they are; yours are moved to the left": (
        lambda m: _places(m) * (_places(m) < m.long().sum(dim=1, keepdim=True))
    ),
    "BERT begins at 0; yours is RoBERTa's numbering": lambda m: m.long().cumsum(1) * m.long() + 1,
    "positions are integers: a table has no row 1.0": lambda m: _numbered(m).float(),
    "int8 holds numbers up to 127; positions go beyond": lambda m: _numbered(m).to(torch.int8),
    "uint8 holds numbers up to 255; positions go beyond": lambda m: _numbered(m).to(torch.uint8),
    "one row for each example, [b, n]: with padding they differ": lambda m: torch.arange(m.shape[1]),
    "this is the mask": lambda m: m,
    "this is the mask, as integers": lambda m: m.long(),
}


def check_position_ids(answer: Callable[[Tensor], Tensor]) -> bool:
    """Exercise 2.5: answer(attention_mask) numbers each example's real tokens 0, 1, 2, …; padding gets 0."""
    trials = {
        "number the real tokens of each example from 0": [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
        "padding on the right gets 0": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
        "padding may stand on both sides": [[0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0]],
        "there may be as many examples as tokens": [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]],
        "an example may have one real token": [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]],
        "one example of one token": [[1]],
        "a long sentence": [[0] * 3 + [1] * 297, [1] * 300],
        "the mask may be boolean": [[False, False, True, True, True], [False, True, True, False, False]],
    }
    return check(answer, _numbered, [(hint, (torch.tensor(m),)) for hint, m in trials.items()], _POSITION_MISTAKES)
