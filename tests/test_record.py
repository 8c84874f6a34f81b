"""What `record` writes down."""

import pytest
import torch
from transformers import BertForSequenceClassification

from apt_minimal import AptConfig, record
from apt_minimal.gates import GATE_INPUTS

IMPLEMENTATIONS = ["eager", "sdpa"]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("gate_input", GATE_INPUTS)
def test_alpha_scale_and_mass_equal_the_reference(gate_input, implementation, inputs, dtype, attached, expected, close):
    apt = AptConfig(5, gate_input=gate_input, prefix_dropout=0.0)
    model = attached(dtype=dtype, apt=apt, attn_implementation=implementation)
    with record(model) as seen:
        model(**inputs)
    wanted = expected(model, inputs, gate_input)
    for layer in range(3):
        close(seen.alpha[layer], wanted.alpha[layer])
        close(seen.scale[layer], torch.as_tensor(wanted.scale[layer]).reshape(()))
        masses = (torch.as_tensor(mass).transpose(1, 2) for mass in (seen.mass[layer], wanted.mass[layer]))
        close(*masses, real_of=inputs)


def test_shapes_and_no_gradient(attached, right_padded):
    model = attached()
    with record(model) as seen:
        model(**right_padded)
    for alpha, scale, mass in zip(seen.alpha, seen.scale, seen.mass, strict=True):
        assert (alpha.shape, scale.shape, mass.shape) == ((3, 5), (), (3, 4, 9))
        assert not (alpha.requires_grad or scale.requires_grad or mass.requires_grad)


def test_the_last_forward_wins(attached, right_padded, left_padded):
    model = attached()
    with record(model) as seen:
        model(**left_padded)
        first = seen.alpha[2], seen.mass[2]
        model(**right_padded)
    with record(model) as alone:
        model(**right_padded)
    assert torch.equal(seen.alpha[2], alone.alpha[2]) and torch.equal(seen.mass[2], alone.mass[2])
    assert not torch.equal(seen.alpha[2], first[0]) and not torch.equal(seen.mass[2], first[1])


def test_what_was_recorded_does_not_follow_later_training(attached, right_padded):
    model = attached(apt=AptConfig(5, gate_input="none", prefix_dropout=0.0))
    with record(model) as seen:
        model(**right_padded)
    scale, alpha = seen.scale[0].clone(), seen.alpha[0].clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(seen.scale[0], scale) and torch.equal(seen.alpha[0], alpha)


def test_a_layer_without_prefix_has_none(attached, right_padded):
    model = attached(apt=AptConfig((4, 0, 2), prefix_dropout=0.0))
    with record(model) as seen:
        model(**right_padded)
    for values in (seen.alpha, seen.scale, seen.mass):
        assert [value is None for value in values] == [False, True, False]


def test_before_a_forward_there_is_none_everywhere(attached):
    with record(attached()) as seen:
        assert seen.alpha == seen.scale == seen.mass == [None] * 3


def test_a_gate_that_is_off_is_one(attached, right_padded):
    model = attached(apt=AptConfig(5, token_gate=False, layer_gate=False, prefix_dropout=0.0))
    with record(model) as seen:
        model(**right_padded)
    assert all(alpha.eq(1).all() and alpha.shape == (3, 5) for alpha in seen.alpha)
    assert all(scale.item() == 1 for scale in seen.scale)


@pytest.mark.parametrize("fails", [False, True])
def test_the_hooks_are_gone_afterwards(fails, attached, right_padded, state):
    model = attached(BertForSequenceClassification)
    before = state(model)
    try:
        with record(model) as seen:
            model(**right_padded)
            kept = seen.alpha[0]
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    model(**{name: tensor[:1] for name, tensor in right_padded.items()})
    assert seen.alpha[0] is kept and state.same(before, state(model))


def test_recording_changes_no_output_and_no_gradient(attached, right_padded):
    model = attached(BertForSequenceClassification)

    def run():
        model.zero_grad()
        logits = model(**right_padded).logits
        logits.sum().backward()
        return logits, model.bert.encoder.layer[0].attention.self.prefix.key.grad

    plain = run()
    with record(model):
        assert all(torch.equal(a, b) for a, b in zip(run(), plain, strict=True))


def test_two_models_are_recorded_apart(attached, right_padded):
    one, other = attached(), attached()
    with record(one) as first, record(other) as second:
        one(**right_padded)
    assert first.alpha[0] is not None and second.alpha[0] is None
