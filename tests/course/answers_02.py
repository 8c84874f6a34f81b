"""Answers to the exercises of lesson 02."""

import numpy as np
import torch
from einops import einsum

from apt_minimal import course

SOLVED = {name: getattr(course, f"check_{name}").solution for name in ("layer_norm", "embed", "layer", "position_ids")}
norm, embed, layer, places = SOLVED.values()


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
    d = x.size(-1)
    deviation = x - einsum(x, "... d -> ...")[..., None] / d
    squares = einsum(deviation, deviation, "... d, ... d -> ...")
    return torch.addcmul(bias, weight, d**0.5 * deviation / torch.sqrt(squares + d * eps)[..., None])


def norm_over_axis_1(x, weight, bias, eps):
    axis = min(1, x.ndim - 1)
    return norm(x.movedim(axis, -1), 1, 0, eps).movedim(-1, axis) * weight + bias


def norm_with_eps_where_needed(x, weight, bias, eps):
    variance = x.var(-1, unbiased=False, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / variance.where(variance > 0, eps).sqrt() * weight + bias


RIGHT_2_1 = {"loops": norm_by_loops, "length": norm_by_length}
WRONG_2_1 = {
    "over_axis_1": norm_over_axis_1,
    "eps_where_needed": norm_with_eps_where_needed,
    "squeezed": lambda *x: norm(*x).squeeze(),
    "one_example_squeezed": lambda *x: norm(*x).squeeze(0),
}


def embed_by_loops(input_ids, token_type_ids, word, position, token_type, norm):
    rows = []
    for i, sentence in enumerate(input_ids.tolist()):
        kinds = [0] * len(sentence) if token_type_ids is None else token_type_ids[i].tolist()
        pairs = enumerate(zip(sentence, kinds, strict=True))
        rows.append(torch.stack([word[w] + position[p] + token_type[k] for p, (w, k) in pairs]))
    return norm(torch.stack(rows))


def embed_in_one_table(input_ids, token_type_ids, word, position, token_type, norm):
    places = torch.arange(input_ids.size(1)).expand_as(input_ids) + len(word)
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    rows = torch.stack([input_ids, places, types + len(word) + len(position)], dim=-1)
    return norm(torch.cat([word, position, token_type])[rows].sum(dim=-2))


def second_text_from_0(ids, types, word, position, token_type, norm):
    second = torch.zeros_like(ids) if types is None else types
    places = torch.where(second == 1, second.cumsum(1) - 1, torch.arange(ids.shape[1]))
    return norm(word[ids] + position[places] + token_type[second])


def as_none(types_are_none):
    return lambda ids, types, *x: embed(ids, None if types_are_none(types) else types, *x)


WRONG_2_2 = {
    "truth_of_a_tensor": lambda ids, types, *x: embed(ids, types or None, *x),
    "type_of_first_token": lambda ids, types, *x: embed(ids, None if types is None else types[:, :1], *x),
    "second_text_from_0": second_text_from_0,
    "id_0_is_zeros": lambda ids, types, word, *x: embed(ids, types, word.index_fill(0, torch.tensor(0), 0.0), *x),
    "tokens_first": lambda *x: embed(*x).transpose(0, 1),
    "eight_places": lambda i, t, w, p, *x: embed(i, t, w, torch.cat([p[:7], p[7:8].expand_as(p)]), *x),
    "given_zeros_add_nothing": lambda i, t, w, p, k, f: embed(i, t, w, p, k * (t is None or bool(t.any())), f),
    "first_example_of_type_0": as_none(lambda types: types is None or not types[0].any()),
}


def layer_in_place(x, attention, attention_norm, feed_forward, feed_forward_norm):
    s = x.clone()
    s += attention(x)
    y = attention_norm(s)
    return feed_forward_norm(y.clone().add_(feed_forward(y)))


class LayerInALoop:
    def __call__(self, x, *parts):
        for part, norm in zip(parts[::2], parts[1::2], strict=True):
            x = norm(torch.stack([x, part(x)]).sum(0))
        return x


WRONG_2_3 = {
    "one_sum_of_three": lambda x, a, m, f, k: k(m(x + a(x) + f(x))),
    "both_norms_last": lambda x, a, m, f, k: k(m((y := x + a(x)) + f(y))),
    "attention_twice": lambda x, a, m, f, k: layer(x, a, m, a, k),
    "mean": lambda x, a, m, f, k: k(((y := m((x + a(x)) / 2)) + f(y)) / 2),
    "with_states": lambda x, a, m, f, k: (layer(x, a, m, f, k), m(x + a(x))),
}

QKV = ("query", "key", "value")


def parts(state, layer, kind, names=QKV):
    return [state[f"encoder.layer.{layer}.attention.self.{name}.{kind}"] for name in names]


def both(join):
    return lambda state, layer: tuple(join(parts(state, layer, kind)) for kind in ("weight", "bias"))


def pack_by_search(state, layer):
    found = {}
    for name, tensor in state.items():
        words = name.split(".")
        if words[:3] == ["encoder", "layer", str(layer)] and words[3:5] == ["attention", "self"]:
            found[tuple(words[5:])] = tensor
    return [torch.vstack([found[n, "weight"] for n in QKV]), torch.hstack([found[n, "bias"] for n in QKV])]


def pack_by_beginning(state, layer, take=slice(None)):
    found = {kind: [] for kind in ("weight", "bias")}
    for name in state:
        if name.startswith(f"encoder.layer.{layer}") and ".attention.self." in name:
            found[name.rsplit(".", 1)[1]].append(state[name])
    return torch.cat(found["weight"][take]), torch.cat(found["bias"][take])


def pack_of_sorted_layers(state, layer):
    return both(torch.cat)(state, sorted({n.split(".")[2] for n in state if n.startswith("encoder")})[layer])


WRONG_2_4 = {
    "biases_in_another_order": lambda s, i: (
        torch.cat(parts(s, i, "weight")),
        torch.cat(parts(s, i, "bias", QKV[::-1])),
    ),
    "value_transposed": both(lambda x: torch.cat([*x[:2], x[2].T if x[2].ndim == 2 else x[2]])),
    "begins_with": pack_by_beginning,
    "the_last_that_begins_so": lambda state, layer: pack_by_beginning(state, layer, slice(-3, None)),
    "sorted_layers": pack_of_sorted_layers,
    "no_bias": lambda s, i: (torch.cat(parts(s, i, "weight")), None),
    "query_scaled": both(lambda x: torch.cat([x[0] / len(x[0]) ** 0.5, *x[1:]])),
    "width_4": both(lambda x: torch.cat([y[:4] for y in x])),
}


def places_by_loops(attention_mask):
    rows = []
    for row in attention_mask.tolist():
        count, found = 0, []
        for token in row:
            found.append(count if token else 0)
            count += bool(token)
        rows.append(found)
    return torch.tensor(rows)


def places_in_numpy(attention_mask):
    mask = np.array(attention_mask.tolist(), dtype=np.int64)
    return torch.from_numpy((mask.cumsum(axis=1) - 1) * mask)


def integer(f):
    return lambda mask: f(mask.long(), torch.arange(mask.shape[1]).expand(mask.shape))


WRONG_2_5 = {
    "one_side_or_the_other": integer(
        lambda m, c: c * m if m[:, 0].all() else (c - (1 - m).sum(1, keepdim=True)).clamp_min(0) * m
    ),
    "shift_of_first_example": integer(lambda m, c: (c - m[0].argmax()).clamp_min(0) * m),
    "least_shift": integer(lambda m, c: (c - m.argmax(1).min()).clamp_min(0) * m),
    "bool_fails": lambda m: (m.cumsum(1) - 1) * (1 - (1 - m)),
    "dtype_of_the_mask": lambda m: places(m).to(m.dtype),
    "moved_to_the_left": integer(lambda m, c: c * (c < m.sum(1, keepdim=True))),
    "eight": lambda m: places(m).clamp_max(7),
}

CHECKS = [
    (course.check_layer_norm, RIGHT_2_1, WRONG_2_1),
    (course.check_embed, {"loops": embed_by_loops, "one_table": embed_in_one_table}, WRONG_2_2),
    (course.check_layer, {"in_place": layer_in_place, "loop": LayerInALoop()}, WRONG_2_3),
    (course.check_pack, {"search": pack_by_search, "stacked": both(lambda x: torch.stack(x).flatten(0, 1))}, WRONG_2_4),
    (course.check_position_ids, {"loops": places_by_loops, "numpy": places_in_numpy}, WRONG_2_5),
]
