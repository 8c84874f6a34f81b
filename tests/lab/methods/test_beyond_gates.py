"""Beyond the paper: query gates, gates that truly remove, a prefix beside the attention.

What the methods compute is written out here a second time, differentiable, with exp and sums in place of softmax and
masks, around the from-scratch encoder's linear layers (which have their own tests).
"""

import copy
import math
from contextlib import ExitStack

import pytest
import torch
from torch.autograd import grad
from transformers import BertForSequenceClassification, BertModel

from apt_minimal import AptConfig, Encoder, attach, detach, load_adapter, prefixes, record, save_adapter
from apt_minimal.lab.methods.beside import attach_beside
from apt_minimal.lab.methods.log_gate import use_log_gates
from apt_minimal.lab.methods.query_gate import use_query_gates
from apt_minimal.lab.read.importance import layer_effects
from apt_minimal.lab.read.removal import removed

IMPLEMENTATIONS = ["eager", "sdpa"]
APT = AptConfig(5, prefix_dropout=0.0)
LAYER = 1


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request):
    return request.param


@pytest.fixture
def changed(attached, implementation):
    """Make an attached fp64 model with random prefixes, changed by `use`; queries of query gates are random too."""

    def make(*use, apt=APT, cls=BertModel):
        model = attached(cls, dtype=torch.float64, apt=apt, attn_implementation=implementation)
        for change in use:
            change(model)
        return shake(model, "query", 2.0)

    return make


@pytest.fixture
def beside(tiny, implementation):
    """Make an fp64 model with a prefix beside each attention, at the start or with every g and P random."""

    def make(start=False, cls=BertModel):
        model = tiny(cls, torch.float64, attn_implementation=implementation)
        attach_beside(model, 5, init_std=0.7, prefix_dropout=0.0)
        return model if start else shake(model, "gate", 0.7)

    return make


@torch.no_grad()
def shake(model, ending, std):
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if name.endswith(f"gate.{ending}" if ending == "query" else f"beside.{ending}"):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def trained(model):
    return {name: p for name, p in model.base_model.named_parameters() if p.requires_grad}


# Written out


def written_out(model, inputs, attend):
    """The encoder's last states; `attend` gives a layer's heads from its number, entering states and q, k, v."""
    encoder, mask = Encoder.from_bert(model), inputs.get("attention_mask")
    x = encoder.embeddings(inputs["input_ids"], inputs["token_type_ids"])
    real = torch.ones(x.shape[:2]).bool() if mask is None else mask.bool()
    for i, layer in enumerate(encoder.layers):
        attention = layer.attention
        q, k, v = (heads(part(x)) for part in (attention.query, attention.key, attention.value))
        attended = attend(i, x, real, q, k, v)
        x = layer.attention_norm(x + attention.output(attended.transpose(1, 2).flatten(2)))
        x = layer.feed_forward_norm(x + layer.feed_forward(x))
    return x


def heads(x):
    return x.unflatten(-1, (4, -1)).transpose(-2, -3)


def votes(q, k):
    """exp(q Kᵀ / √d_h), of which a softmax takes shares."""
    return (torch.einsum("bhqd,bhkd->bhqk", q, k.expand(len(q), -1, -1, -1)) / math.sqrt(q.shape[-1])).exp()


def shares(votes, values):
    return torch.einsum("bhqk,bhkd->bhqd", votes / votes.sum(dim=-1, keepdim=True), values)


def alpha_of(gate, x, real):
    """E2 and the query gate, example by example."""
    if gate.gate_input == "none":
        return (1 / (1 + (-gate.weight).exp())).expand(len(x), -1)
    rows = []
    for states in (states[kept] for states, kept in zip(x, real, strict=True)):
        h = states[0] if gate.gate_input == "first_token" else states.mean(dim=0)
        if hasattr(gate, "query"):
            each = torch.stack([(gate.query @ state / math.sqrt(32)).exp() for state in states])
            h = sum(vote * state for vote, state in zip(each, states, strict=True)) / each.sum()
        rows.append(1 / (1 + (-(gate.weight @ h)).exp()))
    return torch.stack(rows)


def with_prefix(model, scaled):
    """Attention with α in the prefix's keys and values (E3), or as so many votes of each prefix token."""
    modules = prefixes(model)

    def attend(i, x, real, q, k, v):
        prefix = modules[i]
        alpha = alpha_of(prefix.token_gate or prefix.log_gate, x, real)
        p_k, p_v = (heads(prefix.layer_gate.scale * p).expand(len(x), -1, -1, -1) for p in (prefix.key, prefix.value))
        alpha_of_heads = alpha[:, None, :, None]
        if scaled:
            p_k, p_v = alpha_of_heads * p_k, alpha_of_heads * p_v
        ours = votes(q, p_k) if scaled else votes(q, p_k) * alpha[:, None, None]
        both = torch.cat([ours, votes(q, k) * real[:, None, None]], dim=-1)
        return shares(both, torch.cat([p_v, v], dim=2))

    return attend


def with_beside(model):
    modules = [layer.attention.self.beside for layer in model.base_model.encoder.layer]

    def attend(i, x, real, q, k, v):
        p, g = modules[i], modules[i].gate
        own = shares(votes(q, k) * real[:, None, None], v)
        tanh = (g.exp() - (-g).exp()) / (g.exp() + (-g).exp())
        return own + tanh * shares(votes(q, heads(p.key)), heads(p.value).expand(len(x), -1, -1, -1))

    return attend


def agrees(model, inputs, attend, close):
    """States and the gradient of every trained parameter are those of what is written out."""
    actual, expected = model(**inputs).last_hidden_state, written_out(model, inputs, attend)
    close(actual, expected.detach(), real_of=inputs)
    real = inputs.get("attention_mask", torch.ones(actual.shape[:2])).bool()
    direction = torch.randn(actual[real].shape, dtype=torch.float64)
    parameters = trained(model)
    found, wanted = (grad((x[real] * direction).sum(), list(parameters.values())) for x in (actual, expected))
    for name, a, b in zip(parameters, found, wanted, strict=True):
        assert b.abs().max() > 1e-4, name
        close(a, b, within=1e-9)


# Query gates


@pytest.mark.parametrize("gate_input", ["first_token", "mean"])
def test_a_query_gate_is_what_is_written_out(gate_input, changed, inputs, close):
    model = changed(use_query_gates, apt=AptConfig(5, gate_input=gate_input, prefix_dropout=0.0))
    agrees(model, inputs, with_prefix(model, scaled=True), close)


def test_with_a_query_of_0_it_is_the_mean_gate_and_the_query_learns(attached, inputs, close):
    mean = attached(dtype=torch.float64, apt=AptConfig(5, gate_input="mean", prefix_dropout=0.0))
    before = mean(**inputs).last_hidden_state
    weights = [prefix.token_gate.weight for prefix in prefixes(mean)]
    model = use_query_gates(mean)
    after = model(**inputs).last_hidden_state
    close(after, before, real_of=inputs)
    assert model is mean
    for prefix, weight in zip(prefixes(model), weights, strict=True):
        assert prefix.token_gate.weight is weight  # an optimiser may have it already
        assert prefix.token_gate.query.requires_grad and not prefix.token_gate.query.any()
        assert grad(after[:, 0].pow(3).sum(), prefix.token_gate.query, retain_graph=True)[0].abs().min() > 0


def test_it_varies_in_layer_1_where_the_papers_gate_is_constant(attached, right_padded):
    right_padded["input_ids"][:, 0] = 1  # [CLS]
    right_padded["token_type_ids"][:, 0] = 0
    spreads = []
    for change in (lambda model: model, use_query_gates):
        model = change(attached(dtype=torch.float64))
        with record(model) as seen, torch.no_grad():
            model(**right_padded)
        spreads.append(seen.alpha[0].std(dim=0))
    assert spreads[0].max() < 1e-12 and spreads[1].min() > 1e-3


@pytest.mark.parametrize("use", [[use_query_gates], [use_log_gates], [use_query_gates, use_log_gates]])
def test_padding_has_no_part_in_a_gate(use, changed, left_padded, right_padded, close):
    model = changed(*use, apt=AptConfig(5, gate_input="mean", prefix_dropout=0.0))
    for prefix, states in zip(prefixes(model), torch.randn(3, 3, 9, 32, dtype=torch.float64), strict=True):
        for inputs in (left_padded, right_padded):
            mask = inputs["attention_mask"]
            alone = [prefix.gates(x[m.bool()][None])[0][0] for x, m in zip(states, mask, strict=True)]
            for anything in (0.0, 1e4, math.nan, math.inf):
                padded = states.masked_fill(mask.eq(0)[..., None], anything)
                close(prefix.gates(padded, mask)[0], torch.stack(alone).detach())
    alpha = prefixes(model)[0].gates(states, torch.zeros(3, 9))[0]
    close(alpha, torch.full((3, 5), 0.5))  # nothing to read: σ(0)
    grads = grad(alpha.sum(), [p for p in prefixes(model)[0].parameters() if p.shape[-1:] == (32,)], allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in grads)


@pytest.mark.parametrize("use", [use_query_gates, use_log_gates])
def test_sentences_padded_and_alone_are_the_same(use, changed, left_padded, right_padded, close):
    """On the right only: with padding on the left BERT's positions are others."""
    model = changed(use)
    states = model(**right_padded).last_hidden_state
    for i, mask in enumerate(right_padded["attention_mask"].bool()):
        alone = model(**{name: tensor[i : i + 1, mask] for name, tensor in right_padded.items()}).last_hidden_state
        close(states[i, mask], alone[0].detach())


# Log gates


@pytest.mark.parametrize("gate_input", ["first_token", "mean", "none", "query"])
def test_a_log_gate_is_what_is_written_out(gate_input, changed, inputs, close):
    use = [use_log_gates]
    if gate_input == "query":
        use, gate_input = [use_query_gates, use_log_gates], "mean"
    model = changed(*use, apt=AptConfig(5, gate_input=gate_input, prefix_dropout=0.0))
    agrees(model, inputs, with_prefix(model, scaled=False), close)


def test_the_gradient_of_w_is_a_finite_difference(changed, inputs, close):
    model = changed(use_log_gates)
    weight = prefixes(model)[LAYER].log_gate.weight

    def loss():
        return model(**inputs).last_hidden_state[:, 0].pow(3).sum()

    exact, step = grad(loss(), weight)[0], 1e-5
    for place in [(0, 0), (2, 17), (4, 31)]:
        with torch.no_grad():
            sides = []
            for move in (step, -2 * step):
                weight[place] += move
                sides.append(loss())
            weight[place] += step
        assert abs(exact[place]) > 1e-3
        close((sides[0] - sides[1]) / (2 * step), exact[place], within=1e-6 * max(1, abs(exact[place])))


def gated_by_hand(changed, alpha, use=True):
    """A log-gated model whose middle layer has these α, 0 or 1, and the rest α = 1; and the same prefix ungated."""
    model = changed(apt=AptConfig(5, gate_input="none", prefix_dropout=0.0))
    plain = copy.deepcopy(model)
    for i, (prefix, ungated) in enumerate(zip(prefixes(model), prefixes(plain), strict=True)):
        ungated.token_gate = None
        with torch.no_grad():
            values = torch.tensor(alpha if i == LAYER else [1, 1, 1, 1, 1])
            prefix.token_gate.weight.copy_(torch.where(values == 1, 1e4, -1e4))
    return use_log_gates(model) if use else model, plain


def test_open_gates_are_the_plain_prefix(changed, inputs, close):
    model, plain = gated_by_hand(changed, [1, 1, 1, 1, 1])
    close(model(**inputs).last_hidden_state, plain(**inputs).last_hidden_state, real_of=inputs)


@pytest.mark.parametrize("gone", [[0], [1, 4], [0, 1, 2, 3, 4]])
def test_closed_gates_are_removal_and_the_papers_are_not(gone, changed, inputs, close):
    closed = [int(token not in gone) for token in range(5)]
    model, plain = gated_by_hand(changed, closed)
    with torch.no_grad(), removed(prefixes(plain)[LAYER], gone):
        without = plain(**inputs).last_hidden_state
    close(model(**inputs).last_hidden_state, without, real_of=inputs)
    scaled, _ = gated_by_hand(changed, closed, use=False)
    assert (scaled(**inputs).last_hidden_state - without)[:, -1].abs().amax(dim=-1).max() > 1e-3


def test_a_gate_that_is_almost_closed_still_learns(changed, inputs):
    """σ(−800) is 0 in float64, and log σ(−800) is −800 with a gradient of 1."""
    model = changed(use_log_gates, apt=AptConfig(5, gate_input="none", prefix_dropout=0.0))
    prefix = prefixes(model)[0]
    with torch.no_grad():
        prefix.log_gate.weight.fill_(-800.0)
    log_alpha = prefix.log_alpha(torch.zeros(2, 3, 32).double())
    assert log_alpha.tolist() == [[-800.0] * 5] * 2
    assert grad(log_alpha.sum(), prefix.log_gate.weight)[0].tolist() == [2.0] * 5


@pytest.mark.parametrize("use", [[use_query_gates], [use_log_gates], [use_query_gates, use_log_gates]])
def test_gates_are_exact_under_autocast_and_dropout_is_not_for_them(use, attached):
    model = attached(apt=AptConfig(5, prefix_dropout=0.5))
    for change in use:
        change(model)
    prefix, x = prefixes(model)[0], torch.randn(3, 9, 32)
    alpha = prefix.gates(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prefix.gates(x)[0], alpha) and torch.equal(prefix(x)[0], prefix(x)[0])
    prefix.train()
    (key, _), (again, _) = prefix(x), prefix(x)
    assert torch.equal(prefix.gates(x)[0], alpha) and not torch.equal(key, again)
    if use_log_gates in use:
        assert torch.equal(key[..., -1].exp(), alpha)
        assert (key[..., :-1] == 0).double().mean().sub(0.5).abs() < 0.1


def test_tokens_of_a_log_gated_prefix_can_be_removed(changed, inputs, close):
    model = changed(use_log_gates)
    shorter = copy.deepcopy(model)
    prefix, kept = prefixes(shorter)[LAYER], [0, 2, 3]
    for owner, name in ((prefix, "key"), (prefix, "value"), (prefix.log_gate, "weight")):
        setattr(owner, name, torch.nn.Parameter(getattr(owner, name)[kept]))
    with removed(prefixes(model)[LAYER], [1, 4]):
        close(model(**inputs).last_hidden_state, shorter(**inputs).last_hidden_state.detach(), real_of=inputs)
    with ExitStack() as stack, torch.no_grad():
        for prefix in prefixes(model):
            stack.enter_context(removed(prefix))
        bare = model(**inputs).last_hidden_state
    close(bare, detach(model)(**inputs).last_hidden_state.detach(), real_of=inputs)


def test_record_reads_log_gates_and_the_mass_is_eager_attentions(changed, inputs, close, implementation):
    model = changed(use_log_gates)
    with record(model) as seen, torch.no_grad():
        output = model(**inputs, output_attentions=True, output_hidden_states=True)
    mask = inputs.get("attention_mask")
    real = torch.ones(3, 9).bool() if mask is None else mask.bool()
    for i, prefix in enumerate(prefixes(model)):
        close(seen.alpha[i], alpha_of(prefix.log_gate, output.hidden_states[i], real).detach())
        assert seen.scale[i] == prefix.layer_gate.scale
        if implementation == "eager":
            assert output.attentions[i].shape[-1] == 5 + 9
            close(seen.mass[i], output.attentions[i][..., :5].sum(dim=-1))
        assert seen.mass[i].min() > 0 and seen.mass[i].max() < 1


def test_an_encoder_does_not_take_a_log_gated_prefix_for_a_plain_one(changed, inputs):
    model = changed(use_log_gates)
    with pytest.raises(Exception, match="(?i)shape|size|divisible|prefix_value"):
        Encoder.from_bert(model)(**inputs, prefixes=prefixes(model))


# Beside


def test_a_prefix_beside_is_what_is_written_out(beside, inputs, close):
    model = beside()
    agrees(model, inputs, with_beside(model), close)


def test_at_the_start_nothing_has_changed_to_the_last_bit(beside, tiny, inputs, implementation):
    model = beside(start=True)
    plain = tiny(BertModel, torch.float64, attn_implementation=implementation)
    states, before = (m(**inputs, output_hidden_states=True).hidden_states for m in (model, plain))
    assert all(torch.equal(a, b) for a, b in zip(states, before, strict=True)) and len(states) == 4


def test_only_g_learns_in_the_first_step_and_all_in_the_second(beside, inputs):
    model = beside(start=True)
    optimizer = torch.optim.SGD(trained(model).values(), lr=0.1)

    def gradients():
        optimizer.zero_grad()
        model(**inputs).last_hidden_state[:, 0].pow(3).sum().backward()
        return {name: p.grad.abs().max().item() for name, p in trained(model).items()}

    first = gradients()
    assert len(first) == 9
    assert all((size > 1e-4) == name.endswith("gate") for name, size in first.items())
    assert all(size == 0 for name, size in first.items() if not name.endswith("gate"))
    optimizer.step()
    assert min(gradients().values()) > 1e-5


def test_it_freezes_as_attach_does_and_drops_out_in_training_only(tiny, right_padded):
    model = attach_beside(tiny(BertForSequenceClassification), 5, prefix_dropout=0.5)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    parts = {f"bert.encoder.layer.{i}.attention.self.beside.{p}" for i in range(3) for p in ("key", "value", "gate")}
    assert names == parts | {"classifier.weight", "classifier.bias"}
    part, query = model.bert.encoder.layer[0].attention.self.beside, torch.randn(2, 4, 3, 8)
    with torch.no_grad():
        part.gate.fill_(1.0)
    assert torch.equal(part(query), part(query)) and not torch.equal(part.train()(query), part(query))


# All three


CHANGES = {
    "query": lambda model: use_query_gates(attach(model, APT)),
    "log": lambda model: use_log_gates(attach(model, APT)),
    "both": lambda model: use_log_gates(use_query_gates(attach(model, APT))),
    "beside": lambda model: attach_beside(model, 5),
}


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


def test_detach_leaves_nothing_behind(change, tiny, right_padded, state):
    model = tiny(BertForSequenceClassification)
    model.bert.embeddings.requires_grad_(False)
    before, logits = state(model), model(**right_padded).logits
    assert change(model) is model and not state.same(before, state(model))
    assert detach(model) is model and state.same(before, state(model))
    assert torch.equal(model(**right_padded).logits, logits)


def test_plain_apt_is_as_before_and_no_adapter_is_mistaken_for_it(
    change, tiny, attached, right_padded, tmp_path, state
):
    plain = attached(BertForSequenceClassification)
    save_adapter(plain, tmp_path / "plain")
    wanted = plain(**right_padded).logits
    model = change(tiny(BertForSequenceClassification))
    save_adapter(model, tmp_path / "other")
    detach(model)
    before = state(model)
    with pytest.raises(ValueError, match="doesn't fit this model|no weights of this backbone"):
        load_adapter(model, tmp_path / "other")
    assert state.same(before, state(model))
    assert torch.equal(load_adapter(model, tmp_path / "plain")(**right_padded).logits, wanted)


def test_dtype_mode_device_and_copies_are_the_models(change, tiny, dtype, right_padded):
    model = change(tiny(dtype=dtype).train())
    parts = trained(model).values()
    assert {p.dtype for p in parts} == {dtype} and all(m.training for m in model.modules())
    assert not any(m.training for m in change(tiny()).modules())
    meta = change(tiny().to("meta"))
    assert {p.device.type for p in trained(meta).values()} == {"meta"}
    copied = copy.deepcopy(model.eval())
    before = model(**right_padded).last_hidden_state
    assert torch.equal(copied(**right_padded).last_hidden_state, before)
    with torch.no_grad():
        for p in trained(copied).values():
            p.add_(1.0)
    assert not torch.equal(copied(**right_padded).last_hidden_state, before)
    assert torch.equal(model(**right_padded).last_hidden_state, before)
    detach(copied)
    assert not trained(copied).keys() & trained(model).keys() and trained(model)


@pytest.mark.parametrize("bf16_weights", [False, True])
def test_bfloat16_runs_and_is_near(bf16_weights, change, tiny, implementation, inputs):
    torch.manual_seed(0)
    model = change(tiny(attn_implementation=implementation))
    exact = model(**inputs).last_hidden_state
    model = model.bfloat16() if bf16_weights else model
    with torch.autocast("cpu", torch.bfloat16, enabled=not bf16_weights):
        near = model(**inputs).last_hidden_state
        near.float().pow(2).sum().backward()
    assert (near.float() - exact).abs().mean() < 0.1
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(model).values())


def test_layers_without_a_prefix_stay_as_they_are(tiny, right_padded):
    model = attach(tiny(), AptConfig((4, 0, 7)))
    use_log_gates(use_query_gates(model))
    assert model(**right_padded).last_hidden_state.isfinite().all()
    assert [prefix and len(prefix.key) for prefix in prefixes(model)] == [4, None, 7]


def test_effects_and_training_go_on_as_with_plain_apt(make_task, make_model, trained):
    from apt_minimal.lab.train.loop import TrainConfig, train

    task = make_task("text")
    model = use_log_gates(use_query_gates(make_model(task)))
    before = trained(model)
    train(model, task, TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=4, evaluations=2), progress=False)
    assert all(not torch.equal(p, before[name]) for name, p in trained(model).items())
    assert layer_effects(model, task, task.validation).min() > 0


@pytest.mark.parametrize("use", [use_query_gates, use_log_gates])
def test_what_has_no_gates_to_change_is_named_and_left_alone(use, tiny, state):
    with pytest.raises(ValueError, match="no prefixes attached"):
        use(tiny())
    cases = [attach(tiny(), AptConfig(4, token_gate=False)), use_log_gates(attach(tiny(), APT))]
    if use is use_query_gates:
        cases += [attach(tiny(), AptConfig(4, gate_input="none")), use_query_gates(attach(tiny(), APT))]
    for model in cases:
        before = state(model)
        with pytest.raises(ValueError, match="token gate"):
            use(model)
        assert state.same(before, state(model))


def test_what_cannot_stand_beside_is_named_and_left_alone(tiny, state):
    model = tiny()
    before = state(model)
    for wrong in ({"prefix_length": 0}, {"prefix_length": (4, 4, 4)}, {"init_std": -1}, {"prefix_dropout": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            attach_beside(model, **wrong)
    assert state.same(before, state(model))
    with pytest.raises(TypeError, match="Linear"):
        attach_beside(torch.nn.Linear(2, 2))
    attach_beside(model)
    before = state(model)
    for again in (attach_beside, lambda model: attach(model, APT)):
        with pytest.raises(ValueError, match="already"):
            again(model)
    assert state.same(before, state(model))
