"""How two results differ, in words.

Numbers are compared by value: an int, a float, numpy's and a tensor without axes are all numbers. Lists and tuples are
the same thing; apart from that a set is a set, a text is a text, and a tensor with axes is a tensor, of floats,
integers or booleans. Nothing else passes for a value by claiming to be equal to it.
"""

from collections.abc import Callable
from numbers import Number
from typing import Any

import torch
from torch import Tensor

_KINDS = {
    bool: "True or False",
    Number: "a number",
    str: "a text",
    Tensor: "a tensor",
    (list, tuple): "a list or tuple",
    (set, frozenset): "a set",
    dict: "a dictionary",
    type(None): "None",
}


def difference(given, expected) -> str:
    """How a given value differs from the expected one, in words; empty if it doesn't.

    Floats may differ by rounding: by 1e-5, and 1e-4 of their size or as much as their own precision does.
    """
    if isinstance(given, Exception):
        return f"{type(given).__name__}: {given}".splitlines()[0]
    if isinstance(given, str) and isinstance(expected, str) and not expected:  # a verdict in words
        return given
    if given is None and expected is not None:
        return "your function returns None: is there a return?"
    return _fault(given, expected)


def _fault(given: Any, expected: Any) -> str:
    given, expected = _plain(given), _plain(expected)
    if isinstance(expected, list | tuple) and type(given).__name__ == "ndarray":
        given = given.tolist()
    if (kind := _kind(given)) != _kind(expected):
        several = isinstance(expected, list | tuple)
        return f"{f'{len(expected)} values are' if several else f'{_kind(expected)} is'} expected, not {kind}"
    if isinstance(expected, Tensor):
        return _tensor_fault(given, expected)
    if isinstance(expected, list | tuple):
        return _list_fault(given, expected)
    if given == expected or (isinstance(expected, float) and _close(given, expected)):
        return ""
    return f"{_short(given)} is returned, {_short(expected)} is expected"


def alike(one, other) -> bool:
    """Whether two results are the same; two exceptions are if they are of one type."""
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other)
    return not difference(one, other)


def _spoilt(change: Callable, axes: int = 0) -> Callable:
    """A function that changes every number in a result, in tensors of so many axes at least."""

    def spoilt(value):
        if isinstance(value, list | tuple):
            return [spoilt(one) for one in value]
        if isinstance(value, Tensor) or (isinstance(value, int | float) and not isinstance(value, bool)):
            number = torch.as_tensor(value)
            return change(number) if number.dim() >= axes else value
        return value

    return spoilt


# Slips that may be made in any exercise: what to say, and what the slip makes of the right result.
ANYWHERE = [
    ("the result is a share from 0 to 1, not per cent", _spoilt(lambda x: 100 * x)),
    *(
        ("don't round", _spoilt(lambda x, k=k: x.double().round(decimals=k) if x.is_floating_point() else x))
        for k in range(4)
    ),
    ("every number is twice the right one", _spoilt(lambda x: 2 * x)),
    ("every number is half of the right one", _spoilt(lambda x: x / 2)),
    ("every number is one more than the right one", _spoilt(lambda x: x + 1)),
    ("every number is one less than the right one", _spoilt(lambda x: x - 1)),
    ("every number is 1 minus the right one", _spoilt(lambda x: 1 - x)),
    ("every number has the wrong sign", _spoilt(lambda x: -x)),
    ("every number is the square of the right one: a root is missing", _spoilt(lambda x: x**2)),
    ("axes of size 1 are lost: where is a squeeze?", _spoilt(lambda x: x.squeeze(), axes=1)),
    ("the first two axes have changed places", _spoilt(lambda x: x.transpose(0, 1), axes=2)),
    ("the last two axes have changed places", _spoilt(lambda x: x.mT, axes=2)),
    ("the results stand in the wrong order", lambda value: value[::-1] if isinstance(value, list | tuple) else value),
]


def _plain(value: Any) -> Any:
    """A tensor without axes, or such a number of numpy's, as Python's."""
    if isinstance(value, Tensor):
        return value.item() if value.dim() == 0 else value
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _kind(value) -> str:
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def _close(given, expected: float) -> bool:
    if abs(expected) == float("inf"):
        return given == expected
    return abs(given - expected) <= 1e-5 * max(1.0, abs(expected)) or (given != given and expected != expected)


def _short(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _list_fault(given, expected) -> str:
    if len(given) != len(expected):
        return f"{len(expected)} values are expected, not {len(given)}"
    faults = [_fault(*pair) for pair in zip(given, expected, strict=True)]
    return next((f"value {i}: {fault}" for i, fault in enumerate(faults, start=1) if fault), "")


def _tensor_fault(given: Tensor, expected: Tensor) -> str:
    if given.shape != expected.shape:
        return f"the shape is {list(given.shape)}, expected {list(expected.shape)}"
    if _sort(given) != _sort(expected):
        return f"the dtype is {given.dtype}, expected {expected.dtype}"
    rtol = max(1e-4, 0.6 * torch.finfo(given.dtype).eps) if given.is_floating_point() else 0.0
    given, expected = given.detach().double(), expected.detach().double()
    if given.isnan().any() and not expected.isnan().any():
        return "there are NaNs in it"
    wrong = ~torch.isclose(given, expected, rtol=rtol, atol=1e-5, equal_nan=True)
    if not wrong.any():
        return ""
    place = tuple(wrong.nonzero()[0].tolist())
    return (
        f"{int(wrong.sum())} of {wrong.numel()} values differ, the first at {list(place)}: "
        f"{given[place]:.4g} is returned, {expected[place]:.4g} is expected"
    )


def _sort(tensor: Tensor) -> str:
    return "float" if tensor.is_floating_point() else "bool" if tensor.dtype == torch.bool else "integer"
