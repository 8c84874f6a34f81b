"""Data never seen before, from a folder or file to a score: load, prepare, train, predict."""

import csv
import random

import pytest
from transformers import AutoTokenizer

import apt_minimal
from apt_minimal.lab.data.tasks import load_task
from apt_minimal.lab.methods import load_model, prepare
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.loop import TrainConfig, train

QUICK = TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=6, evaluations=2)


def test_a_folder_of_any_kind_is_trained_on_and_scored(any_task, make_model, capsys):
    model = make_model(any_task, "apt")
    history = train(model, any_task, QUICK, progress=False)
    predictions = predict(model, any_task, any_task.test)
    score = any_task.score(predictions, any_task.test)
    assert (len(history.loss), history.steps, len(predictions)) == (6, [3, 6], 8)
    assert 0.0 <= score[any_task.metric] <= 1.0
    assert capsys.readouterr() == ("", "")


def test_a_csv_file_is_trained_on_and_scored(tmp_path, tokenizer, backbone):
    file = tmp_path / "colours.csv"
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(["text", "label"])
        rows.writerows(["the very " + colour, colour] for colour in random.Random(0).choices(["red", "blue"], k=60))
    task = load_task(str(file), tokenizer)
    assert (task.name, task.labels, len(task.train), len(task.test)) == ("colours", ["blue", "red"], 48, 6)
    model = prepare(load_model(task, backbone), "full")
    train(model, task, TrainConfig(learning_rate=5e-3, batch_size=8, max_steps=40), progress=False)
    assert task.score(predict(model, task, task.test), task.test)["accuracy"] == 1.0


def test_a_dot_in_a_folders_name_is_part_of_it(tmp_path, tokenizer):
    for split in ("train", "validation"):
        file = tmp_path / "rte.v2" / f"{split}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert load_task(str(tmp_path / "rte.v2"), tokenizer).name == "rte.v2"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_no_training_row_has_is_said(split, write, tokenizer):
    text = [{"text": "a word", "label": label} for label in ("red", "blue")]
    token = [{"tokens": ["Rome"], "ner_tags": [tag]} for tag in ("B-Loc", "O")]
    for name, rows, new in (("colours", text, "bleu"), ("places", token, "Lok")):
        other = [row | {"label": new} if "label" in row else row | {"ner_tags": [f"B-{new}"]} for row in rows[:1]]
        folder = write(name, **{"train": rows, "validation": rows} | {split: rows + other})
        with pytest.warns(UserWarning, match=f"{name}: no training row has the label {new}; others do"):
            load_task(str(folder), tokenizer)


@pytest.mark.slow
def test_the_real_backbone_learns_a_sample_of_entities(minilm):
    task = load_task("conll2004", AutoTokenizer.from_pretrained(minilm), "sample", max_length=48)
    model = prepare(load_model(task, minilm), "apt")
    history = train(model, task, TrainConfig(1e-2, batch_size=8, max_steps=12, evaluations=1), progress=False)
    assert sum(history.loss[-3:]) < 0.6 * sum(history.loss[:3])


def test_load_task_is_found_at_the_top():
    assert apt_minimal.load_task is load_task


@pytest.mark.parametrize("kind", ["text", "token"])
def test_label_names_land_in_the_models_config(kind, make_task, make_model):
    task = make_task(kind)
    config = make_model(task, "head_only").config
    assert [config.id2label[i] for i in range(len(task.labels))] == task.labels
    assert config.label2id == {label: i for i, label in enumerate(task.labels)}
