"""An exercise: a solution, what to try an answer on, and the usual slips, each written as the wrong line.

A slip replaces the line of the solution that begins as it does: "return output / m" the line "return …", and
"scores = query @ key.mT" the line "scores = …". So a slip reads as a reader would write it, and two of them in
different lines make a third mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getsource
from itertools import combinations

import torch

from apt_minimal.course.judge import alike, difference


@dataclass(frozen=True)
class Exercise:
    """Call it with an answer: it says what it found, and returns whether the answer is right.

    Attributes:
        solution: a function that is right, one statement a line. `check_<name>` is the exercise solved by `<name>`.
        trials: makes pairs of what a trial tests, in words, and the arguments. The first can be checked by hand.
        slips: what to say → the line (or lines) that stands in place of the solution's.
        others: what to say → a function, for mistakes that are no slip in one line.
        look: makes of what an answer returned (and of its arguments) what is compared. It may return a text about
            what is wrong, and "" where nothing is: that text is said as it is.
        hints: up to three, each saying more: a question, a plan, the line.
    """

    solution: Callable
    trials: Callable[[], Iterable[tuple[str, tuple]]]
    slips: Mapping[str, str]
    others: Mapping[str, Callable] = field(default_factory=dict)
    look: Callable = lambda found, *given: found
    hints: tuple[str, ...] = ()

    def __call__(self, answer: Callable) -> bool:
        trials = list(self.trials())
        given = [self._try(answer, inputs) for _, inputs in trials]
        if all(isinstance(value, NotImplementedError) for value in given):
            print("… not solved yet")
            return False
        right = [self._try(self.solution, inputs) for _, inputs in trials]
        faults = [
            (tests, fault)
            for (tests, _), *pair in zip(trials, given, right, strict=True)
            if (fault := difference(*pair))
        ]
        if not faults:
            print("✓ right")
            return True
        for message, mistake in self._all_mistakes():
            if all(alike(value, self._try(mistake, inputs)) for value, (_, inputs) in zip(given, trials, strict=True)):
                print("✗ " + message)
                return False
        print("✗ {1} (this trial tests: {0})".format(*faults[0]))
        return False

    def _try(self, function: Callable, inputs: tuple):
        """What `look` makes of the function's result, or the exception raised. It gets a copy: it may change it."""
        try:
            return self.look(function(*deepcopy(inputs)), *inputs)
        except Exception as error:
            return error

    @cached_property
    def mistakes(self) -> dict[str, Callable]:
        """What to say → a function that makes this mistake."""
        return {**self.others, **{said: self.with_slips(said) for said in self.slips}}

    def _all_mistakes(self) -> Iterator[tuple[str, Callable]]:
        """Each mistake, then two slips at once, as far as they stand in different lines."""
        yield from self.mistakes.items()
        for pair in combinations(self.slips, 2):
            if mistake := self.with_slips(*pair):
                yield "; ".join(pair), mistake

    def with_slips(self, *slips: str) -> Callable | None:
        """The solution with these slips made; None where two of them want the same line."""
        lines, changed = getsource(self.solution).splitlines(), set()
        for wrong in (line for slip in slips for line in self.slips[slip].splitlines()):
            (place,) = (i for i, line in enumerate(lines) if _beginning(line) == _beginning(wrong))
            if place in changed:
                return None
            changed.add(place)
            lines[place] = lines[place][: len(lines[place]) - len(lines[place].lstrip())] + wrong
        scope = dict(self.solution.__globals__)
        exec("\n".join(lines), scope)
        return scope[self.solution.__name__]


def _beginning(line: str) -> str:
    return line.split(" = ")[0].strip() if " = " in line else line.strip().partition(" ")[0]


def draws(seed: int) -> Callable[..., torch.Tensor]:
    """A source of normal numbers of a given shape: `draw(2, 3)`. They are the same at every call of a checker."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float32).to(torch.get_default_dtype())
