"""Recordings: grids with their finished runs, as they lie in docs/results or in a folder of one's own."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.intervals import Counts
from apt_minimal.lab.experiments.lines import main_score, read_predictions, run_key
from apt_minimal.lab.experiments.runner import read_results

# Recorded runs lie in the repository, beside the package; a copy installed without it has none.
RESULTS = Path(__file__).parents[3] / "docs" / "results"


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
        found = [line for line in self.lines if "failed" not in line and cell_of(line["run"]) == wanted]
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


def cell_of(run: dict) -> tuple[str, str, str, str]:
    """What a run belongs to: its task, setting, method and purpose."""
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
