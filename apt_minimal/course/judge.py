"""How two results differ, in words.

Numbers are compared by value: an int, a float, numpy's and a tensor without axes are all numbers. Lists and tuples are
the same, but a set is a set, a text is a text, and a tensor with axes is a tensor, of floats, integers or booleans.
"""

from numbers import Number

import torch
from torch import Tensor


def difference(given, expected) -> str:
    """How a given value differs from the expected one, in words; empty if it doesn't.

    Floats may differ by rounding: 1e-4 of their size and 1e-5, or what their own precision allows.
    """
    given, expected = _plain(given), _plain(expected)
    if isinstance(given, Exception):
        return f"{type(given).__name__}: {given}".splitlines()[0]
    if expected == "" and isinstance(given, str):  # a verdict in words
        return given
    if given is None and expected is not None:
        return "your function returns None: is there a return?"
    if (kind := _kind(given)) != _kind(expected):
        number = f"{len(expected)} values are expected" if _kind(expected) == "list" else ""
        return f"{number or _kind(expected) + ' is expected'}, not {'one' if number else ''} {kind}".replace("  ", " ")
    if isinstance(expected, Tensor):
        return _tensor_difference(given, expected)
    if isinstance(expected, list | tuple):
        if len(given) != len(expected):
            return f"{len(expected)} values are expected, not {len(given)}"
        faults = [difference(*pair) for pair in zip(given, expected, strict=True)]
        return next((f"value {i}: {fault}" for i, fault in enumerate(faults, start=1) if fault), "")
    if isinstance(expected, float):
        same = abs(given - expected) <= 1e-5 * max(1.0, abs(expected)) or given != given and expected != expected
        return "" if same or given == expected else f"got {given}, expected {expected}"
    return "" if given == expected else f"got {given}, expected {expected}"


def alike(one, other) -> bool:
    """Whether two results are the same; two exceptions are if they are of one type."""
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other)
    return not difference(one, other)


def _plain(value):
    """numpy's arrays as lists, and a tensor without axes as the number that it holds."""
    if isinstance(value, Tensor):
        return value.item() if value.dim() == 0 and not value.is_meta else value
    return value.tolist() if hasattr(value, "tolist") else value


def _kind(value) -> str:
    for kind, name in (
        (bool, "True or False"),
        (Number, "a number"),
        (str, "a text"),
        (Tensor, "a tensor"),
        (list | tuple, "list"),
        (set | frozenset, "a set"),
        (dict, "a dictionary"),
    ):
        if isinstance(value, kind):
            return name
    return type(value).__name__


def _tensor_difference(given: Tensor, expected: Tensor) -> str:
    if given.shape != expected.shape:
        return f"the shape is {list(given.shape)}, expected {list(expected.shape)}"
    if _sort(given) != _sort(expected):
        return f"the dtype is {given.dtype}, expected {expected.dtype}"
    rtol = max(1e-4, torch.finfo(given.dtype).eps) if given.is_floating_point() else 0.0
    given, expected = given.detach().double(), expected.detach().double()
    if given.isnan().any() and not expected.isnan().any():
        return "there are NaNs in it"
    return "" if torch.allclose(given, expected, rtol=rtol, atol=1e-5, equal_nan=True) else "the values differ"


def _sort(tensor: Tensor) -> str:
    return "float" if tensor.is_floating_point() else "bool" if tensor.dtype == torch.bool else "integer"
