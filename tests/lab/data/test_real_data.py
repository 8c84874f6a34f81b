"""The benchmarks' own files, where they are at hand, and the samples that are shipped."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from apt_minimal.lab.data.entities import check_iob2
from apt_minimal.lab.data.shapes import ENTITY_TYPES, reshape
from apt_minimal.lab.data.sources import load_rows
from apt_minimal.lab.data.tasks import load_task

DATA = Path(__file__).parents[4] / "shared/data"
SIZES = {
    "boolq": (9427, 3270, 0),
    "cb": (250, 56, 0),
    "copa": (400, 100, 0),
    "rte": (2490, 277, 0),
    "wic": (5428, 638, 0),
    "wsc": (554, 104, 0),
    "conll2004": (922, 231, 288),
    "wnut17": (3394, 1009, 1287),
}
SAMPLES = {
    "boolq": (60, 30, 40),
    "cb": (102, 39, 60),
    "conll2004": (260, 80, 120),
    "copa": (100, 40, 60),
    "rte": (180, 60, 80),
    "wic": (100, 40, 60),
    "wsc": (100, 40, 60),
}


def data(name):
    if not (DATA / name).is_dir():
        pytest.skip(f"the benchmark's own files ({name}) are not beside this repository")
    return DATA


@pytest.fixture(scope="module")
def real_tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


@pytest.mark.parametrize("name", SIZES)
def test_a_benchmark_has_its_official_size_and_every_row_is_read(name):
    rows, _ = load_rows(name, "folder", data(name))
    assert tuple(len(split) for split in rows.values()) == SIZES[name]
    assert {reshape(name, row)["kind"] for split in rows.values() for row in split} == {
        "copa": {"choice"},
        "conll2004": {"token"},
        "wnut17": {"token"},
    }.get(name, {"sequence"})


@pytest.mark.parametrize("name", ["cb", "copa", "wsc", "conll2004"])
def test_gold_predictions_on_a_benchmark_score_1(name, real_tokenizer, gold):
    task = load_task(name, real_tokenizer, "folder", data(name), max_length=256)
    for examples in filter(None, (task.validation, task.test)):
        score = task.score(gold(task, examples), examples)
        assert set(score.values()) == {1.0}


@pytest.mark.parametrize("name", SAMPLES)
def test_gold_predictions_on_a_sample_score_1_at_the_default_length(name, real_tokenizer, gold):
    task = load_task(name, real_tokenizer, "sample")
    assert tuple(map(len, (task.train, task.validation, task.test))) == SAMPLES[name]
    for examples in (task.train, task.validation, task.test):
        assert task.score(gold(task, examples), examples)[task.metric] == 1.0


def test_no_sentence_of_the_sample_of_entities_is_in_two_splits():
    rows, _ = load_rows("conll2004", "sample")
    train, validation, test = ({" ".join(row["tokens"]).lower() for row in split} for split in rows.values())
    assert not (train & validation or train & test or validation & test)


def test_the_sample_of_entities_has_valid_tags_and_every_type_in_every_split():
    for split in load_rows("conll2004", "sample")[0].values():
        for row in split:
            check_iob2(row["ner_tags"])
        assert {tag[2:] for row in split for tag in row["ner_tags"] if tag != "O"} == set(ENTITY_TYPES["conll2004"])
