"""A grid of runs: every run once, whatever happens in between, and lines that can be checked against their files."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest
from conftest import made_row

from apt_minimal.adapter import fingerprint
from apt_minimal.lab import experiments
from apt_minimal.lab.baselines import load_model
from apt_minimal.lab.experiments import best_rate, read_lines, run_grid

GRID = """
task = "{task}"
backbone = "{backbone}"
seeds = [1, 2]

[train]
batch_size = 8
max_steps = 4
evaluations = 2

[search]
seed = 0
max_steps = 3

[methods]
head_only = [1e-3, 1e-2]
apt = [1e-2]
"""
UNREPEATABLE = ("minutes", "peak_mib", "commit", "device", "versions")


class InThisProcess:
    """Stands in for a pool of processes, which would take seconds to start."""

    def __init__(self, *_, **__):
        self.specs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def grid(write, tmp_path, backbone, monkeypatch):
    """A small grid on made data in this process; returns its file, and a way to run it that counts the runs."""
    monkeypatch.setattr(experiments, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(experiments, "as_completed", list)  # in the order of submission
    rows = [made_row("token", i) for i in range(42)]
    write("mine", train=rows[:24], validation=rows[24:34], test=rows[34:])
    file = tmp_path / "results" / "grid.toml"
    file.parent.mkdir()
    file.write_text(GRID.format(task="mine", backbone=backbone))
    return file


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run a grid; returns the specs that were really run."""
    specs, run = [], experiments.run
    monkeypatch.setattr(experiments, "run", lambda spec, *rest: (specs.append(spec), run(spec, *rest))[1])

    def once(file):
        specs.clear()
        run_grid(file, str(tmp_path))
        return list(specs)

    return once


def lines_of(file):
    return [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]


def stripped(lines):
    """Lines in an order of their own, without what differs from run to run."""
    kept = [{key: value for key, value in line.items() if key not in UNREPEATABLE} for line in lines]
    return sorted(kept, key=lambda line: json.dumps(line["run"], sort_keys=True))


def purposes(lines):
    return sorted((line["run"]["purpose"], line["run"]["method"], line["run"]["seed"]) for line in lines)


EVERY_RUN = [
    *[("final", method, seed) for method in ("apt", "head_only") for seed in (1, 2)],
    ("search", "apt", 0),
    *[("search", "head_only", 0)] * 2,
]


def test_every_run_of_a_grid_is_done_once(grid, start):
    assert len(start(grid)) == 7
    assert purposes(lines_of(grid)) == EVERY_RUN


def test_a_line_holds_what_is_needed_to_run_it_again(grid, start, tmp_path, backbone):
    start(grid)
    task = experiments._load("mine", backbone, str(tmp_path))
    for line in lines_of(grid):
        run = line["run"]
        assert (run["task"], run["backbone"], line["metric"]) == ("mine", backbone, "f1")
        assert run["train"]["seed"] == run["seed"]
        assert run["train"]["max_steps"] == {"search": 3, "final": 4}[run["purpose"]] == len(line["history"]["loss"])
        assert line["backbone_sha256"] == fingerprint(load_model(task, backbone))
        assert len(line["data_sha256"]) == 64 and line["versions"].keys() >= {"python", "torch", "transformers"}
        assert line["minutes"] >= 0 and line["peak_mib"] > 0 and line["device"].startswith("CPU")
        assert line["trained_parameters"] == 5 * 32 + 5 + (run["method"] == "apt") * 3 * (3 * 16 * 32 + 1)
        assert ("gates" in line) == (run["method"] == "apt")


def test_search_leaves_the_test_split_alone(grid, start):
    start(grid)
    for line in lines_of(grid):
        assert ("test" in line) == (line["run"]["purpose"] == "final")


def test_predictions_scored_again_give_the_lines_scores(grid, start, tmp_path, backbone):
    start(grid)
    task = experiments._load("mine", backbone, str(tmp_path))
    for line in lines_of(grid):
        predictions = json.loads(gzip.decompress((grid.parent / line["predictions"]).read_bytes()))
        assert predictions.keys() == {"validation", "test"} & line.keys()
        for split in predictions:
            assert task.score(predictions[split], getattr(task, split)) == line[split]


def test_a_second_start_runs_nothing_and_changes_nothing(grid, start):
    start(grid)
    before = grid.with_suffix(".jsonl").read_bytes()
    assert start(grid) == []
    assert grid.with_suffix(".jsonl").read_bytes() == before


@pytest.mark.parametrize("purpose", ["search", "final"])
def test_a_missing_line_is_run_again_with_the_same_result(purpose, grid, start):
    start(grid)
    lines = lines_of(grid)
    gone = next(line for line in lines if line["run"]["purpose"] == purpose)
    grid.with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines if line is not gone))
    assert start(grid) == [gone["run"]]
    assert stripped(lines_of(grid)) == stripped(lines)


def test_a_torn_last_line_is_dropped_and_its_run_done_again(grid, start):
    start(grid)
    results = grid.with_suffix(".jsonl")
    whole, lines = results.read_text(), lines_of(grid)
    results.write_text(whole[:-200])
    assert read_lines(results) == lines[:-1]
    assert start(grid) == [lines[-1]["run"]]
    assert stripped(lines_of(grid)) == stripped(lines)


def test_a_grid_that_grows_does_only_what_is_new(grid, start):
    start(grid)
    grid.write_text(grid.read_text().replace("seeds = [1, 2]", "seeds = [1, 2, 3]"))
    assert [(spec["purpose"], spec["seed"]) for spec in start(grid)] == [("final", 3)] * 2


def test_final_runs_use_the_rate_that_their_search_chose(grid, start):
    start(grid)
    lines = lines_of(grid)
    for line in lines:
        if line["run"]["purpose"] == "final":
            assert line["run"]["train"]["learning_rate"] == best_rate(lines, line["run"]["method"])


def test_runs_without_training_are_done_once_and_without_a_seed(grid, start, minilm):
    grid.write_text(grid.read_text().split("head_only")[0] + "majority = []\nbag_of_words = []\n")
    assert [spec["method"] for spec in start(grid)] == ["majority", "bag_of_words"]
    for line in lines_of(grid):
        assert line["run"].keys() == {"task", "method", "purpose"}
        assert {"validation", "test", "predictions", "data_sha256"} <= line.keys()
    assert start(grid) == []


def test_a_killed_grid_goes_on_without_losing_or_repeating_a_run(grid, start, tmp_path):
    command = [sys.executable, "-m", "apt_minimal.lab.experiments", str(grid), "--data-dir", str(tmp_path)]
    process = subprocess.Popen([*command, "--device", "cpu"], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not read_lines(grid.with_suffix(".jsonl")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = lines_of(grid)
    again = start(grid)
    assert 1 <= len(finished) < 7
    assert not [line for line in finished if line["run"] in again]
    assert purposes(lines_of(grid)) == EVERY_RUN
    assert lines_of(grid)[: len(finished)] == finished


def test_a_run_that_fails_costs_no_other_run(grid, start):
    grid.write_text(grid.read_text().replace("head_only = [1e-3, 1e-2]", "head_only = [1e30, 1e-2]"))
    with pytest.raises(FloatingPointError):
        start(grid)
    assert ("search", "apt", 0) in purposes(lines_of(grid))
