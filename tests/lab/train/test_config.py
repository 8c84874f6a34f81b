"""How to train: the learning rate's course, the steps with an evaluation, and values that are refused."""

import pytest

from apt_minimal.lab.train.config import TrainConfig
from apt_minimal.lab.train.loop import History

CORNERS = [
    # warm-up, step, share of the learning rate; 100 steps
    (0.1, 0, 1 / 10),
    (0.1, 8, 9 / 10),
    (0.1, 9, 1.0),
    (0.1, 10, 1.0),
    (0.1, 55, 1 / 2),
    (0.1, 99, 1 / 90),
    (0.1, 100, 0.0),
    (0.0, 0, 1.0),
    (0.0, 50, 1 / 2),
    (0.0, 100, 0.0),
    (0.99, 0, 1 / 99),
    (0.99, 98, 1.0),
    (0.99, 99, 1.0),
]


@pytest.mark.parametrize("warmup, step, share", CORNERS)
def test_the_learning_rates_course(warmup, step, share):
    assert TrainConfig(1.0, max_steps=100, warmup=warmup).learning_rate_factor(step) == pytest.approx(share)


def test_the_learning_rate_is_never_above_the_highest_nor_below_zero():
    for max_steps in (1, 2, 7, 50):
        for warmup in (0.0, 0.06, 0.5, 0.99):
            config = TrainConfig(1.0, max_steps=max_steps, evaluations=1, warmup=warmup)
            factors = [config.learning_rate_factor(step) for step in range(max_steps)]
            assert max(factors) == 1.0 and min(factors) > 0


@pytest.mark.parametrize(
    "max_steps, evaluations, steps",
    [(10, 1, [10]), (10, 2, [5, 10]), (7, 3, [2, 5, 7]), (3, 3, [1, 2, 3]), (600, 10, list(range(60, 601, 60)))],
)
def test_evaluations_are_at_equal_distances_up_to_the_last_step(max_steps, evaluations, steps):
    assert TrainConfig(1.0, max_steps=max_steps, evaluations=evaluations).evaluation_steps() == steps


def test_there_are_as_many_evaluations_as_asked_for_and_the_last_step_is_one():
    for max_steps in range(1, 30):
        for evaluations in range(1, max_steps + 1):
            steps = TrainConfig(1.0, max_steps=max_steps, evaluations=evaluations).evaluation_steps()
            assert len(set(steps)) == evaluations and steps[0] >= 1 and steps[-1] == max(steps) == max_steps


WRONG = {
    "learning_rate": [0, -1e-3, float("inf"), float("nan"), "1e-3", None, True],
    "batch_size": [0, 8.0, "8", True, None],
    "max_steps": [0, 1.5],
    "evaluations": [0, "2", 601],
    "patience": [0, 1.5, "x"],
    "warmup": [-1, 1, 1.0, 2, "x", float("nan")],
    "weight_decay": [-0.1, float("inf"), None],
    "max_grad_norm": [0, -1, "x", float("nan")],
    "seed": [-1, 1.0, None, 2**63],
    "bf16": [1, None, "yes"],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in WRONG.items() for value in values])
def test_a_setting_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is {value!r}; (it must be|there are only)"):
        TrainConfig(**{"learning_rate": 1e-3} | {name: value})


@pytest.mark.parametrize("setting", [{"max_grad_norm": None}, {"patience": None}, {"warmup": 0}, {"weight_decay": 0}])
def test_a_setting_may_be_off(setting):
    assert vars(TrainConfig(1)) | setting == vars(TrainConfig(1, **setting))


def test_a_history_counts_evaluations_since_the_best():
    history, seen = History(), []
    for step, score in enumerate([0.2, 0.1, 0.2, 0.3, 0.3], start=1):
        better = history.add_score(step, score)
        seen.append((better, history.best_step, history.evaluations_since_best()))
    assert seen == [(True, 1, 0), (False, 1, 1), (False, 1, 2), (True, 4, 0), (False, 4, 1)]
