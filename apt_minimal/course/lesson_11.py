"""Lesson 11: reading the gates."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from scipy.stats import kendalltau, rankdata
from torch import Tensor

from apt_minimal.course.checking import check, combine, say

__all__ = [
    "check_attention_without",
    "check_effect",
    "check_lengths",
    "check_moved",
    "check_rank_correlation",
]


def _without(query, key, value, p_k, p_v, gone, how="mask", which=lambda gone, l: gone, scale=True):
    """Attention without some prefix tokens, rightly or in one of the ways that are no removal."""
    l = p_k.shape[2]
    out = torch.zeros(l, dtype=torch.bool)
    out[[i for i in which(gone, l) if -l <= i < l]] = True
    p_k, p_v = p_k.clone(), p_v.clone()
    if how in ("key", "both"):
        p_k[:, :, out] = 0.0
    if how in ("value", "both"):
        p_v[:, :, out] = 0.0
    scores = query @ torch.cat([p_k, key], 2).transpose(-1, -2) / (math.sqrt(query.shape[-1]) if scale else 1)
    if how == "mask":
        scores[..., :l][..., out] = -math.inf
    return scores.softmax(-1) @ torch.cat([p_v, value], 2)


def check_attention_without(answer: Callable[..., Tensor]) -> bool:
    """Exercise 11.1: answer(query, key, value, prefix_key, prefix_value, gone), [b, h, n, d_h]."""
    how = {
        "": "mask",
        "a key of zeros still scores 0, and exp(0) = 1 takes mass": "key",
        "the token keeps its share of the softmax; what it would have said is missing, but the others get no more "
        "attention (a weight set to 0 after the softmax is the same)": "value",
        "a token of zeros is no missing token: its score is 0, and exp(0) = 1 takes mass": "both",
        "nothing has been removed": "nothing",
    }
    which = {
        "": lambda gone, l: gone,
        "those in gone are to be removed; yours keeps them and removes the others": lambda gone, l: (
            [i for i in range(l) if i not in gone]
        ),
        "prefix tokens are counted from 0": lambda gone, l: [i - 1 for i in gone if i > 0],
        "gone may name several tokens; yours removes the first one only": lambda gone, l: gone[:1],
        "only the tokens in gone are to be removed, not the whole prefix": lambda gone, l: range(l) if gone else [],
        "yours removes as many tokens as gone names, but the first ones": lambda gone, l: range(len(gone)),
        "only those in gone are to be removed, not all between the first and the last of them": lambda gone, l: (
            range(min(gone), max(gone) + 1) if gone else []
        ),
    }
    scale = {"": True, "the scores are divided by √d_h": False}
    mistakes = combine(lambda *choices: lambda *inputs: _without(*inputs, *choices), how, which, scale)

    def apart(query, key, value, p_k, p_v, gone):
        kept = [i for i in range(p_k.shape[2]) if i not in gone]
        return _without(query, key, value, p_k[:, :, kept], p_v[:, :, : len(kept)], [])

    mistakes["a key and its value go together: yours leaves other values out than keys"] = apart
    generator = torch.Generator().manual_seed(0)

    def inputs(b, h, n, l, d_h, gone, size=1.0):
        shapes = [(b, h, n, d_h)] * 3 + [(b, h, l, d_h)] * 2
        return (*(size * torch.randn(shape, generator=generator) for shape in shapes), gone)

    trials = [
        ("two of five prefix tokens are to be removed here", inputs(2, 3, 4, 5, 6, [1, 4])),
        ("gone may be in any order", inputs(1, 2, 3, 6, 4, [5, 0, 2])),
        ("gone may be empty: then it is E1 with the whole prefix", inputs(2, 2, 3, 4, 5, [])),
        ("with all tokens gone it is attention without a prefix", inputs(2, 2, 5, 3, 4, [0, 1, 2])),
        ("all sizes may be equal", inputs(3, 3, 3, 3, 3, [0])),
        ("scores may be large; the softmax must not overflow", inputs(1, 2, 4, 3, 8, [2], size=15.0)),
        ("the prefix may be longer than the input", inputs(1, 1, 1, 7, 2, [3, 6])),
    ]
    query, key, value, p_k, p_v, gone = inputs(1, 2, 3, 4, 5, [0, 3], size=0.3)
    low = query + 5, key - 5, value, p_k - 5, p_v, gone  # scores of about −56
    trials.append(("all scores may be far below 0; a removed token's is below them all", low))
    return check(answer, _without, trials, mistakes)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def _ratio(given: Tensor, without: Tensor) -> Tensor:
    return _norm(given - without) / _norm(without)


def _effect(given, without, mask, ratio=_ratio, mean=Tensor.mean, real=True) -> Tensor:
    """Mean over inputs of ‖with − without‖ / ‖without‖ on real tokens."""
    padding = ~mask.bool()[..., None] if real else torch.zeros_like(mask).bool()[..., None]
    return mean(ratio(given.masked_fill(padding, 0.0), without.masked_fill(padding, 0.0)))


def check_effect(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 11.2: answer(given, without, mask), [b, n, d] twice and [b, n]: the mean effect, []."""
    ratio = {
        "": _ratio,
        "the change is measured against the output without the prefix": lambda g, w: _norm(g - w) / _norm(g),
        "that is how much longer the output gets; ask for the length of the difference": lambda g, w: (
            _norm(g) / _norm(w) - 1
        ),
        "that is how much longer or shorter the output gets; ask for the length of the difference": lambda g, w: (
            _norm(g) / _norm(w) - 1
        ).abs(),
        "the change still has to be divided by the length of the output without": lambda g, w: _norm(g - w),
        "one ratio an input, then the mean; yours divides one sum over all inputs by another": lambda g, w: (
            _norm(g - w).sum() / _norm(w).sum()
        ),
        "one ratio an input; yours takes one norm over the whole batch": lambda g, w: (g - w).norm() / w.norm(),
        "norms, not squared norms": lambda g, w: _ratio(g, w).square(),
        "a norm is the root of the sum of squares, not a sum of absolute values": lambda g, w: (
            (g - w).abs().sum((1, 2)) / w.abs().sum((1, 2))
        ),
    }
    mean = {
        "": Tensor.mean,
        "the mean over inputs, not the sum": Tensor.sum,
        "a mean over the inputs is asked for, one number": lambda x: x,
    }
    real = {"": True, "padding must have no part in it": False}
    mistakes = combine(lambda *choices: lambda *inputs: _effect(*inputs, *choices), ratio, mean, real)

    def tokens(given, without, mask):
        ratios = (given - without).norm(dim=-1) / without.norm(dim=-1)
        return ratios.masked_fill(~mask.bool(), 0.0).sum(1).div(mask.sum(1)).mean()

    mistakes["one norm an input, over all of its real tokens; yours takes a ratio for each token"] = tokens
    mistakes["padding must have no part in what you divide by, either"] = lambda given, without, mask: (
        _norm((given - without).masked_fill(~mask.bool()[..., None], 0.0)) / _norm(without)
    ).mean()
    generator = torch.Generator().manual_seed(1)

    def inputs(b, n, d, lengths, left=False, dtype=torch.bool):
        given, without = (torch.randn(b, n, d, generator=generator) for _ in range(2))
        scale = 0.3 + 3 * torch.rand(b, n, 1, generator=generator)
        mask = (torch.arange(n) < torch.tensor(lengths)[:, None]).to(dtype)
        return scale * (without + 0.5 * given), without * scale, mask.flip(1) if left else mask

    trials = [
        ("inputs differ in length; padding stands behind", inputs(3, 5, 4, [5, 2, 3])),
        ("padding may stand in front", inputs(3, 6, 2, [1, 6, 4], left=True)),
        ("the mask may hold integers", inputs(2, 4, 3, [4, 1], dtype=torch.long)),
        ("all sizes may be equal", inputs(4, 4, 4, [4, 3, 2, 1])),
        ("there may be one input, and one token", inputs(1, 1, 6, [1])),
    ]
    given, without, mask = inputs(5, 3, 2, [3] * 5)
    trials.append(("values may be in float64", (given.double(), without.double(), mask)))
    return check(answer, _effect, trials, mistakes)


def _correlation(one: Tensor, other: Tensor, ranks=None) -> float:
    ranks = ranks or (lambda x: torch.as_tensor(rankdata(x)))
    one, other = (ranks(x.double()).double() for x in (one, other))
    one, other = one - one.mean(), other - other.mean()
    return (one @ other / (one.norm() * other.norm())).item()


def _from_differences(one: Tensor, other: Tensor) -> float:
    d, n = torch.as_tensor(rankdata(one) - rankdata(other)), len(one)
    return 1 - 6 * (d @ d).item() / (n * (n * n - 1))


def check_rank_correlation(answer: Callable[[Tensor, Tensor], float]) -> bool:
    """Exercise 11.3: answer(one, other), [L] each: Spearman's rank correlation, equal values sharing a mean rank."""

    def by(method):
        return lambda a, b: _correlation(a, b, lambda x: torch.as_tensor(rankdata(x, method)))

    mistakes = {
        "that is the correlation of the values; take that of their ranks": lambda a, b: _correlation(a, b, lambda x: x),
        "argsort tells which layer comes first, second …; a rank is the place of a layer": lambda a, b: _correlation(
            a, b, lambda x: x.argsort(stable=True)
        ),
        "equal values must share the mean of their ranks, here the first of them ranks below the others": by("ordinal"),
        "equal values share the mean of their ranks, not the lowest": by("min"),
        "equal values share the mean of their ranks, not the highest": by("max"),
        "equal values leave as many ranks unused as they fill: 1, 2.5, 2.5, 4": by("dense"),
        "the short formula with 6 Σ d² holds only where no values are equal": _from_differences,
        "that is Kendall's τ, which counts pairs": lambda a, b: float(kendalltau(a, b).statistic),
        "the sign: the same order gives 1": lambda a, b: -_correlation(a, b),
        "opposite orders give −1, so nothing is squared": lambda a, b: _correlation(a, b) ** 2,
        "opposite orders give −1: no absolute value": lambda a, b: abs(_correlation(a, b)),
    }
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(2, 8, generator=generator)
    trials = [
        ("no values are equal here", (values[0], values[1].exp())),
        ("some values are equal here", tuple(torch.tensor(x) for x in ([3.0, 1, 1, 5, 2, 0], [1.0, 2, 3, 3, 0, 3]))),
        ("many values are equal here", tuple(torch.tensor(x) for x in ([0.0, 0, 0, 0, 1], [2.0, 1, 1, 2, 2]))),
        ("the second ranking is the first one turned round", (values[0], -(values[0] ** 3))),
        ("values may be close together", (0.5 + 1e-3 * values[0].double(), values[1].double())),
        ("there may be two layers", (torch.tensor([0.1, 0.2]), torch.tensor([5.0, 4.0]))),
        ("readings may be negative", (values[1] - 5, values[0])),
    ]
    return check(answer, _correlation, trials, mistakes)


def _shares(reading, budget, weigh=lambda r: max(r, 0)) -> list[Fraction]:
    weights = [Fraction(weigh(r)) for r in reading]  # fractions, so that equal remainders are equal
    return [budget * weight / sum(weights) for weight in weights]


def _lengths(reading, budget, start=math.floor, first=lambda rest, i: (-rest, i), **options) -> list[int]:
    shares = _shares(reading, budget, **options)
    lengths = [start(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: first(shares[i] - lengths[i], i))
    for i in order[: max(budget - sum(lengths), 0)]:
        lengths[i] += 1
    return lengths


def check_lengths(answer: Callable[[Sequence[float], int], list[int]]) -> bool:
    """Exercise 11.4: answer(reading, budget) is a list of lengths, one a layer, that add up to the budget."""

    def changed(**options):
        return lambda reading, budget: _lengths(reading, budget, **options)

    def rest_to(choose):
        def answer(reading, budget):
            lengths = [math.floor(share) for share in _shares(reading, budget)]
            lengths[choose(reading)] += budget - sum(lengths)
            return lengths

        return answer

    mistakes = {
        "each share rounded by itself: the lengths need not add up to the budget": lambda r, b: (
            [round(share) for share in _shares(r, b)]
        ),
        "rounded down the shares add up to less than the budget: who gets the rest?": lambda r, b: (
            [math.floor(share) for share in _shares(r, b)]
        ),
        "shares are rounded down first; rounded up they exceed the budget": changed(start=math.ceil),
        "of equal remainders the lower layer comes first": changed(first=lambda rest, i: (-rest, -i)),
        "the largest remainders come first, not the smallest": changed(first=lambda rest, i: (rest, i)),
        "what is left goes to the largest remainders, not to the lowest layers": changed(first=lambda rest, i: i),
        "one more each for the largest remainders, not all of the rest for the largest reading": rest_to(
            lambda reading: reading.index(max(reading))
        ),
        "one more each for the largest remainders, not all of the rest for the last layer": rest_to(lambda reading: -1),
        "a reading below 0 counts as 0: no prefix there": changed(weigh=lambda r: r),
        "a reading below 0 counts as 0, not as its absolute value": changed(weigh=abs),
        "shares follow the readings; yours are the same for every layer": changed(weigh=lambda r: 1),
    }
    trials = [
        ("shares of 0.9, 1.8 and 6.3 tokens: the budget is 9", ([0.125, 0.25, 0.875], 9)),
        ("the shares are whole numbers here", ([1.0, 1.0, 2.0], 8)),
        ("two tokens are left for three equal remainders", ([0.5, 0.5, 0.5], 5)),
        ("a layer's reading may be 0", ([3.0, 0.0, 1.0, 0.0], 7)),
        ("a reading may be negative", ([3.0, -2.0, 1.0, 0.5], 10)),
        ("the budget may be smaller than the number of layers", ([0.2, 0.4, 0.1, 0.3, 0.9], 2)),
        ("four layers share what is left over", ([1.1, 2.3, 0.7, 1.9, 3.2, 0.5], 96)),
        ("rounding each share would give too much here", ([1.0, 1.0, 1.0, 3.0], 9)),
        ("there may be a single layer", ([0.3], 4)),
    ]
    return check(lambda *inputs: _listed(answer(*inputs)), _lengths, trials, mistakes)


def _listed(lengths):
    return list(lengths) if isinstance(lengths, tuple) else lengths


# Each reading, and why it is unmoved where it is. What each move changes.
READINGS = {
    "alpha": "α is computed from h and W, which it leaves as they are, or as a set",
    "scale": "it leaves λ as it is",
    "prefix_norm": "it leaves the lengths of P's rows as they are, or as a set",
    "gated_norm": "it leaves λ α P as it is, but perhaps for the order of its rows",
    "mass": "the softmax sees λ α P only, in whatever order",
    "effect": "attention sees λ α P only, in whatever order",
}
MOVED = {
    "rescale": {"scale", "prefix_norm"},
    "negate": {"scale"},
    "fold": {"alpha", "prefix_norm"},
    "permute": set(),
}


def check_moved(answer: Callable[[str], set[str]]) -> bool:
    """Exercise 11.5: answer(move) is the set of names of those readings that a move changes."""
    for move, expected in MOVED.items():
        try:
            given = answer(move)
        except NotImplementedError:
            print("… not solved yet")
            return False
        except Exception as error:
            return say(False, f"{move}: {type(error).__name__}: {error}".splitlines()[0])
        if isinstance(given, str) or not isinstance(given, set | frozenset | list | tuple | dict):
            return say(False, f"{move}: a set of names is asked for, not {given!r}")
        if unknown := [name for name in given if name not in READINGS]:
            return say(False, f"{move}: no such reading: {unknown[0]!r}; there are {', '.join(READINGS)}")
        if wrong := [name for name in READINGS if name in given and name not in expected]:
            return say(False, f"{move} does not change {wrong[0]}: {READINGS[wrong[0]]}")
        if missing := [name for name in READINGS if name in expected and name not in given]:
            return say(False, f"{move} changes {missing[0]} too" if given else f"{move} does change something")
    return say(True, "right")
