"""A grid of runs from one readable file: in parallel, resumable, one JSON line for each finished run.

    python -m apt_minimal.lab.experiments docs/results/conll2004.toml --data-dir DATA --jobs 2

The grid (docs/results/conll2004.toml is one) names a task, its methods with the learning rates to search, and seeds.
Each learning rate is tried once, on shorter training with a seed of its own; the best on the validation split is used
with every seed. The test split is read once a run, in the state that validation chose.
"""

import argparse
import gzip
import hashlib
import json
import platform
import subprocess
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from apt_minimal.adapter import fingerprint
from apt_minimal.lab.baselines import METHODS, UNTRAINED, load_model, prepare
from apt_minimal.lab.reading import read_gates
from apt_minimal.lab.sources import EMBEDDED, embedded_backbone
from apt_minimal.lab.tasks import Task, load_task
from apt_minimal.lab.training import TrainConfig, predict, train


def run(spec: dict, task: Task, device: str = "cpu") -> tuple[dict, dict[str, list]]:
    """Do one run: prepare, train, predict, score.

    Args:
        spec: "method" and "purpose" ("search" leaves the test split alone); for trained methods also "backbone" (a hub
            name, a folder, or "all-MiniLM-L6-v2" for the embedded one), "seed", which draws head and prefix, and
            "train", the arguments of `TrainConfig`.
        task: the loaded task.
        device: where to train.

    Returns:
        What was found, as it goes into the run's JSON line, and the predictions by split.
    """
    splits = {"validation": task.validation}
    if task.test and spec["purpose"] == "final":
        splits["test"] = task.test
    if spec["method"] in UNTRAINED:
        predictions = {split: UNTRAINED[spec["method"]](task, examples) for split, examples in splits.items()}
        return {split: task.score(predictions[split], splits[split]) for split in splits}, predictions
    torch.manual_seed(spec["seed"])
    model = load_model(task, embedded_backbone() if spec["backbone"] == EMBEDDED else spec["backbone"])
    found = {"backbone_sha256": fingerprint(model)}
    model = prepare(model, spec["method"]).to(device)
    found["trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    history = train(model, task, TrainConfig(**spec["train"]), progress=False)
    found["history"] = asdict(history) | {"loss": _rounded(history.loss)}
    predictions = {split: predict(model, task, examples) for split, examples in splits.items()}
    if METHODS[spec["method"]].config is not None:
        gates = read_gates(model, task, task.validation)
        found["gates"] = {
            "alpha_mean": _rounded(gates.mean.tolist()),
            "alpha_spread": _rounded(gates.spread.tolist()),
            "scale": _rounded(gates.scale.tolist()),
            "mass": _rounded(gates.mass.mean(dim=0).tolist()),
        }
    return {split: task.score(predictions[split], splits[split]) for split in splits} | found, predictions


def run_grid(file: str | Path, data_dir: str | None = None, jobs: int = 1, device: str = "cpu") -> None:
    """Do every run of a grid that is not done yet; lines go beside the grid's file, under its name and .jsonl.

    Args:
        file: the grid, TOML.
        data_dir: as in `load_task`.
        jobs: runs side by side, each in a process of its own with its share of the cores.
        device: "cpu" or "cuda".
    """
    file = Path(file)
    grid = tomllib.loads(file.read_text())
    lines_file, cores = file.with_suffix(".jsonl"), max(1, (torch.get_num_threads() or 1) // jobs)
    pool = ProcessPoolExecutor(
        # a new process for every run, so that its peak memory is its own
        *(jobs, get_context("spawn"), torch.set_num_threads, (cores,)),
        max_tasks_per_child=1,
    )
    with pool:
        for specs in (search_specs, final_specs):
            lines = read_lines(lines_file)
            done = [line["run"] for line in lines]
            open_ = [spec for spec in specs(grid, lines) if spec not in done]
            futures = {pool.submit(_one_line, spec, data_dir, device): spec for spec in open_}
            bar = tqdm(as_completed(futures), total=len(futures), desc=f"{file.stem}, {specs.__name__}")
            failed = []
            for future in bar:
                if future.exception() is not None:
                    failed.append(future)
                    continue
                line, predictions = future.result()
                _write(lines_file, line, predictions)
                bar.set_postfix_str(line["run"]["method"])
            for future in failed:  # all others are written by now
                spec, error = futures[future], future.exception()
                error.add_note(f"in the run {spec['method']}, {spec['purpose']}, {spec.get('train')}")
                raise error


def search_specs(grid: dict, lines: list[dict]) -> list[dict]:
    """The runs that search learning rates: each method's own, with the search's seed and number of steps."""
    return [
        _spec(grid, method, grid["search"]["seed"], rate, "search", grid["search"]["max_steps"])
        for method, rates in grid["methods"].items()
        for rate in rates
    ]


def final_specs(grid: dict, lines: list[dict]) -> list[dict]:
    """The runs that count: each method with each seed, at the learning rate its search chose."""
    return [
        _spec(grid, method, seed, best_rate(lines, method), "final", grid["train"]["max_steps"])
        for seed in grid["seeds"]
        for method, rates in grid["methods"].items()
        if rates
    ] + [_spec(grid, method) for method, rates in grid["methods"].items() if not rates]


def best_rate(lines: list[dict], method: str) -> float:
    """The learning rate with the best validation score in a method's search; the lower one of equals."""
    tried = [line for line in lines if line["run"]["method"] == method and line["run"]["purpose"] == "search"]
    best = max(tried, key=lambda line: (main_score(line, "validation"), -line["run"]["train"]["learning_rate"]))
    return best["run"]["train"]["learning_rate"]


def main_score(line: dict, split: str) -> float:
    """A line's score by its task's own metric."""
    return line[split][line["metric"]]


def read_lines(file: str | Path) -> list[dict]:
    """The finished runs of a results file; a last line that a kill left incomplete does not count."""
    if not Path(file).exists():
        return []
    return [json.loads(line) for line in Path(file).read_text().splitlines(keepends=True) if line.endswith("\n")]


def _spec(grid: dict, method: str, seed=None, learning_rate=None, purpose="final", max_steps=None) -> dict:
    spec = {"task": grid["task"], "method": method, "purpose": purpose}
    if seed is None:
        return spec
    training = TrainConfig(**{**grid["train"], "learning_rate": learning_rate, "max_steps": max_steps, "seed": seed})
    settings = {"settings": asdict(METHODS[method]), "train": asdict(training)}
    return spec | {"backbone": grid["backbone"], "seed": seed} | settings


def _load(name: str, backbone: str, data_dir: str | None) -> Task:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_backbone() if backbone == EMBEDDED else backbone)
    return load_task(name, tokenizer, source="folder", data_dir=data_dir)


def _one_line(spec: dict, data_dir: str | None, device: str) -> tuple[dict, dict]:
    started = time.perf_counter()
    task = _load(spec["task"], spec.get("backbone", EMBEDDED), data_dir)
    found, predictions = run(spec, task, device)
    rows = [[example["row"] for example in split] for split in (task.train, task.validation, task.test)]
    gpu = torch.cuda.is_available() and device == "cuda"
    line = {
        "run": spec,
        "metric": task.metric,
        **found,
        "data_sha256": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "peak_mib": _peak_mib(gpu),
        "device": torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} thread(s)",
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "transformers", "peft")},
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
        ).stdout.strip(),
    }
    return line, predictions


def _peak_mib(gpu: bool) -> int | None:
    """Peak memory of this process (or of the GPU); None on Windows, which doesn't tell."""
    if gpu:
        return round(torch.cuda.max_memory_allocated() / 2**20)
    try:
        import resource
    except ModuleNotFoundError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def _write(lines_file: Path, line: dict, predictions: dict) -> None:
    """Predictions first, then the line that says the run is done; a torn line from before is cut off."""
    key = hashlib.sha256(json.dumps(line["run"], sort_keys=True).encode()).hexdigest()[:12]
    line["predictions"] = f"{lines_file.stem}/{line['run']['method']}-{key}.json.gz"
    file = lines_file.parent / line["predictions"]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(json.dumps(predictions, separators=(",", ":")).encode(), mtime=0))
    whole = "".join(json.dumps(finished) + "\n" for finished in [*read_lines(lines_file), line])
    scratch = lines_file.with_suffix(".part")
    scratch.write_text(whole)
    scratch.replace(lines_file)


def _rounded(values, digits: int = 4):
    """Numbers in nested lists rounded; NaN becomes None, which JSON can say."""
    if isinstance(values, list):
        return [_rounded(value, digits) for value in values]
    return None if values != values else round(values, digits)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Do every run of a grid that is not done yet.")
    parser.add_argument("grid", help="a TOML file such as docs/results/conll2004.toml")
    parser.add_argument("--data-dir", help="the folder that holds <task>/<split>.jsonl (default: $APT_DATA)")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    run_grid(arguments.grid, arguments.data_dir, arguments.jobs, arguments.device)


if __name__ == "__main__":
    _main()
