"""How results are compared."""

from unittest.mock import ANY

import numpy as np
import pytest
import torch

from apt_minimal.course.judge import difference


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
