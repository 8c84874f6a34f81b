"""Finished runs as lines of JSON: how they are named, written, and read again."""

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows has no such locks
    fcntl = None

from apt_minimal.lab.data.entities import entities
from apt_minimal.lab.data.tasks import Example, Task


def run_key(spec: dict) -> str:
    """A run's short name: twelve hexadecimal digits that only this specification has."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]


def read_lines(file: str | Path) -> list[dict]:
    """The finished runs of a results file, each once; a line that a kill left incomplete does not count."""
    if not Path(file).exists():
        return []
    lines = {}
    for text in Path(file).read_text(encoding="utf-8").split("\n"):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        lines.setdefault(run_key(line["run"]), line)
    return list(lines.values())


def write_line(file: Path, line: dict, predictions: dict) -> None:
    """Add a finished run to a results file: predictions first, in a file of their own, then the line.

    The line is written in one piece at the file's end, one process at a time, so that lines don't mix, and a kill harms
    none that are there.

    Args:
        file: `<grid>/<task>.jsonl`; predictions go into the folder `<grid>/<task>`.
        line: all that the line shall hold but where its predictions are.
        predictions: "predictions" and "counts", by split.
    """
    spec = line["run"]
    place = f"{file.stem}/{spec['method']}-{run_key(spec)}.json.gz"
    archive = file.parent / place
    archive.parent.mkdir(parents=True, exist_ok=True)
    scratch = archive.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(gzip.compress(json.dumps(predictions, separators=(",", ":")).encode(), mtime=0))
    os.replace(scratch, archive)
    whole = json.dumps(line | {"predictions": place}) + "\n"
    with file.open("ab+", buffering=0) as end:
        if fcntl:  # until the file is closed; else another's line may be half there when we look
            fcntl.flock(end, fcntl.LOCK_EX)
        if end.seek(0, os.SEEK_END):  # what a kill may have torn off gets a line of its own
            end.seek(-1, os.SEEK_END)
            whole = whole if end.read() == b"\n" else "\n" + whole
        if end.write(whole.encode()) < len(whole.encode()):
            raise OSError(f"{file}: the line was not written whole; is the disk full?")


def read_predictions(file: str | Path, line: dict) -> dict:
    """What the predictions file of a line holds: "predictions" and "counts" (see `example_counts`), by split."""
    return json.loads(gzip.decompress((Path(file).parent / line["predictions"]).read_bytes()))


def example_counts(task: Task, predictions: Sequence, examples: Sequence[Example]) -> list[list[int]]:
    """For each example a numerator and a denominator; the task's score is the ratio of their sums.

    Accuracy: whether it is right, and 1. Entity F1: twice the entities that are right, and how many there are and are
    predicted. That is all an interval needs, and it holds none of the data.
    """
    if task.kind != "token":
        return [[int(p == example.label), 1] for p, example in zip(predictions, examples, strict=True)]
    counts = []
    for tags, example in zip(predictions, examples, strict=True):
        gold, guessed = set(entities(example.row["ner_tags"])), set(entities([task.labels[tag] for tag in tags]))
        counts.append([2 * len(gold & guessed), len(gold) + len(guessed)])
    return counts


def main_score(line: dict, split: str) -> float:
    """A line's score by its task's own metric."""
    return line[split][line["metric"]]


@contextmanager
def claim(file: Path):
    """Hold a run for this process; yields whether that succeeded, or another process has it.

    The system lets go of a claim when its process ends, however it ends. Windows has no such locks: there every claim
    succeeds, and a run that two processes do is written twice and read once.
    """
    if fcntl is None:
        yield True
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            file.unlink(missing_ok=True)
