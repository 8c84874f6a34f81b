"""Where rows come from: a folder, a file of one's own, the hub, or what is shipped."""

import os
import random
from pathlib import Path

from apt_minimal.lab.data.hub import HUB, load_hub_rows
from apt_minimal.lab.data.rows import ENDINGS, Row, read_rows

SAMPLE = Path(__file__).parent / "sample"
SPLITS = ("train", "validation", "test")


def load_rows(name: str, source: str = "auto", data_dir: str | Path | None = None) -> tuple[dict[str, list[Row]], str]:
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
        ValueError: no such source, two files for one split, or a file that cannot be read as rows (the message names
            file and line).
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


def real_source(data_dir: str | Path | None) -> str:
    """Name the source for an experiment: never "auto", which could take a sample that only looks like the task."""
    return "folder" if data_dir or os.environ.get("APT_DATA") else "hub"


def _from_folder(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list[Row]], str] | None:
    """Rows below the data folder, or at the path that the name is."""
    data_dir = data_dir or os.environ.get("APT_DATA")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise FileNotFoundError(f"there is no folder {data_dir}; data_dir (or $APT_DATA) must name an existing one")
    if data_dir is None:
        looked.append("no folder (data_dir and $APT_DATA are not set)")
    for place in [Path(data_dir, name), Path(name)] if data_dir is not None else [Path(name)]:
        try:
            is_folder, is_file = bool(name) and place.is_dir(), place.is_file()
        except OSError as error:  # a name that is too long, or a folder that we may not look into
            looked.append(f"{error}")
            continue
        if is_folder:
            return _read_folder(place)
        if is_file:
            rows, note = read_rows(place)
            return _split(rows, place), f"file {place}, cut 8:1:1{note}"
        looked.append(f"{place}")
    return None


def _from_hub(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list[Row]], str] | None:
    if name not in HUB:
        looked.append(f"the hub (known there are {', '.join(HUB)})")
        return None
    try:
        return load_hub_rows(name)
    except FileNotFoundError as error:
        looked.append(f"{error}")
    return None


def _from_sample(name: str, data_dir: str | Path | None, looked: list[str]) -> tuple[dict[str, list[Row]], str] | None:
    shipped = sorted(folder.name for folder in SAMPLE.iterdir() if folder.is_dir())
    if name not in shipped:
        looked.append(f"the shipped sample (it has {', '.join(shipped)})")
        return None
    return _read_folder(SAMPLE / name)[0], f"sample in {name}'s form, written for this project (not {name} itself)"


def _read_folder(folder: Path) -> tuple[dict[str, list[Row]], str]:
    rows, where = {}, f"folder {folder}"
    for split in SPLITS:
        files = [file for ending in ENDINGS if (file := folder / f"{split}{ending}").is_file()]
        if not files and split != "test":
            raise FileNotFoundError(
                f"{folder} has no {split}.jsonl (or {', '.join(ENDINGS[1:])}); a task needs train and validation"
            )
        if len(files) > 1:
            raise ValueError(f"{folder} has {' and '.join(file.name for file in files)}; a split is one file: keep one")
        rows[split], note = read_rows(files[0]) if files else ([], "")
        where += note
    return rows, where


def _split(rows: list[Row], file: Path) -> dict[str, list[Row]]:
    tenth = len(rows) // 10
    if tenth == 0:
        raise ValueError(
            f"{file} has {len(rows)} rows, too few to be cut into train, validation and test; give at least 10"
        )
    rows = random.Random(0).sample(rows, len(rows))
    return {"train": rows[2 * tenth :], "validation": rows[:tenth], "test": rows[tenth : 2 * tenth]}
