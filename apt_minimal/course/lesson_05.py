"""Lesson 05: the layer gate, and APT whole."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from apt_minimal.course.checking import check, combine
from apt_minimal.gates import first_token, mean_token

__all__ = ["check_apt_attention", "check_count_parameters", "check_dead", "check_gated_prefix", "check_unfold"]


class _OneTensor(TypeError):
    """One tensor was returned where two are asked for."""


def _pair(answer: Callable) -> Callable:
    def checked(*given):
        found = answer(*given)
        if isinstance(found, Tensor):
            raise _OneTensor("one tensor, not two")
        return found

    return checked


_ONE_TENSOR = {
    "two tensors are asked for, the key's and the value's; yours are made into one": _pair(lambda *_: torch.empty(0))
}
_SOURCES = {  # of what the two results are made: 0 the key, 1 the value
    "": (0, 1),
    "the order: first the key, then the value": (1, 0),
    "both results come from the key": (0, 0),
    "both results come from the value": (1, 1),
}
_ALIKE = "keys and values have the same gates: "
_FORGOTTEN = {  # which gate is left out, on which of the two
    "": "",
    _ALIKE + "α is left out on the keys": "αk",
    _ALIKE + "α is left out on the values": "αv",
    _ALIKE + "λ is left out on the keys": "λk",
    _ALIKE + "λ is left out on the values": "λv",
    _ALIKE + "both are left out on the keys": "αk λk",
    _ALIKE + "both are left out on the values": "αv λv",
}


def _draw(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def _gates(alpha: Tensor, scale: Tensor, forgotten: str, sources: tuple[int, int], pair: tuple) -> tuple:
    """E3 for keys and values: λ · α ⊙ P, α with a last axis; a gate that is forgotten there is left out."""
    return tuple(
        (1 if f"α{letter}" in forgotten else alpha) * (1 if f"λ{letter}" in forgotten else scale) * pair[source]
        for letter, source in zip("kv", sources, strict=True)
    )


# 5.1


def _h_times_w(h: Tensor, w: Tensor) -> Tensor:
    return h @ w.T


def _gated(product=_h_times_w, alpha=torch.sigmoid, scale=lambda s: s, forgotten="", sources=(0, 1)) -> Callable:
    """E3 from its parts."""

    def answer(h, w, s, k, v):
        pair = tuple(p.expand(len(h), -1, -1) for p in (k, v))
        return _gates(alpha(product(h, w)).unsqueeze(-1), scale(s), forgotten, sources, pair)

    return answer


_PRODUCTS = {
    "": _h_times_w,
    "W is kept as [l, d], so hW is hidden_first @ weight.T, [b, l]": lambda h, w: h @ w,
    "W is transposed by .T; reshape leaves its numbers in their order": lambda h, w: h @ w.reshape(w.T.shape),
    "√d belongs to attention's scores, not to the gate's hW": lambda h, w: h @ w.T / h.shape[1] ** 0.5,
    "all examples are gated by the first one's α": lambda h, w: h[:1].expand_as(h) @ w.T,
    "each example has its own α: here h is averaged over the batch": lambda h, w: h.mean(0).expand_as(h) @ w.T,
}
_ALPHAS = {  # of t = hW, [b, l]
    "": torch.sigmoid,
    "α is a sigmoid: under a softmax the prefix tokens compete": lambda t: t.softmax(1),
    "this softmax runs over the examples; α is a sigmoid, of each number by itself": lambda t: t.softmax(0),
    "hW is multiplied in as it is: α is its sigmoid": lambda t: t,
    "α is a sigmoid, between 0 and 1; tanh may turn a token round": torch.tanh,
    "α is applied twice": lambda t: t.sigmoid() ** 2,
    "the sigmoid is applied twice, one after the other": lambda t: t.sigmoid().sigmoid(),
    "this is 1 − α: it opens where α shuts": lambda t: (-t).sigmoid(),
    "α is divided out, not multiplied in": lambda t: 1 / t.sigmoid(),
    "the gate is σ(hW) itself, which is ½ for W = 0; here it is twice that": lambda t: 2 * t.sigmoid(),
    "each prefix token has its own α: here all share their mean": lambda t: t * 0 + t.sigmoid().mean(1, keepdim=True),
    "α is missing: this is λ · P": torch.ones_like,
}
_SCALES = {
    "": lambda s: s,
    "λ is missing": torch.ones_like,
    "λ is applied twice": torch.square,
    "λ is squashed by a sigmoid; ours is free, and may exceed 1": torch.sigmoid,
    "λ is squashed by tanh; ours is free, and may exceed 1": torch.tanh,
    "λ may be negative; here its sign is lost": torch.abs,
    "λ may be negative; here it is cut off at 0": torch.relu,
    "λ is exponentiated; ours is the factor itself": torch.exp,
    "λ is divided out, not multiplied in": torch.reciprocal,
}


def check_gated_prefix(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.1: answer(hidden_first, weight, scale, key, value) is E3, two of [b, l, d]."""
    right, no_scale = _gated(), _gated(scale=torch.ones_like)

    def gate(h, w, s):  # λα, [b, l]
        return s * (h @ w.T).sigmoid()

    mistakes = combine(partial(_gated, _h_times_w), _ALPHAS, _SCALES, _FORGOTTEN, _SOURCES)
    mistakes |= combine(_gated, _PRODUCTS, at_most=1) | {
        "E3 has λ outside the sigmoid: here it scales hW": lambda h, w, s, k, v: no_scale(h, s * w, s, k, v),
        "λ outside the sigmoid, once: here it is inside and outside": lambda h, w, s, k, v: right(h, s * w, s, k, v),
        "λ and α are added; E3 multiplies them": lambda h, w, s, k, v: _gated(
            alpha=lambda t: s + t.sigmoid(), scale=torch.ones_like
        )(h, w, s, k, v),
        "the gates are added to P; E3 multiplies": lambda h, w, s, k, v: [p + gate(h, w, s)[..., None] for p in (k, v)],
        "λ is added to the gated P; E3 multiplies": lambda *x: [p + x[2] for p in no_scale(*x)],
        "the value is the gated key, gated once more": lambda h, w, s, k, v: [
            gate(h, w, s)[..., None] ** power * k for power in (1, 2)
        ],
        "α has one number for each row of P; here it lies along P's columns": lambda h, w, s, k, v: [
            p * gate(h, w, s)[:, None] for p in (k, v)
        ],
        "α needs a third axis, [b, l, 1]; without it α meets P's columns": lambda h, w, s, k, v: [
            p * gate(h, w, s) for p in (k, v)
        ],
        "the gates themselves are not asked for, but the gated P": lambda h, w, s, k, v: ((h @ w.T).sigmoid(), s),
        "α is missing: this is λ · P, and the same for every example": lambda h, w, s, k, v: (s * k, s * v),
        "both gates are missing: this is P itself": lambda h, w, s, k, v: (k, v),
        "α differs from example to example, so the result has a batch: [b, l, d]": lambda *x: [p[0] for p in right(*x)],
        "an axis of size 1 stays, whether b or l is 1": lambda *x: [p.squeeze() for p in right(*x)],
        "a single example is a batch too: its axis stays, [1, l, d]": lambda *x: [p.squeeze(0) for p in right(*x)],
    }
    draw = _draw(51)
    trials = [
        (hint, (draw(b, d), draw(l, d), torch.tensor(s), draw(l, d), draw(l, d)))
        for hint, b, l, d, s in (
            ("α = σ(hW) is [b, l]; λ · α ⊙ P multiplies whole rows of P, of keys and values alike", 2, 3, 5, 1.0),
            ("λ is one free number that multiplies both, whatever its size", 2, 3, 5, 2.5),
            ("λ may be negative", 3, 2, 4, -1.5),
            ("here l = d, where a wrong axis of α or of W raises no error", 2, 4, 4, 0.7),
            ("here b = l, so that axes may be mixed up without an error", 3, 3, 5, 1.7),
            ("here b = d, so that axes may be mixed up without an error", 4, 2, 4, 1.7),
            ("here all sizes are the same, so that axes may be mixed up without an error", 3, 3, 3, -0.6),
            ("a single example is a batch too: [1, l, d]", 1, 3, 4, 1.3),
            ("a prefix of one token is a prefix too: [b, 1, d]", 2, 1, 4, 1.3),
        )
    ]
    return check(_pair(answer), right, trials, mistakes | _ONE_TENSOR)


# 5.2

_NUMBERS_OF_P = {
    "": lambda L, l, d: 2 * L * l * d,
    "a layer has two prefixes, one for keys and one for values": lambda L, l, d: L * l * d,
    "P is counted for one layer; every layer has its own": lambda L, l, d: 2 * l * d,
    "the prefix itself is trained too: P_k and P_v": lambda L, l, d: 0,
    "the prefix is counted twice over: P_k and P_v are l · d each": lambda L, l, d: 4 * L * l * d,
}
# With gate_input "first_token", "mean" and "none"; then with these where the gate is off. W = L · l · d, w = L · l
_NUMBERS_OF_GATES = {
    "": lambda W, w, L, d: (W, W, w, 0, 0, 0),
    "W is shared by keys and values: it counts once": lambda W, w, L, d: (2 * W, 2 * W, 2 * w, 0, 0, 0),
    "W is shared by keys and values: it counts once, as w does": lambda W, w, L, d: (2 * W, 2 * W, w, 0, 0, 0),
    "W's own l · d is missing": lambda W, w, L, d: (0, 0, w, 0, 0, 0),
    "the token gate is missing altogether": lambda W, w, L, d: (0, 0, 0, 0, 0, 0),
    "our gate has no bias": lambda W, w, L, d: (W + w, W + w, 2 * w, 0, 0, 0),
    "our gate has no bias (and w, without h, is none)": lambda W, w, L, d: (W + w, W + w, w, 0, 0, 0),
    "layer 1's gate may be constant, but it is trained, and counted": lambda W, w, L, d: (W - W // L, W, w, 0, 0, 0),
    "the gate is counted for one layer; every layer has its own": lambda W, w, L, d: (W // L, W // L, w // L, 0, 0, 0),
    "W is counted for one layer; every layer has its own, as with w": lambda W, w, L, d: (W // L, W // L, w, 0, 0, 0),
    "W maps d numbers to l gates, not to d": lambda W, w, L, d: (L * d * d, L * d * d, w, 0, 0, 0),
    'with "none" there is no h to multiply: w has l numbers, not l · d': lambda W, w, L, d: (W, W, W, 0, 0, 0),
    'with "none" the gate still has a free vector w of l numbers a layer': lambda W, w, L, d: (W, W, 0, 0, 0, 0),
    'with "none" w has one number for each prefix token, l a layer': lambda W, w, L, d: (W, W, L, 0, 0, 0),
    'with "none" w has l numbers a layer, one for each prefix token, not d': lambda W, w, L, d: (W, W, L * d, 0, 0, 0),
    'with "none" every layer still has its own w': lambda W, w, L, d: (W, W, w // L, 0, 0, 0),
    'with "mean" W is as large: it reads one vector of d numbers too': lambda W, w, L, d: (W, w, w, 0, 0, 0),
    'with "mean" the gate still has its W': lambda W, w, L, d: (W, 0, w, 0, 0, 0),
    'only "first_token" is given a gate here; "mean" has a W, and "none" a w': lambda W, w, L, d: (W, 0, 0, 0, 0, 0),
    "token_gate=False takes W away": lambda W, w, L, d: (W, W, w, W, W, w),
    "token_gate=False takes the gate away, and with it w": lambda W, w, L, d: (W, W, w, w, w, w),
    'where token_gate is False, gate_input has no effect, not even "none"': lambda W, w, L, d: (W, W, w, 0, 0, w),
    'where token_gate is False, gate_input has no effect, not even "mean"': lambda W, w, L, d: (W, W, w, 0, W, 0),
    'token_gate=False takes W away, and "none" has a w of l numbers': lambda W, w, L, d: (W, W, W, W, W, W),
    'token_gate=False takes W away, and "none" has a w': lambda W, w, L, d: (W, W, 0, W, W, 0),
    "the token gate's switch is the wrong way round": lambda W, w, L, d: (0, 0, 0, W, W, w),
}
_NUMBERS_OF_SCALE = {
    "": lambda L, l, d, on: on * L,
    "λ is missing: one number a layer": lambda L, l, d, on: 0,
    "there is one λ in every layer, not one for all": lambda L, l, d, on: on,
    "λ is one number a layer, not one for each prefix token": lambda L, l, d, on: on * L * l,
    "λ is one number a layer, not one for each of the d columns": lambda L, l, d, on: on * L * d,
    "λ is one number a layer, not one for each element of P": lambda L, l, d, on: on * L * l * d,
    "keys and values share their λ": lambda L, l, d, on: on * 2 * L,
    "layer_gate=False takes λ away": lambda L, l, d, on: L,
    "layer_gate=False takes λ away, and each layer has its own": lambda L, l, d, on: 1,
    "the switch of the layer gate is the wrong way round": lambda L, l, d, on: (not on) * L,
}


def _count(prefix, gates, layer) -> Callable:
    def answer(L, l, d, token_gate, layer_gate, gate_input):
        case = ("first_token", "mean", "none").index(gate_input) + (0 if token_gate else 3)
        return prefix(L, l, d) + gates(L * l * d, L * l, L, d)[case] + layer(L, l, d, layer_gate)

    return answer


def check_count_parameters(answer: Callable[[int, int, int, bool, bool, str], int]) -> bool:
    """Exercise 5.2: answer(L, l, d, token_gate, layer_gate, gate_input) is the number of APT's parameters."""
    right = _count(_NUMBERS_OF_P[""], _NUMBERS_OF_GATES[""], _NUMBERS_OF_SCALE[""])
    mistakes = combine(_count, _NUMBERS_OF_P, _NUMBERS_OF_GATES, _NUMBERS_OF_SCALE) | {
        "this is one layer; there are L of them": lambda L, *rest: right(1, *rest),
        "d is an argument; yours is fixed at 768": lambda L, l, d, *rest: right(L, l, 768, *rest),
        "λ has a switch of its own; token_gate=False leaves it": lambda L, l, d, t, g, i: right(L, l, d, t, t and g, i),
        "the classifier on top is not asked for": lambda L, l, d, *rest: right(L, l, d, *rest) + 2 * d + 2,
    }
    hints = {
        (True, True, "first_token"): "count one layer: P_k, P_v and W have l · d numbers each, λ is one",
        (False, True, "first_token"): "without the token gate there is no W; P_k, P_v and λ stay",
        (True, False, "first_token"): "without the layer gate there is no λ; P_k, P_v and W stay",
        (True, True, "mean"): "the mean over tokens is one vector of d numbers, like the first token",
        (True, True, "none"): "without h, α = σ(w), with a free number for each prefix token in each layer",
        (False, True, "none"): "where the token gate is off, gate_input has no effect",
        (False, True, "mean"): "where the token gate is off, gate_input has no effect",
        (False, False, "none"): "with both gates off P_k and P_v are left: P-tuning v2",
        (True, False, "none"): "w without λ",
        (True, False, "mean"): "W without λ, whatever W reads",
    }
    sizes = [(12, 16, 768), (3, 7, 5), (24, 128, 1024), (1, 2, 6), (40, 3, 4096)]
    trials = [(hint, (*size, *switches)) for switches, hint in hints.items() for size in sizes]
    return check(answer, right, trials, mistakes)


# 5.3

_UNDO_ALPHA = {
    "": lambda w: 1 / w.sigmoid(),
    "α is multiplied in once more; to undo it, divide": torch.sigmoid,
    "α is missing: at w it isn't 1": torch.ones_like,
    "w is not α: α is its sigmoid": torch.reciprocal,
    "w is not α, and to undo a factor one divides": lambda w: w,
    "α is ½ only where w = 0; here w is given": lambda w: torch.full_like(w, 2.0),
    "α is ½ only where w = 0, and to undo it one divides": lambda w: torch.full_like(w, 0.5),
    "α is a sigmoid, not a softmax": lambda w: 1 / w.softmax(0),
    "α is divided out twice": lambda w: w.sigmoid() ** -2.0,
    "this is 1 − α, divided out": lambda w: 1 / (-w).sigmoid(),
    "σ(−w) is 1 − α; what undoes α is 1/α": lambda w: (-w).sigmoid(),
    "each token has its own α; here all are divided by the mean": lambda w: (1 / w.sigmoid().mean()).expand(len(w)),
}
_UNDO_SCALE = {
    "": torch.reciprocal,
    "λ is missing": torch.ones_like,
    "λ is multiplied in once more; to undo it, divide": lambda s: s,
    "λ is divided out twice": lambda s: s**-2.0,
    "the sign of λ is lost": lambda s: 1 / s.abs(),
    "λ is not squashed by a sigmoid": lambda s: 1 / s.sigmoid(),
    "λ may be small: it is not raised to 0.1": lambda s: s.sign() / s.abs().clamp(min=0.1),
}


def _unfolded(alpha: Callable, scale: Callable, forgotten: str, sources: tuple) -> Callable:
    return lambda k, v, w, s: _gates(alpha(w).unsqueeze(-1), scale(s), forgotten, sources, (k, v))


def check_unfold(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.3: answer(key, value, weight, scale) is the P whose gated version, without h, is (key, value)."""
    right = _unfolded(_UNDO_ALPHA[""], torch.reciprocal, "", (0, 1))
    mistakes = {
        "this folds once more; divide by λ · σ(w)": _unfolded(torch.sigmoid, lambda s: s, "", (0, 1)),
        "this folds once more, and swaps key and value": _unfolded(torch.sigmoid, lambda s: s, "", (1, 0)),
    }
    mistakes |= combine(_unfolded, _UNDO_ALPHA, _UNDO_SCALE, _FORGOTTEN, _SOURCES) | {
        "divide by λ and α, don't subtract": lambda k, v, w, s: [p - (s * w.sigmoid())[:, None] for p in (k, v)],
        "λ is outside the sigmoid": lambda k, v, w, s: [p / (s * w).sigmoid()[:, None] for p in (k, v)],
        "divide by the product λα, not by λ + α": lambda k, v, w, s: [p / (s + w.sigmoid())[:, None] for p in (k, v)],
        "each α belongs to a row of P; without an axis added, [l] meets the columns": lambda k, v, w, s: [
            p / (s * w.sigmoid()) for p in (k, v)
        ],
        "an axis of size 1 stays: the shape is [l, d] also where l is 1": lambda *x: [p.squeeze() for p in right(*x)],
    }
    for eps in (1e-8, 1e-6):
        mistakes[f"λ is not 0, but may be as small as an eps such as {eps}: divide by λ · α as it is"] = (
            lambda k, v, w, s, eps=eps: [p / (s * w.sigmoid() + eps)[:, None] for p in (k, v)]
        )
    draw = _draw(53)
    trials = [
        (hint, (draw(l, d), draw(l, d), 1.5 * draw(l), torch.tensor(s)))
        for hint, l, d, s in (
            ("the gated prefix λ · σ(w) ⊙ P must come out as the given one: solve for P, row by row", 3, 5, 1.0),
            ("λ is a factor too", 3, 5, 2.5),
            ("λ may be negative", 2, 4, -1.5),
            ("here l = d, so that α along the wrong axis raises no error", 4, 4, 0.7),
            ("a prefix of one token is a prefix too", 1, 4, 0.7),
            ("λ may be small", 3, 5, 0.05),
            ("λ may be small and negative", 3, 5, -0.01),
            ("λ may be very small: it is not 0", 3, 5, 1e-6),
        )
    ]
    some_shut = torch.tensor([-5.0, 0.0, 4.0])
    trials.append(
        ("an α may be small, and is divided out all the same", (draw(3, 5), draw(3, 5), some_shut, torch.tensor(0.7)))
    )
    return check(_pair(answer), right, trials, mistakes | _ONE_TENSOR)


# 5.4. k, v, w, s: whether P_k, P_v, W, λ is 0

_BY_SCALE = "λ = 0 leaves them none, since the gradient of P is λ · α ⊙ G"
_P_DIES = {  # P_k, P_v
    "": lambda k, v, w, s: (s, s),
    f"P_k and P_v do die: {_BY_SCALE}": lambda k, v, w, s: (False, False),
    f"P_k dies as well: {_BY_SCALE}": lambda k, v, w, s: (False, s),
    f"P_v dies as well: {_BY_SCALE}": lambda k, v, w, s: (s, False),
    "a P that is 0 still gets a gradient: P is no factor in its own": lambda k, v, w, s: (s or k, s or v),
    "P = 0 doesn't kill P: P is no factor in its own gradient": lambda k, v, w, s: (s or (k and v),) * 2,
    "P_k lives where P_v = 0: a key still takes attention away from the words": lambda k, v, w, s: (s or v, s),
    "P_v lives where P_k = 0: a score of 0 still has weight, so the value is seen": lambda k, v, w, s: (s, s or k),
    "P_k doesn't need P_v, nor P_v P_k: each is seen without the other": lambda k, v, w, s: (s or v, s or k),
    "P lives where W = 0: α is ½ there, not 0": lambda k, v, w, s: (s or w,) * 2,
}
_W_DIES = {
    "": lambda k, v, w, s: s or (k and v),
    "W dies with λ = 0, which is a factor in its gradient": lambda k, v, w, s: k and v,
    "W dies with P = 0, which is a factor in its gradient": lambda k, v, w, s: s,
    "W does die: λ and P are factors in its gradient": lambda *given: False,
    "W = 0 is no dead start: σ has its steepest slope there": lambda k, v, w, s: s or w or (k and v),
    "W = 0 is alive (σ'(0) = ¼); what kills W is λ = 0 or P = 0": lambda k, v, w, s: w,
    "W = 0 is alive (σ'(0) = ¼), and P = 0 kills W": lambda k, v, w, s: w or s,
    "W = 0 is alive (σ'(0) = ¼), and λ = 0 kills W": lambda k, v, w, s: w or (k and v),
    "W dies with P only where P_k and P_v are both 0: α gates the two of them": lambda k, v, w, s: s or k or v,
    "W lives where only P_k = 0: α gates the values as well": lambda k, v, w, s: s or k,
    "W lives where only P_v = 0: α gates the keys as well": lambda k, v, w, s: s or v,
    "one factor suffices: λ = 0 kills W, and so does P = 0": lambda k, v, w, s: s and k and v,
}
_SCALE_DIES = {
    "": lambda k, v, w, s: k and v,
    "λ = 0 doesn't kill λ: it is no factor in its own gradient": lambda k, v, w, s: s or (k and v),
    "λ = 0 doesn't kill λ; P = 0 does": lambda k, v, w, s: s,
    "P = 0 kills λ: P is a factor in its gradient": lambda *given: False,
    "P = 0 kills λ by itself; λ = 0 is not needed for it": lambda k, v, w, s: s and k and v,
    "λ dies only where P_k and P_v are both 0: it multiplies the two of them": lambda k, v, w, s: k or v,
    "λ lives where only P_k = 0: it multiplies the values as well": lambda k, v, w, s: k,
    "λ lives where only P_v = 0: it multiplies the keys as well": lambda k, v, w, s: v,
    "W = 0 doesn't kill λ: α is ½ there, not 0": lambda k, v, w, s: w or (k and v),
    "neither λ = 0 nor W = 0 kills λ: neither is a factor in its gradient": lambda k, v, w, s: s or w or (k and v),
}
_ZERO = {  # what of P is taken for 0
    "small is not 0: a tiny factor makes a tiny gradient, and it is alive": lambda t: bool((t.abs() < 1e-4).all()),
    "small is not 0, however small: compare with 0 itself": lambda t: torch.allclose(t, torch.zeros_like(t)),
    "an entry of 0 is not enough: a matrix counts as 0 where every entry is": lambda t: bool((t == 0).any()),
    "one row of 0 is not enough: the other prefix tokens live": lambda t: bool((t == 0).all(dim=-1).any()),
    "only the first prefix token is looked at": lambda t: not t.flatten()[:3].any(),
    "entries that add up to 0 are not all 0": lambda t: bool(t.sum() == 0),
    "negative is not 0: look at each entry's size, not at the largest entry": lambda t: bool(t.max() <= 0),
    "a largest entry of 0 is not enough: the others may be negative": lambda t: bool(t.max() == 0),
    "a smallest entry of 0 is not enough: the others may be positive": lambda t: bool(t.min() == 0),
}
_NAMES = ("key", "value", "weight", "scale")


def _dies(prefix: Callable, weight: Callable, scale: Callable, zero: Callable = lambda t: not t.any()) -> Callable:
    def answer(*given):
        zeros = [zero(t) for t in given]
        dead = (*prefix(*zeros), weight(*zeros), scale(*zeros))
        return sorted(name for name, is_dead in zip(_NAMES, dead, strict=True) if is_dead)

    return answer


def check_dead(answer: Callable[[Tensor, Tensor, Tensor, Tensor], set[str]]) -> bool:
    """Exercise 5.4: answer(key, value, weight, scale) is the set of the parameters without gradient at first."""
    rules = _P_DIES[""], _W_DIES[""], _SCALE_DIES[""]
    right = _dies(*rules)

    def zeros(*given):
        return [name for name, t in zip(_NAMES, given, strict=True) if not t.any()]

    def judged_by(zero, k, v, w, s):  # P; λ is judged rightly
        return right(*(p * (not zero(p)) for p in (k, v)), w, s)

    mistakes = {
        "these parameters live; the dead ones are asked for": lambda *x: sorted({*_NAMES} - {*right(*x)}),
        "a parameter's own value is no factor in its gradient: being 0 doesn't kill it": lambda *x: sorted(zeros(*x)),
        "a parameter is not dead for being 0 itself": lambda *x: sorted({*right(*x), *zeros(*x)}),
        "a zero factor kills those in whose gradient it is, not all": lambda *x: sorted(_NAMES) if right(*x) else [],
        "λ = 0 and P = 0 may come together, and then λ is dead as well": lambda k, v, w, s: [
            name for name in right(k, v, w, s) if name != "scale" or s != 0
        ],
        "a negative λ is not 0": lambda k, v, w, s: right(k, v, w, s.clamp(min=0)),
        "a λ between −1 and 1 is not 0: int() cuts it off": lambda k, v, w, s: right(k, v, w, s.trunc()),
        "λ = 1 is nothing special; λ = 0 is": lambda k, v, w, s: right(k, v, w, s - 1),
        "a λ of 1e-15 is small, but not 0": lambda k, v, w, s: right(k, v, w, s * (s.abs() >= 1e-6)),
        "P_k and P_v are 0 where each is, not where their sum is": lambda k, v, w, s: right(k + v, k + v, w, s),
        "P_k and P_v are 0 where each is, not where their product is": lambda k, v, w, s: right(k * v, k * v, w, s),
    }
    mistakes |= {said: partial(judged_by, zero) for said, zero in _ZERO.items()}
    mistakes |= {f"{said} (P and λ alike)": _dies(*rules, zero) for said, zero in _ZERO.items()}
    mistakes |= combine(_dies, _P_DIES, _W_DIES, _SCALE_DIES)

    draw = _draw(54)

    def start(zero="", l=4, d=3, s=1.0):
        parts = {name: draw(l, d) * (name not in zero.split()) for name in ("key", "value", "weight")}
        return (*parts.values(), torch.tensor(0.0 if "scale" in zero else s))

    def changed(change, *which):
        return tuple(change(part) if i in which else part for i, part in enumerate(start()))

    matrices = (0, 1, 2)
    zero_row = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    one_entry = torch.ones(4, 3).index_put((torch.tensor([2]), torch.tensor([1])), torch.tensor(0.0))
    alternating = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    key, _, weight, scale = start()
    trials = [
        ("where nothing is 0, nothing is dead: the empty set", start()),
        ("start at λ = 0: which gradients have the factor λ?", start("scale")),
        ("start at P = 0: which gradients have the factor P?", start("key value")),
        ("start with P_v = 0 only: do W and λ still act on something, and does P_k?", start("value")),
        ("start with P_k = 0 only: do W and λ still act on something, and does P_v?", start("key")),
        ("start at W = 0: what are α = σ(0) and σ's slope there?", start("weight")),
        ("start with λ = 0 and P = 0", start("scale key value")),
        ("start with λ = 0 and P_v = 0: what moves λ?", start("scale value")),
        ("start with λ = 0 and P_k = 0: what moves λ?", start("scale key")),
        ("start with W = 0 and P = 0", start("weight key value")),
        ("start with W = 0 and λ = 0", start("weight scale")),
        ("start with W = 0 and P_v = 0", start("weight value")),
        ("start with all at 0", start("scale key value weight")),
        ("a negative λ is not 0", start(s=-1.5)),
        ("a λ of −0.5 is not 0", start(s=-0.5)),
        ("values that are small are not 0", changed(lambda t: t * 1e-6, *matrices, 3)),
        ("a λ that is small is not 0", changed(lambda t: t * 1e-15, 3)),
        ("a P that is small is not 0", changed(lambda t: t * 1e-15, 0, 1)),
        ("a single entry that is 0 kills nothing as a whole", changed(lambda t: t * one_entry, *matrices)),
        ("one row that is 0 leaves the other prefix tokens alive", changed(lambda t: t * zero_row, *matrices)),
        ("one row that is 0 leaves the other prefix tokens alive", changed(lambda t: t * zero_row.flip(0), *matrices)),
        ("entries that cancel are not 0", changed(lambda t: torch.stack([t[0].sign(), -t[0].sign()]), *matrices)),
        ("P_v = −P_k: neither is 0", (key, -key, weight, scale)),
        ("where all entries of P are negative, P is not 0", changed(lambda t: -t.abs(), *matrices)),
        ("the largest entry of P may be 0, and P is not", changed(lambda t: -t.abs() * alternating, *matrices)),
        ("the smallest entry of P may be 0, and P is not", changed(lambda t: t.abs() * alternating, *matrices)),
        ("a token with an empty key may have a value", (key * alternating, key * (1 - alternating), weight, scale)),
        ("one prefix token is a prefix too", start("key value", l=1)),
    ]

    def as_list(*given):
        found = answer(*given)
        named = isinstance(found, set | frozenset | list | tuple) and all(isinstance(name, str) for name in found)
        return sorted(set(found)) if named else found

    return check(as_list, right, trials, mistakes)


# 5.5. Each slip is keywords of _apt. Of those that are made most often, two at once are named as well


def _slips(keyword: str, choices: Mapping[str, object], *words: str) -> dict[str, dict]:
    """Choices as slips; with `words` those that say one of them."""
    return {
        said: {keyword: choice} for said, choice in choices.items() if said and any(w in said for w in words or [""])
    }


_COMMON = (
    {
        "the gate reads position 0; with padding on the left the first real token is elsewhere": {"first": "zero"},
        "the gate reads the mean over tokens; α looks at the first real one": {"first": "mean"},
    },
    {"the mask is not used: padding is attended to": {"mask_as": "nothing"}},
    _slips("alpha", _ALPHAS, "α is missing", "under a softmax"),
    _slips("scale", _SCALES, "λ is missing", "by a sigmoid"),
    _slips("forgotten", _FORGOTTEN, "both are"),
    {
        "the scores are divided by √d; each head has d/h columns, and √(d/h)": {"root": lambda d, h: d**0.5},
        "the scores are not divided by √(d/h)": {"root": lambda d, h: 1},
    },
    {"the prefix is not projected: P_k and P_v stand beside the projected keys and values": {"project": True}},
)
_ALL_GATES = _slips("alpha", _ALPHAS) | _slips("scale", _SCALES) | _slips("forgotten", _FORGOTTEN)
_EVERY_H, _INTERLEAVED = "b n (e h) -> b h n e", "b h n e -> b n (e h)"
_RARE = {
    "the gate reads the mean over all positions; α looks at the first real token": {"first": "mean of all"},
    "the gate reads the last real token; α looks at the first": {"first": "last"},
    "the gate's position is the number of paddings; that holds only if all stand on the left": {"first": "count"},
    "the gate's position is that of the first example's first token; each example has its own": {"first": "example 0"},
    "the gate reads the query of the first token; α looks at its state x": {"first": "query"},
    "the mask is the wrong way round: 1 means that a token is real": {"mask_as": "inverted"},
    "the mask of the first example is used for all": {"mask_as": "example 0"},
    "the mask's new columns are on the wrong side: the prefix stands in front": {"columns": "behind"},
    "weights are set to 0 after the softmax, and don't add up to 1: hide scores, before it": {"hide": "weights"},
    "a score of 0 still has weight, e⁰ = 1: what is hidden gets −∞": {"hide": 0.0},
    "a score lowered by 10 still has some weight: what is hidden gets −∞": {"hide": "lowered"},
    "padding is set to 0, but attended to: a zero vector still takes weight": {"mask_as": "nothing", "zeroed": True},
    "padding is set to 0, but attended to; and the gate reads position 0": {
        "mask_as": "nothing",
        "zeroed": True,
        "first": "zero",
    },
    "the mask's new columns hide the prefix: every query may look at it": {"prefix_visible": False},
    "α and λ are missing: this is P-tuning v2": {"alpha": torch.ones_like, "scale": torch.ones_like},
    "α is ½ only where W = 0": {"alpha": lambda t: torch.full_like(t, 0.5)},
    "each example has its own α; here all are gated by the first one's": {"alpha": lambda t: t[:1].sigmoid()},
    "λ is inside the sigmoid; E3 has it outside": {"scale": torch.ones_like, "inside": True},
    "λ is inside the sigmoid, and outside; E3 has it outside only": {"inside": True},
    "the gates are applied to the attention weights; E3 scales P, before the softmax": {"gate_weights": True},
    "the scores are divided by d/h, not by its root": {"root": lambda d, h: d / h},
    "the prefix's scores are divided by √(d/h) like all others": {"larger": True},
    "the heads are interleaved: head 0 has the first d/h columns, not every h-th": {"split": _EVERY_H},
    "the heads are interleaved, here and in the output: head 0 has the first d/h columns": {
        "split": _EVERY_H,
        "merge": _INTERLEAVED,
    },
    "the heads are missing: this is one head over all d columns": {"heads_of": lambda d, h: 1},
    "the heads are put together the wrong way: side by side, head 0 first": {"merge": _INTERLEAVED},
    "the heads are put together by a reshape alone: move the heads beside their columns first": {"merge": "reshape"},
    "the heads are split by a reshape alone: cut the d columns, then move the heads in front of the tokens": {
        "split": "reshape",
    },
    "the heads are split and put together by a reshape alone: each head has d/h columns of every token": {
        "split": "reshape",
        "merge": "reshape",
    },
    "the number of heads is an argument; yours is fixed at 2": {"heads_of": lambda d, h: 2},
    "`heads` is the number of heads, not their size": {"heads_of": lambda d, h: d // h},
    "the softmax runs over the queries; each query's weights must add up to 1 over the keys": {"axis": -2},
    "prefix and words have a softmax each, and are added; E1 has one softmax over both": {"axis": "both"},
    "the softmax is missing": {"axis": None},
    "keys and values of the prefix are swapped": {"sources": (1, 0)},
    "both halves of the prefix are P_k": {"sources": (0, 0)},
    "both halves of the prefix are P_v": {"sources": (1, 1)},
    "the prefix is missing, or hidden: this is attention over the words alone": {"tokens": 0},
    "only the first prefix token is used": {"tokens": 1},
    "queries and keys are swapped": {"order": (1, 0, 2)},
    "the projections stand in the order query, key, value": {"order": (0, 2, 1)},
    "the projections are transposed: queries are x @ projections[0]": {"transpose": True},
}


def _gate_state(first: str, x: Tensor, mask: Tensor | None, query: Tensor) -> Tensor:
    if first == "mean of all":
        return x.mean(dim=1)
    if first == "mean":
        return mean_token(x, mask)
    if first == "last":
        return first_token(x.flip(1), None if mask is None else mask.flip(1))
    if first == "zero" or mask is None and first in ("count", "example 0"):
        return x[:, 0]
    if first == "count":
        return x[torch.arange(len(x)), (mask == 0).sum(dim=1)]
    if first == "example 0":
        return x[:, mask[0].int().argmax()]
    return first_token(query if first == "query" else x, mask)


def _real(x: Tensor, mask: Tensor | None, mask_as: str) -> Tensor:
    """What a query may look at, [b, n]; right for mask_as = ""."""
    if mask is None or mask_as == "nothing":
        return torch.ones(x.shape[:2], dtype=torch.bool)
    real = mask.bool()
    return ~real if mask_as == "inverted" else real[:1].expand_as(real) if mask_as == "example 0" else real


def _apt(
    x, mask, projections, prefix, heads, *, first="", mask_as="", columns="front", prefix_visible=True, hide=-math.inf,
    zeroed=False, alpha=torch.sigmoid, scale=lambda s: s, inside=False, forgotten="", sources=(0, 1), project=False,
    tokens=None, gate_weights=False, root=lambda d, h: (d / h) ** 0.5, larger=False, heads_of=lambda d, h: h,
    split="b n (h e) -> b h n e", merge="b h n e -> b n (h e)", axis=-1, order=(0, 1, 2), transpose=False,
):  # fmt: skip
    """A whole attention layer with an adaptive prefix; each keyword is a way to get it wrong."""
    x = x * mask.bool().unsqueeze(-1) if zeroed and mask is not None else x
    d, h = x.shape[-1], heads_of(x.shape[-1], heads)
    query, key, value = (x @ (projections[i].T if transpose else projections[i]) for i in order)
    logits = _gate_state(first, x, mask, query) @ prefix["weight"].T
    α = alpha(prefix["scale"] * logits if inside else logits).unsqueeze(-1)  # [b, l, 1]
    λ = scale(prefix["scale"])
    P = tuple(prefix[name].expand(len(x), -1, -1) for name in ("key", "value"))
    P_k, P_v = _gates(α, λ, "αk λk αv λv" if gate_weights else forgotten, sources, P)
    if project:
        P_k, P_v = P_k @ projections[1], P_v @ projections[2]
    if larger:
        P_k = P_k * root(d, h)
    l = P_k.shape[1] if tokens is None else tokens
    key, value = torch.cat([P_k[:, :l], key], dim=1), torch.cat([P_v[:, :l], value], dim=1)

    query, key, value = (
        t.reshape(len(x), h, -1, d // h) if split == "reshape" else rearrange(t, split, h=h)
        for t in (query, key, value)
    )
    scores = query @ key.mT / root(d, h)
    visible = F.pad(
        _real(x, mask, mask_as), (l, 0) if columns == "front" else (0, l), value=prefix_visible or mask is None
    )
    hidden = ~visible[:, None, None]
    if hide == "lowered":
        scores = scores - 10.0 * hidden
    elif hide != "weights":
        scores = scores.masked_fill(hidden, -1e9 if axis == -2 else hide)
    if axis == "both":
        weights = torch.cat([scores[..., :l].softmax(-1), scores[..., l:].softmax(-1)], dim=-1)
    else:
        weights = scores if axis is None else scores.softmax(axis)
    if hide == "weights":
        weights = weights * ~hidden
    if gate_weights:
        weights = torch.cat([weights[..., :l] * (α * λ).mT.unsqueeze(1), weights[..., l:]], dim=-1)
    heads_out = weights @ value
    return heads_out.reshape(x.shape) if merge == "reshape" else rearrange(heads_out, merge)


def check_apt_attention(answer: Callable[[Tensor, Tensor | None, list, dict, int], Tensor]) -> bool:
    """Exercise 5.5: answer(x, mask, projections, prefix, heads) is an attention layer with an adaptive prefix."""

    def make(*slips):
        wrong = {name: choice for slip in slips for name, choice in slip.items()}
        return real_only(partial(_apt, **wrong))

    def real_only(function):  # 0 at padded positions
        def looked_at(x, mask, *given):
            found = function(x, None if mask is None else mask.clone(), *given)
            if mask is None or not isinstance(found, Tensor) or found.shape[:-1] != mask.shape:
                return found
            return found.masked_fill(~mask.bool().unsqueeze(-1), 0.0)

        return looked_at

    mistakes = {said: make(slip) for slips in (*_COMMON, _ALL_GATES, _RARE) for said, slip in slips.items()}
    mistakes |= combine(make, *({"": {}} | slips for slips in _COMMON))

    draw = _draw(55)

    def layer(b, n, l, d, heads, mask=None, W=1.0, s=1.7, size=1.0, padding=0.0):
        x = size * draw(b, n, d)
        if mask is not None:
            x = x + padding * (~mask.bool()).unsqueeze(-1)
        projections = [draw(d, d) / d**0.5 for _ in range(3)]
        prefix = {name: draw(l, d) for name in ("key", "value", "weight")}
        prefix["weight"] *= W * 2 / d**0.5
        prefix["scale"] = torch.tensor(s)
        return x, mask, projections, prefix, heads

    left = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    both = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    trials = [
        (
            "attention with a prefix, E1 (no padding, one head, W = 0 and λ = 2, so that λ · α = 1)",
            layer(2, 5, 3, 4, 1, torch.ones(2, 5).long(), W=0.0, s=2.0),
        ),
        ("the mask may be None: then all tokens are real", layer(2, 5, 3, 4, 1, W=0.0, s=2.0)),
        ("two heads (W = 0 and λ = 2): the prefix is split like keys and values", layer(2, 5, 3, 8, 2, W=0.0, s=2.0)),
        ("four heads of size 3", layer(2, 5, 3, 12, 4, W=0.0, s=2.0)),
        ("the token gate, E2 (λ = 1, no padding)", layer(2, 5, 3, 8, 2, torch.ones(2, 5).long(), s=1.0)),
        ("the token gate, where the mask is None (λ = 1)", layer(2, 5, 3, 8, 2, s=1.0)),
        ("the layer gate, λ = 1.7: look at E3", layer(2, 5, 3, 8, 2)),
        ("the layer gate, where λ is negative: look at E3", layer(2, 5, 3, 8, 2, s=-1.5)),
        ("padding on the right: hide it from all queries, before the softmax", layer(3, 5, 2, 8, 4, left.flip(1))),
        ("padding on the left: hide it, and gate by each example's first real token", layer(3, 5, 2, 8, 4, left)),
        ("a boolean mask, padding on both sides", layer(2, 5, 4, 6, 3, both.bool())),
        ("large numbers under the padding must not come through", layer(2, 5, 3, 8, 2, both, padding=30.0)),
        ("b = l = n, where axes may be mixed up without an error", layer(4, 4, 4, 8, 2)),
        ("all sizes alike, where axes may be mixed up without an error", layer(4, 4, 4, 4, 1, torch.ones(4, 4).long())),
        ("l = d, where a gate on the wrong axis raises no error", layer(2, 3, 6, 6, 2)),
        ("a prefix longer than the input", layer(2, 2, 7, 8, 4)),
        ("one example with one token and one prefix token: [1, 1, d]", layer(1, 1, 1, 4, 2)),
        ("large states: the gates are nearly shut or open", layer(2, 5, 3, 8, 2, size=4.0)),
    ]
    return check(real_only(answer), make(), trials, mistakes)
