"""What a record says of the machine."""

import re

from apt_minimal.lab.experiments import machine


def test_a_machine_without_git_does_not_fail(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", machine.commit())
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "unknown"


def test_peak_memory_is_that_of_the_action_alone():
    machine.peak_above_mib(lambda: bytearray(b"1" * 300 * 2**20), gpu=False)  # is forgotten
    peak = machine.peak_above_mib(lambda: bytearray(b"1" * 50 * 2**20), gpu=False)
    assert peak is None or 50 <= peak <= 150  # the literal, and its copy
