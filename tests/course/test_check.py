"""What a checker says, tried on an exercise as small as can be."""

import random
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from apt_minimal import course
from apt_minimal.course import state
from apt_minimal.course.check import Exercise, draws
from apt_minimal.course.judge import difference


def weighted_mean(x, w):
    total = w.sum()
    return (w * x).sum() / total


def trials():
    draw = draws(0)
    yield "seven numbers", (draw(7), torch.arange(7.0))
    yield "whole numbers", (torch.tensor([2.0, 4.0]), torch.tensor([1.0, 3.0]))
    yield "one number", (torch.tensor([5.0]), torch.tensor([1.0]))


@pytest.fixture
def check():
    slips = {"divide by the weights' sum": "total = len(w)", "weigh the numbers": "return x.sum() / total"}
    return Exercise(weighted_mean, trials, slips, hints=("What do the weights sum to?", "Divide.", "/ w.sum()"))


@pytest.fixture
def said(check, capsys):
    """The lines about an answer."""

    def lines(answer):
        check(answer)
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_right_answer_gets_one_line_that_says_what_it_survived(said):
    line = "✓ right: 3 trials (seven numbers, whole numbers, one number)"
    assert said(lambda x, w: x @ w / w.sum()) == [line]


def test_a_slip_is_named_and_the_smallest_failing_call_shown(check, said):
    lines = said(lambda x, w: (x * w).sum() / x.numel())
    assert lines[0] == "✗ divide by the weights' sum"
    assert lines[1] == "  1 of 3 trials pass; the smallest that fails tests: whole numbers"
    assert lines[2:4] == ["    x = [2.0, 4.0]", "    w = [1.0, 3.0]"]
    assert lines[4:6] == ["    expected: 3.5", "    yours:    7.0"]
    assert check.last.yours == 7 and check.last.expected == 3.5 and check.last.inputs[1].tolist() == [1, 3]


def test_two_slips_at_once_are_both_named(said):
    assert said(lambda x, w: x.mean())[0] == "✗ divide by the weights' sum; weigh the numbers"


def test_an_answer_that_fits_no_slip_in_every_trial_is_not_guessed_at(said):
    """It divides by the number of weights, but not where there is one of 0: no slip does that."""
    lines = said(lambda x, w: (x * w).sum() / (w.sum() if len(w) > 2 else len(w)))
    assert lines[0] == "✗ 7 is returned, 3.5 is expected"


def test_an_exception_comes_with_the_readers_line(said):
    def answer(x, w):
        w = w / w.sum()
        return helper(x) @ w

    def helper(x):
        return x[1:]

    lines = said(answer)
    assert lines[0].startswith("✗ RuntimeError: inconsistent tensor size")
    assert lines[1] == "  raised in line 3 of answer: return helper(x) @ w"
    assert "    x = [5.0]" in lines


def test_a_wrong_number_of_arguments_is_said_without_a_line(said):
    lines = said(lambda x: x)
    assert "takes 1 positional argument but 2 were given" in lines[0] and "0 of 3 trials" in lines[1]


def test_nothing_written_is_told_from_half_of_it(check, said):
    def nothing(x, w):
        raise NotImplementedError

    def half(x, w):
        if len(x) == 1:
            raise NotImplementedError
        return x @ w / w.sum()

    assert said(nothing) == ["… not solved yet"]
    assert said(half) == ["… 2 of 3 trials pass; not yet: one number"]
    assert check.wrong_tries == 0


def test_the_function_is_wanted_and_not_its_result(said):
    assert said(5) == ["✗ give the function itself, not what it returns: check(your_function)"]


def test_the_first_call_alone_may_print(check, capsys):
    check(lambda x, w: print("here", len(x)) or x @ w / w.sum())
    assert capsys.readouterr().out.splitlines()[0::2] == ["here 7"]


def test_the_readers_random_numbers_go_on_as_before(check):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    check(lambda x, w: random.random() + np.random.rand() + torch.rand(()))
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_default_dtype_will_do_and_stays(check, dtype):
    torch.set_default_dtype(dtype)
    try:
        assert check(lambda x, w: x @ (torch.ones(len(x)) * w) / w.sum())
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


def test_arguments_may_be_changed(check):
    assert check(lambda x, w: x.mul_(w).sum() / w.sum())


def test_hints_come_one_after_another_wrong_try(check, said, capsys):
    check.hint()
    check.hint()
    first = ["Hint 1 of 3: What do the weights sum to?", "The next one comes after another wrong try."]
    assert capsys.readouterr().out.splitlines() == 2 * first
    assert said(lambda x, w: x.sum())[-1] == "  Stuck? check.hint() says more."
    check.hint()
    assert capsys.readouterr().out.splitlines()[0] == "Hint 2 of 3: Divide."
    check(lambda x, w: x.sum())
    check.hint()
    assert capsys.readouterr().out.splitlines()[-1] == "Hint 3 of 3: / w.sum()"
    assert "hint" not in said(lambda x, w: x.sum())[-1]


def test_a_verdict_in_words_is_said_as_it_is(capsys):
    def even():
        return 2

    check = Exercise(even, lambda: [("parity", ())], {}, look=lambda found: "" if found % 2 == 0 else "it is odd")
    assert check(lambda: 4)
    assert not check(lambda: 3)
    assert capsys.readouterr().out.splitlines()[1] == "✗ it is odd"
    assert not check(lambda: "four")  # nothing that could be looked at


def test_a_slip_that_fits_no_line_is_an_error(check):
    check.slips = {"nowhere": "mean = 3"}
    with pytest.raises(ValueError, match="0 lines of weighted_mean begin like the slip 'mean = 3'"):
        check(lambda x, w: 0)


def test_a_heat_map_is_drawn_for_each_matrix(capsys):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")

    def twice(x):
        return 2 * x

    check = Exercise(twice, lambda: [("a batch", (draws(0)(3, 4, 5),))], {})
    check.show()
    assert "no wrong try" in capsys.readouterr().out
    check(lambda x: x.abs())
    check.show()
    assert len(plt.gcf().axes) == 3 and plt.gcf().axes[0].images[0].get_array().shape == (4, 5)
    plt.close()


# How results are compared


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.tensor(2.0), 2.0),
        (2.0, torch.tensor(2.0)),
        (np.float64(0.5), 0.5),
        (3, 3.0),
        ([1, 2], (1, 2)),
        (np.arange(2), [0, 1]),
        (frozenset("a"), {"a"}),
        (torch.tensor(True), True),
        (torch.tensor([1 / 3, 100.1]).bfloat16(), torch.tensor([1 / 3, 100.1])),
        (torch.tensor([1 / 3]).half(), torch.tensor([1 / 3])),
        (torch.tensor([1 / 3]).double(), torch.tensor([1 / 3])),
        (float("nan"), float("nan")),
    ],
)
def test_these_are_the_same(given, expected):
    assert difference(given, expected) == ""


@pytest.mark.parametrize(
    ("given", "expected", "fault"),
    [
        (ANY, 2.0, "a number is expected, not a _ANY"),
        (ANY, torch.ones(2), "a tensor is expected, not a _ANY"),
        ([1, 2], {1, 2}, "a set is expected, not a list or tuple"),
        ({}, set(), "a set is expected, not a dictionary"),
        (1, True, "True or False is expected, not a number"),
        ([1.0], torch.ones(1), "a tensor is expected, not a list or tuple"),
        (torch.ones(2, 3), (torch.ones(3), torch.ones(3)), "2 values are expected, not a tensor"),
        ((torch.ones(1), None), (torch.ones(1), torch.ones(1)), "value 2: a tensor is expected, not None"),
        (None, torch.ones(1), "your function returns None: is there a return?"),
        (torch.ones(2), torch.ones(3), "the shape is [2], expected [3]"),
        (torch.ones(2).long(), torch.ones(2), "the dtype is torch.int64, expected torch.float32"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), "there are NaNs in it"),
        (
            torch.tensor([1.0, 2.0]),
            torch.ones(2),
            "1 of 2 values differ, the first at [1]: 2 is returned, 1 is expected",
        ),
        (
            torch.tensor([1.01]).bfloat16(),
            torch.ones(1),
            "1 of 1 values differ, the first at [0]: 1.008 is returned, 1 is expected",
        ),
        ("b", "a", "'b' is returned, 'a' is expected"),
    ],
)
def test_these_differ(given, expected, fault):
    assert difference(given, expected) == fault


# What is solved


def test_progress_is_kept_from_one_session_to_the_next(solved_file, monkeypatch, capsys):
    state.solved("1.2")
    monkeypatch.setattr(state, "_solved", set())  # a new session
    state.solved("12.1")
    course.progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Lesson 01  ○ 1.1  ✓ 1.2  ○ 1.3  ○ 1.4"
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
