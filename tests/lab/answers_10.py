"""Answers to the exercises of lesson 10: how they came about is said in test_answers.py."""

import math
import random
from fractions import Fraction
from itertools import count

import numpy as np
import torch
from scipy.stats import binom, norm
from scipy.stats import t as student

from apt_minimal import course as exercises

# 10.1: disjoint_draw(n, k, seed)


def refused(draw):
    """The same draw, but a ValueError where there are too few."""

    def answer(n, k, seed):
        if 2 * k > n:
            raise ValueError(f"{2 * k} positions are drawn, there are {n}")
        return draw(n, k, seed)

    return answer


def sampled(n, k, seed):
    both = random.Random(seed).sample(range(n), 2 * k)  # raises the ValueError by itself
    return both[:k], both[k:]


@refused
def permuted(n, k, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return list(order[: 2 * k].int().split(k))


@refused
def by_two_samples(n, k, seed):
    """What is left over is drawn from, by the same generator."""
    rng = np.random.default_rng(seed)
    train = rng.choice(n, k, replace=False)
    return train.tolist(), rng.choice(np.setdiff1d(np.arange(n), train), k, replace=False).tolist()


class Shuffler:
    """Fisher and Yates by hand, no further than needed."""

    def __call__(self, n, k, seed):
        if n < k + k:
            raise ValueError("too few")
        self.rng, cards = random.Random(f"seed {seed}"), [*range(n)]
        for i in range(2 * k):
            j = self.rng.randrange(i, n)
            cards[i], cards[j] = cards[j], cards[i]
        return [cards[:k], cards[k : 2 * k]]


@refused
def by_random_keys(n, k, seed):
    """Every second one of a random order chooses."""
    rng = random.Random(seed)
    order = sorted(range(n), key=lambda _: rng.random())
    return order[: 2 * k : 2], order[1 : 2 * k : 2]


@refused
def by_separate_generators(n, k, seed):
    return random.Random(seed).sample(range(n), k), random.Random(seed + 1).sample(range(n), k)


@refused
def the_first_left(n, k, seed):
    train = random.Random(seed).sample(range(n), k)
    return train, [i for i in range(n) if i not in train][:k]


@refused
def by_parity(n, k, seed):
    """As many even positions as odd ones in each list, or one more."""
    rng = random.Random(seed)
    even, odd = (rng.sample(range(first, n, 2), len(range(first, n, 2))) for first in (0, 1))
    both = [i for pair in zip(even, odd, strict=False) for i in pair] + even[len(odd) :]
    return both[:k], both[k : 2 * k]


def left_over(n, taken):
    return [i for i in range(n) if i not in taken]


@refused
def by_the_same_numbers(n, k, seed):
    """The second draw repeats the first one's random numbers, so it hangs on the first."""
    train = random.Random(seed).sample(range(n), k)
    return train, random.Random(seed).sample(left_over(n, train), k)


@refused
def the_next_free(n, k, seed):
    train, held_out = random.Random(seed).sample(range(n), k), []
    for i in train:
        held_out.append(next(j % n for j in count(i) if j % n not in train + held_out))
    return train, held_out


@refused
def neighbours_left(n, k, seed):
    rng = random.Random(seed)
    train = rng.sample(range(n), k)
    left, start = left_over(n, train), rng.randrange(n - k)
    return train, (left + left)[start : start + k]


def cut_short(n, k, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[:k], order[k : 2 * k]


shared = random.Random(0)

RIGHT_10_1 = {
    "sampled": sampled,
    "permuted_int32": permuted,
    "two_samples": by_two_samples,
    "class": Shuffler(),
    "random_keys": by_random_keys,
}

WRONG_10_1 = {
    "separate": ("two draws that may overlap", by_separate_generators),
    "first_left": ("what chooses is the first that is left, not drawn", the_first_left),
    "parity": ("stratified", by_parity),
    "cut_short": ("no error, short lists", cut_short),
    "few_seeds": ("seeds that differ by ten draw alike", lambda n, k, seed: sampled(n, k, seed % 10)),
    "goes_on": (
        "one generator for all calls",
        refused(lambda n, k, seed: (lambda x: (x[:k], x[k:]))(shared.sample(range(n), 2 * k))),
    ),
    "same_numbers": ("the second draw repeats the first one's random numbers", by_the_same_numbers),
    "next_free": ("each one that trains has its next free neighbour choose", the_next_free),
    "neighbours_left": ("neighbours among what is left choose", neighbours_left),
    "floats": ("floats in place of integers", lambda n, k, s: tuple(torch.tensor(x).float() for x in sampled(n, k, s))),
}


# 10.2: expected_best(n, accuracies)


def chances(n, p):
    """P(k right), k = 0..n."""
    return [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def at_most(n, p):
    return np.cumsum(chances(n, p))


def best_by_loops(n, accuracies):
    total = 0.0
    for k in range(n):
        all_below = 1.0
        for p in accuracies:
            all_below *= sum(chances(n, p)[: k + 1])
        total += 1 - all_below
    return total / n


def best_by_tossing(n, accuracies):
    """Each classifier's distribution grows example by example."""
    together = torch.ones(n + 1, dtype=torch.float64)
    for p in accuracies:
        count_ = torch.zeros(n + 1, dtype=torch.float64)
        count_[0] = 1
        for _ in range(n):
            count_ = (1 - p) * count_ + p * torch.cat([count_.new_zeros(1), count_[:-1]])
        together *= count_.cumsum(0)
    return float(together.diff() @ torch.arange(1, n + 1, dtype=torch.float64) / n)


def best_in_log_space(n, accuracies):
    k = torch.arange(n + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    p = torch.tensor(accuracies, dtype=torch.float64)[:, None]
    log = ways + torch.special.xlogy(k, p) + torch.special.xlogy(n - k, 1 - p)
    return (1 - torch.logcumsumexp(log, dim=1).sum(dim=0).exp())[:-1].sum().item() / n


class Best:
    """Two at a time: the distribution of the better one."""

    def __call__(self, n, accuracies):
        first, *others = (binom.pmf(range(n + 1), n, p) for p in accuracies)
        for other in others:
            first = first * other.cumsum() + other * (first.cumsum() - first)
        return float(first @ np.linspace(0, 1, n + 1))


def best_by_logs(n, accuracies):
    """As by hand, but log 0 fails."""
    logs = [[k * math.log(p) + (n - k) * math.log(1 - p) for k in range(n + 1)] for p in accuracies]
    ways = [math.log(math.comb(n, k)) for k in range(n + 1)]
    return best_of_functions(n, [np.cumsum(np.exp(np.add(ways, log))) for log in logs])


def best_of_functions(n, functions):
    return float((1 - np.prod(functions, axis=0)[:n]).sum() / n)


def best_normal(n, accuracies):
    x = np.linspace(-1, 2, 6001)
    below = np.prod([norm.cdf(x, p, math.sqrt(p * (1 - p) / n) + 1e-9) for p in accuracies], axis=0)
    return float(np.sum(np.diff(below) * (x[1:] + x[:-1]) / 2))


RIGHT_10_2 = {
    "loops": best_by_loops,
    "scipy": lambda n, a: float((1 - binom.cdf(np.arange(n)[:, None], n, a).prod(axis=1)).mean()),
    "tossing": best_by_tossing,
    "log_space": best_in_log_space,
    "class": Best(),
    "fractions": lambda n, a: (
        float(
            sum(
                1 - math.prod(sum(chances(n, Fraction(p).limit_denominator(10**9))[: k + 1]) for p in a)
                for k in range(n)
            )
            / n
        )
        if n < 20
        else best_by_loops(n, a)
    ),
}

WRONG_10_2 = {
    "mean_accuracy": (
        "all as good as their mean",
        lambda n, a: best_of_functions(n, [at_most(n, sum(a) / len(a))] * len(a)),
    ),
    "best_accuracy": ("the highest true accuracy", lambda n, a: max(a)),
    "equals_dropped": ("equal accuracies count once", lambda n, a: best_of_functions(n, [at_most(n, p) for p in {*a}])),
    "below": (
        "fewer than k in place of at most k",
        lambda n, a: best_of_functions(n, [at_most(n, p) - chances(n, p) for p in a]),
    ),
    "added": (
        "chances to exceed are added",
        lambda n, a: float(np.minimum(sum(1 - at_most(n, p)[:n] for p in a), 1).sum() / n),
    ),
    "mean_of_functions": (
        "the F are averaged, then raised",
        lambda n, a: best_of_functions(n, [np.mean([at_most(n, p) for p in a], axis=0)] * len(a)),
    ),
    "normal": ("the normal approximation", best_normal),
    "log_of_zero": ("fails for accuracies of 0 and 1", best_by_logs),
    "clamped": (
        "accuracies below 0.01 and above 0.99 are moved",
        lambda n, a: best_by_loops(n, [min(max(p, 0.01), 0.99) for p in a]),
    ),
    "rounded": ("rounded", lambda n, a: round(best_by_loops(n, a), 3)),
}


# 10.3: curse(dev, test), [runs, epochs] each


def gap(dev, test, chosen):
    """[runs] chosen epochs -> the mean gap."""
    return (dev.gather(1, chosen[:, None]) - test.gather(1, chosen[:, None])).mean()


def curse_by_loops(dev, test):
    gaps = []
    for of_dev, of_test in zip(dev.tolist(), test.tolist(), strict=True):
        epoch = of_dev.index(max(of_dev))
        gaps.append(of_dev[epoch] - of_test[epoch])
    return torch.tensor(sum(gaps) / len(gaps), dtype=dev.dtype)


def curse_by_mask(dev, test):
    best = dev == dev.amax(dim=1, keepdim=True)
    first = best & (best.cumsum(dim=1) == 1)
    return (dev - test)[first].mean()


class Curse:
    """Runs along the epochs and keeps what is better than all before."""

    def __call__(self, dev, test):
        self.dev, self.test = dev[:, 0].clone(), test[:, 0].clone()
        for d, t in zip(dev.T[1:], test.T[1:], strict=True):
            self.test, self.dev = torch.where(d > self.dev, t, self.test), torch.maximum(d, self.dev)
        return self.dev.mean() - self.test.mean()


def last_of_equals(dev, test):
    return gap(dev, test, dev.shape[1] - 1 - dev.flip(1).argmax(dim=1))


def curse_in_place(dev, test):
    """Earlier ones are helped a little."""
    dev -= 1e-2 * torch.arange(dev.shape[1])
    return gap(dev, test, dev.argmax(dim=1))


RIGHT_10_3 = {
    "gather": lambda dev, test: gap(dev, test, dev.argmax(dim=1)),
    "loops": curse_by_loops,
    "mask": curse_by_mask,
    "class": Curse(),
    "sorted": lambda dev, test: gap(dev, test, dev.sort(dim=1, descending=True, stable=True).indices[:, 0]),
    "numpy": lambda dev, test: torch.tensor(
        np.mean((dev - test).numpy()[range(len(dev)), dev.numpy().argmax(axis=1)]), dtype=dev.dtype
    ),
}

WRONG_10_3 = {
    "last_of_equals": ("the last of equals", last_of_equals),
    "best_of_equals": (
        "of equals the one with the best test score",
        lambda dev, test: gap(dev, test, test.masked_fill(dev < dev.amax(1, keepdim=True), -9).argmax(dim=1)),
    ),
    "mean_of_equals": (
        "equals are averaged",
        lambda dev, test: (
            dev.amax(1) - test.masked_fill(dev < dev.amax(1, keepdim=True), math.nan).nanmean(dim=1)
        ).mean(),
    ),
    "two_maxima": ("each at its own best epoch", lambda dev, test: (dev.amax(1) - test.amax(1)).mean()),
    "one_epoch": (
        "one epoch for all runs, by the mean",
        lambda dev, test: (dev - test)[:, dev.mean(dim=0).argmax()].mean(),
    ),
    "last_epoch": ("the test score after the last epoch", lambda dev, test: (dev.amax(1) - test[:, -1]).mean()),
    "columns": (
        "picks the chosen epochs out of every run",
        lambda dev, test: dev.amax(1).mean() - test[:, dev.argmax(dim=1)].mean(),
    ),
    "in_place": ("a nudge for the earlier ones, and dev is changed", curse_in_place),
    "nearly_equal": (
        "the earliest that is within 0.01 of the best",
        lambda dev, test: gap(dev, test, (dev > dev.amax(dim=1, keepdim=True) - 0.01).int().argmax(dim=1)),
    ),
    "sixteenths": (
        "scores are rounded to sixteenths",
        lambda dev, test: gap(dev, test, (16 * dev).round().argmax(dim=1)),
    ),
}


# 10.4: seeds_needed(sd, difference)


def reach(sd, k, low=0.975, power=0.8, freedom=None):
    freedom = k - 1 if freedom is None else freedom
    return (student.ppf(low, freedom) + student.ppf(power, freedom)) * sd / math.sqrt(k)


def counted(seen, start=2):
    return next(k for k in count(start) if seen(k))


def by_bisection(sd, difference):
    low, high = 1, 2
    while reach(sd, high) > difference:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(sd, middle) <= difference else (middle, high)
    return high


def by_while(sd, difference):
    k = 2
    while True:
        t1, t2 = student.isf([0.025, 0.2], df=k - 1)
        if ((t1 + t2) * sd) ** 2 <= k * difference**2:
            return k
        k += 1


class Needed:
    """Never fewer than with normal quantiles: begins there."""

    def __call__(self, sd, difference):
        self.k = max(2, math.floor(((norm.ppf(0.975) + norm.ppf(0.8)) * sd / difference) ** 2))
        while reach(sd, self.k) > difference:
            self.k += 1
        return self.k


def by_arrays(sd, difference, most=500):
    k = np.arange(2, most)
    seen = (student.ppf(0.975, k - 1) + student.ppf(0.8, k - 1)) / np.sqrt(k) <= difference / sd
    return int(k[seen.argmax()]) if seen.any() else by_arrays(sd, difference, 4 * most)


def by_one_step(sd, difference):
    k = max(2, math.ceil(((norm.ppf(0.975) + norm.ppf(0.8)) * sd / difference) ** 2))
    return max(2, math.ceil((reach(1, k) * math.sqrt(k) * sd / difference) ** 2))


RIGHT_10_4 = {
    "upwards": lambda sd, difference: counted(lambda k: reach(sd, k) <= difference),
    "while": by_while,
    "bisection": by_bisection,
    "class": Needed(),
    "arrays": by_arrays,
}

WRONG_10_4 = {
    "normal": (
        "normal quantiles",
        lambda sd, d: max(2, math.ceil(((norm.ppf(0.975) + norm.ppf(0.8)) * sd / d) ** 2)),
    ),
    "freedom_k": ("k degrees of freedom", lambda sd, d: counted(lambda k: reach(sd, k, freedom=k) <= d)),
    "freedom_two_groups": ("2k - 2 degrees", lambda sd, d: counted(lambda k: reach(sd, k, freedom=2 * k - 2) <= d)),
    "freedom_four": ("always four degrees", lambda sd, d: counted(lambda k: reach(sd, k, freedom=4) <= d)),
    "no_power": ("the interval's reach alone", lambda sd, d: counted(lambda k: reach(sd, k, power=0.5) <= d)),
    "unpaired": ("two independent groups", lambda sd, d: counted(lambda k: reach(2**0.5 * sd, k) <= d)),
    "one_less": ("the last that does not suffice", lambda sd, d: max(2, by_bisection(sd, d) - 1)),
    "doubled": ("powers of two only", lambda sd, d: next(k for k in (2**i for i in count(1)) if reach(sd, k) <= d)),
    "one_step": ("t at the number that normal quantiles give", by_one_step),
    "up_to_thousand": ("stops at 1000", lambda sd, d: min(1000, by_bisection(sd, d))),
}

CHECKS = [
    (exercises.check_disjoint_draw, RIGHT_10_1, WRONG_10_1),
    (exercises.check_expected_best, RIGHT_10_2, WRONG_10_2),
    (exercises.check_curse, RIGHT_10_3, WRONG_10_3),
    (exercises.check_seeds_needed, RIGHT_10_4, WRONG_10_4),
]
