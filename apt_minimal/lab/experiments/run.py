"""One run of a grid: prepare, train, predict, score, and what of it goes into the run's line."""

import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

from apt_minimal.adapter import fingerprint
from apt_minimal.lab.data.backbones import find_backbone
from apt_minimal.lab.data.protocol import chooser, cut
from apt_minimal.lab.data.tasks import Task, load_task
from apt_minimal.lab.experiments.lines import example_counts
from apt_minimal.lab.methods import UNTRAINED, Method, load_model, method_recorded, prepare
from apt_minimal.lab.read.readings import Readings, rounded
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.checkpoint import rows_sha256
from apt_minimal.lab.train.loop import History, TrainConfig, train

CHECKPOINT_SECONDS = 120  # at evaluations, and at most so often: short runs write no checkpoint at all


def run(spec: dict, task: Task, device: str = "cpu", backbone=None, checkpoint=None) -> tuple[dict, dict]:
    """Do one run: prepare, train, predict, score.

    From one training with full data come both rules of selection: "dev" is read once, at the epoch that the held-out
    tenth chose; "dev_best" is the paper's rule, the best development score of all epochs, which is optimistic.

    Args:
        spec: see `grid`; a search is scored only on what chooses.
        task: as it was loaded.
        device: where to train.
        backbone: a folder or hub name to take the backbone from; None: the one that the specification names.
        checkpoint: a file to continue from after an interruption.

    Returns:
        What was found, as it goes into the run's line, and "predictions" and "counts" by split.
    """
    setting, final = spec["setting"], spec["purpose"] == "final"
    task, splits = cut(task, setting, spec["seed"])
    if not final:
        splits = {chooser(setting): splits[chooser(setting)]}
    if spec["method"] in UNTRAINED:
        found = {}
        predictions = {split: UNTRAINED[spec["method"]](task, examples) for split, examples in splits.items()}
        if final and setting != "plain":  # there is only one state to choose from
            predictions["dev_best"] = predictions["dev"]
    else:
        watch = splits["dev"] if setting == "full" and final else ()
        found, predictions = _trained(spec, task, splits, watch, device, backbone, checkpoint)
    examples = {"dev_best": splits.get("dev")} | splits  # "dev_best" is another state's score of the same examples
    scores = {split: task.score(made, examples[split]) for split, made in predictions.items()}
    counts = {split: example_counts(task, made, examples[split]) for split, made in predictions.items()}
    return scores | found, {"predictions": predictions, "counts": counts}


def _trained(spec, task, splits, watch, device, backbone, checkpoint) -> tuple[dict, dict]:
    """Train and predict; what is found beside the scores, and the predictions by split."""
    torch.manual_seed(spec["seed"])
    backbone = find_backbone(backbone or spec["backbone"])
    model, method = load_model(task, backbone), method_recorded(spec["method"], spec["settings"])
    found = {"backbone_sha256": fingerprint(model)}
    model = prepare(model, method).to(device)
    found["trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    config = train_config(spec["train"], len(task.train))
    found["resumed"] = checkpoint is not None and Path(checkpoint).exists()
    readings = Readings(model, task, splits.get("dev", task.validation), effects=spec["purpose"] == "final")
    history = _train(model, method, task, config, checkpoint, watch, readings.at_evaluation)
    found["history"] = _history(history)
    predictions = {split: predict(model, task, examples, bf16=config.bf16) for split, examples in splits.items()}
    if watch:
        predictions["dev_best"] = history.watched_predictions
    return found | readings.of_line(history.notes), predictions


def _train(model, method: Method, task, config, checkpoint, watch, at_evaluation) -> History:
    """Train as the method wants it."""
    # What is watched stands in for the test split, so that a method that changes the task changes it too.
    with method.training(model, replace(task, test=list(watch)), method) as (trained, task):
        return train(trained, task, config, checkpoint, False, task.test, CHECKPOINT_SECONDS, at_evaluation)


def train_config(settings: dict, examples: int) -> TrainConfig:
    """How to train, from what a line holds of it; epochs become steps for so many examples."""
    settings = dict(settings)
    if epochs := settings.pop("epochs", None):
        settings["max_steps"] = epochs * math.ceil(examples / settings["batch_size"])
    return TrainConfig(**settings)


def _history(history: History, longest: int = 300) -> dict:
    """A history as it goes into a line: the loss in at most `longest` means over as many steps each."""
    every = math.ceil(len(history.loss) / longest)
    parts = [history.loss[i : i + every] for i in range(0, len(history.loss), every)]
    means = [sum(part) / len(part) for part in parts]
    kept = {key: value for key, value in asdict(history).items() if key not in ("watched_predictions", "notes")}
    return kept | {"loss": rounded(means), "loss_every": every}


@lru_cache(maxsize=4)  # a process that does many runs encodes a task once
def load(name: str, backbone: str, data_dir: str | None) -> Task:
    """A task from the data folder (from the hub if none is named), encoded for a backbone's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_backbone(backbone))
    return load_task(name, tokenizer, source=source(data_dir), data_dir=data_dir)


def source(data_dir: str | None) -> str:
    """Where rows come from: never "auto", which would fall back on a sample that only looks like the task."""
    return "folder" if data_dir or os.environ.get("APT_DATA") else "hub"


def finished_line(spec: dict, data_dir: str | None, device: str, backbone: str, checkpoint=None) -> tuple[dict, dict]:
    """Do a run and make its line: all that is needed to do it again, all that was found, and what it took.

    Args:
        spec, device, checkpoint: as in `run`.
        data_dir: as in `load_task`.
        backbone: the grid's, or where it lies on this machine.

    Returns:
        The line, and "predictions" and "counts" by split. A training that diverged is a result too: its line has
        "failed" in place of scores.
    """
    started, gpu = time.perf_counter(), device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    task = load(spec["task"], backbone, data_dir)
    elsewhere = None if backbone == spec.get("backbone") else backbone
    try:
        with repeatable() if gpu else nullcontext():
            found, files = run(spec, task, device, elsewhere, checkpoint)
    except FloatingPointError as error:
        found, files = {"failed": str(error)}, {"predictions": {}, "counts": {}}
    line = {
        "run": spec,
        "metric": task.metric,
        **found,
        "data_sha256": rows_sha256(task.train, task.validation, task.test),
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if gpu else peak_mib(),
        "device": torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} thread(s)",
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "transformers", "peft")},
        "commit": commit(),
    }
    return line, files


@contextmanager
def repeatable() -> Iterator[None]:
    """Let a GPU compute the same numbers every time while the context is open; else attention's gradients differ."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it; read when cuBLAS starts
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # for finding bugs, and costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def commit() -> str:
    """The commit of this code, with "-dirty" behind it where the code was changed since; "unknown" without git."""
    try:
        git = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True}
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **git)
        changed = subprocess.run(["git", "status", "--porcelain", "."], **git)
    except FileNotFoundError:
        return "unknown"
    if name.returncode:
        return "unknown"
    return name.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def peak_mib() -> int | None:
    """Peak memory of this process; None where Linux is not there.

    Not by getrusage, whose maximum a process takes over from the one that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), None)
