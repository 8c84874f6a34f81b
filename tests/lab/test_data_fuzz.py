"""Damaged data, made at random: it is loaded and can be trained on, or refused with its file and line (`make fuzz`)."""

import csv
import io
import json
import re
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apt_minimal.lab import load_task

NLI = {"premise": "the red", "hypothesis": "is blue", "label": "entailment"}
WIC = {"word": "red", "sentence1": "the red", "sentence2": "red is", "label": "True"}
WSC = {"text": "anna likes bob", "span1_text": "anna", "span2_text": "bob", "label": "True"}
COPA = {"premise": "bob is red.", "question": "cause", "choice1": "The red.", "choice2": "Anna.", "label": "1"}
TAGGED = {"tokens": "bob likes paris", "ner_tags": "B-Peop O B-Loc"}
GOOD = {
    "mine": [{"text": "two\nlines", "label": "x"}, {"text": "blue", "label": "y"}],
    "pairs": [{"text": "red", "text_pair": "is", "label": "x"}, {"text": "blue", "text_pair": "is", "label": "y"}],
    "choices": [{"text": "red", "choice1": "blue", "choice2": "is", "choice3": "the", "label": "2"}],
    "rte": [NLI, NLI | {"label": "not_entailment"}],
    "wic": [WIC, WIC | {"label": "False"}],
    "wsc": [WSC, WSC | {"label": "False"}],
    "copa": [COPA],
    "names": [TAGGED, {"tokens": "the very blue", "ner_tags": "O O O"}],
    "conll2004": [TAGGED, {"tokens": "the very blue", "ner_tags": "O O O"}],
}
TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(
    [
        "",
        " ",
        "\u200b",
        "\0",
        "\r",
        "cut \ud83d",
        "B-",
        "I-Loc",
        "B-Loc ",
        "B-Loc I-Peop O",
        "9" * 50,
        '"',
        "-DOCSTART-",
    ]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.sampled_from([10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
KEYS = ["choice", "choice0", "choice4", "choices", "label", "text", "text_pair", "tokens", "ner_tags", "target", "idx"]


@st.composite
def damaged_row(draw, row):
    """A row with fields of other values, without some, and with some more."""
    row = dict(row)
    for key in draw(st.lists(st.sampled_from(list(row)), max_size=2)):
        row.pop(key, None)
    return row | draw(st.dictionaries(st.sampled_from([*row, *KEYS]), VALUES, max_size=2))


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows), list(range(1, len(rows) + 1))


def as_csv(rows):
    text, lines = io.StringIO(), []
    writer = csv.writer(text, lineterminator="\n")
    header = list(dict.fromkeys(key for row in rows for key in row))
    writer.writerow(header)
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow([row.get(key, "") for key in header])
    return text.getvalue(), lines


def conll(rows):
    text, lines = "", []
    for row in rows:
        lines.append(text.count("\n") + 1)
        words, tags = (str(row.get(key, "")).split(" ") for key in ("tokens", "ner_tags"))
        text += "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=False)) + "\n"
    return text, lines


WRITERS = {".jsonl": jsonl, ".json": jsonl, ".csv": as_csv, ".conll": conll, ".txt": conll}


@pytest.fixture(scope="module")
def load(tokenizer):
    """Load a task from the text of its files; returns the message if it is refused."""
    with tempfile.TemporaryDirectory() as folder:

        def make(name, ending, train, validation, single):
            for split, content in (("train", train), ("validation", validation)):
                file = Path(folder, name, split + ending)
                file.parent.mkdir(exist_ok=True)
                for other in file.parent.glob(f"{split}.*"):
                    other.unlink()
                file.write_bytes(content)
            path = Path(folder, name, f"train{ending}") if single else Path(folder, name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    check(load_task(str(path), tokenizer, "folder", max_length=12))
                except ValueError as error:
                    assert str(path) in str(error) and len(str(error)) < 1500
                    return str(error)
            return None

        yield make


def check(task):
    """What is loaded can be trained on and scored."""
    for examples in (task.train, task.validation):
        batch = task.collate(examples)
        labels = batch["labels"][batch["labels"] != -100]
        top = len(examples[0].row["choices"]) if task.kind == "choice" else len(task.labels)
        assert len(labels) and labels.min() >= 0 and labels.max() < top
        assert (batch["attention_mask"].sum(-1) > 2).all()  # more than [CLS] and [SEP]
        shape = batch["input_ids"].shape if task.kind == "token" else batch["input_ids"].shape[:1]
        task.score(task.decode(torch.zeros(*shape, top), examples), examples)


@pytest.mark.slow
@given(data=st.data(), name=st.sampled_from(list(GOOD)), single=st.booleans())
def test_a_damaged_row_is_refused_in_its_line_or_can_be_trained_on(data, load, name, single):
    rows = GOOD[name] * 10
    place = data.draw(st.integers(0, len(rows) - 1))
    rows[place] = data.draw(damaged_row(rows[place]))
    ending = data.draw(st.sampled_from(list(WRITERS) if "tokens" in GOOD[name][0] else [".jsonl", ".json", ".csv"]))
    text, lines = WRITERS[ending](rows)
    message = load(name, ending, text.encode("utf-8", "surrogatepass"), WRITERS[ending](GOOD[name])[0].encode(), single)
    if message and ending in (".jsonl", ".json"):
        assert f"train{ending}, line {lines[place]}:" in message or f"line {lines[place]} is" in message
    elif message:  # of a CSV file another column may be wrong everywhere, of CoNLL's the first word's columns count
        assert re.search(r"\.(csv|conll|txt), line \d+|every row has|no training row", message)


@pytest.mark.slow
@given(data=st.data(), name=st.sampled_from(list(GOOD)))
def test_bytes_changed_anywhere_are_refused_in_a_line_or_can_be_trained_on(data, load, name):
    ending = data.draw(st.sampled_from(list(WRITERS) if "tokens" in GOOD[name][0] else [".jsonl", ".csv"]))
    good = WRITERS[ending](GOOD[name] * 10)[0].encode()
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        changed[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    message = load(name, ending, bytes(changed), good, single=data.draw(st.booleans()))
    assert message is None or re.search(r", line \d+|is empty|rows, too few|every row has|no training row", message)
