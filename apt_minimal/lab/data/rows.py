"""Rows as they are read from a file; each keeps its place there, so that whatever is wrong with it can be found."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from apt_minimal.lab.data.conll import read_conll

ENDINGS = (".jsonl", ".json", ".csv", ".conll", ".txt")


class Row(dict):
    """A row's fields by name, and for messages its `place`, such as "mine/train.jsonl, line 3"."""

    def __init__(self, fields: dict, place: str):
        super().__init__(fields)
        self.place = place


def read_rows(path: Path) -> tuple[list[Row], str]:
    """Read .jsonl or .json (one object a line), .csv (with a header), .conll or .txt (CoNLL's columns).

    Returns:
        The rows, and a note of what was done to them, or "".

    Raises:
        ValueError: the file is empty, or something in it cannot be read; the message names file and line. A row that
            takes several lines has the number of its first.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} is neither .jsonl nor .csv, .conll or .txt")
    scheme = "IOB2"
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")  # as it is: a line break inside a CSV field is part of it
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error})") from None
    try:
        if path.suffix in (".conll", ".txt"):
            found, scheme = read_conll(text)
        else:
            found = list(_csv(text) if path.suffix == ".csv" else _jsonl(text))
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None
    if not found:
        raise ValueError(f"{path} is empty")
    note = "" if scheme == "IOB2" else f"; {path.name} from {scheme} to IOB2"
    return [Row(fields, f"{path}, line {line}") for line, fields in found], note


def _jsonl(text: str) -> Iterator[tuple[int, dict]]:
    """The objects of a text, one a line, each with its line; blank lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:  # too deep, or a number of too many digits
            raise ValueError(f"line {number}: not a JSON object on a line of its own ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: a JSON object was expected, not {type(row).__name__}")
        yield number, row


def _unique(pairs: list[tuple]) -> dict:
    """The object of these keys and values; json itself would take the last of two equal keys."""
    if len(fields := dict(pairs)) < len(pairs):
        raise ValueError(f"a key stands twice: {_twice([key for key, _ in pairs])!r}")
    return fields


def _csv(text: str) -> Iterator[tuple[int, dict]]:
    """The rows of a text after its header, each with its first line; blank lines are passed over."""
    reader, header = csv.reader(io.StringIO(text, newline=""), strict=True), None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"line {line}: {error}") from None
        if not fields:
            continue
        if header is None:
            header = fields
            if len(set(header)) < len(header):
                raise ValueError(f"line {line}: the header names a column twice: {_twice(header)!r}")
        elif fields == header:
            raise ValueError(f"line {line}: the header stands here a second time")
        elif len(fields) != len(header):
            raise ValueError(f"line {line}: {len(fields)} fields, not as many as the header's {len(header)}")
        else:
            yield line, dict(zip(header, fields, strict=True))


def _twice(names: list[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])
