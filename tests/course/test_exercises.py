"""Every exercise: its solution passes, and each slip is caught and called by its own name, not by an earlier one's."""

from importlib import import_module

import pytest

from apt_minimal.course.check import Exercise

LESSONS = [import_module(f"apt_minimal.course.lesson_{number:02}") for number in range(1, 13)]
EXERCISES = {
    name: exercise for lesson in LESSONS for name, exercise in vars(lesson).items() if isinstance(exercise, Exercise)
}
MISTAKES = [
    pytest.param(exercise, said, id=f"{name}-{i}")
    for name, exercise in EXERCISES.items()
    for i, said in enumerate([*exercise.others, *exercise.slips])
]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_solution_is_right(exercise, capsys):
    assert exercise(exercise.solution) is True
    assert capsys.readouterr().out.startswith("✓ right")


@pytest.mark.parametrize(("exercise", "said"), MISTAKES)
def test_a_slip_is_called_by_its_name(exercise, said, capsys):
    assert exercise(exercise.mistakes[said]) is False
    assert capsys.readouterr().out.splitlines()[0] == f"✗ {said}"
