"""CoNLL's columns: words and tags as they stand, IOB1 turned into IOB2, what is malformed named with its line."""

import json
from pathlib import Path

import pytest

from apt_minimal.lab.data.entities import entities
from apt_minimal.lab.data.rows import read_rows

# In CoNLL-2003's form: word, part of speech, chunk, entity; the third sentence has two neighbours of one type.
IOB1_FILE = """-DOCSTART- -X- -X- O

Northport NNP I-NP I-ORG
visits VBZ I-VP O
Lake NNP I-NP I-LOC
Orrin NNP I-NP I-LOC
. . O O

-DOCSTART- -X- -X- O

Rain NN I-NP O

Ada NNP I-NP I-PER
Birch NNP I-NP I-PER
Tom NNP B-NP B-PER
Reed NNP I-NP I-PER
Oslo NNP I-NP I-LOC
"""
ROWS = [
    {"tokens": ["Northport", "visits", "Lake", "Orrin", "."], "ner_tags": ["B-ORG", "O", "B-LOC", "I-LOC", "O"]},
    {"tokens": ["Rain"], "ner_tags": ["O"]},
    {"tokens": ["Ada", "Birch", "Tom", "Reed", "Oslo"], "ner_tags": ["B-PER", "I-PER", "B-PER", "I-PER", "B-LOC"]},
]


@pytest.fixture
def read(tmp_path):
    def make(text, encoding="utf-8"):
        (tmp_path / "a.conll").write_bytes(text.encode(encoding))
        rows, note = read_rows(tmp_path / "a.conll")
        return rows, "IOB1" if note else "IOB2"

    return make


def as_text(rows):
    return "".join("".join(f"{w} {t}\n" for w, t in zip(*row.values(), strict=True)) + "\n" for row in rows)


@pytest.mark.parametrize("change", [("\n", "\n"), ("\n", "\r\n"), (" ", "\t"), (" ", "   "), ("\n\n", "\n \t\n\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_conll_2003s_own_form_is_turned_into_iob2(change, encoding, read):
    assert read(IOB1_FILE.replace(*change), encoding) == (ROWS, "IOB1")


def test_iob2_stays_as_it_is_and_two_columns_are_enough(read):
    assert read(as_text(ROWS)) == (ROWS, "IOB2")


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_the_last_sentence_needs_no_line_after_it(end, read):
    assert read(as_text(ROWS).rstrip("\n") + end) == (ROWS, "IOB2")


def test_a_file_without_entities_is_no_problem(read):
    assert read("Rain O\n\n") == ([{"tokens": ["Rain"], "ner_tags": ["O"]}], "IOB2")


@pytest.mark.parametrize("word", ["東京", "O", "B-PER", "\u00a0", "a\u2028b", "\u200b", "#", "-", "-DOCSTART"])
def test_a_word_may_be_anything_without_blanks(word, read):
    rows = [{"tokens": [word, "x"], "ner_tags": ["B-creative-work", "I-creative-work"]}]
    assert read(as_text(rows)) == (rows, "IOB2")


def test_the_converted_tags_spell_seqevals_iob1_entities(read):
    cases = json.loads((Path(__file__).parent / "seqeval_cases.json").read_text(encoding="utf-8"))["iob1"]
    sentences = [["I-A"], *(case["tags"].split() for case in cases)]  # the first one makes the file IOB1
    rows, scheme = read(as_text([{"tokens": ["w"] * len(tags), "ner_tags": tags} for tags in sentences]))
    assert scheme == "IOB1"
    for case, row in zip(cases, rows[1:], strict=True):
        assert entities(row["ner_tags"]) == [tuple(entity) for entity in case["entities"]]


MALFORMED = {
    "a B-PER\nb\n": r"line 2: 1 column\(s\)",
    "a x B-PER\nb B-PER\n": r"line 2: 2 column\(s\); every line needs a word, a tag and as many columns as the first",
    "a\n": r"line 1: 1 column\(s\)",
    "a E-PER\n": "line 1: the last column is 'E-PER'; tags are O, B-<type> or I-<type>",
    "a O\nb B-\n": "line 2: the last column is 'B-'",
    "a O\nb b-PER\n": "line 2: the last column is 'b-PER'",
    "a B-PER\n\nb I-PER\n": "line 3: 'I-PER' after 'O' is not IOB2, which line 1 begins with",
    "a B-PER\nb I-LOC\n": "line 2: 'I-LOC' after 'B-PER' is not IOB2",
    "a O\nb I-PER\nc O\nd B-PER\n": "line 4: 'B-PER' after 'O' is not IOB1, which line 2 begins with",
    "a I-PER\nb B-LOC\n": "line 2: 'B-LOC' after 'I-PER' is not IOB1",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_named_with_file_and_line(text, read):
    with pytest.raises(ValueError, match=r"a\.conll, " + MALFORMED[text]):
        read(text)


def test_a_file_that_is_not_utf8_is_named(read):
    with pytest.raises(ValueError, match=r"a\.conll, line 1: not UTF-8"):
        read("Zürich B-LOC\n", "latin-1")
