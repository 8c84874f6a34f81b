"""Lesson 10, exercise 1: two disjoint draws."""

import math
import random
from collections import Counter
from operator import index

from apt_minimal.course.check import exercise


def disjoint_draw(n, k, seed):
    """Return k positions of 0..n − 1 that train, and k others that choose."""
    if 2 * k > n:
        raise ValueError(f"{2 * k} examples are to be drawn from {n}")
    drawn = random.Random(seed).sample(range(n), 2 * k)
    return drawn[:k], drawn[k:]


def for_each_seed(function, n, k, seeds):
    """The draws of several seeds; the class ValueError in place of one that is rightly raised."""

    def drawn(seed):
        try:
            return function(n, k, seed)
        except ValueError:
            if 2 * k > n:
                return ValueError
            raise

    return [drawn(seed) for seed in seeds]


def draw_fault(found, n, k, seeds):
    """What is wrong with the draws of these seeds; empty if nothing is."""
    if 2 * k > n:
        return "" if found == [ValueError] else f"{n} positions can't give two sets of {k}: raise a ValueError"
    fault = next((fault for one in found if (fault := form_fault(one, n, k))), "")
    if fault or len(found) == 1:
        return fault
    pairs = [tuple(frozenset(map(index, part)) for part in one) for one in found]
    if len(set(seeds)) < len(seeds):
        if pairs != pairs[::-1]:
            return "the same seed must give the same draw, whatever was drawn before: make a generator from the seed"
        return "" if len(set(pairs)) == len(set(seeds)) else "different seeds must give different draws"
    return unfair(pairs, n, k) if n == 6 else ""


def form_fault(drawn, n, k):
    """What is wrong with the two lists of k positions below n, in words; empty where nothing is."""
    if drawn is None:
        return "your function returns None: is there a return?"
    if not hasattr(drawn, "__len__") or len(drawn) != 2:
        return "two lists are asked for: first the positions that train, then those that choose"
    if any(isinstance(part, set) for part in drawn):
        return "lists are asked for: a set has no order"
    try:
        parts = [[index(position) for position in part] for part in drawn]
    except TypeError:
        return "each list holds positions, integers"
    every = [position for part in parts for position in part]
    if any(len(part) != k for part in parts):
        return f"k positions each are asked for: for k = {k} your lists hold {len(parts[0])} and {len(parts[1])}"
    if not all(0 <= position < n for position in every):
        return "positions run from 0 to n − 1"
    if any(len(set(part)) < k for part in parts):
        return "a position occurs twice in one list: draw without putting back"
    return "" if len(set(every)) == 2 * k else "the two lists share positions: what chooses would have been trained on"


def unfair(pairs, n, k):
    """Which sets come too often; empty if that may be chance (once in 100,000 fair functions it may not)."""
    if all(max(train) < min(choose) or max(choose) < min(train) for train, choose in pairs):
        return "one set always has the lower positions: sorted before the cut, or drawn from halves fixed beforehand"
    for name, sets in zip(("training", "development"), zip(*pairs, strict=True), strict=True):
        if missing := set(range(n)) - set().union(*sets):
            return f"position {min(missing)} of {n} is never in the {name} set, with any of {len(pairs)} seeds"
        if surprise(sets, math.comb(n, k)) > 55:
            return f"the {name} set is not drawn plainly at random: some sets come too often"
    if surprise(pairs, math.comb(n, k) * math.comb(n - k, k)) > 170:
        return "not every pair of sets is equally likely: one set depends on the other"
    return ""


def surprise(found, possible):
    """χ² against the same chance for each possible outcome."""
    mean, counts = len(found) / possible, Counter(found).values()
    return sum((count - mean) ** 2 / mean for count in counts) + mean * (possible - len(counts))


@exercise(disjoint_draw, call=for_each_seed, look=draw_fault, pairs=False)
def check_disjoint_draw(draw):
    """
    ? How can a single random order of all positions give both lists?
    ? Shuffle once, with a generator of your own, made from the seed. Then cut. Two separate draws may overlap.
    ? random.Random(seed).sample(range(n), 2 * k) draws both lists at once.
    the two lists are drawn alike, and share all positions → return drawn[:k], drawn[:k]
    a position occurs twice in one list → drawn = random.Random(seed).choices(range(n), k=2 * k)
    the draw is the same for every seed → drawn = random.Random(0).sample(range(n), 2 * k)
    many seeds give the same draw → drawn = random.Random(seed % 10).sample(range(n), 2 * k)
    one set always has the lower positions: sorted before the cut → return sorted(drawn)[:k], sorted(drawn)[k:]
    what chooses isn't drawn: it is the first left → return drawn[:k], [i for i in range(n) if i not in drawn[:k]][:k]
    k positions each are asked for: yours share k → return drawn[: k // 2], drawn[k // 2 : k]
    k positions choose, not all that are left → return drawn[:k], [i for i in range(n) if i not in drawn[:k]]
    where 2k is above n, raise a ValueError →
        if 2 * k > 2 * n:; drawn = random.Random(seed).sample(range(n), min(2 * k, n))
    where 2k is above n, the error asked for is a ValueError → raise IndexError(n, k)
    """
    apart = [*range(20), *range(100, 2100, 100)]
    yield "one draw", 5, 2, [0]
    yield "all positions drawn", 10, 5, list(range(20))
    yield "forty seeds twice", 40, 16, apart + apart[::-1]
    yield "240 small draws that are equally likely", 6, 2, list(range(240))
    yield "fewer than 2k positions", 9, 5, [0]
