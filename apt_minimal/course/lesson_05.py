"""Lesson 05: the layer gate, and APT whole."""

import torch
import torch.nn.functional as F
from einops import rearrange

from apt_minimal.course.check import Exercise, draws

__all__ = ["check_apt_attention", "check_count_parameters", "check_gated_prefix", "check_unfold"]


def gated_prefix(hidden_first, weight, scale, key, value):
    """5.1: E3, two of [b, l, d], from [b, d], Wᵀ [l, d], λ [], P_k and P_v [l, d]."""
    alpha = (hidden_first @ weight.T).sigmoid()  # E2, [b, l]
    gate = (scale * alpha).unsqueeze(-1)  # [b, l, 1]
    return gate * key, gate * value


def gated_prefix_trials():
    h, weight = torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([[2.0, 2.0, 1.0], [3.0, 1.0, 1.0]])
    key, value = torch.tensor([[2.0, 4.0, 6.0], [1.0, 0.0, 3.0]]), torch.tensor([[8.0, 0.0, -2.0], [5.0, 7.0, 9.0]])
    yield "one example", (h, weight, torch.tensor(1.0), key, value)
    draw = draws(51)
    for tests, b, l, d, scale in (
        ("λ = 2.5", 2, 3, 5, 2.5),
        ("a negative λ", 3, 2, 4, -1.5),
        ("l = d", 2, 4, 4, 0.7),
        ("b = l", 3, 3, 5, 1.7),
        ("one prefix token", 2, 1, 4, 1.3),
    ):
        yield tests, (draw(b, d), draw(l, d), torch.tensor(scale), draw(l, d), draw(l, d))


check_gated_prefix = Exercise(
    gated_prefix,
    gated_prefix_trials,
    {
        "weight is Wᵀ, [l, d]: transpose it": "alpha = (hidden_first @ weight).sigmoid()",
        "reshape doesn't transpose: use weight.T": "alpha = (hidden_first @ weight.reshape(weight.T.shape)).sigmoid()",
        "σ is missing": "alpha = hidden_first @ weight.T",
        "α is a sigmoid: a softmax makes the prefix tokens compete": "alpha = (hidden_first @ weight.T).softmax(dim=1)",
        "this is 1 − α: it opens where α shuts": "alpha = 1 - (hidden_first @ weight.T).sigmoid()",
        "each example has its own α": "alpha = (hidden_first[:1].expand_as(hidden_first) @ weight.T).sigmoid()",
        "λ is outside the sigmoid": "alpha = (hidden_first @ weight.T * scale).sigmoid()\ngate = alpha.unsqueeze(-1)",
        "λ is missing": "gate = alpha.unsqueeze(-1)",
        "λ is applied twice": "gate = (scale * scale * alpha).unsqueeze(-1)",
        "λ is not squashed: it may exceed 1 and be negative": "gate = (scale.sigmoid() * alpha).unsqueeze(-1)",
        "λ may be negative: its sign is lost": "gate = (scale.abs() * alpha).unsqueeze(-1)",
        "α is missing: this is λ · P": "gate = scale * torch.ones_like(alpha).unsqueeze(-1)",
        "α has a number for each row of P; yours lies along P's columns": "gate = (scale * alpha).unsqueeze(1)",
        "α needs a third axis, [b, l, 1]: without it, it meets P's columns": "gate = scale * alpha",
        "first the key, then the value": "return gate * value, gate * key",
        "the value is not gated, as the key is": "return gate * key, value.expand(len(alpha), -1, -1)",
        "λ is missing in the value": "return gate * key, alpha.unsqueeze(-1) * value",
    },
    hints=(
        "Which shape has α, and which axis is missing for each of its numbers to meet a whole row of P?",
        "Make α (E2), [b, l]; multiply it by λ; give it a third axis; multiply both P_k and P_v by it.",
        "gate = (scale * (hidden_first @ weight.T).sigmoid()).unsqueeze(-1)",
    ),
)


def count_parameters(L, l, d, token_gate, layer_gate, gate_input):
    """5.2: how many numbers APT trains in L layers with l prefix tokens of d numbers each."""
    prefix = 2 * l * d
    reads = 1 if gate_input == "none" else d  # numbers of W for each prefix token
    gate = l * reads if token_gate else 0
    scale = 1 if layer_gate else 0
    return L * (prefix + gate + scale)


def count_parameters_trials():
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
            yield tests, (*sizes, *switches)


check_count_parameters = Exercise(
    count_parameters,
    count_parameters_trials,
    {
        "each layer has two prefixes, P_k and P_v": "prefix = l * d",
        "keys and values share W: count it once": "gate = l * (2 * d if reads > 1 else 1) if token_gate else 0",
        "the token gate is missing": "gate = 0",
        "our gate has no bias": "gate = l * (reads + (reads == d)) if token_gate else 0",
        'with "none" there is no h to multiply: w has l numbers, not l · d': "reads = d",
        'with "none" the gate still has a free vector w': "reads = 0 if gate_input == 'none' else d",
        'with "none" w has l numbers, not d': "gate = (d if reads == 1 else l * d) if token_gate else 0",
        'with "mean" W is as large: the mean has d numbers, too': "reads = d if gate_input == 'first_token' else 1",
        "token_gate=False takes W and w away": "gate = l * reads",
        "token_gate=False takes w away as well": "gate = l * reads if token_gate or gate_input == 'none' else 0",
        "λ is missing: one number for each layer": "scale = 0",
        "each layer has its own λ: yours is one for all": "scale = layer_gate / L",
        "λ is one number for each layer, not one for each prefix token": "scale = l if layer_gate else 0",
        "keys and values share their λ": "scale = 2 if layer_gate else 0",
        "layer_gate=False takes λ away": "scale = 1",
        "λ has a switch of its own: token_gate=False leaves it": "scale = 1 if layer_gate and token_gate else 0",
        "this is one layer: there are L of them": "return prefix + gate + scale",
    },
    hints=(
        "What is the shape of w in α = σ(w)? Does W's shape depend on which d numbers it is applied to?",
        "Count one layer part by part (P_k and P_v, the token gate, λ), then multiply by L.",
        "L * (2 * l * d + gate + layer_gate), where gate is 0, l or l * d",
    ),
)


def unfold(key, value, weight, scale):
    """5.3: the P_k and P_v, [l, d], whose gated versions λ · σ(w) ⊙ P are key and value; w is weight, [l]."""
    alpha = weight.sigmoid()
    gate = (scale * alpha).unsqueeze(-1)  # [l, 1]
    return key / gate, value / gate


def unfold_trials():
    key, value = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 4.0]]), torch.tensor([[5.0, 1.0, 2.0], [6.0, 2.0, 0.0]])
    yield "w = 0 and λ = 2, so that λ · α = 1", (key, value, torch.zeros(2), torch.tensor(2.0))
    draw = draws(53)
    for tests, l, d, scale in (
        ("λ = 1", 3, 5, 1.0),
        ("a negative λ", 2, 4, -1.5),
        ("l = d", 4, 4, 0.7),
        ("one prefix token", 1, 4, 0.7),
        ("a small, negative λ", 3, 5, -0.01),
        ("a very small λ", 3, 5, 1e-6),
    ):
        yield tests, (draw(l, d), draw(l, d), 1.5 * draw(l), torch.tensor(scale))
    yield "a nearly shut gate", (draw(3, 5), draw(3, 5), torch.tensor([-5.0, 0.0, 4.0]), torch.tensor(0.7))


check_unfold = Exercise(
    unfold,
    unfold_trials,
    {
        "this folds once more: divide by λ · σ(w)": "return key * gate, value * gate",
        "α is missing: it is 1 nowhere": "alpha = torch.ones_like(weight)",
        "w is not α: α is its sigmoid": "alpha = weight",
        "α is ½ only where w = 0": "alpha = torch.full_like(weight, 0.5)",
        "α is multiplied in once more: divide by it": "alpha = 1 / weight.sigmoid()",
        "each prefix token has its own α: don't average": "alpha = weight.sigmoid().mean().expand_as(weight)",
        "λ is missing": "gate = alpha.unsqueeze(-1)",
        "λ is multiplied in once more: divide by it": "gate = (alpha / scale).unsqueeze(-1)",
        "the sign of λ is lost": "gate = (scale.abs() * alpha).unsqueeze(-1)",
        "λ is outside the sigmoid": "gate = (scale * weight).sigmoid().unsqueeze(-1)",
        "each α belongs to a row of P: [l] without a last axis meets the columns": "gate = scale * alpha",
        "λ may be as small as an eps: divide by λ · α as it is": "gate = (scale * alpha + 1e-8).unsqueeze(-1)",
        "λ may be small: there is no floor": "gate = (scale.sign() * scale.abs().clamp(min=0.1) * alpha).unsqueeze(-1)",
        "first the key, then the value": "return value / gate, key / gate",
        "the value is gated too, and has to be divided": "return key / gate, value",
    },
    hints=(
        "Which P solves λ · α ⊙ P = P′? It has one equation for each row.",
        "Divide each row of key and of value by λ times that row's α = σ(w).",
        "key / (scale * weight.sigmoid()).unsqueeze(-1)",
    ),
)


def apt_attention(x, mask, projections, prefix, heads):
    """5.4: an attention layer with an adaptive prefix, [b, n, d]."""
    h, l = heads, len(prefix["key"])
    real = torch.ones(x.shape[:2]).bool() if mask is None else mask.bool()
    place = real.int().argmax(dim=1)
    first = x[torch.arange(len(x)), place]  # [b, d]
    alpha = (first @ prefix["weight"].T).sigmoid()  # E2, [b, l]
    gate = (prefix["scale"] * alpha).unsqueeze(-1)  # E3, [b, l, 1]
    query, key, value = (x @ projection for projection in projections)
    keys = torch.cat([gate * prefix["key"], key], dim=1)  # E1, [b, l + n, d]
    values = torch.cat([gate * prefix["value"], value], dim=1)
    query, keys, values = (rearrange(y, "b n (h e) -> b h n e", h=h) for y in (query, keys, values))
    scores = query @ keys.mT / query.shape[-1] ** 0.5  # [b, h, n, l + n]
    look = F.pad(real, (l, 0), value=True)[:, None, None]  # everyone may look at the prefix
    seen = scores.masked_fill(~look, -torch.inf)
    weights = seen.softmax(dim=-1)
    return rearrange(weights @ values, "b h n e -> b n (h e)")


def apt_attention_trials():
    eye, one = torch.eye(2), torch.tensor([[1.0, 0.0]])
    prefix = {"key": 0 * one, "value": 4 * one, "weight": one, "scale": torch.tensor(2.0)}
    yield (
        "one token, scores of 0",
        (
            torch.tensor([[[0.0, 2.0]]]),
            None,
            [eye, 0 * eye, eye],
            prefix,
            1,
        ),
    )
    draw = draws(55)
    left, both = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]), torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]])
    for tests, b, l, d, heads, mask, scale in (
        ("one head, no mask", 2, 3, 4, 1, None, 1.7),
        ("two heads", 2, 3, 8, 2, None, 1.7),
        ("four heads of three columns, a negative λ", 2, 3, 12, 4, torch.ones(2, 4).long(), -1.5),
        ("padding on the right", 3, 2, 8, 4, left.flip(1), 1.7),
        ("padding on the left", 3, 2, 8, 4, left, 1.7),
        ("a boolean mask, padding on both sides", 2, 5, 6, 3, both.bool(), 1.7),
        ("b = l = n = d", 4, 4, 4, 1, torch.ones(4, 4).long(), 1.7),
        ("l = d", 2, 6, 6, 2, None, 1.7),
    ):
        x = draw(b, 4, d)
        if mask is not None:
            x = x + 30 * (~mask.bool()).unsqueeze(-1)  # what stands under the padding must not come through
        parts = {"key": draw(l, d), "value": draw(l, d), "weight": draw(l, d) * 2 / d**0.5}
        yield tests, (x, mask, [draw(d, d) / d**0.5 for _ in range(3)], parts | {"scale": torch.tensor(scale)}, heads)


def real_only(found, x, mask, *given):
    """What stands at padded positions is not looked at."""
    return found if mask is None or found.shape != x.shape else found.masked_fill(~mask.bool().unsqueeze(-1), 0.0)


check_apt_attention = Exercise(
    apt_attention,
    apt_attention_trials,
    {
        "position 0 is padding where a sentence is padded on the left": "first = x[:, 0]",
        "the gate reads the first real token, not the mean": "first = (x * real[..., None]).sum(1) / real.sum(1, True)",
        "counting padding finds the first token only if all is on the left": "place = (~real).sum(dim=1) % x.shape[1]",
        "each example has its own first token": "first = x[:, place[0]]",
        "a mask of None means that all are real": "real = mask.bool()",
        "the mask is not used: padding is attended to": "seen = scores",
        "1 means a real token": "look = F.pad(real ^ (mask is not None), (l, 0), value=True)[:, None, None]",
        "the mask's new columns stand in front, as the prefix": "look = F.pad(real, (0, l), value=True)[:, None, None]",
        "the mask hides the prefix: every query may look at it": "look = F.pad(real, (l, 0))[:, None, None]",
        "weights set to 0 after the softmax don't add up to 1": "seen = scores\nweights = scores.softmax(-1) * look",
        "the softmax runs over the keys": "weights = scores.masked_fill(~look, -1e9).softmax(dim=-2)",
        "scores are divided by √(d/h), not by √d": "scores = query @ keys.mT / x.shape[-1] ** 0.5",
        "scores are divided by √(d/h): that is missing": "scores = query @ keys.mT",
        "the prefix is not projected: it stands beside projected keys and values": (
            'keys = torch.cat([gate * prefix["key"] @ projections[1], key], dim=1)\n'
            'values = torch.cat([gate * prefix["value"] @ projections[2], value], dim=1)'
        ),
        "λ is missing": "gate = alpha.unsqueeze(-1)",
        "λ is outside the sigmoid": 'gate = (first @ prefix["weight"].T * prefix["scale"]).sigmoid().unsqueeze(-1)',
        "α is missing": 'gate = prefix["scale"] * torch.ones(len(x), l, 1)',
        "α is ½ only where W = 0": "alpha = torch.full((len(x), l), 0.5)",
        "the values are gated too": 'values = torch.cat([prefix["value"].expand(len(x), -1, -1), value], dim=1)',
        "P_k belongs to the keys, P_v to the values": (
            'keys = torch.cat([gate * prefix["value"], key], 1)\nvalues = torch.cat([gate * prefix["key"], value], 1)'
        ),
        "the heads are missing": 'h, l = 1, len(prefix["key"])',
        "head 1 has the first d/h columns, not every h-th": (
            'query, keys, values = (rearrange(y, "b n (e h) -> b h n e", h=h) for y in (query, keys, values))\n'
            'return rearrange(weights @ values, "b h n e -> b n (e h)")'
        ),
        "put the heads side by side: a reshape alone mixes them": "return (weights @ values).reshape(x.shape)",
        "queries are x @ projections[0], not transposed": "query, key, value = (x @ p.T for p in projections)",
    },
    look=real_only,
    hints=(
        "Which token does the gate read if padding stands on the left? Is the prefix projected? How wide is the mask?",
        "First real token; gated prefix, not projected; prefix in front, and the mask l columns wider; heads.",
        'gate = prefix["scale"] * α, then torch.cat([gate * prefix["key"], key], 1), F.pad(real, (l, 0), value=True)',
    ),
)
