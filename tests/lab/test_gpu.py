"""On a GPU: the same training and scores as on a CPU but for rounding, and the same numbers every time."""

import copy
import os
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from apt_minimal.lab.experiments import run as runs
from apt_minimal.lab.experiments.machine import repeatable
from apt_minimal.lab.experiments.records import RunSpec
from apt_minimal.lab.experiments.results import read_results
from apt_minimal.lab.experiments.run import finished_record
from apt_minimal.lab.experiments.runner import run_grid
from apt_minimal.lab.methods import METHODS, TRAINED
from apt_minimal.lab.train.batches import forward, predict
from apt_minimal.lab.train.loop import TrainConfig, train

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU found")

CONFIG = TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=12, evaluations=4)
TOOK = ("minutes", "peak_mib")


@pytest.fixture
def line_of(make_task, backbone, tmp_path):
    """Do one run of a method on a made task, on the GPU."""
    runs.load.cache_clear()  # the same names, another test's data
    make_task("token")

    def do(method):
        settings = METHODS[method].settings
        spec = RunSpec("my_token", "full", method, "final", 1, backbone, settings, asdict(CONFIG))
        return finished_record(spec, runs.load("mine", backbone, str(tmp_path)), GPU, backbone)

    return do


@pytest.mark.parametrize("method", TRAINED)
def test_a_run_done_twice_gives_the_same_numbers(method, line_of, same):
    (line, predictions), (again, predictions_again) = line_of(method), line_of(method)
    assert not line.failed
    assert line.device == torch.cuda.get_device_name() and line.peak_mib > 0
    assert same(predictions, predictions_again)
    assert replace(line, **dict.fromkeys(TOOK)) == replace(again, **dict.fromkeys(TOOK))


# Pruning's gates are noise in training, which a GPU draws differently, as it does dropout.
@pytest.mark.parametrize("method", sorted(TRAINED.keys() - {"apt_pruned"}))
def test_in_float32_and_without_dropout_it_trains_as_on_a_cpu(method, make_task, make_model):
    task, config = make_task("choice"), replace(CONFIG, bf16=False, max_steps=3, evaluations=1)
    here = make_model(task, method)
    for module in here.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    there = copy.deepcopy(here).to(GPU)
    ours, theirs = (torch.tensor(train(model, task, config, progress=False).loss) for model in (here, there))
    torch.testing.assert_close(theirs, ours, rtol=2e-3, atol=2e-3)


def test_bfloat16_is_used_there_unless_told_otherwise(any_task, make_model):
    model = make_model(any_task).to(GPU).eval()
    batch = any_task.collate(any_task.validation)
    with torch.no_grad():
        half, whole = forward(model, batch).logits, forward(model, batch, bf16=False).logits
        expected = forward(model.cpu(), batch).logits
    assert half.dtype == torch.bfloat16 and whole.dtype == torch.float32
    torch.testing.assert_close(whole.cpu(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(half.cpu().float(), expected, rtol=0.1, atol=0.1 * expected.abs().max().item())


def test_predictions_are_those_of_a_cpu(any_task, make_model):
    model = make_model(any_task).eval()
    expected = predict(model, any_task, any_task.train)
    assert predict(model.to(GPU), any_task, any_task.train, bf16=False) == expected


@pytest.mark.parametrize("batches", [4, 9])
def test_interrupted_training_ends_as_if_it_had_not_been(
    batches, make_task, make_model, file, interrupt, trained, same
):
    def fit():
        model = make_model(task).to(GPU)
        with repeatable():
            return vars(train(model, task, CONFIG, file, progress=False)), trained(model)

    task = make_task()
    expected = fit()
    stop = interrupt(batches)
    with pytest.raises(KeyboardInterrupt):
        fit()
    stop.off()
    assert same(fit(), expected)


def test_repeatable_leaves_everything_as_it_was():
    with repeatable():
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_a_grid_runs_side_by_side(make_task, backbone, tmp_path):
    make_task("token")
    file = tmp_path / "grid.toml"
    file.write_text(
        f'backbone = "{backbone}"\nseeds = [1, 2]\nsettings = ["full"]\n[train]\nmax_steps = 4\nevaluations = 2\n'
        '[search]\nseeds = [0]\n[methods]\nmajority = []\napt = [1e-2]\n[tasks."my_token"]\n'
    )
    run_grid(file, str(tmp_path), jobs=2, device=GPU)
    lines = read_results(tmp_path / "grid")
    assert sorted((line.spec.method, line.spec.seed) for line in lines) == [
        ("apt", 1), ("apt", 2), ("majority", 1), ("majority", 2)
    ]  # fmt: skip
    assert all(os.path.exists(tmp_path / "grid" / line.predictions) for line in lines)
