"""What a line holds of a prefix: readings before, during and after training, the last of the state that is kept."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from made import with_prefix

from apt_minimal import AptConfig, prefixes
from apt_minimal.lab.methods import METHODS
from apt_minimal.lab.read.gates import read_gates
from apt_minimal.lab.read.importance import layer_effects, scores_without
from apt_minimal.lab.read.readings import OVER_TIME, READ, Readings, rounded
from apt_minimal.lab.train.loop import TrainConfig, train

LATER = {"learning_rate": 5e-2, "batch_size": 8, "max_steps": 6, "evaluations": 3}


@pytest.fixture
def read(make_task, make_model):
    """Train a tiny model with a method; returns it, its task, the line's part, and the history."""

    def run(method, kind="token"):
        task = make_task(kind)
        model = make_model(task, method)
        readings = Readings(model, task, task.validation)
        history = train(model, task, TrainConfig(**LATER), None, False, at_evaluation=readings.at_evaluation)
        return model, task, readings.of_record(history.notes), history

    return run


@pytest.mark.parametrize("kind", ["token", "choice"])
def test_a_line_holds_the_readings_of_the_state_that_was_kept(kind, read, make_model):
    model, task, found, history = read(with_prefix(AptConfig((5, 0, 2))), kind)
    gates, fresh = read_gates(model, task, task.validation), make_model(task, with_prefix(AptConfig((5, 0, 2))))
    assert found["prefix_lengths"] == [5, 0, 2]
    expected = [gates.mean, gates.spread, gates.scale, gates.mass.mean(dim=0)]
    names = ("alpha_mean", "alpha_spread", "scale", "mass")
    assert [found["gates"][name] for name in names] == [rounded(values.tolist()) for values in expected]
    assert found["effects"] == {
        "examples": 10,
        "fresh": rounded(layer_effects(fresh, task, task.validation).tolist(), 6),
        "trained": rounded(layer_effects(model, task, task.validation).tolist(), 6),
        "lost": rounded(scores_without(model, task, task.validation).lost_by_layer.tolist(), 6),
    }
    assert found["effects"]["fresh"] != found["effects"]["trained"]


def test_gates_over_time_end_where_training_did(make_task, make_model):
    task = make_task()
    model = make_model(task, with_prefix(AptConfig((5, 0, 2))))
    readings, by_hand = Readings(model, task, task.validation), []

    def look():
        model.eval()
        gates = read_gates(model, task, task.validation)
        by_hand.append([gates.alpha[..., 0, :].mean(), gates.alpha[:, 2, :2].std(dim=0).max(), gates.scale[2]])
        return readings.at_evaluation()

    history = train(model, task, TrainConfig(**LATER), None, False, at_evaluation=look)
    over_time = readings.of_record(history.notes)["gates"]["over_time"]
    assert all(len(over_time[name]) == len(over_time[name][0]) == 3 for name in OVER_TIME)
    layers = {"alpha_mean": 0, "alpha_spread": 2, "scale": 2}
    seen = [[over_time[name][i][layer] for name, layer in layers.items()] for i in range(3)]
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(by_hand), atol=1e-4, rtol=0)
    assert over_time["scale"][0] != over_time["scale"][1] and over_time["alpha_mean"][0][1] is None


def test_looking_changes_nothing_in_training(make_task, make_model, trained, same):
    """Not even when the mode is left at eval: dropout of the steps that follow stays on."""
    found = []
    for look in (False, True):
        task = make_task()
        model = make_model(task)
        at_evaluation = partial(model.train, False) if look else None
        history = train(model, task, TrainConfig(**LATER), None, False, at_evaluation=at_evaluation)
        found.append((history.loss, trained(model)))
    assert same(*found)


def test_pruned_prefixes_are_read_as_they_are_left(read, make_task, make_model):
    model, _, found, _ = read(replace(METHODS["apt_pruned"], config=AptConfig(4)))
    assert found["prefix_lengths"] == [len(prefix.key) for prefix in prefixes(model)] == [4, 4, 4]


@pytest.mark.parametrize("method", ["head_only", "lora", "full"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_without_a_prefix_there_is_nothing_to_tell(method, read):
    _, _, found, _ = read(method)
    assert found == ({"prefix_lengths": [0, 0, 0]} if method == "head_only" else {})


def test_beside_the_attention_there_is_one_gate_a_layer(read):
    model, _, found, _ = read("prefix_beside")
    gates = [layer.attention.self.beside.gate.item() for layer in model.bert.encoder.layer]
    assert found == {"beside": [pytest.approx(math.tanh(gate), abs=1e-4) for gate in gates]}
    assert all(found["beside"])


def test_without_effects_there_are_the_gates_alone(make_task, make_model):
    task = make_task()
    readings = Readings(make_model(task), task, task.validation, effects=False)
    assert readings.of_record([readings.at_evaluation()]).keys() == {"prefix_lengths", "gates"}


def test_of_many_examples_the_first_are_read(make_task, make_model):
    task = make_task("text")
    readings = Readings(make_model(task), task, task.validation * 30)
    assert len(readings.examples) == READ == 256


def test_numbers_are_rounded_wherever_they_stand():
    assert rounded([[0.123456, float("nan")], 1.0]) == [[0.1235, None], 1.0]
