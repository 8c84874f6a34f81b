"""Three states of one training, and what a line holds of each."""

from dataclasses import replace

import pytest

from apt_minimal.lab.experiments import run as runs
from apt_minimal.lab.experiments.grid import _spec
from apt_minimal.lab.methods import method_named
from apt_minimal.lab.train.batches import predict


@pytest.fixture
def spec(backbone):
    plan = {"train": {"batch_size": 8, "max_steps": 9, "evaluations": 3}, "prefix_length": 4}

    def make(method="apt", setting="full"):
        return _spec({"backbone": backbone}, plan, "mine", setting, method, "final", 1, 0.3)

    return make


def test_each_state_of_a_training_is_predicted_in(spec, make_task, monkeypatch):
    """The held-out tenth takes the second of three evaluations, the development split the first; the third is last."""
    task, seen, train, score = make_task(), {}, runs.train, type(make_task()).score
    scores = iter([0.1, 0.9, 0.5, 0.3, 0.2, 0.2])  # held-out and development in turn

    def remembered(model, *rest):
        with monkeypatch.context() as patch:
            patch.setattr(type(task), "score", lambda *_: {"f1": next(scores)})
            history = train(model, *rest)
        seen.update(model=model, states=history.states)
        return history

    monkeypatch.setattr(runs, "train", remembered)
    found, files = runs.run(spec(), task)
    made, model = files["predictions"], seen["model"]
    assert (found["history"]["best_step"], found["history"]["watched_scores"]) == (6, [0.9, 0.3, 0.2])
    splits = {"best": ("dev", "test"), "last": ("last", "last_test"), "watched_best": ("dev_best", "dev_best_test")}
    for state, (dev, test) in splits.items():
        model.load_state_dict(seen["states"][state], strict=False)
        assert made[dev] == predict(model, task, task.validation) and made[test] == predict(model, task, task.test)
        assert found["scores"][test] == score(task, made[test], task.test)
    assert len({str(made[dev]) for dev, _ in splits.values()}) == 3


@pytest.mark.parametrize("method", ["majority", "apt"])
@pytest.mark.parametrize(
    "setting, names",
    {
        "full": {"held_out", "dev", "test", "last", "last_test", "dev_best", "dev_best_test"},
        "plain": {"dev_best", "test", "last", "last_test"},
        "2-shot": {"held_out", "dev", "last"},
    }.items(),
)
def test_a_line_has_a_score_and_predictions_for_each_state(method, setting, names, spec, make_task):
    found, files = runs.run(spec(method, setting), make_task("text"))
    assert files["predictions"].keys() == files["counts"].keys() == names
    assert found["scores"].keys() == names


def test_a_methods_own_rate_for_the_gates_and_the_precision_reach_training_and_line(spec, make_task, monkeypatch):
    configs, train = [], runs.train
    monkeypatch.setattr(
        runs, "train", lambda model, task, how, *rest: configs.append(how) or train(model, task, how, *rest)
    )
    asked = spec("apt_slow_gate")
    assert asked.settings == method_named("apt_slow_gate", 4).settings
    found, _ = runs.run(asked, make_task("text"))
    assert configs[0].gate_learning_rate == 0.1 * configs[0].learning_rate and found["precision"] == "float32"
    runs.run(spec("apt"), make_task("text"))
    assert configs[1] == replace(configs[0], gate_learning_rate=None)
