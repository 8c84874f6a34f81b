"""Do every run of a grid that is not done yet: in parallel, resumable, one JSON line per finished run.

    python -m apt_minimal.lab.experiments docs/results/minilm_cpu.toml --data-dir DATA --jobs 2

Lines go to `<grid>/<task>.jsonl` beside the grid's file, predictions into folders there. Kill it whenever you like and
start it again: what is finished stays, and a long run goes on from its last checkpoint.
"""

import argparse
import os
import threading
import warnings
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from apt_minimal.lab.experiments.cluster import NoScheduler, cluster
from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.preflight import check_backbone, unrunnable
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.experiments.results import read_predictions, read_records, result_files
from apt_minimal.lab.experiments.run import work

MOST = 1000  # runs at once on a cluster
# tqdm's own guess of the time left takes all runs to be alike; ours is in the postfix
BAR = "{desc}: {n_fmt}/{total_fmt} runs |{bar}| {elapsed}{postfix}"


def run_grid(
    file: str | Path,
    data_dir: str | None = None,
    jobs: int = 1,
    device: str = "cpu",
    backbone: str | None = None,
    scheduler: str | None = None,
) -> None:
    """Do every run of a grid that is not done yet.

    Args:
        file: the grid, TOML (see `grid`).
        data_dir: as in `load_task`.
        jobs: runs side by side, each in a process of its own with its share of the cores.
        device: "cpu" or "cuda".
        backbone: where the grid's backbone lies on this machine; None: its name in the grid will do.
        scheduler: the address of a dask.distributed cluster, whose workers do the runs (see `cluster`), as many side by
            side as there are workers, or `jobs` if that is more. None: this machine does.

    Raises:
        NoScheduler: the scheduler does not answer.
        ValueError: the grid's file is wrong, there is no such backbone, or `jobs` is below 1.
        Exception: what a run raised, or why a task's data can't be used, after all other runs were done; a training
            that merely diverged is no such error.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1, the number of runs side by side")
    file, grid = Path(file), read_grid(file)
    folder, backbone = file.with_suffix(""), backbone or grid["backbone"]
    how: tuple[Any, ...] = (folder, data_dir, device, backbone)
    failed, started, running, known = {}, set(), {}, {}
    with ExitStack() as pools, tqdm(desc=file.stem, bar_format=BAR) as bar:
        pool: Executor = pools.enter_context(_pool(jobs, device) if scheduler is None else ThreadPoolExecutor(MOST))
        if scheduler is not None:  # threads that wait for it: the pool opened first is closed last
            workers, do = pools.enter_context(cluster(scheduler))
            jobs, how = min(max(jobs, workers), MOST), (*how, do)
        lost = _without_predictions(folder, _read_grown(folder, known), bar)
        left_out = _left_out(grid, _read_grown(folder, known), lost, data_dir, backbone)
        for (task, setting), error in left_out.items():
            bar.write(f"left out: {task}, {setting}: {error}")
            failed[f"all runs of {task}, {setting}"] = error
        while True:
            records = _read_grown(folder, known)
            done = {record.spec.key for record in records} - lost
            possible, bar.total = all_runs(grid, records)
            pending = [spec for spec in possible if spec.cell[:2] not in left_out and spec.key not in done | started]
            for spec in pending[: jobs - len(running)]:
                started.add(spec.key)
                try:
                    future = pool.submit(work, spec, *how)
                except BrokenProcessPool:  # a process that is killed, for want of memory say, takes its pool with it
                    pool = pools.enter_context(_pool(jobs, device))
                    future = pool.submit(work, spec, *how)
                running[future] = spec
            _show(bar, records, possible, done, jobs)
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                spec = running.pop(future)
                if future.exception() is None:
                    lost.discard(spec.key)
                else:
                    failed[str(spec)] = future.exception()
        if not failed and bar.n < bar.total:
            bar.write("the other runs are being done by another process")
    if failed:  # all others are written by now
        raise _with_notes(failed)


def _without_predictions(folder: Path, records: list[RunRecord], bar: tqdm) -> set[str]:
    """The keys of finished runs whose predictions can't be read (any more), so that they must be made again."""
    lost = set()
    for record in records:
        try:
            read_predictions(folder / f"{record.spec.task}.jsonl", record)
        except ValueError as error:
            bar.write(f"made anew: {record.spec}: {error}")
            lost.add(record.spec.key)
    return lost


def _read_grown(folder: Path, known: dict[Path, tuple[int, list[RunRecord]]]) -> list[RunRecord]:
    """Like `read_results`, but reread only files that have grown; `known` caches the rest."""
    for file in result_files(folder):
        size = file.stat().st_size
        if file not in known or known[file][0] != size:
            known[file] = size, read_records(file)
    return [record for _, records in known.values() for record in records]


def _left_out(
    grid: dict, records: list[RunRecord], lost: set[str], data_dir: str | None, backbone: str
) -> dict[tuple[str, str], Exception]:
    """Say what can't be run on the data, and why (see `unrunnable`); nothing is read if all runs are done."""
    done = {record.spec.key for record in records} - lost
    pending = [spec for spec in all_runs(grid, records)[0] if spec.key not in done]
    if pending:
        check_backbone(backbone)
    return unrunnable(pending, records, data_dir)


def _with_notes(failed: dict[str, BaseException]) -> BaseException:
    """The first of some errors, with a note for each of them."""
    error = next(iter(failed.values()))
    for what, each in failed.items():
        error.add_note(f"{type(each).__name__} in {what}: {str(each).splitlines()[0] if str(each) else ''}")
    return error


def _pool(jobs: int, device: str) -> ProcessPoolExecutor:
    cores = max(1, torch.get_num_threads() // jobs)
    return ProcessPoolExecutor(
        jobs,
        get_context("spawn"),
        _start_worker,
        (cores,),
        # On a CPU a new process for every run, so that its peak memory is its own; a GPU keeps account by itself.
        max_tasks_per_child=1 if device == "cpu" else None,
    )


def _start_worker(cores: int) -> None:
    torch.set_num_threads(cores)
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")  # peft's own business, once a run
    # said once, before the first run
    warnings.filterwarnings("ignore", message=".*(no training row has the label|are training rows too|passed over)")
    # A worker whose parent was killed would go on beside the next start.
    if (parent := parent_process()) is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _show(bar: tqdm, records: list[RunRecord], possible: list[RunSpec], done: set[str], jobs: int) -> None:
    """Show how many runs are done and how long the others will take, as far as runs like them tell."""
    bar.n = sum(spec.key in done for spec in possible)
    left = minutes_left(records, [spec for spec in possible if spec.key not in done], bar.total - bar.n) / jobs
    bar.set_postfix_str(f"about {int(left // 60)} h {int(left % 60)} min left" if records else "")


def minutes_left(records: list[RunRecord], pending: list[RunSpec], count: int) -> float:
    """Minutes of work in `count` runs, from what runs of the same task, method and purpose took, else all runs.

    Args:
        records: of finished runs.
        pending: those open runs that can be specified already.
        count: all open runs, `pending` included.
    """
    took = defaultdict(list)
    for record in records:
        for like in (record.spec.cell, "any"):
            took[like].append(record.minutes)
    mean = {like: sum(minutes) / len(minutes) for like, minutes in took.items()}
    known = [mean.get(spec.cell, mean.get("any", 0.0)) for spec in pending]
    return sum(known) + (count - len(pending)) * mean.get("any", 0.0)


def main() -> None:
    """Do the runs of the grid that the command line names; a wrong grid or scheduler ends it with one sentence."""
    parser = argparse.ArgumentParser(description="Do every run of a grid that is not done yet.")
    parser.add_argument("file", metavar="grid", help="a TOML file such as docs/results/minilm_cpu.toml")
    parser.add_argument("--data-dir", help="the folder that holds <task>/<split>.jsonl (default: $APT_DATA)")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", help="a folder that holds the grid's backbone on this machine")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="let a dask.distributed cluster do the runs")
    arguments = parser.parse_args()
    try:
        read_grid(arguments.file)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        run_grid(**vars(arguments))
    except NoScheduler as error:
        parser.error(str(error))
