"""The standardised gate: what it computes, what it refuses, and that it recovers gates that the paper's own can't."""

from copy import deepcopy

import pytest
import torch

from apt_minimal import AptConfig, attach, load_adapter, prefixes, save_adapter
from apt_minimal.attention import merge_heads, scaled_dot_product_attention, split_heads
from apt_minimal.gates import first_token
from apt_minimal.hosts import self_attentions
from apt_minimal.lab.methods import load_model, method_named, prepare
from apt_minimal.lab.methods.standardised import standardise_gates


def entering(model, task, examples, layer):
    """The states that enter a layer, in eval mode, and their mask."""
    seen, batch = [], task.collate(examples)

    def note(_, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    hook = self_attentions(model.base_model)[layer].register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model.eval()(**batch)
    hook.remove()
    return seen[0], batch["attention_mask"]


def test_each_element_of_what_is_read_has_mean_0_and_deviation_1_over_the_training_examples(make_task, make_model):
    task, model = make_task(), make_model(make_task(), "apt@4")
    standardise_gates(model, task, task.train, batch_size=5)
    states, mask = entering(model, task, task.train, 2)
    z = prefixes(model)[2].token_gate.pool(states, mask)
    assert z.mean(dim=0).abs().max() < 1e-2 and (z.std(dim=0) - 1).abs().max() < 1e-2
    alpha = prefixes(model)[2].gates(states, mask)[0]
    assert torch.allclose(alpha, (z @ prefixes(model)[2].token_gate.weight.T).sigmoid())


def test_it_is_the_papers_gate_with_a_bias(make_task, make_model):
    task, model = make_task(), make_model(make_task(), "apt@4")
    standardise_gates(model, task, task.train)
    gate, (states, mask) = prefixes(model)[1].token_gate, entering(model, task, task.validation, 1)
    folded = gate.weight * gate.scale
    bare = first_token(states, mask) @ folded.T - gate.mean @ folded.T
    assert torch.allclose(gate.logits(states, mask), bare, atol=1e-3)


def test_in_the_first_layer_nothing_differs_and_alpha_is_one_half(make_task, make_model):
    task, model = make_task(), make_model(make_task(), "apt@4")
    standardise_gates(model, task, task.train)
    states, mask = entering(model, task, task.validation, 0)
    assert torch.equal(prefixes(model)[0].gates(states, mask)[0], torch.full((10, 4), 0.5))


def test_every_gate_keeps_its_w_and_nothing_more_is_trained(make_task, make_model, trained):
    task, model = make_task(), make_model(make_task(), "apt@0-4-4")
    weights, names = [p.token_gate.weight for p in prefixes(model)[1:]], trained(model).keys()
    standardise_gates(model, task, task.train)
    assert all(p.token_gate.weight is weight for p, weight in zip(prefixes(model)[1:], weights, strict=True))
    assert trained(model).keys() == names and not model.training


def test_a_saved_one_is_not_loaded_as_the_papers(make_task, make_model, tmp_path):
    task, model = make_task(), make_model(make_task(), "apt@4")
    save_adapter(standardise_gates(model, task, task.train), tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"holds .*token_gate.mean, which the model lacks"):
        load_adapter(make_model(task, "full"), tmp_path / "adapter")


@pytest.mark.parametrize("method", ["p_tuning_v2@4", "apt_no_hidden_state@4", "apt_query_gate@4"])
def test_what_does_not_read_states_as_the_paper_does_is_refused(method, make_task, make_model, state):
    task, model = make_task(), make_model(make_task(), method)
    before = state(model)
    with pytest.raises(ValueError, match="only a TokenGate that reads states can be standardised"):
        standardise_gates(model, task, task.train)
    assert state.same(before, state(model))
    with pytest.raises(ValueError, match="1 examples were given"):
        standardise_gates(make_model(task, "apt@4"), task, task.train[:1])


def test_a_run_standardises_over_its_training_examples(make_task, backbone):
    task, method = make_task(), method_named("apt_standardised@4")
    model = prepare(load_model(task, backbone), method)
    with method.training(model, task, method) as (part, changed):
        assert part is model and changed is task
    states, mask = entering(model, task, task.train, 1)
    assert prefixes(model)[1].token_gate.pool(states, mask).mean(dim=0).abs().max() < 1e-2


@pytest.mark.slow
def test_it_recovers_a_teachers_gates_on_the_real_backbones_states_where_the_papers_gate_cannot(minilm):
    """One layer; P is given, W is learned from the teacher's output alone, and α is compared on other sentences."""
    from transformers import AutoModel, AutoTokenizer

    from apt_minimal.lab import load_task

    task, layer = load_task("conll2004", AutoTokenizer.from_pretrained(minilm), source="sample"), 4
    lengths = tuple(4 if i == layer else 0 for i in range(6))
    model = attach(AutoModel.from_pretrained(minilm, add_pooling_layer=False), AptConfig(lengths, prefix_dropout=0.0))
    attention, prefix = self_attentions(model)[layer], prefixes(model)[layer]
    inputs = task.__class__.collate

    def collate(self, examples):
        return {name: tensor for name, tensor in inputs(self, examples).items() if name != "labels"}

    object.__setattr__(task, "collate", collate.__get__(task))  # a bare backbone takes no labels
    (states, mask), other = entering(model, task, task.train, layer), entering(model, task, task.validation, layer)
    torch.nn.init.normal_(prefix.key), torch.nn.init.normal_(prefix.value)
    plain = deepcopy(prefix)
    student = prefixes(standardise_gates(model, task, task.train))[layer]
    teacher = deepcopy(student)
    torch.nn.init.normal_(teacher.token_gate.weight, std=2 / 384**0.5)

    def output(prefix, states, mask):
        key, value = (split_heads(part, 12) for part in prefix(states, mask))
        query = split_heads(attention.query(states), 12)
        key = torch.cat([key, split_heads(attention.key(states), 12)], dim=2)
        value = torch.cat([value, split_heads(attention.value(states), 12)], dim=2)
        may_look = torch.cat([mask.new_ones(len(mask), 4), mask], dim=1).bool()[:, None, None]
        return merge_heads(scaled_dot_product_attention(query, key, value, may_look)[0])

    def learned(prefix, rate, steps=200):
        prefix = deepcopy(prefix)
        weight = torch.nn.init.normal_(prefix.token_gate.weight, std=0.02)
        optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for _ in range(steps):
            some = torch.randint(len(states), (16,))
            with torch.no_grad():
                target = output(teacher, states[some], mask[some])
            (output(prefix, states[some], mask[some]) - target)[mask[some].bool()].pow(2).mean().backward()
            optimizer.step(), optimizer.zero_grad(), schedule.step()
        return prefix.gates(*other)[0].detach()

    alpha = teacher.gates(*other)[0].detach()
    agrees = lambda found: torch.corrcoef(torch.stack([found.flatten(), alpha.flatten()]))[0, 1]  # noqa: E731
    found = learned(student, 1e-2)
    assert alpha.std(dim=0).mean() > 0.25 and agrees(found) > 0.9 and found.std(dim=0).mean() > 0.2
    for rate in (1e-3, 1e-2, 1e-1):  # the paper's gate stays nearly a constant, whatever the rate
        assert learned(plain, rate).std(dim=0).mean() < 0.1
