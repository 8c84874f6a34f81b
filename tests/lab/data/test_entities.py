"""Entities: what a sequence of tags spells, read strictly, and the score over it."""

import json
from pathlib import Path

import pytest

from apt_minimal.lab.data.entities import check_iob2, entities, entity_scores

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-creative-work", "I-creative-work"]
SPELLED = {
    "": [],
    "O O": [],
    "B-PER": [("PER", 0, 1)],
    "O B-PER I-PER": [("PER", 1, 3)],
    "B-PER B-PER": [("PER", 0, 1), ("PER", 1, 2)],
    "B-PER I-PER B-LOC O": [("PER", 0, 2), ("LOC", 2, 3)],
    "B-creative-work I-creative-work": [("creative-work", 0, 2)],
    "I-PER I-PER": [],  # continues nothing
    "O I-PER B-LOC": [("LOC", 2, 3)],
    "B-PER I-LOC": [("PER", 0, 1)],  # another type: ends the one, begins none
    "B-PER I-LOC I-PER": [("PER", 0, 1)],
    "B-PER O I-PER": [("PER", 0, 1)],
}


@pytest.mark.parametrize("tags", SPELLED)
def test_entities_are_read_strictly(tags):
    assert entities(tags.split()) == SPELLED[tags]


# What seqeval finds in random tags, however ill-formed: recorded, so that nobody needs to install it.
SEQEVAL = json.loads((Path(__file__).parent / "seqeval_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_scores_equal_seqevals(mode):
    for case in SEQEVAL["scored"]:
        gold, guess = ([tags.split() for tags in case[side]] for side in ("gold", "guess"))
        assert entity_scores(gold, guess, mode == "lenient") == pytest.approx(case[mode], abs=1e-12)


def test_read_leniently_entities_are_seqevals():
    for case in SEQEVAL["lenient"]:
        assert entities(case["tags"].split(), lenient=True) == [tuple(entity) for entity in case["entities"]]


def test_seqeval_by_default_is_more_lenient():
    gold, guess = [["B-PER", "I-PER"]], [["I-PER", "I-PER"]]  # 0 and 1 are seqeval's numbers, too
    assert entity_scores(gold, guess)["f1"] == 0.0
    assert entity_scores(gold, guess, lenient=True)["f1"] == 1.0


def test_scores_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    guess = [["B-PER", "I-PER", "O", "B-PER"], ["O", "O"]]  # 1 of 2 guessed, 1 of 3 found
    assert entity_scores(gold, guess) == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5})


def test_the_average_is_over_entities_not_types_or_sentences():
    gold = [["B-PER"] * 8, ["B-LOC"]]
    guess = [["B-PER"] * 8, ["O"]]
    assert entity_scores(gold, guess)["recall"] == pytest.approx(8 / 9)


def test_an_entity_in_another_sentence_is_another_entity():
    assert entity_scores([["B-PER"], ["O"]], [["O"], ["B-PER"]])["f1"] == 0.0


@pytest.mark.parametrize("gold, guess", [(["O"], ["O"]), (["O"], ["B-PER"]), (["B-PER"], ["O"])])
def test_scores_are_zero_where_there_is_nothing_to_find(gold, guess):
    assert entity_scores([gold], [guess]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_another_number_of_tags_than_of_words_names_the_sentence():
    with pytest.raises(ValueError, match="sentence 1 has 2 words but 1 predicted tags"):
        entity_scores([["O"], ["O", "O"]], [["O"], ["O"]])


def test_another_number_of_sentences_is_an_error():
    with pytest.raises(ValueError):
        entity_scores([["O"], ["O"]], [["O"]])


@pytest.mark.parametrize("tags", ["O", "B-PER I-PER O B-LOC", "B-PER B-PER", "B-creative-work I-creative-work"])
def test_well_formed_tags_pass(tags):
    check_iob2(tags.split())


FAULTS = {
    "I-PER": "word 1 has the tag 'I-PER' after 'O'",
    "O I-PER": "word 2 has the tag 'I-PER' after 'O'",
    "B-PER I-LOC": "word 2 has the tag 'I-LOC' after 'B-PER'",
    "B-PER I-PER I-LOC": "word 3 has the tag 'I-LOC' after 'I-PER'",
    "B-PER O I-PER": "word 3 has the tag 'I-PER' after 'O'",
    "O PER": "word 2 has the tag 'PER'",
    "B-": "word 1 has the tag 'B-'",
    "o": "word 1 has the tag 'o'",
    "S-PER": "word 1 has the tag 'S-PER'",
    "BPER": "word 1 has the tag 'BPER'",
}


@pytest.mark.parametrize("tags", FAULTS)
def test_ill_formed_tags_are_named_with_their_word(tags):
    with pytest.raises(ValueError, match=FAULTS[tags]):
        check_iob2(tags.split())
