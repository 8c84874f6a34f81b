"""Tables of a grid, computed from its lines and prediction files alone; what is missing stands in the table.

Scores are in per cent, differences in points. Intervals hold for other seeds and other examples (see `intervals`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from apt_minimal.lab.baselines import UNTRAINED
from apt_minimal.lab.experiments import read_results
from apt_minimal.lab.grid import all_runs, at_edge, chosen_rates, methods_of, read_grid
from apt_minimal.lab.intervals import Counts, Interval, difference_interval, score_interval
from apt_minimal.lab.lines import main_score, read_predictions, run_key
from apt_minimal.lab.protocol import chooser, counted

LABELS = {
    "majority": "majority label",
    "bag_of_words": "words alone",
    "head_only": "head only",
    "full": "full fine-tuning",
    "lora": "LoRA",
    "p_tuning_v2": "P-tuning v2",
    "p_tuning_v2_shifted": "P-tuning v2, positions shifted",
    "p_tuning_v2_plus": "P-tuning v2, as many parameters as APT",
    "p_tuning_v2_star": "P-tuning v2, length by layer",  # the paper's; ours names its lengths, see `label`
    "apt": "APT",
    "apt_no_token_gate": "APT without token gate",
    "apt_no_layer_gate": "APT without layer gate",
    "apt_no_hidden_state": "APT without hidden state",
    "apt_mean_gate": "APT, mean gate",
    "apt_query_gate": "APT, query gate",
    "apt_log_gate": "APT, log gate",
    "prefix_beside": "prefix beside attention",
    "apt_pruned": "APT, pruned",
    "apt_upper": "APT on kept states",
}
# Recorded runs lie in the repository, beside the package; a copy installed without it has none.
RESULTS = Path(__file__).parents[2] / "docs" / "results"
SCORE_COLUMNS = ["task", "method", "majority", "dev", "low", "high", "dev_best", "test"]
SCORE_COLUMNS += ["alpha spread", "rate", "edge", "seeds", "trained", "minutes"]


def label(method: str) -> str:
    """What tables and figures call a method of a grid: "apt@4" is "APT, 4 tokens"."""
    base, _, lengths = method.partition("@")
    return LABELS[base] + (f", {lengths} tokens" if lengths else "")


@dataclass(frozen=True)
class Recording:
    """A grid and its finished runs.

    Attributes:
        grid: what was to be run, see `grid`.
        folder: where the lines lie.
        lines: one a finished run.
    """

    grid: dict
    folder: Path
    lines: list[dict]

    def of(self, task: str, setting: str, method: str, purpose: str = "final") -> list[dict]:
        """The lines of one cell, without those that diverged, by seed."""
        wanted = (task, setting, method, purpose)
        found = [line for line in self.lines if "failed" not in line and _cell(line["run"]) == wanted]
        return sorted(found, key=lambda line: line["run"]["seed"])

    def counts(self, task: str, setting: str, method: str, split: str) -> Counts:
        """By seed, what each example adds to the score (see `example_counts`)."""
        lines = [line for line in self.of(task, setting, method) if split in line]
        files = [read_predictions(self.folder / f"{task}.jsonl", line) for line in lines]
        return {line["run"]["seed"]: file["counts"][split] for line, file in zip(lines, files, strict=True)}


def load_recording(name: str | Path) -> Recording:
    """A grid of docs/results by name, or any by its file, with those of its runs that are finished by now.

    Lines of runs that it doesn't ask for (any more, after a change) are left out.

    Raises:
        FileNotFoundError: no such grid.
        ValueError: a line's score is not what its prediction file gives, or a task's lines were made with different
            data; the message names them.
    """
    file = Path(name) if Path(name).suffix == ".toml" else RESULTS / f"{name}.toml"
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; recorded grids lie in the repository's docs/results")
    folder = file.with_suffix("")
    grid, lines = read_grid(file), read_results(folder)
    asked = {run_key(spec) for spec in all_runs(grid, lines)[0]}
    lines = [line for line in lines if run_key(line["run"]) in asked]
    for line in lines:
        _check(line, read_predictions(folder / f"{line['run']['task']}.jsonl", line)["counts"])
    _check_same_data(lines, folder)
    return Recording(grid, folder, lines)


def _known(what: str, given: str, there_are: Iterable[str]) -> None:
    if given not in (there_are := list(there_are)):
        raise ValueError(f"there is no {what} {given!r} here; there are {', '.join(dict.fromkeys(there_are))}")


def score_table(recording: Recording, setting: str = "full") -> pd.DataFrame:
    """One row for each task and method that the grid asks for, run or not.

    Columns: "majority", what the most frequent label scores on the split that counts in this setting ("test" if it is
    "plain", else "dev"), "low" and "high", the 95 % interval of a method's score there; "dev", the development score
    at the epoch that the held-out examples chose; "dev_best", the paper's rule, the best epoch's development score,
    which is optimistic; "test" at the epoch that was chosen; "alpha spread", the largest standard deviation of α across
    inputs, mean over seeds; "rate" and "edge", the learning rate and whether it was the lowest or highest that was
    tried; "seeds", how many are done; "trained" parameters; "minutes" a run.

    Raises:
        ValueError: the grid has no such setting.
    """
    _known("setting", setting, recording.grid["settings"])
    rows, split = [], counted(setting)
    for task in recording.grid["tasks"]:
        majority = [main_score(line, split) for line in recording.of(task, setting, "majority")]
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
    said; "no difference seen" always with the smallest one that such a design detects in four of five cases. The split
    is the one that counts in the setting, unless another is named.

    Raises:
        ValueError: the grid has no such setting or method, or there is no such split.
    """
    _known("setting", setting, recording.grid["settings"])
    _known("method", method, (m for task in recording.grid["tasks"] for m in methods_of(recording.grid, task, setting)))
    _known("split", split := split or counted(setting), ("held_out", "dev", "dev_best", "test"))
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
            rows.append(row | {key: 100 * value for key, value in numbers.items()} | {"verdict": verdict(found)})
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
            for line in recording.of(task, setting, method):
                scores = [100 * main_score(line, split) for split in (chooser(setting), counted(setting))]
                rows.append([task, method, line["run"]["seed"], *scores])
    return pd.DataFrame(rows, columns=["task", "method", "seed", "chose", "counts"])


def search_table(recording: Recording, setting: str) -> pd.DataFrame:
    """One row for each task and method whose learning rate was searched and whose search is complete.

    Columns: "rate" and "edge", what was chosen and whether it was the lowest or highest that was tried; "promised", the
    score it was chosen for, a best of epochs, mean over the search's seeds; "swing", by how much that rate's score
    changes from one epoch to the next, and "others' swing", the same for the rates that were not chosen.
    """
    rows = []
    for task in recording.grid["tasks"]:
        chosen = chosen_rates(recording.grid, task, setting, recording.lines)
        for method, rates in methods_of(recording.grid, task, setting).items():
            if len(rates) < 2 or method not in chosen:
                continue
            swings, promised = [[], []], []  # swings: of the chosen rate, of the others
            for line in recording.of(task, setting, method, "search"):
                scores, other = line["history"]["scores"], line["run"]["train"]["learning_rate"] != chosen[method]
                swings[other] += [100 * abs(b - a) for a, b in pairwise(scores)]
                promised += [] if other else [100 * main_score(line, chooser(setting))]
            rate = {"rate": chosen[method], "edge": at_edge(rates, chosen[method])}
            found = {"promised": promised, "swing": swings[0], "others' swing": swings[1]}
            means = {name: sum(values) / len(values) if values else float("nan") for name, values in found.items()}
            rows.append({"task": task, "method": label(method)} | rate | means)
    columns = ["task", "method", "rate", "edge", "promised", "swing", "others' swing"]
    return pd.DataFrame(rows, columns=columns).set_index(["task", "method"])


def paper_scores(setting: str = "full", backbone: str = "BERT-base") -> pd.DataFrame:
    """The paper's own figures from docs/results/paper.csv: one row for each task, one column for each method.

    "status" says how sure we are of a figure. All of them are recalled: transcribed from memory, not checked against
    the published PDF (APT without layer gate even is "about"). Averages are rows of their own ("superglue_average":
    BoolQ, COPA, RTE, WiC, WSC; "ner_average": CoNLL-2003, CoNLL-2004, OntoNotes 5).

    Raises:
        ValueError: no figure for such a setting or backbone; the message names those that there are.
    """
    figures = pd.read_csv(RESULTS / "paper.csv")
    wanted = figures[(figures["setting"] == setting) & (figures["backbone"] == backbone)]
    if wanted.empty:
        there_are = figures[["backbone", "setting"]].drop_duplicates().agg(", ".join, axis=1)
        raise ValueError(f"the paper has no figures for {backbone}, {setting}; it has them for {'; '.join(there_are)}")
    table = wanted.pivot(index="task", columns="method", values="score")
    order = [method for method in LABELS if method in table]
    table = table.loc[wanted["task"].drop_duplicates(), order].rename(columns=LABELS).rename_axis(columns=None)
    return table.assign(status="recalled")


def verdict(difference: Interval) -> str:
    """What an interval of a difference says, in words."""
    if difference.sees_difference:
        return "higher" if difference.mean > 0 else "lower"
    if difference.low == difference.high:  # a constant answer in both, say: not a design of infinite precision
        return "no difference at all: every example scores the same in both"
    return f"no difference seen; {100 * difference.detectable:.1f} points would have been"


def _row(recording: Recording, task: str, setting: str, method: str, rates: list[float]) -> dict:
    """A method's part of a row in `score_table`; NaN stands for what is not there."""
    lines, planned = recording.of(task, setting, method), len(recording.grid["seeds"])
    failed = [line for line in recording.lines if "failed" in line]
    diverged = sum(_cell(line["run"]) == (task, setting, method, "final") for line in failed)
    row = {"seeds": f"{len(lines)} of {planned}" + (f", {diverged} diverged" if diverged else "")}
    if not lines:
        return row | {"seeds": row["seeds"] + ": missing"}
    for split in ("dev", "dev_best", "test"):
        if counts := recording.counts(task, setting, method, split):
            found = score_interval(counts)
            row[split] = 100 * found.mean
            if split == counted(setting):
                row |= {"low": 100 * found.low, "high": 100 * found.high}
    row["minutes"] = sum(line["minutes"] for line in lines) / len(lines)
    if method in UNTRAINED:
        return row
    if gates := [line["gates"]["alpha_spread"] for line in lines if method.startswith("apt") and "gates" in line]:
        # null where a layer has no prefix, or a shorter one
        largest = [max(one for layer in spread for one in layer if one is not None) for spread in gates]
        row["alpha spread"] = sum(largest) / len(gates)
    rate = lines[0]["run"]["train"]["learning_rate"]
    return row | {"rate": rate, "edge": at_edge(rates, rate), "trained": lines[0]["trained_parameters"]}


def _cell(run: dict) -> tuple:
    return run["task"], run["setting"], run["method"], run["purpose"]


def _check_same_data(lines: list[dict], folder: Path) -> None:
    made_with = {}
    for line in lines:
        made_with.setdefault(line["run"]["task"], Counter())[line["data_sha256"][:12]] += 1
    for task, hashes in made_with.items():
        if len(hashes) > 1:
            found = ", ".join(f"{count} with {sha256}…" for sha256, count in hashes.items())
            raise ValueError(f"lines in {folder / task}.jsonl were made with different data (SHA-256: {found})")


def _check(line: dict, counts: dict[str, list]) -> None:
    for split, of_examples in counts.items():
        right, all_ = map(sum, zip(*of_examples, strict=True))
        if abs(right / max(all_, 1) - main_score(line, split)) > 1e-9:
            raise ValueError(
                f"{line['predictions']} gives a {split} score of {right / max(all_, 1):.4f}, "
                f"the line says {main_score(line, split):.4f}"
            )
