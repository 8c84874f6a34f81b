"""A grid of runs: every run once, whatever happens in between, and lines that can be checked against their files."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace

import pytest
from made import made_row

from apt_minimal.adapter_parts import fingerprint
from apt_minimal.lab.data.splits import apply_setting
from apt_minimal.lab.experiments import run as runs
from apt_minimal.lab.experiments import runner as experiments
from apt_minimal.lab.experiments.grid import best_rate
from apt_minimal.lab.experiments.recordings import load_recording
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.experiments.results import read_predictions, read_records, read_results
from apt_minimal.lab.experiments.runner import minutes_left, run_grid
from apt_minimal.lab.methods import load_model

pytestmark = pytest.mark.slow  # processes and many small trainings

GRID = """
backbone = "{backbone}"
seeds = [1, 2]
settings = ["full"]

[train]
batch_size = 8
max_steps = 4
evaluations = 2

[search]
seeds = [0]
max_steps = 3

[methods]
majority = []
head_only = [1e-3, 1e-2]
apt = [1e-2]

[tasks.mine]
"""
UNREPEATABLE = ("minutes", "peak_mib", "commit", "device", "versions", "resumed")
EVERY_RUN = [
    *[("final", method, seed) for method in ("apt", "head_only", "majority") for seed in (1, 2)],
    *[("search", "head_only", 0)] * 2,
]


class InThisProcess:
    """Stands in for a pool of processes, which would take seconds to start."""

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
    """A small grid on made data, run in this process; returns its file."""
    monkeypatch.setattr(experiments, "_pool", lambda *_: InThisProcess())
    monkeypatch.setattr(experiments, "wait", lambda futures, **_: SimpleNamespace(done=list(futures)))
    runs.load.cache_clear()  # the same names, another test's data
    rows = [made_row("token", i) for i in range(42)]
    write("mine", train=rows[:24], validation=rows[24:34], test=rows[34:])
    file = tmp_path / "results" / "grid.toml"
    file.parent.mkdir()
    file.write_text(GRID.format(backbone=backbone))
    return file


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run a grid; returns the specs that were really run."""
    specs, run = [], runs.run
    monkeypatch.setattr(runs, "run", lambda spec, *rest: (specs.append(spec), run(spec, *rest))[1])

    def once(file, **options):
        specs.clear()
        run_grid(file, str(tmp_path), **options)
        return list(specs)

    return once


def results(grid, task="mine"):
    return grid.with_suffix("") / f"{task}.jsonl"


def stripped(lines):
    """Lines in an order of their own, without what differs from run to run."""
    kept = [replace(line, **dict.fromkeys(UNREPEATABLE)) for line in lines]
    return sorted(kept, key=lambda line: line.spec.key)


def purposes(lines):
    return sorted((line.spec.purpose, line.spec.method, line.spec.seed) for line in lines)


def test_every_run_of_a_grid_is_done_once(grid, start):
    assert len(start(grid)) == 8
    assert purposes(read_results(grid.with_suffix(""))) == EVERY_RUN


def test_a_line_holds_what_is_needed_to_run_it_again(grid, start, tmp_path, backbone):
    start(grid)
    task = runs.load("mine", backbone, str(tmp_path))
    for line in read_records(results(grid)):
        run = line.spec
        assert (run.task, run.setting, line.metric) == ("mine", "full", "f1")
        assert len(line.data_sha256) == 64 and line.versions.keys() >= {"python", "torch", "transformers"}
        assert line.minutes >= 0 and line.peak_mib > 0 and line.device.startswith("CPU") and line.commit
        if run.method == "majority":
            continue
        assert run.backbone == backbone and run.train["seed"] == run.seed
        assert run.train["max_steps"] == {"search": 3, "final": 4}[run.purpose] == len(line.history["loss"])
        assert line.backbone_sha256 == fingerprint(load_model(task, backbone))
        assert line.trained_parameters == 5 * 32 + 5 + (run.method == "apt") * 3 * (3 * 16 * 32 + 1)
        assert bool(line.gates) == (run.method == "apt")


def test_a_line_run_again_from_itself_gives_itself(grid, start, tmp_path, backbone):
    start(grid)
    for line in read_records(results(grid)):
        task = runs.load("mine", backbone, str(tmp_path))
        again, predictions = runs.finished_record(line.spec, task, "cpu", backbone)
        assert predictions == read_predictions(results(grid), line)
        assert stripped([replace(again, predictions=line.predictions)]) == stripped([line])


def test_a_search_sees_what_is_held_out_and_nothing_else(grid, start):
    start(grid)
    for line in read_records(results(grid)):
        scored = line.scores.keys()
        assert scored == ({"held_out"} if line.spec.purpose == "search" else scored | {"dev", "dev_best", "test"})


def test_predictions_scored_again_give_the_lines_scores(grid, start, tmp_path, backbone):
    start(grid)
    task = runs.load("mine", backbone, str(tmp_path))
    for line in read_records(results(grid)):
        held_out = apply_setting(task, "full", line.spec.seed)[0].validation
        splits = {"held_out": held_out, "dev": task.validation, "dev_best": task.validation, "last": task.validation}
        splits |= dict.fromkeys(["test", "last_test", "dev_best_test"], task.test)
        files = read_predictions(results(grid), line)
        assert files["predictions"].keys() == files["counts"].keys() == splits.keys() & line.scores.keys()
        for split, predictions in files["predictions"].items():
            assert task.score(predictions, splits[split]) == line.scores[split]
            right, all_ = map(sum, zip(*files["counts"][split], strict=True))
            assert right / max(all_, 1) == pytest.approx(line.score(split))


def test_a_second_start_runs_nothing_and_changes_nothing(grid, start):
    start(grid)
    before = results(grid).read_bytes()
    assert start(grid) == []
    assert results(grid).read_bytes() == before
    assert [file.name for file in (grid.with_suffix("") / "running").iterdir()] == ["mine.lock"]  # the results' own


@pytest.mark.parametrize("purpose", ["search", "final"])
def test_a_missing_line_is_run_again_with_the_same_result(purpose, grid, start):
    start(grid)
    lines = read_records(results(grid))
    gone = next(line for line in lines if line.spec.purpose == purpose)
    results(grid).write_text("".join(json.dumps(line.to_json()) + "\n" for line in lines if line is not gone))
    assert start(grid) == [gone.spec]
    assert stripped(read_records(results(grid))) == stripped(lines)


def test_a_torn_last_line_is_dropped_and_its_run_done_again(grid, start):
    start(grid)
    whole, lines = results(grid).read_text(), read_records(results(grid))
    results(grid).write_text(whole[:-200])
    assert read_records(results(grid)) == lines[:-1]
    assert start(grid) == [lines[-1].spec]
    assert stripped(read_records(results(grid))) == stripped(lines)


def test_a_grid_that_grows_does_only_what_is_new(grid, start):
    start(grid)
    grid.write_text(grid.read_text().replace("seeds = [1, 2]", "seeds = [1, 2, 3]"))
    assert [(spec.purpose, spec.seed) for spec in start(grid)] == [("final", 3)] * 3


def test_final_runs_use_the_rate_that_their_search_chose(grid, start):
    start(grid)
    lines = [line for line in read_records(results(grid)) if line.spec.method == "head_only"]
    searched = [line for line in lines if line.spec.purpose == "search"]
    assert {line.spec.learning_rate for line in searched} == {1e-3, 1e-2}
    for line in lines:
        if line.spec.purpose == "final":
            assert line.spec.learning_rate == best_rate(searched)


def test_a_killed_grid_goes_on_without_losing_or_repeating_a_run(grid, start, tmp_path):
    command = [sys.executable, "-m", "apt_minimal.lab.experiments", str(grid), "--data-dir", str(tmp_path)]
    process = subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not read_records(results(grid)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)  # the parent alone: its workers must end by themselves
        process.wait()
    finished = read_records(results(grid))
    time.sleep(1)
    again = start(grid)
    assert 1 <= len(finished) < 8
    assert not [line for line in finished if line.spec in again]
    assert purposes(read_records(results(grid))) == EVERY_RUN
    assert read_records(results(grid))[: len(finished)] == finished


def test_a_search_that_diverges_is_a_result_and_is_not_chosen(grid, start):
    grid.write_text(grid.read_text().replace("head_only = [1e-3, 1e-2]", "head_only = [1e-3, 1e30]"))
    start(grid)
    lines = read_records(results(grid))
    (failed,) = [line for line in lines if line.failed]
    assert failed.spec.learning_rate == 1e30 and "below 1e+30" in failed.failed
    assert purposes(lines) == EVERY_RUN
    assert start(grid) == []


def test_a_run_that_breaks_costs_no_other_run_and_is_named(grid, start, monkeypatch):
    work = experiments.work

    def broken(spec, *rest):
        if spec.method == "head_only":
            raise MemoryError("no space left")
        work(spec, *rest)

    monkeypatch.setattr(experiments, "work", broken)
    with pytest.raises(MemoryError) as error:
        start(grid)
    assert "mine, full, head_only, search" in error.value.__notes__[0]
    assert purposes(read_records(results(grid))) == [run for run in EVERY_RUN if run[1] != "head_only"]
    monkeypatch.setattr(experiments, "work", work)
    assert len(start(grid)) == 4


class Killed(InThisProcess):
    """A pool whose process is killed in the first run of a method, and which then takes no further run."""

    def __init__(self, method):
        self.method, self.dead = method, False

    def submit(self, work, spec, *arguments):
        if self.dead:
            raise BrokenProcessPool("broken")
        if spec.method != self.method:
            return super().submit(work, spec, *arguments)
        self.dead, future = True, Future()
        future.set_exception(BrokenProcessPool("killed"))
        return future


def test_a_killed_process_costs_no_other_run_and_all_that_broke_are_named(grid, start, monkeypatch):
    monkeypatch.setattr(experiments, "_pool", lambda *_: Killed("majority"))
    with pytest.raises(BrokenProcessPool) as error:
        start(grid)
    named = [f"BrokenProcessPool in the run mine, full, majority, final, seed {seed}: killed" for seed in (1, 2)]
    assert error.value.__notes__ == named
    assert purposes(read_records(results(grid))) == [run for run in EVERY_RUN if run[1] != "majority"]


def test_a_run_that_another_process_is_at_is_left_to_it(grid, start, capsys):
    pytest.importorskip("fcntl")
    start(grid)
    lines = read_records(results(grid))
    results(grid).write_text("".join(json.dumps(line.to_json()) + "\n" for line in lines[:-1]))
    lock = grid.with_suffix("") / "running" / f"{lines[-1].spec.key}.lock"
    script = f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, 2); print('mine', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        assert start(grid) == []
        assert "the other runs are being done by another process" in capsys.readouterr().out
        other.kill()
    assert start(grid) == [lines[-1].spec]


def test_an_interrupted_run_goes_on_from_its_checkpoint(grid, start, interrupt, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0)
    grid.write_text(grid.read_text().replace("seeds = [1, 2]", "seeds = [1]").replace("head_only = [1e-3, 1e-2]\n", ""))
    start(grid)
    expected = read_records(results(grid))
    os.remove(results(grid))
    stop = interrupt(7)  # after the first of two evaluations; fresh prefixes and gates are read too
    with pytest.raises(KeyboardInterrupt):
        start(grid)
    stop.off()
    assert len(list((grid.with_suffix("") / "running").glob("*.pt"))) == 1
    start(grid)
    assert [line.resumed for line in read_records(results(grid)) if line.resumed is not None] == [True]
    assert stripped(read_records(results(grid))) == stripped(expected)


def test_a_damaged_checkpoint_costs_its_run_nothing_but_time(grid, start, interrupt, monkeypatch, capsys):
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0)
    grid.write_text(grid.read_text().replace("seeds = [1, 2]", "seeds = [1]").replace("head_only = [1e-3, 1e-2]\n", ""))
    start(grid)
    expected = read_records(results(grid))
    os.remove(results(grid))
    stop = interrupt(7)
    with pytest.raises(KeyboardInterrupt):
        start(grid)
    stop.off()
    (checkpoint,) = (grid.with_suffix("") / "running").glob("*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    start(grid)
    assert re.search(r"run mine, full, apt, final, seed 1 begins anew: .*\.pt is damaged", capsys.readouterr().err)
    assert stripped(read_records(results(grid))) == stripped(expected)
    assert list((grid.with_suffix("") / "running").glob("*.pt")) == []


LOST = {
    "gone": None,
    "empty": b"",
    "cut off": lambda whole: whole[:-30],
    "not packed": b"{}",
    "damaged": lambda whole: whole[:30] + b"####" + whole[34:],
    "something else": gzip.compress(b"[]"),
    "no counts": gzip.compress(b'{"predictions": {}}'),
}


@pytest.mark.parametrize("how", LOST)
def test_a_run_whose_predictions_are_lost_is_named_and_made_again(how, grid, start, capsys):
    start(grid)
    lines = read_records(results(grid))
    record = next(line for line in lines if line.spec.method == "apt")
    place = results(grid).parent / record.predictions
    whole = place.read_bytes()
    damaged = LOST[how](whole) if callable(LOST[how]) else LOST[how]
    place.unlink() if damaged is None else place.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"the predictions {place} of a finished run can't be read"):
        load_recording(grid)
    assert start(grid) == [record.spec]
    assert f"made anew: {record.spec}: the predictions {place}" in capsys.readouterr().out
    assert place.read_bytes() == whole
    assert stripped(read_records(results(grid))) == stripped(lines)
    assert start(grid) == [] and load_recording(grid).records


def test_a_line_that_is_damaged_is_named_and_its_run_done_again(grid, start):
    start(grid)
    lines = results(grid).read_bytes().split(b"\n")
    spec = read_records(results(grid))[2].spec
    lines[2] = lines[2].replace(b'"purpose"', b'"purp\xffse"')
    results(grid).write_bytes(b"\n".join(lines))
    with pytest.warns(UserWarning, match=r"mine\.jsonl: no record can be read in line 3 \("):
        assert start(grid) == [spec]
    with pytest.warns(UserWarning, match="line 3"):
        assert start(grid) == []


def test_a_folder_called_like_results_is_none(grid, start):
    (grid.with_suffix("") / "other.jsonl").mkdir(parents=True)
    assert len(start(grid)) == 8


def test_changed_data_is_refused_before_a_run_and_nothing_is_written(grid, start, write):
    start(grid)
    lines = results(grid).read_text().splitlines(keepends=True)
    results(grid).write_text("".join(lines[:-1]))
    runs.load.cache_clear()
    rows = [made_row("token", i) for i in range(42)]
    write("mine", train=rows[:24], validation=rows[33:23:-1], test=rows[34:])  # the same, in another order
    with pytest.raises(ValueError, match="is not what 7 finished runs of mine were made with"):
        start(grid)
    assert results(grid).read_text() == "".join(lines[:-1])


def test_a_task_without_data_is_named_at_once_and_costs_no_other(grid, start, capsys):
    grid.write_text(grid.read_text().replace("[tasks.mine]", "[tasks.nosuch]\n[tasks.mine]"))
    with pytest.raises(FileNotFoundError, match="no rows for 'nosuch'") as error:
        start(grid)
    (note,) = error.value.__notes__  # none was started
    assert note.startswith("FileNotFoundError in all runs of nosuch, full: no rows for 'nosuch'")
    said = capsys.readouterr()
    assert "left out: nosuch, full: no rows for 'nosuch'" in said.out
    assert purposes(read_results(grid.with_suffix(""))) == EVERY_RUN


def test_more_shots_than_there_are_examples_cost_that_setting_only(grid, start):
    grid.write_text(grid.read_text().replace('settings = ["full"]', 'settings = ["13-shot", "full"]'))
    with pytest.raises(ValueError, match="k is 13; mine has 24 training examples, .* k may be 1 to 12") as error:
        start(grid)
    (note,) = error.value.__notes__
    assert note.startswith("ValueError in all runs of mine, 13-shot: k is 13")
    assert purposes(read_results(grid.with_suffix(""))) == EVERY_RUN


@pytest.mark.parametrize("name", ["/no/such/folder", "owner/no-such-bert"])
def test_a_backbone_that_is_nowhere_is_named_before_a_run(name, grid, start, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(experiments, "work", None)
    with pytest.raises(ValueError, match=f"there is no backbone '{name}': it must be a folder with a config.json"):
        start(grid, backbone=name)


def test_no_runs_at_once_are_refused(grid, start):
    with pytest.raises(ValueError, match="jobs is 0; it must be at least 1"):
        start(grid, jobs=0)


def test_the_command_names_a_wrong_grid_without_a_traceback(grid):
    grid.write_text(grid.read_text().replace("seeds = [1, 2]", "seeds = [1, 1]"))
    command = [sys.executable, "-m", "apt_minimal.lab.experiments", str(grid)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "seeds is [1, 1]" in done.stderr and "Traceback" not in done.stderr


def test_a_backbone_that_lies_elsewhere_keeps_the_grids_name(grid, start, backbone):
    grid.write_text(grid.read_text().replace(backbone, "owner/some-bert"))
    start(grid, backbone=backbone)
    lines = read_records(results(grid))
    assert purposes(lines) == EVERY_RUN
    assert {line.spec.backbone for line in lines} == {None, "owner/some-bert"}


def test_the_time_left_comes_from_runs_like_those_that_are_open():
    def spec(task, method):
        return RunSpec(task, "full", method, "final", 1)

    lines = [RunRecord(spec(task, "apt"), "", minutes) for task, minutes in (("a", 2.0), ("a", 4.0), ("b", 12.0))]
    pending = [spec("a", "apt"), spec("a", "apt"), spec("b", "apt"), spec("c", "lora")]
    assert minutes_left(lines, pending, 4) == pytest.approx(3 + 3 + 12 + 6)  # of the last nothing alike is known
    assert minutes_left(lines, pending, 6) == pytest.approx(24 + 2 * 6)
    assert minutes_left([], pending, 4) == 0
