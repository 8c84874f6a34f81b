"""bfloat16 on CPUs that have it: only where it is asked for, said in the line, and the same numbers as autocast's."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from apt_minimal.lab.train import config as configs
from apt_minimal.lab.train import loop, precision
from apt_minimal.lab.train.batches import forward
from apt_minimal.lab.train.config import TrainConfig
from apt_minimal.lab.train.precision import FrozenInBf16, computes_in_bf16

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PLAIN, HARDWARE = TrainConfig(1e-2), TrainConfig(1e-2, hardware_bf16=True)


@pytest.fixture
def cpu_has_bf16(monkeypatch):
    monkeypatch.setattr(configs, "computes_in_bf16", lambda device: True)


def test_torch_is_asked_what_the_cpu_has(monkeypatch):
    for name in precision._CPU_HAS:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not computes_in_bf16(CPU) and computes_in_bf16(GPU)
    for name in precision._CPU_HAS:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cpu, name, lambda: True)
            assert computes_in_bf16(CPU)
        monkeypatch.delattr(torch.cpu, name)  # an older torch
    assert not computes_in_bf16(CPU)


def test_a_line_can_say_which_numbers_were_computed_with(monkeypatch, cpu_has_bf16):
    assert [config.precision(CPU) for config in (PLAIN, HARDWARE)] == [
        "float32",
        "bf16 autocast, frozen backbone in bf16",
    ]
    assert PLAIN.precision(GPU) == "bf16 autocast"
    assert replace(HARDWARE, bf16=False).precision(GPU) == "float32"
    monkeypatch.setattr(configs, "computes_in_bf16", lambda device: False)
    assert HARDWARE.precision(CPU) == "float32"


def test_what_earlier_runs_did_not_know_is_not_recorded_where_it_says_nothing():
    assert vars(PLAIN).keys() - PLAIN.recorded.keys() == {"hardware_bf16", "gate_learning_rate"}
    assert TrainConfig(**replace(HARDWARE, gate_learning_rate=1e-4).recorded).gate_learning_rate == 1e-4
    assert HARDWARE.recorded["hardware_bf16"] is True


@pytest.mark.parametrize("method", ["apt", "lora", "prefix_beside", "head_only"])
def test_a_backbone_held_in_bf16_gives_autocasts_numbers_bit_by_bit(method, make_task, make_model):
    task = make_task()
    model = make_model(task, method).train()
    batch, before = task.collate(task.train), {name: p.clone() for name, p in model.named_parameters()}

    def gradients(context):
        torch.manual_seed(1)
        with context:
            loss = forward(model, batch, bf16=True).loss
            loss.backward()
        found = [p.grad for p in model.parameters() if p.requires_grad]
        model.zero_grad()
        return [loss.detach(), *found]

    held = FrozenInBf16(model)
    plain, first, again = gradients(nn.Identity() and torch.enable_grad()), gradients(held), gradients(held)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, first, again, strict=True))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_only_frozen_linear_layers_are_held_in_bf16(make_task, make_model):
    model = make_model(make_task(), "apt")
    with FrozenInBf16(model):
        halved = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)} - {"classifier"}
    assert halved == {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_training_steps_and_evaluations_run_in_bf16_where_asked(cpu_has_bf16, fit, monkeypatch):
    seen = set()

    def note(model, batch, bf16):
        seen.add((model.training, bf16, next(m for m in model.modules() if isinstance(m, nn.Linear)).weight.dtype))
        return forward(model, batch, bf16)

    monkeypatch.setattr(loop, "forward", note)
    monkeypatch.setattr("apt_minimal.lab.train.batches.forward", note)
    whole, _ = fit(max_steps=2, evaluations=1)
    assert seen == {(True, False, torch.float32), (False, False, torch.float32)}
    seen.clear()
    half, _ = fit(max_steps=2, evaluations=1, hardware_bf16=True)
    assert seen == {(True, True, torch.bfloat16), (False, True, torch.float32)}
    assert half["loss"] != whole["loss"] and half["loss"] == pytest.approx(whole["loss"], rel=0.05)


@pytest.mark.parametrize("method, lowest", [("apt", 0), ("apt@0-0-4", 2), ("head_only", 3)])
def test_nothing_below_the_lowest_trained_tensor_is_in_the_graph(method, lowest, make_task, make_model):
    """What enters the lowest layer with a prefix, embeddings included, is computed without a graph."""
    task, entering = make_task(), []
    model = make_model(task, method).train()
    for layer in model.bert.encoder.layer:
        layer.register_forward_pre_hook(lambda _, args: entering.append(args[0].requires_grad))
    forward(model, task.collate(task.train))
    assert entering == [i > lowest for i in range(3)]
