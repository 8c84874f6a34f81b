"""Layers put in order by a reading: whether orders agree, and prefix lengths made from one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.stats import permutation_test, rankdata


@dataclass(frozen=True)
class RankAgreement:
    """How far rankings agree, beside what chance does.

    Attributes:
        mean: Spearman's rank correlation, mean over all pairs of rankings: 1 where all are the same, 0 expected of
            independent ones.
        by_chance: what this mean exceeds in one of twenty cases if every ranking is shuffled on its own.
        p: the share of such cases with a mean at least as high.
    """

    mean: float
    by_chance: float
    p: float


def rank_agreement(readings: Sequence[Sequence[float]], draws: int = 2000, seed: int = 0) -> RankAgreement:
    """Do seeds (or tasks) put the layers in the same order?

    More than chance is not yet learning: layers of one backbone differ before any training, and make rankings agree.
    Compare with readings of fresh prefixes. Equal values share the mean of their ranks.

    Args:
        readings: one per seed or task, [seeds, L]: `layer_effects`, for instance. Layers NaN in all are left out.
        draws: how many times to shuffle; where there are not so many orders, each is counted once. With few rankings of
            few layers p is coarse: two orders of three layers are the same in one case of six.
        seed: of the shuffling.

    Raises:
        ValueError: fewer than two rankings or three layers, a NaN in some of a layer's readings, or a reading without
            any order.
    """
    values = np.array([np.asarray(reading, dtype=float) for reading in readings], ndmin=2)
    values = values[:, ~np.isnan(values).all(axis=0)]
    if values.shape[0] < 2 or values.shape[1] < 3:
        raise ValueError(f"{values.shape[0]} rankings of {values.shape[1]} layers; give at least 2 of at least 3")
    if np.isnan(values).any():
        raise ValueError(
            "a layer is NaN in some readings and not in others; rank models with prefixes in the same layers"
        )
    if (values == values[:, :1]).all(axis=1).any():
        raise ValueError("in one of the readings all layers are equal, so it has no order to agree with")
    found = permutation_test(
        list(rankdata(values, axis=1)),
        _mean_correlation,
        permutation_type="pairings",
        n_resamples=draws,
        alternative="greater",
        vectorized=False,
        random_state=np.random.default_rng(seed),  # pyright: ignore[reportCallIssue]  rng since scipy 1.15
    )
    return RankAgreement(found.statistic, float(np.quantile(found.null_distribution, 0.95)), float(found.pvalue))


def lengths_from(reading: Sequence[float], budget: int) -> tuple[int, ...]:
    """Prefix lengths for each layer, for `AptConfig(prefix_length=...)`, from a trained model's reading.

    The rule is ours; the paper's was not recovered. A layer gets budget · r / Σ r tokens, r its reading (below 0 and
    NaN count as 0), rounded by largest remainders: down first, then one more for the largest remainders until the
    budget is spent; of equal ones, for the lower layer. The lengths add up to the budget.

    Args:
        reading: one number per layer, [L]: `layer_effects`, or their mean over seeds.
        budget: prefix tokens in all layers together.

    Raises:
        ValueError: no reading above 0, an infinite one, or a budget below 1.
    """
    values = [float(value) for value in reading]
    if type(budget) is not int or budget < 1:
        raise ValueError(f"budget is {budget!r}; it must be an integer of at least 1")
    weights = [value if value > 0 else 0.0 for value in values]  # NaN is not above 0
    if not any(weights) or math.inf in weights:
        raise ValueError(f"readings are {values}; they must be finite, and at least one above 0")
    # Fractions, so that equal remainders are equal.
    shares = [budget * Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    lengths = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: lengths[i] - shares[i])  # stable: the lower layer first
    for i in by_remainder[: budget - sum(lengths)]:
        lengths[i] += 1
    return tuple(lengths)


def _mean_correlation(*ranks: np.ndarray) -> float:
    """Mean of Pearson's correlation over all pairs of rankings: of ranks, Spearman's."""
    return float(np.corrcoef(ranks)[np.triu_indices(len(ranks), k=1)].mean())
