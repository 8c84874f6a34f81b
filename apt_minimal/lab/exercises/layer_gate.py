"""Lesson 05: the layer gate, and APT whole."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from apt_minimal.gates import first_token, mean_token
from apt_minimal.lab.exercises.checking import check, combine

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
_FORGOTTEN = {  # which gate is left out, on which of the two
    "": "",
    "α gates the values alone; E3 gates keys and values alike": "αk",
    "α gates the keys alone; E3 gates keys and values alike": "αv",
    "λ scales the values alone; E3 scales keys and values alike": "λk",
    "λ scales the keys alone; E3 scales keys and values alike": "λv",
    "the keys are not gated at all; E3 gates keys and values alike": "αk λk",
    "the values are not gated at all; E3 gates keys and values alike": "αv λv",
}


def _draw(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


# 5.1


def _gates(alpha: Callable, scale: Callable, forgotten: str, sources: tuple, pair: tuple) -> tuple:
    """P times α [.., l, 1] and λ [], each of the two with what is not forgotten there."""
    return tuple(
        (1 if f"α{letter}" in forgotten else alpha) * (1 if f"λ{letter}" in forgotten else scale) * pair[source]
        for letter, source in zip("kv", sources, strict=True)
    )


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
    "W is kept as [l, d], also where l = d: transpose it always": lambda h, w: h @ (w if len(w) == w.shape[1] else w.T),
    "reshape keeps W's numbers in their order and cuts them anew; what is needed is its transpose": (
        lambda h, w: h @ w.reshape(w.T.shape)
    ),
    "hW is divided by √d: that belongs to attention's scores, not to the gate": lambda h, w: (
        h @ w.T / math.sqrt(h.shape[1])
    ),
    "all examples are gated by the first one's α": lambda h, w: (h[:1] @ w.T).expand(len(h), -1),
    "each example has its own α: here h is averaged over the batch": lambda h, w: (
        (h.mean(0, keepdim=True) @ w.T).expand(len(h), -1)
    ),
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
    "α is the factor, not 1 + α": lambda t: 1 + t.sigmoid(),
    "each prefix token has its own α: here all tokens of an example share their mean": lambda t: (
        t.sigmoid().mean(1, keepdim=True).expand_as(t)
    ),
    "each example has its own α: here all examples share their mean": lambda t: t.sigmoid().mean(0).expand_as(t),
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
    "λ is cut off outside 0 … 1; ours is free": lambda s: s.clamp(0, 1),
    "λ is exponentiated; ours is the factor itself": torch.exp,
    "λ is divided out, not multiplied in": torch.reciprocal,
}


def check_gated_prefix(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.1: answer(hidden_first, weight, scale, key, value) is E3, two of [b, l, d]."""
    right, no_scale = _gated(), _gated(scale=torch.ones_like)

    def gate(h, w, s):  # λα, [b, l]
        return s * (h @ w.T).sigmoid()

    mistakes = combine(_gated, _PRODUCTS, _ALPHAS, _SCALES, _FORGOTTEN, _SOURCES) | {
        "E3 has λ outside the sigmoid: here it scales hW": lambda h, w, s, k, v: no_scale(h, s * w, s, k, v),
        "λ outside the sigmoid, once: here it is inside and outside": lambda h, w, s, k, v: right(h, s * w, s, k, v),
        "λ and α are added; E3 multiplies them": lambda h, w, s, k, v: (
            _gated(alpha=lambda t: s + t.sigmoid(), scale=torch.ones_like)(h, w, s, k, v)
        ),
        "the gates are added to P; E3 multiplies": lambda h, w, s, k, v: [p + gate(h, w, s)[..., None] for p in (k, v)],
        "λ is added to the gated P; E3 multiplies": lambda *x: [p + x[2] for p in no_scale(*x)],
        "P is added once more to its gated self: E3 has only λ · α ⊙ P": lambda *x: [
            p + more for p, more in zip(right(*x), x[3:], strict=True)
        ],
        "the value is the gated key, gated once more: E3 gates `value`": lambda h, w, s, k, v: [
            gate(h, w, s)[..., None] ** power * k for power in (1, 2)
        ],
        "α has one number for each row of P; here it lies along P's columns, which fits only where l = d": (
            lambda h, w, s, k, v: [p * gate(h, w, s)[:, None] for p in (k, v)]
        ),
        "α has one number for each row of P, also where l = d: here it lies along P's columns there": (
            lambda h, w, s, k, v: [p * gate(h, w, s).unsqueeze(1 if len(k) == k.shape[1] else 2) for p in (k, v)]
        ),
        "α needs a third axis, [b, l, 1]; without one it meets P's columns, or no axis at all": (
            lambda h, w, s, k, v: [p * gate(h, w, s) for p in (k, v)]
        ),
        "the gates themselves are not asked for, but the gated P": lambda h, w, s, k, v: ((h @ w.T).sigmoid(), s),
        "α is missing: this is λ · P, and the same for every example": lambda h, w, s, k, v: (s * k, s * v),
        "both gates are missing: this is P itself": lambda h, w, s, k, v: (k, v),
        "α differs from example to example, so the result has a batch: [b, l, d]": lambda *x: [p[0] for p in right(*x)],
        "an axis of size 1 stays: the shape is [b, l, d] also where b or l is 1": lambda *x: [
            p.squeeze() for p in right(*x)
        ],
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


# 5.2. on: whether the gate is on; kind: gate_input


def _gate_size(L: int, l: int, d: int, on: bool, kind: str) -> int:
    return on * L * (l if kind == "none" else l * d)


_NUMBERS_OF_P = {
    "": lambda L, l, d: 2 * L * l * d,
    "a layer has two prefixes, one for keys and one for values": lambda L, l, d: L * l * d,
    "P is counted for one layer; every layer has its own": lambda L, l, d: 2 * l * d,
    "the prefix itself is trained too: P_k and P_v": lambda L, l, d: 0,
    "the prefix is counted twice over: P_k and P_v are l · d each": lambda L, l, d: 4 * L * l * d,
}
_NUMBERS_OF_W = {
    "": _gate_size,
    "W is shared by keys and values: it counts once": lambda *given: 2 * _gate_size(*given),
    "W is shared by keys and values: it counts once, as w does": lambda *given: (
        (1 if given[4] == "none" else 2) * _gate_size(*given)
    ),
    "W's own l · d is missing": lambda L, l, d, on, kind: _gate_size(L, l, d, on and kind == "none", kind),
    "the token gate is missing altogether": lambda *given: 0,
    "our gate has no bias": lambda L, l, d, on, kind: _gate_size(L, l, d, on, kind) + on * L * l,
    "our gate has no bias (and w, without h, is none)": lambda L, l, d, on, kind: (
        _gate_size(L, l, d, on, kind) + (on and kind != "none") * L * l
    ),
    "the gate of layer 1 is trained like the others, and counted": lambda L, l, d, on, kind: (
        _gate_size(L - 1, l, d, on, kind)
    ),
    "the gate of layer 1 is constant (with the first token), but trained, and counted": lambda L, l, d, on, kind: (
        _gate_size(L - (kind == "first_token"), l, d, on, kind)
    ),
    "the gate is counted for one layer; every layer has its own": lambda L, *given: _gate_size(1, *given),
    "W is counted for one layer; every layer has its own, as with w": lambda L, l, d, on, kind: (
        _gate_size(L if kind == "none" else 1, l, d, on, kind)
    ),
    "W maps d numbers to l gates, not to d": lambda L, l, d, on, kind: on * L * (l if kind == "none" else d * d),
    'with "none" there is no h to multiply: w has l numbers, not l · d': lambda L, l, d, on, kind: on * L * l * d,
    'with "none" the gate still has a free vector w of l numbers a layer': lambda L, l, d, on, kind: (
        on * (kind != "none") * L * l * d
    ),
    'with "none" w has one number for each prefix token, l a layer': lambda L, l, d, on, kind: (
        on * L * (1 if kind == "none" else l * d)
    ),
    'with "none" w has l numbers a layer, one for each prefix token, not d': lambda L, l, d, on, kind: (
        on * L * (d if kind == "none" else l * d)
    ),
    'with "none" every layer still has its own w': lambda L, l, d, on, kind: on * (l if kind == "none" else L * l * d),
    'with "mean" W is as large: it reads one vector of d numbers too': lambda L, l, d, on, kind: (
        on * L * l * (d if kind == "first_token" else 1)
    ),
    'with "mean" the gate still has its W': lambda L, l, d, on, kind: _gate_size(L, l, d, on and kind != "mean", kind),
    'only "first_token" is given a gate here; "mean" has a W, and "none" a w': lambda L, l, d, on, kind: (
        _gate_size(L, l, d, on and kind == "first_token", kind)
    ),
    "token_gate=False takes W away": lambda L, l, d, on, kind: _gate_size(L, l, d, True, kind),
    "token_gate=False takes the gate away whole, w too: it is not the same as no h": lambda L, l, d, on, kind: (
        _gate_size(L, l, d, True, kind if on else "none")
    ),
    'where token_gate is False, gate_input has no effect, not even "none"': lambda L, l, d, on, kind: (
        _gate_size(L, l, d, on or kind == "none", kind)
    ),
    'where token_gate is False, gate_input has no effect, not even "mean"': lambda L, l, d, on, kind: (
        _gate_size(L, l, d, on or kind == "mean", kind)
    ),
    'token_gate=False takes W away, and "none" has a w of l numbers': lambda L, l, d, on, kind: L * l * d,
    'token_gate=False takes W away, and "none" has a w': lambda L, l, d, on, kind: L * l * d * (kind != "none"),
    "the token gate's switch is the wrong way round": lambda L, l, d, on, kind: _gate_size(L, l, d, not on, kind),
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


def _count(prefix, token, layer) -> Callable:
    return lambda L, l, d, token_gate, layer_gate, gate_input: (
        prefix(L, l, d) + token(L, l, d, token_gate, gate_input) + layer(L, l, d, layer_gate)
    )


def check_count_parameters(answer: Callable[[int, int, int, bool, bool, str], int]) -> bool:
    """Exercise 5.2: answer(L, l, d, token_gate, layer_gate, gate_input) is the number of APT's parameters."""
    right = _count(_NUMBERS_OF_P[""], _gate_size, _NUMBERS_OF_SCALE[""])
    mistakes = combine(_count, _NUMBERS_OF_P, _NUMBERS_OF_W, _NUMBERS_OF_SCALE) | {
        "this is one layer; there are L of them": lambda L, *rest: right(1, *rest),
        "d is an argument; yours is fixed at 768": lambda L, l, d, *rest: right(L, l, 768, *rest),
        "λ has a switch of its own: token_gate=False doesn't take it away": lambda L, l, d, t, g, i: (
            right(L, l, d, t, t and g, i)
        ),
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
    "α is a sigmoid, not tanh": lambda w: 1 / w.tanh(),
    "the sigmoid is applied twice, one after the other": lambda w: 1 / w.sigmoid().sigmoid(),
    "each token has its own α; here all are divided by the mean": lambda w: (1 / w.sigmoid().mean()).expand(len(w)),
}
_UNDO_SCALE = {
    "": torch.reciprocal,
    "λ is missing": torch.ones_like,
    "λ is multiplied in once more; to undo it, divide": lambda s: s,
    "λ is divided out twice": lambda s: s**-2.0,
    "the sign of λ is lost": lambda s: 1 / s.abs(),
    "λ is not squashed by a sigmoid": lambda s: 1 / s.sigmoid(),
    "λ is not squashed by tanh": lambda s: 1 / s.tanh(),
    "λ may be small: it is not raised to 0.1": lambda s: s.sign() / s.abs().clamp(min=0.1),
}
_LEFT_IN = {  # which gate is not undone, on which of the two
    "": "",
    "only the key is changed; the value is gated as well": "αv λv",
    "only the value is changed; the key is gated as well": "αk λk",
    "α is undone for the key alone; it gates the value as well": "αv",
    "α is undone for the value alone; it gates the key as well": "αk",
    "λ is undone for the key alone; it scales the value as well": "λv",
    "λ is undone for the value alone; it scales the key as well": "λk",
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
    mistakes |= combine(_unfolded, _UNDO_ALPHA, _UNDO_SCALE, _LEFT_IN, _SOURCES) | {
        "λ and α are factors, so they are divided out, not subtracted": lambda k, v, w, s: [
            p - (s * w.sigmoid())[:, None] for p in (k, v)
        ],
        "λ is outside the sigmoid": lambda k, v, w, s: [p / (s * w).sigmoid()[:, None] for p in (k, v)],
        "λ and α are multiplied, so divide by their product, not by their sum": lambda k, v, w, s: [
            p / (s + w.sigmoid())[:, None] for p in (k, v)
        ],
        "each α belongs to a row of P; without an axis added, [l] meets the columns, which fits only where l = d": (
            lambda k, v, w, s: [p / (s * w.sigmoid()) for p in (k, v)]
        ),
        "each α belongs to a row of P, also where l = d: here it meets the columns there": lambda k, v, w, s: [
            p / (s * w.sigmoid()).unsqueeze(0 if len(k) == k.shape[1] else 1) for p in (k, v)
        ],
        "an axis of size 1 stays: the shape is [l, d] also where l is 1": lambda *x: [p.squeeze() for p in right(*x)],
    }
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
        )
    ]
    return check(_pair(answer), right, trials, mistakes | _ONE_TENSOR)


# 5.4. k, v, w, s: whether P_k, P_v, W, λ is 0

_BY_SCALE = "λ = 0 leaves them none, since the gradient of P is λ · α ⊙ G"
_P_DIES = {  # P_k, P_v
    "": (lambda k, v, w, s: s, lambda k, v, w, s: s),
    f"P_k and P_v do die: {_BY_SCALE}": (lambda *given: False, lambda *given: False),
    f"P_k dies as well: {_BY_SCALE}": (lambda *given: False, lambda k, v, w, s: s),
    f"P_v dies as well: {_BY_SCALE}": (lambda k, v, w, s: s, lambda *given: False),
    "a P that is 0 still gets a gradient: P is no factor in its own": (
        lambda k, v, w, s: s or k,
        lambda k, v, w, s: s or v,
    ),
    "P = 0 doesn't kill P: P is no factor in its own gradient": (lambda k, v, w, s: s or (k and v),) * 2,
    "P_k lives where P_v = 0: a key still takes attention away from the words": (
        lambda k, v, w, s: s or v,
        lambda k, v, w, s: s,
    ),
    "P_v lives where P_k = 0: a score of 0 still has weight, so the value is seen": (
        lambda k, v, w, s: s,
        lambda k, v, w, s: s or k,
    ),
    "P_k doesn't need P_v, nor P_v P_k: each is seen without the other": (
        lambda k, v, w, s: s or v,
        lambda k, v, w, s: s or k,
    ),
    "P lives where W = 0: α is ½ there, not 0": (lambda k, v, w, s: s or w,) * 2,
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
    "λ is alive where only λ or only W is 0: neither is a factor in its gradient (α is ½)": lambda k, v, w, s: (
        s or w or (k and v)
    ),
}
_ZERO = {  # what is taken for 0
    "small is not 0: a tiny factor makes a tiny gradient, and it is alive": lambda t: bool((t.abs() < 1e-4).all()),
    "small is not 0, however small: compare with 0 itself": lambda t: torch.allclose(t, torch.zeros_like(t)),
    "an entry of 0 is not enough: a matrix counts as 0 where every entry is": lambda t: bool((t == 0).any()),
    "one row of 0 is not enough: the other prefix tokens still have a gradient": lambda t: bool(
        (t == 0).all(dim=-1).any()
    ),
    "only the first prefix token is looked at": lambda t: not t.flatten()[:3].any(),
    "entries that add up to 0 are not all 0": lambda t: bool(t.sum() == 0),
    "negative is not 0: look at each entry's size, not at the largest entry": lambda t: bool(t.max() <= 0),
}
_NAMES = ("key", "value", "weight", "scale")


def _dies(prefix: tuple, weight: Callable, scale: Callable, zero: Callable = lambda t: not t.any()) -> Callable:
    def answer(*given):
        zeros = [zero(t) for t in given]
        return sorted(name for name, test in zip(_NAMES, (*prefix, weight, scale), strict=True) if test(*zeros))

    return answer


def check_dead(answer: Callable[[Tensor, Tensor, Tensor, Tensor], set[str]]) -> bool:
    """Exercise 5.4: answer(key, value, weight, scale) is the set of the parameters without gradient at first."""
    rules = _P_DIES[""], _W_DIES[""], _SCALE_DIES[""]
    right = _dies(*rules)

    def zeros(*given):
        return [name for name, t in zip(_NAMES, given, strict=True) if not t.any()]

    mistakes = {
        "these are the parameters that live; the dead ones are asked for": lambda *x: sorted(set(_NAMES) - {*right(*x)}),
        "a parameter's own value is no factor in its gradient: being 0 doesn't kill it": lambda *x: sorted(zeros(*x)),
        "a parameter that is 0 itself is not dead for that; its other factors kill it": lambda *x: sorted(
            {*right(*x), *zeros(*x)}
        ),
        "a zero factor kills those in whose gradient it is, not everything": lambda *x: sorted(_NAMES if right(*x) else ()),
        "λ = 0 and P = 0 may come together, and then λ is dead as well": lambda k, v, w, s: [
            name for name in right(k, v, w, s) if name != "scale" or s != 0
        ],
        "a negative λ is not 0": lambda k, v, w, s: right(k, v, w, s.clamp(min=0)),
        "a λ between −1 and 1 is not 0: int() cuts it off": lambda k, v, w, s: right(k, v, w, s.trunc()),
        "λ = 1 is nothing special; λ = 0 is": lambda k, v, w, s: right(k, v, w, s - 1),
        "a λ of 1e-15 is small, but not 0": lambda k, v, w, s: right(k, v, w, s * (s.abs() > 1e-6)),
        "P_k and P_v are 0 where each is, not where their sum is": lambda k, v, w, s: right(k + v, k + v, w, s),
        "P_k and P_v are 0 where each is, not where their product is": lambda k, v, w, s: right(k * v, k * v, w, s),
    }
    mistakes |= {said: _dies(*rules, zero) for said, zero in _ZERO.items()}
    mistakes |= {f"P: {said}": lambda k, v, w, s, z=z: right(*(p * (not z(p)) for p in (k, v)), w, s) for said, z in _ZERO.items()}
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
        ("a token with an empty key may have a value, and the other way round", (key * alternating, key * (1 - alternating), weight, scale)),
        ("one prefix token is a prefix too", start("key value", l=1)),
    ]

    def as_list(*given):
        found = answer(*given)
        named = isinstance(found, set | frozenset | list | tuple) and all(isinstance(name, str) for name in found)
        return sorted(set(found)) if named else found

    return check(as_list, right, trials, mistakes)
