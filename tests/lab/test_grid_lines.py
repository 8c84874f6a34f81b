"""Single runs of a grid and their lines: who trains, chooses and counts, and what the seed and the hash cover."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import made_row

from apt_minimal import AptConfig
from apt_minimal.lab.data.splits import apply_setting, num_shots
from apt_minimal.lab.experiments import machine
from apt_minimal.lab.experiments import run as runs
from apt_minimal.lab.experiments.grid import _spec, at_edge, best_rate
from apt_minimal.lab.experiments.records import RunRecord, RunSpec, claim, read_records, write_record
from apt_minimal.lab.methods import METHODS, TRAINED, method_named, method_recorded
from apt_minimal.lab.train import loop as training
from apt_minimal.lab.train.loop import History


def record(rate, held_out, seed=0, test=0.5, **more):
    spec = RunSpec("mine", "full", "apt", "search", seed, train={"learning_rate": rate})
    scores = {"held_out": {"f1": held_out, "recall": 1 - held_out}, "test": {"f1": test}}
    return RunRecord(spec, "", metric="f1", scores=scores, **more)


CHOICES = {
    "the best on what is held out": ([record(1e-3, 0.1, test=0.9), record(1e-2, 0.2, test=0.1)], 1e-2),
    "the lowest of equals": ([record(rate, 0.5) for rate in (1e-2, 1e-3, 3e-3)], 1e-3),
    "the best mean": ([record(1e-3, 0.5), record(1e-3, 0.5, 1), record(1e-2, 0.1), record(1e-2, 0.8, 1)], 1e-3),
    "not one that diverged": ([record(1e-3, 0.0), record(1e-4, 0.0, failed="nan")], 1e-3),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_learning_rate_that_is_chosen(case):
    records, rate = CHOICES[case]
    assert best_rate(records) == rate


@pytest.mark.parametrize("rate, edge", [(1, "lowest"), (2, ""), (3, "highest")])
def test_a_choice_at_the_edge_is_named(rate, edge):
    assert at_edge([2, 3, 1], rate) == edge
    assert at_edge([rate], rate) == ""


def test_the_main_score_is_the_metrics():
    assert record(1e-3, 0.3).score("held_out") == 0.3


def test_no_file_has_no_lines(tmp_path):
    assert read_records(tmp_path / "none.jsonl") == []


def test_lines_that_processes_write_at_once_are_all_whole(tmp_path):
    script = """
import sys; from pathlib import Path; from apt_minimal.lab.experiments.records import RunRecord, RunSpec, write_record
print("ready", flush=True), input()
for i in range(100):
    spec = RunSpec("task", "full", sys.argv[2], "final", i)
    write_record(Path(sys.argv[1]), RunRecord(spec, "x" * 50_000), {})
"""
    pytest.importorskip("fcntl")
    file = tmp_path / "grid" / "task.jsonl"
    command = [sys.executable, "-c", script, str(file)]
    writers = [subprocess.Popen([*command, who], stdin=-1, stdout=-1, text=True) for who in "ab"]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(file.read_text().splitlines()) == len(read_records(file)) == 200


def test_a_line_written_behind_a_torn_one_is_whole(tmp_path):
    file = tmp_path / "task.jsonl"
    write_record(file, record(1e-3, 0.1), {})
    file.write_text(file.read_text() + '{"run": {"meth')
    write_record(file, record(1e-2, 0.1), {})
    assert [found.spec.learning_rate for found in read_records(file)] == [1e-3, 1e-2]


def test_a_line_that_stands_twice_is_read_once(tmp_path):
    file = tmp_path / "task.jsonl"
    for held_out in (0.1, 0.2):
        write_record(file, record(1e-3, held_out), {})
    assert [found.score("held_out") for found in read_records(file)] == [0.1]


def test_a_claim_is_held_once_and_given_back(tmp_path):
    pytest.importorskip("fcntl")
    file = tmp_path / "folder" / "run.lock"
    with claim(file) as first, claim(file) as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyError), claim(file):
        raise KeyError
    assert not file.exists()


# Who trains, who chooses, who counts


def rows(examples):
    return [json.dumps(example.row) for example in examples]


@pytest.mark.parametrize("kind", ["token", "pair"])
def test_with_full_data_a_tenth_chooses_and_development_and_test_count(kind, make_task):
    task = make_task(kind)
    trained, splits = apply_setting(task, "full", seed=1)
    assert sorted(rows(trained.train) + rows(trained.validation)) == sorted(rows(task.train))
    assert len(trained.validation) == 2 and splits["held_out"] == trained.validation
    assert (splits["dev"], splits["test"]) == (task.validation, task.test)


def test_with_few_shots_disjoint_examples_train_and_choose(make_task):
    task = make_task("pair")
    trained, splits = apply_setting(task, "8-shot", seed=1)
    assert len(trained.train) == len(trained.validation) == 8
    assert splits == {"held_out": trained.validation, "dev": task.validation}


def test_plainly_all_data_trains_and_development_chooses(make_task):
    task = make_task()
    assert apply_setting(task, "plain", seed=1) == (task, {"dev_best": task.validation, "test": task.test})


@pytest.mark.parametrize("setting", ["", "-shot", "0-shot", "few", "16", "1.5-shot"])
def test_a_setting_that_is_none_is_named(setting):
    with pytest.raises(ValueError, match=f"the setting is '{setting}'"):
        num_shots(setting)


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
    monkeypatch.setattr(runs, "train", lambda *_, **__: History(loss=[1.0]))
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
        hashes.append(runs.finished_record(spec(), str(tmp_path), "cpu", backbone)[0].data_sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_machine_without_git_does_not_fail(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", machine.commit())
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "unknown"


# Methods that need more than training


def test_on_kept_states_both_rules_and_all_splits_are_scored_as_with_the_whole_model(spec, make_task, make_model):
    """One layer below a prefix and no dropout there: the very run that APT with these lengths is in eval mode below."""
    task, method = make_task(), method_named("apt_upper@0-4-4")
    run = replace(spec(setting="full"), method="apt_upper@0-4-4", settings=method.settings)
    found, files = runs.run(run, task)
    assert {split: len(examples) for split, examples in files["predictions"].items()} == {
        "held_out": 2, "dev": 10, "dev_best": 10, "test": 8
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


def test_the_specification_names_what_goes_beyond_only_where_it_is_used():
    grid = {"backbone": "b"}
    plan = {"train": {}, "prefix_length": 16}
    settings = {
        name: _spec(grid, plan, "mine", "full", name, "final", 1, 1e-2).settings.keys() - {"config"}
        for name in ("apt", "apt_log_gate", "apt_pruned")
    }
    always = {"lora_rank", "train_backbone", "shift_positions"}
    assert settings == {"apt": always, "apt_log_gate": always | {"beyond"}, "apt_pruned": always | {"prune_weight"}}


@pytest.mark.parametrize("name", [*TRAINED, "apt@4", "apt_upper@0-8-16", "lora"])
def test_a_method_comes_back_from_what_a_run_records_of_it(name):
    method = method_named(name, 32)
    assert method_recorded(name, json.loads(json.dumps(method.settings))) == method
