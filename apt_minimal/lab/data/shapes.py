"""From the rows of any task, in their owner's fields, to one shape for each kind of task."""

import re
from collections.abc import Sequence

from apt_minimal.lab.data.entities import check_iob2
from apt_minimal.lab.data.texts import check_encodable, check_name, check_text, shown

# Label names of the known tasks, in the benchmark's own order; NER tasks name their entity types.
LABELS = {
    "boolq": ["False", "True"],
    "cb": ["entailment", "contradiction", "neutral"],
    "copa": ["choice1", "choice2"],
    "rte": ["entailment", "not_entailment"],
    "wic": ["False", "True"],
    "wsc": ["False", "True"],
}
ENTITY_TYPES = {
    "conll2003": ["PER", "ORG", "LOC", "MISC"],
    "conll2004": ["Loc", "Org", "Other", "Peop"],
    "ontonotes5": [
        "CARDINAL",
        "DATE",
        "EVENT",
        "FAC",
        "GPE",
        "LANGUAGE",
        "LAW",
        "LOC",
        "MONEY",
        "NORP",
        "ORDINAL",
        "ORG",
        "PERCENT",
        "PERSON",
        "PRODUCT",
        "QUANTITY",
        "TIME",
        "WORK_OF_ART",
    ],
    "wnut17": ["corporation", "creative-work", "group", "location", "person", "product"],
}
SHAPES = """a row has one of these shapes:
  tokens, ner_tags            token classification, IOB2 tags (in a CSV file: separated by spaces)
  text [, text_pair], label   sequence classification (also: premise, hypothesis; sentence1, sentence2)
  [text,] choices, label      multiple choice, label counts from 0 (in a CSV file: choice1, choice2, …)"""


def reshape(name: str, row: dict) -> dict:
    """Bring one row into its kind's shape.

    Args:
        name: the task; known ones have fields of their own, all others one of `SHAPES`.
        row: as read from a file.

    Returns:
        "kind" and: "tokens", "ner_tags" ("token"); "text", "text_pair" or None, "label" ("sequence");
        "text" or None, "choices", "label" ("choice"). Labels are names, but for "choice": there they are numbers.

    Raises:
        ValueError: a missing field, an unknown shape, a label or tag that cannot be; without the place, which the
            caller knows.
    """
    try:
        return _reshape(name, row)
    except KeyError as error:
        raise ValueError(f"the field {error} is missing; there are {', '.join(map(repr, row))}") from None


def _reshape(name: str, row: dict) -> dict:
    if "ner_tags" in row or name in ENTITY_TYPES:
        return _tagged(name, row)
    label = row["label"]
    if name == "copa":
        if row["question"] not in ("cause", "effect"):
            raise ValueError(f"question is {shown(row['question'])}; it must be 'cause' or 'effect'")
        text = _text("premise", row).rstrip(".") + (" because" if row["question"] == "cause" else " so")
        choices = [_text(key, row) for key in ("choice1", "choice2")]
        return _choice(text, [choice[:1].lower() + choice[1:] for choice in choices], label)
    if "choices" in row:
        choices = row["choices"]
        if not isinstance(choices, list):
            raise ValueError(f"choices is {shown(choices)}; it must be a list of texts")
        choices = [check_text(f"choices[{i}]", choice) for i, choice in enumerate(choices)]
        return _choice(_text_or_none(row), choices, label)
    if numbered := {key for key in row if re.fullmatch("choice[0-9]+", key)}:
        keys = [f"choice{i}" for i in range(1, len(numbered) + 1)]
        if numbered != set(keys):
            raise ValueError(f"the choices are {', '.join(sorted(numbered))}; they must be {', '.join(keys)}")
        return _choice(_text_or_none(row), [_text(key, row) for key in keys], label)
    text, pair = _texts(name, row)
    return {"kind": "sequence", "text": text, "text_pair": pair, "label": _label(name, label)}


def _text(field: str, row: dict) -> str:
    return check_text(field, row[field])


def _text_or_none(row: dict) -> str | None:
    """The text before choices; there may be none, which in a CSV file is an empty one."""
    return _text("text", row) if row.get("text") not in (None, "") else row.get("text")


def _choice(text: str | None, choices: list[str], label) -> dict:
    if len(choices) < 2:
        raise ValueError(f"there is {len(choices)} choice; at least two are needed")
    if str(label) not in map(str, range(len(choices))):
        raise ValueError(f"label is {shown(label)}; it must be the number of a choice, 0 to {len(choices) - 1}")
    return {"kind": "choice", "text": text, "choices": choices, "label": int(label)}


def _texts(name: str, row: dict) -> tuple[str, str | None]:
    """The one or two texts of a row for sequence classification.

    After P-tuning v2's, but not the same: for BERT it puts WiC's word before both sentences, and its WSC pair is the
    other way round (as read in a fork of its code).
    """
    if name == "boolq":
        return _text("question", row), _text("passage", row)
    if name == "wic":
        return f"{_text('word', row)}: {_text('sentence1', row)}", _text("sentence2", row)
    if name == "wsc":
        spans = row if "span1_text" in row else row["target"]  # flat on the hub, nested in the benchmark's own files
        if not isinstance(spans, dict):
            raise ValueError(f"target is {shown(spans)}; it must be an object with span1_text and span2_text")
        return _text("span1_text", spans), f"{_text('span2_text', spans)}: {_text('text', row)}"
    for first, second in (("premise", "hypothesis"), ("sentence1", "sentence2")):
        if first in row and second in row:
            return _text(first, row), _text(second, row)
    if "text" not in row:
        raise ValueError(f"the fields are {', '.join(row)}, but {SHAPES}")
    return _text("text", row), None if row.get("text_pair") is None else _text("text_pair", row)


def _label(name: str, label) -> str:
    """A label's name. Known tasks may give its number; a boolean is named after Python's."""
    names = LABELS.get(name)
    if not isinstance(label, str | int) or label == "":
        raise ValueError(f"label is {shown(label)}; a name, an integer or a boolean is needed")
    if names is None:
        return check_name("label", str(label))
    if str(label) in names:
        return str(label)
    if not isinstance(label, bool) and str(label) in map(str, range(len(names))):
        return names[int(label)]
    raise ValueError(f"label is {shown(label)}; {name} has {', '.join(names)}")


def _tagged(name: str, row: dict) -> dict:
    words = {key: row[key].split() if isinstance(row[key], str) else row[key] for key in ("tokens", "ner_tags")}
    for key, what in (("tokens", "words"), ("ner_tags", "names such as 'B-LOC'")):
        if not isinstance(words[key], list) or not words[key] or not all(isinstance(one, str) for one in words[key]):
            raise ValueError(f"{key} is {shown(words[key])}; it must be a list of {what}, at least one")
    tokens, tags = words["tokens"], words["ner_tags"]
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} ner_tags; each word has one tag")
    check_encodable("tokens", " ".join(tokens))
    check_iob2(tags)
    types = ENTITY_TYPES.get(name)
    for tag in set(tags) - {"O"}:
        check_name("the type of an entity", tag[2:])
        if types and tag[2:] not in types:
            raise ValueError(f"the tag {tag!r} is none of {name}'s types: {', '.join(types)}")
    return {"kind": "token", "tokens": tokens, "ner_tags": tags}


def label_names(name: str, rows: Sequence[dict]) -> list[str]:
    """The labels of a task, in the order of their ids; for tokens "O" and then B- and I- of each type."""
    kind = rows[0]["kind"]
    if kind == "token":
        return ["O"] + [f"{place}-{type}" for type in ENTITY_TYPES.get(name, sorted(labels_in(rows))) for place in "BI"]
    if kind == "choice":
        return [f"choice{i}" for i in range(1, len(rows[0]["choices"]) + 1)]
    seen = labels_in(rows)
    return LABELS.get(name) or sorted(seen, key=lambda label: (len(label), label) if label.isdigit() else (0, label))


def labels_in(rows: Sequence[dict]) -> set[str]:
    """The labels that some rows have; for tokens the types of their entities."""
    if rows and rows[0]["kind"] == "token":
        return {tag[2:] for row in rows for tag in row["ner_tags"] if tag != "O"}
    return {row["label"] for row in rows}
