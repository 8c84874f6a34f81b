"""Sentences in CoNLL's column format: a word a line, its tag in the last column, a blank line between sentences."""

import re
from collections.abc import Iterator


def read_conll(text: str) -> tuple[list[tuple[int, dict]], str]:
    """Read words and tags into rows with `tokens` and `ner_tags`, the latter in IOB2.

    Columns are separated by blanks or tabs; the first is the word, the last the tag, what is between is passed over,
    and so are lines that begin with -DOCSTART-. The text's first entity gives its scheme away: in IOB2 it begins with
    B-, in IOB1 (CoNLL-2003's own) with I-, as B- stands there only between two neighbours of one type. All other
    entities must agree with it.

    Returns:
        The rows, each with the line of its first word, and the scheme that was found: "IOB2", or "IOB1", whose tags
        are converted.

    Raises:
        ValueError: a malformed line, a tag of another scheme, or one that the text's scheme doesn't allow; the message
            names the line.
    """
    rows, scheme, first = [], None, 0
    for sentence in _sentences(text):
        tags, before = [], "O"
        for number, _, tag in sentence:
            goes_on = tag[2:] == before[2:]  # with the same type, or with O
            if tag != "O" and scheme is None:
                scheme, first = {"B-": "IOB2", "I-": "IOB1"}[tag[:2]], number
            if not goes_on and tag[:2] == {"IOB2": "I-", "IOB1": "B-"}.get(scheme or ""):
                raise ValueError(
                    f"line {number}: {tag!r} after {before!r} is not {scheme}, which line {first} begins with"
                )
            tags.append(tag if goes_on or tag == "O" else "B-" + tag[2:])
            before = tag
        rows.append((sentence[0][0], {"tokens": [word for _, word, _ in sentence], "ner_tags": tags}))
    return rows, scheme or "IOB2"


def _sentences(text: str) -> Iterator[list[tuple[int, str, str]]]:
    """Each sentence's words as (line, word, tag)."""
    sentence, width = [], None
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        if "\r" in line:
            raise ValueError(f"line {number}: a carriage return inside it; lines end with \\n or \\r\\n")
        columns = re.findall(r"[^ \t]+", line)  # str.split would also split at spaces that belong to a word
        if not columns or columns[0] == "-DOCSTART-":
            if sentence:
                yield sentence
            sentence = []
            continue
        width, tag = width or len(columns), columns[-1]
        if len(columns) != width or width < 2:
            need = "every line needs a word, a tag and as many columns as the first"
            raise ValueError(f"line {number}: {len(columns)} column(s); {need}")
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            raise ValueError(f"line {number}: the last column is {tag!r}; tags are O, B-<type> or I-<type>")
        sentence.append((number, columns[0], tag))
