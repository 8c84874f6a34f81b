"""Comparisons over tasks, rates and rules, from made recordings: against computations that use scores alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from apt_minimal.lab.experiments.comparisons import (
    BEST,
    HELD_OUT,
    LAST,
    Place,
    compare,
    comparison_table,
    excluded,
    hurdle,
    precision_of,
    rules_table,
    share_varying,
)
from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.intervals import difference_interval
from apt_minimal.lab.experiments.recordings import load_recording
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.experiments.results import write_record

GRID = """
backbone = "b"
seeds = [1, 2, 3, 4]
settings = ["full"]
[train]
max_steps = 30
[search]
[methods]
majority = []
p_tuning_v2 = { crossed = [1e-2, 3e-2] }
apt = { crossed = [1e-2, 3e-2] }
apt_mean_gate = { crossed = [1e-2, 3e-2], seeds = 2 }
lora = [1e-3]
[tasks.rte]
[tasks.copa]
"""
EXAMPLES = {"rte": 80, "copa": 40}
CHANCE = {"majority": 0.5, "p_tuning_v2": 0.7, "apt": 0.85, "apt_mean_gate": 0.8, "lora": 0.8}
STATES = ("dev", "dev_best", "last")


@pytest.fixture
def make(tmp_path):
    """Write a recording of GRID; `left_out` says of a specification whether it was not run."""

    def make(left_out=lambda spec: False, states=STATES, precision="float32"):
        rng, file = np.random.default_rng(0), tmp_path / "grid.toml"
        file.write_text(GRID)
        for spec in all_runs(read_grid(file), [])[0]:
            if left_out(spec):
                continue
            right = rng.random((len(states), EXAMPLES[spec.task])) < CHANCE[spec.method.partition("~")[0]]
            counts = {state: [[int(r), 1] for r in of] for state, of in zip(states, right, strict=True)}
            scores = {state: {"accuracy": np.mean([r for r, _ in of])} for state, of in counts.items()}
            kind = precision(spec) if callable(precision) else precision
            more = {"history": {"watched_scores": [0.1, float(rng.random())]}, "precision": kind}
            record = RunRecord(spec, spec.task, 1.0, scores=scores, **more)
            write_record(tmp_path / "grid" / f"{spec.task}.jsonl", record, {"predictions": {}, "counts": counts})
        recording = load_recording(file)
        return [Place(recording, task) for task in EXAMPLES]

    return make


def by_seed(places, sign, state):
    """Each seed's score, averaged over tasks and rates, from the lines alone."""
    rows = [
        (r.spec.seed, sign[base], r.score(state))
        for place in places
        for r in place.recording.records
        if r.spec.task == place.task and (base := r.spec.method.partition("~")[0]) in sign
    ]
    table = pd.DataFrame(rows, columns=["seed", "sign", "score"]).groupby(["sign", "seed"])["score"].mean().unstack(0)
    return table[1] - table[-1]


@pytest.mark.parametrize(("rule", "state"), [(LAST, "last"), (HELD_OUT, "dev"), (BEST, "dev_best")])
def test_a_difference_is_averaged_over_tasks_and_equal_rates_with_the_same_seeds(make, rule, state):
    places = make()
    found = compare(places, "apt", "p_tuning_v2", rule)
    expected = by_seed(places, {"apt": 1, "p_tuning_v2": -1}, state)
    assert found.interval.mean == pytest.approx(expected.mean())
    assert found.interval.seeds_sd == pytest.approx(stats.sem(expected))
    assert (found.seeds, found.planned, found.rates, found.notes) == (4, 4, ("0.01", "0.03"), ())


def test_one_rate_alone_is_a_plain_paired_difference(make):
    place = make()[0]
    of_rate = compare([place], "apt", "p_tuning_v2", rate="0.03").interval
    assert of_rate == difference_interval(place.counts("apt~0.03", LAST), place.counts("p_tuning_v2~0.03", LAST))


def test_a_methods_runs_are_those_at_all_of_its_rates_and_no_others(make):
    place = make()[0]
    found = [(record.spec.method, record.spec.seed) for record in place.runs("apt")]
    assert sorted(found) == sorted(
        (f"apt~{rate}", seed) for rate in ("0.01", "0.03") for seed in place.recording.grid["seeds"]
    )


def test_a_method_with_one_rate_is_held_against_all_rates_of_the_other(make):
    places = make()
    found = compare(places, "apt", "lora")
    assert found.interval.mean == pytest.approx(by_seed(places, {"apt": 1, "lora": -1}, "last").mean())
    assert found.notes == ()  # LoRA's rates mean something else


def test_missing_runs_are_said_and_never_filled_in(make):
    places = make(lambda spec: spec.task == "copa" and spec.method == "apt~0.03" and spec.seed > 1)
    found = compare(places, "apt", "p_tuning_v2")
    assert found.interval is None and found.notes == ("missing: 1 seeds in common, two are needed (copa)",)
    assert compare(places[:1], "apt", "p_tuning_v2").seeds == 4
    assert compare(places, "apt_mean_gate", "apt").planned == 2
    assert compare(places, "apt_log_gate", "apt").notes == ("missing: rte, copa (not in the grid)",)
    assert compare([], "apt", "lora").notes == ("missing: no such runs",)


def test_without_predictions_of_the_last_evaluation_its_scores_give_an_interval_over_seeds_and_say_so(make):
    places = make(states=("dev",))
    found = compare(places, "apt", "p_tuning_v2")
    lines = {r.spec.key: r for place in places for r in place.recording.records}
    trained = [r for r in lines.values() if r.spec.method != "majority"]
    ends = pd.DataFrame([(r.spec.method.partition("~")[0], r.history["watched_scores"][-1]) for r in trained])
    ends = ends.groupby(0)[1].mean()
    assert found.interval.mean == pytest.approx(ends["apt"] - ends["p_tuning_v2"])
    assert np.isnan(found.interval.examples_sd) and "seeds only" in found.notes[0]
    assert "excluded" not in comparison_table({"one": found})["said"]["one"]
    assert compare(places, "apt", "p_tuning_v2", BEST).notes[0].startswith("not recorded")


def test_a_table_corrects_its_family_and_says_the_precision(make):
    places = make(precision=lambda spec: "bf16" if spec.method.startswith("apt_mean") else "float32")
    table = comparison_table({o: compare(places, "apt", o) for o in ("p_tuning_v2", "lora", "apt_mean_gate")})
    assert table["Holm"].min() == pytest.approx(3 * table["p"].min()) and table["Holm"].max() >= table["p"].max()
    assert table["precision"].tolist() == ["float32", "float32", "bf16 and float32"]
    assert table["said"]["p_tuning_v2"] == "higher"
    assert list(rules_table({"both": places}, "apt", "p_tuning_v2").index.get_level_values(1)) == [LAST, HELD_OUT, BEST]


def test_what_is_not_shown_is_said_by_what_it_excludes():
    half = {seed: [[1, 1], [0, 1]] * 5 for seed in (1, 2)}
    wide = difference_interval({1: [[1, 1]] * 9 + [[0, 1]], 2: [[0, 1]] * 10}, half)
    words = f"a gain above {100 * wide.high:.1f} and a loss above {-100 * wide.low:.1f} are excluded"
    assert excluded(wide) == f"no difference shown; {words}"
    assert excluded(difference_interval(half, half)).startswith("no difference at all")
    found = difference_interval({seed: [[1, 1]] * 10 for seed in (1, 2)}, half)
    assert (excluded(found, 0.04), excluded(found, 0.06)) == ("higher", "not shown after Holm's correction")


def test_where_neither_method_is_above_the_majority_label_the_comparison_is_void(make, monkeypatch):
    monkeypatch.setitem(CHANCE, "p_tuning_v2", 0.4)
    monkeypatch.setitem(CHANCE, "lora", 0.4)
    places = make()
    assert compare(places, "p_tuning_v2", "lora").void == ("rte", "copa") and not compare(places, "apt", "lora").void
    shares = [r.score("dev") for r in places[0].records("majority")]
    assert hurdle(places[0]) == pytest.approx(np.mean([max(share, 1 - share) for share in shares]))
    assert hurdle(replace(places[0], task="cb")) == 0  # of no run


def record(**more):
    return RunRecord(RunSpec("rte", "full", "apt", "final", 1, train={"learning_rate": 1.0}), "1", **more)


def test_gates_that_vary_are_counted_over_the_tokens_that_are_there():
    records = [record(gates={"alpha_spread": [[0.04, 0.06], [0.5, None], [None, None]]}), record(gates={}), record()]
    assert share_varying(records) == pytest.approx(2 / 3)
    assert np.isnan(share_varying([record()]))


def test_earlier_records_leave_their_precision_to_the_device():
    assert precision_of([record(device="NVIDIA H200"), record(device="CPU, 1 thread")]) == "bf16 autocast and float32"
