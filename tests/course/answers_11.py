"""Lesson 11: right answers in another style, and wrong ones that no slip names."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import torch
from einops import einsum, rearrange

from apt_minimal import course

# 11.1


def einops_style(query, key, value, prefix_key, prefix_value, gone):
    kept = sorted(set(range(prefix_key.size(2))) - set(gone))
    k = torch.cat((prefix_key[:, :, kept, :], key), dim=-2)
    v = torch.cat((prefix_value[:, :, kept, :], value), dim=-2)
    weights = torch.softmax(einsum(query, k, "b h n d, b h k d -> b h n k") * query.shape[-1] ** -0.5, dim=-1)
    return einsum(weights, v, "b h n k, b h k d -> b h n d")


def e4(query, key, value, prefix_key, prefix_value, gone):
    """Interpolate between what is left of the prefix and the input, with E4's mass."""
    kept = [i for i in range(prefix_key.shape[2]) if i not in gone]
    scale = query.shape[-1] ** -0.5
    own = query @ rearrange(key, "b h n d -> b h d n") * scale
    if not kept:
        return own.softmax(-1) @ value
    other = query @ rearrange(prefix_key[:, :, kept], "b h l d -> b h d l") * scale
    m = (other.logsumexp(-1) - torch.cat([other, own], -1).logsumexp(-1)).exp().unsqueeze(-1)
    return (1 - m) * (own.softmax(-1) @ value) + m * (other.softmax(-1) @ prefix_value[:, :, kept])


def ordered_only(query, key, value, prefix_key, prefix_value, gone):
    out = einops_style(query, key, value, prefix_key, prefix_value, gone)
    return out if gone == sorted(gone) else 0 * out


# 11.2


def by_rows(given, without, mask):
    total = 0.0
    for g, w, m in zip(given, without, mask, strict=True):
        real = m.nonzero().flatten()
        total = total + ((g[real] - w[real]) ** 2).sum().sqrt() / (w[real] ** 2).sum().sqrt()
    return total / given.shape[0]


def by_einsum(given, without, mask):
    m = mask.to(given.dtype)
    change = einsum((given - without) ** 2, m, "b n d, b n -> b")
    return torch.sqrt(change / einsum(without**2, m, "b n d, b n -> b")).mean()


# 11.3


def by_counting(one, other):
    def places(x):
        x = x.tolist()
        return np.array([sum(y < v for y in x) + (sum(y == v for y in x) + 1) / 2 for v in x])

    return float(np.corrcoef(places(one), places(other))[0, 1])


def by_signs(one, other):
    """Sums of signs are ranks, but for a factor and the mean."""
    a, b = ((x[:, None] - x).sign().sum(1).double() for x in (one, other))
    return float(a @ b / (a @ a * (b @ b)) ** 0.5)


# 11.4


def with_fractions(reading, budget):
    weights = [max(Fraction(r), Fraction(0)) for r in reading]
    shares = [Fraction(budget) * w / sum(weights) for w in weights]
    left = budget - sum(s.numerator // s.denominator for s in shares)
    first = sorted(range(len(shares)), key=lambda i: (-(shares[i] % 1), i))[:left]
    return tuple(int(s) + (i in first) for i, s in enumerate(shares))


def with_counter(reading, budget):
    total = sum(r for r in reading if r > 0)
    rests = {i: budget * r / total % 1 for i, r in enumerate(reading) if r > 0}
    lengths = [int(budget * r / total) if r > 0 else 0 for r in reading]
    for i, _ in Counter(rests).most_common(budget - sum(lengths)):  # equal ones in the order of the layers
        lengths[i] += 1
    return lengths


# 11.5


TABLE = {"rescale": ["scale", "prefix_norm"], "negate": ["scale"], "fold": ["alpha", "prefix_norm"]}


def by_table(move):
    return set(TABLE.get(move, []))


def changed(move, names):
    return lambda asked: set(names.split()) if asked == move else by_table(asked)


CHECKS = [
    (
        course.check_attention_without,
        {"einops": einops_style, "E4": e4},
        {"the order of gone matters": ordered_only},
    ),
    (
        course.check_effect,
        {"rows": by_rows, "einsum": by_einsum},
        {"an angle": lambda given, without, mask: (1 - torch.cosine_similarity(given, without, dim=2)).mean()},
    ),
    (
        course.check_rank_correlation,
        {"counting": by_counting, "signs": by_signs},
        {"the same order or not": lambda one, other: math.copysign(1.0, by_signs(one, other))},
    ),
    (
        course.check_lengths,
        {"fractions": with_fractions, "counter": with_counter},
        {
            "everyone gets one first": lambda r, b: [1 + n for n in with_fractions(r, max(b - len(r), 0))],
            "floats": lambda r, b: [n + 0.25 for n in with_fractions(r, b)],
        },
    ),
    (
        course.check_moved,
        {"table": by_table, "frozen": lambda move: frozenset(by_table(move))},
        {
            "‖P‖ changes too": changed("rescale", "scale"),
            "the mass stays": changed("rescale", "scale prefix_norm mass"),
            "a length has no sign": changed("negate", "scale gated_norm"),
            "the gate reads as 1 afterwards": changed("fold", "prefix_norm"),
            "nothing changes": lambda move: set(),
            "a dictionary": lambda move: dict.fromkeys(by_table(move)),
        },
    ),
]
