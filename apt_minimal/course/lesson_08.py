"""Lesson 08: SuperGLUE, scores and what they are worth."""

from statistics import fmean  # noqa: F401  a slip uses it

import torch
import torch.nn.functional as F  # noqa: F401  a slip uses it
from einops import rearrange

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_08_errors import check_detectable, check_paired_counts, listed  # noqa: F401  8.4, 8.5


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
    that is accuracy, where every example counts the same → return fmean(g == p for g, p in zip(gold, predicted))
    that is the F1 of label 1 alone: macro-F1 is the mean over labels →
        labels = {1}; f1 = 2 * hits / max(true + guessed, 1)
    F1 is 2 · hits / (true + predicted): yours is half of it → f1 = hits / (true + guessed)
    that is the Jaccard index: F1 is 2 · hits / (true + predicted) → f1 = hits / (true + guessed - hits)
    a hit is a place where the lists agree → hits = min(gold.count(label), predicted.count(label))
    """
    yield "two labels", [0, 1, 1, 1], [1, 1, 1, 0]
    yield "three labels", [0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 0]
    yield "a label that is true but never predicted", [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    yield "a label that is predicted but never true", [0, 0, 1, 1, 1], [0, 2, 1, 1, 2]
    yield "labels from 3 on", [5, 5, 3, 3, 3], [5, 3, 3, 3, 5]
    yield "nothing right", [0, 1, 0], [1, 0, 1]
    yield "a single label", [4, 4], [4, 4]


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


@exercise(pick_scores, look=listed)
def check_pick_scores(draw):
    """
    ? In each rule: which list chooses the evaluation, and which one is reported?
    ? Held-out rule: report the development score where held-out is highest. Paper's rule: the best development score.
    ? dev[held_out.index(max(held_out))] is the first number.
    the other way round: first the held-out rule, then the paper's → return second, first
    the held-out score chooses the evaluation, but isn't what is reported → first = max(held_out)
    of equal scores the earliest counts, not the last → chosen = len(held_out) - 1 - held_out[::-1].index(max(held_out))
    of equal scores the earliest counts, not the best →
        first = max(d for h, d in zip(held_out, dev) if h == max(held_out))
    of equal scores the earliest counts, not the worst →
        first = min(d for h, d in zip(held_out, dev) if h == max(held_out))
    the first evaluation counts, too → return pick_scores(held_out[1:] or held_out, dev[1:] or dev)
    these are evaluations: their development scores are asked for → first = chosen; second = dev.index(max(dev))
    the held-out rule doesn't take the last evaluation, but the best held-out one → chosen = -1
    the held-out rule must not look at the development scores to choose → chosen = dev.index(max(dev))
    the highest held-out score chooses, not the lowest → chosen = held_out.index(min(held_out))
    the paper's rule reports a development score, too → second = held_out[dev.index(max(dev))]
    the paper's rule takes the best development score of all evaluations → second = dev[chosen]
    the paper's rule doesn't take the last evaluation, but the best → second = dev[-1]
    report the second score itself, not how far it is above the first → second = max(dev) - dev[chosen]
    """
    yield "three evaluations", [0.5, 0.7, 0.6], [0.52, 0.55, 0.61]
    yield "the best evaluation first", [0.9, 0.2, 0.3], [0.41, 0.66, 0.45]
    yield "the best evaluation last", [0.5, 0.6, 0.9], [0.7, 0.5, 0.6]
    yield "equal held-out scores", [0.4, 0.8, 0.6, 0.8, 0.7], [0.5, 0.53, 0.58, 0.57, 0.54]
    yield "equal held-out scores and a better second one", [0.8, 0.8, 0.8, 0.6], [0.55, 0.58, 0.52, 0.6]
    yield "scores close together", [0.5, 0.801, 0.804], [0.5, 0.6021, 0.5512]
    yield "nothing right", [0.0, 0.0], [0.3, 0.2]
    yield "one evaluation", [0.3], [0.6]
