"""Lesson 08: SuperGLUE, scores and what they are worth."""

import math
from statistics import fmean

import torch
import torch.nn.functional as F  # noqa: F401  a slip uses it
from einops import rearrange

from apt_minimal.course.check import exercise

def macro_f1(gold, predicted):
    """Return the mean F1 of the labels that occur in either list, from 0 to 1."""
    labels = {*gold, *predicted}
    scores = []
    for label in labels:
        hits = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
        true = gold.count(label)
        guessed = predicted.count(label)
        f1 = 2 * hits / (true + guessed)
        scores.append(f1)
    return sum(scores) / len(scores)


@exercise(macro_f1)
def check_macro_f1(draw):
    """
    ? Over which labels is the mean taken, and what is the F1 of a label that only one list has?
    ? For each label of either list count how often it is right, true and predicted. Then take the mean of the F1s.
    ? 2 * hits / (true + predicted), for each label in {*gold, *predicted}
    a label that is predicted but never true counts too, with an F1 of 0 → labels = {*gold}
    a label that is true but never predicted counts too, with an F1 of 0 → labels = {*predicted}
    a label that occurs in only one of the lists counts too, with an F1 of 0 → labels = {*gold} & {*predicted}
    a label that is never true has an F1 of 0, not 1 → f1 = 2 * hits / (true + guessed) if true else 1.0
    labels that occur nowhere don't count: you divide by more →
        labels = range(max(*gold, *predicted) + 1); f1 = 2 * hits / max(true + guessed, 1)
    a label with an F1 of 0 counts, too → return sum(scores) / max(sum(map(bool, scores)), 1)
    the mean is over labels: divide by how many there are → return sum(scores)
    divide by how many labels occur: it isn't always 3 → return sum(scores) / 3
    that is the mean recall: F1 also asks how many of the predictions were right → f1 = hits / max(true, 1)
    that is the mean precision: F1 also asks how many of the true ones were found → f1 = hits / max(guessed, 1)
    first an F1 per label, then their mean: not an F1 of means →
        f1 = torch.tensor([hits / max(true, 1), hits / max(guessed, 1)])
        return float(2 / (len(scores) / sum(scores)).sum())
    macro-F1 weighs labels alike, however often they are true →
        f1 = 2 * hits / (true + guessed) * true * len(labels) / len(gold)
    that is the F1 of label 1 alone: macro-F1 is the mean over labels →
        labels = {1}; f1 = 2 * hits / max(true + guessed, 1)
    F1 is 2 · hits / (true + predicted): yours is half of it → f1 = hits / (true + guessed)
    that is the Jaccard index: F1 is 2 · hits / (true + predicted) → f1 = hits / (true + guessed - hits)
    a hit is a place where the lists agree → hits = min(gold.count(label), predicted.count(label))
    the result is a share from 0 to 1, not per cent → return 100 * sum(scores) / len(scores)
    don't round → return round(sum(scores) / len(scores), 2)
    """
    yield "two labels", [0, 1, 1, 1], [1, 1, 1, 0]
    yield "three labels", [0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 0]
    yield "a label that is true but never predicted", [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    yield "a label that is predicted but never true", [0, 0, 1, 1, 1], [0, 2, 1, 1, 2]
    yield "labels from 3 on", [5, 5, 3, 3, 3], [5, 3, 3, 3, 5]
    yield "nothing right", [0, 1, 0], [1, 0, 1]
    yield "a single label", [4, 4], [4, 4]  # OTHERS {


#         "that is accuracy, where every example counts the same": lambda gold, predicted: fmean(
#             one == other for one, other in zip(gold, predicted, strict=True)
#         ),
#     }


def choice_accuracy(scores, labels):
    """Return the share of examples whose best choice is right: scores [b · c], labels [b]."""
    rows = rearrange(scores, "(b c) -> b c", b=len(labels))
    best = rows.argmax(dim=1)
    right = best == labels
    return right.double().mean().item()


@exercise(choice_accuracy)
def check_choice_accuracy(draw):
    """
    ? Which of the scores belong to one example?
    ? Make it [b, c] first: the example is the slow axis. Then ask each row for the place of its highest score.
    ? scores.view(len(labels), -1).argmax(dim=1) == labels
    an example's choices stand together: not (c b) → rows = rearrange(scores, "(c b) -> b c", b=len(labels))
    the best choice has the highest score, not the lowest → best = rows.argmin(dim=1)
    choices compete: being above 0 decides nothing → right = (rows > 0) == F.one_hot(labels, rows.shape[1]).bool()
    the best of each example is asked for, the maximum along the choices → best = rows.argmax(dim=0)
    choices compete with those of the same example → best = rows.softmax(dim=0).argmax(dim=1)
    that is the share of the wrong ones → right = best != labels
    labels count from 0 → best = rows.argmax(dim=1) + 1
    there aren't always 2 choices, but len(scores) / len(labels) → rows = rearrange(scores, "(b c) -> b c", c=2)
    there aren't always 2 choices: make one row per label → rows = rearrange(scores, "(b c) -> b c", c=2)[: len(labels)]
    the last choice may be nobody's answer → rows = rearrange(scores, "(b c) -> b c", c=int(labels.max()) + 1)
    there may be more than two choices: you compare only the first two → best = rows[:, :2].argmax(dim=1)
    the highest score wins, not the one farthest from 0 → best = rows.abs().argmax(dim=1)
    scores may all be negative, and one of them is still the highest → best = rows.clamp(min=0).argmax(dim=1)
    compare the scores as they are, not cut to integers → best = rows.long().argmax(dim=1)
    a share is asked for, not how many are right → return right.sum().item()
    divide by the number of examples, not of scores → return right.sum().item() / len(scores)
    the result is a share from 0 to 1, not per cent → return 100 * right.double().mean().item()
    """
    yield "two examples of two choices", torch.tensor([0.1, 0.9, 0.8, 0.3]), torch.tensor([1, 1])
    four = [0.2, 0.1, 0.9, 0.3, 0.4, 0.3, 0.1, 0.2, 0.3, 0.8, 0.5, 0.4]
    yield "four choices and labels 0 and 1", torch.tensor(four), torch.tensor([1, 0, 1])
    yield "three choices", draw(12), torch.tensor([0, 2, 1, 2])
    yield "as many choices as examples", draw(16), torch.tensor([2, 0, 3, 1])
    yield "scores that are all above 0", draw(18) + 4, torch.tensor([2, 1, 0, 1, 2, 0])
    yield "scores that are all below 0", torch.tensor([-4.0, -1, -2, -1, -3, -2]), torch.tensor([1, 2])
    yield "scores that differ little", torch.tensor([0.41, 0.44, 0.43, 2.9, 2.1, 3.0]), torch.tensor([1, 2])
    yield "a low score far from 0", torch.tensor([-3.0, 1, 2, -9, 0, 1]), torch.tensor([2, 2])
    yield "one example", draw(2), torch.tensor([1])


def pick_scores(held_out, dev):
    """Return the development scores that the held-out rule and the paper's rule report."""
    chosen = held_out.index(max(held_out))
    first = dev[chosen]
    second = max(dev)
    return first, second


def _listed(found, *given):
    """Two numbers in one tensor will do."""
    return found.tolist() if isinstance(found, torch.Tensor) else found


@exercise(pick_scores, look=_listed)
def check_pick_scores(draw):
    """
    ? In each rule: which list chooses the evaluation, and which one is reported?
    ? Held-out rule: find the evaluation with the highest held-out score and report its development score. Paper's rule: choose and report by development.
    ? dev[held_out.index(max(held_out))] is the first number.
    the other way round: first the held-out rule, then the paper's → return second, first
    the held-out score chooses the evaluation, but isn't what is reported → first = max(held_out)
    of equal scores the earliest counts, not the last → chosen = len(held_out) - 1 - held_out[::-1].index(max(held_out))
    of equal scores the earliest counts, not the best →
        first = max(d for h, d in zip(held_out, dev) if h == max(held_out))
    these are evaluations: their development scores are asked for → first = chosen; second = dev.index(max(dev))
    the held-out rule doesn't take the last evaluation, but the best held-out one → chosen = -1
    the held-out rule must not look at the development scores to choose → chosen = dev.index(max(dev))
    the highest held-out score chooses, not the lowest → chosen = held_out.index(min(held_out))
    the paper's rule reports a development score, too → second = held_out[dev.index(max(dev))]
    the paper's rule takes the best development score of all evaluations → second = dev[chosen]
    the paper's rule doesn't take the last evaluation, but the best → second = dev[-1]
    report the second score itself, not how far it is above the first → second = max(dev) - dev[chosen]
    don't round → return round(first, 2), round(second, 2)
    """
    yield "three evaluations", [0.5, 0.7, 0.6], [0.52, 0.55, 0.61]
    yield "the best evaluation first", [0.9, 0.2, 0.3], [0.41, 0.66, 0.45]
    yield "the best evaluation last", [0.5, 0.6, 0.9], [0.7, 0.5, 0.6]
    yield "equal held-out scores", [0.4, 0.8, 0.6, 0.8, 0.7], [0.5, 0.53, 0.58, 0.57, 0.54]
    yield "equal held-out scores and a better second one", [0.8, 0.8, 0.8, 0.6], [0.55, 0.58, 0.52, 0.6]
    yield "scores close together", [0.5, 0.801, 0.804], [0.5, 0.6021, 0.5512]
    yield "nothing right", [0.0, 0.0], [0.3, 0.2]
    yield "one evaluation", [0.3], [0.6]


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
    ? SE = √(p (1 − p) / n), with p = score / 100. The difference of two independent runs has √2 times as much. Points are 100 times the share.
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
    don't round → return round((1.96 + 0.84) * difference, 1)
    don't round, least of all to whole points → return round((1.96 + 0.84) * difference)
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


@exercise(paired_counts, look=_listed)
def check_paired_counts(draw):
    """
    ? Which examples tell the two methods apart?
    ? For each example: is first right, is second? b counts those with yes and no, c those with no and yes.
    ? 100 * math.sqrt(b + c - (b - c) ** 2 / n) / n is the third number.
    the other way round: first the examples that only the first has right → return c, b, error
    examples that both have right don't tell them apart: they belong in neither count →
        return sum(a for a, _ in right), sum(b for _, b in right), error
    examples that both have right count in neither → b = sum(a for a, _ in right); c = sum(b for _, b in right)
    these are the examples that each has wrong →
        return *(n - k for k in (sum(a for a, _ in right), sum(b for _, b in right))), error
    both right or both wrong tells nothing apart → b = right.count((True, True)); c = right.count((False, False))
    that is the error for two separate sets: pairing makes it smaller →
        variance = sum(k * (n - k) for k in (sum(a for a, _ in right), sum(b for _, b in right))) / n
    (b − c)² / n is missing below the root → variance = b + c
    (b − c)² / n is taken off, not added → variance = b + c + (b - c) ** 2 / n
    (b − c)² is divided by n before it is taken off → variance = max(0, b + c - (b - c) ** 2)
    divide by n, not n − 1 (as torch's and pandas' std do) → error = 100 * math.sqrt(variance / n / (n - 1))
    n counts all examples, not only those that tell the two apart → n = b + c or 1
    both counts are asked for, not what is left when they cancel → return max(b - c, 0), max(c - b, 0), error
    don't round → return b, c, round(error, 1)
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
