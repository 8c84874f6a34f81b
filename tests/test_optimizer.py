"""Groups for an optimiser: every trained parameter once, in the group of the part it plays, with that part's rate."""

import pytest
import torch
from transformers import BertForSequenceClassification

from apt_minimal import AptConfig, attach, parameter_groups, prefixes


@pytest.fixture
def model(tiny):
    return attach(tiny(BertForSequenceClassification), AptConfig(5))


def test_each_part_has_its_own_rate_and_every_trained_parameter_is_in_one_group(model):
    groups = parameter_groups(model, lr=1e-2, gate_lr=1e-4, layer_gate_lr=1e-3, head_lr=1e-1)
    assert {group["name"]: group["lr"] for group in groups} == {
        "prefix": 1e-2, "gate": 1e-4, "layer_gate": 1e-3, "head": 1e-1
    }  # fmt: skip
    held = {group["name"]: set(group["params"]) for group in groups}
    assert held["prefix"] == {part for prefix in prefixes(model) for part in (prefix.key, prefix.value)}
    assert held["gate"] == {prefix.token_gate.weight for prefix in prefixes(model)}
    assert held["layer_gate"] == {prefix.layer_gate.scale for prefix in prefixes(model)}
    assert held["head"] == set(model.classifier.parameters())
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())


def test_a_part_without_a_rate_has_the_prefixes(model):
    assert {group["lr"] for group in parameter_groups(model, lr=0.5)} == {0.5}


def test_parts_that_are_not_there_have_no_group(tiny):
    plain = attach(tiny(BertForSequenceClassification), AptConfig(5, token_gate=False, layer_gate=False))
    assert [group["name"] for group in parameter_groups(plain, 1e-2, gate_lr=1e-3)] == ["prefix", "head"]
    plain.classifier.requires_grad_(False)
    assert [group["name"] for group in parameter_groups(plain, 1e-2)] == ["prefix"]


def test_an_optimiser_takes_steps_of_each_parts_own_size(model, inputs):
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-2, gate_lr=1e-5, head_lr=1e-1), weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(**inputs, labels=torch.tensor([0, 1, 1])).loss.backward()
    optimizer.step()
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters() if p.requires_grad}
    for ending, rate in {"token_gate.weight": 1e-5, ".key": 1e-2, "scale": 1e-2, "classifier.weight": 1e-1}.items():
        sizes = [size for name, size in moved.items() if name.endswith(ending)]
        assert max(sizes) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("rates", [{"lr": 0}, {"lr": 1e-2, "gate_lr": -1e-3}, {"lr": 1e-2, "head_lr": float("nan")}])
def test_rates_that_are_not_above_0_are_refused(rates, model):
    with pytest.raises(ValueError, match="must be above 0"):
        parameter_groups(model, **rates)
