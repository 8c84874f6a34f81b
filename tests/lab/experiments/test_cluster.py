"""A grid on a dask cluster of this machine's processes: the local run's lines, though a worker is killed."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from test_runner import grid, results, start, stripped  # noqa: F401  (fixtures)

from apt_minimal.lab.experiments.cluster import NoScheduler
from apt_minimal.lab.experiments.results import read_predictions, read_records
from apt_minimal.lab.experiments.runner import run_grid

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture
def program():
    """Start programs of dask and of ours, on the loopback interface: this machine's own name need not resolve."""
    started = []
    paths = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"}

    def run(module, *arguments):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        started.append(subprocess.Popen(command, env=os.environ | paths, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def test_a_cluster_gives_the_local_lines_though_a_worker_is_killed(grid, start, program, tmp_path):  # noqa: F811
    start(grid)
    expected = read_records(results(grid))
    remote = grid.with_name("remote.toml")
    remote.write_text(grid.read_text())

    address, here = f"tcp://127.0.0.1:{free_port()}", ("--host", "127.0.0.1", "--no-dashboard")
    program("distributed.cli.dask_scheduler", *here, "--port", address.rsplit(":")[-1])
    own = ("--nthreads", 1, "--no-nanny", "--local-directory", tmp_path)
    workers = [program("distributed.cli.dask_worker", address, *here, *own) for _ in range(2)]
    options = ("--data-dir", tmp_path, "--device", "cpu", "--jobs", 2)
    asker = program("apt_minimal.lab.experiments", remote, "--scheduler", address, *options)
    deadline = time.monotonic() + 200
    while not read_records(results(remote)):
        assert asker.poll() is None and time.monotonic() < deadline, asker.stderr.read()
        time.sleep(0.02)
    workers[0].send_signal(signal.SIGSTOP)  # in the middle of a run, or of the next that it is given
    time.sleep(1)
    assert len(read_records(results(remote))) < len(expected)
    workers[0].kill()
    assert asker.wait(timeout=200) == 0

    found = read_records(results(remote))
    assert stripped(found) == stripped(expected)
    local, far = ({r.spec.key: read_predictions(results(g), r) for r in found} for g in (grid, remote))
    assert local == far


def test_a_scheduler_that_does_not_answer_is_told_within_seconds(grid, tmp_path):  # noqa: F811
    began = time.monotonic()
    with pytest.raises(
        NoScheduler, match=r"no dask scheduler answers at tcp://127.0.0.1:9 within 5 seconds .*dask sch"
    ):
        run_grid(grid, str(tmp_path), scheduler="tcp://127.0.0.1:9")
    assert time.monotonic() - began < 60
    assert not results(grid).exists()
