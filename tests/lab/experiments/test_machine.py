"""What a record says of the machine."""

import re

from apt_minimal.lab.experiments import machine


def test_a_machine_without_git_does_not_fail(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown", machine.commit())
    monkeypatch.setenv("PATH", "")
    assert machine.commit() == "unknown"
