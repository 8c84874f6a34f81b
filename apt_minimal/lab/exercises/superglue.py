"""Lesson 08: SuperGLUE, scores and what they are worth."""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor

from apt_minimal.lab.exercises.checking import check

__all__ = [
    "check_choice_accuracy",
    "check_detectable",
    "check_macro_f1",
    "check_paired_counts",
    "check_pick_scores",
]


def check_macro_f1(answer: Callable[[list[int], list[int]], float]) -> bool:
    """Exercise 8.1: answer(gold, predicted) is the mean F1 of the labels that occur in either list, from 0 to 1."""

    def mean_of(score, labels=lambda gold, predicted: {*gold, *predicted}):
        def mistaken(gold, predicted):
            scores = [score(*_counts(gold, predicted, label)) for label in sorted(labels(gold, predicted))]
            return sum(scores) / len(scores)

        return mistaken

    def by_guesses(hits, true, predicted):
        return hits / max(predicted, 1)

    def by_truth(hits, true, predicted):
        return hits / max(true, 1)

    def of_means(gold, predicted):
        precision, recall = mean_of(by_guesses)(gold, predicted), mean_of(by_truth)(gold, predicted)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def weighted(gold, predicted):
        return sum(_f1(*_counts(gold, predicted, label)) for label in gold) / len(gold)

    mistakes = {
        "that is accuracy, where every example counts the same": lambda g, p: sum(map(int.__eq__, g, p)) / len(g),
        "a label that is predicted but never true counts too, with an F1 of 0": mean_of(_f1, lambda g, p: set(g)),
        "a label that is true but never predicted counts too, with an F1 of 0": mean_of(_f1, lambda g, p: set(p)),
        "a label that occurs in only one of the lists counts too, with an F1 of 0": mean_of(
            _f1, lambda g, p: set(g) & set(p) or {-1}
        ),
        "the mean is over labels: divide by how many there are": lambda g, p: mean_of(_f1)(g, p) * len({*g, *p}),
        "only labels that occur in one of the lists count; you divide by more": mean_of(
            _f1, lambda g, p: range(max(*g, *p) + 1)
        ),
        "that is the mean recall; F1 also asks how many of the predictions were right": mean_of(by_truth),
        "that is the mean precision; F1 also asks how many of the true ones were found": mean_of(by_guesses),
        "first an F1 for each label, then their mean; you take the F1 of the mean precision and recall": of_means,
        "that is the mean weighted by how often a label is true; macro-F1 weighs all labels alike": weighted,
        "that is the F1 of label 1 alone; macro-F1 is the mean over labels": mean_of(_f1, lambda g, p: {1}),
        "F1 is 2 · hits / (true + predicted); yours is half of it": mean_of(lambda *c: _f1(*c) / 2),
        "hits / (true or predicted) is the Jaccard index; F1 is 2 · hits / (true + predicted)": mean_of(
            lambda hits, true, guessed: hits / max(true + guessed - hits, 1)
        ),
        "the result is a share from 0 to 1, not per cent": lambda g, p: 100 * mean_of(_f1)(g, p),
    }
    plain = "for each label 2 · hits / (true + predicted), then the mean over the labels that occur"
    rare = "a label that occurs in one of the two lists only has an F1 of 0, and counts"
    trials = [
        (plain, ([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 0])),
        (plain, ([0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1])),
        (rare, ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0])),
        (rare, ([0, 0, 1, 1, 1], [0, 2, 1, 1, 2])),
        ("labels need not be 0, 1, 2: only those that occur count", ([5, 5, 3, 3, 3], [5, 3, 3, 3, 5])),
        ("nothing right is an F1 of 0 for every label", ([0, 1, 0], [1, 0, 1])),
        ("all right is 1, with one label too", ([4, 4], [4, 4])),
    ]
    return check(answer, mean_of(_f1), trials, mistakes)


def check_choice_accuracy(answer: Callable[[Tensor, Tensor], float]) -> bool:
    """Exercise 8.2: answer(scores, labels), [b · choices] and [b], is the share of examples whose best choice is
    right."""

    def accuracy(guess) -> Callable:
        return lambda scores, labels: (guess(scores, len(labels)) == labels).double().mean().item()

    def right(scores, b):
        return rearrange(scores, "(b c) -> b c", b=b).argmax(dim=1)

    def by_threshold(scores, labels):
        c = len(scores) // len(labels)
        gold = torch.nn.functional.one_hot(labels, c).flatten().bool()
        return ((scores > 0) == gold).double().mean().item()

    mistakes = {
        "an example's choices stand next to each other: (b c), not (c b)": accuracy(
            lambda scores, b: rearrange(scores, "(c b) -> b c", b=b).argmax(dim=1)
        ),
        "the best choice has the highest score, not the lowest": accuracy(lambda scores, b: right(-scores, b)),
        "choices of one example compete; whether a score is above 0 decides nothing": by_threshold,
        "that is the share of the wrong ones": lambda s, y: 1 - accuracy(right)(s, y),
        "labels count from 0": accuracy(lambda scores, b: right(scores, b) + 1),
        "the number of choices isn't always 2: it is len(scores) / len(labels)": accuracy(
            lambda scores, b: rearrange(scores, "(b c) -> b c", c=2).argmax(dim=1)
        ),
        "a share is asked for, not how many are right": lambda s, y: len(y) * accuracy(right)(s, y),
        "the result is a share from 0 to 1, not per cent": lambda scores, labels: 100 * accuracy(right)(scores, labels),
    }
    generator = torch.Generator().manual_seed(0)
    hint = "cut scores into b rows of len(scores) / b choices; the highest of a row is the answer"
    trials = []
    for b, c, shift in ((5, 2, 0.0), (4, 3, 0.0), (6, 3, 4.0), (2, 4, -4.0), (1, 2, 0.0), (7, 2, 3.0)):
        scores = torch.randn(b * c, generator=generator) + shift
        labels = torch.randint(c, (b,), generator=generator)
        labels[0] = right(scores, b)[0]  # not every one wrong
        trials.append((hint if not shift else "only the order within a row counts, not the sign", (scores, labels)))
    return check(lambda *inputs: _number(answer(*inputs)), accuracy(right), trials, mistakes)


def check_pick_scores(answer: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> bool:
    """Exercise 8.3: answer(held_out, dev) are the development scores that the held-out rule and the paper's report."""

    def last_best(values):
        return len(values) - 1 - values[::-1].index(max(values))

    def first_best(values):
        return values.index(max(values))

    mistakes = {
        "the other way round: first the held-out rule, then the paper's": lambda h, d: (max(d), d[first_best(h)]),
        "the held-out score chooses the epoch, but isn't what is reported": lambda h, d: (max(h), max(d)),
        "of equal held-out scores take the earliest epoch, not the last": lambda h, d: (d[last_best(h)], max(d)),
        "these are the epochs; their development scores are asked for": lambda h, d: (first_best(h), first_best(d)),
        "the held-out rule doesn't look at the last epoch, but at the best held-out one": lambda h, d: (d[-1], max(d)),
        "the paper's rule reports a development score, not a held-out one": (
            lambda h, d: (d[first_best(h)], h[first_best(d)])
        ),
        "the paper's rule takes the best development score of all epochs": lambda h, d: (d[first_best(h)],) * 2,
        "the held-out rule must not look at the development scores to choose": lambda h, d: (max(d), max(d)),
    }
    trials = [
        ("choose by held_out, report dev; beside it the highest dev", ([0.5, 0.7, 0.6], [0.52, 0.55, 0.61])),
        ("of equal held-out scores the earliest", ([0.4, 0.8, 0.6, 0.8, 0.7], [0.5, 0.53, 0.58, 0.57, 0.54])),
        ("the first epoch may be the best", ([0.9, 0.2, 0.3], [0.41, 0.66, 0.45])),
        ("one epoch only", ([0.3], [0.6])),
    ]
    return check(answer, lambda h, d: (d[first_best(h)], max(d)), trials, mistakes)


def check_detectable(answer: Callable[[float, int], float]) -> bool:
    """Exercise 8.4: answer(score, n): the difference between two independent runs, in points, that is found in four
    of five cases: (1.96 + 0.84) · √2 · the binomial standard error of a score (per cent) on n examples."""

    def error(score, n):
        return math.sqrt(score * (100 - score) / n)

    both = (1.96 + 0.84) * math.sqrt(2)
    mistakes = {
        "that is the standard error of one score; a difference has two, and must be seen": error,
        "that is the standard error of the difference, of which 2.8 are needed": lambda s, n: 2**0.5 * error(s, n),
        "two runs differ, each with its own error: their variances add up": lambda s, n: 2.8 * error(s, n),
        "variances add up, not standard errors: √2, not 2": lambda s, n: 5.6 * error(s, n),
        "1.96 alone finds it in half of the cases": lambda s, n: 1.96 * math.sqrt(2) * error(s, n),
        "the score is in per cent: its share is score / 100": lambda s, n: both * 100 * math.sqrt(abs(s * (1 - s)) / n),
        "the result is in points, not a share: 100 times as much": lambda s, n: both * error(s, n) / 100,
        "that is √ of the variance without n: more examples, smaller error": lambda s, n: both * error(s, 1),
        "the variance is divided by n before the root is taken": lambda s, n: both * error(s, 1) / n,
        "the root is missing: p (1 − p) / n is a variance": lambda s, n: both * error(s, n) ** 2 / 100,
        "the error depends on the score: p (1 − p), which is ¼ only at one half": lambda s, n: both * error(50, n),
    }
    hint = "2.8 · √2 · 100 · √(p (1 − p) / n), with p = score / 100"
    trials = [(hint, inputs) for inputs in ((65.0, 100), (80.0, 277), (94.0, 104), (50.0, 3270), (100.0, 20))]
    return check(answer, lambda s, n: both * error(s, n), trials, mistakes)


def check_paired_counts(answer: Callable[[list[int], list[int], list[int]], tuple[int, int, float]]) -> bool:
    """Exercise 8.5: answer(gold, first, second): how many examples only the first predicts right, only the second, and
    the difference's standard error in points."""

    def counts(gold, first, second):
        right = [(a == g, b == g) for g, a, b in zip(gold, first, second, strict=True)]
        return right.count((True, False)), right.count((False, True)), len(gold)

    def error(b, c, n):
        return 100 * math.sqrt(b + c - (b - c) ** 2 / n) / n

    def made(of_counts, of_error=error) -> Callable:
        def mistaken(gold, first, second):
            b, c, n = counts(gold, first, second)
            return *of_counts(gold, first, second), of_error(b, c, n)

        return mistaken

    def mine(gold, first, second):
        return counts(gold, first, second)[:2]

    def rights(gold, first, second):
        return sum(map(int.__eq__, gold, first)), sum(map(int.__eq__, gold, second))

    def unpaired(gold, first, second):
        n = len(gold)
        return *mine(gold, first, second), 100 * math.sqrt(sum(r * (n - r) for r in rights(gold, first, second)) / n**3)

    mistakes = {
        "the other way round: first the examples that only the first predicts right": made(
            lambda *inputs: mine(*inputs)[::-1]
        ),
        "examples that both predict right don't tell them apart; they belong in neither count": made(rights),
        "these are the examples that one predicts wrong, whatever the other says": made(
            lambda g, a, b: (len(g) - rights(g, a, b)[0], len(g) - rights(g, a, b)[1])
        ),
        "that is the error as if the two had been tried on different examples; pairing makes it smaller": unpaired,
        "(b − c)² / n is missing under the root": made(mine, lambda b, c, n: 100 * math.sqrt(b + c) / n),
        "the error is asked for in points: 100 times the share": made(mine, lambda b, c, n: error(b, c, n) / 100),
        "divide by n outside the root, not by √n": made(mine, lambda b, c, n: error(b, c, n) * math.sqrt(n)),
        "the root is missing: that is a variance": made(mine, lambda b, c, n: error(b, c, n) ** 2 / 100),
        "that is the difference itself, not its standard error": made(mine, lambda b, c, n: 100 * (b - c) / n),
        "two predictions that differ may both be wrong: compare each with gold": made(
            lambda g, a, b: (sum(x != y for x, y in zip(a, b, strict=True)),) * 2
        ),
    }
    plain = "compare each list with gold; count where exactly one of the two agrees with it"
    both = "with three labels two predictions can differ and both be wrong"
    trials = [
        (plain, ([1, 1, 0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0])),
        (plain, ([0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1])),
        (both, ([0, 1, 2, 2, 1, 0, 0], [0, 2, 2, 1, 1, 2, 1], [1, 0, 2, 0, 1, 2, 0])),
        ("where they agree on every example nothing differs", ([0, 1, 1], [0, 1, 0], [0, 1, 0])),
        ("where all differing examples go one way", ([1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 0])),
    ]
    return check(answer, made(mine), trials, mistakes)


def _counts(gold: list[int], predicted: list[int], label: int) -> tuple[int, int, int]:
    """Of one label: how many are right, true, predicted."""
    hits = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
    return hits, gold.count(label), predicted.count(label)


def _f1(hits: int, true: int, predicted: int) -> float:
    return 2 * hits / max(true + predicted, 1)


def _number(value):
    """A tensor of one element as a number: either will do."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
