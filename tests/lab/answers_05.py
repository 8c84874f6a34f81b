"""Answers to the exercises of lesson 05: how they came about is said in test_answers.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from apt_minimal import AdaptivePrefix, AptConfig
from apt_minimal import course as exercises
from apt_minimal.attention import merge_heads, prefix_attention, split_heads
from apt_minimal.gates import first_token

# 5.1: gated_prefix(hidden_first, weight, scale, key, value), [b, d], [l, d], [], [l, d], [l, d]


def alpha_of(hidden_first, weight):
    return (hidden_first @ weight.T).sigmoid()


def gated(alpha=alpha_of, scales=lambda s: (s, s), rows=lambda gate: gate[:, :, None]):
    """An answer in which α, the λ of keys and of values, and the third axis can be got wrong."""

    def answer(hidden_first, weight, scale, key, value):
        gate = alpha(hidden_first, weight)
        return tuple(rows(s * gate) * p for s, p in zip(scales(scale), (key, value), strict=True))

    return answer


def gated_by_loops(hidden_first, weight, scale, key, value):
    both = []
    for p in (key, value):
        made = p.new_zeros(len(hidden_first), *p.shape)
        for i, h in enumerate(hidden_first):
            for j, w in enumerate(weight):
                made[i, j] = float(scale) / (1 + math.exp(-float(h @ w))) * p[j]
        both.append(made)
    return both


def gated_in_double(hidden_first, weight, scale, key, value):
    h, w, s = (x.double() for x in (hidden_first, weight, scale))
    alpha = F.logsigmoid(F.linear(h, w)).exp()
    return tuple((s * alpha).unsqueeze(2).mul(p.double()).to(p.dtype) for p in (key, value))


def gated_in_place(hidden_first, weight, scale, key, value):
    gate = torch.mm(hidden_first, weight.t()).neg_().exp_().add_(1).reciprocal_().mul_(scale)
    pair = repeat(torch.stack([key, value]), "two l d -> two b l d", b=len(gate)).clone()
    pair.mul_(gate[None, ..., None])
    return pair[0], pair[1]


class GatedByModule:
    def __call__(self, hidden_first, weight, scale, key, value):
        prefix = AdaptivePrefix(AptConfig(len(key), prefix_dropout=0.0), key.shape[1]).to(key.dtype)
        state = {"key": key, "value": value, "token_gate.weight": weight, "layer_gate.scale": scale}
        prefix.load_state_dict(state)
        return prefix(hidden_first[:, None])


RIGHT_5_1 = {
    "broadcasting": gated(),
    "loops_list": gated_by_loops,
    "einsum": lambda h, w, s, k, v: tuple(
        einsum(s, torch.sigmoid(einsum(h, w, "b d, l d -> b l")), p, ", b l, l d -> b l d") for p in (k, v)
    ),
    "double_log_space": gated_in_double,
    "in_place_on_copies": gated_in_place,
    "module": GatedByModule(),
    "diagonal_matrices": lambda h, w, s, k, v: [torch.diag_embed(s * alpha_of(h, w)) @ p for p in (k, v)],
    "one_example_at_a_time": lambda h, w, s, k, v: tuple(
        torch.stack([s * (w @ x).sigmoid().view(-1, 1) * p for x in h]) for p in (k, v)
    ),
}


WRONG_5_1 = {
    "no_scale_swapped": (
        "λ is forgotten, and values first",
        lambda h, w, s, k, v: gated(scales=lambda s: (1, 1))(h, w, s, v, k),
    ),
    "one_tensor": ("the two are added up", lambda *x: sum(gated()(*x))),
    "no_scale": ("λ is forgotten", gated(scales=lambda s: (1, 1))),
    "scale_squashed": ("λ goes through a sigmoid", gated(scales=lambda s: (s.sigmoid(), s.sigmoid()))),
    "scale_inside": (
        "λ stands inside the sigmoid",
        lambda h, w, s, k, v: gated(scales=lambda s: (1, 1))(s * h, w, s, k, v),
    ),
    "scale_size": ("|λ|: the sign is lost", gated(scales=lambda s: (s.abs(), s.abs()))),
    "scale_squared": ("λ comes in twice", gated(scales=lambda s: (s * s, s * s))),
    "swapped": ("values first", lambda h, w, s, k, v: gated()(h, w, s, v, k)),
    "value_not_gated": (
        "the values come through without a gate",
        lambda *x: (gated()(*x)[0], x[4].expand(len(x[0]), -1, -1)),
    ),
    "reshaped": (
        "reshape where W is to be transposed",
        gated(alpha=lambda h, w: (h @ w.reshape(w.shape[1], w.shape[0])).sigmoid()),
    ),
    "no_sigmoid": ("no sigmoid", gated(alpha=lambda h, w: h @ w.T)),
    "softmax": ("a softmax over the prefix tokens", gated(alpha=lambda h, w: (h @ w.T).softmax(1))),
    "closed": ("1 − α", gated(alpha=lambda h, w: 1 - alpha_of(h, w))),
    "one_example": ("α of the first example for all", gated(alpha=lambda h, w: alpha_of(h[:1], w).expand(len(h), -1))),
}


# 5.2: count_parameters(L, l, d, token_gate, layer_gate, gate_input)


def count_by_shapes(L, l, d, token_gate, layer_gate, gate_input):
    shapes = [(l, d)] * 2
    if token_gate:
        shapes += [{"first_token": (l, d), "mean": (l, d), "none": (l,)}[gate_input]]
    if layer_gate:
        shapes += [()]
    return sum(math.prod(shape) for shape in L * shapes)


def count_on_meta(L, l, d, token_gate, layer_gate, gate_input):
    with torch.device("meta"):
        one = AdaptivePrefix(AptConfig(l, token_gate, layer_gate, gate_input), d)
    return L * sum(p.numel() for p in one.parameters())


def count_by_match(L, l, d, token_gate, layer_gate, gate_input):
    match token_gate, gate_input:
        case True, "none":
            gate = l
        case True, _:
            gate = d * l
        case _:
            gate = 0
    return L * (2 * l * d + gate + layer_gate)


class Counter:
    def __call__(self, L, l, d, token_gate, layer_gate, gate_input):
        total = 0
        for _ in range(L):
            for _ in ("key", "value"):
                total += l * d
            total += (l if gate_input == "none" else l * d) if token_gate else 0
            total += 1 if layer_gate else 0
        return total


RIGHT_5_2 = {
    "formula": lambda L, l, d, t, g, i: 2 * L * l * d + t * L * l * (1 if i == "none" else d) + g * L,
    "shapes": count_by_shapes,
    "meta_device": count_on_meta,
    "match": count_by_match,
    "class_with_loop": Counter(),
    "from_the_whole": lambda L, l, d, t, g, i: (
        3 * L * l * d + L - L * (not g) - L * l * d * (not t) - L * l * (d - 1) * (t and i == "none")
    ),
    "tensor": lambda L, l, d, t, g, i: (
        int(torch.tensor([2 * l * d, l * d * (t and i != "none"), l * (t and i == "none"), g]).sum()) * L
    ),
}


def counted(p=2, w=lambda L, l, d: L * l * d, none=lambda L, l, d: L * l, scale=lambda L, l, d: L, mean=None):
    """A count whose parts can be got wrong: factor of P, W, w, λ, and W under "mean"."""
    gates = {"first_token": w, "mean": mean or w, "none": none}
    return lambda L, l, d, t, g, i: p * L * l * d + (gates[i](L, l, d) if t else 0) + (scale(L, l, d) if g else 0)


WRONG_5_2 = {
    "one_scale_none_is_d": (
        "one λ for all layers, and w has d numbers",
        counted(none=lambda L, l, d: L * d, scale=lambda L, l, d: 1),
    ),
    "one_scale": ("one λ for all layers", counted(scale=lambda L, l, d: 1)),
    "scale_per_token": ("a λ for every prefix token", counted(scale=lambda L, l, d: L * l)),
    "scale_always": ("λ is counted where its gate is off", lambda L, l, d, t, g, i: counted()(L, l, d, t, True, i)),
    "no_scale": ("λ is not counted", counted(scale=lambda L, l, d: 0)),
    "scale_inside_token_gate": (
        "without token gate no λ",
        lambda L, l, d, t, g, i: counted()(L, l, d, t, t and g, i),
    ),
    "keys_only": ("P_v is forgotten", counted(p=1)),
    "two_gates": ("W for keys and W for values", counted(w=lambda L, l, d: 2 * L * l * d)),
    "bias": ("a bias in the gate", counted(w=lambda L, l, d: L * l * (d + 1))),
    "none_is_d": ("w has d numbers", counted(none=lambda L, l, d: L * d)),
    "none_is_whole": ("w is as large as W", counted(none=lambda L, l, d: L * l * d)),
    "mean_is_none": ("the mean is counted like no h", counted(mean=lambda L, l, d: L * l)),
    "none_though_off": (
        "w is counted where the token gate is off",
        lambda L, l, d, t, g, i: counted()(L, l, d, t or i == "none", g, i),
    ),
}


# 5.3: unfold(key, value, weight, scale), [l, d], [l, d], [l], []


def unfold_by_loops(key, value, weight, scale):
    made = []
    for p in (key, value):
        rows = [
            [float(x) * (1 + math.exp(-float(w))) / float(scale) for x in row] for row, w in zip(p, weight, strict=True)
        ]
        made.append(torch.tensor(rows, dtype=p.dtype))
    return made


class Unfold(nn.Module):
    def forward(self, key, value, weight, scale):
        pair = torch.stack((key, value))
        pair /= (scale * torch.sigmoid(weight)).view(1, -1, 1)
        return pair[0], pair[1]


RIGHT_5_3 = {
    "division": lambda k, v, w, s: (k / (s * w.sigmoid())[:, None], v / (s * w.sigmoid())[:, None]),
    "loops_list": unfold_by_loops,
    "log_space": lambda k, v, w, s: tuple(p * (-F.logsigmoid(w)).exp().unsqueeze(1) / s for p in (k, v)),
    "linear_system": lambda k, v, w, s: torch.linalg.solve(torch.diag(s * w.sigmoid()), torch.cat([k, v], 1)).chunk(
        2, 1
    ),
    "double": lambda k, v, w, s: tuple(
        (p.double() / s.double() / w.double().sigmoid().reshape(-1, 1)).to(p.dtype) for p in (k, v)
    ),
    "einsum": lambda k, v, w, s: [einsum(p, 1 + (-w).exp(), 1 / s, "l d, l, -> l d") for p in (k, v)],
    "module_in_place_on_a_copy": Unfold(),
    "transposed": lambda k, v, w, s: tuple((p.T / w.sigmoid() / s).T for p in (k, v)),
}


def unfolded(gate=lambda w, s: s * w.sigmoid(), rows=lambda gate: gate[:, None]):
    return lambda k, v, w, s: tuple(p / rows(gate(w, s)) for p in (k, v))


WRONG_5_3 = {
    "eps": ("an eps in the divisor", unfolded(lambda w, s: s * w.sigmoid() + 1e-8)),
    "tiny_scale_left": (
        "a very small λ is taken for 0, and nothing is done",
        lambda k, v, w, s: (k, v) if s.abs() < 1e-4 else unfolded()(k, v, w, s),
    ),
    "alpha_clamped": ("a small α is taken for 0.01", unfolded(lambda w, s: s * w.sigmoid().clamp(min=0.01))),
    "no_scale_key_only": ("λ is forgotten, and the value is left", lambda k, v, w, s: (k / w.sigmoid()[:, None], v)),
    "half": ("α taken for ½", unfolded(lambda w, s: (s / 2).expand(len(w)))),
    "folded": ("folds where it is to unfold", unfolded(lambda w, s: 1 / (s * w.sigmoid()))),
    "no_scale": ("λ is forgotten", unfolded(lambda w, s: w.sigmoid())),
    "no_alpha": ("α is forgotten", unfolded(lambda w, s: s.expand(len(w)))),
    "no_sigmoid": ("divides by w, not by σ(w)", unfolded(lambda w, s: s * w)),
    "times_scale": ("divides by α, multiplies by λ", unfolded(lambda w, s: w.sigmoid() / s)),
    "scale_size": ("|λ|: the sign is lost", unfolded(lambda w, s: s.abs() * w.sigmoid())),
    "scale_clamped": (
        "a small |λ| is taken for 0.1",
        unfolded(lambda w, s: s.sign() * s.abs().clamp(min=0.1) * w.sigmoid()),
    ),
    "key_only": ("the value is left as it is", lambda k, v, w, s: (unfolded()(k, v, w, s)[0], v)),
    "swapped": ("values first", lambda k, v, w, s: unfolded()(v, k, w, s)),
}


# 5.4: dead(key, value, weight, scale) -> set of names


def dead_by_cases(key, value, weight, scale):
    names = set()
    if scale == 0:
        names |= {"key", "value", "weight"}
    if not key.any() and not value.any():
        names |= {"weight", "scale"}
    return names


def dead_by_gradient(key, value, weight, scale):
    """Backward in float64 from random numbers, as a loss that happens to nothing would send them."""
    generator = torch.Generator().manual_seed(0)
    parts = [x.detach().double().requires_grad_() for x in (key, value, weight, scale)]
    h = torch.rand(3, key.shape[1], generator=generator, dtype=torch.float64) + 0.5
    gate = parts[3] * (h @ parts[2].T / 100).sigmoid()
    loss = sum(
        (torch.rand(3, *p.shape, generator=generator, dtype=torch.float64) * gate[..., None] * p).sum()
        for p in parts[:2]
    )
    loss.backward()
    return {n for n, p in zip(("key", "value", "weight", "scale"), parts, strict=True) if not p.grad.any()}


def dead_by_loops(key, value, weight, scale):
    alive = any(x != 0 for p in (key, value) for row in p.tolist() for x in row)
    factors = {"key": [scale.item()], "value": [scale.item()], "weight": [scale.item(), alive], "scale": [alive]}
    return {name for name, needs in factors.items() if not all(needs)}


class Dead:
    def __call__(self, key, value, weight, scale):
        empty, off = np.count_nonzero(np.stack([key.numpy(), value.numpy()])) == 0, float(scale) == 0.0
        return set(["key", "value"] * off + ["scale"] * bool(empty) + ["weight"] * bool(off or empty))


RIGHT_5_4 = {
    "list": lambda *x: sorted(dead_by_cases(*x)),
    "cases": dead_by_cases,
    "gradient": dead_by_gradient,
    "loops": dead_by_loops,
    "class_numpy": Dead(),
    "largest": lambda k, v, w, s: (
        ({"key", "value", "weight"} if s.abs() == 0 else set())
        | ({"scale", "weight"} if max(k.abs().max(), v.abs().max()) == 0 else set())
    ),
    "table": lambda k, v, w, s: {
        (False, False): set(),
        (False, True): {"weight", "scale"},
        (True, False): {"key", "value", "weight"},
        (True, True): {"key", "value", "weight", "scale"},
    }[not bool(s), torch.equal(torch.cat([k, v]), torch.zeros_like(torch.cat([k, v])))],
}


def none(p):
    return not p.any()


def deadly(
    zero=none, off=none, empty=lambda k, v, zero: zero(k) and zero(v), extra=lambda *x: set(), less=lambda *x: set()
):
    """An answer in which the test for zeros and single names can be got wrong."""

    def answer(k, v, w, s):
        names = ({"key", "value", "weight"} if off(s) else set()) | (
            {"weight", "scale"} if empty(k, v, zero) else set()
        )
        return (names | extra(k, v, w, s)) - less(k, v, w, s)

    return answer


WRONG_5_4 = {
    "largest_0": ("a largest entry of 0 is taken for zeros", deadly(zero=lambda p: p.max() == 0)),
    "smallest_0": ("a smallest entry of 0 is taken for zeros", deadly(zero=lambda p: p.min() == 0)),
    "alive": ("the living, not the dead", lambda *x: {"key", "value", "weight", "scale"} - dead_by_cases(*x)),
    "own_zeros": (
        "what is 0 itself is called dead",
        lambda *x: {n for n, p in zip(("key", "value", "weight", "scale"), x, strict=True) if none(p)},
    ),
    "weight_0": ("W = 0 is called dead", deadly(extra=lambda k, v, w, s: {"weight"} if none(w) else set())),
    "scale_0": ("λ = 0 kills λ", deadly(extra=lambda k, v, w, s: {"scale"} if none(s) else set())),
    "empty_value_kills_key": ("P_v = 0 kills P_k", deadly(extra=lambda k, v, w, s: {"key"} if none(v) else set())),
    "empty_kills_itself": (
        "P = 0 kills P",
        deadly(extra=lambda k, v, w, s: {"key", "value"} if none(k) and none(v) else set()),
    ),
    "either_empty": ("P_k = 0 or P_v = 0 is enough", deadly(empty=lambda k, v, zero: zero(k) or zero(v))),
    "weight_by_p_only": (
        "W is not called dead at λ = 0",
        deadly(less=lambda k, v, w, s: set() if none(k) and none(v) else {"weight"}),
    ),
    "sum": ("a sum of 0 is taken for zeros", deadly(zero=lambda p: p.sum() == 0)),
    "key_plus_value": ("P_k = −P_v is taken for zeros", deadly(empty=lambda k, v, _: none(k + v))),
    "max": ("nothing above 0 is taken for zeros", deadly(zero=lambda p: p.max() <= 0)),
    "close": ("small P are taken for 0", deadly(zero=lambda p: torch.allclose(p, torch.zeros_like(p)))),
    "close_scale": ("a small λ is taken for 0", deadly(off=lambda s: s.abs() < 1e-6)),
    "truncated_scale": ("|λ| < 1 is taken for 0", deadly(off=lambda s: int(s) == 0)),
    "negative_scale": ("a negative λ is taken for 0", deadly(off=lambda s: s <= 0)),
}


# 5.5: apt_attention(x, mask, projections, prefix, heads)


def seen(x, mask):
    return torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask.bool()


def pair_of(x, mask, prefix, first=first_token):
    gate = prefix["scale"] * alpha_of(first(x, mask), prefix["weight"])
    return gate[..., None] * prefix["key"], gate[..., None] * prefix["value"]


def apt_by_package(x, mask, projections, prefix, heads):
    mask = None if mask is None else mask.bool()[:, None, None]
    qkv = (split_heads(x @ p, heads) for p in projections)
    first = first_token(x, None if mask is None else mask[:, 0, 0])
    return merge_heads(
        prefix_attention(*qkv, *gated()(first, *(prefix[n] for n in ("weight", "scale", "key", "value"))), mask)[0]
    )


def apt_by_loops(x, mask, projections, prefix, heads):
    """Every example without its padding, every head by itself."""
    output, size = torch.zeros_like(x), x.shape[2] // heads
    for i, real in enumerate(seen(x, mask)):
        words = x[i, real]
        gate = prefix["scale"] * torch.sigmoid(prefix["weight"] @ words[0])
        query, key, value = (words @ p for p in projections)
        key, value = (torch.vstack([gate[:, None] * prefix[n], p]) for n, p in (("key", key), ("value", value)))
        parts = []
        for j in range(heads):
            part = slice(j * size, (j + 1) * size)
            parts.append(torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(size), dim=1) @ value[:, part])
        output[i, real] = torch.hstack(parts)
    return output


def apt_fused_prefix_behind(x, mask, projections, prefix, heads):
    """The prefix behind the words: the order of keys makes no difference."""
    query, key, value = (x @ p for p in projections)
    p_k, p_v = pair_of(x, mask, prefix)
    visible = torch.cat([seen(x, mask), torch.ones(p_k.shape[:2], dtype=torch.bool)], dim=1)[:, None, None]
    key, value = torch.cat([key, p_k], 1), torch.cat([value, p_v], 1)
    query, key, value = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible).transpose(1, 2).flatten(2)


def apt_in_log_space(x, mask, projections, prefix, heads):
    xd, parts = x.double(), {n: p.double() for n, p in prefix.items()}
    p_k, p_v = pair_of(xd, mask, parts)
    q, k, v = (xd @ p.double() for p in projections)
    q, k, v = (
        rearrange(y, "b n (h e) -> h b n e", h=heads) for y in (q, torch.cat([p_k, k], 1), torch.cat([p_v, v], 1))
    )
    scores = einsum(q, k, "h b n e, h b k e -> h b n k") / q.shape[-1] ** 0.5
    scores = scores + F.pad(seen(x, mask).double(), (len(parts["key"]), 0), value=1.0).log()[None, :, None]
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return rearrange(weights @ v, "h b n e -> b n (h e)").to(x.dtype)


def apt_by_interpolation(x, mask, projections, prefix, heads):
    """E4: attention to the words and attention to the prefix, mixed by the mass on the prefix."""
    q, k, v = (split_heads(x @ p, heads) for p in projections)
    p_k, p_v = (split_heads(p, heads) for p in pair_of(x, mask, prefix))
    words = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen(x, mask)[:, None, None], -torch.inf)
    front = q @ p_k.mT / q.shape[-1] ** 0.5
    m = torch.sigmoid(front.logsumexp(-1, True) - words.logsumexp(-1, True))
    return merge_heads((1 - m) * (words.softmax(-1) @ v) + m * (front.softmax(-1) @ p_v))


class AptAttention(nn.Module):
    def forward(self, x, mask, projections, prefix, heads):
        real = seen(x, mask)
        first = x[range(len(x)), [row.tolist().index(True) for row in real]]
        gate = (prefix["scale"] * F.linear(first, prefix["weight"]).sigmoid()).unsqueeze(-1)
        query, key, value = (x @ p for p in projections)
        key, value = torch.cat([gate * prefix["key"], key], 1), torch.cat([gate * prefix["value"], value], 1)
        real = torch.cat([real.new_ones(gate.shape[:2]), real], dim=1)[:, None]
        heads_out = []
        for q, k, v in zip(*(y.chunk(heads, dim=-1) for y in (query, key, value)), strict=True):
            scores = torch.bmm(q, k.mT).mul_(k.shape[-1] ** -0.5).masked_fill_(~real, -1e9)
            e = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
            heads_out.append(torch.bmm(e / e.sum(-1, keepdim=True), v))
        return torch.cat(heads_out, dim=-1)


RIGHT_5_5 = {
    "package": apt_by_package,
    "loops_without_padding": apt_by_loops,
    "fused_prefix_behind": apt_fused_prefix_behind,
    "log_space_double": apt_in_log_space,
    "interpolation": apt_by_interpolation,
    "module_by_head": AptAttention(),
}

SPLIT, MERGE = "b n (h e) -> b h n e", "b h n e -> b n (h e)"


def apt(
    pair=pair_of,
    seen=seen,
    widen=lambda real, l: F.pad(real, (l, 0), value=True),
    split=SPLIT,
    merge=MERGE,
    root=lambda q, d: q.shape[-1] ** 0.5,
    project=lambda p, matrix: p,
    weigh=lambda scores, real: scores.masked_fill(~real, -torch.inf).softmax(-1),
):
    """An answer whose steps can be got wrong."""

    def answer(x, mask, projections, prefix, heads):
        query, key, value = (x @ p for p in projections)
        p_k, p_v = pair(x, mask, prefix)
        key = torch.cat([project(p_k, projections[1]), key], 1)
        value = torch.cat([project(p_v, projections[2]), value], 1)
        q, k, v = (rearrange(y, split, h=heads) for y in (query, key, value))
        real = widen(seen(x, mask), p_k.shape[1])[:, None, None]
        return rearrange(weigh(q @ k.mT / root(q, x.shape[-1]), real) @ v, merge)

    return answer


def pair_by(first):
    """The pair whose gate reads `first(x, mask)`."""
    return lambda x, mask, prefix: pair_of(x, mask, prefix, first)


def pair_with(**changed):
    """The pair with changed parts of the prefix."""
    return lambda x, mask, prefix: pair_of(x, mask, prefix | {n: f(prefix) for n, f in changed.items()})


def pair_gating(gates):
    """The pair in which `gates(gate)` says what meets the keys and what meets the values."""

    def pair(x, mask, prefix):
        g_k, g_v = gates((prefix["scale"] * alpha_of(first_token(x, mask), prefix["weight"]))[..., None])
        return g_k * prefix["key"], g_v * prefix["value"]

    return pair


def count_of_padding(x, mask):
    """The first real token, if all padding is on the left."""
    return x[torch.arange(len(x)), (x.shape[1] - seen(x, mask).sum(1)).clamp(max=x.shape[1] - 1)]


def with_heads(heads_of):
    return lambda x, mask, projections, prefix, heads: apt()(x, mask, projections, prefix, heads_of(heads, x.shape[-1]))


WRONG_5_5 = {
    "merged_by_reshape": (
        "[b, h, n, e] is reshaped to [b, n, d]",
        lambda x, mask, projections, prefix, heads: rearrange(
            apt()(x, mask, projections, prefix, heads), "b n (h e) -> b h n e", h=heads
        ).reshape(x.shape),
    ),
    "position_0_mask_ignored": (
        "the gate reads position 0, and padding is attended to",
        lambda x, mask, *rest: apt()(x, None, *rest),
    ),
    "padding_zeroed_no_mask": (
        "padding is zeroed in x, then there is no mask",
        lambda x, mask, *rest: apt()(x * seen(x, mask)[..., None], None, *rest),
    ),
    "none_not_expected": ("a mask of None is an error", lambda x, mask, *rest: apt()(x, mask.bool(), *rest)),
    "linear_layers": (
        "x @ projection.T, as nn.Linear has it",
        lambda x, mask, projections, *rest: apt()(x, mask, [p.T for p in projections], *rest),
    ),
    "position_0": ("the gate reads position 0", apt(pair=pair_by(lambda x, mask: x[:, 0]))),
    "count_of_padding": ("padding on the right moves the gate's token", apt(pair=pair_by(count_of_padding))),
    "projected": ("the prefix is projected", apt(project=lambda p, matrix: p @ matrix)),
    "no_scale": ("λ is forgotten", apt(pair=pair_with(scale=lambda p: torch.ones_like(p["scale"])))),
    "no_alpha": ("α is forgotten: ½", apt(pair=pair_with(weight=lambda p: torch.zeros_like(p["weight"])))),
    "values_not_gated": ("only the keys are gated", apt(pair=pair_gating(lambda g: (g, torch.ones_like(g))))),
    "swapped": ("P_v among the keys, P_k among the values", apt(pair=lambda *x: pair_of(*x)[::-1])),
    "root_of_d": ("divided by √d", apt(root=lambda q, d: d**0.5)),
    "not_divided": ("not divided", apt(root=lambda q, d: 1)),
    "heads_interleaved": (
        "head 0 has every h-th column",
        apt(split="b n (e h) -> b h n e", merge="b h n e -> b n (e h)"),
    ),
    "one_head": ("one head", with_heads(lambda heads, d: 1)),
    "mask_ignored": ("padding is attended to", apt(seen=lambda x, mask: seen(x, None))),
    "widened_on_the_right": (
        "the mask is widened on the wrong side",
        apt(widen=lambda r, l: F.pad(r, (0, l), value=True)),
    ),
    "prefix_masked": ("the prefix is masked", apt(widen=lambda r, l: F.pad(r, (l, 0), value=False))),
    "mask_reversed": (
        "words are hidden, padding is seen",
        apt(seen=lambda x, mask: ~seen(x, mask) if mask is not None else seen(x, mask)),
    ),
    "weights_zeroed": ("weights are zeroed after the softmax", apt(weigh=lambda s, real: s.softmax(-1) * real)),
}

CHECKS = [
    (exercises.check_gated_prefix, RIGHT_5_1, WRONG_5_1),
    (exercises.check_count_parameters, RIGHT_5_2, WRONG_5_2),
    (exercises.check_unfold, RIGHT_5_3, WRONG_5_3),
    (exercises.check_dead, RIGHT_5_4, WRONG_5_4),
    (exercises.check_apt_attention, RIGHT_5_5, WRONG_5_5),
]
