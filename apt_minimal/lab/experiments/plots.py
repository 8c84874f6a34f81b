"""Figures of a grid's runs: one colour and marker for each method, the same scales across panels."""

import math
from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from apt_minimal.lab.data.splits import reported_split
from apt_minimal.lab.experiments.comparisons import Comparison
from apt_minimal.lab.experiments.grid import methods_of
from apt_minimal.lab.experiments.intervals import Counts, Interval, score_interval
from apt_minimal.lab.experiments.recordings import Recording
from apt_minimal.lab.methods import METHODS, base_of, color, label, marker
from apt_minimal.lab.style import STYLE, smoothed

GROUP_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D46", "#332288", "#56B4E9", "#7A1E6C", "#117733")


def plot_training(runs: Mapping[str, list[dict]], metric: str = "F1") -> Figure:
    """Training loss (left) and development score (right) over the steps; thin lines are single seeds.

    Args:
        runs: for each method a list of histories, one a seed: dictionaries with "loss", "steps" and "scores".
        metric: the score's name on the axis.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True)
        for method, histories in runs.items():
            single = len(histories) == 1
            for i, history in enumerate(histories):
                look = {"color": color(method), "alpha": 1.0 if single else 0.45, "lw": 1.8 if single else 1.0}
                steps = history.get("loss_every", 1) * np.arange(1, len(history["loss"]) + 1)
                left.plot(steps, smoothed(history["loss"], max(1, 15 // history.get("loss_every", 1))), **look)
                name = label(method) if i == 0 else None
                right.plot(history["steps"], history["scores"], marker=marker(method), markersize=4, label=name, **look)
        left.set(xlabel="step", ylabel="training loss (mean of 15 steps)", ylim=(0, None))
        right.set(xlabel="step", ylabel=f"development {metric}", ylim=(0, None))
        for line in right.legend(loc="lower right").get_lines():
            line.set_alpha(1.0)
    plt.close(figure)  # shown once, as a cell's value
    return figure


def plot_scores(recording: Recording, task: str, setting: str = "full", split: str | None = None) -> Figure:
    """Each method's scores: a mark for each seed, a bar for the mean's 95 % interval over seeds and examples.

    The split is the one that counts in the setting, unless another is named. Methods whose runs are missing say so.
    """
    split, asked = split or reported_split(setting), methods_of(recording.grid, task, setting)
    methods = _ordered(asked)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 0.42 * len(methods) + 0.9))
        _draw_scores(axis, methods, {method: recording.counts(task, setting, method, split) for method in methods})
        metric = next((record.metric for record in recording.records if record.spec.task == task), "score")
        axis.set_xlabel(f"{split} {metric.replace('f1', 'F1')}, per cent")
    plt.close(figure)  # shown once, as a cell's value
    return figure


def plot_tasks(recording: Recording, hurdles: Mapping[str, float], setting: str = "full") -> Figure:
    """`plot_scores` for several tasks, one panel each, without the majority label.

    Args:
        recording: a grid's records; methods of which no run is finished are left out.
        hurdles: the tasks, each with the score that must be beaten, in per cent; a dashed line.
        setting: of the runs.
    """
    asked = {method for task in hurdles for method in methods_of(recording.grid, task, setting)} - {"majority"}
    methods = _ordered(m for m in asked if any(recording.of(task, setting, m) for task in hurdles))
    columns = min(3, len(hurdles))
    rows = math.ceil(len(hurdles) / columns)
    with plt.rc_context(STYLE):
        size = (9, rows * (0.3 * len(methods) + 0.8) + 0.3)
        figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis, (task, hurdle) in zip(axes.flat, hurdles.items(), strict=False):
            counts = {method: recording.counts(task, setting, method, reported_split(setting)) for method in methods}
            _draw_scores(axis, methods, counts)
            axis.axvline(hurdle, color="#666666", ls="--", lw=1.2)
            axis.set_title(f"{task} (dashed: {hurdle:.1f})", fontsize=10)
        for axis in axes.flat[len(hurdles) :]:
            axis.remove()
        figure.supxlabel(f"{reported_split(setting)} score, per cent", fontsize=10)
    plt.close(figure)  # shown once, as a cell's value
    return figure


def _ordered(methods: Iterable[str]) -> list[str]:
    """Methods as they stand in a figure from below: the last of `METHODS` first, shorter prefixes below longer ones."""
    order = list(METHODS)
    return sorted(methods, key=lambda method: (-order.index(base_of(method)), len(method), method))


def _draw_scores(axis, methods: list[str], counts: Mapping[str, Counts]) -> None:
    """One row for each method, from below: marks, bar, or that its runs are missing."""
    for y, method in enumerate(methods):
        look = {"color": color(method)}
        if not counts[method]:
            axis.text(0.02, y, "missing", transform=axis.get_yaxis_transform(), va="center", fontsize=8, **look)
            continue
        found = score_interval(counts[method])
        values = [100 * score_interval({seed: of_seed}).mean for seed, of_seed in counts[method].items()]
        axis.plot(values, [y] * len(values), marker(method), alpha=0.6, markersize=6, **look)
        axis.plot([100 * found.low, 100 * found.high], [y - 0.25] * 2, lw=2.5, **look)
    axis.set_yticks(range(len(methods)), [label(method) for method in methods])
    axis.set_ylim(-0.7, len(methods) - 0.4)


def plot_forest(
    groups: Mapping[str, Mapping[str, Comparison]], figures: Mapping[str, float] | None = None, title: str = ""
) -> Figure:
    """Differences with their 95 % intervals, one colour for each group, in points.

    Hollow marks: neither method is above the majority label there, so the comparison says nothing. Dotted bars hold for
    other seeds only. What has no runs is left out.

    Args:
        groups: for each group (a backbone and recipe, or a rule) its comparisons by name.
        figures: by name the paper's figure in points, a cross.
        title: of the axis, what is subtracted from what.
    """
    rows = [(group, name, one) for group, of in groups.items() for name, one in of.items() if one.interval]
    order = list(dict.fromkeys(group for group, *_ in rows))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8, 0.24 * (len(rows) + len(order)) + 1.1))
        y, ticks = 0, []
        for i, group in enumerate(order):
            look = {"color": GROUP_COLORS[i % len(GROUP_COLORS)]}
            head: dict = {
                "fontsize": 9,
                "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
                "weight": "bold",
                "va": "center",
                "zorder": 5,
                **look,
            }
            axis.text(0.01, y, group, transform=axis.get_yaxis_transform(), **head)
            for _, name, one in (row for row in rows if row[0] == group):
                y -= 1
                ticks.append((y, name))
                if one.interval:
                    _draw_difference(axis, y, one.interval, bool(one.void), look)
                if figures and name in figures:
                    axis.plot([figures[name]], [y], "x", color="black", markersize=6, zorder=4)
            y -= 1
        axis.axvline(0, color="#444444", lw=1)
        axis.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=8)
        axis.set(ylim=(y + 0.5, 0.8), xlabel=title or "difference, points")
        axis.grid(axis="y", visible=False)
    plt.close(figure)  # shown once, as a cell's value
    return figure


def plot_curves(recording: Recording, tasks: Iterable[str], methods: Iterable[str], setting: str = "full") -> Figure:
    """Development scores over the steps of training, one panel a task: a thick line is the mean over seeds."""
    tasks, methods = list(tasks), list(methods)
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(9, 2.3 * rows + 0.4), squeeze=False)
        for axis, task in zip(axes.flat, tasks, strict=False):
            for method in methods:
                histories = [r.history for r in recording.of(task, setting, method) if r.history.get("watched_scores")]
                curves = 100 * np.array([history["watched_scores"] for history in histories])
                for i, curve in enumerate(curves):
                    axis.plot(histories[i]["steps"], curve, color=color(method), lw=0.7, alpha=0.3)
                if len(curves):
                    axis.plot(
                        histories[0]["steps"], curves.mean(axis=0), color=color(method), lw=2, label=label(method)
                    )
            axis.set_title(task, fontsize=10)
        for axis in axes.flat[len(tasks) :]:
            axis.remove()
        names = axes.flat[0].get_legend_handles_labels()
        figure.legend(*names, loc="outside lower center", ncols=len(methods), fontsize=9)
        figure.supylabel("development score, per cent", fontsize=10)
    plt.close(figure)  # shown once, as a cell's value
    return figure


def _draw_difference(axis, y: float, interval: Interval, hollow: bool, look: dict) -> None:
    """One row of a forest: a bar and a mark."""
    low, mean, high = (100 * x for x in (interval.low, interval.mean, interval.high))
    axis.plot([low, high], [y, y], lw=2.2, ls=":" if np.isnan(interval.examples_sd) else "-", **look)
    axis.plot([mean], [y], "o", markersize=5.5, markerfacecolor="white" if hollow else look["color"], **look)
