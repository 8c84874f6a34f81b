"""What one training step costs, method by method: time in turn on one thread, peak memory in a process of its own.

python -m apt_minimal.lab.experiments.cost docs/results/step_cost.csv apt head_only lora apt@4 apt_upper@0-0-0-0-16-16
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch

from apt_minimal.lab.data.backbones import embedded_backbone
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.experiments.machine import peak_mib
from apt_minimal.lab.methods import load_model, method_named, prepare

BATCH, WARM_UP = 16, 2


def made_task(tokens: int) -> Task:
    """Sixteen made inputs, half as long up to `tokens` long: what a step costs depends on nothing else."""
    examples = []
    for i in range(BATCH):
        n = tokens // 2 + tokens * i // (2 * (BATCH - 1))
        ids = torch.randint(1000, 20000, (n,), generator=torch.Generator().manual_seed(i)).tolist()
        one = {"input_ids": ids, "attention_mask": [1] * n, "token_type_ids": [0] * n}
        examples.append(Example({}, [one], i % 2))
    return Task("made", "sequence", ["a", "b"], examples, [], [], "made", "accuracy")


@contextmanager
def ready(name: str, task: Task) -> Iterator[tuple]:
    """A model in training mode, the batch that it takes, and an optimiser for what it trains."""
    method = method_named(name)
    model = prepare(load_model(task, embedded_backbone()), method)
    trained = [p for p in model.parameters() if p.requires_grad]
    with method.training(model, task, method) as (model, task):
        yield model.train(), task.collate(task.train), torch.optim.AdamW(trained)


def step(model, batch: dict, optimizer) -> None:
    """One training step."""
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def step_seconds(methods: list[str], tokens: int, rounds: int) -> dict[str, list[float]]:
    """Processor time of a step, which other work on the machine disturbs least: one number a round, all in turn."""
    task = made_task(tokens)
    seconds = {method: [] for method in methods}
    with ExitStack() as stack:
        subjects = {method: stack.enter_context(ready(method, task)) for method in methods}
        for i in range(WARM_UP + rounds):
            for method, subject in subjects.items():
                started = time.process_time()
                step(*subject)
                if i >= WARM_UP:
                    seconds[method].append(time.process_time() - started)
    return seconds


def peak_of(method: str, tokens: int) -> int | None:
    """Peak memory of this process, which should do nothing else, after three steps."""
    torch.set_num_threads(1)
    with ready(method, made_task(tokens)) as subject:
        for _ in range(3):
            step(*subject)
        return peak_mib()


def costs(methods: list[str], tokens: int, rounds: int) -> list[dict]:
    """One row for each method; "ratio_to_apt" is the median over rounds, "low" and "high" its extremes."""
    seconds, rows = step_seconds(["apt", *methods], tokens, rounds), []
    for method, times in seconds.items():
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            peak = alone.submit(peak_of, method, tokens).result()
        ratios = [a / b for a, b in zip(times, seconds["apt"], strict=True)]
        rows.append(
            {"method": method, "tokens": tokens, "ms": round(1000 * statistics.median(times), 1)}
            | {"ratio_to_apt": round(statistics.median(ratios), 3)}
            | {"low": round(min(ratios), 3), "high": round(max(ratios), 3), "peak_mib": peak, "rounds": rounds}
            | {"device": f"{platform.machine()} CPU, 1 thread", "torch": torch.__version__}
        )
    return rows


def _main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a training step costs, on the embedded backbone.")
    parser.add_argument("file", type=Path, help="a CSV file, written anew")
    parser.add_argument("methods", nargs="+", help="methods as in a grid; apt is always measured")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128], help="tokens of the longest input")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    methods = [method for method in arguments.methods if method != "apt"]
    rows = [row for tokens in arguments.tokens for row in costs(methods, tokens, arguments.rounds)]
    with arguments.file.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    _main()
