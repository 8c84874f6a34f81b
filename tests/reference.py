"""E1–E4 and a BERT encoder with gated prefixes a second time: numpy, float64, loops instead of broadcasting.

Written from the equations, and sharing nothing with the package but the names of the weights. A prefix is a dict of
arrays under the names of `AdaptivePrefix`'s parameters, a mask an array [b, n] of 1 (real) and 0 (padding).
"""

import math
from types import SimpleNamespace

import numpy as np

ACTIVATIONS = {
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * sigmoid(x),
}


def numbers(module):
    """A torch module's weights as float64 arrays, by name."""
    return {name: array(tensor) for name, tensor in module.state_dict().items()}


def array(tensor):
    return tensor.detach().cpu().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def attention(query, key, value, seen=None):
    """softmax(q Kᵀ / √d_h) V of a single head: query [n, d_h], key and value [m, d_h], seen [m]."""
    out, weights = np.zeros((len(query), value.shape[1])), np.zeros((len(query), len(key)))
    columns = [j for j in range(len(key)) if seen is None or seen[j]]
    for i, q in enumerate(query):
        scores = {j: q @ key[j] / math.sqrt(len(q)) for j in columns}
        top = max(scores.values(), default=0.0)
        total = sum(math.exp(score - top) for score in scores.values())
        for j, score in scores.items():
            weights[i, j] = math.exp(score - top) / total
            out[i] += weights[i, j] * value[j]
    return out, weights


def prefix_attention(query, key, value, prefix_key, prefix_value, seen=None):
    """E1, one head. Returns the output, and the softmax mass on the prefix for each query."""
    seen = np.ones(len(key)) if seen is None else seen
    seen = np.concatenate([np.ones(len(prefix_key)), seen])
    out, weights = attention(query, np.concatenate([prefix_key, key]), np.concatenate([prefix_value, value]), seen)
    return out, weights[:, : len(prefix_key)].sum(axis=1)


def token_gate(hidden, mask, weight, gate_input):
    """E2 for a batch: hidden [b, n, d] -> α [b, l]."""
    alpha = []
    for i, states in enumerate(hidden):
        real = [state for j, state in enumerate(states) if mask is None or mask[i][j]]
        if gate_input == "first_token":
            scores = weight @ real[0]
        elif gate_input == "mean":
            scores = weight @ (sum(real) / len(real))
        else:
            scores = weight
        alpha.append(sigmoid(scores))
    return np.array(alpha)


def gated_prefix(hidden, mask, prefix, gate_input):
    """E3 for a batch. Returns P̂_k and P̂_v [b, l, d], α [b, l] and λ."""
    length = len(prefix["key"])
    alpha, scale = np.ones((len(hidden), length)), prefix.get("layer_gate.scale", 1.0)
    if "token_gate.weight" in prefix:
        alpha = token_gate(hidden, mask, prefix["token_gate.weight"], gate_input)
    pair = [
        np.stack([[scale * a[t] * p[t] for t in range(length)] for a in alpha])
        for p in (prefix["key"], prefix["value"])
    ]
    return *pair, alpha, scale


def embeddings(weights, ids, types, eps):
    """Word + position + token type, normalised."""
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm")
    word, position, token_type = (weights[f"embeddings.{name}.weight"] for name in names[:3])
    x = np.array(
        [[word[t] + position[j] + token_type[types[i][j]] for j, t in enumerate(row)] for i, row in enumerate(ids)]
    )
    return _norm(x, weights, "embeddings.LayerNorm", eps)


def bert(weights, config, ids, mask=None, types=None, prefixes=None, gate_input="first_token"):
    """The whole encoder with a prefix (or None) per layer.

    Returns hidden (embeddings, then every layer's output), alpha, scale and mass (per layer, None without a prefix).
    """
    types = np.zeros_like(ids) if types is None else types
    eps, heads = config.layer_norm_eps, config.num_attention_heads
    x = embeddings(weights, ids, types, eps)
    seen = SimpleNamespace(hidden=[x], alpha=[], scale=[], mass=[])
    for i, prefix in enumerate(prefixes or [None] * config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (_linear(x, weights, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        empty = np.zeros((len(x), 0, x.shape[-1]))
        p_k, p_v, alpha, scale = gated_prefix(x, mask, prefix, gate_input) if prefix else (empty, empty, None, None)
        attended, mass = np.zeros_like(x), np.zeros((len(x), heads, x.shape[1]))
        size = x.shape[-1] // heads
        for b in range(len(x)):
            for h in range(heads):
                s = slice(h * size, (h + 1) * size)
                attended[b, :, s], mass[b, h] = prefix_attention(
                    q[b, :, s], k[b, :, s], v[b, :, s], p_k[b, :, s], p_v[b, :, s], None if mask is None else mask[b]
                )
        attended = _linear(attended, weights, f"{layer}.attention.output.dense")
        x = _norm(x + attended, weights, f"{layer}.attention.output.LayerNorm", eps)
        wide = ACTIVATIONS[config.hidden_act](_linear(x, weights, f"{layer}.intermediate.dense"))
        x = _norm(x + _linear(wide, weights, f"{layer}.output.dense"), weights, f"{layer}.output.LayerNorm", eps)
        for values, value in zip(
            (seen.hidden, seen.alpha, seen.scale, seen.mass), (x, alpha, scale, mass if prefix else None), strict=True
        ):
            values.append(value)
    return seen


def _linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(x, weights, name, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]
