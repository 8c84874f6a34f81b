"""Tables of a grid, computed from its records and prediction files alone; what is missing stands in the table.

Scores are in per cent, differences in points. Intervals hold for other seeds and other examples (see `intervals`).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pandas as pd

from apt_minimal.lab.data.splits import reported_split, selection_split
from apt_minimal.lab.experiments.comparisons import excluded, share_varying
from apt_minimal.lab.experiments.grid import at_edge, chosen_rates, methods_of, seeds_of
from apt_minimal.lab.experiments.intervals import difference_interval, score_interval
from apt_minimal.lab.experiments.recordings import REPOSITORY, RESULTS, Recording
from apt_minimal.lab.experiments.records import SPLITS
from apt_minimal.lab.methods import LABELS, UNTRAINED, label

SCORE_COLUMNS = ["task", "method", "majority", "dev", "low", "high", "dev_best", "test"]
SCORE_COLUMNS += ["gates vary", "rate", "edge", "seeds", "trained", "minutes"]


def score_table(recording: Recording, setting: str = "full") -> pd.DataFrame:
    """One row for each task and method that the grid asks for, run or not.

    Columns: "majority", what the most frequent label scores on the split that counts in this setting ("test" if it is
    "plain", else "dev"), "low" and "high", the 95 % interval of a method's score there; "dev", the development score
    at the epoch that the held-out examples chose; "dev_best", the paper's rule, the best epoch's development score,
    which is optimistic; "test" at the epoch that was chosen; "gates vary", the share of gates α (in per cent) whose
    standard deviation across inputs is above 0.05, mean over seeds; "rate" and "edge", the learning rate and whether it
    was the lowest or highest that was tried; "seeds", how many are done; "trained" parameters; "minutes" a run.

    Raises:
        ValueError: the grid has no such setting.
    """
    _known("setting", setting, recording.grid["settings"])
    rows, split = [], reported_split(setting)
    for task in recording.grid["tasks"]:
        majority = [record.score(split) for record in recording.of(task, setting, "majority")]
        for method, rates in methods_of(recording.grid, task, setting).items():
            row = {"task": task, "method": label(method)}
            row["majority"] = 100 * sum(majority) / len(majority) if majority else float("nan")
            rows.append(row | _row(recording, task, setting, method, rates))
    return pd.DataFrame(rows, columns=SCORE_COLUMNS).set_index(["task", "method"])


def difference_table(
    recording: Recording, setting: str = "full", method: str = "apt", split: str | None = None
) -> pd.DataFrame:
    """How much a method scores above each other one, task by task, paired by seed and example, in points.

    Columns: "difference", "low" and "high" of its 95 % interval, the "seeds" in common, and in "verdict" what can be
    said: where no difference is shown, which ones are excluded. The split is the one that counts in the setting, unless
    another is named.

    Raises:
        ValueError: the grid has no such setting or method, or there is no such split.
    """
    _known("setting", setting, recording.grid["settings"])
    _known("method", method, (m for task in recording.grid["tasks"] for m in methods_of(recording.grid, task, setting)))
    _known("split", split := split or reported_split(setting), SPLITS)
    rows = []
    for task in recording.grid["tasks"]:
        ours = recording.counts(task, setting, method, split)
        for other in methods_of(recording.grid, task, setting):
            if other == method:
                continue
            theirs = recording.counts(task, setting, other, split)
            seeds = len(ours.keys() & theirs.keys())
            row = {"task": task, "other": label(other), "seeds": seeds}
            if seeds < 2:
                rows.append(row | {"verdict": f"missing: {seeds} seeds in common, two are needed"})
                continue
            found = difference_interval(ours, theirs)
            numbers = {"difference": found.mean, "low": found.low, "high": found.high}
            rows.append(row | {key: 100 * value for key, value in numbers.items()} | {"verdict": excluded(found)})
    columns = ["task", "other", "difference", "low", "high", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index(["task", "other"])


def finished_table(recording: Recording) -> pd.DataFrame:
    """How many final runs of each method are finished, for each setting and task; as many as the grid's seeds are due.

    Those that diverged don't count. A method that the grid doesn't ask for in a cell has NaN there.
    """
    rows = {}
    for setting in recording.grid["settings"]:
        for task in recording.grid["tasks"]:
            methods = methods_of(recording.grid, task, setting)
            rows[setting, task] = {label(m): len(recording.of(task, setting, m)) for m in methods}
    return pd.DataFrame(rows.values(), index=pd.MultiIndex.from_tuples(rows, names=["setting", "task"]))


def run_table(recording: Recording, setting: str) -> pd.DataFrame:
    """One row for each final run that ended well: "task", "method" and "seed", and two scores.

    "chose" is the best epoch's score on what chooses the epoch, "counts" that epoch's on the split that is reported.
    """
    rows = []
    for task in recording.grid["tasks"]:
        for method in methods_of(recording.grid, task, setting):
            for record in recording.of(task, setting, method):
                scores = [100 * record.score(split) for split in (selection_split(setting), reported_split(setting))]
                rows.append([task, method, record.spec.seed, *scores])
    return pd.DataFrame(rows, columns=["task", "method", "seed", "chose", "counts"])


def search_table(recording: Recording, setting: str) -> pd.DataFrame:
    """One row for each task and method whose learning rate was searched and whose search is complete.

    Columns: "rate" and "edge", what was chosen and whether it was the lowest or highest that was tried; "promised", the
    score it was chosen for, a best of epochs, mean over the search's seeds; "swing", by how much that rate's score
    changes from one epoch to the next, and "others' swing", the same for the rates that were not chosen.
    """
    rows = []
    for task in recording.grid["tasks"]:
        chosen = chosen_rates(recording.grid, task, setting, recording.records)
        for method, rates in methods_of(recording.grid, task, setting).items():
            if len(rates) < 2 or method not in chosen:
                continue
            swings, promised = [[], []], []  # swings: of the chosen rate, of the others
            for record in recording.of(task, setting, method, "search"):
                scores, other = record.history["scores"], record.spec.learning_rate != chosen[method]
                swings[other] += [100 * abs(b - a) for a, b in pairwise(scores)]
                promised += [] if other else [100 * record.score(selection_split(setting))]
            rate = {"rate": chosen[method], "edge": at_edge(rates, chosen[method])}
            found = {"promised": promised, "swing": swings[0], "others' swing": swings[1]}
            means = {name: sum(values) / len(values) if values else float("nan") for name, values in found.items()}
            rows.append({"task": task, "method": label(method)} | rate | means)
    columns = ["task", "method", "rate", "edge", "promised", "swing", "others' swing"]
    return pd.DataFrame(rows, columns=columns).set_index(["task", "method"])


def paper_scores(setting: str = "full", backbone: str = "BERT-base") -> pd.DataFrame:
    """The paper's own figures from docs/results/paper.csv: one row for each task, one column for each method.

    "status" is the file's. All scores are recalled: transcribed from memory, not checked against the published PDF (of
    APT without layer gate we recall only "about 69.1"). The setting "gain" is APT − P-tuning v2, where we have seen
    the paper quoted on it (second-hand). Averages are rows of their own ("superglue_average": BoolQ, COPA, RTE, WiC,
    WSC; "ner_average": CoNLL-2003, CoNLL-2004, OntoNotes 5).

    Raises:
        ValueError: no figure for such a setting or backbone; the message names those that there are.
        FileNotFoundError: the package was installed without the repository.
    """
    if not (file := RESULTS / "paper.csv").is_file():
        raise FileNotFoundError(f"there is no {file}; {REPOSITORY}")
    figures = pd.read_csv(file)
    wanted = figures[(figures["setting"] == setting) & (figures["backbone"] == backbone)]
    if wanted.empty:
        pairs = dict.fromkeys(zip(figures["backbone"], figures["setting"], strict=True))
        there_are = [f"{name}, {given}" for name, given in pairs]
        raise ValueError(f"the paper has no figures for {backbone}, {setting}; it has them for {'; '.join(there_are)}")
    table = wanted.pivot(index="task", columns="method", values="score")
    order = [method for method in LABELS if method in table]
    table = table.loc[list(dict.fromkeys(wanted["task"])), order].rename(columns=LABELS).rename_axis(columns=None)
    return table.assign(status=wanted.groupby("task")["status"].agg(lambda of: ", ".join(dict.fromkeys(of))))


def _known(what: str, given: str, there_are: Iterable[str]) -> None:
    if given not in (there_are := list(there_are)):
        raise ValueError(f"there is no {what} {given!r} here; there are {', '.join(dict.fromkeys(there_are))}")


def _row(recording: Recording, task: str, setting: str, method: str, rates: list[float]) -> dict:
    """A method's part of a row in `score_table`; NaN stands for what is not there."""
    records, planned = recording.of(task, setting, method), len(seeds_of(recording.grid, task, setting)[method])
    failed = [record for record in recording.records if record.failed]
    diverged = sum(record.spec.cell == (task, setting, method, "final") for record in failed)
    row: dict[str, Any] = {"seeds": f"{len(records)} of {planned}" + (f", {diverged} diverged" if diverged else "")}
    if not records:
        return row | {"seeds": row["seeds"] + ": missing"}
    for split in ("dev", "dev_best", "test"):
        if counts := recording.counts(task, setting, method, split):
            found = score_interval(counts)
            row[split] = 100 * found.mean
            if split == reported_split(setting):
                row |= {"low": 100 * found.low, "high": 100 * found.high}
    row["minutes"] = sum(record.minutes for record in records) / len(records)
    if method in UNTRAINED:
        return row
    row["gates vary"] = 100 * share_varying(records)
    rate = records[0].spec.learning_rate
    return row | {"rate": rate, "edge": at_edge(rates, rate), "trained": records[0].trained_parameters}
