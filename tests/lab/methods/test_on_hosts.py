"""The lab's methods on encoders of other kinds than BERT: each trains, and what can't be says why."""

import copy

import pytest
import torch
from made import made_row
from test_hosts import host
from transformers import AutoModelForTokenClassification

from apt_minimal.lab.data.tasks import load_task
from apt_minimal.lab.methods import METHODS, method_named, prepare
from apt_minimal.lab.methods.upper import UpperLayers
from apt_minimal.lab.read.importance import layer_effects
from apt_minimal.lab.train.loop import TrainConfig, train

KINDS = ["distilbert", "albert", "modernbert", "eurobert", "mpnet", "deberta-v2"]
NAMES = ["apt", "apt_log_gate", "apt_query_gate", "apt_pruned", "prefix_beside", "lora"]


@pytest.fixture
def task(write, tmp_path, tokenizer):
    """A made task, encoded by a tokenizer that knows no token types."""
    rows = [made_row("token", i) for i in range(20)]
    write("mine", train=rows[:12], validation=rows[12:])
    plain = copy.copy(tokenizer)
    plain.model_input_names = ["input_ids", "attention_mask"]
    found = load_task("mine", plain, source="folder", data_dir=tmp_path)
    assert found.collate(found.train).keys() == {"input_ids", "attention_mask", "labels"}
    return found


def model_for(task, kind, tokenizer):
    auto, sizes = AutoModelForTokenClassification, {"vocab_size": len(tokenizer), "num_labels": len(task.labels)}
    return host(kind, auto, dtype=torch.float32, **sizes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_trains_on_every_kind_of_host(kind, name, task, tokenizer):
    if (kind, name) == ("albert", "prefix_beside"):
        with pytest.raises(TypeError, match="applies one layer again and again"):
            prepare(model_for(task, kind, tokenizer), name)
        return
    method = method_named(f"{name}@4") if METHODS[name].config and name != "prefix_beside" else name
    model = prepare(model_for(task, kind, tokenizer), method)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    train(model, task, TrainConfig(learning_rate=1e-2, max_steps=2, evaluations=1, batch_size=4), progress=False)
    after = [p for p in model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_prefix_does_can_be_measured_on_every_kind_of_host(kind, task, tokenizer):
    model = prepare(model_for(task, kind, tokenizer), "apt@4")
    effects = layer_effects(model, task, task.validation)
    assert effects.shape == (3,) and (effects > 0).all() and effects.unique().numel() == 3


@pytest.mark.parametrize("kind", ["distilbert", "albert", "modernbert", "deberta-v2"])
def test_a_host_that_cannot_be_cut_says_why(kind, task, tokenizer):
    with pytest.raises(TypeError, match="cannot be cut: only hosts|cannot be cut: its first layer has a convolution"):
        UpperLayers(model_for(task, kind, tokenizer), 1)
