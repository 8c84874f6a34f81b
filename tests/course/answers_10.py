"""Lesson 10: right answers in another style, and wrong ones that no slip names."""

import math
import random

import numpy as np
import torch
from scipy.stats import binom
from scipy.stats import t as student

from apt_minimal import course

# 10.1


def permuted(n, k, seed):
    if 2 * k > n:
        raise ValueError(f"{2 * k} positions are drawn, there are {n}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[: 2 * k].int().split(k)


def from_the_rest(n, k, seed):
    """Disturbs everyone's random numbers, but draws rightly; sample raises the ValueError by itself."""
    random.seed(seed)
    train = random.sample(range(n), k)
    return [sorted(train), random.sample(left_over(n, train), k)]


def left_over(n, taken):
    return [i for i in range(n) if i not in taken]


def by_the_same_numbers(n, k, seed):
    """The second draw repeats the first one's random numbers, so it depends on the first."""
    train = random.Random(seed).sample(range(n), k)
    return train, random.Random(seed).sample(left_over(n, train), k)


def neighbours_left(n, k, seed):
    rng = random.Random(seed)
    train = permuted(n, k, seed)[0].tolist()
    left, start = left_over(n, train), rng.randrange(n - k)
    return train, (left + left)[start : start + k]


# 10.2


def best_by_tossing(n, accuracies):
    """Each classifier's distribution grows example by example."""
    together = torch.ones(n + 1, dtype=torch.float64)
    for p in accuracies:
        right = torch.zeros(n + 1, dtype=torch.float64)
        right[0] = 1
        for _ in range(n):
            right = (1 - p) * right + p * torch.cat([right.new_zeros(1), right[:-1]])
        together *= right.cumsum(0)
    return float(together.diff() @ torch.arange(1, n + 1, dtype=torch.float64) / n)


def at_most(n, accuracies):
    """[n, classifiers]: the chance of at most 0, …, n − 1 right."""
    return binom.cdf(np.arange(n)[:, None], n, accuracies)


# 10.3


def curse_by_loops(dev, test):
    gaps = []
    for of_dev, of_test in zip(dev.tolist(), test.tolist(), strict=True):
        epoch = of_dev.index(max(of_dev))
        gaps.append(of_dev[epoch] - of_test[epoch])
    return torch.tensor(sum(gaps) / len(gaps), dtype=dev.dtype)


def curse_by_mask(dev, test):
    best = dev == dev.amax(dim=1, keepdim=True)
    return (dev - test)[best & (best.cumsum(dim=1) == 1)].mean()


def mean_of_equals(dev, test):
    return (dev.amax(1) - test.masked_fill(dev < dev.amax(1, keepdim=True), math.nan).nanmean(dim=1)).mean()


# 10.4


def reach(sd, r):
    return student.ppf([0.975, 0.8], r - 1).sum() * sd / math.sqrt(r)


def by_bisection(sd, difference):
    low, high = 1, 2
    while reach(sd, high) > difference:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(sd, middle) <= difference else (middle, high)
    return high


def by_while(sd, difference):
    r = 2
    while True:
        t1, t2 = student.isf([0.025, 0.2], df=r - 1)
        if ((t1 + t2) * sd) ** 2 <= r * difference**2:
            return r
        r += 1


CHECKS = [
    (
        course.check_disjoint_draw,
        {"permuted": permuted, "from the rest": from_the_rest},
        {
            "the same random numbers": by_the_same_numbers,
            "neighbours": neighbours_left,
        },
    ),
    (
        course.check_expected_best,
        {"tossing": best_by_tossing, "scipy": lambda n, a: float((1 - at_most(n, a).prod(axis=1)).mean())},
        {
            "chances to exceed are added": lambda n, a: float((1 - at_most(n, a)).sum(axis=1).clip(max=1).mean()),
            "the F are averaged": lambda n, a: float((1 - at_most(n, a).mean(axis=1) ** len(a)).mean()),
            "an accuracy is never 0 or 1": lambda n, a: best_by_tossing(n, np.clip(a, 0.01, 0.99)),
        },
    ),
    (
        course.check_curse,
        {"loops": curse_by_loops, "mask": curse_by_mask},
        {"equals are averaged": mean_of_equals},
    ),
    (
        course.check_seeds_needed,
        {"bisection": by_bisection, "while": by_while},
        {
            "a power of two": lambda sd, difference: 2 ** (by_bisection(sd, difference) - 1).bit_length(),
            "never more than a thousand": lambda sd, difference: min(1000, by_bisection(sd, difference)),
        },
    ),
]
