"""Upper layers on cached states: against the whole model, from token ids, in fp64."""

import math
from dataclasses import replace

import pytest
import torch
import transformers
from made import with_prefix
from torch import nn

from apt_minimal import AptConfig, attach, prefixes, record
from apt_minimal.lab.methods.prune import penalised, prune, prune_gates, use_prune_gates
from apt_minimal.lab.methods.upper import UpperLayers, cache_below
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.loop import TrainConfig, train

LAYERS = range(4)  # of a model with layers 0, 1, 2; 3: the head


def lengths(layer):
    """Prefixes from a layer on only."""
    return AptConfig((0,) * layer + (4,) * (3 - layer))


@pytest.fixture
def make_both(make_model):
    """The whole model in fp64, prefixes from a layer on, every trained number random and large enough to matter."""

    def make(task, layer, **options):
        model = make_model(task, with_prefix(lengths(layer)), **options).double().eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad or "LayerNorm" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.5)
        return model, UpperLayers(model, layer)

    return make


def without_dropout(model):
    """In training mode, and yet the same at every call."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for prefix in filter(None, prefixes(model)):
        prefix.dropout = 0.0
    return model.train()


# The same as the whole model


@pytest.mark.parametrize("layer", LAYERS)
def test_logits_loss_and_gradients_are_those_of_the_whole_model(layer, any_task, make_both, close):
    model, upper = make_both(any_task, layer)
    without_dropout(model)
    cached = cache_below(model, any_task, layer)
    assert model.training
    for start in (0, 12):
        found = []
        for module, task in ((model, any_task), (upper, cached)):
            model.zero_grad()
            output = module(**task.collate(task.train[start : start + 12]))
            output.loss.backward()
            found.append((output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
        (whole, expected), (above, gradients) = found
        if any_task.kind == "token":  # what stands at padding is nobody's business
            real = any_task.collate(any_task.train[start : start + 12])["attention_mask"].bool()
            close(above.logits[real], whole.logits[real])
        else:
            close(above.logits, whole.logits)
        close(above.loss.detach(), whole.loss.detach())
        assert gradients.keys() == expected.keys() and len(gradients) == 2 + 5 * (3 - layer) - (3 - layer)
        for name, gradient in gradients.items():
            close(gradient, expected[name])


HOSTS = ["Bert", "Roberta", "Electra", "XLMRoberta", "Camembert"]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["token", "text", "choice"])
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_can_be_cut(host, kind, implementation, make_task, tiny, close):
    task = make_task(kind)
    head = {"token": "TokenClassification", "text": "SequenceClassification", "choice": "MultipleChoice"}[kind]
    sizes = {"vocab_size": 100, "max_position_embeddings": 140, "num_labels": max(len(task.labels), 2)}
    if host == "Electra":
        sizes["embedding_size"] = 16
    parts = [getattr(transformers, host + name) for name in ("Config", "For" + head)]
    model = tiny(parts[1], torch.float64, config_class=parts[0], attn_implementation=implementation, **sizes)
    attach(model, lengths(2))
    cached = cache_below(model, task, 2)
    with torch.no_grad():
        whole, above = model(**task.collate(task.test)), UpperLayers(model, 2)(**cached.collate(cached.test))
        padding = task.collate(task.test)["attention_mask"] == 0
    for output in (whole, above):
        if kind == "token":
            output.logits[padding] = 0.0
    close(above.logits, whole.logits)
    close(above.loss, whole.loss)


def test_predictions_are_the_same_whatever_shares_the_batch(any_task, make_both):
    model, upper = make_both(any_task, 1)
    cached = cache_below(model, any_task, 1, batch_size=3)
    expected = predict(model, any_task, any_task.train)
    assert predict(upper, cached, cached.train) == predict(upper, cached, cached.train, batch_size=1) == expected
    assert cached.score(expected, cached.train) == any_task.score(expected, any_task.train)


def test_the_plain_loop_ends_where_it_does_with_the_whole_model(make_task, make_both, trained, close):
    task, config, ends = make_task(), TrainConfig(1e-2, batch_size=8, max_steps=6, evaluations=3), []
    for cut in (False, True):
        torch.manual_seed(3)
        model, upper = make_both(task, 2)
        without_dropout(model)
        subject = (upper, cache_below(model, task, 2)) if cut else (model, task)
        ends.append((train(*subject, config, progress=False), trained(model)))
    (whole, expected), (above, parameters) = ends
    assert above.loss == pytest.approx(whole.loss, rel=1e-9) and above.scores == whole.scores
    for name, parameter in parameters.items():
        close(parameter, expected[name], within=1e-8)  # Adam's first steps enlarge rounding of small gradients


def test_an_interrupted_training_goes_on(make_task, make_both, trained, same, file, interrupt):
    task, config, ends = make_task(), TrainConfig(1e-2, batch_size=8, max_steps=8, evaluations=4), []
    for stop in (False, True):
        torch.manual_seed(3)
        model, upper = make_both(task, 2)
        cached = cache_below(model, task, 2)
        if stop:
            interrupted = interrupt(7)
            with pytest.raises(KeyboardInterrupt):
                train(upper, cached, config, file, progress=False)
            interrupted.off()
            assert file.exists()
        train(upper, cached, config, file, progress=False)
        ends.append(trained(model))
    assert same(*ends)


# What it is for


@pytest.mark.parametrize("kind", ["token", "choice"])
def test_nothing_below_runs_and_memory_is_that_of_real_tokens(kind, make_task, make_both, monkeypatch):
    task = make_task(kind)
    model, upper = make_both(task, 2)
    ran = []
    for name, module in model.base_model.named_modules():
        module.register_forward_hook(lambda module, args, output, name=name: ran.append(name))
    cached = cache_below(model, task, 2)
    assert {"embeddings", "encoder.layer.1"} <= set(ran) and not [name for name in ran if "layer.2" in name]
    ran.clear()
    batch = cached.collate(cached.train[:3])
    upper(**batch).loss.backward()
    assert "encoder.layer.2" in ran and not [n for n in ran if "embeddings" in n or "layer.0" in n or "layer.1" in n]
    examples = [*task.train, *task.validation, *task.test]
    tokens = sum(len(one["input_ids"]) for example in examples for one in example.inputs)
    assert cached.nbytes == tokens * 32 * 8
    stored = [s for split in (cached.train, cached.validation, cached.test) for one in split for s in one.states]
    assert sum(s.untyped_storage().nbytes() for s in stored) == cached.nbytes
    assert not any(s.requires_grad for s in stored)
    longest = max(len(one["input_ids"]) for example in task.train[:3] for one in example.inputs)
    assert batch["hidden_states"].shape[-2:] == (longest, 32)


def test_states_are_those_of_eval_mode_and_the_model_is_left_as_it_was(make_task, make_both, state, same):
    task = make_task()
    model, _ = make_both(task, 2)
    first = cache_below(model, task, 2)
    model.train()
    before = state(model)
    second = cache_below(model, task, 2)
    UpperLayers(model, 2)
    assert state.same(before, state(model))
    assert same([e.states for e in first.train], [e.states for e in second.train])
    assert task.train[0].states is None and isinstance(replace(first, train=first.train[:2]), type(first))


def test_record_sees_the_upper_layers_on_cached_states(make_task, make_both, close):
    task = make_task("text")
    model, upper = make_both(task, 1)
    cached, seen = cache_below(model, task, 1), []
    with torch.no_grad():
        for module, one in ((model, task), (upper, cached)):
            with record(model) as found:
                module(**one.collate(one.test))
            seen.append(found)
    assert seen[1].alpha[0] is None
    for i in (1, 2):
        close(seen[1].alpha[i], seen[0].alpha[i])


def test_prune_gates_and_their_penalty_hold_on_cached_states(make_task, make_model, close):
    task, config = make_task("text"), TrainConfig(1e-3, batch_size=8, max_steps=1, evaluations=1)
    losses = []
    for weight in (0.0, 1.0):
        model = use_prune_gates(make_model(task, with_prefix(lengths(1)))).double()
        upper, cached = UpperLayers(model, 1), cache_below(model, task, 1)
        with penalised(model, weight):
            losses += train(upper, cached, config, progress=False).loss
    at_start = 1 / (1 + math.exp(2 / 3 * math.log(1 / 11) - 1))
    assert losses[1] - losses[0] == pytest.approx(8 * at_start, rel=1e-6)
    prune_gates(model)[1].location.data[:3] = -1.0
    with torch.no_grad():
        expected = model.eval()(**task.collate(task.test)).logits
        prune(model)
        close(upper.eval()(**cached.collate(cached.test)).logits, expected)
    assert len(prefixes(model)[1].key) == 1


# Errors


@pytest.mark.parametrize("use", [UpperLayers, lambda model, layer: cache_below(model, None, layer)])
def test_what_cannot_be_cut_is_named(use, tiny, make_task, make_model):
    task = make_task("text")
    model = make_model(task, with_prefix(AptConfig((0, 3, 0))))
    for layer in (-1, 4, True, 1.0):
        with pytest.raises(ValueError, match=r"layer is .*; this model has layers 0 to 2, and 3 means its head only"):
            use(model, layer)
    with pytest.raises(ValueError, match=r"layers \[1\] below layer 2 have prefixes"):
        use(model, 2)
    with pytest.raises(ValueError, match=r"embeddings.weight below layer 1 requires gradients"):
        use(make_model(task, "full"), 1)
    with pytest.raises(TypeError, match="PeftModel.* cannot be cut"):
        use(make_model(task, "lora"), 3)
    with pytest.raises(TypeError, match="Linear cannot be cut: only hosts whose layers are a list"):
        use(nn.Linear(2, 2), 0)


def test_states_of_another_layer_and_a_model_without_a_head_are_refused(make_task, make_model, tiny):
    task = make_task("text")
    model = make_model(task, "head_only")
    cached = cache_below(model, task, 1)
    with pytest.raises(ValueError, match="these states enter layer 1, and this module begins with layer 2"):
        UpperLayers(model, 2)(**cached.collate(cached.train[:2]))
    with pytest.raises(TypeError, match="BertModel has no head"):
        UpperLayers(tiny(), 3)
