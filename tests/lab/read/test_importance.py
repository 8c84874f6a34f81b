"""Removal, effects and lost scores: against the from-scratch encoder, and on planted cases whose answer is known."""

import math
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from made import with_prefix
from transformers import BertModel

from apt_minimal import AptConfig, Encoder, attach, prefixes, record
from apt_minimal.attention import prefix_attention, prepend_prefix, scaled_dot_product_attention, split_heads
from apt_minimal.lab.methods import load_model
from apt_minimal.lab.read.gates import gated_norms, read_gates
from apt_minimal.lab.read.importance import layer_effects, scores_without, token_effects
from apt_minimal.lab.read.rankings import lengths_from
from apt_minimal.lab.read.removal import removed
from apt_minimal.lab.train.batches import predict

SEEDS = range(2)
LAYER, TOKEN = 1, 2  # where something is planted


@pytest.fixture
def planted(make_task, make_model):
    """A task and an attached model in fp64, all of whose prefixes and gates matter, LayerNorms included."""

    def make(seed=0, config=None, kind="text"):
        task = make_task(kind)
        model = make_model(task, with_prefix(config or AptConfig(5)), seed).double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if "LayerNorm" in name:
                    parameter.add_(0.2 * noise)
                elif name.endswith(("prefix.key", "prefix.value")):
                    parameter.copy_(1.5 * noise)
                elif "token_gate" in name:
                    parameter.copy_(0.1 * noise)
        return task, model

    return make


def self_attention(model, layer):
    return model.base_model.encoder.layer[layer].attention.self


@torch.no_grad()
def make_unseen(model, layer, tokens):
    """Give prefix tokens keys that no query of any head looks at: every query has a 4 where the keys have −10⁴."""
    attention = self_attention(model, layer)
    first = range(0, 32, attention.attention_head_size)  # of each head
    attention.query.weight[first], attention.query.bias[first] = 0.0, 4.0
    key = attention.prefix.key
    key[tokens] = 0.0
    for i in first:
        key[tokens, i] = -1e4


def read(task, model):
    """All that is read of a model by layer, and by token."""
    gates = read_gates(model, task, task.validation)
    scores = scores_without(model, task, task.train, tokens=True)
    return {
        "alpha": gates.mean,
        "spread": gates.spread,
        "scale": gates.scale,
        "mass": gates.mass.mean(dim=0),
        "norms": torch.stack(gated_norms(model, gates)),
        "layer_effects": layer_effects(model, task, task.validation),
        "token_effects": token_effects(model, task, task.validation),
        "lost_by_layer": scores.lost_by_layer,
        "lost_by_token": scores.lost_by_token,
    }


# Removal


@pytest.mark.parametrize("tokens", [None, [0], [1, 4], []])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_removal_is_a_score_of_minus_infinity_in_both_hosts(implementation, tokens, inputs, attached, close):
    model = attached(dtype=torch.float64, attn_implementation=implementation)
    encoder, modules = Encoder.from_bert(model), prefixes(model)
    with torch.no_grad(), removed(modules[LAYER], tokens):
        inside, ours = model(**inputs).last_hidden_state, encoder(**inputs, prefixes=modules)
    close(inside, ours, real_of=inputs)
    close(inside, with_masked_scores(encoder, inputs, modules, tokens), real_of=inputs)
    with torch.no_grad():
        full = model(**inputs).last_hidden_state
    assert torch.equal(full, inside) == (tokens == [])


@torch.no_grad()
def with_masked_scores(encoder, inputs, modules, tokens):
    """The encoder with the prefix tokens in place and their scores at −∞ in one layer, written out."""
    x, attention_mask = encoder.embeddings(inputs["input_ids"], inputs["token_type_ids"]), inputs.get("attention_mask")
    for i, (layer, prefix) in enumerate(zip(encoder.layers, modules, strict=True)):
        attention = layer.attention

        def attend(x, mask, pair, attention=attention, i=i):
            q, k, v = (split_heads(part(x), 4) for part in (attention.query, attention.key, attention.value))
            k, v, mask = prepend_prefix(k, v, mask, *pair)
            mask = mask.clone()
            if i == LAYER:
                mask[..., range(5) if tokens is None else tokens] = False
            attended, _ = scaled_dot_product_attention(q, k, v, mask)
            return attention.output(attended.transpose(1, 2).flatten(2))

        real = torch.ones(x.shape[:2]).bool() if attention_mask is None else attention_mask.bool()
        x = layer.attention_norm(x + attend(x, real[:, None, None], prefix(x, attention_mask)))
        x = layer.feed_forward_norm(x + layer.feed_forward(x))
    return x


def test_removing_every_layer_leaves_the_plain_backbone(attached, tiny, right_padded, close):
    model = attached(dtype=torch.float64)
    with torch.no_grad(), ExitStack() as stack:
        for prefix in prefixes(model):
            stack.enter_context(removed(prefix))
        bare = model(**right_padded).last_hidden_state
        close(bare, tiny(BertModel, torch.float64)(**right_padded).last_hidden_state, real_of=right_padded)


def test_removal_ends_with_its_context_however_that_ends(attached, right_padded, state):
    model = attached()
    before = state(model)
    with pytest.raises(KeyboardInterrupt), removed(prefixes(model)[LAYER]):
        assert not state.same(before, state(model))
        raise KeyboardInterrupt
    assert state.same(before, state(model))


@torch.no_grad()
def test_the_mass_recorded_meanwhile_is_that_of_what_is_left(attached, right_padded, close):
    model, odds = attached(dtype=torch.float64), []
    for gone in ([], [0, 2], [1, 3, 4], [0, 1, 2, 3, 4]):  # m / (1 − m) is a sum over the prefix tokens
        with removed(prefixes(model)[0], gone), record(model) as seen:
            model(**right_padded)
        odds.append(seen.mass[0] / (1 - seen.mass[0]))
    whole, part, rest, nothing = odds
    close(part + rest, whole, within=1e-10)
    assert not nothing.any() and part.min() > 0 and rest.min() > 0


def test_what_cannot_be_removed_is_named(attached, right_padded):
    model = attached(apt=AptConfig((5, 0, 5)))
    prefix, none, _ = prefixes(model)
    with pytest.raises(ValueError, match="this layer has no prefix"), removed(none):
        pass
    for tokens in ([5], [-1]):
        with pytest.raises(ValueError, match="this prefix has tokens 0 to 4"), removed(prefix, tokens):
            pass
    with pytest.raises(ValueError, match="removed already"), removed(prefix, [0]), removed(prefix, [1]):
        model(**right_padded)


# Effects


@torch.no_grad()
def effects_by_hand(task, model, example):
    """Effects in each layer for one example in the from-scratch encoder: [L], and of single tokens, [L, l]."""
    encoder, modules = Encoder.from_bert(model.base_model), prefixes(model)
    batch = task.collate([example])
    x, layers, tokens = encoder.embeddings(batch["input_ids"].flatten(0, -2), batch["token_type_ids"]), [], []
    for layer, prefix in zip(encoder.layers, modules, strict=True):
        attention, pair = layer.attention, prefix(x)
        parts = [split_heads(part(x), 4) for part in (attention.query, attention.key, attention.value)]
        full = prefix_attention(*parts, *pair)[0]
        bare = scaled_dot_product_attention(*parts)[0]
        layers.append((full - bare).norm() / bare.norm())
        for token in range(len(prefix.key)):
            others = [i for i in range(len(prefix.key)) if i != token]
            bare = prefix_attention(*parts, *(part[:, others] for part in pair))[0]
            tokens.append((full - bare).norm() / bare.norm())
        x = layer(x, None, pair)
    return torch.stack(layers), torch.stack(tokens).view(len(modules), -1)


@pytest.mark.parametrize("kind", ["text", "token"])
@pytest.mark.parametrize("batch_size", [64, 3])
def test_effects_are_those_of_the_from_scratch_encoder(batch_size, kind, planted, close):
    task, model = planted(kind=kind)
    layers, tokens = zip(*(effects_by_hand(task, model, example) for example in task.validation), strict=True)
    close(layer_effects(model, task, task.validation, batch_size), torch.stack(layers).mean(dim=0))
    close(token_effects(model, task, task.validation, batch_size), torch.stack(tokens).mean(dim=0))


def test_each_choice_is_an_input(planted, close):
    task, model = planted(kind="choice")
    apart = [replace(example, inputs=[one]) for example in task.validation for one in example.inputs]
    close(layer_effects(model, task, task.validation), layer_effects(model, task, apart, batch_size=1))


def test_layers_without_a_prefix_are_nan_and_shorter_ones_filled_up(planted):
    task, model = planted(config=AptConfig((2, 0, 4)))
    layers, tokens = layer_effects(model, task, task.validation), token_effects(model, task, task.validation)
    scores = scores_without(model, task, task.validation, tokens=True)
    for values in (layers, scores.layers, scores.lost_by_layer):
        assert values.isnan().tolist() == [False, True, False]
    there = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    for values in (tokens, scores.tokens, scores.lost_by_token):
        assert torch.equal(values.isnan(), ~there)


@pytest.mark.parametrize("measure", [layer_effects, token_effects, scores_without])
@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_as_it_was(training, measure, planted, state):
    task, model = planted(kind="token")
    modes = []
    backbone = model.train(training).base_model
    backbone.register_forward_pre_hook(lambda model, _: modes.append((model.training, torch.is_grad_enabled())))
    before = state(model)
    measure(model, task, task.validation)
    assert set(modes) == {(False, False)}
    assert state.same(before, state(model)) and model.training is training


@pytest.mark.parametrize("measure", [layer_effects, token_effects, scores_without])
def test_without_prefixes_or_examples_there_is_nothing_to_measure(measure, make_task, make_model, backbone):
    task = make_task()
    with pytest.raises(ValueError, match="no layer of this model has a prefix"):
        measure(make_model(task, "head_only"), task, task.validation)
    with pytest.raises(ValueError, match="no prefixes attached"):
        measure(load_model(task, backbone), task, task.validation)
    with pytest.raises(ValueError, match="no examples|0 predictions for 0 examples"):
        measure(make_model(task), task, [])


# Scores


@pytest.mark.parametrize("kind", ["text", "token", "choice"])
def test_a_score_without_a_layer_is_that_of_a_model_attached_without_it(kind, planted):
    task, model = planted(kind=kind)
    found = scores_without(model, task, task.train)
    weights, scores = model.state_dict(), []
    for layer in range(3):
        shorter = planted(config=AptConfig(tuple(0 if i == layer else 5 for i in range(3))), kind=kind)[1]
        shorter.load_state_dict({name: weights[name] for name in shorter.state_dict()})
        scores.append(task.score(predict(shorter, task, task.train), task.train)[task.metric])
    assert found.full == task.score(predict(model, task, task.train), task.train)[task.metric]
    assert found.layers.tolist() == pytest.approx(scores)
    assert found.lost_by_layer.tolist() == pytest.approx([found.full - score for score in scores])
    assert found.tokens is None and found.lost_by_token is None


def test_a_score_without_a_token_is_that_with_one_layer_cut_shorter(planted):
    task, model = planted(kind="token")
    found = scores_without(model, task, task.train, tokens=True)
    kept = [0, 1, 3, 4]
    shorter = planted(config=AptConfig((5, 4, 5)), kind="token")[1]
    weights = model.state_dict()
    cut = {
        name: w[kept] if f".{LAYER}." in name and ".prefix." in name and "scale" not in name else w
        for name, w in weights.items()
    }
    shorter.load_state_dict(cut)
    score = task.score(predict(shorter, task, task.train), task.train)[task.metric]
    assert found.tokens[LAYER, TOKEN].item() == pytest.approx(score)
    assert found.lost_by_token[LAYER, TOKEN].item() == pytest.approx(found.full - score)
    assert found.tokens.unique().numel() > 3  # tokens differ, so that this one was found and not any


# Planted cases


@pytest.mark.parametrize("seed", SEEDS)
def test_a_layer_that_does_nothing_is_found_though_its_gates_look_alive(seed, planted):
    task, model = planted(seed)
    make_unseen(model, LAYER, slice(None))
    found = read(task, model)
    others = [i for i in range(3) if i != LAYER]
    assert ((found["alpha"][LAYER] > 0.1) & (found["alpha"][LAYER] < 0.9)).all() and found["scale"][LAYER] == 1
    assert (found["norms"][:, :, LAYER] > 0.1).all()  # nor does its size tell
    assert found["mass"][LAYER] < 1e-12 and (found["mass"][others] > 0.01).all()
    assert found["layer_effects"][LAYER] < 1e-12 and (found["layer_effects"][others] > 0.05).all()
    assert found["lost_by_layer"][LAYER] == 0 and (found["lost_by_token"][LAYER] == 0).all()
    lengths = lengths_from(found["layer_effects"], 12)
    assert lengths[LAYER] == 0 and sum(lengths) == 12


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dead_token_is_found_among_living_ones(seed, planted):
    task, model = planted(seed)
    make_unseen(model, LAYER, [TOKEN])
    found = read(task, model)
    dead = torch.zeros(3, 5).bool()
    dead[LAYER, TOKEN] = True
    assert (found["alpha"][dead] > 0.1).all() and (found["norms"][:, :, LAYER, TOKEN] > 0.1).all()
    assert found["token_effects"][dead] < 1e-12 and (found["token_effects"][~dead] > 1e-3).all()
    assert found["lost_by_token"][dead] == 0
    assert found["layer_effects"][LAYER] > 0.05


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ["W = 0", "W reads what is the same in every h"])
def test_a_constant_gate_has_no_spread_and_its_layer_still_an_effect(how, seed, planted, close):
    task, model = planted(seed)
    norm = model.base_model.encoder.layer[LAYER - 1].output.LayerNorm
    direction = 1 / norm.weight.detach()  # h = γ x̂ + β and Σ x̂ = 0: h · (1/γ) = Σ β/γ, whatever the input
    inside = torch.linspace(-0.1, 0.1, 5).double() if how != "W = 0" else torch.zeros(5).double()
    gate = prefixes(model)[LAYER].token_gate
    with torch.no_grad():
        gate.weight.copy_(inside[:, None] * direction)
    found = read(task, model)
    close(found["alpha"][LAYER], (inside * (norm.bias / norm.weight).sum()).sigmoid().detach())
    assert found["spread"][LAYER].max() < 1e-12 and found["spread"][2].min() > 1e-3
    assert found["layer_effects"][LAYER] > 0.05
    # And it is a prefix without a gate: α goes into P, and nothing that can be told changes.
    prefix = prefixes(model)[LAYER]
    with torch.no_grad():
        for part in (prefix.key, prefix.value):
            part.mul_(found["alpha"][LAYER][:, None])
    prefix.token_gate = None
    folded = read(task, model)
    assert (folded["alpha"][LAYER] == 1).all()
    same_where_it_counts(found, folded, close)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_doubled_lambda_with_half_the_prefix_changes_lambda_and_nothing_else(seed, planted, close):
    task, model = planted(seed)
    before, prefix = read(task, model), prefixes(model)[LAYER]
    with torch.no_grad():
        prefix.layer_gate.scale.mul_(2)
        prefix.key.mul_(0.5)
        prefix.value.mul_(0.5)
    after = read(task, model)
    assert before["scale"].tolist() == [1, 1, 1] and after["scale"].tolist() == [1, 2, 1]
    close(after["alpha"], before["alpha"])
    same_where_it_counts(before, after, close)
    assert lengths_from(after["layer_effects"], 12) == lengths_from(before["layer_effects"], 12)


def same_where_it_counts(before, after, close):
    for name in ("mass", "norms", "layer_effects", "token_effects", "lost_by_layer", "lost_by_token"):
        close(after[name].double(), before[name].double())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gate_at_0_reads_as_off_and_its_zero_slots_take_mass_all_the_same(seed, planted, close):
    task, model = planted(seed, AptConfig(5, gate_input="none"))
    with torch.no_grad():
        prefixes(model)[LAYER].token_gate.weight.fill_(-math.inf)
    found = read(task, model)
    assert (found["alpha"][LAYER] == 0).all() and (found["norms"][:, :, LAYER] == 0).all()
    assert found["mass"][LAYER] > 0.02
    # Zero slots only dampen: a head's output is (1 − m) of what it is without, so the effect is a mean of masses.
    assert 0.02 < found["layer_effects"][LAYER] < 1
    example = task.validation[0]
    close(layer_effects(model, task, [example])[LAYER], mean_mass_by_size(task, model, example))


@torch.no_grad()
def mean_mass_by_size(task, model, example):
    """‖m(q) · without‖ / ‖without‖ in the planted layer, from the recorded masses."""
    outputs = []
    attention = self_attention(model, LAYER)
    with record(model) as seen:
        hook = attention.register_forward_hook(lambda layer, args, output: outputs.append(output[0]))
        model(**task.collate([example]))
        hook.remove()
    mass = seen.mass[LAYER].unsqueeze(-1)  # [b, h, n, 1]
    without = split_heads(outputs[0], 4) / (1 - mass)
    return (mass * without).norm() / without.norm()


def test_lengths_from_a_reading_make_a_model(planted, make_task, backbone):
    task, model = planted()
    lengths = lengths_from(layer_effects(model, task, task.validation), 7)
    shorter = attach(load_model(task, backbone), AptConfig(lengths))
    assert tuple(0 if prefix is None else len(prefix.key) for prefix in prefixes(shorter)) == lengths
    assert sum(lengths) == 7
