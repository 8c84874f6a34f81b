"""Lesson 10's checkers pass right answers in different styles, and name the usual mistakes."""

import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm, t

from apt_minimal.course import lesson_10 as exercises

# 10.1


def by_sample(n, k, seed):
    if 2 * k > n:
        raise ValueError("too few")
    drawn = random.Random(seed).sample(range(n), 2 * k)
    return drawn[:k], drawn[k:]


def by_permutation(n, k, seed):
    if n < 2 * k:
        raise ValueError("too few")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return [order[:k], order[k : 2 * k]]


def by_shuffle(n, k, seed):
    if n - 2 * k < 0:
        raise ValueError
    order = list(range(n))
    random.seed(seed)
    random.shuffle(order)
    return order[-k:], order[:k]


def by_numpy(n, k, seed):
    if 2 * k > n:
        raise ValueError("too few")
    return tuple(np.random.default_rng(seed).permutation(n)[: 2 * k].reshape(2, k))


def by_two_draws_from_what_is_left(n, k, seed):
    if k * 2 > n:
        raise ValueError("too few")
    rng = random.Random(seed)
    first = rng.sample(range(n), k)
    return sorted(first), rng.sample([i for i in range(n) if i not in first], k)


def two_separate_draws(n, k, seed):
    rng = random.Random(seed)
    return rng.sample(range(n), k), rng.sample(range(n), k)


def the_same_twice(n, k, seed):
    drawn = random.Random(seed).sample(range(n), k)
    return drawn, drawn


def with_replacement(n, k, seed):
    rng = random.Random(seed)
    return rng.choices(range(n), k=k), rng.choices(range(n), k=k)


def without_the_seed(n, k, seed):
    drawn = random.sample(range(n), 2 * k)
    return drawn[:k], drawn[k:]


def always_the_same(n, k, seed):
    return by_sample(n, k, 0)


def fixed_development_set(n, k, seed):
    order = random.Random(seed).sample(range(n - k), k)
    return order, list(range(n - k, n))


def sorted_then_cut(n, k, seed):
    drawn = sorted(random.Random(seed).sample(range(n), 2 * k))
    return drawn[:k], drawn[k:]


def a_block(n, k, seed):
    start = random.Random(seed).randrange(n)
    return [(start + i) % n for i in range(k)], [(start + k + i) % n for i in range(k)]


def the_neighbours(n, k, seed):
    """What chooses are the next free ones after a random place."""
    rng = random.Random(seed)
    train = rng.sample(range(n), k)
    left, start = [i for i in range(n) if i not in train], rng.randrange(n)
    return train, [left[(start + i) % len(left)] for i in range(k)]


def from_one(n, k, seed):
    return tuple([i + 1 for i in part] for part in by_sample(n, k, seed))


def half_as_many(n, k, seed):
    drawn = random.Random(seed).sample(range(n), k)
    return drawn[: k // 2], drawn[k // 2 :]


def in_one_list(n, k, seed):
    return random.Random(seed).sample(range(n), 2 * k)


def without_a_limit(n, k, seed):
    order = random.Random(seed).sample(range(n), n)
    return order[:k], order[k : 2 * k]


def too_strict(n, k, seed):
    if 2 * k >= n:
        raise ValueError("too few")
    return by_sample(n, k, seed)


def with_an_assert(n, k, seed):
    assert 2 * k <= n
    return by_sample(n, k, seed)


# 10.2


def best_by_scipy(n, accuracies):
    k = np.arange(n)
    return float((1 - np.prod([binom.cdf(k, n, p) for p in accuracies], axis=0)).mean())


def best_by_loops(n, accuracies):
    def at_most(k, p):
        return sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k + 1))

    expected = 0.0
    for k in range(n):
        all_of_them = 1.0
        for p in accuracies:
            all_of_them *= at_most(k, p)
        expected += 1 - all_of_them
    return expected / n


def best_by_chances_of_the_maximum(n, accuracies):
    at_most = np.prod([binom.cdf(np.arange(n + 1), n, p) for p in accuracies], axis=0)
    return torch.tensor(np.diff(at_most, prepend=0.0) @ np.arange(n + 1) / n)


def simulated(n, accuracies):
    rng = np.random.default_rng(0)
    return float(np.mean([max(rng.binomial(n, p) for p in accuracies) for _ in range(50)]) / n)


def guessers_only(n, accuracies):
    return best_by_scipy(n, [0.5] * len(accuracies))


# 10.3


def curse_by_gather(dev, test):
    chosen = dev.argmax(dim=1, keepdim=True)
    return (dev.gather(1, chosen) - test.gather(1, chosen)).mean()


def curse_by_max(dev, test):
    reported, chosen = torch.max(dev, dim=-1)
    return reported.mean() - test[torch.arange(len(test)), chosen].mean()


def curse_by_loop(dev, test):
    gaps = []
    for d, t_ in zip(dev.tolist(), test.tolist(), strict=True):
        best = max(range(len(d)), key=lambda i: d[i])
        gaps.append(d[best] - t_[best])
    return torch.tensor(sum(gaps) / len(gaps))


def ties_averaged(dev, test):
    chosen = (dev == dev.max(dim=1, keepdim=True).values).float()
    return ((dev - test) * chosen).sum(1).div(chosen.sum(1)).mean()


# 10.4


def needed_by_count(sd, difference):
    k = 2
    while (t.ppf(0.975, k - 1) + t.ppf(0.8, k - 1)) * sd / k**0.5 > difference:
        k += 1
    return k


def needed_by_next(sd, difference):
    def enough(k):
        return sum(t.ppf([0.975, 0.8], k - 1)) <= difference * math.sqrt(k) / sd

    return next(k for k in range(2, 100_000) if enough(k))


def needed_by_numpy(sd, difference):
    k = np.arange(2, 5000)
    reach = (t.ppf(0.975, k - 1) + t.isf(0.2, k - 1)) * sd / np.sqrt(k)
    return k[np.argmax(reach <= difference)]


def reached(sd, difference, r, freedom=None):
    return sum(t.ppf([0.975, 0.8], freedom or r - 1)) * sd / math.sqrt(r) <= difference


def with_normal(sd, difference):
    return max(2, math.ceil(((norm.ppf(0.975) + norm.ppf(0.8)) * sd / difference) ** 2))


def changed(reach=0.975, power=0.8, freedom=1, root=0.5, first=2, more=0):
    def answer(sd, difference):
        k = first
        quantiles = t.ppf(reach, k - freedom) + (t.ppf(power, k - freedom) if power else 0)
        while quantiles * sd / k**root > difference:
            k += 1
            quantiles = t.ppf(reach, k - freedom) + (t.ppf(power, k - freedom) if power else 0)
        return k + more

    return answer


RIGHT = [
    *(
        (exercises.check_disjoint_draw, answer)
        for answer in (by_sample, by_permutation, by_shuffle, by_numpy, by_two_draws_from_what_is_left)
    ),
    *(
        (exercises.check_expected_best, answer)
        for answer in (best_by_scipy, best_by_loops, best_by_chances_of_the_maximum)
    ),
    *((exercises.check_curse, answer) for answer in (curse_by_gather, curse_by_max, curse_by_loop)),
    *((exercises.check_seeds_needed, answer) for answer in (needed_by_count, needed_by_next, needed_by_numpy)),
]
DRAW, BEST, CURSE, NEEDED = (
    exercises.check_disjoint_draw,
    exercises.check_expected_best,
    exercises.check_curse,
    exercises.check_seeds_needed,
)
WRONG = [
    (DRAW, two_separate_draws, "share positions"),
    (DRAW, the_same_twice, "share positions"),
    (DRAW, with_replacement, "twice in one list"),
    (DRAW, without_the_seed, "whatever was drawn before"),
    (DRAW, always_the_same, "same for every seed"),
    (DRAW, fixed_development_set, "development set is the same"),
    (DRAW, sorted_then_cut, "sorted before the cut"),
    (DRAW, a_block, "plainly at random"),
    (DRAW, from_one, "from 0 to n − 1"),
    (DRAW, half_as_many, "k positions each"),
    (DRAW, in_one_list, "two lists"),
    (DRAW, lambda n, k, seed: tuple(map(set, by_sample(n, k, seed))), "two lists"),
    (DRAW, without_a_limit, "raise a ValueError"),
    (DRAW, too_strict, "though 2k is at most n"),
    (DRAW, with_an_assert, "not a AssertionError"),
    (DRAW, lambda n, k, seed: None, "is there a return"),
    (DRAW, lambda n, k, seed: [torch.tensor(x).float() for x in by_sample(n, k, seed)], "lists of integers"),
    (DRAW, lambda n, k, seed: by_sample(n, k, seed // 2), "different seeds"),
    (DRAW, lambda n, k, seed: by_sample(n, k, seed // 2)[:: 1 if seed % 2 else -1], "different seeds"),
    (DRAW, the_neighbours, "hangs on the other"),
    (BEST, lambda n, a: max(a), "best of the expected"),
    (BEST, lambda n, a: sum(a) / len(a), "mean of the accuracies"),
    (BEST, lambda n, a: n * best_by_scipy(n, a), "divide by n"),
    (BEST, lambda n, a: best_by_scipy(n, [np.mean(a)] * len(a)), "mean accuracy for all"),
    (BEST, lambda n, a: best_by_scipy(n, [a[0]] * len(a)), "the first one's for all"),
    (BEST, lambda n, a: best_by_scipy(n, [max(a)] * len(a)), "the best one's for all"),
    (BEST, lambda n, a: sum(1 - np.prod(binom.cdf(k, n, a)) for k in range(1, n)) / n, "begins at j = 0"),
    (BEST, lambda n, a: sum(1 - np.prod(binom.cdf(k - 1, n, a)) for k in range(n)) / n, "j included"),
    (BEST, lambda n, a: sum(np.prod(binom.sf(k, n, a)) for k in range(n)) / n, "expected worst"),
    (BEST, lambda n, a: sum(np.prod(binom.cdf(k, n, a)) for k in range(n)) / n, "1 minus it"),
    (BEST, simulated, "an exact value"),
    (BEST, lambda n, a: best_by_scipy(n, set(a)), "two tickets"),
    (BEST, lambda n, a: best_by_scipy(n, np.clip(a, 0.01, 0.99)), "may be 0 or 1"),
    (BEST, lambda n, a: best_by_scipy(min(n, 100), a), "n = 200 must work"),
    (BEST, guessers_only, "single classifier"),
    (CURSE, lambda d, s: -curse_by_max(d, s), "the sign"),
    (CURSE, lambda d, s: d.max(1).values - s[range(len(s)), d.argmax(1)], "one number"),
    (CURSE, lambda d, s: (d.max(1).values - s[range(len(s)), d.argmax(1)]).sum(), "not their sum"),
    (CURSE, lambda d, s: d.amax(1).mean(), "still to be taken off"),
    (CURSE, lambda d, s: (d.amax(1) - s[:, d.argmax(1)]).mean(), "is a square"),
    (CURSE, lambda d, s: d.amax(1).mean() - s[:, -1].mean(), "not in the last"),
    (CURSE, lambda d, s: (d.amax(1) - s[range(len(s)), d.argmax(1)]).clamp(min=0).mean(), "not as 0"),
    (CURSE, lambda d, s: (d.amax(1) - s.amax(1)).mean(), "two different epochs"),
    (CURSE, lambda d, s: curse_by_max(s, d).neg(), "not the test score"),
    (CURSE, lambda d, s: (d - s).amax(1).mean(), "not the largest gap"),
    (CURSE, lambda d, s: d[:, -1].mean() - s[:, -1].mean(), "the last epoch"),
    (CURSE, lambda d, s: d.mean() - s.mean(), "over all epochs"),
    (CURSE, lambda d, s: d.amax(1).mean() - s.mean(), "has no say"),
    (CURSE, lambda d, s: curse_by_max(d.flip(1), s.flip(1)), "not the latest"),
    (CURSE, lambda d, s: (d - s)[:, d.mean(0).argmax()].mean(), "one for all"),
    (CURSE, lambda d, s: curse_by_max(d.T, s.T), "along dim 1"),
    (CURSE, lambda d, s: d.max() - s.flatten()[d.argmax()], "best run's best epoch"),
    (CURSE, lambda d, s: (d.amax(1) - s[range(len(s)), d.argmax(1)]).abs().mean(), "absolute value"),
    (CURSE, ties_averaged, "the earliest counts"),
    (CURSE, lambda d, s: curse_by_max((1000 * d).round() / 1000, s), "close together"),
    (NEEDED, with_normal, "normal distribution"),
    (NEEDED, changed(power=None), "every second time"),
    (NEEDED, changed(reach=0.95), "two-sided"),
    (NEEDED, changed(power=0.9), "nine of ten"),
    (NEEDED, changed(power=0.2), "t at 0.2 is negative"),
    (NEEDED, changed(freedom=0), "r − 1 degrees"),
    (NEEDED, changed(root=1), "sd / √r"),
    (NEEDED, lambda s, d: max(2, math.ceil((sum(t.ppf([0.975, 0.8], 4)) * s / d) ** 2)), "t depends on r"),
    (NEEDED, changed(more=1), "one too many"),
    (NEEDED, changed(more=-1), "one too few"),
    (NEEDED, changed(first=1), "t is NaN"),
    (NEEDED, changed(first=3), "two draws may do"),
    (NEEDED, lambda s, d: needed_by_count(s**2, d), "need not be squared"),
    (NEEDED, lambda s, d: needed_by_count(s**0.5, d), "no root"),
    (NEEDED, lambda s, d: needed_by_count(2**0.5 * s, d), "no further √2"),
    (NEEDED, lambda s, d: needed_by_count(d, s), "the other way round"),
    (NEEDED, lambda s, d: next(r for r in range(2, 5000) if reached(s, d, r, 2 * r - 2)), "not 2r − 2"),
    (NEEDED, lambda s, d: min(1000, needed_by_count(s, d)), "more than a thousand"),
    (NEEDED, lambda s, d: 5, "two draws are enough"),
]


@pytest.mark.parametrize("check, answer", RIGHT)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


@pytest.mark.parametrize("check, answer, said", WRONG)
def test_mistakes_are_named(check, answer, said, capsys):
    assert not check(answer)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and said in out and out.count("\n") == 1


@pytest.mark.parametrize("check", [DRAW, BEST, CURSE, NEEDED])
def test_unsolved_says_so(check, capsys):
    def unsolved(*_):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"
