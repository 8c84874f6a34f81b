"""The figure of several tasks shows the recorded scores, with the hurdle of each."""

import pytest

from apt_minimal.lab.intervals import score_interval
from apt_minimal.lab.lines import write_line
from apt_minimal.lab.plots import plot_tasks
from apt_minimal.lab.results import load_recording

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


@pytest.fixture
def recording(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    for seed, right in ((1, [1, 1, 0, 0]), (2, [1, 1, 1, 0])):
        run = {"task": "mine", "setting": "full", "method": "apt", "purpose": "final", "seed": seed}
        line = {"run": run, "metric": "accuracy", "dev": {"accuracy": sum(right) / 4}}
        counts = {"dev": [[r, 1] for r in right]}
        write_line(tmp_path / "grid" / "mine.jsonl", line, {"predictions": {}, "counts": counts})
    return load_recording(tmp_path / "grid.toml")


def test_marks_bar_and_hurdle(recording):
    mine, _ = plot_tasks(recording, {"mine": 55.0, "other": 60.0}).axes
    marks, bar, hurdle = mine.lines
    found = score_interval(recording.counts("mine", "full", "apt", "dev"))
    assert list(marks.get_xdata()) == pytest.approx([50.0, 75.0])
    assert list(bar.get_xdata()) == pytest.approx([100 * found.low, 100 * found.high])
    assert list(hurdle.get_xdata()) == [55.0, 55.0] and mine.get_title() == "mine"
    assert [label.get_text() for label in mine.get_yticklabels()] == ["APT", "P-tuning v2"]


def test_a_task_without_runs_says_so_and_nan_draws_no_hurdle(recording):
    _, other = plot_tasks(recording, {"mine": 55.0, "other": float("nan")}).axes
    assert not other.lines and [text.get_text() for text in other.texts] == ["no finished run yet"]
