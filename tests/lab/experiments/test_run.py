"""Single runs: both rules from one training, what the seed and the hash cover, and methods that need more."""

from dataclasses import replace

import pytest
from made import made_row

from apt_minimal import AptConfig
from apt_minimal.lab.experiments import run as runs
from apt_minimal.lab.experiments.records import RunSpec
from apt_minimal.lab.methods import METHODS, method_named
from apt_minimal.lab.train import loop as training
from apt_minimal.lab.train.loop import History


@pytest.fixture
def spec(backbone):
    """A short run's settings."""

    def make(seed=1, purpose="final", setting="full", **changes):
        train = {"learning_rate": 1e-2, "max_steps": 4, "evaluations": 4, "batch_size": 8, "seed": seed} | changes
        settings = METHODS["head_only"].settings
        return RunSpec("mine", setting, "head_only", purpose, seed, backbone, settings, train)

    return make


def test_both_rules_come_from_one_training(spec, make_task, monkeypatch):
    """The held-out tenth is best at the second evaluation, the development split at the third."""
    task = make_task("pair")
    scores = {2: [0.1, 0.9, 0.2, 0.3], 10: [0.5, 0.6, 0.8, 0.7]}  # by number of examples, one for each evaluation
    evaluations = {number: iter(given) for number, given in scores.items()}
    real = type(task).score
    # the n-th evaluation predicts n everywhere; the state that was kept predicts 9
    rounds = {number: iter(range(4)) for number in scores}
    monkeypatch.setattr(training, "predict", lambda model, task, some, **_: [next(rounds[len(some)])] * len(some))
    monkeypatch.setattr(runs, "predict", lambda model, task, some, **_: [9] * len(some))

    def score(task, predictions, examples):
        coming = next(evaluations.get(len(examples), iter(())), None)
        return real(task, predictions, examples) if coming is None else {"accuracy": coming}

    monkeypatch.setattr(type(task), "score", score)
    found, files = runs.run(spec(), task)
    assert found["history"]["scores"] == scores[2] and found["history"]["watched_scores"] == scores[10]
    assert found["history"]["best_step"] == 2
    assert files["predictions"]["dev_best"] == [2] * 10  # the third evaluation's
    assert files["predictions"]["held_out"] == [9] * 2 and files["predictions"]["dev"] == [9] * 10


def test_epochs_become_steps(spec, make_task):
    run = spec(batch_size=5, epochs=2)
    del run.train["max_steps"]
    found, _ = runs.run(run, make_task("pair"))
    assert found["history"]["steps"][-1] == 2 * 5  # 22 examples are left of 24, in five batches


def test_long_losses_are_kept_as_means():
    kept = runs._history(History(loss=[float(i) for i in range(700)]))
    assert kept["loss_every"] == 3 and len(kept["loss"]) == 234
    assert kept["loss"][:2] == [1.0, 4.0] and kept["loss"][-1] == 699.0


def test_the_seed_draws_the_head(spec, make_task, monkeypatch):
    def untrained(model, *_, **__):
        state = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        return History(loss=[1.0], steps=[1], states={"best": state, "last": state})

    monkeypatch.setattr(runs, "train", untrained)
    first, again, other = (runs.run(spec(seed, setting="plain"), make_task())[1] for seed in (1, 1, 2))
    assert first == again != other


def test_the_backbone_of_a_line_is_the_same_for_every_seed(spec, make_task):
    first, other = (runs.run(spec(seed), make_task())[0]["backbone_sha256"] for seed in (1, 2))
    assert first == other


@pytest.mark.parametrize("changed", ["train", "validation", "test"])
def test_the_hash_of_the_data_covers_every_split(changed, spec, write, tmp_path, backbone):
    splits = {split: [made_row("token", i) for i in range(12)] for split in ("train", "validation", "test")}
    hashes = []
    for some in (splits, splits, {**splits, changed: splits[changed][:11]}):
        write("mine", **some)
        runs.load.cache_clear()
        hashes.append(
            runs.finished_record(spec(), runs.load("mine", backbone, str(tmp_path)), "cpu", backbone)[0].data_sha256
        )
    assert hashes[0] == hashes[1] != hashes[2]


# Methods that need more than training


def test_on_kept_states_both_rules_and_all_splits_are_scored_as_with_the_whole_model(spec, make_task, make_model):
    """One layer below a prefix and no dropout there: the very run that APT with these lengths is in eval mode below."""
    task, method = make_task(), method_named("apt_upper@0-4-4")
    run = replace(spec(setting="full"), method="apt_upper@0-4-4", settings=method.settings)
    found, files = runs.run(run, task)
    assert {split: len(examples) for split, examples in files["predictions"].items()} == {
        "held_out": 2, "dev": 10, "dev_best": 10, "test": 8, "dev_best_test": 8, "last": 10, "last_test": 8
    }  # fmt: skip
    assert found["prefix_lengths"] == [0, 4, 4]
    assert max(found["history"]["watched_scores"]) == found["scores"]["dev_best"]["f1"]
    other_spec = replace(run, method="apt@0-4-4", settings=method_named("apt@0-4-4").settings)
    other = runs.run(other_spec, task)[0]
    assert found["history"]["loss"][0] == pytest.approx(other["history"]["loss"][0], rel=0.2)
    assert found["history"]["loss"] != other["history"]["loss"]  # dropout below the first prefix


def test_a_pruned_run_is_scored_without_the_tokens_that_were_closed(spec, make_task):
    """A heavy penalty closes all; then what is left is the head."""
    task = make_task()
    method = replace(METHODS["apt_pruned"], config=AptConfig(4), options={"prune_weight": 50.0})
    short = spec(max_steps=60, evaluations=1, learning_rate=0.1)
    found, _ = runs.run(replace(short, method="apt_pruned", settings=method.settings), task)
    assert found["prefix_lengths"] == [0, 0, 0] and "effects" not in found
    assert found["trained_parameters"] > 3 * 4 * 32  # what was trained, before anything was dropped
