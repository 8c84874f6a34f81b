"""Saving what was trained and loading it elsewhere: another process, another precision, another model object."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from transformers import BertForSequenceClassification, BertModel

import apt_minimal
from apt_minimal import AptConfig, attach, detach, load_adapter, prefixes, save_adapter
from apt_minimal.adapter_parts import fingerprint
from apt_minimal.attach import is_attached

FILES = ["README.md", "adapter.json", "adapter.safetensors"]
SEQUENCE, TOKEN, CHOICE = (
    f"BertFor{task}" for task in ("SequenceClassification", "TokenClassification", "MultipleChoice")
)
CASES = {
    "sequence": (SEQUENCE, {"prefix_length": 5}),
    "token": (TOKEN, {"prefix_length": 5}),
    "choice": (CHOICE, {"prefix_length": 5}),
    "length per layer": (SEQUENCE, {"prefix_length": (4, 0, 7)}),
    "gates off": (SEQUENCE, {"prefix_length": 5, "token_gate": False, "layer_gate": False}),
    "no hidden state": (TOKEN, {"prefix_length": 5, "gate_input": "none"}),
    "mean": (SEQUENCE, {"prefix_length": 5, "gate_input": "mean"}),
    "no prefix": (SEQUENCE, {"prefix_length": 0}),
    "pooler": (SEQUENCE, {"prefix_length": 5}),
}
ELSEWHERE = """
import json, sys, torch, transformers
from apt_minimal import load_adapter
torch.set_num_threads(int(sys.argv[2]))
for folder, (cls, backbone, inputs) in json.loads(sys.argv[1]).items():
    torch.manual_seed(99)
    model = load_adapter(getattr(transformers, cls).from_pretrained(backbone), folder, "bert.pooler").eval()
    torch.save(model(**{name: torch.tensor(x) for name, x in inputs.items()}).logits, folder + ".logits")
"""


def train_by_hand(model):
    """Move every trained tensor, as training would."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def make(tiny):
    """A tiny attached classifier, trained."""

    def build(apt=None, dtype=torch.float32, **changes):
        return train_by_hand(attach(tiny(BertForSequenceClassification, dtype, **changes), apt or AptConfig(5)))

    return build


@pytest.mark.slow
def test_another_process_gives_the_same_bits(tiny, right_padded, tmp_path):
    tiny().save_pretrained(tmp_path / "backbone")
    jobs, here = {}, {}
    for case, (cls, apt) in CASES.items():
        model = attach(getattr(transformers, cls).from_pretrained(tmp_path / "backbone"), AptConfig(**apt)).eval()
        if case == "pooler":
            model.bert.pooler.requires_grad_(True)
        save_adapter(train_by_hand(model), tmp_path / case)
        inputs = {name: x.unsqueeze(1) if cls == CHOICE else x for name, x in right_padded.items()}
        here[case] = model(**inputs).logits
        jobs[str(tmp_path / case)] = cls, str(tmp_path / "backbone"), {name: x.tolist() for name, x in inputs.items()}
    package = str(Path(apt_minimal.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(jobs), str(torch.get_num_threads())],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])},
        check=True,
    )
    there = {case: torch.load(tmp_path / f"{case}.logits", weights_only=True) for case in CASES}
    assert {case: torch.equal(there[case], here[case]) for case in CASES} == dict.fromkeys(CASES, True)


def test_every_trained_tensor_comes_back(make, tiny, tmp_path, right_padded):
    model = make()
    save_adapter(model, tmp_path)
    other = tiny(BertForSequenceClassification)
    assert load_adapter(other, tmp_path) is other and len(prefixes(other)) == 3
    theirs = other.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
    assert {n for n, p in other.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_the_folder_holds_two_files_a_card_and_the_trained_tensors_only(make, tmp_path):
    model = make()
    save_adapter(model, tmp_path / "new" / "folder")
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == FILES
    with safe_open(tmp_path / "new" / "folder" / FILES[2], "pt") as tensors:
        assert set(tensors.keys()) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_half_a_megabyte_for_a_real_bert(minilm, tmp_path, right_padded):
    model = BertForSequenceClassification.from_pretrained(minilm)
    save_adapter(train_by_hand(attach(model.eval(), AptConfig(16))), tmp_path)
    assert sum(os.path.getsize(tmp_path / name) for name in FILES) < 600_000
    again = load_adapter(BertForSequenceClassification.from_pretrained(minilm).eval(), tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**right_padded).logits, model(**right_padded).logits)


def test_nothing_is_pickled(make, tiny, tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("an adapter must not be pickled")

    for name in ("pickle.load", "pickle.loads", "pickle.dump", "pickle.dumps", "torch.load", "torch.save"):
        monkeypatch.setattr(name, forbidden)
    save_adapter(make(), tmp_path)
    load_adapter(tiny(BertForSequenceClassification), tmp_path)


def test_the_config_is_kept(make, tiny, tmp_path):
    apt = AptConfig((4, 0, 7), layer_gate=False, gate_input="mean", init_std=0.1, prefix_dropout=0.3)
    save_adapter(make(apt), tmp_path)
    save_adapter(load_adapter(tiny(BertForSequenceClassification), tmp_path), tmp_path / "again")
    written = json.loads((tmp_path / "again" / FILES[1]).read_text())["config"]
    assert AptConfig(**written) == apt


def test_label_names_are_restored(make, tiny, tmp_path):
    names = {0: "no", 1: "maybe", 2: "yes"}
    save_adapter(make(id2label=names), tmp_path)
    model = load_adapter(tiny(BertForSequenceClassification, num_labels=3), tmp_path)
    assert model.config.id2label == names and model.config.label2id == {name: i for i, name in names.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_backbone_in_another_precision_is_accepted(dtype, make, tiny, tmp_path, right_padded):
    model = make()
    save_adapter(model, tmp_path)
    other = load_adapter(tiny(BertForSequenceClassification, dtype), tmp_path)
    assert {p.dtype for p in other.base_model.embeddings.parameters()} == {dtype}
    wanted = model(**right_padded).logits
    assert torch.allclose(other(**right_padded).logits.float(), wanted, atol=0.05 * wanted.abs().max().item())


def test_a_backbone_in_float16_rounds_otherwise_and_is_refused(make, tiny, tmp_path):
    save_adapter(make(), tmp_path)
    with pytest.raises(ValueError, match="fingerprint"):
        load_adapter(tiny(BertForSequenceClassification, torch.float16), tmp_path)


def test_an_unfrozen_pooler_survives_a_second_save(make, tiny, tmp_path, right_padded):
    model = make()
    model.bert.pooler.requires_grad_(True)
    save_adapter(train_by_hand(model), tmp_path / "one")
    save_adapter(load_adapter(tiny(BertForSequenceClassification), tmp_path / "one", "bert.pooler"), tmp_path / "two")
    again = load_adapter(tiny(BertForSequenceClassification), tmp_path / "two", ["bert.pooler"])
    assert torch.equal(again(**right_padded).logits, model(**right_padded).logits)


def test_a_model_without_a_head(tiny, tmp_path, right_padded):
    model = train_by_hand(attach(tiny(), AptConfig(5)))
    save_adapter(model, tmp_path)
    again = load_adapter(tiny(BertModel), tmp_path)
    assert torch.equal(again(**right_padded).last_hidden_state, model(**right_padded).last_hidden_state)


def test_a_loaded_adapter_can_be_detached(make, tiny, tmp_path):
    save_adapter(make(), tmp_path)
    model = detach(load_adapter(tiny(BertForSequenceClassification), tmp_path))
    assert not is_attached(model) and all(parameter.requires_grad for parameter in model.parameters())


def test_saving_over_an_older_adapter(make, tiny, tmp_path, right_padded):
    save_adapter(make(AptConfig(7)), tmp_path)
    newer = make(AptConfig(3))
    save_adapter(newer, tmp_path)
    assert sorted(os.listdir(tmp_path)) == FILES
    model = load_adapter(tiny(BertForSequenceClassification), tmp_path)
    assert torch.equal(model(**right_padded).logits, newer(**right_padded).logits)


@pytest.mark.parametrize("failure", ["NaN", "infinite", "disk full", "no JSON"])
def test_after_a_failed_save_the_older_adapter_still_loads(failure, make, tiny, tmp_path, right_padded, monkeypatch):
    older, model = make(), make(AptConfig(3))
    save_adapter(older, tmp_path)

    def fail(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        if failure in ("NaN", "infinite"):
            prefixes(model)[1].value.data[0, 0] = float("nan" if failure == "NaN" else "inf")
        else:
            patch.setattr("os.fsync" if failure == "disk full" else "json.dumps", fail)
        with pytest.raises((ValueError, OSError)):
            save_adapter(model, tmp_path)
    assert sorted(os.listdir(tmp_path)) == FILES
    again = load_adapter(tiny(BertForSequenceClassification), tmp_path)
    assert torch.equal(again(**right_padded).logits, older(**right_padded).logits)


# The backbone's fingerprint


def test_the_fingerprint_sees_one_changed_value_in_any_backbone_tensor(tiny):
    model = tiny()
    before = fingerprint(model)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            value = parameter.view(-1)[-1].clone()
            parameter.view(-1)[-1] += 0.5
            assert fingerprint(model) != before, name
            parameter.view(-1)[-1] = value
    assert fingerprint(model) == before


def test_the_fingerprint_ignores_prefixes_head_and_whether_it_is_frozen(make, tiny):
    model = tiny(BertForSequenceClassification)
    assert fingerprint(make()) == fingerprint(model) == fingerprint(model.bert)
