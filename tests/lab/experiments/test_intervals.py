"""Intervals over seeds and examples: coverage where the truth is known, and each part against another computation."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from apt_minimal.lab.experiments.intervals import (
    average_interval,
    contrast_interval,
    difference_interval,
    holm,
    score_interval,
    seeds_interval,
)

RNG = np.random.default_rng


def accuracy(right):
    """Counts by seed from [k, n] of right and wrong."""
    return dict(enumerate(np.stack([right, np.ones_like(right)], axis=-1)))


def draws(rng, k, n, examples_sd, seeds_sd, difficulty=None):
    """Right or wrong: an example's difficulty, shared by all seeds, and a seed's quality, shared by all examples."""
    difficulty = rng.normal(0, examples_sd, n) if difficulty is None else difficulty
    chance = 0.7 + difficulty + rng.normal(0, seeds_sd, (k, 1))
    return rng.random((k, n)) < np.clip(chance, 0, 1)


# seeds, examples, and how much each of them varies: seeds dominate, examples dominate, both, neither
WORLDS = [(5, 100, 0.0, 0.1), (5, 300, 0.3, 0.0), (5, 100, 0.3, 0.05), (5, 1000, 0.2, 0.03), (3, 100, 0.3, 0.05)]


@pytest.mark.parametrize("k, n, examples_sd, seeds_sd", WORLDS)
def test_95_of_100_intervals_hold_the_true_score(k, n, examples_sd, seeds_sd):
    rng = RNG(0)
    spread = rng.normal(0, np.hypot(examples_sd, seeds_sd), 1_000_000)
    truth = np.clip(0.7 + spread, 0, 1).mean()
    found = [score_interval(accuracy(draws(rng, k, n, examples_sd, seeds_sd))) for _ in range(600)]
    assert 0.925 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.985


@pytest.mark.parametrize("k, n, p", [(5, 104, 0.635), (5, 104, 0.8), (5, 1000, 0.8)])
def test_intervals_are_too_narrow_where_one_seed_in_five_lands_on_the_other_constant_answer(k, n, p):
    rng, held = RNG(1), []  # docs/experiments.md says how narrow
    for _ in range(600):
        gold = rng.random(n) < p
        right = np.array([gold if rng.random() < 0.8 else ~gold for _ in range(k)])
        found = score_interval(accuracy(right))
        held.append(found.low <= 0.8 * p + 0.2 * (1 - p) <= found.high)
    assert 0.60 <= np.mean(held) < 0.95


@pytest.mark.parametrize("k, n, examples_sd, seeds_sd", WORLDS)
def test_95_of_100_intervals_hold_a_difference_that_is_none(k, n, examples_sd, seeds_sd):
    rng, held = RNG(1), []
    for _ in range(600):
        difficulty = rng.normal(0, examples_sd, n)  # both methods see the same examples
        one, other = (accuracy(draws(rng, k, n, examples_sd, seeds_sd, difficulty)) for _ in range(2))
        held.append(not difference_interval(one, other).excludes_zero)
    assert 0.925 <= np.mean(held) <= 0.995  # where only chance varies, a little wide


def test_intervals_over_seeds_alone_would_be_too_narrow():
    rng, held = RNG(2), []
    for _ in range(400):
        right = draws(rng, 5, 100, 0.4, 0.0)
        interval = stats.t.interval(0.95, 4, right.mean(), stats.sem(right.mean(axis=1)))
        held.append(interval[0] <= 0.66 <= interval[1])  # the clipped truth is 0.66
    assert np.mean(held) < 0.9


def sentences(rng, k, n):
    """Entity counts [k, n, 2]: twice the right ones, and those that are there plus those predicted."""
    there = rng.integers(0, 4, n)
    right = rng.binomial(there, np.clip(0.6 + rng.normal(0, 0.03, (k, 1)), 0, 1), (k, n))
    guessed = right + rng.binomial(2, 0.2, (k, n))
    return np.stack([2 * right, there + guessed], axis=-1)


def f1(counts):
    return counts[..., 0].sum(-1) / counts[..., 1].sum(-1)


def test_the_examples_part_equals_a_bootstrap_over_sentences():
    counts = sentences(RNG(3), 5, 300)
    rng, again = RNG(4), []
    for _ in range(3000):
        again.append(f1(counts[:, rng.integers(0, 300, 300)]).mean())
    found = score_interval(dict(enumerate(counts)))
    assert found.mean == pytest.approx(f1(counts).mean())
    assert found.examples_sd == pytest.approx(np.std(again), rel=0.05)
    assert found.seeds_sd == pytest.approx(stats.sem(f1(counts)))


def test_the_examples_part_of_a_difference_equals_a_paired_bootstrap():
    one = sentences(RNG(5), 5, 300)
    other = one.copy()
    swapped = RNG(6).random(300) < 0.3
    other[:, swapped] = sentences(RNG(7), 5, 300)[:, swapped]
    rng, again = RNG(8), []
    for _ in range(3000):
        chosen = rng.integers(0, 300, 300)
        again.append((f1(one[:, chosen]) - f1(other[:, chosen])).mean())
    found = difference_interval(dict(enumerate(one)), dict(enumerate(other)))
    assert found.mean == pytest.approx((f1(one) - f1(other)).mean())
    assert found.examples_sd == pytest.approx(np.std(again), rel=0.05)


def test_differences_pair_the_seeds_both_have_whatever_their_order():
    counts = sentences(RNG(9), 4, 50)
    one = {11: counts[0], 21: counts[1], 5: counts[3]}
    other = {21: counts[1], 11: counts[0], 6: counts[2]}
    found = difference_interval(one, other)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_what_is_detectable_is_detected_in_four_of_five_cases():
    rng, found = RNG(10), []
    detectable = np.mean([score_interval(accuracy(draws(rng, 5, 400, 0.2, 0.0))).detectable for _ in range(50)])
    for _ in range(400):
        difficulty = rng.normal(0, 0.2, 400)
        worse = difference_interval(
            accuracy(draws(rng, 5, 400, 0, 0.02, difficulty)), accuracy(draws(rng, 5, 400, 0, 0.02, difficulty))
        )
        found.append(worse)
    assert 0 < detectable < 0.2
    sd = np.std([one.mean for one in found])
    promised = np.mean([one.detectable for one in found])
    # the power of this design against the promised difference, were the estimates normal with their true spread
    reach = np.mean([one.high - one.mean for one in found])
    assert 0.75 <= stats.norm.cdf((promised - reach) / sd) <= 0.9


def test_one_seed_has_no_interval():
    found = score_interval({11: [[1, 1], [0, 1]]})
    assert found.mean == 0.5 and np.isnan([found.low, found.high, found.detectable]).all()
    assert not found.excludes_zero


def test_seeds_on_other_examples_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 1\]"):
        score_interval({1: [[1, 1], [0, 1]], 2: [[1, 1]]})
    with pytest.raises(ValueError, match="0 sets"):
        difference_interval({1: [[1, 1]]}, {2: [[1, 1]]})


def test_nothing_there_and_nothing_found_is_zero():
    found = score_interval({seed: [[0, 0], [0, 0]] for seed in (1, 2)})
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_a_contrast_of_accuracies_is_the_score_of_contrasted_examples():
    rng = RNG(5)
    each = [draws(rng, 5, 80, 0.1, 0.05).astype(float) for _ in range(4)]
    found = contrast_interval(*((weight, accuracy(right)) for weight, right in zip((1, -1, -1, 1), each, strict=True)))
    contrasted = each[0] - each[1] - each[2] + each[3]
    assert astuple(found) == pytest.approx(astuple(score_interval(accuracy(contrasted))))


def test_a_contrast_uses_the_seeds_that_all_have():
    one, two, three = ({seed: [[seed, 1], [0, 1]] for seed in seeds} for seeds in ((1, 2, 3), (2, 3, 4), (3, 2)))
    assert contrast_interval((1, one), (1, two), (1, three)).mean == pytest.approx(3 * (1.0 + 1.5) / 2)


# Averages over tasks


def test_an_average_over_one_task_is_that_task():
    one, two = (accuracy(draws(RNG(seed), 4, 60, 0.2, 0.05)) for seed in (1, 2))
    assert astuple(average_interval([(1, one), (-1, two)])) == astuple(difference_interval(one, two))


def test_in_an_average_seeds_are_crossed_with_tasks_and_examples_are_not():
    tasks = [draws(RNG(seed), 5, n, 0.2, 0.05).astype(float) for seed, n in ((1, 60), (2, 200), (3, 90))]
    found = average_interval(*([(1, accuracy(right))] for right in tasks))
    by_seed = np.mean([right.mean(axis=1) for right in tasks], axis=0)
    assert found.mean == pytest.approx(by_seed.mean()) and found.seeds_sd == pytest.approx(stats.sem(by_seed))
    rng, again = RNG(4), []
    for _ in range(4000):
        again.append(np.mean([right[:, rng.integers(0, right.shape[1], right.shape[1])].mean() for right in tasks]))
    assert found.examples_sd == pytest.approx(np.std(again), rel=0.05)


def test_95_of_100_intervals_hold_a_true_average_where_a_seed_does_well_in_all_tasks_or_in_none():
    rng, held = RNG(5), []
    for _ in range(500):
        seeds = rng.normal(0, 0.03, (5, 1))  # the same in each task
        right = [(rng.random((5, n)) < 0.6 + seeds + rng.normal(0, 0.1, n)) for n in (60, 150, 300)]
        found = average_interval(*([(1, accuracy(of))] for of in right))
        held.append(found.low <= 0.6 <= found.high)
    assert 0.925 <= np.mean(held) <= 0.985


def test_p_is_below_5_per_cent_just_where_the_95_per_cent_interval_leaves_out_zero():
    for seed in range(40):
        one, two = (accuracy(draws(RNG(seed + shift), 5, 80, 0.3, 0.05)) for shift in (0, 1000))
        found = difference_interval(one, two)
        assert (found.p < 0.05) == found.excludes_zero


def test_numbers_of_seeds_alone_give_students_interval():
    scores = {1: 0.1, 2: 0.3, 3: -0.1, 4: 0.2}
    found, values = seeds_interval(scores), list(scores.values())
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue) and np.isnan(found.examples_sd)


def test_holms_method_by_hand():
    """Sorted .005, .01, .03, .04 become 4 · .005, 3 · .01, 2 · .03 and, as none may fall, .06 again."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    alone, missing = holm([0.04, float("nan")])  # a test that was not made costs nothing
    assert alone == 0.04 and np.isnan(missing)


def test_holms_method_cries_wolf_in_one_family_of_twenty():
    p_values = RNG(6).random((4000, 8))
    assert np.mean([min(holm(list(of_family))) < 0.05 for of_family in p_values]) == pytest.approx(0.05, abs=0.01)
