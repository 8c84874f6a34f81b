"""Runs: what specifies one, what is recorded of it, and how records are written as lines of JSON and read again."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

SPLITS = ("held_out", "dev", "dev_best", "test")  # what may be scored, see `apply_setting`


@dataclass(frozen=True)
class RunSpec:
    """Everything that specifies one run.

    Attributes:
        task, setting, method: names, as in a grid.
        purpose: "search", to choose a learning rate, or "final".
        seed: of the cut of the data, the head, the prefix and the training.
        backbone: a name; None, like the next two, for methods that train nothing.
        settings: of the method, see `Method.settings`.
        train: the arguments of `TrainConfig`, "epochs" possibly in place of "max_steps".
    """

    task: str
    setting: str
    method: str
    purpose: str
    seed: int
    backbone: str | None = None
    settings: dict | None = None
    train: dict | None = None

    def to_json(self) -> dict:
        """Give the fields that are not None, as they stand in a line."""
        return _without_none(self)

    @cached_property
    def key(self) -> str:
        """A short name: twelve hexadecimal digits that only this specification has."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """What the run belongs to: its task, setting, method and purpose. Seeds and learning rates vary in a cell."""
        return self.task, self.setting, self.method, self.purpose

    @property
    def learning_rate(self) -> float | None:
        """The highest learning rate; None for methods that train nothing."""
        return None if self.train is None else self.train["learning_rate"]


@dataclass(frozen=True)
class RunRecord:
    """What is recorded of a finished run: all that is needed to do it again, all that was found, and what it took.

    What doesn't apply to a run is None.

    Attributes:
        spec: what was run.
        metric: the name of the score that counts.
        scores: for each split that was scored, its scores by name.
        failed: why a training that diverged has no scores.
        history: of the training, with its loss in means over "loss_every" steps.
        prefix_lengths, gates, effects, beside: see `Readings`.
        backbone_sha256, data_sha256: of the weights and of the rows.
        trained_parameters, resumed, minutes, peak_mib, device, versions, commit: what it took, and where.
        predictions: the file of predictions, relative to the record's own; see `read_predictions`.
    """

    spec: RunSpec
    data_sha256: str
    minutes: float = 0.0
    metric: str = "accuracy"
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: str | None = None
    backbone_sha256: str | None = None
    trained_parameters: int | None = None
    resumed: bool | None = None
    history: dict | None = None
    prefix_lengths: list[int] | None = None
    gates: dict | None = None
    effects: dict | None = None
    beside: list[float] | None = None
    peak_mib: int | None = None
    device: str | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None
    predictions: str | None = None

    def to_json(self) -> dict:
        """Give the record as it stands in a line: its scores side by side with the rest, without what is None."""
        kept = _without_none(self)
        return {"run": kept.pop("spec").to_json(), **kept.pop("scores"), **kept}

    @classmethod
    def from_json(cls, line: dict) -> "RunRecord":
        """Make a record of a line; TypeError if it holds something unknown."""
        scores = {split: line[split] for split in SPLITS if split in line}
        rest = {name: value for name, value in line.items() if name not in ("run", *scores)}
        return cls(RunSpec(**line["run"]), scores=scores, **rest)

    def score(self, split: str) -> float:
        """The score of a split that counts."""
        return self.scores[split][self.metric]


def read_records(file: str | Path) -> list[RunRecord]:
    """Read the finished runs of a file, each once; a line that a kill left incomplete does not count."""
    if not Path(file).exists():
        return []
    records = {}
    for text in Path(file).read_text(encoding="utf-8").split("\n"):
        try:
            record = RunRecord.from_json(json.loads(text))
        except json.JSONDecodeError:
            continue
        records.setdefault(record.spec.key, record)
    return list(records.values())


def read_results(folder: str | Path) -> list[RunRecord]:
    """Read the finished runs of a grid, task by task."""
    return [record for file in sorted(Path(folder).glob("*.jsonl")) for record in read_records(file)]


def write_record(file: Path, record: RunRecord, predictions: dict) -> None:
    """Add a finished run to a file of records: predictions first, in a file of their own, then the line.

    The line is written in one piece at the file's end, one process at a time, so that lines don't mix, and a kill harms
    no earlier line.

    Args:
        file: `<grid>/<task>.jsonl`; predictions go into the folder `<grid>/<task>`.
        record: the run's, without the place of its predictions.
        predictions: "predictions" and "counts", by split.
    """
    place = f"{file.stem}/{record.spec.method}-{record.spec.key}.json.gz"
    archive = file.parent / place
    archive.parent.mkdir(parents=True, exist_ok=True)
    scratch = archive.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(gzip.compress(json.dumps(predictions, separators=(",", ":")).encode(), mtime=0))
    os.replace(scratch, archive)
    line = (json.dumps(record.to_json() | {"predictions": place}) + "\n").encode()
    with _lock(file.parent / "running" / f"{file.stem}.lock"), file.open("ab+", buffering=0) as end:
        if end.seek(0, os.SEEK_END):  # what a kill may have torn off gets a line of its own
            end.seek(-1, os.SEEK_END)
            line = line if end.read() == b"\n" else b"\n" + line
        if end.write(line) < len(line):
            raise OSError(f"{file}: the line was not written whole; is the disk full?")


def read_predictions(file: str | Path, record: RunRecord) -> dict:
    """Read what was predicted in a run: "predictions" and "counts" (see `Task.counts`), by split.

    Args:
        file: the one that holds the record.
        record: of the run.
    """
    return json.loads(gzip.decompress((Path(file).parent / record.predictions).read_bytes()))


@contextmanager
def claim(file: Path) -> Iterator[bool]:
    """Hold a run for this process; yields whether that succeeded, or another process has it.

    The system lets go of a claim when its process ends, however it ends.
    """
    try:
        lock = _lock(file).acquire(timeout=0)
    except Timeout:
        yield False
        return
    with lock:
        try:
            yield True
        finally:
            with suppress(PermissionError):  # Windows removes no open file
                file.unlink(missing_ok=True)


def _lock(file: Path) -> FileLock:
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file)


def _without_none(record) -> dict:
    named = {one.name: getattr(record, one.name) for one in fields(record)}
    return {name: value for name, value in named.items() if value is not None}
