"""Intervals that hold both for other seeds and for other examples, from per-example counts.

A mean score over k seeds on n examples is uncertain in two ways: other seeds would train other models, other examples
would be easier or harder. With few seeds a percentile bootstrap is too narrow (five: some 83 % instead of 95 %), so
both parts are computed directly. A score is a ratio of sums over examples (see `example_counts`), S = Σ num / Σ den;
one example's influence on it is

    u = (num − S · den) / mean(den)

(for accuracy: right or wrong, minus the mean). With u̅ᵢ the mean over seeds for example i, and S the score of each seed,

    Var(mean) = Var_seeds(S) / k + Var_examples(u̅) / n − Var(rest) / (n k)

The rest is what neither seed nor example explains alone; the first two both hold it, so it is taken off once (crossed
random effects, as in Cornfield and Tukey 1956); the sum is never taken as less than either of the first two, since an
estimate of a variance may come out too low. The interval is mean ± t · √Var, with Satterthwaite's degrees of
freedom: near k − 1 where the seeds dominate, large where the examples do.

In an average over tasks every task has the same seeds and examples of its own. S is then each seed's average, and the
examples' parts of the tasks, and their rests, add up. Seeds and examples count as drawn at random, tasks as given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Counts = Mapping[int, Sequence[Sequence[int]]]  # for each seed, each example's numerator and denominator


@dataclass(frozen=True)
class Interval:
    """A mean, its 95 % interval and what makes it wide, all in the scores' unit.

    Attributes:
        mean: over seeds.
        low, high: the interval's ends; NaN where there is one seed only.
        seeds_sd: standard deviation of the mean that comes from seeds …
        examples_sd: … and from examples.
        detectable: the smallest true difference that a design like this one tells from 0 in four of five cases.
        p: the two-sided p-value of "the true mean is 0"; NaN where there is one seed only, or nothing varies.
    """

    mean: float
    low: float
    high: float
    seeds_sd: float
    examples_sd: float
    detectable: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def score_interval(counts: Counts) -> Interval:
    """The mean score over seeds.

    Args:
        counts: for each seed the counts of the same examples, in the same order.

    Raises:
        ValueError: no seed, or seeds with other numbers of examples.
    """
    scores, influences = zip(*(_influences(of_seed) for of_seed in _aligned(counts)), strict=True)
    return _interval(np.array(scores), [np.array(influences)])


def difference_interval(counts: Counts, others: Counts) -> Interval:
    """How much one method scores above another, paired: the seeds that both have, and the same examples.

    Raises:
        ValueError: no seed in common, or other numbers of examples.
    """
    return contrast_interval((1, counts), (-1, others))


def contrast_interval(*terms: tuple[float, Counts]) -> Interval:
    """A weighted sum of scores, paired; with weights 1, −1, −1 and 1 a difference of differences.

    Args:
        terms: weights, each with its counts, of which the seeds are used that all have.

    Raises:
        ValueError: no seed in common, or other numbers of examples.
    """
    return average_interval(terms)


def average_interval(*tasks: Sequence[tuple[float, Counts]]) -> Interval:
    """The plain mean over tasks of a weighted sum of scores each, with the same seeds in all tasks.

    Args:
        tasks: for each task its terms, as in `contrast_interval`; the seeds are used that all terms of all tasks have.

    Raises:
        ValueError: no seed in common, or other numbers of examples within a task.
    """
    seeds = sorted(set.intersection(*(set(counts) for terms in tasks for _, counts in terms)))
    scores, influences = zip(*(_contrast(terms, seeds) for terms in tasks), strict=True)
    return _interval(np.mean(scores, axis=0), [of_task / len(tasks) for of_task in influences])


def seeds_interval(scores: Mapping[int, float]) -> Interval:
    """The mean of one number a seed, where nothing is known of single examples: it holds for other seeds only."""
    return _interval(np.array(list(scores.values()), dtype=float), [])


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of tests by Holm's method; NaN, for a test that was not made, stays NaN.

    The smallest of m is multiplied by m, the next by m − 1, and so on; none may come out below one before it.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    for rank, (p, i) in enumerate(order):
        adjusted[i] = largest = max(largest, min(1.0, p * (len(order) - rank)))
    return adjusted


def _contrast(terms: Sequence[tuple[float, Counts]], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A weighted sum of one task's scores, by seed [k], and its examples' influences [k, n]."""
    every = _aligned({(i, seed): counts[seed] for i, (_, counts) in enumerate(terms) for seed in seeds})
    scores, influences = (np.array(part) for part in zip(*map(_influences, every), strict=True))
    weights, k = np.array([weight for weight, _ in terms]), len(seeds)
    summed = [np.tensordot(weights, part.reshape(len(terms), k, *part.shape[1:]), 1) for part in (scores, influences)]
    return summed[0], summed[1]


def _aligned(counts: Mapping) -> list[np.ndarray]:
    arrays = [np.asarray(of_seed, dtype=float) for of_seed in counts.values()]
    if not arrays or len({len(array) for array in arrays}) > 1:
        raise ValueError(f"{len(arrays)} sets of {[len(array) for array in arrays]} examples; each needs the same ones")
    return arrays


def _influences(counts: np.ndarray) -> tuple[float, np.ndarray]:
    """A score, and each example's influence on it: [n, 2] -> [], [n]."""
    numerators, denominators = counts.T
    if not denominators.sum():  # nothing to find and nothing found
        return 0.0, np.zeros(len(counts))
    score = numerators.sum() / denominators.sum()
    return score, (numerators - score * denominators) / denominators.mean()


def _interval(scores: np.ndarray, influences: Sequence[np.ndarray]) -> Interval:
    """Scores [k] of seeds and, for each task, influences [k, n] of its examples, put together."""
    from scipy.stats import t

    k, mean = len(scores), scores.mean()
    of_tasks = np.array([one.mean(axis=0).var(ddof=1) / one.shape[1] for one in influences])
    of_examples = of_tasks.sum()
    examples_sd = float(np.sqrt(of_examples)) if influences else np.nan
    if k < 2:
        return Interval(float(mean), np.nan, np.nan, np.nan, examples_sd, np.nan, np.nan)
    of_seeds = scores.var(ddof=1) / k
    variance = of_seeds + of_examples - sum(map(_rest, influences))
    # An estimate of a variance may come out too low; it is never less than either part alone.
    variance = max(variance, of_seeds, of_examples)
    of_freedom = sum(of**2 / (one.shape[1] - 1) for of, one in zip(of_tasks, influences, strict=True))
    # Where nothing varies, any number of degrees will do.
    freedom = variance**2 / (of_seeds**2 / (k - 1) + of_freedom) if variance else k - 1
    sd, reach = np.sqrt(variance), t.ppf(0.975, freedom)
    return Interval(
        float(mean),
        float(mean - reach * sd),
        float(mean + reach * sd),
        float(np.sqrt(of_seeds)),
        examples_sd,
        detectable=float((reach + t.ppf(0.8, freedom)) * sd),
        p=float(2 * t.sf(abs(mean) / sd, freedom)) if sd else np.nan,
    )


def _rest(influences: np.ndarray) -> float:
    """The part of a mean's variance that neither seed nor example explains alone: [k, n] -> a number."""
    k, n = influences.shape
    return ((influences - influences.mean(axis=0)) ** 2).sum() / ((k - 1) * (n - 1)) / (k * n)
