"""Lesson 12: right answers in another style, and wrong ones that no slip names."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from apt_minimal import course

# 12.1


def by_fused_kernel(query, key, value, prefix_key, prefix_value, alpha, mask):
    bias = torch.cat([alpha.log(), torch.zeros(mask.shape).masked_fill(~mask, -math.inf)], dim=1)
    keys, values = torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias[:, None, None].to(query.dtype))


def by_weights(query, key, value, prefix_key, prefix_value, alpha, mask):
    """Exponentials by hand, in float64: α multiplies them, a mask of 0 and 1 too."""
    q, k, p = query.double(), key.double(), prefix_key.double()
    scores = torch.cat([q @ p.mT, q @ k.mT], dim=-1) / query.shape[-1] ** 0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * torch.cat([alpha, mask], dim=1)[:, None, None]
    return (weights / weights.sum(-1, keepdim=True) @ torch.cat([prefix_value, value], dim=2).double()).to(query.dtype)


def normalised(query, key, value, prefix_key, prefix_value, alpha, mask):
    """α is made to sum to 1."""
    shares = alpha / alpha.sum(1, keepdim=True).clamp(min=1e-9)
    return by_fused_kernel(query, key, value, prefix_key, prefix_value, shares, mask)


# 12.2


def by_quantiles(location, low, high, beta):
    """u below which z is 0, and above which it is 1."""

    def u(z):
        s = (z - low) / (high - low)
        return torch.sigmoid(beta * math.log(s / (1 - s)) - location)

    return u(0.0), u(1.0) - u(0.0), 1 - u(1.0)


def by_tanh(location, low, high, beta):
    above = [0.5 + 0.5 * torch.tanh((location - beta * math.log((z - low) / (high - z))) / 2) for z in (0.0, 1.0)]
    return [1 - above[0], above[0] - above[1], above[1]]


# 12.3


def by_counting(L, k, l, d, E):
    parameters = plain = kept = 0
    for layer in range(L):
        prefixed = layer >= L - k
        parameters += (l * d * 2 + l * d + 1) * prefixed
        for epoch in range(E):
            plain += 1 + prefixed
            kept += 2 * prefixed or epoch == 0
    return parameters, plain, int(kept)


# 12.4


def by_leaving_out(scores):
    values, left_out = scores.tolist(), []
    for seed in range(scores.shape[1]):
        means = [sum(v for i, v in enumerate(row) if i != seed) / (len(row) - 1) for row in values]
        left_out.append(values[means.index(max(means))][seed])
    return scores.mean(dim=1).max(), torch.tensor(left_out).mean()


def by_deleting(scores):
    table = scores.double().numpy()
    kept = [np.delete(table, seed, axis=1).mean(axis=1).argmax() for seed in range(table.shape[1])]
    return [torch.tensor(table.mean(axis=1).max()), torch.tensor(table[kept, range(table.shape[1])].mean())]


def halves(scores):
    """One half of the seeds chooses, the other judges."""
    half = scores.shape[1] // 2
    return scores.mean(1).max(), scores[scores[:, :half].mean(1).argmax(), half:].mean()


CHECKS = [
    (
        course.check_log_gated_attention,
        {"kernel": by_fused_kernel, "weights": by_weights},
        {
            "normalised": normalised,
        },
    ),
    (
        course.check_chances,
        {"quantiles": by_quantiles, "tanh": by_tanh},
        {"two": lambda *x: by_tanh(*x)[::2]},
    ),
    (
        course.check_upper_cost,
        {
            "counting": by_counting,
            "numpy": lambda L, k, l, d, E: np.array([k * (3 * l * d + 1), E * (L + k), 2 * k * E + L - k]),
        },
        {
            "the lower k layers": lambda L, k, l, d, E: (k * (3 * l * d + 1), 2 * L * E, 2 * L * E),
            "what is saved": lambda L, k, l, d, E: (k * (3 * l * d + 1), (L - k) * E, 2 * (L - k) * E),
        },
    ),
    (course.check_winner, {"loop": by_leaving_out, "numpy": by_deleting}, {"halves": halves}),
]
