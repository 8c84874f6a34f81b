"""What a grid's file may say: each check names what was given and what would do."""

from dataclasses import fields
from pathlib import Path

from apt_minimal.lab.data.rows import ENDINGS
from apt_minimal.lab.methods import UNTRAINED
from apt_minimal.lab.train.loop import TrainConfig

KEYS = {"backbone", "seeds", "settings", "tasks", "prefix_length", "train", "search", "methods", "full", "few_shot"}
KEYS |= {"effects"}
TABLES = ("train", "search", "methods")
TRAIN = {field.name for field in fields(TrainConfig)} - {"learning_rate", "seed"} | {"epochs"}


def check_tables(grid: dict) -> None:
    """Check a grid's keys, and what kinds of things they hold.

    Raises:
        ValueError: a key is missing or unknown, or holds something of another kind.
    """
    if wrong := (grid.keys() - KEYS) or (KEYS - grid.keys()):
        what = "unknown" if wrong & grid.keys() else "missing"
        raise ValueError(f"{what}: {', '.join(sorted(wrong))}; a grid has {', '.join(sorted(KEYS))}")
    if not isinstance(grid["backbone"], str):
        raise ValueError(f"backbone is {grid['backbone']!r}; it must be a name or a folder")
    _check_list("seeds", grid["seeds"], int)
    _check_list("settings", grid["settings"], str)
    if not isinstance(grid["effects"], bool):
        raise ValueError(f"effects is {grid['effects']!r}; it must be true or false")
    for name in (*TABLES, "tasks", "full", "few_shot"):
        _check_table(name, grid[name])
    if not grid["tasks"]:
        raise ValueError("there is no task; a grid has a table for each, such as [tasks.rte]")
    for task in grid["tasks"]:  # it names files: results lie in <grid>/<task>.jsonl
        is_path = Path(task).name != task or task in ("", "..") or "\\" in task
        if is_path or not task.isprintable() or Path(task).suffix in ENDINGS:
            raise ValueError(
                f"the task is {task!r}; it must be the name of a folder below the data folder, not a path or a file"
            )
    for where, table in [*grid["tasks"].items(), *((name, grid[name]) for name in ("full", "few_shot"))]:
        _check_table(where, table)
        if unknown := table.keys() - {*TABLES, "prefix_length"}:
            raise ValueError(f"{where} has {', '.join(unknown)}; it may have prefix_length, {', '.join(TABLES)}")
        for name in table.keys() & set(TABLES):
            _check_table(f"{where}.{name}", table[name])


def method_rates(method: str, entry, seeds: list[int]) -> tuple[dict[str, list], list[int]]:
    """What stands behind a method: its learning rates, and which of the grid's seeds it has.

        apt = [5e-3, 1.5e-2]                            # one is chosen in a search, and used with all seeds
        apt = {crossed = [5e-3, 1.5e-2], seeds = 5}     # each is used with each of the first five seeds

    Returns:
        Rates to search by method, and its seeds. Crossed ones make a method each, with the rate behind a "~".

    Raises:
        ValueError: anything else stands there.
    """
    if not isinstance(entry, dict):
        return {method: entry}, seeds
    count = entry.get("seeds", len(seeds))
    if len(entry.keys() & {"crossed", "searched"}) != 1 or entry.keys() - {"crossed", "searched", "seeds"}:
        raise ValueError(
            f"{method} is {entry!r}; it must be a list of learning rates, or a table with the list as either crossed "
            "or searched, and perhaps seeds, how many of the grid's seeds it has"
        )
    if type(count) is not int or not 1 <= count <= len(seeds):
        raise ValueError(f"{method} has seeds = {count!r}; it must be a number of the grid's {len(seeds)} seeds")
    if "searched" in entry:
        return {method: entry["searched"]}, seeds[:count]
    _check_list(method, entry["crossed"], int, float)
    return {f"{method}~{rate:g}": [rate] for rate in entry["crossed"]}, seeds[:count]


def check_plan(plan: dict) -> None:
    """Check what holds for one task in one setting, after all overriding.

    Raises:
        ValueError: an unknown argument of training, or learning rates that can't be searched or compared.
    """
    for name, allowed in (("train", TRAIN), ("search", TRAIN | {"seeds"})):
        if unknown := plan[name].keys() - allowed:
            raise ValueError(f"[{name}] has {', '.join(unknown)}; it may have {', '.join(sorted(allowed))}")
    for method, rates in plan["methods"].items():
        if method in UNTRAINED and rates != []:
            raise ValueError(f"{method} trains nothing and has no learning rate: write {method} = []")
        if method not in UNTRAINED:
            if rates == []:
                raise ValueError(f"{method} has no learning rate; give one, or several to choose from")
            _check_list(method, rates, int, float)
    for name in ("train", "search"):
        if "epochs" in plan[name] and (type(epochs := plan[name]["epochs"]) is not int or epochs < 1):
            raise ValueError(f"epochs is {epochs!r}; it must be a whole number of at least 1")
    if type(length := plan["prefix_length"]) is not int or length < 1:
        raise ValueError(f"prefix_length is {length!r}; it must be a whole number of at least 1")
    searched = {method: len(rates) for method, rates in plan["methods"].items() if len(rates) > 1}
    if len(set(searched.values())) > 1:
        lengths = ", ".join(f"{method} {length}" for method, length in searched.items())
        raise ValueError(
            f"some methods have more learning rates to choose from than others ({lengths}), which favours them; "
            "give each as many, or a single one, which is taken without a search"
        )
    if searched:
        _check_list("the seeds of [search]", plan["search"].get("seeds"), int)


def _check_list(name: str, values, *kinds: type) -> None:
    fits = isinstance(values, list) and values and all(type(value) in kinds for value in values)
    if not fits or len(set(values)) < len(values):
        example = {int: "[1, 2]", str: '["full", "16-shot"]', float: "[1e-3, 1e-2]"}[kinds[-1]]
        raise ValueError(f"{name} is {values!r}; it must be a list such as {example}, with nothing in it twice")


def _check_table(name: str, value) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; it must be a table, [{name}]")
