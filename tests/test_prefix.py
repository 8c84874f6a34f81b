"""E3: `AptConfig`, and one layer's prefix with its gates and dropout."""

import json
from dataclasses import asdict

import pytest
import reference
import torch
from torch import nn

from apt_minimal import AdaptivePrefix, AptConfig
from apt_minimal.gates import GATE_INPUTS

B, N, D, L = 3, 6, 16, 4
MASKS = [
    None,
    torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]),
    torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1]]),
]
GATES = [(True, True), (True, False), (False, True), (False, False)]


def make(dtype=torch.float32, **changes):
    """A prefix whose λ is not 1 and whose weights are large."""
    prefix = AdaptivePrefix(AptConfig(**{"prefix_length": L, "init_std": 0.5, "prefix_dropout": 0.0} | changes), D)
    if prefix.layer_gate is not None:
        prefix.layer_gate.scale.data.fill_(-1.7)
    return prefix.to(dtype)


@pytest.mark.parametrize("mask", MASKS, ids=["no mask", "right", "left"])
@pytest.mark.parametrize("gate_input", GATE_INPUTS)
@pytest.mark.parametrize(("token_gate", "layer_gate"), GATES)
def test_the_gated_prefix_equals_the_reference(token_gate, layer_gate, gate_input, mask, dtype, close):
    prefix = make(dtype, token_gate=token_gate, layer_gate=layer_gate, gate_input=gate_input)
    hidden = torch.randn(B, N, D, dtype=dtype)
    expected = reference.gated_prefix(reference.array(hidden), mask, reference.numbers(prefix), gate_input)
    for actual, wanted in zip((*prefix(hidden, mask), *prefix.gates(hidden, mask)), expected, strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("gate_input", GATE_INPUTS)
@pytest.mark.parametrize("mask", MASKS[1:], ids=["right", "left"])
def test_garbage_under_the_padding_never_reaches_the_prefix(gate_input, mask):
    prefix, hidden = make(gate_input=gate_input), torch.randn(B, N, D)
    for garbage in (float("nan"), 1e4):
        spoiled = hidden.masked_fill(mask.eq(0).unsqueeze(-1), garbage)
        for actual, wanted in zip(prefix(spoiled, mask), prefix(hidden, mask), strict=True):
            assert torch.equal(actual, wanted)


def test_the_parts_have_the_documented_names_and_shapes():
    shapes = {name: tuple(p.shape) for name, p in make().named_parameters()}
    assert shapes == {"key": (L, D), "value": (L, D), "token_gate.weight": (L, D), "layer_gate.scale": ()}
    assert dict(make(gate_input="none").named_parameters())["token_gate.weight"].shape == (L,)


def test_a_gate_that_is_off_is_none():
    prefix = make(token_gate=False, layer_gate=False)
    assert prefix.token_gate is None and prefix.layer_gate is None


def test_the_prefix_starts_at_the_standard_deviation_asked_for():
    prefix = AdaptivePrefix(AptConfig(300, init_std=0.05), 64)
    for tensor in (prefix.key, prefix.value, prefix.token_gate.weight):
        assert abs(tensor.std().item() / 0.05 - 1) < 0.05 and abs(tensor.mean().item()) < 0.002
    assert prefix.layer_gate.scale.item() == 1


def test_key_and_value_are_drawn_apart():
    prefix = make()
    assert not torch.equal(prefix.key, prefix.value)


def test_the_layer_chooses_its_length():
    config = AptConfig((3, 0, 7))
    assert [len(AdaptivePrefix(config, D, layer).key) for layer in (0, 2)] == [3, 7]
    with pytest.raises(ValueError, match="layer 1"):
        AdaptivePrefix(config, D, 1)


# Dropout


def dropped(prefix, examples=400):
    """Where dropout hit P_k and P_v, and the ratio to the undropped prefix elsewhere; gates as in eval."""
    hidden = torch.randn(1, N, D).expand(examples, -1, -1)
    whole = prefix.eval()(hidden)
    pairs = zip(prefix.train()(hidden), whole, strict=True)
    return [pair[0] / pair[1] for pair in pairs]


def test_dropout_is_elementwise_rescales_and_hits_as_often_as_asked():
    for ratio in dropped(make(prefix_dropout=0.25)):
        assert abs(ratio.eq(0).float().mean().item() - 0.25) < 0.01
        # what survives grows by 1 / (1 − p), so that the expectation stays
        assert torch.allclose(ratio[ratio != 0], torch.tensor(4 / 3))
        assert abs(ratio.mean().item() - 1) < 0.02
        rows = ratio.eq(0).float().mean(dim=-1)
        columns = ratio.eq(0).float().mean(dim=1)
        assert 0 < rows.max() < 1 and columns.std() > 0.1


def test_dropout_is_drawn_for_each_example_and_for_key_and_value_apart():
    key, value = (ratio.eq(0) for ratio in dropped(make(prefix_dropout=0.5)))
    # independent fair coins agree half of the time
    assert abs((key[0] == key[1:]).float().mean().item() - 0.5) < 0.05
    assert abs((key == value).float().mean().item() - 0.5) < 0.02


def test_dropout_leaves_the_gates_alone():
    prefix, hidden = make(prefix_dropout=0.5), torch.randn(B, N, D)
    assert torch.equal(prefix.train().gates(hidden)[0], prefix.eval().gates(hidden)[0])


def test_dropout_comes_before_the_gates_so_it_sees_p_itself(monkeypatch):
    prefix, seen = make(prefix_dropout=0.5), []
    real = nn.functional.dropout
    monkeypatch.setattr(nn.functional, "dropout", lambda x, *a, **k: seen.append(x) or real(x, *a, **k))
    prefix.train()(torch.randn(B, N, D))
    for x, p in zip(seen, (prefix.key, prefix.value), strict=True):
        assert torch.equal(x, p.expand(B, -1, -1))


def test_dropout_is_off_in_eval_and_at_zero():
    hidden = torch.randn(B, N, D)
    off, never = make(prefix_dropout=0.5).eval(), make(prefix_dropout=0.0).train()
    for prefix in (off, never):
        assert all(torch.equal(a, b) for a, b in zip(prefix(hidden), prefix(hidden), strict=True))


# AptConfig

BAD = [("prefix_length", value) for value in (-1, 2.5, True, (), (4, -2), (4, 1.5), "many", None)]
BAD += [("gate_input", value) for value in ("last_token", "", None)]
BAD += [("init_std", value) for value in (-0.1, float("nan"), float("inf"), "a", None)]
BAD += [("prefix_dropout", value) for value in (-0.1, 1.0, 1, float("nan"), "a", None)]
BAD += [("token_gate", "no"), ("layer_gate", 1)]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_named(name, value):
    with pytest.raises(ValueError) as error:
        AptConfig(**{name: value})
    assert name in str(error.value) and repr(value) in str(error.value)


def test_the_defaults_are_the_public_ones():
    defaults = {"token_gate": True, "layer_gate": True, "gate_input": "first_token", "init_std": 0.02}
    assert asdict(AptConfig()) == {"prefix_length": 16, **defaults, "prefix_dropout": 0.1}


@pytest.mark.parametrize("length", [16, 0, (4, 0, 2)])
def test_a_config_survives_json(length):
    config = AptConfig(length, token_gate=False, gate_input="mean", init_std=0.1, prefix_dropout=0.0)
    again = AptConfig(**json.loads(json.dumps(asdict(config))))
    assert again == config and hash(again) == hash(config)


def test_a_list_of_lengths_becomes_a_tuple():
    assert AptConfig([4, 0, 2]).prefix_length == (4, 0, 2)


def test_one_length_counts_for_every_layer():
    assert AptConfig(7).lengths(3) == (7, 7, 7) and AptConfig((4, 0, 2)).lengths(3) == (4, 0, 2)


def test_a_wrong_number_of_lengths_names_both_numbers():
    with pytest.raises(ValueError, match="2 layers.*3"):
        AptConfig((4, 4)).lengths(3)
