"""Lesson 05: the layer gate, and APT whole."""

import torch

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_05_whole import check_apt_attention as check_apt_attention  # exercise 5.4


def gated_prefix(hidden_first, weight, scale, key, value):
    """5.1: E3, two of [b, l, d], from [b, d], Wᵀ [l, d], λ [], P_k and P_v [l, d]."""
    alpha = (hidden_first @ weight.T).sigmoid()  # E2, [b, l]
    gate = (scale * alpha).unsqueeze(-1)  # [b, l, 1]
    return gate * key, gate * value


@exercise(gated_prefix)
def check_gated_prefix(draw):
    """
    ? Which shape has α, and which axis is missing for each of its numbers to meet a whole row of P?
    ? Make α (E2), [b, l]; multiply it by λ; give it a third axis; multiply both P_k and P_v by it.
    ? gate = (scale * (hidden_first @ weight.T).sigmoid()).unsqueeze(-1)
    weight is Wᵀ, [l, d]: transpose it → alpha = (hidden_first @ weight).sigmoid()
    reshape doesn't transpose: use weight.T → alpha = (hidden_first @ weight.reshape(weight.T.shape)).sigmoid()
    σ is missing → alpha = hidden_first @ weight.T
    α is a sigmoid: a softmax makes the prefix tokens compete → alpha = (hidden_first @ weight.T).softmax(dim=1)
    this is 1 − α: it opens where α shuts → alpha = 1 - (hidden_first @ weight.T).sigmoid()
    each example has its own α → alpha = (hidden_first[:1].expand_as(hidden_first) @ weight.T).sigmoid()
    λ is outside the sigmoid → alpha = (hidden_first @ weight.T * scale).sigmoid(); gate = alpha.unsqueeze(-1)
    λ is missing → gate = alpha.unsqueeze(-1)
    λ is applied twice → gate = (scale * scale * alpha).unsqueeze(-1)
    λ is not squashed: it may exceed 1 and be negative → gate = (scale.sigmoid() * alpha).unsqueeze(-1)
    λ may be negative: its sign is lost → gate = (scale.abs() * alpha).unsqueeze(-1)
    α is missing: this is λ · P → gate = scale * torch.ones_like(alpha).unsqueeze(-1)
    α has a number for each row of P; yours lies along P's columns → gate = (scale * alpha).unsqueeze(1)
    α needs a third axis, [b, l, 1]: without it, it meets P's columns → gate = scale * alpha
    first the key, then the value → return gate * value, gate * key
    the value is not gated, as the key is → return gate * key, value.expand(len(alpha), -1, -1)
    λ is missing in the value → return gate * key, alpha.unsqueeze(-1) * value
    """
    h, weight = torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([[2.0, 2.0, 1.0], [3.0, 1.0, 1.0]])
    key, value = torch.tensor([[2.0, 4.0, 6.0], [1.0, 0.0, 3.0]]), torch.tensor([[8.0, 0.0, -2.0], [5.0, 7.0, 9.0]])
    yield "one example", h, weight, torch.tensor(1.0), key, value
    for tests, b, l, d, scale in (
        ("λ = 2.5", 2, 3, 5, 2.5),
        ("a negative λ", 3, 2, 4, -1.5),
        ("l = d", 2, 4, 4, 0.7),
        ("b = l", 3, 3, 5, 1.7),
        ("one prefix token", 2, 1, 4, 1.3),
    ):
        yield tests, draw(b, d), draw(l, d), torch.tensor(scale), draw(l, d), draw(l, d)


def count_parameters(L, l, d, token_gate, layer_gate, gate_input):
    """5.2: how many numbers APT trains in L layers with l prefix tokens of d numbers each."""
    prefix = 2 * l * d
    reads = 1 if gate_input == "none" else d  # numbers of W for each prefix token
    gate = l * reads if token_gate else 0
    scale = 1 if layer_gate else 0
    return L * (prefix + gate + scale)


@exercise(count_parameters)
def check_count_parameters(draw):
    """
    ? What is the shape of w in α = σ(w)? Does W's shape depend on which d numbers it is applied to?
    ? Count one layer part by part (P_k and P_v, the token gate, λ), then multiply by L.
    ? L * (2 * l * d + gate + layer_gate), where gate is 0, l or l * d
    each layer has two prefixes, P_k and P_v → prefix = l * d
    keys and values share W: count it once → gate = l * (2 * d if reads > 1 else 1) if token_gate else 0
    the token gate is missing → gate = 0
    our gate has no bias → gate = l * (reads + (reads == d)) if token_gate else 0
    with "none" there is no h to multiply: w has l numbers, not l · d → reads = d
    with "none" the gate still has a free vector w → reads = 0 if gate_input == 'none' else d
    with "none" w has l numbers, not d → gate = (d if reads == 1 else l * d) if token_gate else 0
    with "mean" W is as large: the mean has d numbers, too → reads = d if gate_input == 'first_token' else 1
    token_gate=False takes W and w away → gate = l * reads
    token_gate=False takes w away as well → gate = l * reads if token_gate or gate_input == 'none' else 0
    λ is missing: one number for each layer → scale = 0
    each layer has its own λ: yours is one for all → scale = layer_gate / L
    λ is one number for each layer, not one for each prefix token → scale = l if layer_gate else 0
    keys and values share their λ → scale = 2 if layer_gate else 0
    layer_gate=False takes λ away → scale = 1
    λ has a switch of its own: token_gate=False leaves it → scale = 1 if layer_gate and token_gate else 0
    32 bits hold numbers up to 2³¹ − 1, and there are more → return torch.tensor(L * (prefix + gate + scale)).int()
    this is one layer: there are L of them → return prefix + gate + scale
    """
    for tests, *switches in (
        ("both gates", True, True, "first_token"),
        ("no token gate", False, True, "first_token"),
        ("no layer gate", True, False, "first_token"),
        ('"mean"', True, True, "mean"),
        ('"none": α = σ(w)', True, True, "none"),
        ('"none" without a token gate', False, True, "none"),
        ("no gate at all: P-tuning v2", False, False, "mean"),
        ("w without λ", True, False, "none"),
    ):
        for sizes in ((1, 2, 3), (12, 16, 768), (3, 7, 5), (2, 2**20, 2**20)):  # the last is too large to build
            yield tests, *sizes, *switches


def unfold(key, value, weight, scale):
    """5.3: the P_k and P_v, [l, d], whose gated versions λ · σ(w) ⊙ P are key and value; w is weight, [l]."""
    alpha = weight.sigmoid()
    gate = (scale * alpha).unsqueeze(-1)  # [l, 1]
    return key / gate, value / gate


@exercise(unfold)
def check_unfold(draw):
    """
    ? Which P solves λ · α ⊙ P = P′? It has one equation for each row.
    ? Divide each row of key and of value by λ times that row's α = σ(w).
    ? key / (scale * weight.sigmoid()).unsqueeze(-1)
    this folds once more: divide by λ · σ(w) → return key * gate, value * gate
    α is missing: it is 1 nowhere → alpha = torch.ones_like(weight)
    w is not α: α is its sigmoid → alpha = weight
    α is ½ only where w = 0 → alpha = torch.full_like(weight, 0.5)
    α is multiplied in once more: divide by it → alpha = 1 / weight.sigmoid()
    each prefix token has its own α: don't average → alpha = weight.sigmoid().mean().expand_as(weight)
    λ is missing → gate = alpha.unsqueeze(-1)
    λ is multiplied in once more: divide by it → gate = (alpha / scale).unsqueeze(-1)
    the sign of λ is lost → gate = (scale.abs() * alpha).unsqueeze(-1)
    λ is outside the sigmoid → gate = (scale * weight).sigmoid().unsqueeze(-1)
    each α belongs to a row of P: [l] without a last axis meets the columns → gate = scale * alpha
    λ may be as small as an eps: divide by λ · α as it is → gate = (scale * alpha + 1e-8).unsqueeze(-1)
    λ may be small: there is no floor → gate = (scale.sign() * scale.abs().clamp(min=0.1) * alpha).unsqueeze(-1)
    first the key, then the value → return value / gate, key / gate
    the value is gated too, and has to be divided → return key / gate, value
    """
    key, value = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 4.0]]), torch.tensor([[5.0, 1.0, 2.0], [6.0, 2.0, 0.0]])
    yield "w = 0 and λ = 2, so that λ · α = 1", key, value, torch.zeros(2), torch.tensor(2.0)
    for tests, l, d, scale in (
        ("λ = 1", 3, 5, 1.0),
        ("a negative λ", 2, 4, -1.5),
        ("l = d", 4, 4, 0.7),
        ("one prefix token", 1, 4, 0.7),
        ("a small, negative λ", 3, 5, -0.01),
        ("a very small λ", 3, 5, 1e-6),
    ):
        yield tests, draw(l, d), draw(l, d), 1.5 * draw(l), torch.tensor(scale)
    yield "a nearly shut gate", draw(3, 5), draw(3, 5), torch.tensor([-5.0, 0.0, 4.0]), torch.tensor(0.7)
