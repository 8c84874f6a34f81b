"""Results on disk: a line of JSON for each run's record, written whole, and a file of predictions beside it."""

import gzip
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from apt_minimal.lab.experiments.records import RunRecord


def read_records(file: str | Path) -> list[RunRecord]:
    """Read the finished runs of a file, each once, and of two lines of one run the later, whose predictions are kept.

    A last line without an end, which a kill leaves, does not count. Any other line that holds no record is passed over
    with a warning: its run counts as not done.
    """
    if not Path(file).exists():
        return []
    records, odd = {}, []
    *lines, torn = Path(file).read_bytes().split(b"\n")
    for number, line in enumerate([*lines, torn], start=1):
        try:
            record = RunRecord.from_json(json.loads(line.decode()))
            records[record.spec.key] = record
        except (ValueError, RecursionError) as error:
            if line.strip() and number <= len(lines):
                odd.append(f"line {number} ({error})")
    if odd:
        more = f" and {len(odd) - 3} more lines" if len(odd) > 3 else ""
        warnings.warn(
            f"{file}: no record can be read in {', '.join(odd[:3])}{more}; passed over, as if not run", stacklevel=2
        )
    return list(records.values())


def result_files(folder: str | Path) -> list[Path]:
    """The files of records in a grid's folder, one for each task."""
    return [file for file in sorted(Path(folder).glob("*.jsonl")) if file.is_file()]


def read_results(folder: str | Path) -> list[RunRecord]:
    """Read the finished runs of a grid, task by task."""
    return [record for file in result_files(folder) for record in read_records(file)]


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
    with scratch.open("wb") as whole:
        whole.write(gzip.compress(json.dumps(predictions, separators=(",", ":")).encode(), mtime=0))
        whole.flush()
        os.fsync(whole.fileno())
    os.replace(scratch, archive)
    line = (json.dumps(record.to_json() | {"predictions": place}) + "\n").encode()
    with _lock(file.parent / "running" / f"{file.stem}.lock"), file.open("ab+", buffering=0) as end:
        if end.seek(0, os.SEEK_END):  # what a kill may have torn off gets a line of its own
            end.seek(-1, os.SEEK_END)
            line = line if end.read() == b"\n" else b"\n" + line
        if end.write(line) < len(line):
            raise OSError(f"{file}: the line was not written whole; is the disk full?")
        os.fsync(end.fileno())


def read_predictions(file: str | Path, record: RunRecord) -> dict:
    """Read what was predicted in a run: "predictions" and "counts" (see `Task.counts`), by split.

    Args:
        file: the one that holds the record.
        record: of the run.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    place = Path(file).parent / str(record.predictions)
    try:
        found = json.loads(gzip.decompress(place.read_bytes()))
        if isinstance(found["predictions"], dict) and isinstance(found["counts"], dict):
            return found
        fault = "it holds something else"
    except FileNotFoundError:
        fault = "there is no such file"
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {error}"
    raise ValueError(
        f"the predictions {place} of a finished run can't be read ({fault}); bring them back, or start the grid again, "
        "which makes that run anew"
    )


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
