"""A grid's file: what overrides what, what is refused, and that a search is as long for every method."""

import tomllib
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import record

from apt_minimal.lab.experiments import grid as grids
from apt_minimal.lab.experiments.grid import _spec, all_runs, at_edge, best_rate, methods_of, read_grid
from apt_minimal.lab.experiments.recordings import RESULTS
from apt_minimal.lab.experiments.results import read_results
from apt_minimal.lab.methods import TRAINED, color, label, marker, method_named

GRID = """
backbone = "b"
seeds = [1, 2]
settings = ["full", "16-shot"]
[train]
batch_size = 16
epochs = 40
[search]
seeds = [0]
max_steps = 20
[methods]
apt = [1e-2, 3e-2]
[full.methods]
lora = [1e-3]
[few_shot.train]
batch_size = 2
[few_shot.search]
seeds = [0, 1]
epochs = 12
[tasks.a]
[tasks.b]
prefix_length = 8
[tasks.b.train]
max_steps = 100
[tasks.b.methods]
apt = [5e-3]
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        (tmp_path / "grid.toml").write_text(text)
        return read_grid(tmp_path / "grid.toml")

    return from_text


def test_tasks_override_what_is_general_and_settings_override_tasks(read):
    runs, count = all_runs(read(GRID), [])
    assert count == (2 + 2 * 2) + 2 * 2 + (4 + 2) + 2
    keys = ("epochs", "max_steps", "batch_size", "evaluations")
    assert {r.cell: tuple(r.train.get(key) for key in keys) for r in runs} == {
        ("a", "full", "apt", "search"): (None, 20, 16, 10),
        ("a", "full", "lora", "final"): (40, None, 16, 40),
        ("a", "16-shot", "apt", "search"): (12, None, 2, 12),
        ("b", "full", "apt", "final"): (None, 100, 16, 10),
        ("b", "full", "lora", "final"): (None, 100, 16, 10),
        ("b", "16-shot", "apt", "final"): (None, 100, 2, 10),
    }
    lengths = [r.settings["config"]["prefix_length"] for r in runs if (r.task, r.method) == ("b", "apt")]
    assert lengths == [8] * 4
    assert {r.seed for r in runs if (r.purpose, r.setting) == ("search", "16-shot")} == {0, 1}


WRONG = {
    "unknown: seed;": ("seeds =", "seed = 1\nseeds ="),
    "missing: backbone": ('backbone = "b"', ""),
    "unknown: seed; a grid": ("seeds =", "seed ="),
    "no such method: adapter": ("[full.methods]", "[full.methods]\nadapter = [1e-3]"),
    "apt has no learning rate": ("apt = [5e-3]", "apt = []"),
    "the setting is 'few'": ("16-shot", "few"),
    "batch_sise": ("batch_size = 16", "batch_sise = 16"),
    "batch_size is 0": ("batch_size = 16", "batch_size = 0"),
    "b has length": ("prefix_length = 8", "length = 8"),
    r"\[train\] has max_stepz; it may have .*max_steps": ("batch_size = 16", "max_stepz = 16"),
    r"\[search\] has max_stepz": ("max_steps = 20", "max_stepz = 20"),
    "in a search of a, full: evaluations is 30;": ("max_steps = 20", "max_steps = 20\nevaluations = 30"),
    "max_steps is 6.5": ("max_steps = 100", "max_steps = 6.5"),
    r"seeds is \[\]": ("seeds = [1, 2]", "seeds = []"),
    r"seeds is \[1, 1\]": ("seeds = [1, 2]", "seeds = [1, 1]"),
    r"seeds is \['1'\]; it must be a list such as \[1, 2\]": ("seeds = [1, 2]", 'seeds = ["1"]'),
    "settings is 'full'": ('settings = ["full", "16-shot"]', 'settings = "full"'),
    r"the seeds of \[search\] is None": ("seeds = [0]\n", ""),
    "apt is 0.01; it must be a list": ("apt = [1e-2, 3e-2]", "apt = 1e-2"),
    r"apt is \['0.01', 0.1\]": ("apt = [1e-2, 3e-2]", 'apt = ["0.01", 0.1]'),
    r"majority trains nothing .*: write majority = \[\]": (
        "apt = [1e-2, 3e-2]",
        "apt = [1e-2, 3e-2]\nmajority = [0.1]",
    ),
    r"more learning rates .* than others \(apt 2, lora 3\)": ("lora = [1e-3]", "lora = [1e-3, 1e-2, 1e-1]"),
    "methods is .*; it must be a table": ("[methods]", "[[methods]]"),
    "patience is 'x'; it must be a whole number": ("batch_size = 16", 'patience = "x"'),
    "max_grad_norm is 'x'; it must be": ("batch_size = 16", 'max_grad_norm = "x"'),
    "warmup is 2; it must be": ("batch_size = 16", "warmup = 2"),
    "learning_rate is -1; it must be": ("lora = [1e-3]", "lora = [-1]"),
    "learning_rate is 0.0; it must be": ("apt = [1e-2, 3e-2]", "apt = [0.0, 3e-2]"),
    "epochs is -1; it must be": ("epochs = 40", "epochs = -1"),
    "epochs is '9'; it must be": ("epochs = 12", 'epochs = "9"'),
    r"prefix_length is \[\]; it must be": ("prefix_length = 8", "prefix_length = []"),
    "backbone is 7; it must be": ('backbone = "b"', "backbone = 7"),
    "the task is 'sub/a'; it must be the name of a folder": ("[tasks.a]", '[tasks."sub/a"]'),
    "the task is '../a'": ("[tasks.a]", '[tasks."../a"]'),
    "the task is '/a/b'": ("[tasks.a]", '[tasks."/a/b"]'),
    "the task is '..'": ("[tasks.a]", '[tasks.".."]'),
    "the task is ''": ("[tasks.a]", '[tasks.""]'),
    "the task is 'a.jsonl'": ("[tasks.a]", '[tasks."a.jsonl"]'),
    "the task is 'a.csv'": ("[tasks.a]", '[tasks."a.csv"]'),
    "a.train is 3; it must be a table": ("[tasks.a]", "[tasks.a]\ntrain = 3"),
}


CROSSED = """
backbone = "b"
seeds = [5, 6, 7]
settings = ["full"]
effects = false
[train]
max_steps = 20
[search]
seeds = [0]
[methods]
majority = []
apt = { crossed = [5e-3, 1e-2] }
"p_tuning_v2@4" = { crossed = [5e-3, 1e-2], seeds = 2 }
lora = { searched = [1e-3, 1e-2], seeds = 1 }
[tasks.a]
"""


def test_crossed_rates_are_methods_of_their_own_without_a_search(read):
    runs, count = all_runs(read(CROSSED), [])
    found = [(run.method, run.purpose, run.seed, run.train and run.learning_rate) for run in runs]
    assert [one for one in found if one[1] == "search"] == [("lora", "search", 0, 1e-3), ("lora", "search", 0, 1e-2)]
    final = [(method, seed) for method, purpose, seed, _ in found if purpose == "final"]
    names = ["apt~0.005", "apt~0.01", "p_tuning_v2@4~0.005", "p_tuning_v2@4~0.01"]
    assert final == [(name, seed) for seed in (5, 6, 7) for name in ["majority", *names][: 5 if seed < 7 else 3]]
    assert all(rate == float(name.partition("~")[2]) for name, _, _, rate in found if "~" in name)
    assert count == 2 + 3 + 2 * 3 + 2 * 2 + 1  # searches, majority, apt, p_tuning_v2@4, lora
    assert runs[-1].settings == method_named("apt").settings and runs[-1].effects is False


def test_a_crossed_rate_stands_in_a_methods_label_and_changes_nothing_else_of_it():
    assert label("p_tuning_v2@4~0.005") == "P-tuning v2, 4 tokens, rate 0.005" and label("apt~0.01") == "APT, rate 0.01"
    assert method_named("p_tuning_v2@4~0.005", 8) == method_named("p_tuning_v2@4", 8)
    assert (color("apt@4~0.01"), marker("apt~0.01")) == (color("apt"), marker("apt"))


@pytest.mark.parametrize(
    "entry, message",
    {
        "{ crossed = [1e-2], searched = [1e-2] }": "it must be a list of learning rates, or a table",
        "{ seeds = 2 }": "it must be a list of learning rates, or a table",
        "{ crossed = [1e-2], seed = 2 }": "it must be a list of learning rates, or a table",
        "{ crossed = [1e-2], seeds = 4 }": "seeds = 4; it must be a number of the grid's 3 seeds",
        "{ crossed = [1e-2], seeds = 0 }": "seeds = 0; it must be a number",
        "{ crossed = [] }": "apt is .*; it must be a list such as",
        "{ crossed = [1e-2, 1e-2] }": "nothing in it twice",
    }.items(),
)
def test_a_method_with_a_wrong_table_is_refused(entry, message, read):
    with pytest.raises(ValueError, match=message):
        read(CROSSED.replace("{ crossed = [5e-3, 1e-2] }", entry))


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_grid_is_refused_at_once_and_by_name(message, read):
    with pytest.raises(ValueError, match=f"grid.toml: .*{message}"):
        read(GRID.replace(*WRONG[message]))


INNER = ["apt", "a", "crossed", "epochs", "searched", "seeds", "warmup"]
VALUES = st.recursive(
    st.integers(-3, 20) | st.floats() | st.booleans() | st.sampled_from(["", "x", "full", "2-shot", "a/b", "majority"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(INNER), inner, max_size=2),
    max_leaves=3,
)
KEYS = ["backbone", "seeds", "settings", "prefix_length", "tasks", *INNER, "methods", "train", "search", "full"]


@given(key=st.sampled_from(KEYS), inner=st.sampled_from([None, *INNER]), value=VALUES)
def test_whatever_a_grid_holds_is_taken_or_refused_with_its_file(key, inner, value):
    grid = tomllib.loads(GRID)
    if inner and isinstance(grid.get(key), dict):
        grid[key][inner] = value
    else:
        grid[key] = value
    with mock.patch.object(grids.tomllib, "loads", lambda _: grid), mock.patch.object(Path, "read_text"):
        try:
            all_runs(read_grid("some/grid.toml"), [])
        except ValueError as error:
            assert str(error).startswith("some/grid.toml: ") and "unhashable" not in str(error)


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_grids_search_as_many_rates_for_every_method(file):
    grid = read_grid(file)
    for setting in grid["settings"]:
        for task in grid["tasks"]:
            rates = {m: r for m, r in methods_of(grid, task, setting).items() if m in TRAINED}
            # a recipe that is taken over is not searched
            assert len({len(r) for r in rates.values() if len(r) > 1}) <= 1
            assert all(r == sorted(set(r)) for r in rates.values())


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.toml")), ids=lambda file: file.stem)
def test_the_page_on_experiments_names_every_grid_and_how_many_runs_it_has(file):
    rows = (RESULTS.parent / "experiments.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if row.startswith("|") and f"`{file.name}`" in row]
    assert f"{all_runs(read_grid(file), [])[1]:,}" in row


@pytest.mark.parametrize("file", [file for file in sorted(RESULTS.glob("*.toml")) if file.with_suffix("").is_dir()])
def test_recorded_runs_are_still_those_that_their_grid_asks_for(file):
    """A key hashes the whole specification: a field more, and every finished run would be done again."""
    lines = read_results(file.with_suffix(""))
    asked = {spec.key for spec in all_runs(read_grid(file), lines)[0]}
    trained = [line.spec for line in lines if line.spec.train]
    assert trained and {run.key for run in trained} <= asked


# Choices


CHOICES = {
    "the best on what is held out": ([record(1e-3, 0.1, test=0.9), record(1e-2, 0.2, test=0.1)], 1e-2),
    "the lowest of equals": ([record(rate, 0.5) for rate in (1e-2, 1e-3, 3e-3)], 1e-3),
    "the best mean": ([record(1e-3, 0.5), record(1e-3, 0.5, 1), record(1e-2, 0.1), record(1e-2, 0.8, 1)], 1e-3),
    "not one that diverged": ([record(1e-3, 0.0), record(1e-4, 0.0, failed="nan")], 1e-3),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_learning_rate_that_is_chosen(case):
    records, rate = CHOICES[case]
    assert best_rate(records) == rate


@pytest.mark.parametrize("rate, edge", [(1, "lowest"), (2, ""), (3, "highest")])
def test_a_choice_at_the_edge_is_named(rate, edge):
    assert at_edge([2, 3, 1], rate) == edge
    assert at_edge([rate], rate) == ""


def test_the_specification_names_what_goes_beyond_only_where_it_is_used():
    grid = {"backbone": "b"}
    plan = {"train": {}, "prefix_length": 16}
    settings = {
        name: _spec(grid, plan, "mine", "full", name, "final", 1, 1e-2).settings.keys() - {"config"}
        for name in ("apt", "apt_log_gate", "apt_pruned")
    }
    always = {"lora_rank", "train_backbone", "shift_positions"}
    assert settings == {"apt": always, "apt_log_gate": always | {"beyond"}, "apt_pruned": always | {"prune_weight"}}
