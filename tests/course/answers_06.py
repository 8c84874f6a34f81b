"""Answers to the exercises of lesson 06, for test_exercises.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from apt_minimal import course
from apt_minimal.course.lesson_06 import greedy


def error_by_loops(a, b):
    above = below = 0.0
    for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        above, below = above + (x - y) ** 2, below + y**2
    return math.sqrt(above / below)


def squares(student, teacher):
    """[l, l]: teacher's token i against student's token j."""
    return (teacher[:, None] - student).square().sum(-1)


def matched_by_products(student, teacher):
    return torch.as_tensor(linear_sum_assignment(teacher.numpy() @ student.numpy().T, maximize=True)[1])


def matched_by_swaps(student, teacher):
    """Swap two as long as that helps, though three may have to move at once."""
    cost, order = squares(student, teacher), list(range(len(teacher)))
    for i, j in [(one, other) for one in order for other in range(one)] * len(order):
        if cost[i, order[j]] + cost[j, order[i]] < cost[i, order[i]] + cost[j, order[j]]:
            order[i], order[j] = order[j], order[i]
    return torch.tensor(order)


def canonical_by_loops(scale, key, value):
    c = math.copysign(math.sqrt(sum(x * x for p in (key, value) for row in p.tolist() for x in row)), scale)
    return float(scale) * c, *(torch.tensor([[x / c for x in row] for row in p.tolist()]) for p in (key, value))


def canonical_in_place(scale, key, value):
    both = torch.stack([key, value]).mul_(scale)  # λP, a copy
    norm = both.norm()
    return [norm, *both.div_(norm)]


def found_out(varies):
    """Change the numbers along the symmetries; what stays the same, is recoverable."""
    rng = np.random.default_rng(0)
    prefix, words, first = rng.normal(size=3), rng.normal(size=(3, 4)), rng.normal(size=4)

    def told(scale, prefix, words):
        alpha = 1 / (1 + np.exp(-words @ first))
        told = {"lambda": scale, "P": prefix, "alpha": alpha, "W": words, "lambda*alpha": scale * alpha}
        gated = scale * alpha * prefix
        return told | {"lambda*P": scale * prefix, "lambda*alpha*P": gated, "m": np.exp(gated).sum()}

    others = [told(3.0, prefix / 2, words)]
    if not varies:
        moved = words + np.outer([0.5, 1.0, -1.0], first) / (first @ first)
        old, new = (1 / (1 + np.exp(-w @ first)) for w in (words, moved))
        others.append(told(1.5, prefix * old / new, moved))
    truth = told(1.5, prefix, words)
    return {name for name in truth if all(np.allclose(truth[name], other[name]) for other in others)}


ALWAYS, MORE = {"lambda*alpha*P", "m"}, {"alpha", "W", "lambda*P"}

CHECKS = [
    (
        course.check_relative_error,
        {"loops": error_by_loops, "mse": lambda a, b: (F.mse_loss(a, b) / b.square().mean()).sqrt().item()},
        {"three axes alone": lambda a, b: ((a - b).square().sum((0, 1, 2)) / b.square().sum((0, 1, 2))).sqrt()},
    ),
    (
        course.check_match_tokens,
        {
            "products": matched_by_products,
            "numpy": lambda s, t: linear_sum_assignment(squares(s, t).numpy())[1],
            "32 bits": lambda s, t: matched_by_products(s, t).int(),
        },
        {
            "swaps": matched_by_swaps,
            "up to five": lambda s, t: matched_by_products(s, t) if len(t) < 6 else greedy(squares(s, t), True),
            "list": lambda s, t: matched_by_products(s, t).tolist(),
        },
    ),
    (
        course.check_canonical,
        {"loops": canonical_by_loops, "in place": canonical_in_place},
        {"one tensor": lambda s, k, v: torch.stack(canonical_in_place(s, k, v)[1:])},
    ),
    (
        course.check_recoverable,
        {"symmetries": found_out, "list": lambda varies: [*ALWAYS, *MORE] if varies else [*ALWAYS]},
        {
            "λα": lambda varies: ALWAYS | (MORE | {"lambda*alpha"} if varies else set()),
            "λ, since seeds agree": lambda varies: ALWAYS | {"lambda"} | (MORE if varies else set()),
            "no W": lambda varies: ALWAYS | ({"alpha", "lambda*P"} if varies else set()),
            "no mass": lambda varies: ALWAYS | MORE if varies else ALWAYS - {"m"},
            "λP of a constant token": lambda varies: ALWAYS | (MORE if varies else {"lambda*P"}),
            "a name of one's own": lambda varies: ALWAYS | (MORE if varies else set()) | {"mass"},
        },
    ),
]
