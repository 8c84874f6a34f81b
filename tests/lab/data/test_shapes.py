"""Shapes: every task's own fields in, one shape for each kind out; a malformed row is named with its place."""

import pytest

from apt_minimal.lab.data.shapes import ENTITY_TYPES, LABELS, label_names, reshape


def sequence(text, pair, label):
    return {"kind": "sequence", "text": text, "text_pair": pair, "label": label}


def choice(text, choices, label):
    return {"kind": "choice", "text": text, "choices": choices, "label": label}


TAGGED = {"tokens": ["Anna", "Bo", "sleeps"], "ner_tags": ["B-X", "I-X", "O"]}
COPA = {"premise": "It rained.", "choice1": "He ran.", "choice2": "It dried."}
WSC = {"text": "Al saw Bo.", "target": {"span1_text": "Al", "span2_text": "he", "span1_index": 0, "span2_index": 1}}
PAIR = {"premise": "p", "hypothesis": "h"}
OWN_FIELDS = {
    "boolq": ({"question": "q", "passage": "p", "label": True}, sequence("q", "p", "True")),
    "cb": ({**PAIR, "label": "neutral"}, sequence("p", "h", "neutral")),
    "cb by number": ({**PAIR, "label": 1}, sequence("p", "h", "contradiction")),
    "rte": ({**PAIR, "label": "not_entailment", "idx": 3}, sequence("p", "h", "not_entailment")),
    "rte by number": ({**PAIR, "label": 0}, sequence("p", "h", "entailment")),
    "wic": ({"word": "bank", "sentence1": "a", "sentence2": "b", "label": False}, sequence("bank: a", "b", "False")),
    "wic by number": (
        {"word": "bank", "sentence1": "a", "sentence2": "b", "label": 1},
        sequence("bank: a", "b", "True"),
    ),
    "wsc": ({**WSC, "label": 0}, sequence("Al", "he: Al saw Bo.", "False")),
    "wsc, flat": (
        {"text": "Al saw Bo.", "span1_text": "Al", "span2_text": "he", "label": 1},
        sequence("Al", "he: Al saw Bo.", "True"),
    ),
    "copa cause": ({**COPA, "question": "cause", "label": 1}, choice("It rained because", ["he ran.", "it dried."], 1)),
    "copa effect": ({**COPA, "question": "effect", "label": 0}, choice("It rained so", ["he ran.", "it dried."], 0)),
}
GENERIC = {
    "text": ({"text": "a", "label": "x"}, sequence("a", None, "x")),
    "text pair": ({"text": "a", "text_pair": "b", "label": "x"}, sequence("a", "b", "x")),
    "premise": ({**PAIR, "label": "x"}, sequence("p", "h", "x")),
    "sentences": ({"sentence1": "a", "sentence2": "b", "label": "x"}, sequence("a", "b", "x")),
    "integer label": ({"text": "a", "label": 7}, sequence("a", None, "7")),
    "boolean label": ({"text": "a", "label": False}, sequence("a", None, "False")),
    "choices": ({"text": "a", "choices": ["b", "c", "d"], "label": 2}, choice("a", ["b", "c", "d"], 2)),
    "choices alone": ({"choices": ["b", "c"], "label": 0}, choice(None, ["b", "c"], 0)),
    "choices in csv": ({"text": "a", "choice1": "b", "choice2": "c", "label": "1"}, choice("a", ["b", "c"], 1)),
    "tags": (TAGGED, {"kind": "token", **TAGGED}),
    "tags in csv": ({"tokens": "Anna Bo sleeps", "ner_tags": "B-X I-X O"}, {"kind": "token", **TAGGED}),
}


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_a_known_task_is_read_in_its_own_fields(name):
    row, expected = OWN_FIELDS[name]
    assert reshape(name.split()[0].rstrip(","), row) == expected


@pytest.mark.parametrize("name", ENTITY_TYPES)
def test_a_known_entity_task_has_its_own_types(name):
    first, last = ENTITY_TYPES[name][0], ENTITY_TYPES[name][-1]
    row = {"tokens": ["a", "b", "c"], "ner_tags": [f"B-{first}", f"I-{first}", f"B-{last}"]}
    assert reshape(name, row) == {"kind": "token", **row}


@pytest.mark.parametrize("shape", GENERIC)
def test_a_documented_shape_is_read(shape):
    row, expected = GENERIC[shape]
    assert reshape("anything", row) == expected


def labelled(*labels):
    return [sequence("a", None, label) for label in labels]


NAMED = {
    "in alphabetical order": ("mine", labelled("no", "yes", "maybe", "no"), ["maybe", "no", "yes"]),
    "numbers in numerical order": ("mine", labelled("10", "9", "2"), ["2", "9", "10"]),
    "a known task's, seen or not": ("cb", labelled("neutral"), LABELS["cb"]),
    "of tags": (
        "mine",
        [{**TAGGED, "kind": "token"}, {"kind": "token", "ner_tags": ["B-A"]}],
        ["O", "B-A", "I-A", "B-X", "I-X"],
    ),
    "of a known task's tags": (
        "conll2003",
        [{"kind": "token", "ner_tags": ["B-LOC"]}],
        ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"],
    ),
    "of choices": ("mine", [choice(None, ["a", "b", "c"], 0)], ["choice1", "choice2", "choice3"]),
}


@pytest.mark.parametrize("case", NAMED)
def test_label_names(case):
    name, rows, expected = NAMED[case]
    assert label_names(name, rows) == expected


def tags(tokens, ner_tags):
    return {"tokens": tokens, "ner_tags": ner_tags}


MALFORMED = {
    "missing label": ("rte", PAIR, "the field 'label' is missing; there are 'premise', 'hypothesis'"),
    "missing text": ("boolq", {"question": "q", "label": 1}, "the field 'passage' is missing"),
    "missing word": ("wic", {"sentence1": "a", "sentence2": "b", "label": 1}, "the field 'word' is missing"),
    "missing target": ("wsc", {"text": "a", "label": 1}, "the field 'target' is missing"),
    "missing question": ("copa", {**COPA, "label": 0}, "the field 'question' is missing"),
    "missing tags": ("wnut17", {"tokens": ["a"]}, "the field 'ner_tags' is missing"),
    "missing tokens": ("mine", {"ner_tags": ["O"]}, "the field 'tokens' is missing"),
    "unknown fields": ("mine", {"body": "a", "label": 1}, "the fields are body, label, but a row has one of"),
    "wrong label": ("cb", {**PAIR, "label": "maybe"}, "label is 'maybe'; cb has entailment, contradiction, neutral"),
    "label too large": ("rte", {**PAIR, "label": 2}, "label is 2; rte has"),
    "label negative": ("rte", {**PAIR, "label": -1}, "label is -1; rte has"),
    "boolean for a name": ("rte", {**PAIR, "label": True}, "label is True; rte has"),
    "fraction": ("mine", {"text": "a", "label": 0.5}, "label is 0.5; a name, an integer or a boolean"),
    "no label": ("mine", {"text": "a", "label": None}, "label is None"),
    "empty label": ("mine", {"text": "a", "label": ""}, "label is ''"),
    "text a number": ("mine", {"text": 5, "label": 1}, "text is 5; it must be a string"),
    "pair a list": (
        "mine",
        {"text": "a", "text_pair": ["b"], "label": 1},
        r"text_pair is \['b'\]; it must be a string",
    ),
    "target a text": ("wsc", {"text": "a", "target": "b", "label": 1}, "target is 'b'; it must be an object"),
    "fewer tags": ("mine", tags(["a", "b"], ["O"]), "2 tokens but 1 ner_tags"),
    "no tokens": ("mine", tags([], []), r"tokens is \[\]; it must be a list of words, at least one"),
    "token a number": ("mine", tags(["a", 1], ["O", "O"]), r"tokens is \['a', 1\]"),
    "IOB1": ("mine", tags(["a", "b"], ["O", "I-X"]), "word 2 has the tag 'I-X' after 'O'; in IOB2"),
    "unknown type": ("conll2004", tags(["a"], ["B-PER"]), "the tag 'B-PER' is none of conll2004's types: Loc, Org"),
    "numbers as tags": (
        "conll2003",
        tags(["a"], [3]),
        r"ner_tags is \[3\]; it must be a list of names such as 'B-LOC'",
    ),
    "one choice": ("mine", {"choices": ["a"], "label": 0}, "there is 1 choice; at least two"),
    "choice a number": ("mine", {"choices": ["a", 2], "label": 0}, r"choices\[1\] is 2; it must be a string"),
    "choice too large": ("mine", {"choices": ["a", "b"], "label": 2}, "label is 2; it must be the number of a choice"),
    "choice negative": ("mine", {"choices": ["a", "b"], "label": -1}, "label is -1; .* 0 to 1"),
    "choice boolean": ("mine", {"choices": ["a", "b"], "label": True}, "label is True; .* 0 to 1"),
}
GOOD = {
    "rte": {**PAIR, "label": 0},
    "cb": {**PAIR, "label": 0},
    "boolq": OWN_FIELDS["boolq"][0],
    "wic": OWN_FIELDS["wic"][0],
    "wsc": OWN_FIELDS["wsc"][0],
    "copa": OWN_FIELDS["copa cause"][0],
    "wnut17": tags(["a"], ["O"]),
    "conll2003": tags(["a"], ["O"]),
    "conll2004": tags(["a"], ["O"]),
    "mine": {"text": "a", "label": 1},
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_row_is_named_with_file_line_and_fault(fault, make_task):
    name, row, message = MALFORMED[fault]
    rows = [GOOD[name]] * 26 + [row] + [GOOD[name]] * 15  # validation begins with the 25th
    with pytest.raises(ValueError, match=rf"{name}.validation\.jsonl, line 3: .*{message}"):
        make_task(name=name, rows=rows)


MIXED = {
    "kinds": [{"text": "a", "label": "x"}] * 20 + [TAGGED] * 22,
    "numbers of choices": [{"choices": ["a"] * (2 + i % 2), "label": 0} for i in range(42)],
}


@pytest.mark.parametrize("what", MIXED)
def test_rows_that_make_no_one_task_are_refused(what, make_task):
    expected = {
        "kinds": r"train\.jsonl, line 21: of kind token, but .*train\.jsonl, line 1 is of kind sequence",
        "numbers of choices": r"train\.jsonl, line 2: 3 choices, but .*train\.jsonl, line 1 has 2",
    }
    with pytest.raises(ValueError, match=expected[what]):
        make_task(rows=MIXED[what])


ACCEPTED_IN_ERROR = {
    "copa's label": ("copa", {**COPA, "question": "cause", "label": 2}, "label is 2"),
    "copa's question": ("copa", {**COPA, "question": "why", "label": 0}, "question is 'why'"),
    "choices as one text": ("mine", {"choices": "ab", "label": 0}, "choices is 'ab'"),
    "choice's text": ("mine", {"text": 5, "choices": ["a", "b"], "label": 0}, "text is 5"),
    "label a list": ("mine", {"text": "a", "label": ["x"]}, r"label is \['x'\]"),
}


@pytest.mark.parametrize("fault", ACCEPTED_IN_ERROR)
def test_a_malformed_row_is_refused_for_its_fault(fault):
    name, row, message = ACCEPTED_IN_ERROR[fault]
    with pytest.raises(ValueError, match=message):
        reshape(name, row)


def test_ten_choices_in_a_csv_file_keep_their_order():
    row = {f"choice{i}": f"text {i}" for i in range(1, 12)} | {"label": "10"}
    assert reshape("mine", row)["choices"] == [f"text {i}" for i in range(1, 12)]


def test_a_task_with_one_label_only_is_refused(make_task):
    with pytest.raises(ValueError, match="label"):
        make_task(rows=[{"text": "a", "label": "x"}])
