"""Recordings: grids with the records of their finished runs, in docs/results or in a folder of one's own."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.intervals import Counts
from apt_minimal.lab.experiments.records import RunRecord
from apt_minimal.lab.experiments.results import read_predictions, read_results

# Recorded runs lie in the repository, beside the package; a copy installed without it has none.
RESULTS = Path(__file__).parents[3] / "docs" / "results"
REPOSITORY = (
    "recorded results lie in the repository, not in the installed package: "
    "clone the repository and install it with pip install -e"
)


@dataclass(frozen=True)
class Recording:
    """A grid and its finished runs.

    Attributes:
        grid: what was to be run, see `grid`.
        folder: where the records lie.
        records: one for each finished run.
    """

    grid: dict
    folder: Path
    records: list[RunRecord]

    def of(self, task: str, setting: str, method: str, purpose: str = "final") -> list[RunRecord]:
        """The records of one cell, without those that diverged, by seed."""
        wanted = (task, setting, method, purpose)
        found = [record for record in self.records if not record.failed and record.spec.cell == wanted]
        return sorted(found, key=lambda record: record.spec.seed)

    def counts(self, task: str, setting: str, method: str, split: str) -> Counts:
        """By seed, what each example adds to the score (see `example_counts`)."""
        records = [record for record in self.of(task, setting, method) if split in record.scores]
        return {record.spec.seed: self.predictions(record)["counts"][split] for record in records}

    def predictions(self, record: RunRecord) -> dict:
        """What was predicted in a run: see `read_predictions`."""
        return read_predictions(self.folder / f"{record.spec.task}.jsonl", record)


def load_recording(name: str | Path) -> Recording:
    """A grid of docs/results by name, or any by its file, with those of its runs that are finished by now.

    Records of runs that it doesn't ask for (any more, after a change) are left out.

    Raises:
        FileNotFoundError: no such grid.
        ValueError: a file of predictions is missing or damaged, or gives another score than its record, or a task's
            records were made with different data; the message names them.
    """
    file = Path(name) if Path(name).suffix == ".toml" else RESULTS / f"{name}.toml"
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; {REPOSITORY}, or give the path of a grid of yours")
    folder = file.with_suffix("")
    grid, records = read_grid(file), read_results(folder)
    asked = {spec.key for spec in all_runs(grid, records)[0]}
    recording = Recording(grid, folder, [record for record in records if record.spec.key in asked])
    for record in recording.records:
        _check(record, folder, recording.predictions(record)["counts"])
    _check_same_data(recording)
    return recording


@cache
def recorded(name: str) -> Recording:
    """`load_recording`, once per process: reading and checking all predictions of a large grid takes seconds."""
    return load_recording(name)


def _check_same_data(recording: Recording) -> None:
    made_with = {}
    for record in recording.records:
        made_with.setdefault(record.spec.task, Counter())[record.data_sha256[:12]] += 1
    for task, hashes in made_with.items():
        if len(hashes) > 1:
            found = ", ".join(f"{count} with {sha256}…" for sha256, count in hashes.items())
            file = recording.folder / f"{task}.jsonl"
            raise ValueError(f"lines in {file} were made with different data (SHA-256: {found})")


def _check(record: RunRecord, folder: Path, counts: dict[str, list]) -> None:
    for split, of_examples in counts.items():
        try:
            right, all_ = map(sum, zip(*of_examples, strict=True))
        except (TypeError, ValueError):
            raise ValueError(f"{folder}/{record.predictions} holds no pairs of counts for {split}") from None
        if abs(right / max(all_, 1) - record.score(split)) > 1e-9:
            raise ValueError(
                f"{record.predictions} gives a {split} score of {right / max(all_, 1):.4f}, "
                f"the line says {record.score(split):.4f}"
            )
