"""Transformers' own checkpoints, the callback that writes adapters, and what is refused on the way."""

from types import SimpleNamespace

import pytest
from transformers import BertForSequenceClassification

import apt_minimal
from apt_minimal import AptConfig, attach, detach, record, save_adapter, switch_adapter
from apt_minimal.checkpoints import AdapterCallback, load_checkpoint


def test_an_adapter_with_parts_of_the_backbone_is_not_switched(attached, tmp_path):
    model = attached(BertForSequenceClassification)
    save_adapter(model, tmp_path)
    model.bert.pooler.requires_grad_(True)
    with pytest.raises(ValueError, match="changed bert.pooler.dense.weight.*fresh backbone"):
        switch_adapter(model, tmp_path)


def test_a_checkpoint_that_does_not_fit_is_refused_and_the_model_is_as_before(attached, tiny, tmp_path, state):
    attached(BertForSequenceClassification).save_pretrained(tmp_path)
    fresh = tiny(BertForSequenceClassification)
    before = state(fresh)
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        load_checkpoint(fresh, tmp_path / "nowhere")
    deeper = tiny(BertForSequenceClassification, num_hidden_layers=4)
    with pytest.raises(ValueError, match="the checkpoint of another model"):
        load_checkpoint(deeper, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        load_checkpoint(fresh, tmp_path)
    assert state.same(before, state(fresh))
    with pytest.raises(ValueError, match="already has prefixes"):
        load_checkpoint(attach(fresh, AptConfig(2)), tmp_path)


@pytest.mark.parametrize("only", [False, True])
def test_the_callback_writes_an_adapter_and_keeps_or_deletes_the_checkpoints_weights(only, attached, tmp_path):
    model = attached(BertForSequenceClassification)
    arguments, step = SimpleNamespace(output_dir=tmp_path), tmp_path / "checkpoint-7"
    at = SimpleNamespace(is_world_process_zero=True, global_step=7)
    model.save_pretrained(step)
    AdapterCallback(only).on_save(arguments, at, None, model)
    assert (step / "adapter" / "adapter.json").is_file()
    assert (step / "model.safetensors").is_file() is not only


def test_the_callback_leaves_a_model_without_prefixes_alone(attached, tmp_path):
    at = SimpleNamespace(is_world_process_zero=True, global_step=7)
    plain = detach(attached(BertForSequenceClassification))
    AdapterCallback(only=True).on_save(SimpleNamespace(output_dir=tmp_path), at, None, plain)
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_is_none_is_refused(tiny):
    with pytest.raises(TypeError, match=r"config is 16; give an AptConfig"):
        attach(tiny(), 16)
    with pytest.raises(ValueError, match="prefix_length.* int"):
        AptConfig(-(10**10_000))


def test_a_record_says_which_layers_it_has_seen(attached, right_padded):
    model = attached(apt=AptConfig((3, 0, 2)))
    with record(model) as seen:
        assert repr(seen) == "Record(layers with a prefix: none so far of 3)"
        model(**right_padded)
    assert repr(seen) == "Record(layers with a prefix: [1, 3] of 3)"


def test_the_package_gives_the_labs_load_task_and_names_what_it_has_not():
    assert apt_minimal.load_task.__module__ == "apt_minimal.lab.data.tasks"
    with pytest.raises(AttributeError, match="has no attribute 'load_tusk'"):
        apt_minimal.load_tusk  # noqa: B018
