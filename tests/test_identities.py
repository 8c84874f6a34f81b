"""Identities that an implementation of the equations must meet, whatever its weights: each to 1e-5 and 1e-12."""

import pytest
import torch
from transformers import DynamicCache

import apt_minimal.encoder
from apt_minimal import AptConfig, Encoder, prefixes
from apt_minimal.attention import prefix_attention, prefix_mass, prepend_prefix, scaled_dot_product_attention
from apt_minimal.gates import TokenGate

PLAIN = AptConfig(5, token_gate=False, layer_gate=False, prefix_dropout=0.0)
FREE = AptConfig(5, gate_input="none", prefix_dropout=0.0)


def states(model, inputs, **more):
    return model(**inputs, **more).last_hidden_state


@pytest.fixture
def plain(attached, dtype):
    """P-tuning v2: a prefix without gates."""
    return attached(dtype=dtype, apt=PLAIN)


@pytest.fixture
def gated(attached, dtype):
    return attached(dtype=dtype)


def give(model, source, divisor=1.0):
    """Copy another model's P, divided, into this one's prefixes."""
    with torch.no_grad():
        for ours, theirs in zip(prefixes(model), prefixes(source), strict=True):
            ours.key.copy_(theirs.key / divisor)
            ours.value.copy_(theirs.value / divisor)


def set_gates(model, weight, scale):
    for prefix in prefixes(model):
        prefix.token_gate.weight.data.fill_(weight)
        prefix.layer_gate.scale.data.fill_(scale)


def as_cache(model, examples):
    """The same prefixes in the form that transformers itself offers."""
    cache = DynamicCache()
    for layer, prefix in enumerate(prefixes(model)):
        pair = (p.expand(examples, -1, -1).unflatten(-1, (4, 8)).transpose(1, 2) for p in (prefix.key, prefix.value))
        cache.update(*pair, layer)
    return cache


def test_the_encoder_equals_transformers_bert_in_every_layer(tiny, dtype, inputs, close):
    bert = tiny(dtype=dtype, attn_implementation="eager")
    encoder, theirs = Encoder.from_bert(bert), bert(**inputs, output_hidden_states=True).hidden_states
    for depth in range(4):
        shallow = Encoder.from_bert(bert)
        shallow.layers = encoder.layers[:depth]
        close(shallow(**inputs), theirs[depth], real_of=inputs)


@pytest.mark.parametrize("shifted", [False, True])
def test_a_prefix_without_gates_equals_past_key_values(shifted, plain, tiny, right_padded, close):
    host = tiny(dtype=plain.dtype)
    mask = torch.cat([torch.ones(3, 5, dtype=torch.int), right_padded["attention_mask"]], dim=1)
    positions = torch.arange(9)[None]
    # left to itself, the host counts the prefix as positions
    theirs = {} if shifted else {"position_ids": positions}
    ours = states(plain, right_padded, position_ids=positions + 5 * shifted)
    reference = host(**right_padded | {"attention_mask": mask}, past_key_values=as_cache(plain, 3), **theirs)
    close(ours, reference.last_hidden_state, real_of=right_padded)


def test_positions_matter_so_the_two_above_differ(plain, right_padded):
    positions = torch.arange(9)[None]
    pair = (states(plain, right_padded, position_ids=positions + shift) for shift in (0, 5))
    assert not torch.allclose(*pair, atol=1e-2)


def test_positions_are_not_shifted(plain, right_padded):
    given = states(plain, right_padded, position_ids=torch.arange(9)[None])
    assert torch.equal(states(plain, right_padded), given)


def test_alpha_and_lambda_of_one_are_p_tuning_v2_to_the_bit(attached, plain, dtype, inputs):
    model = attached(dtype=dtype, apt=FREE)
    give(model, plain)
    set_gates(model, weight=50.0, scale=1.0)  # σ(50) is 1 in either precision
    assert torch.equal(states(model, inputs), states(plain, inputs))


def test_zero_gate_weights_and_lambda_two_are_p_tuning_v2_to_the_bit(gated, plain, inputs):
    give(gated, plain)
    set_gates(gated, weight=0.0, scale=2.0)  # σ(0) = ½
    assert torch.equal(states(gated, inputs), states(plain, inputs))


def test_a_masked_prefix_is_no_prefix(gated, inputs, monkeypatch, close):
    encoder = Encoder.from_bert(gated)
    inputs["attention_mask"] = inputs.get("attention_mask", torch.ones(3, 9))

    def masked(*args):
        key, value, mask = prepend_prefix(*args)
        return key, value, mask.index_fill(-1, torch.arange(5), False)

    without, with_prefix = encoder(**inputs), encoder(**inputs, prefixes=prefixes(gated))
    monkeypatch.setattr(apt_minimal.encoder, "prepend_prefix", masked)
    close(encoder(**inputs, prefixes=prefixes(gated)), without)
    assert not torch.allclose(with_prefix, without, atol=1e-2)


def test_the_gates_cannot_remove_a_prefix(gated, tiny, inputs):
    with torch.no_grad():
        for prefix in prefixes(gated):
            prefix.layer_gate.scale.zero_()
    assert not torch.allclose(states(gated, inputs), states(tiny(dtype=gated.dtype), inputs), atol=1e-2)


def attention_parts(dtype):
    q, k, v = (torch.randn(2, 4, 9, 8, dtype=dtype) for _ in range(3))
    return q, k, v, *(torch.randn(2, 5, 32, dtype=dtype) for _ in range(2))


def test_lambda_zero_damps_one_layers_output_by_z_over_z_plus_l(dtype, close):
    q, k, v, p_k, p_v = attention_parts(dtype)
    z = (q @ k.transpose(-1, -2) / 8**0.5).exp().sum(dim=-1, keepdim=True)
    close(prefix_attention(q, k, v, 0 * p_k, 0 * p_v)[0], z / (z + 5) * scaled_dot_product_attention(q, k, v)[0])


def test_prefix_attention_is_an_interpolation(dtype, close):
    q, k, v, p_k, p_v = attention_parts(dtype)
    key, value, _ = prepend_prefix(k, v, None, p_k, p_v)
    m = prefix_mass(q, key, 5).unsqueeze(-1)
    own, prefix = (scaled_dot_product_attention(q, key[:, :, s], value[:, :, s])[0] for s in (slice(5, None), slice(5)))
    close((1 - m) * own + m * prefix, prefix_attention(q, k, v, p_k, p_v)[0])
    assert 0.05 < m.mean() < 0.95


def test_permuting_prefix_tokens_with_their_gates_changes_nothing(gated, inputs, close):
    before, order = states(gated, inputs), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        for prefix in prefixes(gated):
            for tensor in (prefix.key, prefix.value, prefix.token_gate.weight):
                tensor.copy_(tensor[order])
    close(states(gated, inputs), before, real_of=inputs)
    with torch.no_grad():
        for prefix in prefixes(gated):
            prefix.token_gate.weight.copy_(prefix.token_gate.weight[order])
    assert not torch.allclose(states(gated, inputs), before, atol=1e-2)


@pytest.mark.parametrize(("factor", "exact"), [(2.0, True), (0.25, True), (3.0, False)])
def test_only_lambda_times_p_matters(factor, exact, gated, inputs, close):
    before = states(gated, inputs)
    with torch.no_grad():
        for prefix in prefixes(gated):
            prefix.layer_gate.scale.mul_(factor)
            prefix.key.div_(factor)
            prefix.value.div_(factor)
    after = states(gated, inputs)
    assert not exact or torch.equal(after, before)
    close(after, before, real_of=inputs)


def more_padding(inputs, side, extra=6):
    """The batch with more padding on the same side, and the position ids that keep the words where they were."""
    order = slice(None, None, 1 if side == "right" else -1)
    blank = torch.full((3, extra), 7, dtype=torch.int)
    longer = {"input_ids": blank, "token_type_ids": 0 * blank, "attention_mask": 0 * blank}
    longer = {name: torch.cat([inputs[name], x][order], dim=1) for name, x in longer.items()}
    start = 0 if side == "right" else -extra
    return longer, {"position_ids": torch.arange(start, start + 9 + extra)[None].clamp(min=0)}


def moved_by_padding(model, inputs, side):
    """The largest change that more padding makes to the hidden state of a real token."""
    longer, positions = more_padding(inputs, side)
    before, after = states(model, inputs), states(model, longer, **positions)
    after = after[:, :9] if side == "right" else after[:, -9:]
    return (after - before)[inputs["attention_mask"].bool()].abs().max().item()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("gate_input", ["first_token", "mean", "none"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_more_padding_changes_nothing(implementation, gate_input, side, attached, dtype, right_padded, left_padded):
    apt = AptConfig(5, gate_input=gate_input, prefix_dropout=0.0)
    model = attached(dtype=dtype, apt=apt, attn_implementation=implementation)
    inputs = right_padded if side == "right" else left_padded
    assert moved_by_padding(model, inputs, side) < {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_mean_over_the_padding_would_fail_the_test_above(
    side, attached, dtype, right_padded, left_padded, monkeypatch
):
    model = attached(dtype=dtype, apt=AptConfig(5, gate_input="mean", prefix_dropout=0.0))

    def careless(gate, hidden_states, attention_mask=None):
        return (hidden_states.mean(dim=1) @ gate.weight.T).sigmoid()

    monkeypatch.setattr(TokenGate, "forward", careless)
    assert moved_by_padding(model, right_padded if side == "right" else left_padded, side) > 1e-2
