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
    """

    mean: float
    low: float
    high: float
    seeds_sd: float
    examples_sd: float
    detectable: float

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
    return _interval(np.array(scores), np.array(influences))


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
    seeds = sorted(set.intersection(*(set(counts) for _, counts in terms)))
    every = _aligned({(i, seed): counts[seed] for i, (_, counts) in enumerate(terms) for seed in seeds})
    scores, influences = (np.array(part) for part in zip(*map(_influences, every), strict=True))
    weights, k = np.array([weight for weight, _ in terms]), len(seeds)
    summed = [np.tensordot(weights, part.reshape(len(terms), k, *part.shape[1:]), 1) for part in (scores, influences)]
    return _interval(*summed)


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


def _interval(scores: np.ndarray, influences: np.ndarray) -> Interval:
    """Scores [k] of seeds and influences [k, n] of their examples, put together."""
    from scipy.stats import t

    k, n = influences.shape
    mean, of_examples = scores.mean(), influences.mean(axis=0).var(ddof=1) / n
    if k < 2:
        return Interval(float(mean), np.nan, np.nan, np.nan, float(np.sqrt(of_examples)), np.nan)
    of_seeds = scores.var(ddof=1) / k
    rest = ((influences - influences.mean(axis=0)) ** 2).sum() / ((k - 1) * (n - 1)) / (k * n)
    # An estimate of a variance may come out too low; it is never less than either part alone.
    variance = max(of_seeds + of_examples - rest, of_seeds, of_examples)
    # Where nothing varies, any number of degrees will do.
    freedom = variance**2 / (of_seeds**2 / (k - 1) + of_examples**2 / (n - 1)) if variance else k - 1
    sd, reach = np.sqrt(variance), t.ppf(0.975, freedom)
    return Interval(
        *map(float, (mean, mean - reach * sd, mean + reach * sd, np.sqrt(of_seeds), np.sqrt(of_examples))),
        detectable=float((reach + t.ppf(0.8, freedom)) * sd),
    )
