"""Figures against the numbers they shall show."""

import math
from dataclasses import replace

import pytest

from apt_minimal.lab.experiments.comparisons import Comparison
from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.intervals import Interval, score_interval
from apt_minimal.lab.experiments.plots import _ordered, plot_forest, plot_tasks, plot_training
from apt_minimal.lab.experiments.recordings import load_recording
from apt_minimal.lab.experiments.records import RunRecord
from apt_minimal.lab.experiments.results import write_record
from apt_minimal.lab.methods import COLORS, MARKERS, color, label, marker
from apt_minimal.lab.style import smoothed

GRID = """
backbone = "b"
seeds = [1, 2]
settings = ["full"]
[train]
[search]
seeds = [0]
[methods]
majority = []
p_tuning_v2 = [1e-2]
apt = [1e-2]
[tasks.mine]
[tasks.other]
"""


def test_the_training_plot_shows_the_histories():
    history = {"loss": [3.0, 1.0, 2.0], "steps": [2, 3], "scores": [0.2, 0.4]}
    left, right = plot_training({"apt": [history, history]}).axes
    assert left.lines[0].get_ydata() == pytest.approx(smoothed(history["loss"]))
    assert list(right.lines[0].get_xdata()) == [2, 3] and list(right.lines[0].get_ydata()) == [0.2, 0.4]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["APT"]


def test_a_thinned_loss_is_drawn_over_its_steps():
    left, _ = plot_training({"apt": [{"loss": [3.0, 1.0], "loss_every": 5, "steps": [10], "scores": [0.2]}]}).axes
    assert list(left.lines[0].get_xdata()) == [5, 10]


@pytest.fixture
def recording(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    runs = all_runs(read_grid(tmp_path / "grid.toml"), [])[0]
    runs = [run for run in runs if (run.task, run.method) == ("mine", "apt")]
    for run, right in zip(runs, ([1, 1, 0, 0], [1, 1, 1, 0]), strict=True):
        record = RunRecord(run, "1", scores={"dev": {"accuracy": sum(right) / 4}})
        counts = {"dev": [[r, 1] for r in right]}
        write_record(tmp_path / "grid" / "mine.jsonl", record, {"predictions": {}, "counts": counts})
    return load_recording(tmp_path / "grid.toml")


def test_marks_bar_and_hurdle(recording):
    mine, _ = plot_tasks(recording, {"mine": 55.0, "other": 60.0}).axes
    marks, bar, hurdle = mine.lines
    found = score_interval(recording.counts("mine", "full", "apt", "dev"))
    assert list(marks.get_xdata()) == pytest.approx([50.0, 75.0])
    assert list(bar.get_xdata()) == pytest.approx([100 * found.low, 100 * found.high])
    assert list(hurdle.get_xdata()) == [55.0, 55.0] and mine.get_title() == "mine (dashed: 55.0)"
    assert [label.get_text() for label in mine.get_yticklabels()] == ["APT"]


def test_what_was_not_run_says_so(recording):
    mine, other = plot_tasks(recording, {"mine": 55.0, "other": 60.0}).axes
    assert [text.get_text() for text in other.texts] == ["missing"] and len(other.lines) == 1
    assert not mine.texts  # P-tuning v2 was run on neither, and has no row


def test_more_than_three_tasks_stand_in_rows(recording):
    recording.grid["tasks"] |= {"third": {}, "fourth": {}}
    figure = plot_tasks(recording, dict.fromkeys(recording.grid["tasks"], 55.0))
    assert len(figure.axes) == 4 and figure.axes[3].get_subplotspec().rowspan.start == 1


def test_prefix_lengths_in_a_name_go_into_the_label_and_keep_the_colour():
    assert label("apt@4") == "APT, 4 tokens" and label("apt_upper@0-8") == "APT on kept states, 0-8 tokens"
    assert color("apt@4") == COLORS["apt"] and marker("apt@4") == MARKERS["apt"]
    asked = ["apt", "apt@4", "p_tuning_v2", "apt@64", "majority"]
    assert _ordered(asked) == ["apt", "apt@4", "apt@64", "p_tuning_v2", "majority"]


def test_a_forest_has_a_row_for_each_comparison_with_runs_and_marks_what_is_void():
    good = Comparison(Interval(0.01, -0.01, 0.03, 0.01, 0.01, 0.1, 0.3), 5, 5)
    void = replace(good, void=("rte",))
    seeds_only = replace(good, interval=replace(good.interval, examples_sd=math.nan))
    rows = {"good": good, "void": void, "seeds": seeds_only, "not run": Comparison(None, 0, 5)}
    (axis,) = plot_forest({"recipe": rows}, {"good": 1.5}).axes
    names = {tick.get_text(): y for tick, y in zip(axis.get_yticklabels(), axis.get_yticks(), strict=True)}
    assert list(names) == ["good", "void", "seeds"]
    bars = {line.get_ydata()[0]: line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_lw() > 2}
    assert list(bars[names["good"]].get_xdata()) == pytest.approx([-1, 3])
    assert [bars[y].get_linestyle() for y in names.values()] == ["-", "-", ":"]
    marks = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() == "o"}
    assert [marks[y].get_markerfacecolor() == "white" for y in names.values()] == [False, True, False]
    (cross,) = [line for line in axis.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1.5, names["good"])
