"""Bad data: one ValueError with file, line and field, before anything is trained; or a warning."""

import json
import warnings

import pytest

from apt_minimal.lab.data.shapes import reshape
from apt_minimal.lab.data.tasks import load_task

TEXT = {"text": "red", "label": "x"}
TWO = [TEXT, {"text": "blue", "label": "y"}]
TAGGED = {"tokens": ["anna", "likes"], "ner_tags": ["B-PER", "O"]}
WIC = {"word": "a", "sentence1": "b", "sentence2": "c", "label": True}
WSC = {"text": "a", "span1_text": "b", "span2_text": "c", "label": True}
CHOICES = {"choice1": "a", "choice2": "b", "label": 0}


@pytest.fixture
def load(tmp_path, tokenizer):
    """Load a task from the text of its training file, or of its only file."""

    def make(ending, text, name="mine", single=False):
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "validation"):
            (folder / f"{split}{ending}").write_bytes(text.encode("utf-8", "surrogatepass"))
        path = folder / f"train{ending}" if single else folder
        return load_task(str(path), tokenizer, source="folder", max_length=16)

    return make


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("bad", [4, 17, 30])
def test_the_line_of_a_single_file_is_its_own_although_rows_are_shuffled(bad, load):
    rows = TWO * 15
    rows[bad - 1] = {"text": "blue", "label": None}
    with pytest.raises(ValueError, match=rf"train\.jsonl, line {bad}: label is None"):
        load(".jsonl", lines(*rows), single=True)


CSV = "text,label\nred,x\n\n"  # the next row begins in line 4
LINES = {
    ".csv: an empty label": (".csv", CSV + "blue,\n", "line 4: label is ''"),
    ".csv: a field too few": (".csv", CSV + "blue\n", "line 4: 1 fields"),
    ".csv: after a field of two lines": (".csv", CSV + '"a\nb",y\nred,\n', "line 6: label is ''"),
    ".csv: a row of two lines": (".csv", CSV + '"a\nb",\n', "line 4: label is ''"),
    ".csv: a quote that never ends": (".csv", CSV + '"a,y\nred,x\n', "line 4: unexpected end"),
    ".csv: a column twice": (".csv", "text,text,label\na,b,x\n", "line 1: the header names a column twice: 'text'"),
    ".csv: a header twice": (".csv", CSV + "text,label\n", "line 4: the header stands here a second time"),
    ".jsonl: a blank line": (".jsonl", lines(TEXT) + "\n" + lines(TEXT | {"label": 0.5}), "line 3: label is 0.5"),
    ".jsonl: a key twice": (".jsonl", lines(TEXT) + '{"label": "a", "label": "b"}', "line 2: .*twice: 'label'"),
    ".jsonl: deep": (".jsonl", lines(TEXT) + "[" * 100_000, "line 2: not a JSON object"),
    ".jsonl: a long number": (".jsonl", lines(TEXT) + f'{{"text": {"1" * 5000}}}', "line 2: not a JSON object"),
    ".conll: two columns too few": (".conll", "a B-PER\n\nb\n", r"line 3: 1 column\(s\)"),
    ".conll: a blank type": (".conll", "a O\n\nb O\nc B-\u200b\n", "line 3: the type of an entity is '\\\\u200b'"),
    ".conll: old Mac line ends": (".conll", "a B-PER\rb O\r", "line 1: a carriage return"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_malformed_line_is_named_as_the_file_counts_it(case, load):
    ending, text, message = LINES[case]
    with pytest.raises(ValueError, match=rf"train\{ending}, {message}"):
        load(ending, text)


FIELDS = {
    "half a character": ("mine", TEXT | {"text": "cut \ud83d off"}, r"text has half a character.*'cut \\ud83d off'"),
    "half a character in a word": ("mine", TAGGED | {"tokens": ["a", "\ud83d"]}, "tokens has half a character"),
    "half a character in a label": ("mine", TEXT | {"label": "\ud83d"}, "label has half a character"),
    "no text": ("mine", TEXT | {"text": ""}, "text is ''; there is nothing in it to read"),
    "a text of blanks": ("mine", TEXT | {"text": " \n\u200b\0"}, "text is .*nothing in it to read"),
    "a label of blanks": ("mine", TEXT | {"label": " "}, "label is ' '; there is nothing"),
    "a label and a blank": ("mine", TEXT | {"label": "x "}, "label is 'x ', with a blank"),
    "a type and a blank": ("mine", TAGGED | {"ner_tags": ["B-PER ", "O"]}, "the type of an entity is 'PER '"),
    "tags by number": ("mine", TAGGED | {"ner_tags": {"O": 1}}, r"ner_tags is \{'O': 1\}; it must be a list"),
    "words in an object": ("mine", TAGGED | {"tokens": {"a": 1}}, r"tokens is \{'a': 1\}; it must be a list"),
    "wic's word": ("wic", WIC | {"word": None}, "word is None; it must be a string"),
    "wic's sentence": ("wic", WIC | {"sentence1": ["x"]}, r"sentence1 is \['x'\]; it must be a string"),
    "wsc's text": ("wsc", WSC | {"text": None}, "text is None; it must be a string"),
    "wsc's span": ("wsc", WSC | {"span2_text": None}, "span2_text is None; it must be a string"),
    "rte's hypothesis": ("rte", {"premise": "a", "hypothesis": 0, "label": 0}, "hypothesis is 0; it must be a string"),
    "a choice of blanks": ("mine", CHOICES | {"choice2": " "}, "choice2 is ' '; there is nothing"),
    "a gap in the choices": ("mine", CHOICES | {"choice4": "c"}, "choices are .*4; they must be .*choice3$"),
    "choices from 0": ("mine", CHOICES | {"choice0": "c"}, "choices are choice0.*; they must be choice1"),
    "a long value": ("mine", TEXT | {"text": ["long"] * 10_000}, r"text is \['long'.{0,60}\.\.\.\]; it must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELDS)
def test_the_field_and_its_value_are_named(case):
    name, row, message = FIELDS[case]
    with pytest.raises(ValueError, match=message):
        reshape(name, row)


def test_a_message_stays_short(load):
    with pytest.raises(ValueError) as error:
        load(".jsonl", lines(TEXT | {"label": None, "text": "long " * 10_000}))
    assert len(str(error.value)) < 500


def test_other_columns_may_begin_with_choice():
    row = {"text": "q", **CHOICES, "choice_note": "from the web"}
    assert reshape("mine", row)["choices"] == ["a", "b"]


TOGETHER = {
    "no entity": ([{"tokens": ["a"], "ner_tags": ["O"]}] * 2, "folder .*mine: no training row has an entity"),
    "one label": ([TEXT] * 2, "folder .*mine: every row has the label 'x'"),
    "kinds": ([TEXT, TAGGED], r"line 2: of kind token, but .*line 1 is of kind sequence"),
    "choices": ([CHOICES, CHOICES | {"choice3": "c"}], r"line 2: 3 choices, but .*line 1 has 2"),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_rows_that_do_not_make_a_task_are_named(case, load):
    rows, message = TOGETHER[case]
    with pytest.raises(ValueError, match=message):
        load(".jsonl", lines(*rows))


@pytest.mark.parametrize("word", ["", " ", "\u200b", "\0"])
def test_a_word_that_the_tokenizer_drops_may_not_be_in_an_entity(word, load):
    row = {"tokens": ["anna", word], "ner_tags": ["B-PER", "I-PER"]}
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2: the tokenizer makes nothing of word 2, .*'I-PER'"):
        load(".jsonl", lines(TAGGED, row))


def test_a_sentence_of_dropped_words_alone_is_refused(load):
    with pytest.raises(ValueError, match=r"line 2: the tokenizer makes nothing of word 1"):
        load(".jsonl", lines(TAGGED, {"tokens": ["\u200b"], "ner_tags": ["O"]}))


def test_dropped_words_outside_entities_and_words_cut_off_are_accepted(load):
    row = {"tokens": ["\ufe0f", "anna"] + ["likes"] * 20 + ["bob"], "ner_tags": ["O", "B-PER"] + ["O"] * 20 + ["B-PER"]}
    assert load(".jsonl", lines(row)).train[0].first_sub_token[1] == 1


def test_rows_that_are_in_training_too_are_counted(write, tokenizer):
    folder = write("mine", train=TWO * 2, validation=[TEXT, TEXT | {"text": "very red"}], test=TWO)
    with pytest.warns(UserWarning, match="mine: 1 of 2 validation rows and 2 of 2 test rows are training rows too"):
        load_task(str(folder), tokenizer)


def test_of_many_labels_that_no_training_row_has_a_few_are_named(write, tokenizer):
    folder = write("mine", train=TWO, validation=[{"text": "red", "label": f"id{i:04d}"} for i in range(1000)])
    with pytest.warns(UserWarning, match="label id0000 or id0001 .* or 995 more; others do"):
        load_task(str(folder), tokenizer)


def test_good_data_brings_no_warning(write, tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_task(str(write("mine", train=TWO, validation=[TEXT | {"text": "very red"}])), tokenizer)
