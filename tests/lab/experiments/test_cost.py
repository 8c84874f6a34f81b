"""What things cost: the inputs, what is timed, the floor, the lines, and the page that is made of them."""

import csv
import math
from argparse import Namespace
from dataclasses import asdict

import pytest
import torch

from apt_minimal.hosts import self_attentions
from apt_minimal.lab.experiments import cost, subjects
from apt_minimal.lab.experiments.cost_page import page
from apt_minimal.lab.experiments.cost_ratios import GOALS, Ratio, ratio
from apt_minimal.lab.experiments.recordings import RESULTS
from apt_minimal.lab.experiments.subjects import Condition
from apt_minimal.lab.methods import method_named
from apt_minimal.lab.train.precision import computes_in_bf16

CPU, TINY = torch.device("cpu"), Condition(layers=3, tokens=8, batch=4)
RECORDED = RESULTS / "speed.jsonl"
recorded = pytest.mark.skipif(not RECORDED.exists(), reason="nothing has been recorded")


@pytest.fixture
def tiny(monkeypatch, backbone):
    """Measure the tests' tiny backbone, on inputs that it knows."""

    def made(tokens, batch):
        task = made_task(tokens, batch)
        for example in task.train:
            example.inputs[0]["input_ids"] = [7] * len(example.inputs[0]["input_ids"])
        return task

    made_task = subjects.made_task
    monkeypatch.setattr(subjects, "made_task", made)
    monkeypatch.setattr(subjects, "embedded_backbone", lambda size="small": backbone)


def test_made_inputs_are_half_as_long_up_to_as_long_as_said():
    lengths = [len(example.inputs[0]["input_ids"]) for example in subjects.made_task(30).train]
    assert len(lengths) == 16 and (min(lengths), max(lengths)) == (15, 30) and lengths == sorted(lengths)


@pytest.mark.parametrize("method, first", [("apt", 0), ("apt_upper@0-0-4", 2), ("head_only", 0)])
def test_what_is_timed_trains_what_the_method_trains_and_nothing_else(method, first, tiny, make_model):
    with subjects.ready(method, TINY, CPU) as subject:
        assert subject.model.training and ("hidden_states" in subject.batch) is (first > 0)
        trained = [p for group in subject.optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in trained]
        subject.step()
    assert all((p != old).any() for p, old in zip(trained, before, strict=True))
    expected = [p for p in make_model(subjects.made_task(8, 4), method).parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [p.shape for p in expected]


def test_the_floor_goes_back_to_the_lowest_keys_and_values_and_trains_nothing(tiny):
    reached = {}
    with subjects.ready("floor", TINY, CPU) as subject:
        lowest = self_attentions(subject.model.base_model)[0]
        for name, module in [*lowest.named_children(), ("entering", subject.model.base_model.embeddings)]:
            module.register_forward_hook(lambda m, i, output, name=name: reached.update({name: output}))
        subject.step()
        assert reached["key"].grad.any() and reached["value"].grad.any()
        assert not reached["query"].requires_grad and not reached["entering"].requires_grad
        assert subject.optimizer is None and not any(p.requires_grad for p in subject.model.parameters())


@pytest.mark.parametrize("method", ["floor", "apt", "full"])
def test_in_bfloat16_the_backbone_computes_in_it_and_trained_numbers_stay_in_float32(method, tiny):
    seen = []
    with subjects.ready(method, Condition(layers=3, tokens=8, batch=4, precision="bf16"), CPU) as subject:
        lowest = self_attentions(subject.model.base_model)[0]
        lowest.key.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        subject.step()
        subject.infer()
        assert seen == [torch.bfloat16] * 2 and {p.dtype for p in subject.model.parameters()} == {torch.float32}


def test_fewer_layers_are_the_lowest_ones_with_prefixes_in_each(tiny):
    with subjects.ready("apt", Condition(layers=2, prefix_length=5, tokens=8), CPU) as subject:
        layers = self_attentions(subject.model.base_model)
        assert [layer.prefix.key.shape[0] for layer in layers] == [5, 5]
        subject.step()


def test_recomputed_activations_are_not_kept_and_give_the_same_gradients(tiny):
    gradients = {}
    for name in ("apt", "apt_recomputed"):
        torch.manual_seed(0)
        with subjects.ready(name, TINY, CPU) as subject:
            subject.optimizer = None
            torch.manual_seed(1)
            subject.step()
            assert subject.model.is_gradient_checkpointing is (name == "apt_recomputed")
            gradients[name] = [p.grad for p in subject.model.parameters() if p.requires_grad]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients.values(), strict=True))


def test_methods_take_turns_and_one_round_does_not_count():
    order = []
    seconds = cost.in_turn({name: lambda name=name: order.append(name) for name in "abc"}, 2, CPU)
    assert "".join(order) == "cbaabccba" and {name: len(times) for name, times in seconds.items()} == dict.fromkeys(
        "abc", 2
    )


@pytest.mark.parametrize("hardware", [True, False])
def test_bfloat16_is_measured_where_the_device_has_it(hardware, monkeypatch):
    monkeypatch.setattr(cost, "computes_in_bf16", lambda device: hardware)
    found = cost.conditions(CPU, quick=False)
    assert any(condition.precision == "bf16" for condition in found) is hardware and len(found) == len(set(found))


def test_a_second_start_measures_what_the_first_one_did_not_finish(tmp_path, monkeypatch):
    asked = []

    def parts(options, device):
        for tokens in (8, 16):
            yield "inference", Condition(tokens=tokens), lambda tokens=tokens: rows(tokens)

    def rows(tokens):
        asked.append(tokens)
        yield {"measure": "step", "values": {"apt": [1.0]}}
        if asked == [8, 16]:
            raise KeyboardInterrupt
        yield {"measure": "inference", "values": {"apt": [1.0]}}

    monkeypatch.setattr(cost, "parts", parts)
    options = Namespace(output=tmp_path / "build" / "speed.jsonl", rounds=1)
    with pytest.raises(KeyboardInterrupt):
        cost.measure(options, CPU)
    cost.measure(options, CPU)
    lines = cost.read(options.output)
    assert asked == [8, 16, 16] and [line["tokens"] for line in lines] == [8, 8, 16, 16, 16]
    assert lines[0]["versions"]["torch"] == torch.__version__ and "one thread" in lines[0]["machine"]


@pytest.mark.slow
def test_the_whole_of_it_on_a_tiny_backbone(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cost, "CENTRE", TINY)
    monkeypatch.setattr(subjects, "PADDED", 100)  # the tiny backbone has fewer positions
    monkeypatch.setattr(
        cost, "memory", lambda names, *_: iter([{"measure": "memory", "values": dict.fromkeys(names, 2)}])
    )
    command = f"cost --quick --profile --examples 4 --output {tmp_path}/speed.jsonl"
    monkeypatch.setattr("sys.argv", command.split())
    cost.main()
    lines = {line["measure"]: line["values"] for line in cost.read(tmp_path / "speed.jsonl")}
    measured = [name for name in cost.METHODS if name != "apt_bf16" or computes_in_bf16(CPU)]
    assert list(lines["step"]) == list(lines["inference"]) == measured
    assert {"apt", "peft_longest", "peft_128"} <= lines["epoch"].keys()
    assert lines["profile of step"]["apt"]["aten::addmm"] > 0
    assert lines["profile of memory"]["full"]["gradients"] > lines["profile of memory"]["apt"]["gradients"]
    assert page(cost.read(tmp_path / "speed.jsonl")) in capsys.readouterr().out


def test_a_ratio_is_the_median_of_ratios_between_the_rounds_that_its_order_allows():
    # Of 15 rounds, 3 or fewer lie under the median with a probability of 576 / 32768 = .018, 4 or fewer with .059.
    row = {"values": {"apt": [float(i) for i in range(1, 16)], "floor": [1.0] * 15, "full": [2.0] * 15}}
    assert ratio(row, "apt", "floor") == Ratio(8.0, 4.0, 12.0)
    assert ratio(row, "apt", "full") == Ratio(4.0, 2.0, 6.0)
    assert ratio({"values": {"apt": [3.0, 2.0, 4.0], "floor": [1.0, 2.0, 1.0]}}, "apt", "floor") == Ratio(3.0, 1.0, 4.0)
    assert ratio(row, "apt", "lora") is None and ratio(None, "apt", "floor") is None


def test_rounds_of_two_lines_that_measured_the_same_are_put_together():
    about = {"measure": "step", "machine": "mine", "versions": {}, "commit": "c", "date": "d"} | asdict(TINY)
    lines = [about | {"values": {"floor": [1.0] * 3, "apt": [ratio] * 3}} for ratio in (2.0, 4.0)]
    assert "2.000 |" in page(lines[:1]) and "3.000 (2.000 … 4.000)" in page(lines)


def test_a_goal_is_reached_only_where_the_whole_interval_says_so():
    found = Ratio(1.0, 0.9, 1.1)
    assert [found.verdict(most) for most in (1.1, 1.05, 0.9, 0.8)] == [
        "reached",
        "undecided",
        "undecided",
        "not reached",
    ]


@recorded
def test_the_page_is_what_the_recorded_lines_give():
    assert (RESULTS.parent / "speed.md").read_text(encoding="utf-8") == page(cost.read(RECORDED))


@recorded
def test_every_recorded_line_says_where_and_how_it_was_measured():
    lines = cost.read(RECORDED)
    assert {goal.measure for goal in GOALS} <= {line["measure"] for line in lines}
    for line in lines:
        assert {"machine", "versions", "commit", "date", "rounds"} <= line.keys() and "dirty" not in line["commit"]


def test_the_recorded_table_holds_methods_of_grids_each_against_apt():
    rows = list(csv.DictReader((RESULTS / "step_cost.csv").open()))
    for tokens in {row["tokens"] for row in rows}:
        ms = {row["method"]: float(row["ms"]) for row in rows if row["tokens"] == tokens}
        for row in (row for row in rows if row["tokens"] == tokens):
            method_named(row["method"])
            low, ratio_to_apt, high = (float(row[name]) for name in ("low", "ratio_to_apt", "high"))
            assert low <= ratio_to_apt <= high
            # a median of ratios, not a ratio of medians
            assert math.isclose(ratio_to_apt, ms[row["method"]] / ms["apt"], rel_tol=0.1)
