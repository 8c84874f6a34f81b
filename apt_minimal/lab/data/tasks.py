"""What a task is: examples, made into tensors for a backbone, and predictions, made into a score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from apt_minimal.lab.data.entities import entity_scores
from apt_minimal.lab.data.rows import ENDINGS, Row
from apt_minimal.lab.data.shapes import ENTITY_TYPES, LABELS, SHAPES, label_names, reshape
from apt_minimal.lab.data.sources import SPLITS, load_rows
from apt_minimal.lab.data.texts import shown
from apt_minimal.lab.data.together import check_together, warn_of

IGNORE = -100  # the label that transformers' losses pass over


@dataclass(frozen=True)
class Example:
    """One row of a task, encoded for a backbone.

    Attributes:
        row: as `reshape` gives it.
        inputs: the tokenizer's output: one, or one for each choice; kind "token" has "labels" in it.
        label: the label's id; None for kind "token".
        first_sub_token: kind "token": the position of each word's first sub-token, by the word's number; cut-off words
            have none, and other kinds are empty.
        states: hidden states of each of the inputs, [n, d], where they are cached (see `CachedTask`).
    """

    row: dict
    inputs: list[dict]
    label: int | None = None
    first_sub_token: dict[int, int] = field(default_factory=dict)
    states: list[Tensor] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Task:
    """A data set with everything that training and scoring need.

    Attributes:
        name: the task's name.
        kind: "sequence", "token" or "choice".
        labels: label names, in the order of their ids.
        train, validation, test: encoded examples; the test split may be empty.
        source: where the rows come from, in words.
        metric: the score that counts: "accuracy", or "f1" (entities, strict).
        pad_token_id: what `collate` fills up with.
    """

    name: str
    kind: str
    labels: list[str]
    train: list[Example] = field(repr=False)
    validation: list[Example] = field(repr=False)
    test: list[Example] = field(repr=False)
    source: str
    metric: str
    pad_token_id: int = 0

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Pad examples to the longest and stack them, ready for a transformers model.

        Returns:
            input_ids, attention_mask and, where the tokenizer gives them, token_type_ids: [b, n], or
            [b, choices, n] for kind "choice".
            labels: [b], or [b, n] for kind "token" (on each word's first sub-token, -100 elsewhere).
        """
        inputs = [one for example in examples for one in example.inputs]
        n = max(len(one["input_ids"]) for one in inputs)

        def padded(key: str, filler: int) -> Tensor:
            rows = torch.tensor([one[key] + [filler] * (n - len(one[key])) for one in inputs])
            return rows.view(len(examples), -1, n) if self.kind == "choice" else rows

        fillers = {"input_ids": self.pad_token_id, "attention_mask": 0, "token_type_ids": 0}
        batch = {key: padded(key, filler) for key, filler in fillers.items() if key in inputs[0]}
        if self.kind == "token":
            return batch | {"labels": padded("labels", IGNORE)}
        return batch | {"labels": torch.tensor([example.label for example in examples])}

    def decode(self, logits: Tensor, examples: Sequence[Example]) -> list:
        """Predictions from logits [b, labels] or [b, n, labels]: one label id each, or one for each word.

        A word that the length limit cut off was never seen; it is predicted "O", so its entity counts as missed.
        """
        best = logits.argmax(dim=-1).tolist()
        if self.kind != "token":
            return best
        predictions = []
        for example, tags in zip(examples, best, strict=True):
            words = [0] * len(example.row["tokens"])
            for word, position in example.first_sub_token.items():
                words[word] = tags[position]
            predictions.append(words)
        return predictions

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        """Score predictions as `decode` gives them.

        Returns:
            Kind "token": strict micro "f1", "precision" and "recall" over entities; else "accuracy" and "macro_f1".

        Raises:
            ValueError: not one prediction for each example, or no examples at all.
        """
        if len(predictions) != len(examples) or not examples:
            raise ValueError(f"{len(predictions)} predictions for {len(examples)} examples; give one for each")
        if self.kind == "token":
            predicted = [[self.labels[tag] for tag in tags] for tags in predictions]
            return entity_scores([example.row["ner_tags"] for example in examples], predicted)
        from sklearn.metrics import accuracy_score, f1_score

        gold = [example.label for example in examples]
        # sklearn's annotation knows only one of the values that it takes
        macro = f1_score(gold, predictions, average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]
        return {"accuracy": float(accuracy_score(gold, predictions)), "macro_f1": float(macro)}


def load_task(
    name: str, tokenizer, source: str = "auto", data_dir: str | Path | None = None, max_length: int = 128
) -> Task:
    """Load a task and encode it for a backbone.

    Args:
        name: boolq, cb, copa, rte, wic, wsc, conll2003, conll2004, ontonotes5 or wnut17; else a folder inside
            `data_dir`, or the path of a folder or file of your own, whose rows have one of `shapes.SHAPES`.
        tokenizer: a fast transformers tokenizer.
        source, data_dir: as in `load_rows`: "auto" takes a folder before the hub before the sample, and says which it
            took.
        max_length: number of tokens after which an input is cut off.

    Raises:
        FileNotFoundError: no such task; the message says where was looked and what would do.
        ValueError: a malformed row, or rows that don't make one task; the message names place and fault.
    """
    short, rows, where = load_reshaped(name, source, data_dir)
    if source == "auto":
        print(f"{name}: from the {where}")
    every = [row for split in SPLITS for row in rows[split]]
    kind, labels = every[0]["kind"], label_names(short, every)
    encoded = {split: _encode(rows[split], kind, labels, tokenizer, max_length) for split in SPLITS}
    metric = "f1" if kind == "token" else "accuracy"
    return Task(short, kind, labels, **encoded, source=where, metric=metric, pad_token_id=tokenizer.pad_token_id)


def load_reshaped(name: str, source: str, data_dir: str | Path | None) -> tuple[str, dict[str, list[Row]], str]:
    """A task's name, its rows by split (see `reshape`), and where they come from. Arguments and errors: `load_task`.

    Warns where a row of another split has a label that no training row has, or is a training row: often a slip.
    """
    try:
        rows, where = load_rows(name, source, data_dir)
    except FileNotFoundError as error:
        known = ", ".join([*LABELS, *ENTITY_TYPES])
        raise FileNotFoundError(f"{error}\nKnown names are {known}; of any other task {SHAPES}") from None
    name = Path(name).stem if Path(name).suffix in ENDINGS else Path(name).name
    for of_split in rows.values():
        for number, row in enumerate(of_split):
            try:
                of_split[number] = Row(reshape(name, row), row.place)
            except ValueError as error:
                raise ValueError(f"{row.place}: {error}; the row is {shown(dict(row))}") from None
    check_together(name, rows, where)
    warn_of(name, rows)
    return name, rows, where


def _encode(rows: list[Row], kind: str, labels: list[str], tokenizer, max_length: int) -> list[Example]:
    """Rows of one split as examples."""
    # A RoBERTa or an MPNet knows no token types; its tokenizer says so.
    types = "token_type_ids" in tokenizer.model_input_names
    limits = {"truncation": True, "max_length": max_length, "return_token_type_ids": types}
    ids = {label: id for id, label in enumerate(labels)}
    examples = []
    for row in rows:
        if kind == "token":
            examples.append(_encode_words(row, ids, tokenizer, limits))
        elif kind == "choice":
            pairs = [(row["text"], choice) if row["text"] else (choice,) for choice in row["choices"]]
            examples.append(Example(row, [dict(tokenizer(*pair, **limits)) for pair in pairs], row["label"]))
        else:
            encoding = tokenizer(row["text"], row["text_pair"], **limits)
            examples.append(Example(row, [dict(encoding)], ids[row["label"]]))
    return examples


def _encode_words(row: Row, ids: dict[str, int], tokenizer, limits: dict) -> Example:
    """A sentence as an example: each word's label stands at its first sub-token.

    A tokenizer may make nothing of a word, an emoji's variation selector, say. That does no harm where the word is
    outside all entities, and others are left.
    """
    encoding = tokenizer(row["tokens"], is_split_into_words=True, **limits)
    first = {}
    for position, word in enumerate(encoding.word_ids()):
        if word is not None:
            first.setdefault(word, position)
    tags = [IGNORE] * len(encoding["input_ids"])
    for word, position in first.items():
        tags[position] = ids[row["ner_tags"][word]]
    for word in set(range(len(row["tokens"]))) - first.keys():  # dropped, or cut off
        if row["ner_tags"][word] != "O" or not first:
            text = row["tokens"][word]
            if not tokenizer([text], is_split_into_words=True, add_special_tokens=False)["input_ids"]:
                raise ValueError(
                    f"{row.place}: the tokenizer makes nothing of word {word + 1}, {text!r}, with the tag "
                    f"{row['ner_tags'][word]!r}; take it out"
                )
    return Example(row, [{**encoding, "labels": tags}], first_sub_token=first)
