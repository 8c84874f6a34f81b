"""Every exercise: its solution passes and stands in the notebook, and each slip is called by its own name.

`answers.py` holds right answers in another style, and wrong ones that no slip names: a checker must not guess.
"""

import ast
import inspect
import textwrap
from pathlib import Path

import answers
import nbformat
import pytest
import torch

from apt_minimal import course
from apt_minimal.course.check import read

ROOT = Path(__file__).parents[2]
EXERCISES = {number: getattr(course, name) for number, name in course.EXERCISES.items()}
every_exercise = pytest.mark.parametrize(
    "exercise", [pytest.param(e, id=f"{number}-{e.name}") for number, e in EXERCISES.items()]
)


def answered(right: bool):
    """The right or the wrong ones of answers.py, as functions."""
    for number, text in answers.ANSWERS.items():
        solution = EXERCISES[number].solution
        for name, lines in read(inspect.cleandoc(text))[1].items():
            if name.startswith("✗") != right:
                code = f"def answer{inspect.signature(solution)}:\n    " + "\n    ".join(lines)
                exec(code, solution.__globals__ | vars(answers), made := {})
                yield pytest.param(EXERCISES[number], made["answer"], id=f"{number}-{EXERCISES[number].name}-{name}")


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
    [pytest.param(e, said, id=f"{n}-{e.name}-{i}") for n, e in EXERCISES.items() for i, said in enumerate(e.slips)],
)
def test_a_slip_is_called_by_its_name(exercise, said, capsys):
    assert exercise(exercise.mistakes[said]) is False
    assert capsys.readouterr().out.splitlines()[0] == f"✗ {said}"


@every_exercise
def test_the_solutions_notebook_holds_the_solution(exercise):
    lesson = exercise.solution.__module__.split("lesson_")[1].split("_")[0]  # "05b" is the optional half of "05"
    (file,) = (ROOT / "notebooks/solutions").glob(f"{lesson}_*.ipynb")
    notebook = nbformat.read(file, as_version=4)
    source = textwrap.dedent(inspect.getsource(exercise.solution))
    statements = ast.parse(source).body[0].body
    first = statements[ast.get_docstring(ast.parse(source).body[0]) is not None]
    body = "\n".join(source.splitlines()[first.lineno - 1 :])
    assert any(body in cell.source for cell in notebook.cells if cell.cell_type == "code"), body


@pytest.mark.parametrize(("exercise", "answer"), list(answered(right=True)))
def test_right_answers_in_another_style_pass(exercise, answer, default_dtype, capsys):
    assert exercise(answer) is True, capsys.readouterr().out


@pytest.mark.parametrize(("exercise", "answer"), list(answered(right=False)))
def test_a_wrong_answer_that_no_slip_fits_fails_without_a_guess(exercise, answer, capsys):
    assert exercise(answer) is False
    assert capsys.readouterr().out.splitlines()[0].removeprefix("✗ ") not in exercise.mistakes
