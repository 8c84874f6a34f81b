"""What `save_adapter` and `load_adapter` refuse, in what words, and that a refused model is left alone."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, BertForTokenClassification, RobertaConfig
from transformers import RobertaForSequenceClassification as Roberta

from apt_minimal import load_adapter, prefixes, save_adapter
from apt_minimal.adapter_parts import fingerprint

JSON, TENSORS = "adapter.json", "adapter.safetensors"
BERT = BertForSequenceClassification


@pytest.fixture
def saved(attached, tmp_path):
    """The folder of an adapter, for a tiny BERT with 4 heads and 2 labels."""
    save_adapter(attached(BERT), tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def refused(state):
    """Assert that loading fails with this error and these words, and leaves the model as it was."""

    def check(model, folder, error, words):
        before = state(model)
        with pytest.raises(error, match=words) as caught:
            load_adapter(model, folder)
        assert type(caught.value) is error and str(folder) in str(caught.value)
        assert state.same(before, state(model))

    return check


def rewrite(folder, change):
    """Change an adapter's description with a function that gets the dict, and make its checksum fit."""
    description = json.loads((folder / JSON).read_text())
    change(description)
    rest = {key: value for key, value in description.items() if key != "sha256"}
    description["sha256"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (folder / JSON).write_text(json.dumps(description))


# The adapter is whole, the model is another

OTHERS = {
    "weights": ({"seed": 8}, "fingerprint [0-9a-f]{64}.*fingerprint [0-9a-f]{64}"),
    "width": ({"hidden_size": 48}, "hidden_size 32.*hidden_size 48"),
    "depth": ({"num_hidden_layers": 2}, "num_hidden_layers 3.*num_hidden_layers 2"),
    "heads": ({"num_attention_heads": 8}, "num_attention_heads 4.*num_attention_heads 8"),
    "labels": ({"num_labels": 5}, "2 labels.*has 5"),
    "kind of head": ({"cls": BertForTokenClassification}, "architecture BertForSequence.*architecture BertForToken"),
    "family": ({"cls": Roberta, "config_class": RobertaConfig}, "architecture Bert.*architecture Roberta"),
}


@pytest.mark.parametrize(("changes", "words"), OTHERS.values(), ids=OTHERS)
def test_another_model_is_refused_and_both_sides_named(changes, words, saved, tiny, refused):
    refused(tiny(**{"cls": BERT} | changes), saved, ValueError, words)


def test_a_partly_frozen_model_keeps_its_flags_after_a_refusal(saved, tiny, refused):
    model = tiny(BERT, seed=8).train()
    model.bert.embeddings.requires_grad_(False)
    refused(model, saved, ValueError, "fingerprint")


def test_a_model_that_is_attached_already(saved, attached, state):
    model = attached(BERT)
    before = state(model)
    with pytest.raises(ValueError, match="already"):
        load_adapter(model, saved)
    assert state.same(before, state(model))


# The folder

FILES_GONE = {
    "no folder": (shutil.rmtree, "no folder"),
    "no JSON": (lambda folder: (folder / JSON).unlink(), JSON),
    "no tensors": (lambda folder: (folder / TENSORS).unlink(), TENSORS),
    "a file": (lambda folder: shutil.rmtree(folder) or folder.write_text("a file"), "folder"),
    "empty": (lambda folder: shutil.rmtree(folder) or folder.mkdir(), JSON),
}


@pytest.mark.parametrize(("damage", "words"), FILES_GONE.values(), ids=FILES_GONE)
def test_missing_files(damage, words, saved, tiny, refused):
    damage(saved)
    refused(tiny(BERT), saved, FileNotFoundError, words)


def test_a_path_may_be_a_string(saved, tiny):
    assert len(prefixes(load_adapter(tiny(BERT), str(saved)))) == 3


# The tensors


def truncate(folder):
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-100])


def flip_one_bit(folder):
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS).write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip_one_bit, lambda folder: (folder / TENSORS).write_bytes(b"")])
def test_damaged_tensors(damage, saved, tiny, refused):
    damage(saved)
    size = (saved / TENSORS).stat().st_size
    refused(tiny(BERT), saved, ValueError, rf"{TENSORS} \({size} bytes\)")


def test_another_adapters_tensors(saved, attached, tiny, refused, tmp_path):
    other = attached(BERT)
    with torch.no_grad():
        prefixes(other)[0].key.add_(1)
    save_adapter(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / TENSORS, saved)
    refused(tiny(BERT), saved, ValueError, "another adapter's")


LAYER = r"bert.encoder.layer.\d.attention.self.prefix"
MISFITS = {
    "length": ({"prefix_length": 6}, rf"{LAYER}.* is \[5, 32\] in the adapter and \[6, 32\] in the model"),
    "gate lacking": ({"token_gate": False}, rf"{LAYER}.token_gate.weight, which the model lacks"),
    "layer lacking": ({"prefix_length": [5, 5, 0]}, "layer.2.*which the model lacks"),
    "number of lengths": ({"prefix_length": [5, 5]}, "2 layers.*3"),
}


@pytest.mark.parametrize(("change", "words"), MISFITS.values(), ids=MISFITS)
def test_a_config_that_does_not_fit_its_tensors(change, words, saved, tiny, state):
    rewrite(saved, lambda description: description["config"].update(change))
    model = tiny(BERT)
    model.bert.embeddings.requires_grad_(False)
    before = state(model)
    with pytest.raises(ValueError, match=words):
        load_adapter(model, saved)
    assert state.same(before, state(model))


def test_a_tensor_that_is_lacking_is_named(saved, tiny, refused):
    tensors = load_file(saved / TENSORS)
    del tensors["classifier.bias"]
    save_file(tensors, saved / TENSORS)
    checksum = hashlib.sha256((saved / TENSORS).read_bytes()).hexdigest()
    rewrite(saved, lambda description: description.update(tensors_sha256=checksum))
    refused(tiny(BERT), saved, ValueError, "classifier.bias, which the adapter lacks")


# The description

KEYS = ["format", "config", "labels", "problem_type", "backbone", "backbone_tensors", "versions", "tensors_sha256"]
DAMAGES = {f"no {key}": lambda d, key=key: d.pop(key) for key in KEYS} | {
    "no fingerprint": lambda d: d["backbone"].pop("fingerprint"),
    "unknown config key": lambda d: d["config"].update(prefix_lenght=4),
    "bad config value": lambda d: d["config"].update(prefix_dropout=2),
    "config is a list": lambda d: d.update(config=[1]),
    "backbone is a string": lambda d: d.update(backbone="bert"),
    "another format": lambda d: d.update(format=99),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_description_that_lacks_or_breaks_something(damage, saved, tiny, refused):
    rewrite(saved, damage)
    refused(tiny(BERT), saved, ValueError, JSON)


def test_a_changed_letter_in_the_description_is_noticed(saved, tiny, refused):
    (saved / JSON).write_text((saved / JSON).read_text().replace("LABEL_1", "LABEL_7"))
    refused(tiny(BERT), saved, ValueError, "checksum does not fit")


def declare(folder, names, **tensors):
    """An adapter that replaces parts of the backbone, its fingerprint and checksums made to fit."""
    everything = load_file(folder / TENSORS) | tensors
    save_file(everything, folder / TENSORS)
    checksum = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    rewrite(folder, lambda d: d.update(backbone_tensors=names, tensors_sha256=checksum))


WORDS = "bert.embeddings.word_embeddings.weight"


def test_an_adapter_that_replaces_the_backbone_is_refused_unless_it_is_allowed_by_name(saved, tiny, refused):
    model = tiny(BERT)
    rewrite(saved, lambda d: d["backbone"].update(fingerprint=fingerprint(model, [WORDS])))
    declare(saved, [WORDS], **{WORDS: torch.zeros(60, 32)})
    refused(model, saved, ValueError, rf"replaces 1 weights of the backbone: {WORDS}")
    assert load_adapter(model, saved, allow=["bert.embeddings"]).get_parameter(WORDS).eq(0).all()


@pytest.mark.parametrize("name", [WORDS, "bert.no.such.weight", "../../elsewhere"])
def test_a_tensor_of_the_backbone_that_is_not_declared_is_refused(name, saved, tiny, refused):
    declare(saved, [], **{name: torch.zeros(60, 32)})
    refused(tiny(BERT), saved, ValueError, f"{name}, which the model lacks")


def test_only_weights_of_the_backbone_can_be_declared(saved, tiny, refused):
    declare(saved, ["classifier.weight"])
    refused(tiny(BERT), saved, ValueError, "declares classifier.weight as trained, which are no weights")


def test_labels_that_are_a_number(saved, tiny, refused):
    rewrite(saved, lambda d: d.update(labels=2))
    refused(tiny(BERT), saved, ValueError, JSON)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x01", '"text"', "[1, 2"])
def test_a_description_that_is_no_object(text, saved, tiny, refused):
    (saved / JSON).write_text(text)
    refused(tiny(BERT), saved, ValueError, JSON)


def test_the_unknown_key_and_the_bad_value_are_named(saved, tiny, refused):
    rewrite(saved, lambda d: d["config"].update(prefix_lenght=4))
    refused(tiny(BERT), saved, ValueError, "prefix_lenght")
    rewrite(saved, lambda d: d["config"].pop("prefix_lenght") and d["config"].update(prefix_dropout=2))
    refused(tiny(BERT), saved, ValueError, "prefix_dropout is 2")


def test_a_nameless_backbone_is_refused_in_words_as_well(saved, tiny, refused):
    rewrite(saved, lambda d: d["backbone"].pop("name"))
    refused(tiny(BERT, seed=8), saved, ValueError, "fingerprint|name")


# Saving


def test_a_model_without_prefixes_has_nothing_to_save(tiny, tmp_path):
    with pytest.raises(ValueError, match="no prefixes attached"):
        save_adapter(tiny(BERT), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file(attached, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file"):
        save_adapter(attached(BERT), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["classifier.bias", "prefix.key", "token_gate.weight", "layer_gate.scale"])
def test_a_diverged_tensor_is_named_and_nothing_is_written(name, value, attached, tmp_path):
    model = attached(BERT)
    full = next(n for n, parameter in model.named_parameters() if n.endswith(name))
    model.get_parameter(full).data.view(-1)[0] = value
    with pytest.raises(ValueError, match=full):
        save_adapter(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_saving_leaves_the_model_alone(attached, tmp_path, state):
    model = attached(BERT).train()
    before = state(model)
    save_adapter(model, tmp_path)
    assert state.same(before, state(model))
