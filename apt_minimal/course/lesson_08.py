"""Lesson 08: SuperGLUE, scores and what they are worth."""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor

from apt_minimal.course.checking import check

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
        "you divide by 3; divide by how many labels occur": lambda g, p: mean_of(_f1)(g, p) * len({*g, *p}) / 3,
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
        "the number of choices isn't always 2: cut scores into as many rows as there are labels": accuracy(
            lambda scores, b: rearrange(scores, "(b c) -> b c", c=2).argmax(dim=1)[:b]
        ),
        "there may be more than two choices; you compare only the first two": accuracy(
            lambda scores, b: right(rearrange(scores, "(b c) -> b c", b=b)[:, :2].flatten(), b)
        ),
        "divide by the number of examples, not of scores": lambda s, y: accuracy(right)(s, y) * len(y) / len(s),
        "the highest score wins, not the one farthest from 0": accuracy(lambda scores, b: right(scores.abs(), b)),
        "scores may all be negative, and one of them is still the highest": accuracy(
            lambda scores, b: right(scores.clamp(min=0.0), b)
        ),
        "compare the scores as they are, not cut to integers": accuracy(lambda scores, b: right(scores.long(), b)),
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
        trials.append((hint, (scores, labels)))
    last = "the last choice may be nobody's answer, and all but the best may come close to it"
    scores = [0.42, 0.44, 0.43, 2.0, 1.0, 3.0, -0.4, -0.3, -0.2, 1.0, 0.5, 0.6]
    trials.append((last, (torch.tensor(scores), torch.tensor([1, 0, 1, 0]))))
    return check(lambda *inputs: _number(answer(*inputs)), accuracy(right), trials, mistakes)


def check_pick_scores(answer: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> bool:
    """Exercise 8.3: answer(held_out, dev) are the development scores that the held-out rule and the paper's report."""

    def last_best(values):
        return len(values) - 1 - values[::-1].index(max(values))

    def first_best(values):
        return values.index(max(values))

    mistakes = {
        "the other way round: first the held-out rule, then the paper's": lambda h, d: (max(d), d[first_best(h)]),
        "the held-out score chooses the evaluation, but isn't what is reported": lambda h, d: (max(h), max(d)),
        "of equal held-out scores take the earliest, not the last": lambda h, d: (d[last_best(h)], max(d)),
        "these are the evaluations; their development scores are asked for": lambda h, d: (
            first_best(h),
            first_best(d),
        ),
        "the held-out rule doesn't take the last evaluation, but the best held-out one": lambda h, d: (d[-1], max(d)),
        "the paper's rule reports a development score, not a held-out one": (
            lambda h, d: (d[first_best(h)], h[first_best(d)])
        ),
        "the paper's rule takes the best development score of all evaluations": lambda h, d: (d[first_best(h)],) * 2,
        "the held-out rule must not look at the development scores to choose": lambda h, d: (max(d), max(d)),
        "the paper's rule doesn't take the last evaluation, but the best": lambda h, d: (d[first_best(h)], d[-1]),
        "the highest held-out score chooses, not the lowest": lambda h, d: (d[h.index(min(h))], max(d)),
        "report the second score itself, not the difference": (
            lambda h, d: (d[first_best(h)], max(d) - d[first_best(h)])
        ),
        "of equal held-out scores take the earliest; the development score has no say": (
            lambda h, d: (max(zip(h, d, strict=True))[1], max(d))
        ),
        "of equal held-out scores take the earliest, not the one with the lowest development score": (
            lambda h, d: (min(y for x, y in zip(h, d, strict=True) if x == max(h)), max(d))
        ),
    }
    hint = "first dev where held_out has its (first) maximum, then the maximum of dev"
    trials = [
        (hint, ([0.5, 0.7, 0.6], [0.52, 0.55, 0.61])),
        (hint, ([0.4, 0.8, 0.6, 0.8, 0.7], [0.5, 0.53, 0.58, 0.57, 0.54])),
        (hint, ([0.8, 0.8, 0.8, 0.6], [0.55, 0.58, 0.52, 0.6])),
        (hint, ([0.9, 0.2, 0.3], [0.41, 0.66, 0.45])),
        (hint, ([0.5, 0.6, 0.9], [0.7, 0.5, 0.6])),
        ("scores may lie close together", ([0.5, 0.801, 0.804], [0.5, 0.6, 0.55])),
        ("nothing right is a score too", ([0.0, 0.0], [0.3, 0.2])),
        ("one evaluation only", ([0.3], [0.6])),
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
        "each run has n examples; put together, 2 n would stand for a mean, not a difference": (
            lambda s, n: 2.8 * error(s, 2 * n)
        ),
        "1.96 and 0.84 add up": lambda s, n: 1.12 * math.sqrt(2) * error(s, n),
        "divide by n, not n − 1": lambda s, n: both * error(s, n - 1),
        "don't round": lambda s, n: round(both * error(s, n), 1),
        "the score need not be whole; don't cut it": lambda s, n: both * error(int(s), n),
        "the variance of one answer is p (1 − p), not p²": lambda s, n: both * s / math.sqrt(n),
        "p (1 − p) / n is a variance: its root is missing": lambda s, n: both * error(s, n) ** 2,
        "1.96 alone finds it in half of the cases": lambda s, n: 1.96 * math.sqrt(2) * error(s, n),
        "the score is in per cent: its share is score / 100": lambda s, n: both * 100 * math.sqrt(abs(s * (1 - s)) / n),
        "the result is in points, not a share: 100 times as much": lambda s, n: both * error(s, n) / 100,
        "that is √ of the variance without n: more examples, smaller error": lambda s, n: both * error(s, 1),
        "the variance is divided by n before the root is taken": lambda s, n: both * error(s, 1) / n,
        "the root is missing: p (1 − p) / n is a variance": lambda s, n: both * error(s, n) ** 2 / 100,
        "the error depends on the score: p (1 − p), which is ¼ only at one half": lambda s, n: both * error(50, n),
    }
    hint = "2.8 · √2 · 100 · √(p (1 − p) / n), with p = score / 100"
    trials = [
        (hint, inputs) for inputs in ((65.0, 100), (63.5, 104), (80.0, 277), (94.0, 104), (50.0, 3270), (100.0, 20))
    ]
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
        "(b − c)² / n is taken off, not added": made(
            mine, lambda b, c, n: 100 * math.sqrt(b + c + (b - c) ** 2 / n) / n
        ),
        "(b − c)² is divided by n before it is taken off": made(
            mine, lambda b, c, n: 100 * math.sqrt(max(0, b + c - (b - c) ** 2)) / n
        ),
        "divide by n, not n − 1 (numpy's std divides by n, torch's and pandas' by n − 1)": made(
            mine, lambda b, c, n: error(b, c, n) * math.sqrt(n / (n - 1))
        ),
        "n counts all examples, not only the discordant ones": made(
            mine, lambda b, c, n: error(b, c, b + c) if b + c else 0.0
        ),
        "both counts are asked for, not what is left when they cancel": made(
            lambda *inputs: [max(0, x) for x in (int.__sub__(*mine(*inputs)), -int.__sub__(*mine(*inputs)))]
        ),
        "don't round": made(mine, lambda b, c, n: round(error(b, c, n), 1)),
        "the root is missing": made(mine, lambda b, c, n: 100 * (b + c - (b - c) ** 2 / n) / n),
        "the error is asked for in points: 100 times the share": made(mine, lambda b, c, n: error(b, c, n) / 100),
        "divide by n outside the root, once more by √n": made(mine, lambda b, c, n: error(b, c, n) * math.sqrt(n)),
        "that is 1.96 standard errors; one is asked for": made(mine, lambda b, c, n: 1.96 * error(b, c, n)),
        "the root is missing: that is a variance": made(mine, lambda b, c, n: error(b, c, n) ** 2 / 100),
        "that is the difference itself, not its standard error": made(mine, lambda b, c, n: 100 * (b - c) / n),
        "two predictions that differ may both be wrong: compare each with gold": made(
            lambda g, a, b: (sum(x != y for x, y in zip(a, b, strict=True)),) * 2
        ),
    }
    plain = "b and c: one list agrees with gold, the other doesn't; the error: 100 · √(b + c − (b − c)² / n) / n"
    both = "with three labels two predictions can differ and both be wrong"
    trials = [
        (plain, ([1, 1, 0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0])),
        (plain, ([0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1])),
        (both, ([0, 1, 2, 2, 1, 0, 0], [0, 2, 2, 1, 1, 2, 1], [1, 0, 2, 0, 1, 2, 0])),
        ("labels need not be 0 and 1", ([2, 2, 0, 1], [2, 0, 2, 1], [1, 2, 0, 2])),
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
