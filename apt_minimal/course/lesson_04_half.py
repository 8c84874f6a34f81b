"""Lesson 04, exercise 3: a prefix whose mass is lowest while its gates are half closed."""

import torch
from torch import Tensor

from apt_minimal.course.check import Exercise

ENOUGH = 0.05
NOTHING = "all scores of the prefix are 0, so gates change nothing"
NOBODY_GAINS = "no score of the prefix is below 0, so no token gains while its gate closes"
NOBODY_LOSES = "no score of the prefix is above 0, so no token loses while its gate closes"
LOSE_MORE = f"at ½ it must be at least {ENOUGH} lower than at 1, so the scores above 0 must lose more"
GAIN_MORE = f"at ½ it must be at least {ENOUGH} lower than at 0, so the scores below 0 must have more to gain"


def masses(query: Tensor, key: Tensor, prefix_key: Tensor) -> tuple[Tensor, list[float]]:
    """The prefix's scores [l], and its mass with all gates at 1, ½ and 0."""
    root = query.shape[-1] ** 0.5
    words, prefix = key.double() @ query.double() / root, prefix_key.double() @ query.double() / root
    weights = [torch.cat([alpha * prefix, words]).softmax(dim=0) for alpha in (1.0, 0.5, 0.0)]
    return prefix, [w[: len(prefix)].sum().item() for w in weights]


def verdict(found) -> str:
    """Why the mass is not lowest at ½, or what is wrong with the form; empty if nothing is."""
    if fault := form_fault(found):
        return fault
    scores, (open_, half, closed) = masses(*(x.detach() for x in found))
    if half <= min(open_, closed) - ENOUGH:
        return ""
    why = GAIN_MORE if half <= open_ - ENOUGH else LOSE_MORE
    if not scores.any():
        why = NOTHING
    elif scores.min() >= 0:
        why = NOBODY_GAINS
    elif scores.max() <= 0:
        why = NOBODY_LOSES
    return f"the mass is {open_:.2f} at α = 1, {half:.2f} at ½ and {closed:.2f} at 0: {why}"


def form_fault(found) -> str:
    """What is wrong with the form of an answer; empty if nothing is."""
    if not isinstance(found, list | tuple) or len(found) != 3 or not all(isinstance(x, Tensor) for x in found):
        return "return three tensors: query, key and prefix_key"
    query, key, prefix_key = found
    shapes = [list(x.shape) for x in found]
    if [x.dim() for x in found] != [1, 2, 2] or not len(query) == key.shape[1] == prefix_key.shape[1]:
        return f"query must be [d_h], key [n, d_h] and prefix_key [l, d_h]; yours are {shapes}"
    if not min(x.numel() for x in found):
        return "there must be at least one word and one prefix token"
    if not all(x.is_floating_point() and x.isfinite().all() for x in found):
        return "all numbers must be finite, in a floating-point dtype"
    return ""


def half_closed():
    query = torch.tensor([1.0])
    key = torch.zeros(3, 1)
    prefix_key = torch.tensor([[1.0], [-3.0], [-3.0]])  # one that loses, two that gain
    return query, key, prefix_key


def slip(first: float, second: float, third: float) -> str:
    """The line of the solution with other prefix keys."""
    return f"prefix_key = torch.tensor([[{first}], [{second}], [{third}]])"


SLIPS = {
    f"the mass is {masses}: {reason}": line
    for masses, reason, line in (
        ("0.93 at α = 1, 0.78 at ½ and 0.50 at 0", NOBODY_GAINS, slip(1.0, 3.0, 3.0)),
        ("0.13 at α = 1, 0.26 at ½ and 0.50 at 0", NOBODY_LOSES, slip(-1.0, -3.0, -3.0)),
        ("0.54 at α = 1, 0.49 at ½ and 0.50 at 0", LOSE_MORE, slip(1.0, -1.0, -1.0)),
        ("0.87 at α = 1, 0.62 at ½ and 0.50 at 0", GAIN_MORE, slip(3.0, -3.0, -3.0)),
        ("0.50 at α = 1, 0.50 at ½ and 0.50 at 0", NOTHING, "return query, prefix_key, key"),
    )
}
HINTS = (
    "Which prefix tokens lose weight while their gates close, and which ones gain?",
    "Take both kinds: one token with a small score above 0, and some with scores far below 0.",
    "prefix_key = torch.tensor([[1.0], [-3.0], [-3.0]]), with a query of 1 and three words that score 0",
)
TRIAL = "the mass at α = 1, ½ and 0", ()
check_half_closed = Exercise(half_closed, lambda: [TRIAL], SLIPS, look=verdict, hints=HINTS, pairs=False)
