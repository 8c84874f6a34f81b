"""Answers to the exercises of lesson 06: how they came about is said in test_answers.py."""

import math
from functools import cache
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from scipy.optimize import linear_sum_assignment

from apt_minimal import course as exercises

# 6.1: relative_error(a, b), any shape


def error_by_loops(a, b):
    above = below = 0.0
    for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        above, below = above + (x - y) ** 2, below + y**2
    return math.sqrt(above / below)


class Meter:
    """The squares of one example at a time are gathered, the root comes last."""

    def __call__(self, a, b):
        self.above = self.below = 0
        for x, y in zip(a.double(), b.double(), strict=True):
            self.above, self.below = self.above + (x - y).square().sum(), self.below + y.square().sum()
        return (self.above / self.below).sqrt()


def each(x):
    """The norm of every example."""
    return x.flatten(1).norm(dim=1)


RIGHT_6_1 = {
    "norms": lambda a, b: (a - b).norm() / b.norm(),
    "loops": error_by_loops,
    "einsum": lambda a, b: (einsum(a - b, a - b, "... , ... ->") / einsum(b, b, "... , ... ->")) ** 0.5,
    "log_space": lambda a, b: (((a - b).double() ** 2).sum().log() / 2 - (b.double() ** 2).sum().log() / 2).exp(),
    "mse_losses": lambda a, b: (F.mse_loss(a, b) / F.mse_loss(torch.zeros_like(b), b)).sqrt().item(),
    "class": Meter(),
}

WRONG_6_1 = {
    "mean_of_ratios": ("each example's own ratio, averaged", lambda a, b: (each(a - b) / each(b)).mean()),
    "nanmean_of_ratios": (
        "each example's own ratio, averaged where b is not zero",
        lambda a, b: (each(a - b) / each(b))[each(b) > 0].mean(),
    ),
    "mean_of_norms": ("the examples' norms averaged, above and below", lambda a, b: each(a - b).sum() / each(b).sum()),
    "tokens_norms": (
        "the tokens' norms added up, above and below",
        lambda a, b: (a - b).norm(dim=-1).sum() / b.norm(dim=-1).sum(),
    ),
    "zeros_left_out": (
        "examples with b = 0 are left out above as well",
        lambda a, b: (a - b)[each(b) > 0].norm() / b.norm(),
    ),
    "squared": ("no root", lambda a, b: (a - b).square().sum() / b.square().sum()),
    "by_the_student": ("divided by the student's norm", lambda a, b: (a - b).norm() / a.norm()),
    "absolute_values": ("absolute values in place of squares", lambda a, b: (a - b).abs().sum() / b.abs().sum()),
    "difference_of_norms": ("the norms are subtracted", lambda a, b: (a.norm() - b.norm()).abs() / b.norm()),
    "clamped": ("a denominator of at least 1", lambda a, b: (a - b).norm() / b.norm().clamp(min=1)),
    "by_the_spread": ("divided by b without its mean", lambda a, b: (a - b).norm() / (b - b.mean()).norm()),
    "three_dimensions": (
        "sums over the dimensions 0, 1, 2 only",
        lambda a, b: ((a - b).square().sum((0, 1, 2)) / b.square().sum((0, 1, 2))).sqrt(),
    ),
    "worst_element": ("the largest difference by the largest b", lambda a, b: (a - b).abs().max() / b.abs().max()),
}


# 6.2: match_tokens(student, teacher), [l, d] each


def squares(student, teacher):
    """[l, l]: teacher's token i against student's token j."""
    return (teacher[:, None] - student).square().sum(-1)


def assigned(cost, **options):
    return torch.as_tensor(linear_sum_assignment(cost.numpy(), **options)[1])


def matched_by_trying(student, teacher, distance=lambda rest: rest.square().sum(), tried=permutations):
    orders = map(list, tried(range(len(student))))
    return torch.tensor(min(orders, key=lambda order: float(distance(student[order].double() - teacher.double()))))


def matched_by_subsets(student, teacher):
    cost = squares(student.double(), teacher.double()).tolist()

    @cache
    def best(left):
        row = len(cost) - len(left)
        return min(((cost[row][j] + best(left - {j})[0], (j, *best(left - {j})[1])) for j in left), default=(0.0, ()))

    return torch.tensor(best(frozenset(range(len(cost))))[1])


def matched_by_loops(student, teacher):
    best, least = None, math.inf
    for order in permutations(range(student.shape[0])):
        total = sum(
            (x - y) ** 2
            for i, j in enumerate(order)
            for x, y in zip(student[j].tolist(), teacher[i].tolist(), strict=True)
        )
        if total < least:
            best, least = order, total
    return torch.tensor(best, dtype=torch.int32)


class Matcher:
    """Everything tried at once; the tokens are centred, which adds the same number to every order's sum."""

    def __call__(self, student, teacher):
        orders = torch.tensor(list(permutations(range(len(teacher)))))
        student, teacher = (x.double() - x.double().mean(dim=0) for x in (student, teacher))
        return orders[rearrange(student[orders] - teacher, "o l d -> o (l d)").norm(dim=1).argmin()]


def greedily_by_row(student, teacher):
    cost, order = squares(student, teacher).clone(), []
    for row in cost:
        order.append(int(row.argmin()))
        cost[:, order[-1]] = math.inf
    return torch.tensor(order)


def greedily_by_pair(student, teacher):
    cost = squares(student, teacher).clone()
    order = torch.zeros(len(cost), dtype=torch.long)
    for _ in range(len(cost)):
        i, j = divmod(int(cost.argmin()), len(cost))
        order[i] = j
        cost[i], cost[:, j] = math.inf, math.inf
    return order


def by_swaps(student, teacher):
    cost, order = squares(student, teacher), list(range(len(teacher)))
    pairs = [(i, j) for i in order for j in range(i)]
    for i, j in pairs * len(order):
        if cost[i, order[j]] + cost[j, order[i]] < cost[i, order[i]] + cost[j, order[j]]:
            order[i], order[j] = order[j], order[i]
    return torch.tensor(order)


RIGHT_6_2 = {
    "trying": matched_by_trying,
    "assignment": lambda student, teacher: assigned(torch.cdist(teacher, student) ** 2),
    "largest_products": lambda student, teacher: assigned(teacher.double() @ student.double().T, maximize=True),
    "subsets": matched_by_subsets,
    "loops_int32": matched_by_loops,
    "class": Matcher(),
}

WRONG_6_2 = {
    "inverse": ("rows and columns swapped", lambda student, teacher: assigned(squares(teacher, student))),
    "nearest": ("each token its nearest: one may serve twice", lambda s, t: squares(s, t).argmin(dim=1)),
    "greedy_by_row": ("each in turn takes the nearest that is left", greedily_by_row),
    "greedy_by_pair": ("the closest pair first, and so on", greedily_by_pair),
    "not_squared": ("sum of distances, not of their squares", lambda s, t: assigned(squares(s, t).sqrt())),
    "absolute_values": ("sum of absolute differences", lambda s, t: assigned(torch.cdist(t, s, p=1))),
    "cosine": (
        "compares directions only",
        lambda s, t: assigned(F.normalize(t, dim=1) @ F.normalize(s, dim=1).T, maximize=True),
    ),
    "up_to_five": (
        "tries all orders of up to five tokens, six are matched greedily",
        lambda s, t: matched_by_trying(s, t) if len(t) <= 5 else greedily_by_pair(s, t),
    ),
    "by_norm": ("sorted by norm", lambda s, t: s.norm(dim=1).argsort()[t.norm(dim=1).argsort().argsort()]),
    "reordered": ("returns the student's tokens in order", lambda s, t: s[assigned(squares(s, t))]),
    "swaps": ("swaps two as long as that helps; three may have to move at once", by_swaps),
    "bottleneck": (
        "the largest single distance is made smallest",
        lambda s, t: matched_by_trying(s, t, lambda rest: rest.norm(dim=-1).max()),
    ),
}


# 6.3: canonical(scale, key, value), [], [l, d], [l, d]


def canonical_by_loops(scale, key, value):
    c = math.sqrt(sum(x * x for matrix in (key, value) for row in matrix.tolist() for x in row))
    c = c if scale > 0 else -c
    rows = ([[x / c for x in row] for row in matrix.tolist()] for matrix in (key, value))
    return torch.tensor(float(scale) * c, dtype=key.dtype), *(torch.tensor(x, dtype=key.dtype) for x in rows)


def canonical_in_place(scale, key, value):
    both = torch.stack([key, value]).mul_(scale)  # λP, a copy
    norm = both.norm()
    return (norm, *both.div_(norm))


def canonical_in_log_space(scale, key, value):
    log_norm = torch.cat([key, value]).double().square().sum().log() / 2
    turned = torch.copysign((-log_norm).exp(), scale)
    return tuple(x.to(key.dtype) for x in ((scale.double().abs().log() + log_norm).exp(), key * turned, value * turned))


class Canon:
    """Every number of the prefix in one vector of norm 1."""

    def __call__(self, scale, key, value):
        flat = torch.cat((key.flatten(), value.flatten()))
        self.key, self.value = F.normalize(scale.sign() * flat, dim=0, eps=0).view(2, *key.shape).unbind()
        return [flat.norm() * scale.abs(), self.key, self.value]


def norm_of(key, value):
    return torch.hypot(key.norm(), value.norm())


def divided(scale, key, value, c):
    return scale * c, key / c, value / c


RIGHT_6_3 = {
    "hypot": lambda scale, key, value: divided(scale, key, value, torch.copysign(norm_of(key, value), scale)),
    "loops": canonical_by_loops,
    "in_place_on_a_copy": canonical_in_place,
    "log_space": canonical_in_log_space,
    "class_list": Canon(),
    "in_two_steps": lambda scale, key, value: divided(
        *(scale * scale.sign(), key * scale.sign(), value * scale.sign()), norm_of(key, value)
    ),
}

WRONG_6_3 = {
    "prefix_not_turned": (
        "a negative λ loses its sign, P stays",
        lambda scale, key, value: divided(scale.abs(), key, value, norm_of(key, value)),
    ),
    "negative": ("a negative λ stays", lambda scale, key, value: divided(scale, key, value, norm_of(key, value))),
    "always_turned": (
        "the sign of λ is changed even where it is positive",
        lambda scale, key, value: divided(scale, key, value, -norm_of(key, value)),
    ),
    "scale_kept": (
        "λ is not multiplied by what P is divided by",
        lambda scale, key, value: (scale.abs(), *divided(scale, key, value, scale.sign() * norm_of(key, value))[1:]),
    ),
    "scale_divided": (
        "λ is divided as well",
        lambda scale, key, value: tuple(x / (scale.sign() * norm_of(key, value)) for x in (scale, key, value)),
    ),
    "own_norms": (
        "key and value each by its own norm",
        lambda scale, key, value: (
            *(scale.abs() * norm_of(key, value),),
            *(x * scale.sign() / x.norm() / 2**0.5 for x in (key, value)),
        ),
    ),
    "every_token": (
        "each token by its own norm",
        lambda scale, key, value: (
            *(scale.abs() * norm_of(key, value),),
            *(
                x * scale.sign() / torch.cat([key, value], dim=1).norm(dim=1, keepdim=True) / len(x) ** 0.5
                for x in (key, value)
            ),
        ),
    ),
    "norm_of_key": (
        "the norm of the keys alone",
        lambda scale, key, value: divided(scale, key, value, scale.sign() * key.norm()),
    ),
    "floor": (
        "a norm below 1 counts as 1",
        lambda scale, key, value: divided(scale, key, value, scale.sign() * norm_of(key, value).clamp(min=1)),
    ),
    "squared_norm": (
        "no root",
        lambda scale, key, value: divided(scale, key, value, scale.sign() * norm_of(key, value) ** 2),
    ),
    "only_key_turned": (
        "of a negative λ only the keys learn",
        lambda scale, key, value: (
            scale.abs() * norm_of(key, value),
            key * scale.sign() / norm_of(key, value),
            value / norm_of(key, value),
        ),
    ),
    "spectral": (
        "the largest singular value in place of the norm",
        lambda scale, key, value: divided(
            scale, key, value, scale.sign() * torch.linalg.matrix_norm(torch.cat([key, value]), 2)
        ),
    ),
}


# 6.4: recoverable(varies)

ALWAYS = {"lambda*alpha*P", "m"}
MORE = {"alpha", "W", "lambda*P"}


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


class Table:
    """A dictionary from name to (varying, constant)."""

    yes = {name: (True, name in ALWAYS) for name in ALWAYS | MORE}

    def __call__(self, varies):
        return {name for name, (varying, constant) in self.yes.items() if (varying if varies else constant)}


RIGHT_6_4 = {
    "sets": lambda varies: ALWAYS | MORE if varies else set(ALWAYS),
    "frozen": lambda varies: frozenset(ALWAYS.union(*[MORE] * varies)),
    "found_out": found_out,
    "by_exclusion": lambda varies: (
        {"lambda", "P", "alpha", "W", "lambda*alpha", "lambda*P", "lambda*alpha*P", "m"}
        - {"lambda", "P", "lambda*alpha"}
        - (set() if varies else MORE)
    ),
    "split": lambda varies: set(("lambda*alpha*P m" + " W alpha lambda*P" * bool(varies)).split()),
    "class": Table(),
}

WRONG_6_4 = {
    "always_everything": ("ignores that the first token is constant", lambda varies: ALWAYS | MORE),
    "never_the_gate": ("α can't be read even if it varies", lambda varies: ALWAYS),
    "turned_round": ("the two cases swapped", lambda varies: ALWAYS if varies else ALWAYS | MORE),
    "lambda_alpha": ("λα though λ is free", lambda varies: ALWAYS | (MORE | {"lambda*alpha"} if varies else set())),
    "lambda_alpha_constant": (
        "λα with a constant first token",
        lambda varies: ALWAYS | (MORE if varies else {"lambda*alpha"}),
    ),
    "lambda": ("λ, since the seeds agree", lambda varies: ALWAYS | {"lambda"} | (MORE if varies else set())),
    "P": ("P itself in place of λP", lambda varies: ALWAYS | ({"alpha", "W", "P"} if varies else set())),
    "no_W": ("W is forgotten", lambda varies: ALWAYS | ({"alpha", "lambda*P"} if varies else set())),
    "no_mass": ("the mass is lost with a constant gate", lambda varies: ALWAYS | MORE if varies else ALWAYS - {"m"}),
    "lambda_P_constant": (
        "λP with a constant first token",
        lambda varies: ALWAYS | (MORE if varies else {"lambda*P"}),
    ),
    "W_constant": ("W with a constant first token", lambda varies: ALWAYS | (MORE if varies else {"W"})),
    "nothing_constant": ("nothing at all with a constant token", lambda varies: ALWAYS | MORE if varies else set()),
}

CHECKS = [
    (exercises.check_relative_error, RIGHT_6_1, WRONG_6_1),
    (exercises.check_match_tokens, RIGHT_6_2, WRONG_6_2),
    (exercises.check_canonical, RIGHT_6_3, WRONG_6_3),
    (exercises.check_recoverable, RIGHT_6_4, WRONG_6_4),
]
