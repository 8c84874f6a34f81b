"""A grid of runs: which ones its file asks for, and which of them can be done by now (what it may say: `grid_checks`).

The file (docs/results/minilm_cpu.toml is one) names a backbone, seeds, settings, tasks, and for each method the
learning rates to choose from, or to cross with all seeds. Tables further down override the general ones:
`[tasks.<name>.train]` for a task, `[full.train]` and `[few_shot.train]` for settings with all of the data and with a
few examples.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

from apt_minimal.lab.data.splits import num_shots, selection_split
from apt_minimal.lab.experiments.grid_checks import TABLES, check_plan, check_tables, method_rates
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.methods import UNTRAINED, method_named
from apt_minimal.lab.train.loop import TrainConfig


def read_grid(file: str | Path) -> dict:
    """Read a grid's file and check what can be checked without data.

    Raises:
        ValueError: something is missing, unknown or impossible; the message names it.
    """
    file = Path(file)
    try:
        grid: dict = {"prefix_length": 16, "full": {}, "few_shot": {}, "effects": True}
        grid |= tomllib.loads(file.read_text(encoding="utf-8"))
        check_tables(grid)
        for task, setting in product(grid["tasks"], grid["settings"]):
            check_plan(plan := _plan(grid, task, setting))
            # made only to be checked
            _finals(grid, task, setting, {method: rates[0] for method, rates in plan["methods"].items() if rates})
            try:
                _searches(grid, task, setting)
            except ValueError as error:
                raise ValueError(f"in a search of {task}, {setting}: {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from error
    return grid


def all_runs(grid: dict, records: Sequence[RunRecord]) -> tuple[list[RunSpec], int]:
    """The runs that can be done by now, and how many the grid has in all.

    Setting by setting and task by task in the grid's order, and in each the searches first. A method's final runs can
    be done as soon as its search is complete, as only then its learning rate is known.

    Args:
        grid: see `read_grid`.
        records: of all finished runs.

    Returns:
        The specifications of runs, finished ones included, and the number of all runs.
    """
    possible, count = [], 0
    for setting in grid["settings"]:
        for task in grid["tasks"]:
            here = [record for record in records if record.spec.cell[:2] == (task, setting)]
            searches, rates = _searches(grid, task, setting), chosen_rates(grid, task, setting, here)
            possible += searches + _finals(grid, task, setting, rates)
            count += len(searches) + sum(map(len, seeds_of(grid, task, setting).values()))
    return possible, count


def chosen_rates(grid: dict, task: str, setting: str, records: Sequence[RunRecord]) -> dict[str, float]:
    """Each method's learning rate, where it needs no search or its search is complete.

    Among several the best mean score wins, over the search's seeds, on what is held out; of equals the lowest rate.
    A run that diverged counts as a score below all others.
    """
    plan, rates = _plan(grid, task, setting), {}
    searches, found = _searches(grid, task, setting), {record.spec.key: record for record in records}
    for method, tried in plan["methods"].items():
        wanted = [spec.key for spec in searches if spec.method == method]
        done = [found[key] for key in wanted if key in found]
        if method not in UNTRAINED and len(done) == len(wanted):
            rates[method] = best_rate(done) if wanted else tried[0]
    return rates


def methods_of(grid: dict, task: str, setting: str) -> dict[str, list[float]]:
    """The methods that a grid asks for on a task in a setting, each with its learning rates."""
    return _plan(grid, task, setting)["methods"]


def seeds_of(grid: dict, task: str, setting: str) -> dict[str, list[int]]:
    """The seeds of each method's final runs."""
    return _plan(grid, task, setting)["seeds"]


def best_rate(records: Sequence[RunRecord]) -> float:
    """The learning rate with the best mean score among a method's search runs; the lowest of equals."""
    scores = {}
    for record in records:
        score = -1.0 if record.failed else record.score(selection_split(record.spec.setting))
        scores.setdefault(record.spec.learning_rate, []).append(score)
    return max(sorted(scores), key=lambda rate: sum(scores[rate]) / len(scores[rate]))


def at_edge(rates: list[float], rate: float) -> str:
    """ "lowest" or "highest" where a chosen rate lies at the edge of those that were tried, else ""."""
    if len(rates) < 2 or min(rates) < rate < max(rates):
        return ""
    return "lowest" if rate == min(rates) else "highest"


def _plan(grid: dict, task: str, setting: str) -> dict:
    """What holds for one task in one setting: general tables, overridden by the task's, then by the setting's."""
    tables = [grid, grid["tasks"][task], grid["few_shot" if num_shots(setting) else "full"]]
    plan = {"prefix_length": [table["prefix_length"] for table in tables if "prefix_length" in table][-1]}
    for name in TABLES:
        plan[name] = {}
        for table in tables:
            plan[name] = _overridden(plan[name], table.get(name, {}))
    entries, plan["methods"], plan["seeds"] = plan["methods"], {}, {}
    for method, entry in entries.items():
        rates, seeds = method_rates(method, entry, grid["seeds"])
        plan["methods"] |= rates
        plan["seeds"] |= dict.fromkeys(rates, seeds)
    return plan


def _overridden(base: dict, override: dict) -> dict:
    """One table put over another; steps and epochs say the same thing, so either replaces both."""
    if override.keys() & {"epochs", "max_steps"}:
        base = {key: value for key, value in base.items() if key not in ("epochs", "max_steps")}
    return base | override


def _searches(grid: dict, task: str, setting: str) -> list[RunSpec]:
    plan = _plan(grid, task, setting)
    shorter = {key: value for key, value in plan["search"].items() if key != "seeds"}
    plan["train"] = _overridden(plan["train"], shorter)
    return [
        _spec(grid, plan, task, setting, method, "search", seed, rate)
        for method, rates in plan["methods"].items()
        if len(rates) > 1
        for rate in rates
        for seed in plan["search"]["seeds"]
    ]


def _finals(grid: dict, task: str, setting: str, rates: dict[str, float]) -> list[RunSpec]:
    plan = _plan(grid, task, setting)
    return [
        _spec(grid, plan, task, setting, method, "final", seed, rates.get(method))
        for seed in grid["seeds"]
        for method, seeds in plan["seeds"].items()
        if seed in seeds and (method in UNTRAINED or method in rates)
    ]


def _spec(grid: dict, plan: dict, task: str, setting: str, method: str, purpose: str, seed: int, rate) -> RunSpec:
    """Specify one run, in a form that JSON gives back unchanged."""
    spec = RunSpec(task, setting, method, purpose, seed)
    if method in UNTRAINED:
        return spec
    how = plan["train"] | {"learning_rate": rate, "seed": seed}
    epochs = how.pop("epochs", None)
    if epochs is None:
        how = TrainConfig(**how).recorded
    else:  # how many steps that are is known when the data is
        how = TrainConfig(**{"evaluations": epochs, "max_steps": epochs} | how).recorded
        how = {"epochs": epochs} | {key: value for key, value in how.items() if key != "max_steps"}
    settings = _settings(method, plan["prefix_length"])
    effects = None if grid.get("effects", True) else False
    return replace(spec, backbone=grid["backbone"], settings=settings, train=how, effects=effects)


@cache  # a large grid asks for the same few thousands of times, after every run
def _settings(method: str, prefix_length: int) -> dict:
    return method_named(method, prefix_length).settings
