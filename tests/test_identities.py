"""Identities that an implementation of the equations must meet, whatever its weights: each to 1e-5 and 1e-12.

Those of one layer are tried on made shapes, masks and precisions; HYPOTHESIS_PROFILE=long tries many more.
"""

import math
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache

import apt_minimal.encoder
from apt_minimal import AdaptivePrefix, AptConfig, Encoder, prefixes
from apt_minimal.attention import prefix_attention, prefix_mass, prepend_prefix, scaled_dot_product_attention
from apt_minimal.gates import GATE_INPUTS, TokenGate

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


# One layer, for all shapes, masks and precisions

PRECISIONS = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 1e-2, torch.bfloat16: 6e-2}


@st.composite
def layers(draw):
    """q, k, v [b, h, n, d_h], a mask (none, or any with holes, or of nothing but padding), and P_k, P_v [b, l, d]."""
    b, h, n, l, d_h = (draw(st.integers(least, 4)) for least in (1, 1, 1, 0, 1))
    shape = b, draw(st.sampled_from([1, h])), draw(st.sampled_from([1, n])), n
    size = math.prod(shape)
    mask = draw(st.none() | st.lists(st.booleans(), min_size=size, max_size=size))
    dtype, generator = draw(st.sampled_from([*PRECISIONS])), torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    tensors = [torch.randn(s, generator=generator).to(dtype) for s in [(b, h, n, d_h)] * 3 + [(b, l, h * d_h)] * 2]
    return *tensors[:3], None if mask is None else torch.tensor(mask).view(shape), *tensors[3:]


def near(actual, expected):
    """Equal up to rounding, and finite."""
    assert actual.isfinite().all() and actual.shape == expected.shape
    assert torch.allclose(actual, expected, rtol=0, atol=PRECISIONS[actual.dtype])


def total(q, k, mask):
    """Z, the sum of exp(score) over what a query may look at, [b, h, n, 1]."""
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp()
    return (scores if mask is None else scores.masked_fill(~mask, 0)).sum(dim=-1, keepdim=True)


@given(layers())
def test_e1_is_e4_the_interpolation_and_the_mass_is_the_share_of_the_prefix(layer):
    q, k, v, mask, p_k, p_v = layer
    key, value, wide = prepend_prefix(k, v, mask, p_k, p_v)
    l, (out, weights) = p_k.shape[1], prefix_attention(q, k, v, p_k, p_v, mask)
    m = prefix_mass(q, key, l, wide).unsqueeze(-1)
    own, z = scaled_dot_product_attention(q, k, v, mask)[0], total(q, k, mask)
    prefix, z_prefix = scaled_dot_product_attention(q, key[:, :, :l], value[:, :, :l])[0], total(q, key[:, :, :l], None)
    near((1 - m) * own + m * prefix, out)
    near(m, (z_prefix / (z + z_prefix)).nan_to_num())  # nowhere to look
    near(m + weights[..., l:].sum(dim=-1, keepdim=True), ((z + z_prefix) > 0).to(m.dtype))


@given(layers(), st.sampled_from(["alpha", "lambda"]))
def test_a_closed_gate_damps_by_z_over_z_plus_l_and_does_not_remove_the_prefix(layer, closed):
    q, k, v, mask, p_k, p_v = layer
    prefix = of_numbers(p_k, p_v, weight=-1e4 if closed == "alpha" else 0.0, scale=0.0 if closed == "lambda" else 1.0)
    out, own = prefix_attention(q, k, v, *prefix(p_k), mask)[0], scaled_dot_product_attention(q, k, v, mask)[0]
    z, l = total(q, k, mask), p_k.shape[1]
    near(out, (z / (z + l)).nan_to_num() * own)
    if q.dtype == torch.float64 and l:  # not removed
        assert torch.equal(out, own) == own.eq(0).all()


def of_numbers(p_k, p_v, weight, scale):
    """An `AdaptivePrefix` with the first example's P, α = σ(weight), one for all or one each, and λ = scale."""
    l, d = p_k.shape[1:]
    prefix = AdaptivePrefix(AptConfig(max(l, 1), gate_input="none", prefix_dropout=0.0), d).to(p_k.dtype)
    with torch.no_grad():
        prefix.key, prefix.value = nn.Parameter(p_k[0]), nn.Parameter(p_v[0])
        prefix.token_gate.weight = nn.Parameter(torch.as_tensor(weight, dtype=p_k.dtype).expand(l))
        prefix.layer_gate.scale.fill_(scale)
    return prefix.requires_grad_(False)


@given(layers(), st.sampled_from([0.25, 2.0, 3.0, -1.0]))
def test_only_lambda_times_p_reaches_the_attention(layer, factor):
    q, k, v, mask, p_k, p_v = layer
    one, other = of_numbers(p_k, p_v, 0.3, 1.0), of_numbers(p_k / factor, p_v / factor, 0.3, factor)
    pairs = [prefix_attention(q, k, v, *prefix(p_k), mask)[0] for prefix in (one, other)]
    near(*pairs)
    assert factor == 3.0 or q.dtype == torch.float16 or torch.equal(*pairs)  # float16 may underflow


@given(layers(), st.randoms(use_true_random=False))
def test_the_order_of_a_prefix_and_its_gates_is_of_no_account(layer, random):
    q, k, v, mask, p_k, p_v = layer
    l, weight = p_k.shape[1], torch.linspace(-2, 2, p_k.shape[1]).to(p_k.dtype)
    order = random.sample(range(l), l)
    one, other = of_numbers(p_k, p_v, weight, 1.3), of_numbers(p_k[:, order], p_v[:, order], weight[order], 1.3)
    near(*(prefix_attention(q, k, v, *prefix(p_k), mask)[0] for prefix in (one, other)))


@given(layers())
def test_a_prefix_that_may_not_be_looked_at_is_none_and_a_mask_may_be_of_numbers(layer):
    q, k, v, mask, p_k, p_v = layer
    mask = torch.ones(1, 1, 1, k.shape[2], dtype=torch.bool) if mask is None else mask
    key, value, wide = prepend_prefix(k, v, mask, p_k, p_v)
    hidden = wide.index_fill(-1, torch.arange(p_k.shape[1]), False)
    near(scaled_dot_product_attention(q, key, value, hidden)[0], scaled_dot_product_attention(q, k, v, mask)[0])
    if p_k.shape[1]:
        added = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -math.inf)
        pair = [prefix_attention(q, k, v, p_k, p_v, m)[0] for m in (mask, added)]
        assert torch.equal(*pair)


@given(st.data(), st.sampled_from(GATE_INPUTS), st.sampled_from([*PRECISIONS]), st.sampled_from([math.nan, 1e4]))
def test_padding_anywhere_with_anything_under_it_moves_no_gate(data, gate_input, dtype, garbage):
    real = data.draw(st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
    torch.manual_seed(data.draw(st.integers(0, 2**32)))
    gate, words = TokenGate(3, 5, gate_input, init_std=0.5).to(dtype), torch.randn(1, sum(real), 5).to(dtype)
    padded = torch.full((1, len(real), 5), garbage, dtype=dtype)
    padded[:, real] = words
    near(gate(padded, torch.tensor([real])), gate(words))
    assert gate_input == "mean" or torch.equal(gate(padded, torch.tensor([real])), gate(words))


@st.composite
def batches(draw):
    """Token ids, types and any mask, [b, n] each."""
    b, n = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    rows = {"input_ids": st.integers(0, 59), "token_type_ids": st.integers(0, 1), "attention_mask": st.integers(0, 1)}
    one = {name: st.lists(st.lists(x, min_size=n, max_size=n), min_size=b, max_size=b) for name, x in rows.items()}
    return {name: torch.tensor(draw(x)) for name, x in one.items()}


@pytest.fixture(scope="module")
def host_and_encoder(attached):
    @cache
    def make(gate_input, fused):
        apt, kind = AptConfig((3, 0, 2), gate_input=gate_input), "sdpa" if fused else "eager"
        host = attached(apt=apt, dtype=torch.float64, attn_implementation=kind).eval()
        return host, Encoder.from_bert(host, fused)

    return make


@given(batches(), st.sampled_from(GATE_INPUTS), st.booleans())
def test_in_every_batch_the_host_is_the_encoder_and_no_padding_is_seen(host_and_encoder, made, gate_input, fused):
    (host, encoder), real = host_and_encoder(gate_input, fused), made["attention_mask"].bool()
    found = encoder(**made, prefixes=prefixes(host))
    near(states(host, made)[real], found[real])
    if real.any(dim=1).all():  # of an example that is all padding, the padding is all that there is
        other = made | {"input_ids": torch.where(real, made["input_ids"], 59 - made["input_ids"])}
        assert torch.equal(encoder(**other, prefixes=prefixes(host))[real], found[real])


# More of the whole model


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
