"""Gates that end at zero: against E1 with weights z · exp(score) in loops, a closed form, and a planted task."""

import math

import numpy as np
import pytest
import reference
import torch
from made import with_prefix
from torch import nn
from transformers import BertForSequenceClassification, BertModel

from apt_minimal import AptConfig, attach, detach, load_adapter, prefixes, record, save_adapter
from apt_minimal.lab.methods.prune import HardConcrete, penalised, penalty, prune, prune_gates, use_prune_gates
from apt_minimal.lab.read.importance import layer_effects, token_effects
from apt_minimal.lab.train.loop import TrainConfig, train

OPEN = [[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]]  # by layer and token
CONFIGS = {
    "apt": AptConfig(5),
    "mean": AptConfig(5, gate_input="mean"),
    "no hidden state": AptConfig(5, gate_input="none"),
    "no token gate": AptConfig(5, token_gate=False),
    "no layer gate": AptConfig(5, layer_gate=False),
}


def set_gates(model, table, far=4.0):
    """Gates far from ½, above or below."""
    for gate, row in zip(filter(None, prune_gates(model)), table, strict=True):
        gate.location.data.copy_(torch.tensor([far if z else -far for z in row]))
    return model


@pytest.fixture
def gated(attached):
    """A tiny attached model in fp64 with some gates open and some closed."""

    def make(cls=BertModel, config=None, **changes):
        return set_gates(use_prune_gates(attached(cls, torch.float64, config or AptConfig(5), **changes)), OPEN)

    return make


# Removal


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_closed_tokens_are_as_if_they_had_never_been_and_pruning_changes_nothing(
    config, implementation, gated, inputs, close
):
    model = gated(config=config, attn_implementation=implementation)
    weights = []
    for prefix, row in zip(prefixes(model), OPEN, strict=True):
        kept = np.flatnonzero(row)
        ours = {name: w for name, w in reference.numbers(prefix).items() if "prune" not in name}
        weights.append({name: w if "scale" in name else w[kept] for name, w in ours.items()} if len(kept) else None)
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
        pruned = prune(model)
        after = pruned(**inputs).last_hidden_state
    arrays = [inputs[name].numpy() if name in inputs else None for name in ("input_ids", "attention_mask")]
    backbone = {name: w for name, w in reference.numbers(model).items() if ".prefix." not in name}
    types = inputs["token_type_ids"].numpy()
    expected = reference.bert(backbone, model.config, *arrays, types, weights, config.gate_input).hidden[-1]
    close(before, expected, real_of=inputs)
    close(after, before, real_of=inputs)
    assert pruned is model and [prefix and len(prefix.key) for prefix in prefixes(model)] == [3, None, 4]
    assert model.base_model.apt_attachment.config.prefix_length == (3, 0, 4)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_token_has_z_times_the_weight_its_score_gives_it(implementation, gated, inputs, close, monkeypatch):
    model = gated(config=AptConfig(5, prefix_dropout=0.0), attn_implementation=implementation)
    z = torch.tensor([[0.3, 0.0, 1.0, 1e-9, 0.7], [1.0, 0.5, 0.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0, 0.1]]).double()
    monkeypatch.setattr(HardConcrete, "forward", lambda gate, b: z[:b])
    attention, seen = model.encoder.layer[1].attention.self, {}
    attention.register_forward_hook(lambda layer, args, output: seen.update(hidden=args[0], output=output[0]))
    with torch.no_grad():
        model(**inputs)
        hidden, mask = seen["hidden"], inputs.get("attention_mask")
        pair = attention.prefix(hidden, mask)
        keys, values = (
            torch.cat([p, part(hidden)], 1).view(3, -1, 4, 8).numpy()
            for p, part in zip(pair, (attention.key, attention.value), strict=True)
        )
        queries = attention.query(hidden).view(3, -1, 4, 8).numpy()
    real = np.ones((3, 9)) if mask is None else mask.numpy()
    factors = np.concatenate([z.numpy(), real], axis=1)  # of exp(score)
    expected = np.zeros(queries.shape)
    for b, i, h in np.ndindex(*queries.shape[:3]):
        weights = factors[b] * np.exp(keys[b, :, h] @ queries[b, i, h] / math.sqrt(8))
        expected[b, i, h] = weights @ values[b, :, h] / weights.sum()
    close(seen["output"], expected.reshape(3, 9, 32), real_of=inputs)


def test_the_recorded_mass_is_that_of_the_open_tokens(gated, right_padded, close):
    model, seen = gated(), []
    for one in (model, prune(gated())):
        with torch.no_grad(), record(one) as found:
            one(**right_padded)
        seen.append(found.mass)
    assert seen[0][1].abs().max() == 0 and seen[1][1] is None
    close(seen[0][2], seen[1][2])


# The distribution


@pytest.mark.parametrize("a", [-3.0, -1.0, 0.0, 2.0])
def test_the_penalty_is_the_share_of_open_gates_and_z_is_distributed_as_in_the_paper(a, attached):
    gate = HardConcrete(1, start=a).double().train()
    n = 200_000
    with torch.no_grad():
        z = gate(n)[:, 0].numpy()
    noise = 4 * math.sqrt(0.25 / n)
    assert abs((z > 0).mean() - gate.open_probability().item()) < noise
    # P(z ≤ x) from the paper's eq. 10–11 by hand: s ≤ (x + 0.1) / 1.2, and logit(u) has the logistic's distribution.
    for x in (0.0, 0.25, 0.5, 0.9):
        s = (x + 0.1) / 1.2
        assert abs((z <= x).mean() - 1 / (1 + math.exp(-(2 / 3 * math.log(s / (1 - s)) - a)))) < noise
    assert abs((z == 1).mean() - 1 / (1 + math.exp(2 / 3 * math.log(11) - a))) < noise
    model = use_prune_gates(attached(BertModel, torch.float64, AptConfig((2, 0, 3))), start=a)
    assert penalty(model).item() == pytest.approx(5 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1) - a)), rel=1e-6)


def test_z_is_drawn_for_each_example_and_token_in_training_and_binary_in_eval_mode():
    gate = HardConcrete(4, start=0.0).double()
    gate.location.data = torch.tensor([-9.0, -1e-9, 1e-9, 9.0]).double()
    assert gate.eval()(3).tolist() == [[0, 0, 1, 1]] * 3
    assert gate.train()(50)[:, 1:3].unique().numel() > 30


# Gradients


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_gradients_are_finite_and_those_of_finite_differences(implementation, gated, right_padded, monkeypatch):
    model = gated(config=AptConfig(5, prefix_dropout=0.0), attn_implementation=implementation, num_hidden_layers=3)
    for gate in prune_gates(model):
        gate.location.data = torch.tensor([0.5, -0.4, 0.0, 30.0, -30.0]).double()
        gate.train()
    nearly = 1 / (1 + 11 ** (2 / 3))  # u at which z is just 0 where a is 0
    u = [[0.3, 0.7, nearly + 1e-13, 0.5, 0.5], [0.0, 0.5, nearly - 1e-13, 0.5, 0.5], [0.6, 0.9, 0.4, 0.0, 0.9]]
    u = torch.tensor(u, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand_like", lambda like: u)
    z = prune_gates(model)[0](3)
    assert 0 < z[0, 2] < 1e-12 and z[1, 0] == z[1, 2] == 0 and z[:, 3].tolist() == [1, 1, 0] and (z[:, 4] == 0).all()

    def loss():
        return model(**right_padded).last_hidden_state[:, 0].sin().sum() + 0.1 * penalty(model)

    loss().backward()
    for parameter in (p for p in model.parameters() if p.requires_grad):
        assert parameter.grad.isfinite().all()
    location, step, found = prune_gates(model)[1].location, 1e-6, []
    for token in (0, 1):
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                location[token] += sign * step
                ends.append(loss().item())
                location[token] -= sign * step
        found.append((ends[0] - ends[1]) / (2 * step))
    assert location.grad[:2].tolist() == pytest.approx(found, rel=1e-5)
    assert location.grad[:2].abs().min() > 1e-4


def test_a_gate_at_exactly_zero_has_no_gradient_and_not_nan(gated, right_padded, monkeypatch):
    model, z = gated(), torch.tensor([[0.0, 1.0, 0.5, 0.0, 1.0]]).double().requires_grad_()
    monkeypatch.setattr(HardConcrete, "forward", lambda gate, b: z.expand(b, -1))
    model(**right_padded).last_hidden_state[:, 0].sin().sum().backward()
    assert z.grad.isfinite().all() and (z.grad == 0).tolist() == [[True, False, False, True, False]]


# A planted task: layer 1 has two needed tokens, one that is seen and does harm, and one that no query looks at


def fitted(seed, tiny, weight):
    """Train the gates alone, on outputs of a model with the two needed tokens only; returns a and z of all four."""
    torch.manual_seed(seed)
    config = AptConfig((0, 4, 0), token_gate=False, layer_gate=False, prefix_dropout=0.0)
    student = attach(tiny(dtype=torch.float64, seed=seed, hidden_dropout_prob=0.0), config)
    attention, prefix = student.encoder.layer[1].attention.self, prefixes(student)[1]
    with torch.no_grad():
        attention.query.weight[::8], attention.query.bias[::8] = 0.0, 4.0  # the first of each head: 4 in every query
        prefix.key.copy_(torch.randn(4, 32) * 0.7)
        prefix.value.copy_(torch.randn(4, 32) * 1.5)
        prefix.key[3] = 0.0
        prefix.key[3, ::8] = -1e4
        inputs = {"input_ids": torch.randint(1, 60, (16, 7))}
        teacher = attach(tiny(dtype=torch.float64, seed=seed), AptConfig((0, 2, 0), False, False))
        teacher.load_state_dict({name: t[:2] if ".prefix." in name else t for name, t in student.state_dict().items()})
        target = teacher(**inputs).last_hidden_state
    student.requires_grad_(False)
    use_prune_gates(student, start=2.0).train()
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam(prune_gates(student)[1].parameters(), lr=0.1)
    for _ in range(80):
        loss = (student(**inputs).last_hidden_state - target).square().mean() + weight * penalty(student)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gate = prune_gates(student.eval())[1]
    with torch.no_grad():
        return gate.location.tolist(), gate(1)[0].tolist(), (student(**inputs).last_hidden_state - target).abs().max()


@pytest.mark.parametrize("seed", range(5))
def test_useless_tokens_close_and_needed_ones_stay(seed, tiny):
    location, z, error = fitted(seed, tiny, weight=0.003)
    assert z == [1, 1, 0, 0]
    assert min(location[:2]) > 1 and max(location[2:]) < -1  # decided, not rounded
    assert error < 1e-12


def test_without_a_penalty_an_unseen_token_stays_and_with_a_huge_one_all_close(tiny):
    location, z, _ = fitted(0, tiny, weight=0.0)
    assert z[3] == 1 and location[3] == pytest.approx(2)
    assert fitted(0, tiny, weight=100.0)[1] == [0, 0, 0, 0]


# In the plain training loop, and afterwards


def test_the_training_loop_adds_the_penalty_while_the_context_is_open(make_task, make_model):
    task, config = make_task("text"), TrainConfig(1e-2, batch_size=8, max_steps=1, evaluations=1)
    losses = {}
    for weight in (0.0, 0.5):
        model = use_prune_gates(make_model(task, with_prefix(AptConfig(4))))
        with penalised(model, weight):
            losses[weight] = train(model, task, config, progress=False).loss[0]
        plain = model.eval()(**task.collate(task.train)).loss
        model.train()
        torch.manual_seed(0)
        first = model(**task.collate(task.train)).loss
        torch.manual_seed(0)
        with penalised(model, 0.5):
            assert model(**task.collate(task.train)).loss.item() == pytest.approx((first + 0.5 * penalty(model)).item())
            assert model.eval()(**task.collate(task.train)).loss == plain
    start = 12 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1) - 1))  # three layers of four tokens
    assert losses[0.5] - losses[0.0] == pytest.approx(0.5 * start, rel=1e-4)


def test_the_training_loop_trains_gates_whose_pruned_model_is_the_one_that_was_scored(make_task, make_model, close):
    task = make_task("text")
    model = use_prune_gates(make_model(task, with_prefix(AptConfig(4)))).double()
    before = prune_gates(model)[0].location.clone()
    with penalised(model, 1.0):
        train(model, task, TrainConfig(0.1, batch_size=8, max_steps=40, evaluations=1), progress=False)
    assert (prune_gates(model)[0].location < before).all()
    with torch.no_grad():
        examples = task.collate(task.validation)
        logits = model(**examples).logits
        close(prune(model)(**examples).logits, logits)


def test_a_pruned_model_trains_what_it_trained_and_can_be_saved_and_loaded(gated, tiny, tmp_path, right_padded, close):
    model = gated(BertForSequenceClassification)
    model.bert.pooler.requires_grad_(True)
    names = {name for name, p in model.named_parameters() if p.requires_grad and ".prefix." not in name}
    prune(model)
    assert names == {name for name, p in model.named_parameters() if p.requires_grad and ".prefix." not in name}
    assert {"bert.pooler.dense.weight", "classifier.bias"} <= names
    assert all(p.requires_grad for prefix in prefixes(model) if prefix for p in prefix.parameters())
    save_adapter(model, tmp_path)
    pooler = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    fresh = load_adapter(tiny(BertForSequenceClassification, torch.float64), tmp_path, allow=pooler)
    with torch.no_grad():
        close(fresh(**right_padded).logits, model(**right_padded).logits)


def test_detach_takes_gates_and_hooks_away(gated, tiny, state):
    model = detach(gated())
    assert state.same(state(tiny(dtype=torch.float64)), state(model))


def test_gates_under_autocast_run_in_bfloat16(gated, right_padded):
    model = gated().float().train()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(**right_padded).last_hidden_state
    out.sum().backward()
    assert prune_gates(model)[0].location.grad.isfinite().all()


def test_measures_of_whole_layers_work_and_those_of_single_tokens_say_why_not(make_task, make_model):
    task = make_task("text")
    model = use_prune_gates(make_model(task, with_prefix(AptConfig(4))))
    set_gates(model, [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
    effects = layer_effects(model, task, task.validation)
    assert effects[0] < 1e-6 and (effects[1:] > 1e-3).all()
    with pytest.raises(ValueError, match="3 of 4 prefix tokens are left, .* prune first"):
        token_effects(model, task, task.validation)


def test_prefixes_with_parts_of_their_own_are_refused_before_anything_changes(gated, state):
    model = gated()
    prefixes(model)[2].token_gate.query = nn.Parameter(torch.zeros(32))
    before = state(model)
    with pytest.raises(ValueError, match=r"only prefixes as attach makes them .* differ in token_gate.query"):
        prune(model)
    assert state.same(before, state(model))


def test_errors(attached, tiny):
    with pytest.raises(ValueError, match="no prefixes attached"):
        use_prune_gates(tiny())
    with pytest.raises(ValueError, match="no layer of this model has a prefix"):
        use_prune_gates(attach(tiny(), AptConfig(0)))
    model = attached()
    for needs_gates in (prune_gates, penalty, prune, lambda model: penalised(model, 1.0).__enter__()):
        with pytest.raises(ValueError, match=r"no prune gates; call use_prune_gates"):
            needs_gates(model)
    with pytest.raises(ValueError, match="has prune gates already"):
        use_prune_gates(use_prune_gates(model))
