"""The machine that a run is done on: what is recorded of it, and how a GPU is made to repeat its numbers."""

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def described(gpu: bool) -> dict:
    """What a record says of the machine and the code: peak memory of this process, device, versions and commit."""
    return {
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if gpu else peak_mib(),
        "device": torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} thread(s)",
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "transformers", "peft")},
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this code, followed by "-dirty" if tracked files have changed since; "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]  # no tag, whatever there is
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return "unknown" if done.returncode else done.stdout.strip()


def processor() -> str:
    """What the processor is called, and the widest instructions that torch uses on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())}, {torch.backends.cpu.get_cpu_capability()}"


def peak_mib() -> int | None:
    """Peak memory of this process; None on other systems than Linux.

    Not by getrusage, whose maximum a process takes over from the one that started it.
    """
    return _status("VmHWM")


def peak_above_mib(action: Callable[[], object], gpu: bool) -> int | None:
    """The peak of what an action needs above what is held before it, on a GPU or by this process; None as above."""
    if gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        return (torch.cuda.max_memory_allocated() - before) // 2**20
    if (resident := _status("VmRSS")) is None:
        return None
    Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    action()
    return (_status("VmHWM") or 0) - resident


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where it uses glibc, so that steps don't wait for fresh pages each time."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: below 32 MiB, which is the most, memory comes from the heap …
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: … and the heap is not given back


def _status(name: str) -> int | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(name)), None)


@contextmanager
def repeatable() -> Iterator[None]:
    """Let a GPU compute the same numbers every time while the context is open; else attention's gradients differ."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for it; read when cuBLAS starts
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # for finding bugs, and costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]
