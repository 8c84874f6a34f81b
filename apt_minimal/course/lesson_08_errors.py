"""Lesson 08, exercises 4 and 5: how far scores scatter."""

import math

import torch

from apt_minimal.course.check import exercise


def listed(found, *given):
    """Two numbers in one tensor will do."""
    return found.tolist() if isinstance(found, torch.Tensor) else found


def detectable(score, n):
    """Return the difference, in points, that two runs on n examples each show in four of five cases."""
    p = score / 100
    variance = p * (1 - p) / n
    error = 100 * math.sqrt(variance)
    difference = math.sqrt(2) * error
    return (1.96 + 0.84) * difference


@exercise(detectable)
def check_detectable(draw):
    """
    ? What is the standard error of one score, as a share? How large is it for the difference of two such scores?
    ? A score's error is √(p (1 − p) / n) with p = score / 100, a difference's √2 times as much. Points: times 100.
    ? (1.96 + 0.84) * math.sqrt(2) * 100 * math.sqrt(p * (1 - p) / n)
    that is the standard error of one score: a difference has two, and must be seen → return error
    that is the standard error of the difference: it must be 2.8 of them → return difference
    two runs differ, each with its own error: their variances add up → difference = error
    variances add up, not standard errors: √2, not 2 → difference = 2 * error
    variances add up: √2 multiplies, and n stays → difference = error / math.sqrt(2)
    1.96 and 0.84 add up → return (1.96 - 0.84) * difference
    1.96 and 0.84 add up: they are not multiplied → return 1.96 * 0.84 * difference
    1.96 alone finds it in half of the cases → return 1.96 * difference
    take 1.96 and 0.84 as they are: your quantiles have more decimals → return 2.8015852 * difference
    divide by n, not n − 1 → variance = p * (1 - p) / (n - 1)
    the score need not be whole: don't cut it → p = int(score) / 100
    the variance of one answer is p (1 − p), not p² → variance = p * p / n
    the variance of one answer is p (1 − p), not p → variance = p / n
    p (1 − p) / n is a variance: its root is missing → error = 100 * variance
    points squared are no points: the root is missing → error = 100**2 * variance
    the score is in per cent: its share is score / 100 → p = score
    the score is in per cent: (1 − score) is negative → p = score; variance = abs(p * (1 - p)) / n
    the result is in points, not a share: 100 times as much → error = math.sqrt(variance)
    more examples make the error smaller: p (1 − p) is to be divided by n → variance = p * (1 - p)
    the variance is divided by n before the root is taken → error = 100 * math.sqrt(p * (1 - p)) / n
    the error depends on the score: p (1 − p) is ¼ only at one half → p = 0.5
    """
    yield "a score of one half", 50.0, 100
    for score, n in ((80.0, 277), (94.0, 104), (65.0, 3270)):
        yield f"{score:.0f} on {n} examples", score, n
    yield "a score that is no whole number", 63.5, 104
    yield "everything right", 100.0, 20


def paired_counts(gold, first, second):
    """Return how many examples only first has right, how many only second, and the difference's error in points."""
    right = [(a == g, b == g) for g, a, b in zip(gold, first, second, strict=True)]
    b = right.count((True, False))
    c = right.count((False, True))
    n = len(gold)
    variance = b + c - (b - c) ** 2 / n
    error = 100 * math.sqrt(variance) / n
    return b, c, error


@exercise(paired_counts, look=listed)
def check_paired_counts(draw):
    """
    ? Which examples tell the two methods apart?
    ? For each example: is first right, is second? b counts those with yes and no, c those with no and yes.
    ? 100 * math.sqrt(b + c - (b - c) ** 2 / n) / n is the third number.
    labels above 0 differ, too: compare them as they are →
        right = [((a > 0) == (g > 0), (b > 0) == (g > 0)) for g, a, b in zip(gold, first, second)]
    the other way round: first the examples that only the first has right → return c, b, error
    examples that both have right don't tell them apart: they belong in neither count →
        return *map(sum, zip(*right)), error
    examples that both have right count in neither → b = sum(a for a, _ in right); c = sum(b for _, b in right)
    these are the examples that each has wrong → return *(n - k for k in map(sum, zip(*right))), error
    both right or both wrong tells nothing apart → b = right.count((True, True)); c = right.count((False, False))
    that is the error for two separate sets: pairing makes it smaller →
        variance = sum(k * (n - k) for k in map(sum, zip(*right))) / n
    (b − c)² / n is missing below the root → variance = b + c
    (b − c)² / n is taken off, not added → variance = b + c + (b - c) ** 2 / n
    (b − c)² is divided by n before it is taken off → variance = max(0, b + c - (b - c) ** 2)
    divide by n, not n − 1 (as torch's and pandas' std do) → error = 100 * math.sqrt(variance / n / (n - 1))
    n counts all examples, not only those that tell the two apart → n = b + c or 1
    both counts are asked for, not what is left when they cancel → return max(b - c, 0), max(c - b, 0), error
    the root is missing → error = 100 * variance / n
    the error is asked for in points: 100 times the share → error = math.sqrt(variance) / n
    n divides the root as a whole: yours divides by √n → error = 100 * math.sqrt(variance / n)
    that is 1.96 standard errors: one is asked for → error = 196 * math.sqrt(variance) / n
    that is a variance: the root is missing → error = 100 * variance / n**2
    that is the difference itself, not its standard error → error = 100 * (b - c) / n
    two that differ may both be wrong: compare with gold → b = sum(x != y for x, y in zip(first, second)); c = b
    two that differ may both be wrong, and count in neither →
        b = sum(x != y for x, y in zip(first, second)) - right.count((False, True))
    """
    yield "four examples", [1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 1]
    yield "eight examples", [1, 1, 0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0]
    yield "the second one better", [0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1]
    yield "two wrong in different ways", [0, 1, 2, 2, 1, 0, 0], [0, 2, 2, 1, 1, 2, 1], [1, 0, 2, 0, 1, 2, 0]
    yield "labels other than 0 and 1", [2, 2, 0, 1], [2, 0, 2, 1], [1, 2, 0, 2]
    yield "the same predictions", [0, 1, 1], [0, 1, 0], [0, 1, 0]
    yield "all differences one way", [1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 0]
