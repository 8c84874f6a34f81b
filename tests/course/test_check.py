"""What a checker says, tried on an exercise as small as can be."""

import random

import numpy as np
import pytest
import torch

from apt_minimal.course.check import exercise


def weighted_mean(x, w):
    total = w.sum()
    return (w * x).sum() / total


def weighted(draw):
    """
    ? What do the weights sum to?
    ? Divide.
    ? / w.sum()
    divide by the weights' sum → total = len(w)
    weigh the numbers →
        return x.sum() / total
    """
    yield "seven numbers", draw(7), torch.arange(7.0)
    yield "whole numbers", torch.tensor([2.0, 4.0]), torch.tensor([1.0, 3.0])
    yield "one number", torch.tensor([5.0]), torch.tensor([1.0])


@pytest.fixture
def check():
    return exercise(weighted_mean)(weighted)


@pytest.fixture
def said(check, capsys):
    """The lines about an answer."""

    def lines(answer):
        check(answer)
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_right_answer_gets_one_line_that_says_what_it_survived(said):
    line = "✓ right: 3 trials (seven numbers; whole numbers; one number)"
    assert said(lambda x, w: x @ w / w.sum()) == [line]


def test_a_slip_is_named_and_the_smallest_failing_call_shown(check, said):
    lines = said(lambda x, w: (x * w).sum() / x.numel())
    assert lines[0] == "✗ divide by the weights' sum"
    assert lines[1] == "  1 of 3 trials pass; the smallest that fails tests: whole numbers"
    assert lines[2:6] == ["    x = [2.0, 4.0]", "    w = [1.0, 3.0]", "    expected: 3.5", "    yours:    7.0"]
    assert check.last.yours == 7 and check.last.expected == 3.5 and check.last.inputs[1].tolist() == [1, 3]


def test_two_slips_at_once_are_both_named(said):
    assert said(lambda x, w: x.mean())[0] == "✗ divide by the weights' sum; weigh the numbers"


@pytest.mark.parametrize(
    ("spoilt", "line"),
    [
        (lambda y: 100 * y, "the result is a share from 0 to 1, not per cent"),
        (lambda y: y.round(decimals=1), "don't round"),
        (lambda y: 1 - y, "every number is 1 minus the right one"),
        (lambda y: y.squeeze(), "axes of size 1 are lost: where is a squeeze?"),
        (lambda y: y.transpose(0, 1), "the first two axes have changed places"),
        (lambda y: y.mT, "the last two axes have changed places"),
    ],
)
def test_slips_of_any_exercise_are_named_without_being_listed(spoilt, line, capsys):
    def sigmoid(x):
        return x.sigmoid()

    check = exercise(sigmoid)(lambda draw: [("four by four", draw(4, 4)), ("all", draw(2, 1, 3)), ("one", draw(1, 4))])
    check(lambda x: spoilt(sigmoid(x)))
    assert capsys.readouterr().out.splitlines()[0] == f"✗ {line}"


def test_floats_in_place_of_integers_are_not_taken_for_rounded(capsys):
    check = exercise(lambda x: x.long())(lambda draw: [("one", draw(3))])
    check(lambda x: x.trunc())
    assert capsys.readouterr().out.splitlines()[0] == "✗ the dtype is torch.float32, expected torch.int64"


def test_an_answer_that_fits_no_slip_in_every_trial_is_not_guessed_at(said):
    """It divides by the number of weights, but not where there is one of 0: no slip does that."""
    lines = said(lambda x, w: (x * w).sum() / (w.sum() if len(w) > 2 else len(w)))
    assert lines[0] == "✗ 7 is returned, 3.5 is expected"


def test_two_slips_of_which_one_makes_up_for_the_other_are_not_named(said, check):
    check.slips = {"one": ["total = 2 * w.sum()"], "other": ["return (w * x).sum() / total * (2 if len(w) < 7 else 1)"]}
    assert said(lambda x, w: x @ w / w.sum() * (0.5 if len(w) == 7 else 1))[0].startswith("✗ -0.")


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

    @exercise(even, look=lambda found: "" if found % 2 == 0 else "it is odd")
    def check(draw):
        yield ("parity",)

    assert check(lambda: 4)
    assert not check(lambda: 3)
    assert capsys.readouterr().out.splitlines()[1] == "✗ it is odd"
    assert not check(lambda: "four")  # nothing that could be looked at


def test_a_slip_that_fits_no_line_is_an_error(check):
    check.slips = {"nowhere": ["mean = 3"]}
    with pytest.raises(ValueError, match="0 lines of weighted_mean begin like 'mean = 3'"):
        check(lambda x, w: 0)


def test_a_heat_map_is_drawn_for_each_matrix(capsys):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")

    def twice(x):
        return 2 * x

    check = exercise(twice)(lambda draw: [("a batch", draw(3, 4, 5))])
    check.show()
    assert "no wrong try" in capsys.readouterr().out
    check(lambda x: x.abs())
    check.show()
    assert len(plt.gcf().axes) == 3 and plt.gcf().axes[0].images[0].get_array().shape == (4, 5)
    plt.close()
