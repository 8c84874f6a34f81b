"""How long a run of the BERT grids takes here, and how much memory: some steps and an evaluation, with random weights.

    .venv/bin/python tests/bert_times.py DATA TOKENIZER OUT.jsonl

Not a test: a time only means something on an idle machine. `DATA` is a data folder, `TOKENIZER` one with BERT's
tokenizer; weights are random, for what they are takes no time. Writes one line for each task, method and backbone.
"""

import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from apt_minimal.lab.data.splits import apply_setting
from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.run import load, train_config
from apt_minimal.lab.methods import load_model, method_recorded, prepare
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.loop import train

SIZES = {
    "bert_base": {},
    "bert_large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
TASKS, METHODS = ("boolq", "rte", "conll2004"), ("apt", "full")
FEW, STEPS, EXAMPLES = 5, 45, 256
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds(do) -> float:
    """How long something takes, to the end of its work on the device."""
    started = time.perf_counter()
    do()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measured(spec: dict, epochs: int, folder: str, data_dir: str) -> dict:
    """Time one method on one task: a step, the prediction of an example, and a whole run made of so many of both."""
    task, splits = apply_setting(load(spec.task, folder, data_dir), "full", spec.seed)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = prepare(load_model(task, folder), method_recorded(spec.method, spec.settings)).to(DEVICE)
    config = replace(train_config(spec.train, len(task.train)), evaluations=1)
    few = replace(task, validation=task.validation[:1])  # an evaluation that takes no time

    def steps(count: int) -> float:
        return seconds(lambda: train(model, few, replace(config, max_steps=count), progress=False))

    # The same seed gives the same batches: now every shape has been met once, which on a GPU takes long.
    steps(STEPS)
    step = (steps(STEPS) - steps(FEW)) / (STEPS - FEW)
    examples = splits["dev"][:EXAMPLES]
    predict(model, task, examples)
    example = seconds(lambda: predict(model, task, examples)) / len(examples)
    count = epochs * math.ceil(len(task.train) / config.batch_size)
    evaluated = epochs * (len(task.validation) + len(splits["dev"]))
    return {
        "task": spec.task,
        "method": spec.method,
        "batch_size": config.batch_size,
        "step_ms": round(1000 * step, 1),
        "example_ms": round(1000 * example, 2),
        "steps": count,
        "evaluated_examples": evaluated,
        "minutes": round((count * step + evaluated * example) / 60, 1),
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if DEVICE == "cuda" else None,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU",
        "torch": torch.__version__,
    }


def main(data_dir: str, tokenizer: str, out: str) -> None:
    """Measure every size, task and method."""
    for size, kind in product(SIZES, ("", "_ner")):
        grid = read_grid(Path(__file__).parents[1] / "docs" / "results" / f"{size}{kind}.toml")
        with tempfile.TemporaryDirectory() as folder:
            BertModel(BertConfig(**SIZES[size])).save_pretrained(folder)
            AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
            wanted = {}
            for spec in all_runs(grid, [])[0]:
                if spec.setting == "full" and spec.task in TASKS and spec.method in METHODS:
                    wanted.setdefault((spec.task, spec.method), spec)
            for spec in wanted.values():
                epochs = (grid["train"] | grid["tasks"][spec.task].get("train", {}))["epochs"]
                with open(out, "a") as lines:
                    lines.write(json.dumps({"backbone": size} | measured(spec, epochs, folder, data_dir)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
