"""What APT costs in time and memory, beside other methods and the floor: a benchmark that anyone can run.

    python -m apt_minimal.lab.experiments.cost --quick          # a look, in some minutes
    python -m apt_minimal.lab.experiments.cost --data-dir DATA  # all of it; stop it, and a second start goes on

The methods take turns, round after round, so that other work on the machine meets all alike; a ratio is one of times of
the same round. Times are processor time of one thread on a CPU, and wall-clock time on a GPU. `subjects` says what is
measured, the floor above all. Each group of measurements is a line of the output file, written at once; `cost_page`
makes a page of the lines, which is shown at the end.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.profiler import profile

from apt_minimal.lab.data.backbones import embedded_backbone
from apt_minimal.lab.experiments.cost_page import page
from apt_minimal.lab.experiments.machine import described, keep_freed_memory, peak_above_mib, processor
from apt_minimal.lab.experiments.subjects import Condition, conll2004, epochs, ready
from apt_minimal.lab.train.precision import computes_in_bf16

METHODS = ["floor", "apt", "p_tuning_v2", "head_only", "full", "lora", "peft_prefix", "apt_recomputed", "apt_bf16"]
COMPARED = ["floor", "apt", "p_tuning_v2", "full", "peft_prefix", "apt_bf16"]
CENTRE, SHORT, FEW = Condition(), Condition(tokens=32), Condition(batch=4)
BASE = Condition("base", layers=12, tokens=32)
CHANGES = [{"prefix_length": 4}, {"prefix_length": 64}, {"layers": 2}]  # of FEW, which takes less time than the centre
Rows = Iterator[dict]  # each with a "measure" and the "values" of the methods


def conditions(device: torch.device, quick: bool) -> list[Condition]:
    """The centre, then others; bfloat16 where the device has it in hardware, the base backbone where it was fetched."""
    if quick:
        return [CENTRE]
    found = [CENTRE, FEW, SHORT]
    try:
        embedded_backbone("base")
        found.append(BASE)
    except FileNotFoundError as error:
        print(error)
    found += [replace(FEW, **change) for change in CHANGES]
    lower = [replace(condition, precision="bf16") for condition in found if condition in (CENTRE, BASE)]
    return found + (lower if computes_in_bf16(device) else [])


def in_turn(actions: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one that doesn't count; every other round goes backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for i in range(1 + rounds):
        for name in list(actions)[:: 1 if i % 2 else -1]:
            started = now(device)
            actions[name]()
            seconds[name].append(float(f"{now(device) - started:.4g}"))
    return {name: times[1:] for name, times in seconds.items()}


def now(device: torch.device) -> float:
    """A clock: this process's time on a processor, or on a GPU the time of day when all of its work is done."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(names: list[str], condition: Condition, rounds: int, device: torch.device) -> Rows:
    """A step and inference of all methods, in turn."""
    with ExitStack() as stack:
        subjects = {name: stack.enter_context(ready(name, condition, device)) for name in names}
        steps = {name: subject.step for name, subject in subjects.items()}
        yield {"measure": "step", "values": in_turn(steps, rounds, device)}
        for subject in subjects.values():
            subject.model.eval()
        passes = {name: subject.infer for name, subject in subjects.items()}
        yield {"measure": "inference", "values": in_turn(passes, rounds, device)}


def memory(names: list[str], condition: Condition, device: torch.device) -> Rows:
    """Peak memory of three training steps above the loaded model, of each method in a process of its own."""
    peaks = {}
    for name in names:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            peaks[name] = alone.submit(peak_of, name, condition, device).result()
    if None not in peaks.values():
        yield {"measure": "memory", "values": peaks}


def peak_of(name: str, condition: Condition, device: torch.device) -> int | None:
    """MiB that three steps need at their peak above the loaded model, in a process that does nothing else."""
    torch.set_num_threads(1)
    with ready(name, condition, device) as subject:
        for parameter in subject.model.parameters():
            parameter.data = parameter.data.clone()  # else the first step would read its file's pages
        return peak_above_mib(lambda: [subject.step() for _ in range(3)], device.type == "cuda")


def profiled(names: list[str], condition: Condition, rounds: int, device: torch.device) -> Rows:
    """Where time goes: milliseconds of each of torch's operations, in itself, in the median round."""
    with ExitStack() as stack:
        subjects = {name: stack.enter_context(ready(name, condition, device)) for name in names}
        for measure in ("step", "inference"):
            found: dict[str, list] = {name: [] for name in names}
            for name in names * (1 + rounds):
                subject = subjects[name]
                subject.model.train(measure == "step")
                found[name].append(operations(subject.step if measure == "step" else subject.infer, device))
            values = {name: medians(all_rounds[1:]) for name, all_rounds in found.items()}
            yield {"measure": f"profile of {measure}", "values": values}


def operations(action: Callable[[], None], device: torch.device) -> dict[str, float]:
    """Milliseconds of each operation of an action, without those that it calls."""
    with profile() as found:
        action()
    if device.type == "cuda":  # kernels are listed once more under names of their own
        return {e.key: e.self_device_time_total / 1000 for e in found.key_averages() if e.key.startswith("aten::")}
    return {event.key: event.self_cpu_time_total / 1000 for event in found.key_averages()}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each operation the median over rounds, without those that take less than a hundredth of a millisecond."""
    names = sorted({name for one in rounds for name in one})
    found = {name: round(statistics.median(one.get(name, 0) for one in rounds), 2) for name in names}
    return {name: ms for name, ms in found.items() if ms}


def kept(names: list[str], condition: Condition, device: torch.device) -> Rows:
    """What is behind the peaks of memory: MiB that a step keeps for its backward pass, and what training adds to it."""
    values = {}
    for name in names:
        with ready(name, condition, device) as subject:
            trained = sum(p.nbytes for p in subject.model.parameters() if p.requires_grad)
            found = {"kept activations": subject.kept_bytes(), "gradients": trained, "AdamW's moments": 2 * trained}
            values[name] = {part: round(size / 2**20, 1) for part, size in found.items()}
    yield {"measure": "profile of memory", "values": values}


def parts(options: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Condition, Callable[[], Rows]]]:
    """All that is measured, in order: its last measure, under which condition, and a call that does it."""
    found = {condition: methods(options, condition, device) for condition in conditions(device, options.quick)}
    for condition, names in found.items():
        # smaller steps scatter more, and leave time for more rounds
        rounds = options.rounds * (4 if condition.batch * condition.tokens < 2048 and condition.layers <= 6 else 1)
        yield "inference", condition, partial(timed, names, condition, rounds, device)
    yield "epoch", CENTRE, partial(epoch, options, device)
    if options.profile:
        yield "profile of inference", CENTRE, partial(profiled, ["floor", "apt"], CENTRE, options.rounds, device)
        yield "profile of memory", CENTRE, partial(kept, ["apt", "full"], CENTRE, device)
    for condition, names in found.items():
        if condition in (CENTRE, FEW, SHORT, BASE):
            yield "memory", condition, partial(memory, names, condition, device)


def methods(options: argparse.Namespace, condition: Condition, device: torch.device) -> list[str]:
    """All methods at the centre, elsewhere those that the page compares, if they can run."""
    wanted = [name for name in options.methods if condition == CENTRE or name in COMPARED]
    if condition not in (CENTRE, BASE) or not computes_in_bf16(device):  # beside float32, to take turns with it
        wanted = [name for name in wanted if name != "apt_bf16"]
    # MPNet takes no past_key_values, as which peft hands its prefix over
    return [name for name in wanted if (name, condition.backbone) != ("peft_prefix", "base")]


def epoch(options: argparse.Namespace, device: torch.device) -> Rows:
    """An epoch of CoNLL-2004, which takes long: half of the rounds."""
    task, tokenizer = conll2004(options.data_dir, options.examples)
    values = in_turn(epochs(task, tokenizer, device), options.rounds // 2, device)
    source = "from a folder" if options.data_dir else task.source  # where the folder lies is nobody's business
    yield {"measure": "epoch", "values": values, "examples": len(task.train), "source": source}


def identity(row: dict) -> tuple:
    """What makes a line say the same as another: measure, condition, rounds and machine."""
    return tuple(row[name] for name in ("measure", *asdict(CENTRE), "rounds", "machine"))


def measure(options: argparse.Namespace, device: torch.device) -> None:
    """Measure what the output file doesn't hold yet, and write each line at once."""
    versions = {name: value for name, value in described(False).items() if name in ("versions", "commit")}
    gpu = device.type == "cuda"
    machine = torch.cuda.get_device_name() if gpu else f"{processor()}, one thread"
    done = {identity(row) for row in read(options.output)}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for last, condition, call in parts(options, device):
        about = asdict(condition) | {"rounds": options.rounds, "machine": machine}
        if identity({"measure": last} | about) in done:
            continue
        print(f"{last}, {condition}", flush=True)
        for row in call():
            line = {"measure": row.pop("measure")} | about | row | versions | {"date": date.today().isoformat()}
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read(file: Path) -> list[dict]:
    """The lines of an output file; none if there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def main() -> None:
    """Measure what the command line asks for and print the page, or (--page) only write the page of recorded lines."""
    parser = argparse.ArgumentParser(description="Measure what APT costs, beside other methods and the floor.")
    parser.add_argument("--quick", action="store_true", help="one condition, four rounds: a look, in some minutes")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--output", type=Path, default=Path("build/speed.jsonl"), help="lines of earlier starts stay")
    parser.add_argument("--page", type=Path, help="measure nothing; write the output's page into this file")
    parser.add_argument("--profile", action="store_true", help="also where APT's time goes, operation by operation")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="methods of a grid; floor, peft_prefix")
    parser.add_argument(
        "--rounds", type=int, default=12, help="how often all take their turn; small steps four times as often"
    )
    parser.add_argument("--data-dir", help="a folder with conll2004/<split>.jsonl (default: the shipped sample)")
    parser.add_argument("--examples", type=int, help="so many sentences are an epoch, drawn at random (default: all)")
    options = parser.parse_args()
    if options.page is None:
        options.rounds = 4 if options.quick else options.rounds
        torch.set_num_threads(1)
        keep_freed_memory()
        measure(options, torch.device(options.device))
        print(page(read(options.output)))
    else:
        options.page.write_text(page(read(options.output)), encoding="utf-8")


if __name__ == "__main__":
    main()
