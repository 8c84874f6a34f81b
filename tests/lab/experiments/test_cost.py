"""What a step costs: the inputs, what is timed, and the recorded table."""

import csv
import math

import pytest

from apt_minimal.lab.experiments import cost
from apt_minimal.lab.experiments.recordings import RESULTS
from apt_minimal.lab.methods import method_named


@pytest.fixture
def tiny(monkeypatch, backbone):
    """Measure the tests' tiny backbone."""
    monkeypatch.setattr(cost, "embedded_backbone", lambda: backbone)


def test_made_inputs_are_half_as_long_up_to_as_long_as_said():
    lengths = [len(example.inputs[0]["input_ids"]) for example in cost.made_task(30).train]
    assert len(lengths) == 16 and (min(lengths), max(lengths)) == (15, 30) and lengths == sorted(lengths)


@pytest.mark.parametrize("method, first", [("apt", 0), ("apt_upper@0-0-4", 2), ("head_only", 0)])
def test_what_is_timed_trains_what_the_method_trains_and_nothing_else(method, first, tiny, make_model):
    task = cost.made_task(8)
    for example in task.train:
        example.inputs[0]["input_ids"] = [7] * len(example.inputs[0]["input_ids"])
    with cost.ready(method, task) as (model, batch, optimizer):
        assert model.training and ("hidden_states" in batch) is (first > 0)
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in trained]
        cost.step(model, batch, optimizer)
    assert all((p != old).any() for p, old in zip(trained, before, strict=True))
    expected = [p for p in make_model(task, method).parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [p.shape for p in expected]


def test_the_recorded_table_holds_methods_of_grids_each_against_apt():
    rows = list(csv.DictReader((RESULTS / "step_cost.csv").open()))
    for tokens in {row["tokens"] for row in rows}:
        ms = {row["method"]: float(row["ms"]) for row in rows if row["tokens"] == tokens}
        for row in (row for row in rows if row["tokens"] == tokens):
            method_named(row["method"])
            low, ratio, high = (float(row[name]) for name in ("low", "ratio_to_apt", "high"))
            assert low <= ratio <= high
            # a median of ratios, not a ratio of medians
            assert math.isclose(ratio, ms[row["method"]] / ms["apt"], rel_tol=0.1)
