"""E2: the token gate α and what it looks at; λ."""

import pytest
import reference
import torch

from apt_minimal import LayerGate, TokenGate
from apt_minimal.gates import GATE_INPUTS, first_token, mean_token

B, N, D, L = 3, 6, 16, 4
MASKS = {
    "none": None,
    "right": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]]),
    "left": torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]),
}
with_masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
with_inputs = pytest.mark.parametrize("gate_input", GATE_INPUTS)


@with_masks
@with_inputs
def test_alpha_equals_the_reference(gate_input, mask, dtype, close):
    gate, hidden = TokenGate(L, D, gate_input, init_std=0.5).to(dtype), torch.randn(B, N, D, dtype=dtype)
    weight = reference.array(gate.weight)
    close(gate(hidden, mask), reference.token_gate(reference.array(hidden), mask, weight, gate_input))


@with_inputs
@pytest.mark.parametrize("padding", ["right", "left"])
def test_nothing_under_the_padding_reaches_a_gradient(gate_input, padding):
    gate, mask = TokenGate(L, D, gate_input, init_std=0.5), MASKS[padding]
    hidden = torch.randn(B, N, D).masked_fill(mask.eq(0).unsqueeze(-1), float("nan"))
    gate(hidden, mask).sum().backward()
    assert gate.weight.grad.isfinite().all() and gate.weight.grad.any()


@with_inputs
@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32, torch.bfloat16])
def test_a_mask_may_be_of_any_dtype(gate_input, kind):
    gate, hidden = TokenGate(L, D, gate_input, init_std=0.5), torch.randn(B, N, D)
    assert torch.equal(gate(hidden, MASKS["left"].to(kind)), gate(hidden, MASKS["left"]))


@with_inputs
def test_only_the_input_it_names_moves_alpha(gate_input):
    gate, hidden = TokenGate(L, D, gate_input, init_std=0.5), torch.randn(B, N, D)
    moved = []
    for position in (0, 3):
        other = hidden.clone()
        other[:, position] += 1
        moved.append(not torch.equal(gate(other), gate(hidden)))
    assert moved == {"first_token": [True, False], "mean": [True, True], "none": [False, False]}[gate_input]


def test_the_first_token_is_the_first_real_one():
    hidden = torch.arange(N, dtype=torch.float).expand(B, N).unsqueeze(-1)
    assert first_token(hidden, MASKS["left"]).flatten().tolist() == [0, 2, 5]
    assert first_token(hidden, MASKS["right"]).flatten().tolist() == [0, 0, 0]


def test_the_mean_is_over_real_tokens_only():
    hidden = torch.arange(N, dtype=torch.float).expand(B, N).unsqueeze(-1)
    assert mean_token(hidden, MASKS["left"]).flatten().tolist() == [2.5, 3.5, 5.0]


@with_inputs
def test_an_example_of_padding_only_gives_no_nan(gate_input):
    alpha = TokenGate(L, D, gate_input)(torch.randn(B, N, D), torch.zeros(B, N))
    assert alpha.isfinite().all()


@pytest.mark.parametrize(("gate_input", "shape"), [("first_token", (L, D)), ("mean", (L, D)), ("none", (L,))])
def test_shapes(gate_input, shape):
    gate = TokenGate(L, D, gate_input)
    assert gate.weight.shape == shape and gate(torch.randn(B, N, D)).shape == (B, L)


@with_inputs
def test_a_zero_weight_gives_one_half_so_there_is_no_bias(gate_input):
    assert TokenGate(L, D, gate_input, init_std=0.0)(torch.randn(B, N, D)).eq(0.5).all()


@pytest.mark.parametrize("std", [0.02, 0.3])
def test_the_weight_starts_at_the_standard_deviation_asked_for(std):
    weight = TokenGate(200, 100, init_std=std).weight
    assert abs(weight.std().item() / std - 1) < 0.05 and abs(weight.mean().item()) < 0.05 * std


def test_an_unknown_gate_input_is_named():
    with pytest.raises(ValueError, match="'last'.*first_token"):
        TokenGate(L, D, "last")


def test_the_layer_gate_starts_at_one_and_is_not_squashed():
    gate = LayerGate()
    assert gate().shape == () and gate().item() == 1
    gate.scale.data.fill_(-3.0)
    assert gate().item() == -3


def test_the_layer_gate_trains():
    gate = LayerGate()
    gate().backward()
    assert gate.scale.grad.item() == 1


@with_inputs
def test_autocast_leaves_alpha_in_full_precision(gate_input):
    gate, hidden = TokenGate(L, D, gate_input, init_std=0.5), torch.randn(B, N, D)
    with torch.autocast("cpu", torch.bfloat16):
        alpha = gate(hidden)
    assert alpha.dtype == torch.float32 and torch.equal(alpha, gate(hidden))
    if gate_input != "none":  # so that the comparison above can fail
        assert not torch.equal(torch.sigmoid(first_token(hidden).bfloat16() @ gate.weight.bfloat16().T).float(), alpha)
