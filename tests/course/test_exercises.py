"""Every exercise: its solution passes and stands in the notebook, and each slip is called by its own name.

`answers_NN.py` holds what people wrote from the exercises' texts alone: right answers in another style, and wrong ones
that no slip names, for which a checker must not guess. CHECKS lists: checker, right answers, wrong answers.
"""

import ast
import inspect
import textwrap
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import torch

from apt_minimal import course
from apt_minimal.course.check import Exercise

ROOT = Path(__file__).parents[2]
ALL = {number: getattr(course, name) for number, name in course.EXERCISES.items()}
EXERCISES = {number: exercise for number, exercise in ALL.items() if isinstance(exercise, Exercise)}
CHECKS = [one for file in sorted(Path(__file__).parent.glob("answers_*.py")) for one in import_module(file.stem).CHECKS]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def default_dtype(request):
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(torch.float32)


@every_exercise
def test_the_solution_is_right(exercise, default_dtype, capsys):
    assert exercise(exercise.solution) is True
    assert capsys.readouterr().out.startswith("✓ right: ")


@every_exercise
def test_what_is_solved_is_remembered_by_its_number(exercise, capsys):
    exercise(exercise.solution)
    capsys.readouterr()
    course.progress()
    assert f"✓ {exercise.number} " in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("exercise", "said"),
    [
        pytest.param(e, said, id=f"{n}-{i}")
        for n, e in EXERCISES.items()
        for i, said in enumerate([*e.others, *e.slips])
    ],
)
def test_a_slip_is_called_by_its_name(exercise, said, capsys):
    assert exercise(exercise.mistakes[said]) is False
    assert capsys.readouterr().out.splitlines()[0] == f"✗ {said}"


@every_exercise
def test_the_solutions_notebook_holds_the_solution(exercise):
    lesson = exercise.solution.__module__.rpartition("_")[2]  # "05b" is the optional half of "05"
    (file,) = (ROOT / "notebooks/solutions").glob(f"{lesson}_*.ipynb")
    notebook = nbformat.read(file, as_version=4)
    source = textwrap.dedent(inspect.getsource(exercise.solution))
    statements = ast.parse(source).body[0].body
    first = statements[ast.get_docstring(ast.parse(source).body[0]) is not None]
    body = "\n".join(source.splitlines()[first.lineno - 1 :])
    assert any(body in cell.source for cell in notebook.cells if cell.cell_type == "code"), body


@pytest.mark.parametrize(
    ("check", "answer"),
    [pytest.param(c, f, id=f"{c.number}-{name}") for c, right, _ in CHECKS for name, f in right.items()],
)
def test_right_answers_in_another_style_pass(check, answer, default_dtype, capsys):
    assert check(answer) is True, capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "answer"),
    [pytest.param(c, f, id=f"{c.number}-{what}") for c, _, wrong in CHECKS for what, f in wrong.items()],
)
def test_a_wrong_answer_that_no_slip_fits_fails_without_a_guess(check, answer, capsys):
    assert check(answer) is False
    said = capsys.readouterr().out.splitlines()[0].removeprefix("✗ ")
    assert said and not said.startswith(tuple(check.mistakes))
