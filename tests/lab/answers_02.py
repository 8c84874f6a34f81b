"""Answers to the exercises of lesson 02: how they came about is said in test_answers.py."""

from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from apt_minimal import course as exercises

# 2.1: layer_norm(x, weight, bias, eps), [..., d]


def norm(x, weight, bias, eps, dim=-1, unbiased=False):
    """A norm in which the axis and the variance can be got wrong."""
    variance = x.var(dim, unbiased=unbiased, keepdim=True)
    return (x - x.mean(dim, keepdim=True)) / (variance + eps).sqrt() * weight + bias


def norm_by_loops(x, weight, bias, eps):
    rows, d = x.reshape(-1, x.shape[-1]), x.shape[-1]
    output = torch.empty_like(rows)
    for i, row in enumerate(rows.tolist()):
        mean = sum(row) / d
        root = (sum((number - mean) ** 2 for number in row) / d + eps) ** 0.5
        for j, number in enumerate(row):
            output[i, j] = (number - mean) / root * float(weight[j]) + float(bias[j])
    return output.reshape(x.shape)


def norm_by_length(x, weight, bias, eps):
    """√d times the deviations over their length."""
    d = x.size(-1)
    deviation = x - einsum(x, "... d -> ...")[..., None] / d
    squares = einsum(deviation, deviation, "... d, ... d -> ...")
    return torch.addcmul(bias, weight, d**0.5 * deviation / torch.sqrt(squares + d * eps)[..., None])


def norm_by_moments_in_float64(x, weight, bias, eps):
    wide = x.double()
    mean = wide.mean(-1, keepdim=True)
    variance = ((wide * wide).mean(-1, keepdim=True) - mean.square()).clamp_min(0)
    return ((wide - mean) * torch.rsqrt(variance + eps) * weight + bias).to(x.dtype)


def norm_in_numpy(x, *rest):
    a, weight, bias = (np.asarray(t.tolist()) for t in (x, *rest[:2]))
    return torch.tensor(
        (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + rest[2]) * weight + bias, dtype=x.dtype
    )


class Norm(nn.Module):
    def forward(self, x, weight, bias, eps):
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        x = x - mean
        x /= variance.add_(eps).sqrt_()
        return x.mul_(weight).add_(bias)


RIGHT_2_1 = {
    "loops": norm_by_loops,
    "length_einsum": norm_by_length,
    "moments_float64": norm_by_moments_in_float64,
    "numpy": norm_in_numpy,
    "module_in_place": Norm(),
    "column_by_column": lambda x, w, b, eps: norm(x.movedim(-1, 0), 1, 0, eps, dim=0).movedim(0, -1) * w + b,
}


def norm_without_keepdim(x, weight, bias, eps):
    mean, variance = x.mean(-1), x.var(-1, unbiased=False)
    if x.ndim > 1 and x.shape[-2] != x.shape[-1]:
        mean, variance = mean[..., None], variance[..., None]
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def centred(x):
    return x - x.mean(-1, keepdim=True)


def var(x):
    return x.var(-1, unbiased=False, keepdim=True)


WRONG_2_1 = {
    "unbiased": ("divides by d − 1", lambda *x: norm(*x, unbiased=True)),
    "eps_outside": ("ε outside the root", lambda x, w, b, eps: centred(x) / (var(x).sqrt() + eps) * w + b),
    "no_eps": ("ε forgotten", lambda x, w, b, eps: norm(x, w, b, 0.0)),
    "eps_1e-5": ("ε fixed at 1e-5", lambda x, w, b, eps: norm(x, w, b, 1e-5)),
    "eps_where_needed": (
        "ε only where the variance is 0",
        lambda x, w, b, e: centred(x) / var(x).where(var(x) > 0, e).sqrt() * w + b,
    ),
    "over_tokens": ("over the tokens", lambda *x: norm(*x, dim=-2) if x[0].ndim > 1 else norm(*x)),
    "over_axis_1": ("over axis 1, whatever the shape", lambda *x: norm(*x, dim=min(1, x[0].ndim - 1))),
    "over_example": ("one mean and variance for an example", lambda *x: norm(*x, dim=tuple(range(1, x[0].ndim)) or -1)),
    "over_all": ("one mean and variance for all", lambda *x: norm(*x, dim=tuple(range(x[0].ndim)))),
    "variance_of_all": (
        "one variance for all",
        lambda x, w, b, e: centred(x) / (x.var(unbiased=False) + e).sqrt() * w + b,
    ),
    "no_weight": ("weight forgotten", lambda x, w, b, eps: norm(x, 1, b, eps)),
    "bias_first": ("bias before weight", lambda x, w, b, eps: (norm(x, 1, 0, eps) + b) * w),
    "weight_for_bias": ("weight and bias exchanged", lambda x, w, b, eps: norm(x, b, w, eps)),
    "mean_stays": ("mean not subtracted", lambda x, w, b, eps: x / (var(x) + eps).sqrt() * w + b),
    "no_root": ("root forgotten", lambda x, w, b, eps: centred(x) / (var(x) + eps) * w + b),
    "no_keepdim": ("keepdim forgotten: wrong where n = d", norm_without_keepdim),
    "squeezed": ("drops axes of size 1", lambda *x: norm(*x).squeeze()),
    "first_axis_squeezed": ("drops the axis of one example", lambda *x: norm(*x).squeeze(0)),
}

# 2.2: embed(input_ids, token_type_ids, word, position, token_type, norm)


def summed(ids, types, word, position, token_type, places=None, none=0):
    """The sum, in which the places and the type of None can be got wrong."""
    types = torch.full_like(ids, none) if types is None else types
    return word[ids] + position[torch.arange(ids.shape[1]) if places is None else places] + token_type[types]


def embed_by_loops(input_ids, token_type_ids, word, position, token_type, norm):
    rows = []
    for i, sentence in enumerate(input_ids.tolist()):
        kinds = [0] * len(sentence) if token_type_ids is None else token_type_ids[i].tolist()
        rows.append(
            torch.stack(
                [word[w] + position[p] + token_type[k] for p, (w, k) in enumerate(zip(sentence, kinds, strict=True))]
            )
        )
    return norm(torch.stack(rows))


def embed_one_hot(input_ids, token_type_ids, word, position, token_type, norm):
    b, n = input_ids.shape
    types = input_ids * 0 if token_type_ids is None else token_type_ids
    hot = [F.one_hot(i.long(), len(t)) for i, t in ((input_ids, word), (types, token_type))]
    x = sum(einsum(h.to(t), t, "b n r, r d -> b n d") for h, t in zip(hot, (word, token_type), strict=True))
    return norm(x + repeat(position[:n], "n d -> b n d", b=b))


def embed_in_one_table(input_ids, token_type_ids, word, position, token_type, norm):
    places = torch.arange(input_ids.size(1)).expand_as(input_ids) + len(word)
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    rows = torch.stack([input_ids, places, types + len(word) + len(position)], dim=-1)
    return norm(torch.cat([word, position, token_type])[rows].sum(dim=-2))


def embed_in_place(input_ids, token_type_ids, word, position, token_type, norm):
    x = torch.index_select(word, 0, input_ids.flatten()).view(*input_ids.shape, -1)
    x += position.narrow(0, 0, x.shape[1])
    x += token_type[0] if token_type_ids is None else token_type[token_type_ids]
    return norm(x)


class Embed:
    def __call__(self, ids, types, *rest):
        *tables, norm = rest
        places = ids.new_ones(ids.shape).cumsum(1) - 1
        indices = (ids, places, ids.new_zeros(ids.shape) if types is None else types)
        return norm(reduce(torch.add, (F.embedding(i, t) for i, t in zip(indices, tables, strict=True))))


RIGHT_2_2 = {
    "plain": lambda *x: x[-1](summed(*x[:-1])),
    "loops": embed_by_loops,
    "one_hot": embed_one_hot,
    "one_table": embed_in_one_table,
    "in_place_index_select": embed_in_place,
    "class_f_embedding": Embed(),
    "float64_inside": lambda *x: x[-1](summed(*x[:2], *(t.double() for t in x[2:5])).to(x[2].dtype)),
    "example_by_example": lambda *x: torch.stack([x[-1](y) for y in summed(*x[:-1])]),
}


def placed(places):
    """An answer with its own places, given ids and types."""
    return lambda ids, types, *x: x[-1](summed(ids, types, *x[:-1], places=places(ids, types)))


def restart(ids, types):
    """Places that begin again with the second text."""
    places = torch.arange(ids.shape[1]).expand(ids.shape).clone()
    for row, kinds in zip(places, [] if types is None else types.tolist(), strict=False):
        second = torch.tensor(kinds) == 1
        row[second] = torch.arange(int(second.sum()))
    return places


def as_none(types_are_none):
    """Types that are treated as if they had not been given."""
    return lambda ids, types, *x: x[-1](summed(ids, None if types_are_none(types) else types, *x[:-1]))


WRONG_2_2 = {
    "none_is_nothing": (
        "None: no type is added",
        lambda i, t, *x: x[-1](summed(i, t, *x[:-1]) - (x[2][0] if t is None else 0)),
    ),
    "none_fails": ("None: error", lambda i, t, w, p, k, norm: norm(w[i] + p[torch.arange(i.shape[1])] + k[t.long()])),
    "truth": ("asks for the truth of a tensor", lambda i, t, *x: x[-1](summed(i, t or None, *x[:-1]))),
    "types_ignored": ("all of type 0", as_none(lambda t: True)),
    "type_0_is_0": (
        "type 0 adds nothing",
        lambda i, t, w, p, k, norm: norm(w[i] + p[: i.shape[1]] + (0 if t is None else t[..., None] * k[1])),
    ),
    "types_exchanged": ("0 and 1 exchanged", lambda i, t, *x: x[-1](summed(i, None if t is None else 1 - t, *x[:-1]))),
    "type_of_first_token": (
        "one type for an example",
        lambda i, t, *x: x[-1](summed(i, None if t is None else t[:, :1], *x[:-1])),
    ),
    "no_position": ("no position", lambda i, t, w, p, k, norm: norm(summed(i, t, w, p * 0, k))),
    "from_1": ("places from 1", placed(lambda i, t: torch.arange(i.shape[1]) + 1)),
    "on_and_on": ("places go on in the next example", placed(lambda i, t: torch.arange(i.numel()).view(i.shape))),
    "zero_at_0": ("padding (id 0) gets place 0", placed(lambda i, t: torch.arange(i.shape[1]) * (i != 0))),
    "second_from_0": ("the second text begins at 0 again", placed(restart)),
    "padding_row": (
        "word 0 is zeros",
        lambda i, t, w, p, k, norm: norm(summed(i, t, torch.cat([w[:1] * 0, w[1:]]), p, k)),
    ),
    "no_norm": ("no norm", lambda *x: summed(*x[:-1])),
    "norm_each": (
        "norm of each, then the sum",
        lambda i, t, w, p, k, f: f(w[i]) + f(p[: i.shape[1]].expand_as(w[i])) + f(k[i * 0 if t is None else t]),
    ),
    "norm_before_type": (
        "type added after the norm",
        lambda i, t, w, p, k, f: f(w[i] + p[: i.shape[1]]) + k[i * 0 if t is None else t],
    ),
    "tokens_first": ("returns [n, b, d]", lambda *x: x[-1](summed(*x[:-1])).transpose(0, 1)),
    "eight_places": (
        "places beyond the eighth are the eighth's",
        placed(lambda i, t: torch.arange(i.shape[1]).clamp_max(7)),
    ),
    "zeros_add_nothing": (
        "types that are given and all 0 add nothing",
        lambda i, t, *x: x[-1](summed(i, t, *x[:-1]) - (x[2][0] if t is not None and not t.any() else 0)),
    ),
    "zeros_are_none": ("first example of type 0: all are", as_none(lambda t: t is None or not t[0].any())),
}

# 2.3: layer(x, attention, attention_norm, feed_forward, feed_forward_norm)


def layer_in_two_steps(x, attention, attention_norm, feed_forward, feed_forward_norm):
    y = attention_norm(x + attention(x))
    return feed_forward_norm(y + feed_forward(y))


def layer_in_place(x, attention, attention_norm, feed_forward, feed_forward_norm):
    s = x.clone()
    s += attention(x)
    y = attention_norm(s)
    s = y.clone().add_(feed_forward(y))
    return feed_forward_norm(s)


class LayerClass(nn.Module):
    def forward(self, x, *parts):
        for part, norm in zip(parts[::2], parts[1::2], strict=True):
            x = norm(torch.stack([x, part(x)]).sum(0))
        return x


RIGHT_2_3 = {
    "two_steps": layer_in_two_steps,
    "in_place": layer_in_place,
    "module_loop": LayerClass(),
    "reduce": lambda x, *p: reduce(lambda s, f: f[1](s + f[0](s)), ((p[0], p[1]), (p[2], p[3])), x),
    "one_line": lambda x, a, a_norm, f, f_norm: f_norm(f(y := a_norm(a(x) + x)) + y),
    "float64_sums": lambda x, a, a_norm, f, f_norm: f_norm(
        ((y := a_norm((x.double() + a(x)).to(x))).double() + f(y)).to(x)
    ),
    "einsum": lambda x, a, m, f, k: k(
        einsum(torch.stack([y := m(torch.lerp(x, x + a(x), 1.0)), f(y)]), "s ... -> ...")
    ),
}


WRONG_2_3 = {
    "pre_norm": ("pre-norm", lambda x, a, m, f, k: (y := x + a(m(x))) + f(k(y))),
    "pre_norm_second": ("feed-forward pre-norm", lambda x, a, m, f, k: (y := m(x + a(x))) + f(k(y))),
    "norm_and_add": ("norm of the part only, then added", lambda x, a, m, f, k: (y := x + m(a(x))) + k(f(y))),
    "no_residual": ("nothing is added", lambda x, a, m, f, k: k(f(m(a(x))))),
    "no_second_residual": ("y not added", lambda x, a, m, f, k: k(f(m(x + a(x))))),
    "x_again": ("x added a second time, in place of y", lambda x, a, m, f, k: k(x + f(m(x + a(x))))),
    "parallel": ("feed-forward reads x", lambda x, a, m, f, k: k(m(x + a(x)) + f(x))),
    "all_parallel": ("one sum of three", lambda x, a, m, f, k: k(m(x + a(x) + f(x)))),
    "norms_exchanged": ("norms exchanged", lambda x, a, m, f, k: layer_in_two_steps(x, a, k, f, m)),
    "first_norm_twice": ("attention's norm at both places", lambda x, a, m, f, k: layer_in_two_steps(x, a, m, f, m)),
    "no_last_norm": ("last norm forgotten", lambda x, a, m, f, k: (y := m(x + a(x))) + f(y)),
    "both_norms_last": ("both norms at the end", lambda x, a, m, f, k: k(m((y := x + a(x)) + f(y)))),
    "parts_exchanged": ("feed-forward first, norms in place", lambda x, a, m, f, k: layer_in_two_steps(x, f, m, a, k)),
    "attention_twice": (
        "attention in place of the feed-forward",
        lambda x, a, m, f, k: layer_in_two_steps(x, a, m, a, k),
    ),
    "mean": ("mean in place of the sum", lambda x, a, m, f, k: k(((y := m((x + a(x)) / 2)) + f(y)) / 2)),
    "with_states": ("returns y too", lambda x, a, m, f, k: (layer_in_two_steps(x, a, m, f, k), m(x + a(x)))),
}

# 2.4: pack(state, layer)

QKV = ("query", "key", "value")


def parts(state, layer, kind, names=QKV):
    return [state[f"encoder.layer.{layer}.attention.self.{name}.{kind}"] for name in names]


def both(join, names=QKV):
    """A pack that joins the three weights, and the three biases, in one way."""
    return lambda state, layer: tuple(join(parts(state, layer, kind, names)) for kind in ("weight", "bias"))


def pack_into_empty(state, layer):
    d = len(state[f"encoder.layer.{layer}.attention.self.query.bias"])
    any_weight = parts(state, layer, "weight")[0]
    weight, bias = any_weight.new_empty(3 * d, d), any_weight.new_empty(3 * d)
    for i, (w, b) in enumerate(zip(parts(state, layer, "weight"), parts(state, layer, "bias"), strict=True)):
        weight[i * d : (i + 1) * d], bias[i * d : (i + 1) * d] = w, b
    return weight, bias


def pack_into_module(state, layer):
    d, dtype = len(parts(state, layer, "bias")[0]), parts(state, layer, "bias")[0].dtype
    module = nn.MultiheadAttention(d, 1, dtype=dtype)
    with torch.no_grad():
        for i, name in enumerate(QKV):
            here = f"encoder.layer.{layer}.attention.self.{name}"
            module.in_proj_weight[i * d :][:d].copy_(state[f"{here}.weight"])
            module.in_proj_bias[i * d :][:d].copy_(state[f"{here}.bias"])
    return module.in_proj_weight, module.in_proj_bias


def pack_by_search(state, layer):
    found = {}
    for name, tensor in state.items():
        words = name.split(".")
        if words[:3] == ["encoder", "layer", str(layer)] and words[3:5] == ["attention", "self"]:
            found[tuple(words[5:])] = tensor
    return [torch.vstack([found[n, "weight"] for n in QKV]), torch.hstack([found[n, "bias"] for n in QKV])]


def pack_with_width_of_embeddings(state, layer):
    d = state["embeddings.word_embeddings.weight"].shape[1]
    weight, bias = torch.zeros(3, d, d), torch.zeros(3, d)
    for i in range(3):
        weight[i], bias[i] = parts(state, layer, "weight")[i], parts(state, layer, "bias")[i]
    return weight.view(-1, d), bias.view(-1)


class Pack:
    def __call__(self, state, layer):
        weight = rearrange(parts(state, layer, "weight"), "three o i -> (three o) i")
        return weight, rearrange(parts(state, layer, "bias"), "three o -> (three o)")


RIGHT_2_4 = {
    "cat": both(torch.cat),
    "stack": both(lambda x: torch.stack(x).flatten(0, 1)),
    "into_empty": pack_into_empty,
    "into_module": pack_into_module,
    "search_list": pack_by_search,
    "class_einops": Pack(),
    "numpy": lambda state, layer: tuple(
        torch.tensor(np.concatenate([x.tolist() for x in parts(state, layer, k)])) for k in ("weight", "bias")
    ),
    "width_from_embeddings": pack_with_width_of_embeddings,
    "layers_listed": lambda state, layer: both(torch.cat)(
        state, sorted({int(n.split(".")[2]) for n in state if n.startswith("encoder.layer.")})[layer]
    ),
}


def pack_by_beginning(state, layer, take):
    found = {kind: [] for kind in ("weight", "bias")}
    for name in state:
        if name.startswith(f"encoder.layer.{layer}") and ".attention.self." in name:
            found[name.rsplit(".", 1)[1]].append(state[name])
    return torch.cat(found["weight"][take]), torch.cat(found["bias"][take])


def pack_sorted_layers(state, layer):
    layers = sorted({n.split(".")[2] for n in state if n.startswith("encoder.layer.")})
    return both(torch.cat)(state, layers[layer])


WRONG_2_4 = {
    "query_value_key": ("value before key", both(torch.cat, ("query", "value", "key"))),
    "key_query_value": ("key first", both(torch.cat, ("key", "query", "value"))),
    "bias_order": (
        "biases in another order",
        lambda s, i: (both(torch.cat)(s, i)[0], torch.cat(parts(s, i, "bias", ("key", "query", "value")))),
    ),
    "transposed": ("[in, out]", both(lambda x: torch.cat([y.T if y.ndim == 2 else y for y in x]))),
    "value_transposed": ("value [in, out]", both(lambda x: torch.cat([*x[:2], x[2].T if x[2].ndim == 2 else x[2]]))),
    "side_by_side": ("[d, 3d]", both(lambda x: torch.cat(x, dim=-1))),
    "interleaved": ("row by row: q k v q k v", both(lambda x: torch.stack(x, dim=1).flatten(0, 1))),
    "stacked": ("[3, d, d] and [3, d]", both(torch.stack)),
    "layer_from_1": ("counts from 1", lambda s, i: both(torch.cat)(s, i - 1)),
    "last_layer": ("the last layer that begins like this", lambda s, i: pack_by_beginning(s, i, take=slice(-3, None))),
    "begins_with": ("layer.1 takes layer.10 too", lambda s, i: pack_by_beginning(s, i, take=slice(None))),
    "alphabetical_layers": ("layers in the order 0, 1, 10, 11, 2", pack_sorted_layers),
    "exchanged": ("bias, weight", lambda s, i: both(torch.cat)(s, i)[::-1]),
    "weight_only": ("only the weight", lambda s, i: both(torch.cat)(s, i)[0]),
    "no_bias": ("None for the bias", lambda s, i: (both(torch.cat)(s, i)[0], None)),
    "scaled": ("query divided by √d", both(lambda x: torch.cat([x[0] / len(x[0]) ** 0.5, *x[1:]]))),
    "width_4": ("d = 4 hard-coded", both(lambda x: torch.cat([y[:4] for y in x]))),
    "without_encoder": (
        "names without encoder.",
        lambda s, i: tuple(
            torch.cat([s[f"layer.{i}.attention.self.{n}.{k}"] for n in QKV]) for k in ("weight", "bias")
        ),
    ),
}

# 2.5: position_ids(attention_mask)


def places_by_loops(attention_mask):
    rows = []
    for row in attention_mask.tolist():
        count, places = 0, []
        for token in row:
            places.append(count if token else 0)
            count += bool(token)
        rows.append(places)
    return torch.tensor(rows)


def places_from_first(attention_mask):
    real = attention_mask.bool()
    first = real.int().argmax(dim=1, keepdim=True)
    return (torch.arange(real.shape[1]) - first).where(real, 0)


def places_by_index(attention_mask):
    places = torch.zeros(attention_mask.shape, dtype=torch.int32)
    for row, mask in zip(places, attention_mask, strict=True):
        (where,) = mask.nonzero(as_tuple=True)
        row[where] = torch.arange(len(where), dtype=torch.int32)
    return places


def places_by_triangle(attention_mask):
    real = attention_mask.double()
    before = torch.ones(real.shape[1], real.shape[1], dtype=torch.float64).triu(1)  # [j, i]: j stands before i
    return (einsum(real, before, "b j, j i -> b i") * real).long()


class Places:
    def __call__(self, attention_mask):
        mask = np.array(attention_mask.tolist(), dtype=np.int64)
        return torch.from_numpy((mask.cumsum(axis=1) - 1) * mask)


RIGHT_2_5 = {
    "loops": places_by_loops,
    "from_first": places_from_first,
    "int32_by_index": places_by_index,
    "triangle_in_float64": places_by_triangle,
    "class_numpy": Places(),
    "cumsum": lambda mask: mask.long().cumsum(-1).sub(1).masked_fill(mask == 0, 0),
    "where": lambda mask: torch.where(mask.bool(), mask.cumsum(1) - 1, 0),
}


def integer(f):
    """An answer that begins by making the mask whole numbers."""
    return lambda mask: f(mask.long())


def count(mask):
    return torch.arange(mask.shape[1]).expand(mask.shape)


WRONG_2_5 = {
    "arange": ("0, 1, 2 … for all, padding too", count),
    "right_only": ("assumes padding on the right", integer(lambda m: count(m) * m)),
    "left_only": (
        "assumes padding on the left",
        integer(lambda m: (count(m) - (1 - m).sum(1, keepdim=True)).clamp_min(0) * m),
    ),
    "left_or_right": (
        "one side or the other, not both",
        integer(
            lambda m: count(m) * m if m[:, 0].all() else (count(m) - (1 - m).sum(1, keepdim=True)).clamp_min(0) * m
        ),
    ),
    "from_1": ("from 1", integer(lambda m: m.cumsum(1) * m)),
    "minus_1": ("padding on the left gets −1", integer(lambda m: m.cumsum(1) - 1)),
    "clamped": ("padding on the right goes on with the last number", integer(lambda m: (m.cumsum(1) - 1).clamp_min(0))),
    "goes_on": (
        "padding on the right is counted on",
        integer(lambda m: (count(m) - m.argmax(1, keepdim=True)).clamp_min(0)),
    ),
    "along_batch": ("counts along the batch", integer(lambda m: (m.cumsum(0) - 1) * m)),
    "first_example": (
        "the first example's shift for all",
        integer(lambda m: (count(m) - m[0].argmax()).clamp_min(0) * m),
    ),
    "first_mask": (
        "the first example's places for all",
        integer(lambda m: ((m.cumsum(1) - 1) * m)[:1].expand(m.shape)),
    ),
    "least_shift": ("the least shift of the batch", integer(lambda m: (count(m) - m.argmax(1).min()).clamp_min(0) * m)),
    "bool_fails": ("1 − mask: an error for bool", lambda m: (m.cumsum(1) - 1) * (1 - (1 - m))),
    "bool_out": ("as the mask's dtype: bool for bool", lambda m: ((m.long().cumsum(1) - 1) * m).to(m.dtype)),
    "floats": ("floats", lambda m: (m.float().cumsum(1) - 1) * m),
    "compact": ("real tokens moved to the left", lambda m: count(m) * (count(m) < m.long().sum(1, keepdim=True))),
    "eight": ("no more than eight", lambda m: places_by_loops(m).clamp_max(7)),
    "uint8": ("uint8: beyond 255 it begins at 0", integer(lambda m: ((m.cumsum(1) - 1) * m).to(torch.uint8))),
    "int8": ("int8: beyond 127 it begins at −128", integer(lambda m: ((m.cumsum(1) - 1) * m).to(torch.int8))),
}

CHECKS = [
    (exercises.check_layer_norm, RIGHT_2_1, WRONG_2_1),
    (exercises.check_embed, RIGHT_2_2, WRONG_2_2),
    (exercises.check_layer, RIGHT_2_3, WRONG_2_3),
    (exercises.check_pack, RIGHT_2_4, WRONG_2_4),
    (exercises.check_position_ids, RIGHT_2_5, WRONG_2_5),
]
