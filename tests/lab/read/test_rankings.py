"""Agreement of rankings beside chance, and lengths under a budget."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from apt_minimal import AptConfig
from apt_minimal.lab.read.rankings import lengths_from, rank_agreement

NAN = float("nan")

# Agreement


def test_equal_orders_agree_wholly_and_opposite_ones_not_at_all():
    layers = np.arange(8.0)
    same = rank_agreement([layers, layers**3, np.exp(layers), 2 * layers])
    assert same.mean == pytest.approx(1) and same.p < 0.001 and same.by_chance < 0.6
    opposite = rank_agreement([layers, -layers])
    assert opposite.mean == pytest.approx(-1) and opposite.p == 1


def test_the_mean_is_that_of_spearmans_correlations_ties_included():
    rows = np.array([[3, 1, 1, 5, 2.0], [1, 2, 3, 3, 0], [9, 1, 2, 2, 2]])
    pairs = [spearmanr(rows[i], rows[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert rank_agreement(rows).mean == pytest.approx(np.mean(pairs))
    assert rank_agreement(torch.tensor(rows)).mean == pytest.approx(np.mean(pairs))


def test_chance_is_what_all_orders_give():
    """Two orders of four layers: all 24 pairings can be counted."""
    first, second = [0, 1, 2, 3], [0, 1, 3, 2]
    found = rank_agreement([first, second], draws=5_000)
    every = [spearmanr(first, order).statistic for order in permutations(range(4))]
    assert found.p == pytest.approx(np.mean([value >= found.mean - 1e-9 for value in every]), abs=0.02)
    assert found.by_chance == pytest.approx(np.quantile(every, 0.95))


def test_independent_orders_pass_for_agreement_about_once_in_twenty_times():
    rng = np.random.default_rng(5)
    ps = [rank_agreement(rng.normal(size=(5, 6)), draws=100, seed=i).p for i in range(120)]
    assert 0.01 < np.mean(np.array(ps) <= 0.05) < 0.11
    assert 0.4 < np.mean(ps) < 0.6


def test_an_order_behind_noise_is_found():
    rng = np.random.default_rng(6)
    ps = [rank_agreement(np.arange(6) + rng.normal(size=(5, 6)), draws=100, seed=i).p for i in range(30)]
    assert np.mean(np.array(ps) <= 0.05) > 0.95


def test_layers_without_a_prefix_are_left_out():
    rows = [[1, NAN, 2, 3, 5], [2, NAN, 1, 3, 7]]
    without = [[value for value in row if value == value] for row in rows]
    assert rank_agreement(rows) == rank_agreement(without)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3]], "1 rankings of 3 layers"),
        ([[1, 2], [2, 1]], "2 rankings of 2 layers"),
        ([[1, NAN, 3, 4], [1, 2, 3, 4]], "NaN in some readings"),
        ([[1, 2, 3], [2, 2, 2]], "no order"),
    ],
)
def test_what_cannot_be_compared_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        rank_agreement(rows)


# Lengths


@pytest.mark.parametrize(
    ("reading", "budget", "lengths"),
    [
        ([1, 1, 2], 8, (2, 2, 4)),
        ([1, 1, 1], 4, (2, 1, 1)),  # equal remainders: the lower layer
        ([1, 1, 1], 5, (2, 2, 1)),
        ([4, 1, 1], 2, (2, 0, 0)),  # 4/3, 1/3, 1/3: equal, though not as floating-point numbers
        ([0.1, 0.2, 0.7], 9, (1, 2, 6)),  # .9, 1.8, 6.3
        ([3, 0, 1], 4, (3, 0, 1)),
        ([3, NAN, -2, 1], 4, (3, 0, 0, 1)),  # no prefix, or better without it
        ([1, 1e-9, 1], 1, (1, 0, 0)),
        (torch.tensor([0.5, 1.5]), 2, (1, 1)),  # 0.5 and 1.5: a tie again
    ],
)
def test_lengths_follow_the_rule(reading, budget, lengths):
    assert lengths_from(reading, budget) == lengths
    assert AptConfig(lengths).lengths(len(lengths)) == lengths


@pytest.mark.parametrize("seed", range(5))
def test_lengths_spend_the_budget_keep_the_order_and_do_not_depend_on_the_unit(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        reading, budget = rng.gamma(0.5, size=rng.integers(1, 25)), int(rng.integers(1, 300))
        lengths = lengths_from(reading, budget)
        assert sum(lengths) == budget and min(lengths) >= 0
        assert all(abs(n - share) < 1 for n, share in zip(lengths, budget * reading / reading.sum(), strict=True))
        assert (np.diff(np.array(lengths)[np.argsort(reading)]) >= 0).all()
        assert lengths_from(8 * reading, budget) == lengths


@pytest.mark.parametrize("reading", [[0.0, 0.0], [NAN, -1.0], [1.0, float("inf")], []])
def test_readings_that_give_no_shares_are_refused(reading):
    with pytest.raises(ValueError, match="at least one above 0"):
        lengths_from(reading, 4)


@pytest.mark.parametrize("budget", [0, -3, 2.0, True])
def test_a_budget_is_a_positive_integer(budget):
    with pytest.raises(ValueError, match="budget is"):
        lengths_from([1.0, 2.0], budget)
