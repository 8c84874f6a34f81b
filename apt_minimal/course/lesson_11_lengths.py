"""Lesson 11, exercises 4 and 5: lengths from readings, and what moves a reading."""

import math

from scipy.stats import rankdata  # noqa: F401  a slip ranks with it

from apt_minimal.course.check import exercise


def lengths(reading, budget):
    """Return lengths, one per layer, that follow the readings and add up to the budget."""
    weights = [max(r, 0.0) for r in reading]
    shares = [budget * weight / sum(weights) for weight in weights]
    lengths = [math.floor(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: lengths[i] - shares[i])
    rest = budget - sum(lengths)
    for i in order[:rest]:
        lengths[i] += 1
    return lengths


def whole(found, *given):
    """Floats don't pass for the integers that are asked for."""
    return [f"{n} (a float)" if isinstance(n, float) else n for n in found]


def by_divisors(reading, budget):
    """Give tokens one by one to the layer with the largest reading / (length + 1)."""
    lengths = [0] * len(reading)
    for _ in range(budget):
        averages = [max(r, 0) / (n + 1) for r, n in zip(reading, lengths, strict=True)]
        lengths[averages.index(max(averages))] += 1
    return lengths


def mended(reading, budget):
    """Round the shares, then mend the sum at the longest layer."""
    lengths = [round(budget * max(r, 0.0) / sum(max(r, 0.0) for r in reading)) for r in reading]
    while sum(lengths) != budget:
        lengths[lengths.index(max(lengths))] += 1 if sum(lengths) < budget else -1
    return lengths


@exercise(lengths, look=whole)
def check_lengths(draw):
    """
    ? If you round all shares down, how many tokens are left, and who gets them?
    ? Round down and sort the layers by remainder, the largest first (sorted keeps equal ones in order).
    ? sorted(range(L), key=lambda i: lengths[i] - shares[i])[: budget - sum(lengths)]
    each share is rounded by itself: the lengths need not add up → return [round(share) for share in shares]
    rounded down the shares don't reach the budget: who gets the rest? → rest = 0
    rounded up the shares exceed the budget: round down → return [math.ceil(share) for share in shares]
    of equal remainders the lower layer is first →
        order = sorted(range(len(shares))[::-1], key=lambda i: lengths[i] - shares[i])
    the largest remainders come first → order = sorted(range(len(shares)), key=lambda i: shares[i] - lengths[i])
    the rest goes by remainders, not by readings → order = sorted(range(len(shares)), key=lambda i: -reading[i])
    the rest goes by remainders, not from below → order = list(range(len(shares)))
    one more each: not the whole rest for the largest → order = [reading.index(max(reading))] * budget
    one more each: not the whole rest for the last → order = [-1] * budget
    a reading below 0 counts as 0 → weights = list(reading)
    a reading below 0 counts as 0, not as its absolute value → weights = [abs(r) for r in reading]
    a layer with a reading below 0 gets 0: it stays in the list → weights = [r for r in reading if r > 0]
    shares follow the readings: yours are the same for every layer → weights = [1.0 for r in reading]
    shares follow the readings, not their exponentials → weights = [math.exp(r) for r in reading]
    shares follow the readings, not their ranks → weights = rankdata(reading).tolist()
    a length stands where its layer does: don't sort them → return sorted(lengths, reverse=True)
    that is d'Hondt's rule (the highest reading per token), not largest remainders → return by_divisors(reading, budget)
    the rest goes to the largest remainders: yours rounds, and mends it at the longest → return mended(reading, budget)
    a layer may get nothing: yours gives each at least one → lengths = [max(1, math.floor(share)) for share in shares]
    lengths are integers: shares must be rounded → return shares
    lengths are integers, not floats → return [float(n) for n in lengths]
    """
    yield "shares of 0.9, 1.8 and 6.3", [0.125, 0.25, 0.875], 9
    yield "shares that are whole", [1.0, 1.0, 2.0], 8
    yield "equal remainders", [0.5, 0.5, 0.5], 5
    yield "a reading of 0", [3.0, 0.0, 1.0, 0.0], 7
    yield "a reading below 0", [3.0, -2.0, 1.0, 0.5], 10
    yield "a budget smaller than the number of layers", [0.2, 0.4, 0.1, 0.3, 0.9], 2
    yield "four tokens left over", [1.1, 2.3, 0.7, 1.9, 3.2, 0.5], 96
    yield "shares of which the smallest has the largest remainder", [0.19, 0.8, 1.01], 10
    yield "rounded shares that are too large together", [1.0, 1.0, 1.0, 3.0], 9
    yield "a single layer", [0.3], 4


WHY = {
    "alpha": "is the gate still there, and has a mean an order?",
    "scale": "what happens to λ itself, its sign too?",
    "prefix_norm": "what happens to the length of P's rows, and has a mean an order?",
    "gated_norm": "what happens to the rows of λ α P, and has a length a sign?",
    "mass": "what does the softmax see of λ, α and P?",
    "effect": "what does attention see of λ, α and P?",
}


def moved(move):
    """Return the set of names of those readings that a move changes."""
    return {
        "rescale": {"scale", "prefix_norm"},
        "negate": {"scale"},
        "fold": {"alpha", "prefix_norm"},
        "permute": set(),
    }[move]


def _move_fault(found, move):
    """How many names are wrong, and what to think about; empty if none is."""
    if not isinstance(found, set | frozenset | list | tuple):
        return f"{move}: a set of names is asked for, not {found!r}"
    if unknown := [name for name in found if name not in WHY]:
        return f"{move}: there is no reading {unknown[0]!r}; there are {', '.join(WHY)}"
    wrong = [name for name in WHY if (name in found) != (name in moved(move))]
    return f"{move}: {len(wrong)} of six are judged wrongly. Of one of them ask: {WHY[wrong[0]]}" if wrong else ""


@exercise(moved, look=_move_fault)
def check_moved(draw):
    """
    ? Which of the moves changes a row of λ · α ⊙ P?
    ? None does: all four leave the set of these rows as it was. What can be told from this set alone stays.
    ? So mass, effect and gated_norm never move. For the other three read the move, letter by letter.
    """
    yield from ((move, move) for move in ("rescale", "negate", "fold", "permute"))
