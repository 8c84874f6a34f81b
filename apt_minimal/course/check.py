"""An exercise: a solution, and a checker that knows hints, the usual slips, and what to try an answer on.

The checker is written as a function that yields trials, with `@exercise(solution)` above it. Its docstring holds hints
and slips, what to say → the wrong line as a reader would write it:

    ? What is twice a number?
    the number is squared, not doubled → return x * x
    what to say about a longer slip →
        keys = torch.cat([key, p_k], dim=2); values = torch.cat([value, p_v], dim=2)

A slip replaces the line of the solution that begins alike, here "return …", or several of them. Two slips in different
lines make a third mistake.
"""

import io
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getdoc, getsource
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import torch

from apt_minimal.course import EXERCISES, report, state
from apt_minimal.course.judge import ANYWHERE, alike, difference


@dataclass(eq=False, repr=False)
class Exercise:
    """Call it with an answer: it says what it found, and returns whether the answer is right.

    Attributes:
        trials: yields what a trial tests, in a few words ("one head", "padding on the left"), and then the arguments.
            It is given `draw`: draw(2, 3) is a tensor of normal numbers, the same at every call of the checker. The
            first trial can be checked by hand. Its docstring holds up to three hints, each saying more (a question, a
            plan, the line), and the slips.
        solution: a function that is right, one statement a line.
        look: makes of what an answer returned (and of its arguments) what is compared. It may return a text about
            what is wrong, and "" where nothing is: that text is said as it is, and no value is shown.
        call: gives an answer the arguments, where a trial consists of several calls.
        pairs: whether two slips at once are recognised: not where results say so little that other mistakes agree.
        last: inputs, yours and expected of the call that was last reported.
    """

    trials: Callable[[Callable[..., torch.Tensor]], Iterable[tuple]]
    solution: Callable
    look: Callable = lambda found, *given: found
    call: Callable = lambda function, *given: function(*given)
    pairs: bool = True
    last: SimpleNamespace | None = field(default=None, init=False)
    wrong_tries: int = field(default=0, init=False)
    hints_seen: int = field(default=0, init=False)

    def __post_init__(self):
        self.hints, self.slips = read(getdoc(self.trials) or "")

    def __call__(self, answer: Callable) -> bool:
        if not callable(answer):
            print(f"✗ give the function itself, not what it returns: {self.name}(your_function)")
            return False
        with _left_alone():
            trials = [(tests, inputs) for tests, *inputs in self.trials(draws(0))]
            given = [self._try(answer, inputs, aloud=i == 0) for i, (_, inputs) in enumerate(trials)]
            right = [self._try(self.solution, inputs) for _, inputs in trials]
            faults = [difference(*pair) for pair in zip(given, right, strict=True)]
            if not any(faults):
                return self._solved(trials)
            unsolved = [isinstance(value, NotImplementedError) for value in given]
            failed = [i for i, fault in enumerate(faults) if fault and not unsolved[i]]
            if not failed:
                report.unsolved([tests for tests, _ in trials], unsolved)
                return False
            said = self._recognised(given[::-1], right[::-1], trials[::-1])  # what tells most stands last
        self.wrong_tries += 1
        smallest = min(failed, key=lambda i: report.size(trials[i][1]))
        tests, inputs = trials[smallest]
        self.last = SimpleNamespace(inputs=inputs, yours=given[smallest], expected=right[smallest])
        said = (said or faults[smallest]) + report.raised(given[smallest])
        report.wrong(self, said, tests, faults.count(""), len(trials))
        return False

    def _solved(self, trials) -> bool:
        state.solved(self.number)
        report.right([tests for tests, _ in trials])
        return True

    def hint(self) -> None:
        """Print the next hint: the first at once, each other one after another wrong try."""
        allowed = min(len(self.hints), self.wrong_tries + 1)
        self.hints_seen = min(self.hints_seen + 1, allowed)
        report.hint(self.hints, self.hints_seen, allowed)

    def show(self) -> None:
        """Draw |yours − expected| of the last wrong try: a heat map for each of its matrices."""
        report.heat_maps(self.last)

    @property
    def name(self) -> str:
        """Such as "check_attention": its name in its lesson."""
        here = vars(sys.modules[self.solution.__module__])
        return next((name for name, value in here.items() if value is self), "check")

    @property
    def number(self) -> str:
        """Such as "1.1"; empty if it is not one of the course's exercises."""
        return next((number for number, name in EXERCISES.items() if name == self.name), "")

    @cached_property
    def mistakes(self) -> dict[str, Callable]:
        """What to say → a function that makes this slip."""
        return {said: made for said, lines in self.slips.items() if (made := self.with_lines(*lines))}

    def with_lines(self, *others: str) -> Callable | None:
        """The solution with other lines in place of those that begin alike; None where two want the same place.

        Raises:
            ValueError: no line of the solution begins like one of them, or more than one does.
        """
        lines, changed = getsource(self.solution).splitlines(), set()
        for other in others:
            places = [i for i, line in enumerate(lines) if _beginning(line) == _beginning(other)]
            if len(places) != 1:
                raise ValueError(f"{len(places)} lines of {self.solution.__name__} begin like {other!r}")
            if places[0] in changed:
                return None
            changed.add(places[0])
            lines[places[0]] = lines[places[0]][: -len(lines[places[0]].lstrip())] + other
        made: dict[str, Any] = {}
        exec("\n".join(lines), self.solution.__globals__, made)
        return made[self.solution.__name__]

    def _try(self, function: Callable, inputs: list, aloud: bool = False):
        """What `look` makes of the function's result, or the exception raised. Only the first call may print."""
        try:
            with nullcontext() if aloud else redirect_stdout(io.StringIO()):
                found = self.call(function, *deepcopy(inputs))  # a copy: the function may change it
        except Exception as error:
            return error
        try:
            return None if found is None else self.look(found, *inputs)
        except Exception:  # it is nothing that can be looked at: to be compared as it is
            return found

    def _recognised(self, given: list, right: list, trials: list) -> str:
        """What to say about the mistake (or the two) that gives the same in every trial; empty if none does."""
        for said, mistake in self.mistakes.items():
            if all(self._agreement(mistake, given, trials)):
                return said
        for said, spoilt in ANYWHERE:
            if all(alike(value, spoilt(expected)) for value, expected in zip(given, right, strict=True)):
                return said
        for pair in combinations(self.slips, 2) if self.pairs else ():
            both = self.with_lines(*self.slips[pair[0]], *self.slips[pair[1]])
            if both and all(self._agreement(both, given, trials)) and not self._cancel(pair, both, right, trials):
                return "; ".join(pair)
        return ""

    def _cancel(self, pair: tuple[str, str], both: Callable, right: list, trials: list) -> bool:
        """Whether one slip makes up for the other in some trial: an answer is likely right there for another reason."""
        each = (self._agreement(mistake, right, trials) for mistake in (both, *(self.mistakes[said] for said in pair)))
        return any(passes and not (one and other) for passes, one, other in zip(*each, strict=True))

    def _agreement(self, function: Callable, values: list, trials: list) -> Iterator[bool]:
        return (alike(value, self._try(function, inputs)) for value, (_, inputs) in zip(values, trials, strict=True))


def read(text: str) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The hints of an exercise's text, and its slips: what to say → lines."""
    hints, slips, said = [], {}, ""
    for line in text.splitlines():
        if line.startswith("? "):
            hints.append(line[2:])
            continue
        if " →" in line:
            said, line = line.split(" →")
            slips[said] = []
        slips[said] += [statement.strip() for statement in line.split("; ") if statement]
    return tuple(hints), slips


def _beginning(line: str) -> str:
    return line.split(" = ")[0].strip() if " = " in line else line.strip().partition(" ")[0]


def exercise(solution: Callable, **options) -> Callable[[Callable], Exercise]:
    """A decorator: makes a checker of trials, for answers that are to do what the solution does."""
    return lambda trials: Exercise(trials, solution, **options)


@contextmanager
def _left_alone():
    """The reader's random numbers go on afterwards as if nothing had been; in between, floats have 32 bits or more."""
    numpy, dtype = sys.modules.get("numpy"), torch.get_default_dtype()
    states = random.getstate(), torch.get_rng_state(), numpy and numpy.random.get_state()
    if dtype.itemsize < 4:
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        torch.set_rng_state(states[1])
        if numpy:
            numpy.random.set_state(states[2])


def draws(seed: int) -> Callable[..., torch.Tensor]:
    """A source of normal numbers of a given shape: `draw(2, 3)`. They are the same at every call of a checker."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float32).to(torch.get_default_dtype())
