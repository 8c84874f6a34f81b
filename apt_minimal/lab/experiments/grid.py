"""A grid of runs: which ones its file asks for, and which of them can be done by now (what it may say: `grid_checks`).

The file (docs/results/minilm_cpu.toml is one) names a backbone, seeds, settings, tasks, and for each method the
learning rates to try. Tables further down override the general ones: `[tasks.<name>.train]` for a
task, `[full.train]` and `[few_shot.train]` for settings with all of the data and with a few examples.
"""

import tomllib
from functools import cache
from itertools import product
from pathlib import Path

from apt_minimal.lab.data.protocol import chooser, shots
from apt_minimal.lab.experiments.grid_checks import TABLES, check_plan, check_tables
from apt_minimal.lab.experiments.lines import main_score, run_key
from apt_minimal.lab.methods import UNTRAINED, method_named
from apt_minimal.lab.train.loop import TrainConfig


def read_grid(file: str | Path) -> dict:
    """Read a grid's file and check what can be checked without data.

    Raises:
        ValueError: something is missing, unknown or impossible; the message names it.
    """
    file = Path(file)
    try:
        grid = {"prefix_length": 16, "full": {}, "few_shot": {}} | tomllib.loads(file.read_text(encoding="utf-8"))
        check_tables(grid)
        for task, setting in product(grid["tasks"], grid["settings"]):
            check_plan(plan := _plan(grid, task, setting))
            # made only to be checked
            _finals(grid, task, setting, dict.fromkeys(plan["methods"], 1.0))
            try:
                _searches(grid, task, setting)
            except ValueError as error:
                raise ValueError(f"in a search of {task}, {setting}: {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error
    return grid


def all_runs(grid: dict, lines: list[dict]) -> tuple[list[dict], int]:
    """The runs that can be done by now, and how many the grid has in all.

    Setting by setting and task by task in the grid's order, and in each the searches first. A method's final runs can
    be done as soon as its search is complete, as only then its learning rate is known.

    Args:
        grid: see `read_grid`.
        lines: of all finished runs.

    Returns:
        The specifications of runs, finished ones included, and the number of all runs.
    """
    possible, count = [], 0
    for setting in grid["settings"]:
        for task in grid["tasks"]:
            here = [line for line in lines if (line["run"]["task"], line["run"]["setting"]) == (task, setting)]
            searches, rates = _searches(grid, task, setting), chosen_rates(grid, task, setting, here)
            possible += searches + _finals(grid, task, setting, rates)
            count += len(searches) + len(grid["seeds"]) * len(methods_of(grid, task, setting))
    return possible, count


def chosen_rates(grid: dict, task: str, setting: str, lines: list[dict]) -> dict[str, float]:
    """Each method's learning rate, where it needs no search or its search is complete.

    Among several the best mean score wins, over the search's seeds, on what is held out; of equals the lowest rate.
    A run that diverged counts as a score below all others.
    """
    plan, rates = _plan(grid, task, setting), {}
    searches, found = _searches(grid, task, setting), {run_key(line["run"]): line for line in lines}
    for method, tried in plan["methods"].items():
        wanted = [spec for spec in searches if spec["method"] == method]
        done = [found[run_key(spec)] for spec in wanted if run_key(spec) in found]
        if method not in UNTRAINED and len(done) == len(wanted):
            rates[method] = best_rate(done) if wanted else tried[0]
    return rates


def methods_of(grid: dict, task: str, setting: str) -> dict[str, list[float]]:
    """The methods that a grid asks for on a task in a setting, each with its learning rates."""
    return _plan(grid, task, setting)["methods"]


def best_rate(lines: list[dict]) -> float:
    """The learning rate with the best mean score among a method's search runs; the lowest of equals."""
    scores = {}
    for line in lines:
        score = -1.0 if "failed" in line else main_score(line, chooser(line["run"]["setting"]))
        scores.setdefault(line["run"]["train"]["learning_rate"], []).append(score)
    return max(sorted(scores), key=lambda rate: sum(scores[rate]) / len(scores[rate]))


def at_edge(rates: list[float], rate: float) -> str:
    """ "lowest" or "highest" where a chosen rate lies at the edge of those that were tried, else ""."""
    if len(rates) < 2 or min(rates) < rate < max(rates):
        return ""
    return "lowest" if rate == min(rates) else "highest"


def _plan(grid: dict, task: str, setting: str) -> dict:
    """What holds for one task in one setting: general tables, overridden by the task's, then by the setting's."""
    tables = [grid, grid["tasks"][task], grid["few_shot" if shots(setting) else "full"]]
    plan = {"prefix_length": [table["prefix_length"] for table in tables if "prefix_length" in table][-1]}
    for name in TABLES:
        plan[name] = {}
        for table in tables:
            plan[name] = _over(plan[name], table.get(name, {}))
    return plan


def _over(below: dict, above: dict) -> dict:
    """One table put over another; steps and epochs say the same thing, so either replaces both."""
    if above.keys() & {"epochs", "max_steps"}:
        below = {key: value for key, value in below.items() if key not in ("epochs", "max_steps")}
    return below | above


def _searches(grid: dict, task: str, setting: str) -> list[dict]:
    plan = _plan(grid, task, setting)
    shorter = {key: value for key, value in plan["search"].items() if key != "seeds"}
    plan["train"] = _over(plan["train"], shorter)
    return [
        _spec(grid, plan, task, setting, method, "search", seed, rate)
        for method, rates in plan["methods"].items()
        if len(rates) > 1
        for rate in rates
        for seed in plan["search"]["seeds"]
    ]


def _finals(grid: dict, task: str, setting: str, rates: dict[str, float]) -> list[dict]:
    plan = _plan(grid, task, setting)
    return [
        _spec(grid, plan, task, setting, method, "final", seed, rates.get(method))
        for seed in grid["seeds"]
        for method in plan["methods"]
        if method in UNTRAINED or method in rates
    ]


def _spec(grid: dict, plan: dict, task: str, setting: str, method: str, purpose: str, seed: int, rate) -> dict:
    """Everything that one run is specified by, in a form that JSON gives back unchanged."""
    spec = {"task": task, "setting": setting, "method": method, "purpose": purpose, "seed": seed}
    if method in UNTRAINED:
        return spec
    how = plan["train"] | {"learning_rate": rate, "seed": seed}
    epochs = how.pop("epochs", None)
    if epochs is None:
        how = dict(vars(TrainConfig(**how)))
    else:  # how many steps that are is known when the data is
        how = vars(TrainConfig(**{"evaluations": epochs, "max_steps": epochs} | how))
        how = {"epochs": epochs} | {key: value for key, value in how.items() if key != "max_steps"}
    return spec | {"backbone": grid["backbone"], "settings": _settings(method, plan["prefix_length"]), "train": how}


@cache  # a large grid asks for the same few thousands of times, after every run
def _settings(method: str, prefix_length: int) -> dict:
    return method_named(method, prefix_length).settings
