"""What is printed about an answer, and drawn."""

import linecache
import textwrap
import traceback
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor

FEW = 24  # so many numbers are printed
_OURS = str(Path(__file__).parent), str(Path(torch.__file__).parent)


def right(tested: list[str]) -> None:
    """One line: how many trials, and what they tested."""
    what = textwrap.shorten("; ".join(dict.fromkeys(tested)), 200, placeholder=" …")
    print(f"✓ right: {len(tested)} trial{'s' * (len(tested) > 1)} ({what})")


def unsolved(tested: list[str], open_: list[bool]) -> None:
    """Nothing written yet, or a part of it only."""
    if all(open_):
        print("… not solved yet")
    else:
        print(f"… {open_.count(False)} of {len(open_)} trials pass; not yet: {tested[open_.index(True)]}")


def raised(given) -> str:
    """Of an exception: the reader's line that raised it."""
    if not isinstance(given, Exception):
        return ""
    frames = [f for f in traceback.walk_tb(given.__traceback__) if not f[0].f_code.co_filename.startswith(_OURS)]
    if not frames:  # the call itself failed
        return ""
    frame, line = [f for f in frames if f[0].f_code.co_filename == frames[0][0].f_code.co_filename][-1]
    code, number = frame.f_code, line - frame.f_code.co_firstlineno + 1
    return f"\n  raised in line {number} of {code.co_name}: {linecache.getline(code.co_filename, line).strip()}"


def wrong(exercise, said: str, tests: str, passed: int, trials: int) -> None:
    """What is wrong, the smallest call that fails, and where to get a hint."""
    last, name = exercise.last, exercise.name
    print(f"✗ {said}")
    if trials > 1:
        print(f"  {passed} of {trials} trials pass; the smallest that fails tests: {tests}")
    for argument, value in zip(signature(exercise.solution).parameters, last.inputs, strict=False):
        print(f"    {argument} = {shown(value)}")
    if size(last.expected) > FEW:
        print(f"    ({name}.last holds the inputs, yours and expected; {name}.show() draws how they differ)")
    elif last.expected != "":  # which is no value, but a verdict
        print(f"    expected: {shown(last.expected)}")
        if not isinstance(last.yours, Exception):  # it has been named
            print(f"    yours:    {shown(last.yours)}")
    if exercise.hints_seen < min(len(exercise.hints), exercise.wrong_tries + 1):
        print(f"  Stuck? {name}.hint() says more.")


def hint(hints: tuple[str, ...], seen: int, allowed: int) -> None:
    """The hint that was last seen, and whether there are more."""
    if not hints:
        print("There are no hints to this exercise.")
        return
    print(f"Hint {seen} of {len(hints)}: {hints[seen - 1]}")
    if seen == allowed < len(hints):
        print("The next one comes after another wrong try.")


def size(value) -> int:
    """How many numbers there are in it."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(size, value)) if isinstance(value, list | tuple | set | frozenset) else 1


def shown(value) -> str:
    """A value in one line: small tensors with their numbers, others with their shape."""
    if isinstance(value, Tensor):
        kind = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        return str(_rounded(value.tolist())) if value.numel() <= FEW else f"a tensor, {kind}"
    if isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value):
        return "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, dict) and size(value) > FEW:
        return f"a dictionary of {len(value)}, such as {next(iter(value))!r}"
    if callable(value):
        return f"a function, {getattr(value, '__name__', type(value).__name__)}"
    return textwrap.shorten(repr(_rounded(value)), 200, placeholder=" …")


def _rounded(value):
    if isinstance(value, list | tuple):
        return type(value)(map(_rounded, value))
    return float(f"{value:.4g}") if isinstance(value, float) else value


def heat_maps(last) -> None:
    """|yours − expected|, a panel for each matrix in it; up to eight of them."""
    if last is None:
        print("There is no wrong try yet.")
        return
    import matplotlib.pyplot as plt

    pairs = zip(*(x if isinstance(x, list | tuple) else [x] for x in (last.yours, last.expected)), strict=False)
    gaps = [
        (yours.detach().double() - expected.double()).abs()
        for yours, expected in pairs
        if isinstance(yours, Tensor) and isinstance(expected, Tensor) and yours.shape == expected.shape
    ]
    panels = [matrix for gap in gaps for matrix in torch.atleast_2d(gap).flatten(0, -3)][:8]
    if not panels:
        print("There are no tensors of one shape to compare.")
        return
    _, axes = plt.subplots(1, len(panels), figsize=(2.4 * len(panels), 2.4), squeeze=False)
    largest = max(float(panel.nan_to_num().max()) for panel in panels)
    for i, (axis, panel) in enumerate(zip(axes[0], panels, strict=True)):
        axis.imshow(panel.numpy(), vmin=0, vmax=largest)
        axis.set_title(f"|yours − expected| {i + 1}", fontsize="small")
    plt.show()
