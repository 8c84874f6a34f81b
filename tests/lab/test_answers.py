"""Answers to the exercises of some lessons: no wrong one passes, no right one fails.

They were first written from the exercises' text alone, by people who had not read the checkers. Afterwards the lists
were thinned out, answers that the text left open were dropped or moved, and some that had got through were added, with
variants: the checkers have been mended until all of these are judged rightly, so they are no estimate of how many
unknown answers would be.
"""

from importlib import import_module
from pathlib import Path

import pytest

# Each module lists (checker, right answers by name, wrong answers by name: what is wrong, and the answer).
FILES = sorted(Path(__file__).parent.glob("answers_*.py"))
CHECKS = [one for file in FILES for one in import_module(file.stem).CHECKS]


@pytest.mark.parametrize(
    ("check", "answer"),
    [pytest.param(c, f, id=f"{c.__name__}-{name}") for c, right, _ in CHECKS for name, f in right.items()],
)
def test_right_answers_pass(check, answer):
    assert check(answer) is True


@pytest.mark.parametrize(
    ("check", "mistake", "answer"),
    [pytest.param(c, *x, id=f"{c.__name__}-{name}") for c, _, wrong in CHECKS for name, x in wrong.items()],
)
def test_wrong_answers_fail(check, mistake, answer):
    assert check(answer) is False, mistake
