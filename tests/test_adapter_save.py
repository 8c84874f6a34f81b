"""A save that is killed leaves the old adapter or the new one, whole; and a save needs little memory of its own."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from apt_minimal import AptConfig, load_adapter, save_adapter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork, and /proc")
KILLS, SEED = int(os.environ.get("FUZZ_CASES", 200)) // 10, os.environ.get("FUZZ_SEED", "0")
FILES = ["README.md", "adapter.json", TENSORS := "adapter.safetensors"]


@pytest.fixture
def two(attached):
    """Two adapters of one backbone, the new one smaller."""
    return [attached(BertForSequenceClassification, apt=AptConfig(length)) for length in (400, 3)]


@pytest.fixture
def whole(two, tiny):
    """Assert that a folder loads as exactly one of them, or that it never held one; returns its number, or None."""

    def check(folder, may_be_none=False):
        try:
            found = load_adapter(tiny(BertForSequenceClassification), folder).state_dict()
        except FileNotFoundError:
            assert may_be_none
            return None
        prefix = "bert.encoder.layer.0.attention.self.prefix.key"
        number = [len(model.state_dict()[prefix]) for model in two].index(len(found[prefix]))
        expected = two[number].state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
        return number

    return check


def fork(work):
    """Run a function in a copy of this process; returns its process id."""
    if child := os.fork():
        return child
    try:
        work()
    finally:
        os._exit(0)


def killed(child):
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def save_until(line, model, folder):
    """Save, and kill this process before that line of those that write or rename."""

    def trace(frame, event, _):
        nonlocal line
        if frame.f_code.co_name in ("write_adapter", "_finish_interrupted"):
            line -= event == "line"
            if line == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace
        return None

    sys.settrace(trace)
    save_adapter(model, folder)


@pytest.mark.slow
@pytest.mark.parametrize("there", ["nothing", "an adapter", "a save that was killed"])
def test_killed_before_any_line_a_save_leaves_the_old_adapter_or_the_new(there, two, whole, tmp_path):
    old, folder = tmp_path / "old", tmp_path / "folder"
    if there != "nothing":
        save_adapter(two[0], old)
    if there == "a save that was killed":
        os.rename(old / TENSORS, old / f"{TENSORS}.next")
        (old / TENSORS).write_bytes(b"an older adapter's")
    found, was_killed = [], True
    while was_killed:
        shutil.rmtree(folder, ignore_errors=True)
        if old.exists():
            shutil.copytree(old, folder)
        was_killed = killed(fork(lambda: save_until(len(found) + 1, two[1], folder)))
        found.append(whole(folder, there == "nothing"))
        save_adapter(two[0], folder)
        assert whole(folder) == 0 and sorted(os.listdir(folder)) == FILES
    first = None if there == "nothing" else 0
    assert found.count(first) > 20 and found.count(1) > 2  # the last renames
    assert found == [first] * found.count(first) + [1] * found.count(1)


@pytest.mark.slow
def test_killed_at_any_moment_a_folder_loads_as_the_old_adapter_or_the_new(two, whole, tmp_path):
    rng, found = random.Random(SEED), [0]
    save_adapter(two[0], tmp_path)

    def save_again_and_again():
        for number in count(1 - found[-1]):
            save_adapter(two[number % 2], tmp_path)

    for _ in range(KILLS):
        file = os.stat(tmp_path / "adapter.json").st_ino
        child = fork(save_again_and_again)
        while os.stat(tmp_path / "adapter.json").st_ino == file:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert killed(child)
        found.append(whole(tmp_path))
    assert set(found) == {0, 1}
    save_adapter(two[0], tmp_path)
    assert whole(tmp_path) == 0 and sorted(os.listdir(tmp_path)) == FILES


MEMORY = """
import sys
from transformers import BertConfig, BertModel
from apt_minimal import AptConfig, attach, save_adapter
from apt_minimal.lab.experiments.machine import peak_mib
sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
def model(length):
    return attach(BertModel(BertConfig(vocab_size=60, **sizes)), AptConfig(length))
save_adapter(model(8), sys.argv[1] + "/small")  # whatever is imported and set up once
large = model(30_000)
before = peak_mib()
save_adapter(large, sys.argv[1] + "/large")
print(peak_mib() - before)
"""


@pytest.mark.slow
def test_a_save_needs_no_more_memory_than_three_times_what_it_writes(tmp_path):
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-W", "ignore", "-c", MEMORY, str(tmp_path)]
    needed = int(subprocess.run(command, env=os.environ | paths, capture_output=True, check=True).stdout)
    size = (tmp_path / "large" / "adapter.safetensors").stat().st_size / 2**20
    assert size > 300 and needed < 3 * size, f"{needed} MiB for {size:.0f} MiB"
