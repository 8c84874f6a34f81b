"""Lesson 05's checkers pass right answers in different styles, and name the usual mistakes."""

import math

import pytest
import torch
import torch.nn.functional as F

from apt_minimal import AdaptivePrefix, AptConfig
from apt_minimal.attention import merge_heads, prefix_attention, split_heads
from apt_minimal.course import lesson_05 as exercises

# 5.1


def gated(h, w, s, k, v):
    gate = (s * torch.sigmoid(h @ w.T))[:, :, None]
    return gate * k, gate * v


def gated_by_loop(h, w, s, k, v):
    keys = torch.zeros(len(h), *k.shape)
    values = torch.zeros(len(h), *k.shape)
    for i in range(len(h)):
        for j in range(len(k)):
            alpha = 1 / (1 + math.exp(-float((h[i] * w[j]).sum())))
            keys[i, j], values[i, j] = s * alpha * k[j], s * alpha * v[j]
    return [keys, values]


def gated_by_einsum(h, w, s, k, v):
    alpha = torch.einsum("bd,ld->bl", h.double(), w.double()).sigmoid()
    return tuple(s * torch.einsum("bl,ld->bld", alpha, p.double()) for p in (k, v))


def gated_in_place(h, w, s, k, v):
    k *= s
    v *= s
    alpha = F.linear(h, w).sigmoid_().unsqueeze(2)
    return alpha * k, alpha * v


def gated_by_package(h, w, s, k, v):
    prefix = AdaptivePrefix(AptConfig(len(k), prefix_dropout=0.0), k.shape[1])
    with torch.no_grad():
        for own, given in ((prefix.key, k), (prefix.value, v), (prefix.token_gate.weight, w)):
            own.copy_(given)
        prefix.layer_gate.scale.copy_(s)
    return prefix(h[:, None])


# 5.2


def counted(L, l, d, token_gate, layer_gate, gate_input):
    gate = 0 if not token_gate else l if gate_input == "none" else l * d
    return L * (2 * l * d + gate + (1 if layer_gate else 0))


def counted_by_sums(L, l, d, token_gate, layer_gate, gate_input):
    total = 0
    for _ in range(L):
        total += sum([l * d, l * d])
        if token_gate:
            total += {"first_token": l * d, "mean": l * d, "none": l}[gate_input]
        total += int(layer_gate)
    return float(total)


def counted_from_module(L, l, d, token_gate, layer_gate, gate_input):
    with torch.device("meta"):
        module = AdaptivePrefix(AptConfig(l, token_gate, layer_gate, gate_input), d)
    return L * torch.tensor(sum(p.numel() for p in module.parameters()))


# 5.3


def unfolded(k, v, w, s):
    gate = (s * w.sigmoid()).unsqueeze(-1)
    return k / gate, v / gate


def unfolded_by_exp(k, v, w, s):
    return [(1 + torch.exp(-w)).view(-1, 1) * p * s.reciprocal() for p in (k, v)]


def unfolded_by_loop(k, v, w, s):
    for p in (k, v):
        for j in range(len(w)):
            p[j] /= s * torch.sigmoid(w[j])
    return k, v


# 5.4


def dead(k, v, w, s):
    found = set()
    if s == 0:
        found |= {"key", "value", "weight"}
    if (k == 0).all() and (v == 0).all():
        found |= {"weight", "scale"}
    return found


def dead_as_list(k, v, w, s):
    empty = torch.count_nonzero(torch.cat([k, v])) == 0
    return ["key", "value"] * bool(s == 0) + ["weight"] * bool(s == 0 or empty) + ["scale"] * bool(empty)


def dead_by_autograd(k, v, w, s):
    torch.manual_seed(0)
    parts = {"key": k, "value": v, "weight": w, "scale": s}
    for part in parts.values():
        part.requires_grad_()
    x, query = torch.randn(3, 5, k.shape[1]), torch.randn(3, 1, 5, k.shape[1])
    pair = gated(x[:, 0], w, s, k, v)
    out, _ = prefix_attention(query, x[:, None], x[:, None], *pair)
    (out * torch.randn(out.shape)).sum().backward()
    return frozenset(name for name, part in parts.items() if not part.grad.any())


def dead_by_norm(k, v, w, s):
    empty = k.norm() == 0 and v.norm() == 0
    return ({"key", "value", "weight"} if s == 0 else set()) | ({"weight", "scale"} if empty else set())


# 5.5


def apt(x, mask, projections, prefix, heads):
    module = AdaptivePrefix(AptConfig(len(prefix["key"]), prefix_dropout=0.0), x.shape[-1])
    with torch.no_grad():
        module.key.copy_(prefix["key"])
        module.value.copy_(prefix["value"])
        module.token_gate.weight.copy_(prefix["weight"])
        module.layer_gate.scale.copy_(prefix["scale"])
    query, key, value = (split_heads(x @ p, heads) for p in projections)
    wide = None if mask is None else mask.bool()[:, None, None]
    return merge_heads(prefix_attention(query, key, value, *module(x, mask), wide)[0])


def apt_by_loop(x, mask, projections, prefix, heads):
    b, n, d = x.shape
    mask = torch.ones(b, n) if mask is None else mask
    size, out = d // heads, torch.zeros(b, n, d)
    for i in range(b):
        real = mask[i].bool()
        words = x[i][real]
        alpha = torch.sigmoid(prefix["weight"] @ words[0])
        gate = (prefix["scale"] * alpha)[:, None]
        q, k, v = (words @ p for p in projections)
        k, v = torch.cat([gate * prefix["key"], k]), torch.cat([gate * prefix["value"], v])
        done = [
            F.softmax(q[:, c : c + size] @ k[:, c : c + size].T / math.sqrt(size), dim=1) @ v[:, c : c + size]
            for c in range(0, d, size)
        ]
        out[i, real] = torch.cat(done, dim=1)
    return out


def apt_fused(x, mask, projections, prefix, heads, **wrong):
    """Right without `wrong`; each keyword is a slip a student makes."""
    b, n, d = x.shape
    mask = torch.ones(b, n) if mask is None else mask
    mask = mask.bool()
    first = x[torch.arange(b), mask.int().argmax(1)]
    if wrong.get("first") == "zero":
        first = x[:, 0]
    if wrong.get("first") == "mean":
        first = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    logits = first @ prefix["weight"].T
    alpha = wrong.get("alpha", torch.sigmoid)(logits)
    gate = (wrong.get("scale", lambda s: s)(prefix["scale"]) * alpha)[..., None]
    pk, pv = gate * prefix["key"], gate * prefix["value"]
    if wrong.get("only") == "key":
        pv = prefix["value"].expand_as(pk)
    if wrong.get("only") == "value":
        pk = prefix["key"].expand_as(pv)
    if wrong.get("project"):
        pk, pv = pk @ projections[1], pv @ projections[2]
    pairs = [[pk, x @ projections[1]], [pv, x @ projections[2]]]
    visible = [torch.full(gate.shape[:2], wrong.get("visible", True)), mask]
    if wrong.get("behind"):
        pairs = [pair[::-1] for pair in pairs]
    key, value = (torch.cat(pair, 1) for pair in pairs)
    visible = torch.cat(visible[::-1] if wrong.get("mask_behind", wrong.get("behind")) else visible, 1)

    def split(t):
        if wrong.get("interleaved"):
            return t.view(*t.shape[:2], d // heads, heads).permute(0, 3, 1, 2)
        return t.view(*t.shape[:2], heads, d // heads).transpose(1, 2)

    query, key, value = split(x @ projections[0]), split(key), split(value)
    if "fill" in wrong:
        scores = query @ key.mT / (d // heads) ** 0.5
        return (wrong["fill"](scores, visible[:, None, None]) @ value).transpose(1, 2).reshape(b, n, d)
    seen = None if wrong.get("no_mask") else visible[:, None, None]
    out = F.scaled_dot_product_attention(
        query, key, value, seen, scale=wrong.get("factor", lambda d, h: None)(d, heads)
    )
    return out.transpose(1, 2).reshape(b, n, d)


@pytest.mark.parametrize(
    "check, answer",
    [
        *((exercises.check_gated_prefix, f) for f in (gated, gated_by_loop, gated_by_einsum, gated_in_place)),
        (exercises.check_gated_prefix, gated_by_package),
        *((exercises.check_count_parameters, f) for f in (counted, counted_by_sums, counted_from_module)),
        *((exercises.check_unfold, f) for f in (unfolded, unfolded_by_exp, unfolded_by_loop)),
        *((exercises.check_dead, f) for f in (dead, dead_as_list, dead_by_autograd, dead_by_norm)),
        *((exercises.check_apt_attention, f) for f in (apt, apt_by_loop, apt_fused)),
        (exercises.check_apt_attention, lambda *given: apt_fused(*given, behind=True)),  # the order of keys is free
    ],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def slip(**wrong):
    return lambda *given: apt_fused(*given, **wrong)


def e3(alpha=torch.sigmoid, scale=lambda s: s, key=True, value=True):
    def answer(h, w, s, k, v):
        gate = (scale(s) * alpha(h @ w.T)).unsqueeze(-1)
        return (gate if key else torch.ones_like(gate)) * k, (gate if value else torch.ones_like(gate)) * v

    return answer


def count_with(prefix=2, gate=1, bias=0, lam="L"):
    def answer(L, l, d, token_gate, layer_gate, gate_input):
        width = 1 if gate_input == "none" else d
        sizes = {"L": L, "1": 1, "Ll": L * l, "2L": 2 * L, "0": 0}
        return prefix * L * l * d + token_gate * L * l * (gate * width + bias) + layer_gate * sizes[lam]

    return answer


def dead_with(key=lambda k, v, w, s: s, value=lambda k, v, w, s: s, weight=None, scale=lambda k, v, w, s: k and v):
    weight = weight or (lambda k, v, w, s: s or (k and v))

    def answer(*given):
        zeros = [not t.any() for t in given]
        tests = {"key": key, "value": value, "weight": weight, "scale": scale}
        return {name for name, test in tests.items() if test(*zeros)}

    return answer


@pytest.mark.parametrize(
    "check, answer, diagnosis",
    [
        (exercises.check_gated_prefix, e3(scale=torch.sigmoid), "squashed by a sigmoid"),
        (exercises.check_gated_prefix, e3(scale=torch.tanh), "squashed by tanh"),
        (exercises.check_gated_prefix, e3(scale=torch.ones_like), "λ is missing"),
        (exercises.check_gated_prefix, e3(scale=torch.square), "λ is applied twice"),
        (exercises.check_gated_prefix, e3(scale=torch.abs), "sign is lost"),
        (exercises.check_gated_prefix, e3(scale=torch.relu), "cut off at 0"),
        (exercises.check_gated_prefix, e3(alpha=lambda t: t.softmax(1)), "compete"),
        (exercises.check_gated_prefix, e3(alpha=lambda t: t.softmax(0)), "over the examples"),
        (exercises.check_gated_prefix, e3(alpha=lambda t: t), "as it is"),
        (exercises.check_gated_prefix, e3(alpha=torch.tanh), "turn a token round"),
        (exercises.check_gated_prefix, e3(alpha=lambda t: t.sigmoid() ** 2), "α is applied twice"),
        (exercises.check_gated_prefix, e3(alpha=lambda t: t.neg().sigmoid()), "1 − α"),
        (exercises.check_gated_prefix, e3(key=False), "both are left out on the keys"),
        (exercises.check_gated_prefix, e3(value=False), "both are left out on the values"),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: (s * k.expand(len(h), -1, -1), gated(h, w, s, k, v)[1]),
            "α is left out on the keys",
        ),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: (gated(h, w, 1, k, v)[0], gated(h, w, s, k, v)[1]),
            "λ is left out on the keys",
        ),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, s * w, 1, k, v), "outside the sigmoid"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, s * w, s, k, v), "inside and outside"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, w, s, v, k), "first the key"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, w, s, k, k), "come from the key"),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: [p * (s + (h @ w.T).sigmoid())[..., None] for p in (k, v)],
            "added",
        ),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: [p + (s * (h @ w.T).sigmoid())[..., None] for p in (k, v)],
            "added to P",
        ),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: [p * (s * (h @ w.T).sigmoid())[:, None] for p in (k, v)],
            "columns",
        ),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: [p * s * (h @ w.T).sigmoid() for p in (k, v)],
            "third axis",
        ),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, w.T, s, k, v), "hidden_first @ weight.T"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: (s * k, s * v), "α is missing"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: (k, v), "both gates are missing"),
        (
            exercises.check_gated_prefix,
            e3(alpha=lambda t: t.softmax(1), scale=torch.sigmoid),
            "compete; λ is squashed",
        ),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, w, s, k, v)[0], "made into one"),
        (exercises.check_gated_prefix, lambda *given: torch.stack(gated(*given)), "made into one"),
        (exercises.check_gated_prefix, lambda h, w, s, k, v: gated(h, w.reshape(w.T.shape).T, s, k, v), "by .T"),
        (exercises.check_gated_prefix, lambda h, *given: gated(h.mean(0).expand_as(h), *given), "averaged over"),
        (exercises.check_gated_prefix, lambda *given: [p.squeeze() for p in gated(*given)], "axis of size 1"),
        (
            exercises.check_gated_prefix,
            lambda h, w, s, k, v: [p * (s * (h @ w.T).sigmoid())[..., None] for p in (k, gated(h, w, s, k, v)[0])],
            "once more",
        ),
        (exercises.check_gated_prefix, e3(alpha=torch.cos), "α = σ(hW) is [b, l]"),
        (exercises.check_count_parameters, count_with(prefix=1), "two prefixes"),
        (exercises.check_count_parameters, count_with(gate=2), "counts once"),
        (exercises.check_count_parameters, count_with(gate=0), "gate is missing"),
        (exercises.check_count_parameters, count_with(bias=1), "no bias"),
        (exercises.check_count_parameters, count_with(lam="1"), "not one for all"),
        (exercises.check_count_parameters, count_with(lam="0"), "λ is missing"),
        (exercises.check_count_parameters, count_with(lam="Ll"), "each prefix token"),
        (exercises.check_count_parameters, count_with(lam="2L"), "share their λ"),
        (
            exercises.check_count_parameters,
            count_with(prefix=1, lam="1"),
            "two prefixes, one for keys and one for values; ",
        ),
        (exercises.check_count_parameters, lambda L, l, d, t, g, i: counted(L, l, d, True, g, i), "takes W away"),
        (exercises.check_count_parameters, lambda L, l, d, t, g, i: counted(L, l, d, t, True, i), "takes λ away"),
        (exercises.check_count_parameters, lambda L, l, d, t, g, i: counted(L, l, d, t, g, "mean"), "no h to multiply"),
        (
            exercises.check_count_parameters,
            lambda L, l, d, t, g, i: counted(L, l, d, t and i != "none", g, i),
            "still has a free vector",
        ),
        (
            exercises.check_count_parameters,
            lambda L, l, d, t, g, i: counted(L, l, d, t or i == "none", g, i),
            "no effect",
        ),
        (
            exercises.check_count_parameters,
            lambda L, l, d, t, g, i: counted(L, l, d, t and i != "mean", g, i),
            "still has its W",
        ),
        (exercises.check_count_parameters, lambda L, l, d, t, g, i: 3 * L * l * d + L, "takes λ away"),
        (exercises.check_count_parameters, lambda L, *given: counted(1, *given), "there are L of them"),
        (exercises.check_count_parameters, lambda L, l, d, *given: counted(L, l, 768, *given), "fixed at 768"),
        (
            exercises.check_count_parameters,
            lambda L, l, d, t, g, i: counted(L, l, d, t, t and g, i),
            "a switch of its own",
        ),
        (
            exercises.check_count_parameters,
            lambda L, l, d, t, g, i: counted(L, l, d, True, g, i if t else "none"),
            "and with it w",
        ),
        (exercises.check_count_parameters, lambda L, l, d, t, g, i: 7, "count one layer"),
        (exercises.check_unfold, lambda k, v, w, s: unfolded(k, v, w, 1 / s), "multiplied in once more"),
        (
            exercises.check_unfold,
            lambda k, v, w, s: [p * (s * w.sigmoid())[:, None] for p in (k, v)],
            "folds once more",
        ),
        (exercises.check_unfold, lambda k, v, w, s: unfolded(k, v, w, torch.tensor(1.0)), "λ is missing"),
        (exercises.check_unfold, lambda k, v, w, s: (k / s, v / s), "α is missing"),
        (exercises.check_unfold, lambda k, v, w, s: (2 * k / s, 2 * v / s), "½ only where"),
        (exercises.check_unfold, lambda k, v, w, s: [p / (s * w)[:, None] for p in (k, v)], "w is not α"),
        (exercises.check_unfold, lambda k, v, w, s: (unfolded(k, v, w, s)[0], v), "both are left out on the values"),
        (exercises.check_unfold, lambda k, v, w, s: (k, unfolded(k, v, w, s)[1]), "both are left out on the keys"),
        (exercises.check_unfold, lambda k, v, w, s: unfolded(v, k, w, s), "first the key"),
        (exercises.check_unfold, lambda k, v, w, s: [p / (s * w.softmax(0))[:, None] for p in (k, v)], "softmax"),
        (exercises.check_unfold, lambda k, v, w, s: [p / (s * w.sigmoid()) for p in (k, v)], "row of P"),
        (exercises.check_unfold, lambda k, v, w, s: [p - (s * w.sigmoid())[:, None] for p in (k, v)], "don't subtract"),
        (exercises.check_unfold, lambda k, v, w, s: (2 * k, 2 * v), "½ only where w = 0; here w is given; λ"),
        (exercises.check_unfold, lambda k, v, w, s: (unfolded(k, v, w, s)[0], v / s), "α is left out on the values"),
        (exercises.check_unfold, lambda k, v, w, s: unfolded(k, v, w, s.sign() * s.abs().clamp(min=0.1)), "small"),
        (exercises.check_unfold, lambda *given: torch.stack(unfolded(*given)), "made into one"),
        (exercises.check_unfold, lambda k, v, w, s: (k + 1, v), "solve for P"),
        (exercises.check_dead, dead_with(scale=lambda k, v, w, s: s or (k and v)), "doesn't kill λ"),
        (exercises.check_dead, dead_with(scale=lambda k, v, w, s: False), "P = 0 kills λ"),
        (exercises.check_dead, dead_with(scale=lambda k, v, w, s: k or v), "λ dies only"),
        (exercises.check_dead, dead_with(key=lambda k, v, w, s: s or v), "takes attention away"),
        (
            exercises.check_dead,
            dead_with(key=lambda k, v, w, s: s or k, value=lambda k, v, w, s: s or v),
            "no factor in its own",
        ),
        (exercises.check_dead, dead_with(weight=lambda k, v, w, s: k and v), "W dies with λ = 0"),
        (exercises.check_dead, dead_with(weight=lambda k, v, w, s: s), "W dies with P = 0"),
        (exercises.check_dead, dead_with(weight=lambda k, v, w, s: s or w or (k and v)), "no dead start"),
        (exercises.check_dead, dead_with(key=lambda *z: False, value=lambda *z: False), "P_k and P_v do die"),
        (exercises.check_dead, lambda *given: {"key", "value", "weight", "scale"} - dead(*given), "live"),
        (
            exercises.check_dead,
            lambda *given: {n for n, t in zip(("key", "value", "weight", "scale"), given, strict=True) if not t.any()},
            "own value",
        ),
        (
            exercises.check_dead,
            lambda k, v, w, s: dead(k.round(decimals=3), v.round(decimals=3), w, s.round(decimals=3)),
            "small",
        ),
        (exercises.check_dead, lambda k, v, w, s: dead(k[:1], v[:1], w, s), "first prefix token"),
        (exercises.check_dead, lambda k, v, w, s: dead(k, v, w, s.clamp(min=0)), "negative"),
        (exercises.check_dead, lambda k, v, w, s: dead(k.sum(), v.sum(), w, s), "add up"),
        (exercises.check_dead, lambda k, v, w, s: dead((k != 0).all(), (v != 0).all(), w, s), "entry of 0"),
        (exercises.check_dead, lambda k, v, w, s: dead(k.any(1).all(), v.any(1).all(), w, s), "one row"),
        (
            exercises.check_dead,
            lambda k, v, w, s: {"key", "value", "weight"} if s == 0 else dead(k, v, w, s),
            "come together",
        ),
        (
            exercises.check_dead,
            lambda *given: (
                dead(*given)
                | {n for n, t in zip(("key", "value", "weight", "scale"), given, strict=True) if not t.any()}
            ),
            "being 0 itself",
        ),
        (
            exercises.check_dead,
            lambda *given: {"key", "value", "weight", "scale"} if dead(*given) else set(),
            "kills those",
        ),
        (exercises.check_dead, lambda k, v, w, s: dead(k + v, k + v, w, s), "not where their sum is"),
        (exercises.check_dead, lambda k, v, w, s: dead(k * v, k * v, w, s), "not where their product is"),
        (exercises.check_dead, lambda k, v, w, s: dead(k.max() > 0, v.max() > 0, w, s), "negative is not 0"),
        (exercises.check_dead, lambda k, v, w, s: dead(k * (k.abs() > 1e-9), v * (v.abs() > 1e-9), w, s), "small"),
        (exercises.check_dead, lambda k, v, w, s: dead(k, v, w, s * (s.abs() > 1e-9)), "1e-15"),
        (exercises.check_dead, lambda k, v, w, s: dead(k, v, w, int(s)), "int()"),
        (exercises.check_dead, lambda *given: "scale", "where nothing is 0"),
        (exercises.check_apt_attention, slip(project=True), "not projected"),
        (exercises.check_apt_attention, slip(first="zero"), "reads position 0"),
        (exercises.check_apt_attention, slip(first="mean"), "mean over tokens"),
        (exercises.check_apt_attention, slip(visible=False), "missing, or hidden"),
        (
            exercises.check_apt_attention,
            lambda x, m, p, q, h: apt_fused(x, m, p, q, h, visible=m is None),
            "columns hide the prefix",
        ),
        (exercises.check_apt_attention, slip(mask_behind=True), "wrong side"),
        (exercises.check_apt_attention, slip(no_mask=True), "mask is not used"),
        (exercises.check_apt_attention, slip(scale=torch.ones_like), "λ is missing"),
        (exercises.check_apt_attention, slip(scale=torch.sigmoid), "squashed by a sigmoid"),
        (exercises.check_apt_attention, slip(alpha=torch.ones_like), "α is missing"),
        (exercises.check_apt_attention, slip(alpha=lambda t: t.softmax(1)), "under a softmax"),
        (exercises.check_apt_attention, slip(alpha=torch.ones_like, scale=torch.ones_like), "P-tuning v2"),
        (exercises.check_apt_attention, slip(only="key"), "both are left out on the values"),
        (exercises.check_apt_attention, slip(only="value"), "both are left out on the keys"),
        (exercises.check_apt_attention, slip(factor=lambda d, h: d**-0.5), "divided by √d"),
        (exercises.check_apt_attention, slip(factor=lambda d, h: 1.0), "not divided"),
        (exercises.check_apt_attention, slip(interleaved=True), "interleaved"),
        (exercises.check_apt_attention, lambda x, m, p, q, h: apt_fused(x, m, p, q, 1), "heads are missing"),
        (
            exercises.check_apt_attention,
            slip(first="zero", factor=lambda d, h: d**-0.5),
            "elsewhere; the scores are divided by √d",
        ),
        (exercises.check_apt_attention, lambda x, m, p, q, h: apt_fused(x, m, p, q, 2), "fixed at 2"),
        (exercises.check_apt_attention, lambda x, m, p, q, h: apt_fused(x, m, p, q, x.shape[2] // h), "not their size"),
        (exercises.check_apt_attention, slip(alpha=lambda t: torch.full_like(t, 0.5)), "½ only where W = 0"),
        (exercises.check_apt_attention, slip(alpha=lambda t: t[:1].expand_as(t).sigmoid()), "by the first one's"),
        (exercises.check_apt_attention, slip(fill=lambda s, real: s.softmax(-1) * real), "set to 0 after the softmax"),
        (exercises.check_apt_attention, slip(fill=lambda s, real: (s * real).softmax(-1)), "e⁰ = 1"),
        (exercises.check_apt_attention, slip(fill=lambda s, real: (s - 10.0 * ~real).softmax(-1)), "lowered by 10"),
        (exercises.check_apt_attention, lambda x, m, p, q, h: apt_fused(x, m.bool(), p, q, h), "may be None"),
        (
            exercises.check_apt_attention,
            lambda x, m, p, q, h: apt_fused(x if m is None else x * m[..., None], m, p, q, h, no_mask=True),
            "a zero vector still",
        ),
        (exercises.check_apt_attention, slip(alpha=lambda t: 0.5 + t), "the token gate"),
        (exercises.check_apt_attention, lambda *given: apt_fused(*given)[:, 0], "shape"),
    ],
)
def test_each_usual_mistake_gets_its_own_diagnosis(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and diagnosis in said


@pytest.mark.parametrize("check", [getattr(exercises, name) for name in exercises.__all__])
def test_an_unsolved_exercise_says_so(check, capsys):
    def unsolved(*given):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"


def test_what_stands_at_padded_positions_is_not_looked_at(capsys):
    def with_nans(x, mask, *given):
        out = apt(x, mask, *given)
        return out if mask is None else out.masked_fill(~mask.bool()[..., None], torch.nan)

    assert exercises.check_apt_attention(with_nans)
