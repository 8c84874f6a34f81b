"""Intervals and tables against independent computations; figures against the numbers they shall show."""

import numpy as np
import pytest
import torch
from scipy import stats

from apt_minimal.lab.grid import all_runs
from apt_minimal.lab.lines import run_key
from apt_minimal.lab.plots import COLORS, MARKERS, plot_gates, plot_scores, plot_training, smoothed
from apt_minimal.lab.reading import GateReading
from apt_minimal.lab.results import load_recording
from apt_minimal.lab.tables import (
    LABELS,
    RESULTS,
    final_lines,
    paired_difference,
    scores,
    summary,
    t_interval,
)


def line(method, f1, seed=None, **more):
    run = {"method": method} if seed is None else {"method": method, "seed": seed, "train": {"learning_rate": 0.01}}
    return {"run": run, "metric": "f1", "test": {"f1": f1}, "minutes": 2.0, "trained_parameters": 7, **more}


APT = {11: 0.70, 21: 0.72, 42: 0.68, 87: 0.71, 100: 0.74}
OTHER = {100: 0.71, 87: 0.70, 42: 0.69, 21: 0.70, 11: 0.65}  # another order of seeds
LINES = [line("majority", 0.0), *(line("apt", f, s) for s, f in APT.items())]
LINES += [line("p_tuning_v2", f, s) for s, f in OTHER.items()]


def test_t_interval_equals_scipys():
    values = list(APT.values())
    assert t_interval(values) == pytest.approx(stats.t.interval(0.95, 4, np.mean(values), stats.sem(values)))


def test_t_interval_of_five_covers_the_mean_in_95_of_100_draws():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 5))
    covered = np.mean([low < 3.0 < high for low, high in map(t_interval, draws)])
    assert 0.935 < covered < 0.965


def test_no_interval_from_one_value():
    with pytest.raises(ValueError, match="1 values"):
        t_interval([0.5])


def test_differences_are_paired_by_seed():
    found = paired_difference(LINES, "apt", "p_tuning_v2")
    differences = [100 * (APT[seed] - OTHER[seed]) for seed in APT]
    low, high = stats.t.interval(0.95, 4, np.mean(differences), stats.sem(differences))
    assert found == pytest.approx(
        {"mean": np.mean(differences), "low": low, "high": high, "detectable": (high - low) / 2}
    )


def test_summary_is_in_percent_and_in_the_courses_order():
    table = summary(LINES)
    assert list(table.index) == [LABELS[m] for m in ("majority", "p_tuning_v2", "apt")]
    assert table.loc["APT", "mean"] == pytest.approx(71.0)
    assert table.loc["APT", "sd"] == pytest.approx(np.std([70, 72, 68, 71, 74], ddof=1))
    assert list(table["seeds"]) == [0, 5, 5]
    assert np.isnan(table.loc["majority label", "low"])


def test_scores_by_seed():
    assert scores(LINES, "apt") == APT
    assert scores(LINES, "majority") == {None: 0.0}


def test_a_missing_recording_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        final_lines("nowhere")


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.toml")), ids=lambda file: file.stem)
def test_recorded_lines_are_their_grids_and_complete(file):
    recording = load_recording(file)  # which scores every prediction file again
    asked = {run_key(spec) for spec in all_runs(recording.grid, recording.lines)[0]}
    for one in recording.lines:
        assert {"metric", "data_sha256", "minutes", "versions", "commit", "device"} <= one.keys()
        assert "seed" not in one["run"] or run_key(one["run"]) in asked  # not of another grid, nor of a rate not chosen


def test_the_recordings_of_the_lessons_are_whole():
    for name in ("conll2004", "sample_entities"):
        final = final_lines(name)
        for method in {one["run"]["method"] for one in final if "seed" in one["run"]}:
            assert sorted(scores(final, method)) == [11, 21, 42, 87, 100]


def test_smoothed_is_a_running_mean():
    assert smoothed([4.0, 2.0, 6.0, 0.0], window=2) == pytest.approx([4.0, 3.0, 4.0, 3.0])


def test_every_method_has_a_colour_and_a_marker_of_its_own():
    assert COLORS.keys() == LABELS.keys() == MARKERS.keys()
    assert len(set(COLORS.values())) == len(set(MARKERS.values())) == len(LABELS)


def test_the_training_plot_shows_the_histories():
    history = {"loss": [3.0, 1.0, 2.0], "steps": [2, 3], "scores": [0.2, 0.4]}
    left, right = plot_training({"apt": [history, history]}).axes
    assert left.lines[0].get_ydata() == pytest.approx(smoothed(history["loss"]))
    assert list(right.lines[0].get_xdata()) == [2, 3] and list(right.lines[0].get_ydata()) == [0.2, 0.4]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["APT"]


def test_a_thinned_loss_is_drawn_over_its_steps():
    left, _ = plot_training({"apt": [{"loss": [3.0, 1.0], "loss_every": 5, "steps": [10], "scores": [0.2]}]}).axes
    assert list(left.lines[0].get_xdata()) == [5, 10]


def test_the_gate_plot_shows_mean_and_spread():
    alpha = torch.rand(20, 3, 5)
    figure = plot_gates(GateReading(alpha, torch.ones(3), torch.ones(20, 3)))
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert np.allclose(shown[0], alpha.mean(0)) and np.allclose(shown[1], alpha.std(0))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["1", "2", "3"]


def test_the_score_plot_shows_every_seed():
    (axis,) = plot_scores(LINES).axes
    labels = [tick.get_text() for tick in axis.get_yticklabels()]
    points = {labels[int(line.get_ydata()[0])]: line for line in axis.lines if line.get_linestyle() == "None"}
    assert sorted(points["APT"].get_xdata()) == pytest.approx([68, 70, 71, 72, 74])
    assert list(points["majority label"].get_xdata()) == [0]
