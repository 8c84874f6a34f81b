"""Reading gates: shapes, what is missing, and what must be the same for every input."""

import pytest
import torch
from transformers import AutoTokenizer

from apt_minimal import AptConfig, prefixes, record
from apt_minimal.lab import load_task
from apt_minimal.lab.baselines import Method, load_model, prepare
from apt_minimal.lab.reading import read_gates


@pytest.fixture
def reading(make_model):
    """Read a tiny model's gates, made large and different first."""

    def read(task, config=None, **options):
        model = shaken(make_model(task, Method(config or AptConfig(5))))
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
    model = shaken(make_model(task, Method(AptConfig(5))))
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


@pytest.fixture(scope="module")
def real(minilm):
    """A real BERT with large gates, and a task in its tokens."""
    task = load_task("rte", AutoTokenizer.from_pretrained(minilm), "sample")

    def read(gate_input):
        model = shaken(prepare(load_model(task, minilm), Method(AptConfig(4, gate_input=gate_input))))
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


def test_a_model_without_prefixes_has_no_gates_to_read(make_task, make_model, backbone):
    task = make_task()
    with pytest.raises(ValueError, match="no layer of this model has a prefix"):
        read_gates(make_model(task, "head_only"), task, task.validation)
    with pytest.raises(ValueError, match="no prefixes attached"):
        read_gates(load_model(task, backbone), task, task.validation)


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_no_spread_over_fewer_than_two_examples(count, make_task, make_model):
    task = make_task()
    with pytest.raises(ValueError, match=f"{count} examples were given; the spread"):
        read_gates(make_model(task), task, task.validation[:count])
