"""Lesson 05: the layer gate, and APT whole."""

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations, product

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from apt_minimal.gates import first_token, mean_token
from apt_minimal.lab.exercises.checking import check

__all__ = ["check_apt_attention", "check_count_parameters", "check_dead", "check_gated_prefix", "check_unfold"]


def check_gated_prefix(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.1: answer(hidden_first, weight, scale, key, value) is E3, two of [b, l, d]."""
    alphas = {
        "W is kept as [l, d], so hW is hidden_first @ weight.T, [b, l]": lambda h, w: (h @ w).sigmoid(),
        "α is a sigmoid: under a softmax the prefix tokens compete": lambda h, w: (h @ w.T).softmax(1),
        "this softmax runs over the examples; α is a sigmoid, of each number by itself": lambda h, w: (h @ w.T).softmax(
            0
        ),
        "hW is multiplied in as it is: α is its sigmoid": lambda h, w: h @ w.T,
        "α is a sigmoid, between 0 and 1; tanh may turn a token round": lambda h, w: (h @ w.T).tanh(),
        "α is applied twice": lambda h, w: (h @ w.T).sigmoid() ** 2,
        "the sigmoid is applied twice, one after the other": lambda h, w: (h @ w.T).sigmoid().sigmoid(),
        "this is 1 − α: it opens where α shuts": lambda h, w: 1 - (h @ w.T).sigmoid(),
        "α is divided out, not multiplied in": lambda h, w: 1 / (h @ w.T).sigmoid(),
        "the gate is σ(hW) itself, which is ½ for W = 0; here it is twice that": lambda h, w: 2 * (h @ w.T).sigmoid(),
        "α is the factor, not 1 + α": lambda h, w: 1 + (h @ w.T).sigmoid(),
        "hW is divided by √d: that belongs to attention's scores, not to the gate": lambda h, w: (
            h @ w.T / math.sqrt(h.shape[1])
        ).sigmoid(),
        "each prefix token has its own α: here all tokens of an example share their mean": lambda h, w: (
            (h @ w.T).sigmoid().mean(dim=1, keepdim=True).expand(-1, len(w))
        ),
        "each example has its own α: here all examples share their mean": lambda h, w: (
            (h @ w.T).sigmoid().mean(dim=0, keepdim=True).expand(len(h), -1)
        ),
        "all examples are gated by the first one's α": lambda h, w: (h[:1] @ w.T).sigmoid().expand(len(h), -1),
        "α is missing: this is λ · P": lambda h, w: h.new_ones(len(h), len(w)),
    }
    scales = {
        "λ is missing": lambda s: torch.ones_like(s),
        "λ is applied twice": lambda s: s * s,
        "λ is squashed by a sigmoid; ours is free, and may exceed 1": torch.sigmoid,
        "λ is squashed by tanh; ours is free, and may exceed 1": torch.tanh,
        "λ may be negative; here its sign is lost": torch.abs,
        "λ may be negative; here it is cut off at 0": lambda s: s.clamp(min=0),
        "λ is cut off outside 0 … 1; ours is free": lambda s: s.clamp(0, 1),
        "λ is exponentiated; ours is the factor itself": torch.exp,
        "λ is divided out, not multiplied in": lambda s: 1 / s,
    }
    mistakes = _crossed({_RIGHT: _alpha} | alphas, {_RIGHT: lambda s: s} | scales, _PLACES, _gated)
    mistakes |= {
        "E3 has λ outside the sigmoid: here it scales hW": lambda h, w, s, k, v: _gated(
            lambda h, w: (s * (h @ w.T)).sigmoid(), torch.ones_like, "", h, w, s, k, v
        ),
        "λ outside the sigmoid, once: here it is inside and outside": lambda h, w, s, k, v: _gated(
            lambda h, w: (s * (h @ w.T)).sigmoid(), lambda s: s, "", h, w, s, k, v
        ),
        "λ and α are added; E3 multiplies them": lambda h, w, s, k, v: _gated(
            lambda h, w: s + (h @ w.T).sigmoid(), torch.ones_like, "", h, w, s, k, v
        ),
        "the gates are added to P; E3 multiplies": lambda h, w, s, k, v: tuple(
            p + (s * _alpha(h, w)).unsqueeze(-1) for p in (k, v)
        ),
        "λ is added to the gated P; E3 multiplies": lambda h, w, s, k, v: tuple(
            p * _alpha(h, w).unsqueeze(-1) + s for p in (k, v)
        ),
        "P is added once more to its gated self: E3 has only λ · α ⊙ P": lambda h, w, s, k, v: tuple(
            p + p * (s * _alpha(h, w)).unsqueeze(-1) for p in (k, v)
        ),
        "the order: first the key, then the value": lambda *given: _gated(_alpha, lambda s: s, "", *given)[::-1],
        "both results come from the key": lambda h, w, s, k, v: _gated(_alpha, lambda s: s, "", h, w, s, k, k),
        "both results come from the value": lambda h, w, s, k, v: _gated(_alpha, lambda s: s, "", h, w, s, v, v),
        "α has one number for each row of P; here it lies along P's columns, which fits only where l = d": (
            lambda h, w, s, k, v: tuple(p * (s * _alpha(h, w)).unsqueeze(1) for p in (k, v))
        ),
        "α needs a third axis, [b, l, 1]; without one it meets P's columns, or no axis at all": lambda h, w, s, k, v: (
            tuple(p * (s * _alpha(h, w)) for p in (k, v))
        ),
        "the gates themselves are not asked for, but the gated P": lambda h, w, s, k, v: (_alpha(h, w), s),
        "α is missing: this is λ · P, and the same for every example": lambda h, w, s, k, v: (s * k, s * v),
        "both gates are missing: this is P itself": lambda h, w, s, k, v: (k, v),
        "α differs from example to example, so the result has a batch: [b, l, d]": lambda h, w, s, k, v: tuple(
            (p * (s * _alpha(h, w)).unsqueeze(-1))[0] for p in (k, v)
        ),
    }
    sizes = {  # hint → b, l, d, λ
        "α = σ(hW) is [b, l]; λ · α ⊙ P multiplies whole rows of P, of keys and values alike": (
            2,
            3,
            5,
            1.0,
        ),
        "λ is one free number that multiplies both, whatever its size": (2, 3, 5, 2.5),
        "λ may be negative": (3, 2, 4, -1.5),
        "here l = d, so that a gate on the wrong axis raises no error": (2, 4, 4, 0.7),
        "here b = l, so that axes may be mixed up without an error": (3, 3, 5, 1.7),
        "here b = d, so that axes may be mixed up without an error": (4, 2, 4, 1.7),
        "here all sizes are the same, so that axes may be mixed up without an error": (3, 3, 3, -0.6),
        "a single example is a batch too: [1, l, d]": (1, 3, 4, 1.3),
        "a prefix of one token is a prefix too: [b, 1, d]": (2, 1, 4, 1.3),
    }
    rand = partial(_randn, of=torch.Generator().manual_seed(51))
    trials = [
        (
            hint,
            (rand(b, d), rand(l, d), torch.tensor(s), rand(l, d), rand(l, d)),
        )
        for hint, (b, l, d, s) in sizes.items()
    ]
    return check(answer, lambda *given: _gated(_alpha, lambda s: s, "", *given), trials, mistakes)


def check_count_parameters(answer: Callable[[int, int, int, bool, bool, str], int]) -> bool:
    """Exercise 5.2: answer(L, l, d, token_gate, layer_gate, gate_input) is the number of APT's parameters."""
    prefixes = {
        _RIGHT: lambda L, l, d: 2 * L * l * d,
        "a layer has two prefixes, one for keys and one for values": lambda L, l, d: L * l * d,
        "P is counted for one layer; every layer has its own": lambda L, l, d: 2 * l * d,
        "the prefix itself is trained too: P_k and P_v": lambda L, l, d: 0,
        "the prefix is counted twice over: P_k and P_v are l · d each": lambda L, l, d: 4 * L * l * d,
    }
    token_gates = {
        _RIGHT: _gate_size,
        "W is shared by keys and values: it counts once": lambda *given: 2 * _gate_size(*given),
        "W's own l · d is missing": lambda L, l, d, on, kind: _gate_size(L, l, d, on and kind == "none", kind),
        "the token gate is missing altogether": lambda *given: 0,
        "our gate has no bias": lambda L, l, d, on, kind: _gate_size(L, l, d, on, kind) + on * L * l,
        "our gate has no bias (and w, without h, is none)": lambda L, l, d, on, kind: (
            _gate_size(L, l, d, on, kind) + (on and kind != "none") * L * l
        ),
        "the gate of layer 1 is constant (with the first token), but trained, and counted": lambda L, l, d, on, kind: (
            on * (L - (kind == "first_token")) * l * (1 if kind == "none" else d)
        ),
        "the gate of layer 1 is trained like the others, and counted": lambda L, l, d, on, kind: (
            on * (L - 1) * l * (1 if kind == "none" else d)
        ),
        "the gate is counted for one layer; every layer has its own": lambda L, l, d, on, kind: (
            _gate_size(L, l, d, on, kind) // L
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
        'with "none" every layer still has its own w': lambda L, l, d, on, kind: (
            on * (l if kind == "none" else L * l * d)
        ),
        'with "mean" W is as large: it reads one vector of d numbers too': lambda L, l, d, on, kind: (
            on * L * l * (d if kind == "first_token" else 1)
        ),
        'with "mean" the gate still has its W': lambda L, l, d, on, kind: (
            on * L * {"first_token": l * d, "mean": 0, "none": l}[kind]
        ),
        'only "first_token" is given a gate here; "mean" has a W, and "none" a w': lambda L, l, d, on, kind: (
            on * (kind == "first_token") * L * l * d
        ),
        "token_gate=False takes W away": lambda L, l, d, on, kind: _gate_size(L, l, d, True, kind),
        'where token_gate is False, gate_input has no effect, not even "none"': lambda L, l, d, on, kind: (
            L * l if kind == "none" else on * L * l * d
        ),
        'token_gate=False takes W away, and "none" has a w of l numbers': lambda L, l, d, on, kind: L * l * d,
        'token_gate=False takes W away, and "none" has a w': lambda L, l, d, on, kind: L * l * d * (kind != "none"),
        "the token gate's switch is the wrong way round": lambda L, l, d, on, kind: _gate_size(L, l, d, not on, kind),
    }
    layer_gates = {
        _RIGHT: lambda L, l, d, on: on * L,
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

    def count(prefix, token, layer, L, l, d, token_gate, layer_gate, gate_input):
        return prefix(L, l, d) + token(L, l, d, token_gate, gate_input) + layer(L, l, d, layer_gate)

    mistakes = _crossed(prefixes, token_gates, layer_gates, count)
    hints = {
        (True, True, "first_token"): "count one layer: P_k, P_v and W have l · d numbers each, λ is one",
        (False, True, "first_token"): "without the token gate there is no W; P_k, P_v and λ stay",
        (True, False, "first_token"): "without the layer gate there is no λ; P_k, P_v and W stay",
        (True, True, "mean"): "the mean over tokens is one vector of d numbers, like the first token",
        (
            True,
            True,
            "none",
        ): "without h, α = σ(w), with a free number for each prefix token in each layer",
        (False, True, "none"): "where the token gate is off, gate_input has no effect",
        (False, True, "mean"): "where the token gate is off, gate_input has no effect",
        (False, False, "none"): "with both gates off P_k and P_v are left: P-tuning v2",
        (True, False, "none"): "w without λ",
        (True, False, "mean"): "W without λ, whatever W reads",
    }
    sizes = [(12, 16, 768), (3, 7, 5), (24, 128, 1024), (1, 2, 6), (40, 3, 4096)]
    trials = [(hint, (*size, *switches)) for switches, hint in hints.items() for size in sizes]
    return check(answer, partial(count, prefixes[_RIGHT], _gate_size, layer_gates[_RIGHT]), trials, mistakes)


def check_unfold(answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 5.3: answer(key, value, weight, scale) is the P whose gated version, without h, is (key, value)."""
    alphas = {
        _RIGHT: lambda w: 1 / w.sigmoid(),
        "α is multiplied in once more; to undo it, divide": lambda w: w.sigmoid(),
        "α is missing: at w it isn't 1": torch.ones_like,
        "w is not α: α is its sigmoid": lambda w: 1 / w,
        "w is not α, and to undo a factor one divides": lambda w: w,
        "α is ½ only where w = 0; here w is given": lambda w: torch.full_like(w, 2.0),
        "α is ½ only where w = 0, and to undo it one divides": lambda w: torch.full_like(w, 0.5),
        "α is a sigmoid, not a softmax": lambda w: 1 / w.softmax(0),
        "α is divided out twice": lambda w: w.sigmoid() ** -2.0,
        "this is 1 − α, divided out": lambda w: 1 / (1 - w.sigmoid()),
        "1 − α does not undo α": lambda w: 1 - w.sigmoid(),
        "α is a sigmoid, not tanh": lambda w: 1 / w.tanh(),
        "the sigmoid is applied twice, one after the other": lambda w: 1 / w.sigmoid().sigmoid(),
        "σ(−w) is 1 − α; what undoes α is 1/α": lambda w: (-w).sigmoid(),
        "each token has its own α; here all are divided by the mean": lambda w: (1 / w.sigmoid().mean()).expand(len(w)),
    }
    scales = {
        _RIGHT: lambda s: 1 / s,
        "λ is missing": torch.ones_like,
        "λ is multiplied in once more; to undo it, divide": lambda s: s,
        "λ is divided out twice": lambda s: s**-2.0,
        "the sign of λ is lost": lambda s: 1 / s.abs(),
        "λ is not squashed by a sigmoid": lambda s: 1 / s.sigmoid(),
        "λ is not squashed by tanh": lambda s: 1 / s.tanh(),
    }

    def unfolded(alpha, scale, only, k, v, w, s):
        factor = (alpha(w) * scale(s)).unsqueeze(-1)
        return k if only == "value" else factor * k, v if only == "key" else factor * v

    places = {
        _RIGHT: "",
        "only the key is changed; the value is gated as well": "key",
        "only the value is changed; the key is gated as well": "value",
    }
    right = partial(unfolded, alphas[_RIGHT], scales[_RIGHT], "")
    mistakes = {"this folds once more; divide by λ · σ(w)": partial(unfolded, torch.sigmoid, lambda s: s, "")}
    mistakes |= _crossed(alphas, scales, places, unfolded)
    mistakes |= {
        "the order: first the key, then the value": lambda *given: right(*given)[::-1],
        "both results come from the key": lambda k, v, w, s: right(k, k, w, s),
        "both results come from the value": lambda k, v, w, s: right(v, v, w, s),
        "λ and α are factors, so they are divided out, not subtracted": lambda k, v, w, s: tuple(
            p - (s * w.sigmoid()).unsqueeze(-1) for p in (k, v)
        ),
        "λ is outside the sigmoid": lambda k, v, w, s: tuple(p / (s * w).sigmoid().unsqueeze(-1) for p in (k, v)),
        "λ and α are multiplied, so divide by their product, not by their sum": lambda k, v, w, s: tuple(
            p / (s + w.sigmoid()).unsqueeze(-1) for p in (k, v)
        ),
        "each α belongs to a row of P; without an axis added, [l] meets the columns, which fits only where l = d": (
            lambda k, v, w, s: tuple(p / (s * w.sigmoid()) for p in (k, v))
        ),
    }
    sizes = {  # hint → l, d, λ
        "the gated prefix λ · σ(w) ⊙ P must come out as the given one: solve for P, row by row": (3, 5, 1.0),
        "λ is a factor too": (3, 5, 2.5),
        "λ may be negative": (2, 4, -1.5),
        "here l = d, so that α along the wrong axis raises no error": (4, 4, 0.7),
        "a prefix of one token is a prefix too": (1, 4, 0.7),
    }
    draw = torch.Generator().manual_seed(53)
    trials = [
        (hint, (_randn(l, d, of=draw), _randn(l, d, of=draw), 1.5 * _randn(l, of=draw), torch.tensor(s)))
        for hint, (l, d, s) in sizes.items()
    ]
    return check(answer, right, trials, mistakes)


def check_dead(answer: Callable[[Tensor, Tensor, Tensor, Tensor], set[str]]) -> bool:
    """Exercise 5.4: answer(key, value, weight, scale) is the set of the parameters without gradient at first."""
    by_scale = "λ = 0 leaves them none, since the gradient of P is λ · α ⊙ G"
    prefixes = {  # → predicates for the key and for the value
        _RIGHT: (lambda k, v, w, s: s, lambda k, v, w, s: s),
        f"P_k and P_v do die: {by_scale}": (lambda *given: False, lambda *given: False),
        f"P_k dies as well: {by_scale}": (lambda *given: False, lambda k, v, w, s: s),
        f"P_v dies as well: {by_scale}": (lambda k, v, w, s: s, lambda *given: False),
        "a P that is 0 still gets a gradient: P is no factor in its own": (
            lambda k, v, w, s: s or k,
            lambda k, v, w, s: s or v,
        ),
        "P = 0 doesn't kill P: P is no factor in its own gradient": (
            lambda k, v, w, s: s or (k and v),
            lambda k, v, w, s: s or (k and v),
        ),
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
        "P lives where W = 0: α is ½ there, not 0": (lambda k, v, w, s: s or w, lambda k, v, w, s: s or w),
    }
    weights = {
        _RIGHT: lambda k, v, w, s: s or (k and v),
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
    scales = {
        _RIGHT: lambda k, v, w, s: k and v,
        "λ = 0 doesn't kill λ: it is no factor in its own gradient": lambda k, v, w, s: s or (k and v),
        "λ = 0 doesn't kill λ; P = 0 does": lambda k, v, w, s: s,
        "P = 0 kills λ: P is a factor in its gradient": lambda *given: False,
        "λ dies only where P_k and P_v are both 0: it multiplies the two of them": lambda k, v, w, s: k or v,
        "λ lives where only P_k = 0: it multiplies the values as well": lambda k, v, w, s: k,
        "λ lives where only P_v = 0: it multiplies the keys as well": lambda k, v, w, s: v,
        "W = 0 doesn't kill λ: α is ½ there, not 0": lambda k, v, w, s: w or (k and v),
        "λ is alive where only λ or only W is 0: neither is a factor in its gradient (α is ½)": lambda k, v, w, s: (
            s or w or (k and v)
        ),
    }

    def named(prefix, weight, scale, k, v, w, s, zero=lambda t: bool((t == 0).all())):
        tests = {"key": prefix[0], "value": prefix[1], "weight": weight, "scale": scale}
        zeros = [zero(t) for t in (k, v, w, s)]
        return sorted(name for name, test in tests.items() if test(*zeros))

    right = partial(named, prefixes[_RIGHT], weights[_RIGHT], scales[_RIGHT])
    mistakes = {
        "these are the parameters that live; the dead ones are asked for": lambda *given: sorted(
            {"key", "value", "weight", "scale"} - set(right(*given))
        ),
        "a parameter's own value is no factor in its gradient: being 0 doesn't kill it": lambda k, v, w, s: sorted(
            name for name, t in {"key": k, "value": v, "weight": w, "scale": s}.items() if not t.any()
        ),
        "λ = 0 and P = 0 may come together, and then λ is dead as well": lambda k, v, w, s: [
            name for name in right(k, v, w, s) if name != "scale" or bool(s != 0)
        ],
        "small is not 0: a tiny factor makes a tiny gradient, and it is alive": partial(
            right, zero=lambda t: torch.allclose(t, torch.zeros_like(t), atol=1e-4)
        ),
        "an entry of 0 is not enough: a matrix counts as 0 where every entry is": partial(
            right, zero=lambda t: bool((t == 0).any())
        ),
        "one row of 0 is not enough: the other prefix tokens still have a gradient": partial(
            right, zero=lambda t: bool((t == 0).all(dim=-1).any())
        ),
        "only the first prefix token is looked at": partial(right, zero=lambda t: bool((t.flatten()[:3] == 0).all())),
        "entries that add up to 0 are not all 0": partial(right, zero=lambda t: bool(t.sum() == 0)),
        "a negative λ is not 0": lambda k, v, w, s: right(k, v, w, s.clamp(min=0)),
        "λ = 1 is nothing special; λ = 0 is": lambda k, v, w, s: right(k, v, w, s - 1),
    }
    mistakes |= _crossed(prefixes, weights, scales, named)

    draw = torch.Generator().manual_seed(54)

    def start(zero="", l=4, d=3, s=1.0):
        parts = {name: _randn(l, d, of=draw) * (name not in zero.split()) for name in ("key", "value", "weight")}
        return (*parts.values(), torch.tensor(0.0 if "scale" in zero else s))

    def changed(change, *which):
        return tuple(change(part) if i in which else part for i, part in enumerate(start()))

    matrices = (0, 1, 2)
    zero_row = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    one_entry = torch.ones(4, 3).index_put((torch.tensor([2]), torch.tensor([1])), torch.tensor(0.0))
    trials = [
        ("where nothing is 0, nothing is dead: the empty set", start()),
        ("start at λ = 0: which gradients have the factor λ?", start("scale")),
        ("start at P = 0: which gradients have the factor P?", start("key value")),
        (
            "start with P_v = 0 only: do W and λ still act on something, and does P_k?",
            start("value"),
        ),
        (
            "start with P_k = 0 only: do W and λ still act on something, and does P_v?",
            start("key"),
        ),
        ("start at W = 0: what are α = σ(0) and σ's slope there?", start("weight")),
        ("start with λ = 0 and P = 0", start("scale key value")),
        ("start with λ = 0 and P_v = 0: what moves λ?", start("scale value")),
        ("start with λ = 0 and P_k = 0: what moves λ?", start("scale key")),
        ("start with W = 0 and P = 0", start("weight key value")),
        ("start with W = 0 and λ = 0", start("weight scale")),
        ("start with W = 0 and P_v = 0", start("weight value")),
        ("start with all at 0", start("scale key value weight")),
        ("a negative λ is not 0", start(s=-0.5)),
        ("values that are small are not 0", changed(lambda t: t * 1e-6, *matrices, 3)),
        ("values that are small are not 0", changed(lambda t: t * 1e-6, 3)),
        ("a single entry that is 0 kills nothing as a whole", changed(lambda t: t * one_entry, *matrices)),
        ("one row that is 0 leaves the other prefix tokens alive", changed(lambda t: t * zero_row, *matrices)),
        ("one row that is 0 leaves the other prefix tokens alive", changed(lambda t: t * zero_row.flip(0), *matrices)),
        ("entries that cancel are not 0", changed(lambda t: torch.stack([t[0].sign(), -t[0].sign()]), *matrices)),
        ("one prefix token is a prefix too", start("key value", l=1)),
    ]

    def as_list(found):
        named = isinstance(found, set | frozenset | list | tuple) and all(isinstance(name, str) for name in found)
        return sorted(set(found)) if named else found

    return check(lambda *given: as_list(answer(*given)), right, trials, mistakes)


def check_apt_attention(answer: Callable[[Tensor, Tensor | None, list, dict, int], Tensor]) -> bool:
    """Exercise 5.5: answer(x, mask, projections, prefix, heads) is an attention layer with an adaptive prefix."""
    slips = {
        "the prefix is not projected: P_k and P_v stand beside the projected keys and values": {"project": True},
        "the gate reads position 0; with padding on the left the first real token is elsewhere": {"first": "zero"},
        "the gate reads the mean over tokens; α looks at the first real one": {"first": "mean"},
        "the gate reads the mean over all positions; α looks at the first real token": {"first": "mean of all"},
        "the gate reads the last real token; α looks at the first": {"first": "last"},
        "the gate's position is the number of paddings; that holds only if all stand on the left": {"first": "count"},
        "the gate reads the query of the first token; α looks at its state x": {"first": "query"},
        "the mask is not used: padding is attended to": {"use_mask": False},
        "the mask is the wrong way round: 1 means that a token is real": {"invert": True},
        "the mask's new columns hide the prefix: every query may look at it": {"prefix_visible": False},
        "the mask's new columns are on the wrong side: the prefix stands in front": {"columns": "behind"},
        "α and λ are missing: this is P-tuning v2": {"alpha": "none", "scale": "none"},
        "α is missing": {"alpha": "none"},
        "α is a softmax here; it is a sigmoid": {"alpha": "softmax"},
        "α is missing its sigmoid": {"alpha": "logits"},
        "α is applied twice": {"alpha": "squared"},
        "this is 1 − α": {"alpha": "inverse"},
        "λ is missing": {"scale": "none"},
        "λ is squashed by a sigmoid; ours is free": {"scale": "sigmoid"},
        "λ is squashed by tanh; ours is free": {"scale": "tanh"},
        "λ is applied twice": {"scale": "twice"},
        "λ is inside the sigmoid; E3 has it outside": {"scale": "inside"},
        "the sign of λ is lost": {"scale": "absolute"},
        "only the keys are gated; E3 gates the values alike": {"only": "key"},
        "only the values are gated; E3 gates the keys alike": {"only": "value"},
        "λ is applied to the values only; E3 scales the keys alike": {"scale_only": "value"},
        "λ is applied to the keys only; E3 scales the values alike": {"scale_only": "key"},
        "the gates are applied to the attention weights; E3 scales P, before the softmax": {"gate_on": "weights"},
        "the scores are divided by √d; each head has d/h columns, and √(d/h)": {"divisor": "d"},
        "the scores are not divided by √(d/h)": {"divisor": "none"},
        "the scores are divided by d/h, not by its root": {"divisor": "d_h"},
        "the heads are interleaved: head 0 has the first d/h columns, not every h-th": {
            "pattern": "b n (d_h h) -> b h n d_h"
        },
        "the heads are put together the wrong way: side by side, head 0 first": {"merge": "b h n d_h -> b n (d_h h)"},
        "the heads are missing: this is one head over all d columns": {"one_head": True},
        "the softmax runs over the queries; each query's weights must add up to 1 over the keys": {"axis": -2},
        "prefix and words have a softmax each, and are added; E1 has one softmax over both": {"separate": True},
        "keys and values of the prefix are swapped": {"swap": True},
        "the prefix is missing, or hidden: this is attention over the words alone": {"leave_out": True},
        "queries and keys are swapped": {"queries": (1, 0, 2)},
        "the projections stand in the order query, key, value": {"queries": (0, 2, 1)},
        "the projections are transposed: queries are x @ projections[0]": {"transpose": True},
        "the output is missing one step: each head's weights times [P_v; V]": {"axis": None},
    }
    mistakes = {message: partial(_apt, **slip) for message, slip in slips.items()}
    for (one, first), (other, second) in combinations(slips.items(), 2):
        if not first.keys() & second.keys():
            mistakes[f"{one} – and {other}"] = partial(_apt, **first, **second)

    draw = torch.Generator().manual_seed(55)

    def layer(b, n, l, d, heads, mask=None, W=1.0, s=1.7, size=1.0, padding=0.0):
        x = size * _randn(b, n, d, of=draw)
        if mask is not None:
            x = x + padding * (~mask.bool()).unsqueeze(-1)
        projections = [_randn(d, d, of=draw) / d**0.5 for _ in range(3)]
        prefix = {name: _randn(l, d, of=draw) for name in ("key", "value", "weight")}
        prefix["weight"] *= W * 2 / d**0.5
        prefix["scale"] = torch.tensor(s)
        return x, mask, projections, prefix, heads

    left = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    both = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
    trials = [
        (
            "the prefix alone (W = 0 and λ = 2, so λ · α = 1; one head, no mask): look at E1",
            layer(2, 5, 3, 4, 1, W=0.0, s=2.0),
        ),
        (
            "two heads (W = 0 and λ = 2): the prefix is split like keys and values",
            layer(2, 5, 3, 8, 2, W=0.0, s=2.0),
        ),
        ("the token gate (W is not 0, λ = 1): look at E2", layer(2, 5, 3, 8, 2, s=1.0)),
        ("the layer gate (λ = 1.7): look at E3", layer(2, 5, 3, 8, 2)),
        ("the layer gate, where λ is negative: look at E3", layer(2, 5, 3, 8, 2, s=-1.5)),
        (
            "padding on the right: the mask grows by l columns in front",
            layer(3, 5, 2, 8, 4, left.flip(1)),
        ),
        ("padding on the left: which token does the gate read?", layer(3, 5, 2, 8, 4, left)),
        ("a boolean mask, padding on both sides", layer(2, 5, 4, 6, 3, both.bool())),
        (
            "large numbers under the padding must not come through",
            layer(2, 5, 3, 8, 2, both, padding=30.0),
        ),
        ("b = l = n, where axes may be mixed up without an error", layer(4, 4, 4, 8, 2)),
        ("all sizes alike, where axes may be mixed up without an error", layer(4, 4, 4, 4, 1, torch.ones(4, 4).long())),
        ("l = d, where a gate on the wrong axis raises no error", layer(2, 3, 6, 6, 2)),
        ("a prefix longer than the input", layer(2, 2, 7, 8, 4)),
        ("one example with one token and one prefix token", layer(1, 1, 1, 4, 2)),
        ("large states: the gates are nearly shut or open", layer(2, 5, 3, 8, 2, size=4.0)),
    ]

    def looked_at(found, mask):
        if mask is None or not isinstance(found, Tensor) or found.shape[:-1] != mask.shape:
            return found
        return found.masked_fill(~mask.bool().unsqueeze(-1), 0.0)

    def real_only(function):
        return lambda x, mask, *given: looked_at(function(x, _copy(mask), *given), mask)

    wrong = {message: real_only(mistake) for message, mistake in mistakes.items()}
    return check(real_only(answer), real_only(_apt), trials, wrong)


_RIGHT = ""
_PLACES = {  # for whom a gate is forgotten: α or λ, on keys or values
    _RIGHT: "",
    "α gates the values alone; E3 gates keys and values alike": ("α", "key"),
    "α gates the keys alone; E3 gates keys and values alike": ("α", "value"),
    "λ scales the values alone; E3 scales keys and values alike": ("λ", "key"),
    "λ scales the keys alone; E3 scales keys and values alike": ("λ", "value"),
    "the keys are not gated at all; E3 gates keys and values alike": ("αλ", "key"),
    "the values are not gated at all; E3 gates keys and values alike": ("αλ", "value"),
}


def _randn(*shape: int, of: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=of, dtype=torch.float32)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _crossed(*parts_and_function) -> dict[str, Callable]:
    """All ways to be wrong in one or two parts, those in one part first; each part's right way is named ""."""
    *parts, function = parts_and_function
    found = {}
    ways = sorted(product(*(part.items() for part in parts)), key=lambda way: sum(bool(name) for name, _ in way))
    for way in ways:
        message = " – and ".join(name for name, _ in way if name)
        if 0 < sum(bool(name) for name, _ in way) < 3:
            found[message] = partial(function, *(choice for _, choice in way))
    return found


def _alpha(hidden_first: Tensor, weight: Tensor) -> Tensor:
    return (hidden_first @ weight.T).sigmoid()


def _gated(alpha: Callable, scale: Callable, without, h: Tensor, w: Tensor, s: Tensor, k: Tensor, v: Tensor):
    """E3 with one's own α and λ; `without` names a gate and where it is forgotten."""
    gates = {"α": alpha(h, w).unsqueeze(-1), "λ": scale(s)}
    found = []
    for name, p in {"key": k, "value": v}.items():
        kept = [gate for letter, gate in gates.items() if not (without and letter in without[0] and name == without[1])]
        found.append(math.prod(kept, start=p.expand(len(h), -1, -1)))
    return tuple(found)


def _gate_size(L: int, l: int, d: int, on: bool, kind: str) -> int:
    return on * L * (l if kind == "none" else l * d)


def _gate_state(first: str, x: Tensor, mask: Tensor | None, query: Tensor) -> Tensor:
    if first == "zero" or mask is None and first == "count":
        return x[:, 0]
    if first == "mean of all":
        return x.mean(dim=1)
    if first == "mean":
        return mean_token(x, mask)
    if first == "last":
        return first_token(x.flip(1), None if mask is None else mask.flip(1))
    if first == "count":
        return x[torch.arange(len(x)), (mask == 0).sum(dim=1)]
    return first_token(query if first == "query" else x, mask)


def _apt(
    x, mask, projections, prefix, heads, *,
    first="", project=False, use_mask=True, invert=False, prefix_visible=True, columns="front", alpha="", scale="",
    only="", scale_only="", gate_on="", divisor="", pattern="b n (h d_h) -> b h n d_h",
    merge="b h n d_h -> b n (h d_h)", one_head=False, axis=-1, separate=False, swap=False, leave_out=False,
    queries=(0, 1, 2), transpose=False,
):  # fmt: skip
    """A whole attention layer with an adaptive prefix; each keyword is a way to get it wrong."""
    d, heads = x.shape[-1], 1 if one_head else heads
    query, key, value = (x @ (projections[i].T if transpose else projections[i]) for i in queries)
    logits = _gate_state(first, x, mask, query) @ prefix["weight"].T
    λ = prefix["scale"]
    inside, outside = (λ, 1.0) if scale == "inside" else (1.0, λ)
    logits = inside * logits
    squashed = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "absolute": torch.abs, "twice": torch.square}
    outside = 1.0 if scale == "none" else squashed[scale](λ) if scale in squashed else outside
    kinds = {
        "none": torch.ones_like,
        "softmax": lambda t: t.softmax(1),
        "logits": lambda t: t,
        "squared": lambda t: t.sigmoid() ** 2,
        "inverse": lambda t: 1 - t.sigmoid(),
    }
    α = kinds.get(alpha, torch.sigmoid)(logits)  # [b, l]

    gated = {}
    for name in ("key", "value"):
        factor = α * (1.0 if scale_only and scale_only != name else outside)
        factor = torch.ones_like(factor) if (only and only != name) or gate_on == "weights" else factor
        gated[name] = factor.unsqueeze(-1) * prefix[name]
    pair = [gated["value"], gated["key"]] if swap else [gated["key"], gated["value"]]
    if project:
        pair = [p @ projections[i] for i, p in enumerate(pair, start=1)]
    l = 0 if leave_out else α.shape[1]
    key, value = (torch.cat([p[:, :l], t], dim=1) for p, t in zip(pair, (key, value), strict=True))

    query, key, value = (rearrange(t, pattern, h=heads) for t in (query, key, value))
    d_h = query.shape[-1]
    scores = query @ key.mT / {"d": d**0.5, "none": 1.0, "d_h": d_h}.get(divisor, d_h**0.5)
    if mask is not None and use_mask:
        real = mask.bool() ^ invert
        wide = F.pad(real, (l, 0) if columns == "front" else (0, l), value=prefix_visible)
        scores = scores.masked_fill(~wide[:, None, None], -torch.inf)
    if axis is None:
        return rearrange(scores @ value, merge)
    if separate:
        weights = torch.cat([scores[..., :l].softmax(-1), scores[..., l:].softmax(-1)], dim=-1)
    else:
        weights = scores.softmax(dim=axis)
    if gate_on == "weights" and l:
        weights = torch.cat([weights[..., :l] * (α * outside)[:, None, None], weights[..., l:]], dim=-1)
    return rearrange(weights @ value, merge)
