"""Runs on other machines, those of a dask.distributed cluster: specification and rows go there, a record comes back.

No file is shared. A worker needs this package, and the backbone under the name that the grid gives it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apt_minimal.lab.data.tasks import Task
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.experiments.run import finished_record

PATIENCE = 5  # seconds for a scheduler to answer


class NoScheduler(ConnectionError):
    """There is no scheduler at an address, or no `distributed` to talk to it with."""


@contextmanager
def cluster(address: str) -> Iterator[tuple[int, Callable[..., tuple[RunRecord, dict]]]]:
    """Connect to a cluster's scheduler, "tcp://HOST:8786", say.

    Yields:
        How many runs it can do at once by now, and what has one of its machines call `finished_record`. A run whose
        worker dies is begun anew by another one.

    Raises:
        NoScheduler: none answers within five seconds, or the package `distributed` is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise NoScheduler("a scheduler needs the package distributed: pip install distributed") from None
    try:
        client: Any = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoScheduler(
            f"no dask scheduler answers at {address} within {PATIENCE} seconds ({error}); start one with "
            "`dask scheduler`, and give the address that it prints"
        ) from None

    def elsewhere(spec: RunSpec, task: Task, device: str, backbone: str, _: Path) -> tuple[RunRecord, dict]:
        return client.submit(alone, spec, task, device, backbone, pure=False).result()

    with client:
        yield sum(client.nthreads().values()), elsewhere


def alone(spec: RunSpec, task: Task, device: str, backbone: str) -> tuple[RunRecord, dict]:
    """Do a run on a worker, which must do one at a time: runs in threads would draw each other's random numbers."""
    from distributed import get_worker

    if (worker := get_worker()).state.nthreads != 1:
        raise ValueError(f"the worker {worker.address} has {worker.state.nthreads} threads; start it with --nthreads 1")
    return finished_record(spec, task, device, backbone)
