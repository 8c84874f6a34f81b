"""How an answer is judged: it is tried on inputs, and where it fails it is compared with the usual mistakes."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import combinations

import torch
from torch import Tensor

Trials = Sequence[tuple[str, tuple]]


def check(answer: Callable, right: Callable, trials: Trials, mistakes: Mapping[str, Callable] | None = None) -> bool:
    """Try an answer, print one line about it, and return whether it is right.

    Args:
        answer: the reader's function.
        right: a function that is right.
        trials: a hint and the arguments, for each trial. Together they must tell every mistake from the right function;
            the hint of the first trial that fails is said where no mistake is recognised.
        mistakes: what to say → a function that makes that mistake. An answer that fails, and agrees with one of these
            on every trial, has made it; the first such mistake is named.
    """
    given = [_try(answer, inputs) for _, inputs in trials]
    if any(isinstance(value, NotImplementedError) for value in given):
        print("… not solved yet")
        return False
    faults = [difference(value, right(*deepcopy(inputs))) for value, (_, inputs) in zip(given, trials, strict=True)]
    if not any(faults):
        return say(True, "right")
    for message, mistake in (mistakes or {}).items():
        if all(_alike(value, _try(mistake, inputs)) for value, (_, inputs) in zip(given, trials, strict=True)):
            return say(False, message)
    first = next(i for i, fault in enumerate(faults) if fault)
    return say(False, f"{trials[first][0]} ({faults[first]})")


def combine(make: Callable, *factors: Mapping[str, object], at_most: int = 2) -> dict[str, Callable]:
    """Mistakes for `check`: each slip alone, then up to `at_most` together (one a factor), what to say joined by "; ".

    A factor is one thing that can go wrong: what to say → a choice, with "" for the right one. `make` takes a choice of
    each factor, in their order, and gives the function that makes these choices.
    """
    right = {i: factor[""] for i, factor in enumerate(factors)}
    slips = [(i, said) for i, factor in enumerate(factors) for said in factor if said]
    mistakes = {}
    for count in range(1, at_most + 1):
        for slip in combinations(slips, count):
            chosen = right | {i: factors[i][said] for i, said in slip}
            if len({i for i, _ in slip}) == count:  # one slip a factor
                mistakes["; ".join(said for _, said in slip)] = make(*chosen.values())
    return mistakes


def difference(given, expected) -> str:
    """How a given value differs from the expected one, in words; empty if it doesn't.

    Tensors may differ by rounding (1e-5) and in their precision, but not between integers, booleans and floats.
    """
    if isinstance(given, Exception):
        return f"{type(given).__name__}: {given}".splitlines()[0]
    if given is None or expected is None:
        return "" if given is expected else "your function returns None: is there a return?"
    if isinstance(expected, Tensor):
        return _tensor_difference(given, expected)
    if hasattr(given, "tolist"):  # tensors and numpy's
        given = given.tolist()
    if isinstance(expected, list | tuple):
        if not isinstance(given, list | tuple):
            return f"{len(expected)} values are expected, not one {type(given).__name__}"
        if len(given) != len(expected):
            return f"{len(expected)} values are expected, not {len(given)}"
        pairs = zip(given, expected, strict=True)
        faults = ["it is None" if one is None is not other else difference(one, other) for one, other in pairs]
        return next((f"value {i}: {fault}" for i, fault in enumerate(faults, start=1) if fault), "")
    if isinstance(expected, float) and isinstance(given, int | float):
        return "" if abs(given - expected) <= 1e-5 * max(1.0, abs(expected)) else f"got {given}, expected {expected}"
    return "" if given == expected else f"got {given}, expected {expected}"


def say(right: bool, message: str) -> bool:
    """Print the verdict in one line, and return it."""
    print(("✓ " if right else "✗ ") + message)
    return right


def _tensor_difference(given, expected: Tensor) -> str:
    if not isinstance(given, Tensor):
        return f"a tensor is expected, not {type(given).__name__}"
    if given.shape != expected.shape:
        return f"the shape is {list(given.shape)}, expected {list(expected.shape)}"
    if _sort(given) != _sort(expected):
        return f"the dtype is {given.dtype}, expected {expected.dtype}"
    given, expected = given.detach().double(), expected.detach().double()
    if given.isnan().any() and not expected.isnan().any():
        return "there are NaNs in it"
    return "" if torch.allclose(given, expected, rtol=1e-4, atol=1e-5, equal_nan=True) else "the values differ"


def _sort(tensor: Tensor) -> str:
    return "float" if tensor.is_floating_point() else "bool" if tensor.dtype == torch.bool else "integer"


def _try(function: Callable, inputs: tuple):
    """What the function returns, or the exception it raises. It gets a copy: it may change its inputs."""
    try:
        return function(*deepcopy(inputs))
    except Exception as error:
        return error


def _alike(one, other) -> bool:
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other)
    return not difference(one, other)
