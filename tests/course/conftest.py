"""Solved exercises are kept in a folder of the test, not in the user's cache."""

import pytest

from apt_minimal.course import state


@pytest.fixture(autouse=True)
def solved_file(tmp_path, monkeypatch):
    """Where solved exercises are kept; nothing is solved at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(state, "_solved", set())
    return tmp_path / "apt-minimal" / "solved.json"
