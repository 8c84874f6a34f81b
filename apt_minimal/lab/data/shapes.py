"""From the rows of any task, in their owner's fields, to one shape for each kind of task."""

from apt_minimal.lab.data.entities import check_iob2

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
            raise ValueError(f"question is {row['question']!r}; it must be 'cause' or 'effect'")
        text = row["premise"].rstrip(".") + (" because" if row["question"] == "cause" else " so")
        return _choice(text, [row[c][:1].lower() + row[c][1:] for c in ("choice1", "choice2")], label)
    if "choices" in row:
        return _choice(row.get("text"), row["choices"], label)
    if "choice1" in row:
        keys = sorted((key for key in row if key.startswith("choice")), key=lambda key: (len(key), key))
        return _choice(row.get("text"), [row[key] for key in keys], label)
    text, pair = _texts(name, row)
    if not isinstance(text, str) or not isinstance(pair, str | None):
        raise ValueError(f"text is {text!r} and text_pair {pair!r}; both must be strings")
    return {"kind": "sequence", "text": text, "text_pair": pair, "label": _label(name, label)}


def _choice(text: str | None, choices: list[str], label) -> dict:
    if not isinstance(text, str | None):
        raise ValueError(f"text is {text!r}; it must be a string")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices is {choices!r}; at least two texts are needed, in a list")
    if str(label) not in map(str, range(len(choices))):
        raise ValueError(f"label is {label!r}; it must be the number of a choice, 0 to {len(choices) - 1}")
    return {"kind": "choice", "text": text, "choices": choices, "label": int(label)}


def _texts(name: str, row: dict) -> tuple[str, str | None]:
    """The one or two texts of a row for sequence classification.

    After P-tuning v2's, but not the same: for BERT it puts WiC's word before both sentences, and its WSC pair is the
    other way round (as read in a fork of its code).
    """
    if name == "boolq":
        return row["question"], row["passage"]
    if name == "wic":
        return f"{row['word']}: {row['sentence1']}", row["sentence2"]
    if name == "wsc":
        spans = row if "span1_text" in row else row["target"]  # flat on the hub, nested in the benchmark's own files
        return spans["span1_text"], f"{spans['span2_text']}: {row['text']}"
    for first, second in (("premise", "hypothesis"), ("sentence1", "sentence2")):
        if first in row and second in row:
            return row[first], row[second]
    if "text" not in row:
        raise ValueError(f"the fields are {', '.join(row)}, but {SHAPES}")
    return row["text"], row.get("text_pair")


def _label(name: str, label) -> str:
    """A label's name. Known tasks may give its number; a boolean is named after Python's."""
    names = LABELS.get(name)
    if not isinstance(label, str | int) or label == "":
        raise ValueError(f"label is {label!r}; a name, an integer or a boolean is needed")
    if names is None or str(label) in names:
        return str(label)
    if not isinstance(label, bool) and str(label) in map(str, range(len(names))):
        return names[int(label)]
    raise ValueError(f"label is {label!r}; {name} has {', '.join(names)}")


def _tagged(name: str, row: dict) -> dict:
    tokens, tags = row["tokens"], row["ner_tags"]
    tokens = tokens.split() if isinstance(tokens, str) else tokens
    tags = tags.split() if isinstance(tags, str) else tags
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"tokens is {tokens!r}; a list of at least one word is needed")
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} ner_tags; each word has one tag")
    if not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"ner_tags is {tags!r}; tags must be names such as 'B-LOC', not numbers")
    check_iob2(tags)
    types = ENTITY_TYPES.get(name)
    for tag in tags:
        if types and tag != "O" and tag[2:] not in types:
            raise ValueError(f"the tag {tag!r} is none of {name}'s types: {', '.join(types)}")
    return {"kind": "token", "tokens": tokens, "ner_tags": tags}


def label_names(name: str, rows: list[dict]) -> list[str]:
    """The labels of a task, in the order of their ids; for tokens "O" and then B- and I- of each type."""
    kind = rows[0]["kind"]
    if kind == "token":
        return ["O"] + [f"{place}-{type}" for type in ENTITY_TYPES.get(name, sorted(labels_in(rows))) for place in "BI"]
    if kind == "choice":
        counts = {len(row["choices"]) for row in rows}
        if len(counts) > 1:
            raise ValueError(f"rows have {' and '.join(map(str, sorted(counts)))} choices; every row needs as many")
        return [f"choice{i}" for i in range(1, counts.pop() + 1)]
    seen = labels_in(rows)
    if name not in LABELS and len(seen) < 2:
        raise ValueError(f"every row has the label {seen.pop()!r}; a task needs at least two labels")
    return LABELS.get(name) or sorted(seen, key=lambda label: (len(label), label) if label.isdigit() else (0, label))


def labels_in(rows: list[dict]) -> set[str]:
    """The labels that some rows have; for tokens the types of their entities."""
    if rows and rows[0]["kind"] == "token":
        return {tag[2:] for row in rows for tag in row["ner_tags"] if tag != "O"}
    return {row["label"] for row in rows}
