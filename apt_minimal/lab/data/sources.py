"""Where rows and backbones come from: a folder, a file of one's own, the hub, or what is shipped."""

import csv
import io
import json
import os
import random
from pathlib import Path

from apt_minimal.lab.data.conll import read_conll
from apt_minimal.lab.data.hub import HUB, load_hub_rows

SAMPLE = Path(__file__).parent / "sample"
SPLITS = ("train", "validation", "test")
ENDINGS = (".jsonl", ".json", ".csv", ".conll", ".txt")


def load_rows(name: str, source: str = "auto", data_dir: str | Path | None = None) -> tuple[dict[str, list], str]:
    """Read a task's rows, split by split.

    Args:
        name: a task's name, or the path of a folder or of a JSONL, CSV or CoNLL file.
        source: "folder", "hub", "sample" or "auto", which takes the first of these that has the task, and says why the
            hub didn't have it if it got that far.
        data_dir: where "folder" looks for `<name>/<split>.jsonl` (or .csv, .conll, .txt); default $APT_DATA.

    Returns:
        Rows by split, and a sentence that says where they come from. A single file is shuffled with a fixed seed
        and cut into eight tenths, one tenth and one tenth.

    Raises:
        ValueError: no such source, or a file that cannot be read as rows (the message names file and line).
        FileNotFoundError: the source has no such task, or lacks its train or validation split.
    """
    steps = {"folder": _from_folder, "hub": _from_hub, "sample": _from_sample}
    if source not in ("auto", *steps):
        raise ValueError(f'source is {source!r}; it must be "auto", "folder", "hub" or "sample"')
    looked = []
    for step in steps.values() if source == "auto" else [steps[source]]:
        if (found := step(name, data_dir, looked)) is not None:
            return found
        if source == "auto" and step is _from_hub and name in HUB:
            print(f"{name}: {looked[-1]}")
    raise FileNotFoundError(f"no rows for {name!r}; looked at {' and '.join(looked)}")


def _from_folder(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list], str] | None:
    """Rows below the data folder, or at the path that the name is."""
    data_dir = data_dir or os.environ.get("APT_DATA")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise FileNotFoundError(f"there is no folder {data_dir}; data_dir (or $APT_DATA) must name an existing one")
    if data_dir is None:
        looked.append("no folder (data_dir and $APT_DATA are not set)")
    for place in [Path(data_dir, name), Path(name)] if data_dir is not None else [Path(name)]:
        if name and place.is_dir():
            return _read_folder(place)
        if place.is_file():
            rows, note = read_rows(place)
            return _split(rows), f"file {place}, cut 8:1:1{note}"
        looked.append(f"{place}")
    return None


def _from_hub(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list], str] | None:
    if name not in HUB:
        looked.append(f"the hub (known there are {', '.join(HUB)})")
        return None
    try:
        return load_hub_rows(name)
    except FileNotFoundError as error:
        looked.append(f"{error}")
    return None


def _from_sample(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list], str] | None:
    shipped = sorted(folder.name for folder in SAMPLE.iterdir() if folder.is_dir())
    if name not in shipped:
        looked.append(f"the shipped sample (it has {', '.join(shipped)})")
        return None
    return _read_folder(SAMPLE / name)[0], f"sample in {name}'s form, written for this project (not {name} itself)"


def read_rows(path: Path) -> tuple[list[dict], str]:
    """Read .jsonl or .json (one object a line), .csv (with a header), .conll or .txt (CoNLL's columns).

    Returns:
        The rows, and a note of what was done to them, or "".
    """
    if path.suffix in (".conll", ".txt"):
        rows, scheme = read_conll(path)
        return rows, "" if scheme == "IOB2" else f"; {path.name} from {scheme} to IOB2"
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} is neither .jsonl nor .csv, .conll or .txt")
    return _read_objects(path), ""


def _read_objects(path: Path) -> list[dict]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # as it is: a line break inside a CSV field is part of it
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error})") from None
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            rows = list(reader)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise ValueError(f"{path}, row {number}: not as many fields as the header's {len(reader.fieldnames)}")
        return rows
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not a JSON object on a line of its own ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: a JSON object was expected, not {type(row).__name__}")
        rows.append(row)
    return rows


def _read_folder(folder: Path) -> tuple[dict[str, list], str]:
    rows, where = {}, f"folder {folder}"
    for split in SPLITS:
        files = [file for ending in ENDINGS if (file := folder / f"{split}{ending}").is_file()]
        if not files and split != "test":
            raise FileNotFoundError(
                f"{folder} has no {split}.jsonl (or {', '.join(ENDINGS[1:])}); a task needs train and validation"
            )
        rows[split], note = read_rows(files[0]) if files else ([], "")
        if files and not rows[split]:
            raise ValueError(f"{files[0]} is empty")
        where += note
    return rows, where


def _split(rows: list) -> dict[str, list]:
    rows = random.Random(0).sample(rows, len(rows))
    tenth = len(rows) // 10
    if tenth == 0:
        raise ValueError(f"{len(rows)} rows are too few to be cut into train, validation and test; give at least 10")
    return {"train": rows[2 * tenth :], "validation": rows[:tenth], "test": rows[tenth : 2 * tenth]}
