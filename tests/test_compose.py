"""Attached models in the programs people have: wrapped, copied, compiled, quantised, beside peft, in a Trainer."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time

import pytest
import torch
from test_hosts import CONFIG, host, padded
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, BertForSequenceClassification
from two_processes import torchrun

from apt_minimal import (
    AdapterCallback,
    AptConfig,
    attach,
    detach,
    load_adapter,
    load_checkpoint,
    prefixes,
    record,
    save_adapter,
    summary,
    switch_adapter,
    without_prefix,
)


def bert():
    return host("bert", dtype=torch.float32)


def frozen(model):
    return [name for name, p in model.named_parameters() if ".prefix." in name and not p.requires_grad]


class Mine(nn.Module):
    """What most prototypes are: an encoder as an attribute, and a head of one's own with buffers."""

    def __init__(self):
        super().__init__()
        self.encoder, self.norm = host("bert", AutoModel, dtype=torch.float32), nn.BatchNorm1d(32)
        self.head = nn.Linear(32, 2)

    def forward(self, **inputs):
        return self.head(self.norm(self.encoder(**inputs).last_hidden_state[:, 0]))


@pytest.mark.parametrize(
    "wrap", [lambda m: m, nn.DataParallel, torch.compile], ids=["plain", "DataParallel", "compiled"]
)
def test_a_module_of_ones_own_is_found_recorded_saved_whole_and_loaded(wrap, tmp_path):
    model = attach(wrap(Mine()), CONFIG).train()
    inner = getattr(model, "module", getattr(model, "_orig_mod", model))
    for _ in range(3):
        inner(**padded())  # moves the norm's running statistics
    save_adapter(model.eval(), tmp_path)
    torch.manual_seed(9)
    again = load_adapter(Mine(), tmp_path).eval()
    assert torch.equal(again(**padded()), inner(**padded()))
    with record(again) as seen:
        again(**padded())
    assert [mass.shape for mass in seen.mass] == [(3, 4, 20)] * 3
    assert not [name for name, _ in detach(again).named_parameters() if ".prefix." in name]


def test_two_encoders_in_one_module_are_told_apart_by_name():
    towers = nn.ModuleDict({"left": host("bert", AutoModel), "right": host("roberta", AutoModel)})
    with pytest.raises(ValueError, match=r"2 encoders: give one of model.left, model.right"):
        attach(towers, CONFIG)
    attach(towers["right"], CONFIG)
    assert len(prefixes(towers)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "albert", "modernbert", "mpnet", "deberta-v2"])
def test_a_compiled_model_is_one_graph_and_the_prefix_goes_and_comes(kind):
    model, inputs = attach(host(kind, AutoModel, dtype=torch.float32), CONFIG), padded()
    expected = model(**inputs).last_hidden_state
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found = compiled(**inputs).last_hidden_state
    found.square().sum().backward()
    assert torch.allclose(found, expected, atol=1e-6)
    assert all(p.grad is not None for prefix in prefixes(model) for p in prefix.parameters())
    with without_prefix(model):
        assert torch.equal(compiled(**inputs).last_hidden_state, model(**inputs).last_hidden_state)
    with record(compiled) as seen:
        compiled(**inputs)
    assert all(mass is not None for mass in seen.mass)


@pytest.mark.parametrize("kind", ["bert", "albert", "modernbert", "mpnet", "deberta-v2"])
def test_copies_and_pickles_are_independent(kind):
    model, inputs = attach(host(kind), CONFIG), padded()
    logits = model(**inputs).logits
    twin, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        prefixes(twin)[0].value.add_(1)
    assert torch.equal(again(**inputs).logits, logits) and not torch.equal(twin(**inputs).logits, logits)
    detach(twin), detach(again)
    assert torch.equal(model(**inputs).logits, logits)
    assert torch.equal(twin(**inputs).logits, again(**inputs).logits)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("first", ["attach", "checkpointing"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "eurobert", "deberta-v2"])
def test_gradient_checkpointing_gives_the_same_gradients(kind, first, reentrant):
    def gradients(checkpointing):
        torch.manual_seed(0)
        model = host(kind, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        steps = [lambda: attach(model, CONFIG)]
        if checkpointing:
            kwargs = {"use_reentrant": reentrant}
            steps.append(lambda: model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs))
        for step in steps if first == "attach" else reversed(steps):
            step()
        if checkpointing and reentrant:
            model.enable_input_require_grads()
        for module in model.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model(**padded(), labels=torch.tensor([0, 1, 0])).loss.backward()
        return [p.grad for prefix in prefixes(model) for p in prefix.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(False), gradients(True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "modernbert", "mpnet", "deberta-v2"])
def test_export_with_a_dynamic_batch_and_length(kind):
    model, inputs = attach(host(kind, AutoModel, dtype=torch.float32), CONFIG), padded()
    dims = {0: torch.export.Dim("b", min=2, max=64), 1: torch.export.Dim("n", min=2, max=64)}
    exported = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, dims), strict=False)
    other = {name: torch.cat([x, x])[:5, :13] for name, x in inputs.items()}
    ours, theirs = model(**other).last_hidden_state, exported.module()(**other).last_hidden_state
    assert torch.allclose(ours, theirs, atol=1e-6)


# peft


def lora(model, **config):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query", "value"], **config))


def test_lora_on_top_of_an_attached_model_leaves_the_prefixes_trainable():
    model = lora(attach(bert(), CONFIG))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sum("lora_" in name for name in trained) == 12 and frozen(model) == []
    assert not any("word_embeddings" in name for name in trained)


def test_prefixes_on_top_of_lora_leave_it_trainable_and_are_saved_with_it(tmp_path):
    model = attach(lora(bert(), task_type="SEQ_CLS"), CONFIG)
    assert sum("lora_" in name for name, p in model.named_parameters() if p.requires_grad) == 12
    model.eval()
    save_adapter(model, tmp_path)
    again = load_adapter(lora(bert(), task_type="SEQ_CLS").eval(), tmp_path)
    assert torch.equal(again(**padded()).logits, model(**padded()).logits)


def test_prefixes_that_a_tuner_froze_all_the_same_are_an_error_in_training():
    model = attach(lora(bert()), CONFIG).train()
    for prefix in prefixes(model):
        prefix.requires_grad_(False)
    with pytest.raises(RuntimeError, match="has frozen the prefixes"):
        model(**padded())
    model.eval()(**padded())


# Other kinds of models and machines


@pytest.mark.filterwarnings("ignore")
def test_a_dynamically_quantised_backbone_takes_prefixes_in_either_order():
    first = attach(torch.ao.quantization.quantize_dynamic(bert(), {nn.Linear}, dtype=torch.qint8), CONFIG)
    assert first(**padded()).logits.isfinite().all()
    then = torch.ao.quantization.quantize_dynamic(attach(bert(), CONFIG), {nn.Linear}, dtype=torch.qint8)
    assert then(**padded()).logits.isfinite().all()


PARALLEL = """
import os, sys, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from torch.nn.parallel import DistributedDataParallel
from test_hosts import CONFIG, host, padded
from apt_minimal import attach, prefixes, save_adapter
dist.init_process_group("gloo")
torch.manual_seed(0)
model = attach(host("bert"), CONFIG)
both = DistributedDataParallel(model)
rows = slice(2 * dist.get_rank(), 2 * dist.get_rank() + 2)
inputs = {name: torch.cat([x, x])[:4][rows] for name, x in padded().items()}
both(**inputs, labels=torch.tensor([0, 1, 1, 0])[rows]).loss.backward()
if dist.get_rank() == 0:
    torch.save([p.grad for prefix in prefixes(model) for p in prefix.parameters()], sys.argv[2] + "/grads")
    save_adapter(both, sys.argv[2] + "/adapter")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="two processes over gloo")
def test_two_processes_have_the_gradients_of_one_on_the_whole_batch(tmp_path):
    (tmp_path / "run.py").write_text(PARALLEL)
    torchrun(tmp_path / "run.py", os.path.dirname(__file__), tmp_path)
    torch.manual_seed(0)
    model = attach(host("bert"), CONFIG)
    inputs = {name: torch.cat([x, x])[:4] for name, x in padded().items()}
    model(**inputs, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
    alone = [p.grad for prefix in prefixes(model) for p in prefix.parameters()]
    together = torch.load(tmp_path / "grads", weights_only=True)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(alone, together, strict=True))
    assert len(prefixes(load_adapter(host("bert"), tmp_path / "adapter"))) == 3


SHARDED = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from test_hosts import CONFIG, host, padded
from apt_minimal import attach, save_adapter
dist.init_process_group("gloo", init_method="file://" + sys.argv[2] + "/meet", rank=0, world_size=1)
model = attach(host("bert"), CONFIG)
mesh = init_device_mesh("cpu", (1,))
for layer in model.bert.encoder.layer:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
logits = model(**padded()).logits
logits.sum().backward()
save_adapter(model, sys.argv[2] + "/adapter")
torch.save(logits.detach(), sys.argv[2] + "/logits")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo")
def test_a_sharded_model_trains_and_its_adapter_is_whole(tmp_path):
    command = [sys.executable, "-c", SHARDED, os.path.dirname(__file__), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    again = load_adapter(host("bert"), tmp_path / "adapter")
    logits = torch.load(tmp_path / "logits", weights_only=True)
    assert torch.allclose(again(**padded()).logits, logits, atol=1e-12)


# Saved adapters and checkpoints


def test_switching_adapters_is_exact_fast_and_leaves_the_old_one_after_a_refusal(tmp_path):
    logits = {}
    for name, config in {"a": CONFIG, "b": AptConfig(3), "c": AptConfig(3, token_gate=False)}.items():
        torch.manual_seed(len(logits))
        model = attach(bert(), config)
        save_adapter(model, tmp_path / name)
        logits[name] = model(**padded()).logits
    model = load_adapter(bert(), tmp_path / "a")
    for name in ("b", "c", "b", "a"):
        start = time.perf_counter()
        switch_adapter(model, tmp_path / name)
        assert time.perf_counter() - start < 2  # far above what it takes, far below a hang
        assert torch.equal(model(**padded()).logits, logits[name])
    (tmp_path / "b" / "adapter.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        switch_adapter(model, tmp_path / "b")
    assert torch.equal(model(**padded()).logits, logits["a"])


def test_transformers_own_checkpoint_keeps_the_prefix_and_the_way_back_is_one_call(tmp_path):
    model = attach(bert(), CONFIG).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["apt_minimal"]["prefix_length"] == 5
    again = load_checkpoint(AutoModelForSequenceClassification.from_pretrained(tmp_path), tmp_path).eval()
    assert torch.equal(again(**padded()).logits, model(**padded()).logits)
    detach(model).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="without prefixes"):
        load_checkpoint(bert(), tmp_path / "plain")


@pytest.mark.slow
def test_a_trainer_writes_small_adapters_in_the_place_of_large_checkpoints(tmp_path):
    from transformers import Trainer, TrainingArguments

    data = [{name: x[i] for name, x in padded().items()} | {"labels": i % 2} for i in range(3)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, save_steps=1, report_to=[], disable_tqdm=True, use_cpu=True
    )
    model = attach(bert(), CONFIG)
    Trainer(model, arguments, train_dataset=data, callbacks=[AdapterCallback(only=True)]).train()
    assert not list(tmp_path.glob("checkpoint-*/model*"))
    again = load_adapter(bert(), tmp_path / "checkpoint-2" / "adapter")
    assert torch.equal(again.eval()(**padded()).logits, model.eval()(**padded()).logits)


def test_an_attached_model_tells_its_lengths_gates_and_trained_share():
    model = attach(bert(), AptConfig((5, 0, 2), layer_gate=False))
    assert "5 tokens of width 32, α of first_token, no λ, 480 trained" in repr(prefixes(model)[0])
    table = summary(model).splitlines()
    assert len(table) == 5 and "first_token" in table[1] and table[2].split() == ["2", "0", "–", "–", "0"]
    assert table[4].endswith("%") and table[4].startswith("738 of")


@pytest.mark.slow
def test_importing_the_package_does_not_import_transformers_or_the_lab():
    code = "import sys, apt_minimal; print([m for m in ('transformers', 'pandas', 'peft') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_sequence_classifier_of_transformers_keeps_its_label_names(tmp_path):
    model = attach(bert(), CONFIG)
    model.config.id2label = {0: "no", 1: "yes"}
    save_adapter(model, tmp_path, task="made up", scores={"accuracy": 0.5})
    card = (tmp_path / "README.md").read_text()
    assert "labels: no, yes" in card and "accuracy: 0.5000" in card and "BertForSequenceClassification" in card
    assert load_adapter(bert(), tmp_path).config.id2label == {0: "no", 1: "yes"}
    assert isinstance(model, BertForSequenceClassification)
