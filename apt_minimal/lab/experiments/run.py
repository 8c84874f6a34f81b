"""One run of a grid: prepare, train, predict, score, and make its record."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from apt_minimal.adapter_parts import fingerprint
from apt_minimal.lab.data.backbones import find_backbone
from apt_minimal.lab.data.entities import entities
from apt_minimal.lab.data.sources import real_source
from apt_minimal.lab.data.splits import apply_setting, selection_split
from apt_minimal.lab.data.tasks import Example, Task, load_task
from apt_minimal.lab.experiments.machine import described, repeatable
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.experiments.results import claim, read_predictions, read_records, write_record
from apt_minimal.lab.methods import UNTRAINED, load_model, method_recorded, prepare
from apt_minimal.lab.read.readings import Readings, rounded
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.checkpoint import DamagedCheckpoint, restore, rows_sha256
from apt_minimal.lab.train.loop import History, TrainConfig, train

GATES_ONLY = 128  # examples whose gates are read, once, in runs without effects
CHECKPOINT_SECONDS = 120  # at evaluations, and at most so often: short runs write no checkpoint at all


def run(spec: RunSpec, task: Task, device: str = "cpu", backbone=None, checkpoint=None) -> tuple[dict, dict]:
    """Do one run: prepare, train, predict, score.

    From one training come three rules of selection. The last evaluation, which selects nothing: "last" on the
    development split, "last_test" on the test split. The evaluation that the held-out examples chose: "dev" and "test".
    And with full data the paper's rule, the best development score of all evaluations, which is optimistic: "dev_best",
    and "dev_best_test", the test split in that state.

    Args:
        spec: see `grid`; a search is scored only on what chooses.
        task: as it was loaded.
        device: where to train.
        backbone: a folder or hub name to take the backbone from; None: the one that the specification names.
        checkpoint: a file to continue from after an interruption.

    Returns:
        What was found, as arguments of `RunRecord`, and "predictions" and "counts" by split.
    """
    setting, final = spec.setting, spec.purpose == "final"
    task, splits = apply_setting(task, setting, spec.seed)
    if not final:
        splits = {selection_split(setting): splits[selection_split(setting)]}
    others = _other_states(setting, splits) if final else {}
    if spec.method in UNTRAINED:
        found: dict[str, Any] = {}
        predictions = {split: UNTRAINED[spec.method](task, examples) for split, examples in splits.items()}
        predictions |= {name: predictions[split] for name, (_, split) in others.items()}  # there is only one state
    else:
        found, predictions = _train_and_predict(spec, task, splits, others, device, backbone, checkpoint)
    examples = splits | {name: splits[split] for name, (_, split) in others.items()}
    found["scores"] = {split: task.score(made, examples[split]) for split, made in predictions.items()}
    counts = {split: example_counts(task, made, examples[split]) for split, made in predictions.items()}
    return found, {"predictions": predictions, "counts": counts}


def _other_states(setting: str, splits: dict) -> dict[str, tuple[str, str]]:
    """What else is predicted in which of a training's states (see `History`): names, each with its state and split."""
    dev = "dev_best" if setting == "plain" else "dev"
    others = {"last": ("last", dev), "last_test": ("last", "test")}
    if setting == "full":
        others |= {"dev_best": ("watched_best", "dev"), "dev_best_test": ("watched_best", "test")}
    return {name: (state, split) for name, (state, split) in others.items() if split in splits}


def _train_and_predict(spec, task, splits, others, device, backbone, checkpoint) -> tuple[dict, dict]:
    """Train and predict; what is found beside the scores, and the predictions by split and other state."""
    torch.manual_seed(spec.seed)
    model: Any = load_model(task, find_backbone(backbone or spec.backbone))
    method = method_recorded(spec.method, spec.settings)
    found: dict[str, Any] = {"backbone_sha256": fingerprint(model)}
    model = prepare(model, method).to(device)
    found["trained_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    config = train_config(spec.train, len(task.train))
    if gate_rate := method.options.get("gate_rate"):
        config = replace(config, gate_learning_rate=gate_rate * config.learning_rate)
    found |= {
        "precision": config.precision(model.device),
        "resumed": checkpoint is not None and Path(checkpoint).exists(),
    }
    gates_only, examples = spec.effects is False, splits.get("dev", task.validation)
    readings = Readings(
        model, task, examples[:GATES_ONLY] if gates_only else examples, spec.purpose == "final" and not gates_only
    )
    look = None if gates_only else readings.at_evaluation
    watch = splits["dev"] if "dev_best" in others else []
    # What is watched stands in for the test split, so that a method that changes the task changes it too.
    with method.training(model, replace(task, test=list(watch)), method) as (part, changed):
        history = train(part, changed, config, checkpoint, False, changed.test, CHECKPOINT_SECONDS, look)
        predictions = _in_other_states(model, part, task, history, splits, others, config)
    found["history"] = _history(history)
    bf16 = config.in_bf16(model.device)
    predictions |= {split: predict(model, task, examples, bf16=bf16) for split, examples in splits.items()}
    return found | readings.of_record(history.notes), predictions


def _in_other_states(model, part, task, history: History, splits, others, config) -> dict:
    """Predictions in other states than the best one, in which the model is left; `part` of it was trained."""
    trained = {name: p for name, p in part.named_parameters() if p.requires_grad}
    made, steps = {}, {"last": history.steps[-1]}
    if history.watched_scores:
        steps["watched_best"] = history.steps[history.watched_scores.index(max(history.watched_scores))]
        made[steps["watched_best"], "dev"] = history.watched_predictions
    for state, split in others.values():
        if (steps[state], split) not in made:
            restore(trained, history.states[state])
            bf16 = config.in_bf16(model.device)
            made[steps[state], split] = predict(model, task, splits[split], bf16=bf16)
    restore(trained, history.states["best"])
    return {name: made[steps[state], split] for name, (state, split) in others.items()}


def train_config(settings: dict, examples: int) -> TrainConfig:
    """How to train, from what a run's specification holds of it; epochs become steps for so many examples."""
    settings = dict(settings)
    if epochs := settings.pop("epochs", None):
        settings["max_steps"] = epochs * math.ceil(examples / settings["batch_size"])
    return TrainConfig(**settings)


def _history(history: History, longest: int = 300) -> dict:
    """A history as it is recorded: the loss in at most `longest` means over as many steps each."""
    every = math.ceil(len(history.loss) / longest)
    parts = [history.loss[i : i + every] for i in range(0, len(history.loss), every)]
    means = [sum(part) / len(part) for part in parts]
    left_out = ("watched_predictions", "notes", "states")
    kept = {key: value for key, value in vars(history).items() if key not in left_out}
    return kept | {"loss": rounded(means), "loss_every": every}


@lru_cache(maxsize=4)  # a process that does many runs encodes a task once
def load(name: str, backbone: str, data_dir: str | None) -> Task:
    """A task from the data folder (from the hub if none is named), encoded for a backbone's tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_backbone(backbone))
    return load_task(name, tokenizer, source=real_source(data_dir), data_dir=data_dir)


def example_counts(task: Task, predictions: Sequence, examples: Sequence[Example]) -> list[list[int]]:
    """For each example a numerator and a denominator; the task's score is the ratio of their sums.

    Accuracy: whether it is right, and 1. Entity F1: twice the entities that are right, and how many there are and are
    predicted. That is all an interval needs, and it holds none of the data.
    """
    if task.kind != "token":
        return [[int(p == example.label), 1] for p, example in zip(predictions, examples, strict=True)]
    counts = []
    for tags, example in zip(predictions, examples, strict=True):
        gold, guessed = set(entities(example.row["ner_tags"])), set(entities([task.labels[tag] for tag in tags]))
        counts.append([2 * len(gold & guessed), len(gold) + len(guessed)])
    return counts


def finished_record(spec: RunSpec, task: Task, device: str, backbone: str, checkpoint=None) -> tuple[RunRecord, dict]:
    """Do a run and make its record, on whatever machine this is: nothing is read but the backbone, and none written.

    Args:
        spec, task, device, checkpoint: as in `run`.
        backbone: the grid's, or where it lies on this machine.

    Returns:
        The record, and "predictions" and "counts" by split. A training that diverged is a result too: its record has
        "failed" in place of scores.
    """
    started, gpu = time.perf_counter(), device == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    elsewhere = None if backbone == spec.backbone else backbone
    try:
        with repeatable() if gpu else nullcontext():
            found, files = run(spec, task, device, elsewhere, checkpoint)
    except FloatingPointError as error:
        found, files = {"failed": str(error)}, {"predictions": {}, "counts": {}}
    rows = rows_sha256(task.train, task.validation, task.test)
    minutes = round((time.perf_counter() - started) / 60, 2)
    return RunRecord(spec, rows, minutes, task.metric, **found, **described(gpu)), files


def work(
    spec: RunSpec,
    folder: Path,
    data_dir: str | None,
    device: str,
    backbone: str,
    do: Callable[..., tuple[RunRecord, dict]] = finished_record,
) -> None:
    """Have one run done and write it down, unless it is done or another process is at it.

    Args:
        do: `finished_record`, or what has another machine call it.
    """
    results, place = folder / f"{spec.task}.jsonl", folder / "running" / spec.key
    with claim(place.with_suffix(".lock")) as ours:
        if not ours or _is_done(spec, results):
            return
        task, checkpoint = load(spec.task, backbone, data_dir), place.with_suffix(".pt")
        try:
            record, predictions = do(spec, task, device, backbone, checkpoint)
        except DamagedCheckpoint as error:
            print(f"{spec} begins anew: {error}; it is deleted now", file=sys.stderr, flush=True)
            checkpoint.unlink()
            record, predictions = do(spec, task, device, backbone, checkpoint)
        write_record(results, record, predictions)
        checkpoint.unlink(missing_ok=True)  # a training that diverged leaves one


def _is_done(spec: RunSpec, results: Path) -> bool:
    """Whether a run's record and its predictions can be read."""
    for record in read_records(results):
        if record.spec.key == spec.key:
            with suppress(ValueError):
                return bool(read_predictions(results, record))
    return False
