"""Reading gates: shapes, what is missing, and what must be the same for every input."""

import numpy as np
import pytest
import torch
from made import with_prefix
from transformers import AutoTokenizer

from apt_minimal import AptConfig, prefixes, record
from apt_minimal.lab.data.tasks import load_task
from apt_minimal.lab.methods import load_model, prepare
from apt_minimal.lab.read.gates import GateReading, gated_norms, plot_gates, read_gates, read_sentence


@pytest.fixture
def reading(make_model):
    """Read a tiny model's gates, made large and different first."""

    def read(task, config=None, **options):
        model = shaken(make_model(task, with_prefix(config or AptConfig(5))))
        return read_gates(model, task, task.validation, **options)

    return read


def shaken(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for prefix in filter(None, prefixes(model)):
            for parameter in prefix.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def test_a_reading_has_an_entry_for_each_input_layer_and_prefix_token(any_task, reading):
    found = reading(any_task)
    inputs = 30 if any_task.kind == "choice" else 10  # each choice is an input
    assert found.alpha.shape == (inputs, 3, 5)
    assert found.mass.shape == (inputs, 3)
    assert found.scale.shape == (3,)
    assert found.mean.shape == found.spread.shape == (3, 5)
    assert ((found.alpha > 0) & (found.alpha < 1)).all() and ((found.mass > 0) & (found.mass < 1)).all()


def test_a_layer_without_prefix_is_nan_and_a_shorter_one_is_filled_up(make_task, reading):
    found = reading(make_task(), AptConfig((2, 0, 4)))
    real = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    assert torch.equal(found.alpha.isnan(), ~real.expand(10, 3, 4))
    assert torch.equal(found.spread.isnan(), ~real)
    assert found.scale.isnan().tolist() == [False, True, False]
    assert torch.equal(found.mass.isnan(), torch.tensor([False, True, False]).expand(10, 3))


@pytest.mark.parametrize("size", [1, 3, 4])
def test_neither_batches_nor_padding_change_a_reading(size, any_task, reading, close):
    together, apart = reading(any_task), reading(any_task, batch_size=size)
    for name in ("alpha", "mass", "scale"):
        close(getattr(apart, name), getattr(together, name))


def test_a_reading_is_what_a_forward_pass_records(make_task, make_model, close):
    task = make_task("text")
    model = shaken(make_model(task, with_prefix(AptConfig(5))))
    found = read_gates(model, task, task.validation)
    with record(model) as seen, torch.no_grad():
        model(**task.collate([task.validation[7]]))
    close(found.alpha[7], torch.cat(seen.alpha))
    close(found.scale, torch.stack([scale.detach() for scale in seen.scale]))
    close(found.mass[7], torch.stack([mass[0].mean() for mass in seen.mass]))
    close(found.mean, found.alpha.mean(dim=0))
    close(found.spread, found.alpha.std(dim=0))


def test_a_gate_without_input_has_no_spread(make_task, reading):
    found = reading(make_task(), AptConfig(5, gate_input="none"))
    assert found.spread.abs().max() < 1e-6
    assert found.mean.std() > 0.1


def test_gates_that_are_off_read_as_1(make_task, reading):
    found = reading(make_task(), AptConfig(5, token_gate=False, layer_gate=False))
    assert (found.alpha == 1).all() and (found.scale == 1).all() and (found.spread == 0).all()


@pytest.mark.parametrize("kind", ["text", "pair", "token", "choice"])
def test_a_sentence_reads_as_the_example_made_of_it(kind, make_task, make_model, tokenizer, close):
    task = make_task(kind)
    model = shaken(make_model(task, with_prefix(AptConfig((5, 0, 4))))).train()
    row = task.validation[3].row
    texts = {"text": ("text",), "pair": ("text", "text_pair"), "token": ("tokens",), "choice": ("text",)}[kind]
    texts = [" ".join(row[name]) if name == "tokens" else row[name] for name in texts]
    texts += [row["choices"][0]] if kind == "choice" else []
    found = read_sentence(model, tokenizer, *texts)
    i = 9 if kind == "choice" else 3  # three choices an example
    whole = read_gates(model, task, task.validation)
    for name in ("alpha", "mass"):
        one, expected = getattr(found, name), getattr(whole, name)[i : i + 1]
        close(one.nan_to_num(9.0), expected.nan_to_num(9.0))
    assert found.alpha[0].shape == (3, 5) and torch.equal(found.scale.isnan(), whole.scale.isnan())
    assert torch.equal(found.mean.nan_to_num(9.0), found.alpha[0].nan_to_num(9.0))


def test_a_long_sentence_is_cut_off_like_a_row(make_task, make_model, tokenizer, close):
    model = shaken(make_model(make_task("text")))
    cut = read_sentence(model, tokenizer, "red " * 200, max_length=9)
    close(cut.mass, read_sentence(model, tokenizer, "red " * 7).mass)
    read_sentence(model, tokenizer, "red " * 200)  # would not fit the positions


def test_norms_are_those_of_the_prefix_that_attention_gets(make_task, make_model, close):
    task = make_task("text")
    model = shaken(make_model(task, with_prefix(AptConfig((5, 0, 4), prefix_dropout=0.0))))
    with torch.no_grad():
        prefixes(model)[0].layer_gate.scale.fill_(-1.5)  # a length is not negative
    reading, handed_over = read_gates(model, task, task.validation), []
    first, _, last = prefixes(model)
    hooks = [p.register_forward_hook(lambda prefix, args, pair: handed_over.append(pair)) for p in (first, last)]
    with torch.no_grad():
        model(**task.collate(task.validation))
    for hook in hooks:
        hook.remove()
    for part, norms in enumerate(gated_norms(model, reading)):
        assert norms.shape == (10, 3, 5)
        close(norms[:, 0], handed_over[0][part].norm(dim=-1))
        close(norms[:, 2, :4], handed_over[1][part].norm(dim=-1))
        assert norms[:, 1].isnan().all() and norms[:, 2, 4].isnan().all()


def test_a_reading_has_a_models_precision_and_at_least_float32(make_task, make_model):
    task = make_task()
    for dtype, expected in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        found = read_gates(make_model(task).to(dtype), task, task.validation)
        assert {found.alpha.dtype, found.scale.dtype, found.mass.dtype} == {expected}


@pytest.fixture(scope="module")
def real(minilm):
    """A real BERT with large gates, and a task in its tokens."""
    task = load_task("rte", AutoTokenizer.from_pretrained(minilm), "sample")

    def read(gate_input):
        model = shaken(prepare(load_model(task, minilm), with_prefix(AptConfig(4, gate_input=gate_input))))
        return read_gates(model, task, task.validation[:12]).spread.amax(dim=1)

    return read


def test_on_a_real_bert_layer_1s_first_token_gate_is_a_constant_and_later_ones_are_not(real):
    spread = real("first_token")
    assert spread[0] < 1e-5
    assert (spread[1:] > 1e-4).all()


def test_on_a_real_bert_a_mean_gate_varies_in_every_layer(real):
    assert (real("mean") > 0.01).all()


@pytest.mark.parametrize("training", [True, False])
def test_reading_is_done_in_eval_mode_and_leaves_the_mode_as_it_was(training, make_task, make_model):
    task, modes = make_task(), []
    model = make_model(task).train(training)
    model.register_forward_pre_hook(lambda model, _: modes.append((model.training, torch.is_grad_enabled())))
    read_gates(model, task, task.validation)
    assert modes == [(False, False)] and model.training is training


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_comes_back_after_an_error_and_after_a_sentence(training, make_task, make_model, tokenizer, interrupt):
    task = make_task()
    model = make_model(task).train(training)
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    read_sentence(model, tokenizer, "anna likes paris .")
    assert model.training is training
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        read_gates(model, task, task.validation, batch_size=5)
    assert model.training is training and sum(len(module._forward_hooks) for module in model.modules()) == hooks


def test_a_model_without_prefixes_has_no_gates_to_read(make_task, make_model, backbone, tokenizer):
    task = make_task()
    with pytest.raises(ValueError, match="no layer of this model has a prefix"):
        read_gates(make_model(task, "head_only"), task, task.validation)
    with pytest.raises(ValueError, match="no layer of this model has a prefix"):
        read_sentence(make_model(task, "head_only"), tokenizer, "anna")
    with pytest.raises(ValueError, match="no prefixes attached"):
        read_gates(load_model(task, backbone), task, task.validation)


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_no_spread_over_fewer_than_two_examples(count, make_task, make_model):
    task = make_task()
    with pytest.raises(ValueError, match=f"{count} examples were given; the spread"):
        read_gates(make_model(task), task, task.validation[:count])


def test_the_gate_plot_shows_mean_and_spread():
    alpha = torch.rand(20, 3, 5)
    figure = plot_gates(GateReading(alpha, torch.ones(3), torch.ones(20, 3)))
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert np.allclose(shown[0], alpha.mean(0)) and np.allclose(shown[1], alpha.std(0))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["1", "2", "3"]
