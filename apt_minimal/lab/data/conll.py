"""Sentences in CoNLL's column format: a word a line, its tag in the last column, a blank line between sentences."""

import re
from collections.abc import Iterator
from pathlib import Path


def read_conll(path: str | Path) -> tuple[list[dict], str]:
    """Read a file of words and tags into rows with `tokens` and `ner_tags`, the latter in IOB2.

    Columns are separated by blanks or tabs; the first is the word, the last the tag, what is between is passed over,
    and so are lines that begin with -DOCSTART-. The file's first entity gives its scheme away: in IOB2 it begins with
    B-, in IOB1 (CoNLL-2003's own) with I-, as B- stands there only between two neighbours of one type. All other
    entities must agree with it.

    Returns:
        The rows, and the scheme that was found: "IOB2", or "IOB1", whose tags are converted.

    Raises:
        ValueError: a malformed line, a tag of another scheme, or one that the file's scheme doesn't allow; the message
            names file and line.
    """
    rows, scheme = [], None
    for sentence in _sentences(Path(path)):
        tags, before = [], "O"
        for number, _, tag in sentence:
            goes_on = tag[2:] == before[2:]  # with the same type, or with O
            if tag != "O" and scheme is None:
                scheme, first = {"B-": "IOB2", "I-": "IOB1"}[tag[:2]], number
            if not goes_on and tag[:2] == {"IOB2": "I-", "IOB1": "B-"}.get(scheme):
                raise ValueError(
                    f"{path}, line {number}: {tag!r} after {before!r} is not {scheme}, which line {first} begins with"
                )
            tags.append(tag if goes_on or tag == "O" else "B-" + tag[2:])
            before = tag
        rows.append({"tokens": [word for _, word, _ in sentence], "ner_tags": tags})
    return rows, scheme or "IOB2"


def _sentences(path: Path) -> Iterator[list[tuple[int, str, str]]]:
    """Each sentence's words as (line, word, tag)."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error})") from None
    sentence, width = [], None
    for number, line in enumerate([*lines, ""], start=1):
        columns = re.findall(r"[^ \t\r]+", line)  # str.split would also split at spaces that belong to a word
        if not columns or columns[0] == "-DOCSTART-":
            if sentence:
                yield sentence
            sentence = []
            continue
        width, tag = width or len(columns), columns[-1]
        if len(columns) != width or width < 2:
            need = "every line needs a word, a tag and as many columns as the first"
            raise ValueError(f"{path}, line {number}: {len(columns)} column(s); {need}")
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            raise ValueError(f"{path}, line {number}: the last column is {tag!r}; tags are O, B-<type> or I-<type>")
        sentence.append((number, columns[0], tag))
