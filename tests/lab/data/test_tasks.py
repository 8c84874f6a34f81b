"""Tasks: labels land on the right sub-token, batches are padded, predictions are decoded and scored."""

from dataclasses import replace

import pytest
import torch

from apt_minimal.lab.data.tasks import IGNORE

SENTENCE = {"tokens": ["Zurich", "\u200b", "likes", "anna", "Jones"], "ner_tags": ["B-LOC", "O", "O", "B-PER", "I-PER"]}
SHORT = {"tokens": ["paris"], "ner_tags": ["B-LOC"]}


def labels_of(task, example):
    """The label name at each position of an example that carries one."""
    labels = task.collate([example])["labels"][0]
    return {i: task.labels[label] for i, label in enumerate(labels.tolist()) if label != IGNORE}


def test_each_words_label_lands_on_its_first_sub_token(make_task, tokenizer):
    task = make_task(rows=[SENTENCE])
    pieces = tokenizer.convert_ids_to_tokens(task.train[0].inputs[0]["input_ids"])
    assert pieces == ["[CLS]", "z", "##u", "##r", "##i", "##c", "##h", "likes", "anna", "jones", "[SEP]"]
    assert labels_of(task, task.train[0]) == {1: "B-LOC", 7: "O", 8: "B-PER", 9: "I-PER"}


def test_a_word_without_a_sub_token_is_predicted_o_and_shifts_nothing(make_task):
    task = make_task(rows=[SENTENCE])
    logits = torch.zeros(1, 11, 5)
    for position, label in {1: "B-PER", 7: "O", 8: "B-LOC", 9: "I-LOC"}.items():
        logits[0, position, task.labels.index(label)] = 1.0
    (tags,) = task.decode(logits, task.train)
    assert [task.labels[tag] for tag in tags] == ["B-PER", "O", "O", "B-LOC", "I-LOC"]


def test_words_that_are_cut_off_are_predicted_o_and_their_entities_missed(make_task, gold):
    task = make_task(rows=[SENTENCE], max_length=9)  # up to "likes"
    predictions = gold(task, task.train)
    assert [task.labels[tag] for tag in predictions[0]] == ["B-LOC", "O", "O", "O", "O"]
    assert task.score(predictions, task.train) == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3})


def test_a_word_that_is_cut_in_the_middle_keeps_its_label(make_task):
    task = make_task(rows=[SENTENCE], max_length=4)
    assert labels_of(task, task.train[0]) == {1: "B-LOC"}


def test_inputs_are_cut_to_max_length_for_every_kind(any_task, make_task):
    kind = any_task.name.removeprefix("my_")
    short = make_task(kind, max_length=6)
    assert max(len(one["input_ids"]) for example in short.train for one in example.inputs) == 6


def test_gold_predictions_score_1(any_task, gold):
    predictions = gold(any_task, any_task.validation)
    assert any_task.score(predictions, any_task.validation)[any_task.metric] == 1.0


def test_a_batch_has_the_models_shapes_and_types(any_task):
    examples = any_task.train[:6]
    batch = any_task.collate(examples)
    n = max(len(one["input_ids"]) for example in examples for one in example.inputs)
    shape = [6, 3, n] if any_task.kind == "choice" else [6, n]
    assert {name: list(x.shape) for name, x in batch.items() if name != "labels"} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), shape
    )
    assert list(batch["labels"].shape) == ([6, n] if any_task.kind == "token" else [6])
    assert {x.dtype for x in batch.values()} == {torch.int64}


def test_padding_is_marked_everywhere(make_task):
    task = make_task(rows=[SENTENCE, SHORT])
    batch = task.collate(task.train)
    real = batch["attention_mask"].bool()
    assert real.sum(dim=1).tolist() == [11, 3]
    assert not batch["input_ids"][~real].any() and batch["input_ids"][real].all()
    assert not batch["token_type_ids"][~real].any()
    assert (batch["labels"][~real] == IGNORE).all()


def test_padding_is_the_tokenizers_own(make_task):
    task = replace(make_task(rows=[SENTENCE, SHORT]), pad_token_id=7)
    assert task.collate(task.train)["input_ids"][1, 3:].tolist() == [7] * 8


def test_the_second_text_has_its_own_token_type(make_task, tokenizer):
    rows = [{"text": "the red", "text_pair": "blue", "label": label} for label in ("x", "y")]
    task = make_task(rows=rows)
    (one,) = task.train[0].inputs
    assert tokenizer.convert_ids_to_tokens(one["input_ids"]) == ["[CLS]", "the", "red", "[SEP]", "blue", "[SEP]"]
    assert one["token_type_ids"] == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("text, expected", [("the", ["the", "[SEP]", "red"]), (None, ["red"]), ("", ["red"])])
def test_each_choice_is_paired_with_the_text_if_there_is_one(text, expected, make_task, tokenizer):
    task = make_task(rows=[{"text": text, "choices": ["red", "blue"], "label": 1}])
    first, second = (tokenizer.convert_ids_to_tokens(one["input_ids"]) for one in task.train[0].inputs)
    assert first == ["[CLS]", *expected, "[SEP]"]
    assert second == [{"red": "blue"}.get(piece, piece) for piece in first]


def test_choices_of_different_lengths_stay_with_their_example(make_task, tokenizer):
    rows = [{"choices": ["red", "the very red"], "label": 0}, {"choices": ["blue is", "blue"], "label": 1}]
    task = make_task(rows=rows)
    batch = task.collate(task.train)
    assert batch["attention_mask"].sum(dim=-1).tolist() == [[3, 5], [4, 3]]
    assert batch["labels"].tolist() == [0, 1]
    assert batch["input_ids"][1, 1].tolist() == [2, tokenizer.convert_tokens_to_ids("blue"), 3, 0, 0]


def test_accuracy_and_macro_f1_by_hand(make_task):
    task = make_task(rows=[{"text": "a", "label": label} for label in ["x", "x", "x", "y"]])
    score = task.score([0, 0, 1, 1], task.train)  # F1 of x: 4/5, of y: 2/3
    assert score == pytest.approx({"accuracy": 3 / 4, "macro_f1": (4 / 5 + 2 / 3) / 2})


def test_macro_f1_over_three_labels_is_cbs(make_task):
    # CB's F1 as SuperGLUE defines it: each label's own F1, and their unweighted mean; a label never found counts 0.
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in [0, 0, 0, 1, 1, 2]]
    task = make_task(rows=rows, name="cb")
    score = task.score([0, 0, 1, 1, 0, 1], task.train)  # F1: 2·2/(3+3), 2·1/(2+3), 0
    assert score == pytest.approx({"accuracy": 3 / 6, "macro_f1": (2 / 3 + 2 / 5 + 0) / 3})


def test_tokens_are_scored_as_entities_not_as_tags(make_task):
    task = make_task(rows=[SENTENCE])
    tags = ["B-LOC", "O", "O", "B-PER", "O"]  # four of five tags, one of two entities
    predictions = [[task.labels.index(tag) for tag in tags]]
    assert task.score(predictions, task.train)["f1"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("count", [0, 9, 11])
def test_another_number_of_predictions_is_an_error(count, any_task):
    with pytest.raises(ValueError, match=f"{count} predictions for 10 examples"):
        any_task.score([0] * count, any_task.validation)


def test_nothing_cannot_be_scored(any_task):
    with pytest.raises(ValueError, match="0 predictions for 0 examples"):
        any_task.score([], [])


def test_metric_and_kind_follow_the_rows(any_task):
    expected = {"token": ("token", "f1"), "choice": ("choice", "accuracy")}
    kind = any_task.name.removeprefix("my_")
    assert (any_task.kind, any_task.metric) == expected.get(kind, ("sequence", "accuracy"))
