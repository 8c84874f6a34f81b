"""What is solved: remembered where it can be written, and in memory."""

import pytest

from apt_minimal import course
from apt_minimal.course import state


def test_progress_is_kept_from_one_session_to_the_next(solved_file, monkeypatch, capsys):
    state.solved("1.2")
    monkeypatch.setattr(state, "_solved", set())  # a new session
    state.solved("12.1")
    course.progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Lesson 01  ○ 1.1  ✓ 1.2  ○ 1.3")
    assert len(lines) == 12 and lines[11].startswith("Lesson 12  ✓ 12.1  ○")
    assert solved_file.read_text() == '["1.2", "12.1"]'


@pytest.mark.parametrize("text", ["", "5", "{", "[1, [2]]"])
def test_a_file_that_is_not_ours_does_no_harm(solved_file, text):
    solved_file.parent.mkdir()
    solved_file.write_text(text)
    assert "1.1" not in state.all_solved()


def test_memory_will_do_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    state.solved("1.1")
    assert state.all_solved() == {"1.1"}


def test_memory_will_do_where_there_is_no_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(state.Path, "home", no_home)
    state.solved("1.1")
    assert state.all_solved() == {"1.1"}


def test_an_exercise_that_does_not_exist_is_named(capsys):
    with pytest.raises(ValueError, match="no exercise '1.9'; there are 1.1, "):
        course.hint("1.9")
