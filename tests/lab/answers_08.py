"""Answers to the exercises of lesson 08: how they came about is said in test_answers.py."""

import math
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from sklearn.metrics import accuracy_score, f1_score

from apt_minimal import course as exercises

# 8.1: macro_f1(gold, predicted), two lists of integers


def hits(gold, predicted, label):
    return sum(g == p == label for g, p in zip(gold, predicted, strict=True))


def f1s(gold, predicted, labels):
    """Each label's F1, where a label that occurs nowhere counts as 0."""
    sizes = [gold.count(label) + predicted.count(label) for label in labels]
    return [2 * hits(gold, predicted, x) / size if size else 0.0 for x, size in zip(labels, sizes, strict=True)]


def mean(values):
    return sum(values) / len(values)


def precision_and_recall(gold, predicted):
    total, labels = 0.0, set(gold) | set(predicted)
    for label in labels:
        found = hits(gold, predicted, label)
        if found:
            precision, recall = found / predicted.count(label), found / gold.count(label)
            total += 2 * precision * recall / (precision + recall)
    return total / len(labels)


def confusion_matrix(gold, predicted):
    _, places = np.unique([*gold, *predicted], return_inverse=True)
    table = np.zeros((places.max() + 1,) * 2)
    np.add.at(table, (places[: len(gold)], places[len(gold) :]), 1)
    return float((2 * table.diagonal() / (table.sum(0) + table.sum(1))).mean())


def one_hot_tensors(gold, predicted):
    labels = torch.tensor([*gold, *predicted]).unique()
    g, p = (torch.tensor(x)[:, None] == labels for x in (gold, predicted))
    return (2 * (g & p).sum(0) / (g.sum(0) + p.sum(0)).double()).mean().item()


def counters(gold, predicted):
    size = Counter(gold) + Counter(predicted)
    right = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    return sum(2 * right[label] / size[label] for label in size) / len(size)


def mean_precision_recall(gold, predicted):
    labels = {*gold, *predicted}
    precision = mean([hits(gold, predicted, x) / max(1, predicted.count(x)) for x in labels])
    recall = mean([hits(gold, predicted, x) / max(1, gold.count(x)) for x in labels])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


RIGHT_8_1 = {
    "precision_and_recall": precision_and_recall,
    "confusion_matrix": confusion_matrix,
    "one_hot_tensors": one_hot_tensors,
    "counters": counters,
    "sklearn": lambda gold, predicted: f1_score(gold, predicted, average="macro", zero_division=0),
}

WRONG_8_1 = {
    "gold_labels_only": ("labels that are only predicted are left out", lambda g, p: mean(f1s(g, p, {*g}))),
    "predicted_labels_only": ("labels that are never predicted are left out", lambda g, p: mean(f1s(g, p, {*p}))),
    "labels_in_both": (
        "only labels that occur in both lists",
        lambda g, p: mean(f1s(g, p, {*g} & {*p})) if {*g} & {*p} else 0.0,
    ),
    "up_to_the_largest": (
        "labels in between that occur nowhere count too",
        lambda g, p: mean(f1s(g, p, range(max(*g, *p) + 1))),
    ),
    "three_labels": ("the number of labels is fixed", lambda g, p: sum(f1s(g, p, {*g, *p})) / 3),
    "accuracy": ("accuracy", lambda g, p: float(accuracy_score(g, p))),
    "weighted": (
        "weighted by how often a label is true",
        lambda g, p: f1_score(g, p, average="weighted", zero_division=0),
    ),
    "recall": ("the mean of the recalls", lambda g, p: mean([hits(g, p, x) / max(1, g.count(x)) for x in {*g, *p}])),
    "f1_of_the_means": ("F1 of the mean precision and the mean recall", mean_precision_recall),
    "perfect_absent": (
        "a label that is never true has an F1 of 1",
        lambda g, p: mean([f1s(g, p, [x])[0] if x in g else 1.0 for x in {*g, *p}]),
    ),
}

# 8.2: choice_accuracy(scores [b · c], labels [b])


def by_loops(scores, labels):
    values, right, size = scores.tolist(), 0, len(scores) // len(labels)
    for i, label in enumerate(labels.tolist()):
        own = values[i * size : (i + 1) * size]
        right += all(own[label] > x for j, x in enumerate(own) if j != label)
    return right / len(labels)


def by_sorting(scores, labels):
    order = scores.double().reshape(len(labels), -1).numpy().argsort(axis=1)
    return (order[:, -1] == labels.numpy()).mean()


def by_gather(scores, labels):
    rows = rearrange(scores, "(b c) -> b c", b=len(labels))
    return (rows.gather(1, labels[:, None])[:, 0] == rows.amax(dim=1)).double().mean()


def by_one_hot(scores, labels):
    rows = scores.unflatten(0, (len(labels), -1))
    wanted = F.one_hot(labels, rows.shape[1])
    return (F.one_hot(rows.argmax(1), rows.shape[1]) * wanted).sum().item() / wanted.sum().item()


def accuracy(picked, labels):
    return (picked == labels).double().mean().item()


def above_zero(scores, labels):
    """Each score is judged by itself: above 0 is "right"."""
    rows = scores.view(len(labels), -1)
    return ((rows > 0) == F.one_hot(labels, rows.shape[1]).bool()).double().mean().item()


RIGHT_8_2 = {
    "loops": by_loops,
    "numpy_sorting": by_sorting,
    "gather": by_gather,
    "one_hot": by_one_hot,
    "chunks": lambda s, y: mean([float(part.argmax() == z) for part, z in zip(s.chunk(len(y)), y, strict=True)]),
}

WRONG_8_2 = {
    "two_choices": ("two choices are hard-coded", lambda s, y: accuracy(s.view(-1, 2).argmax(1)[: len(y)], y)),
    "choices_first": ("'(c b) -> b c'", lambda s, y: accuracy(rearrange(s, "(c b) -> b c", b=len(y)).argmax(1), y)),
    "interleaved_view": ("view(c, b), best over c", lambda s, y: accuracy(s.view(-1, len(y)).argmax(0), y)),
    "lowest": ("the lowest score is picked", lambda s, y: accuracy(s.view(len(y), -1).argmin(1), y)),
    "of_all_scores": ("divided by b · c", lambda s, y: accuracy(s.view(len(y), -1).argmax(1), y) * len(y) / len(s)),
    "from_one": ("choices are counted from 1", lambda s, y: accuracy(s.view(len(y), -1).argmax(1) + 1, y)),
    "above_zero": ("each score by itself, above 0", above_zero),
    "by_size": ("the score largest in size", lambda s, y: accuracy(s.view(len(y), -1).abs().argmax(1), y)),
    "first_or_not": (
        "only whether the first is higher than the second",
        lambda s, y: accuracy((s.view(len(y), -1)[:, 1] > s.view(len(y), -1)[:, 0]).long(), y),
    ),
    "integers": (
        "scores are cut to integers first",
        lambda s, y: accuracy(s.view(len(y), -1).long().argmax(1), y),
    ),
}

# 8.3: pick_scores(held_out, dev)


def scores_by_loop(held_out, dev):
    chosen = 0
    for epoch, value in enumerate(held_out):
        if value > held_out[chosen]:
            chosen = epoch
    return dev[chosen], max(dev)


class Picker:
    def __call__(self, held_out, dev):
        order = sorted(range(len(dev)), key=lambda epoch: (-held_out[epoch], epoch))
        return [dev[order[0]], sorted(dev)[-1]]


def last_of_equals(held_out, dev):
    return dev[max(range(len(dev)), key=lambda i: (held_out[i], i))], max(dev)


RIGHT_8_3 = {
    "loop": scores_by_loop,
    "class": Picker(),
    "numpy": lambda held_out, dev: (np.array(dev)[np.argmax(held_out)], np.max(dev)),
    "max_with_key": lambda held_out, dev: (max(zip(held_out, dev, strict=True), key=lambda pair: pair[0])[1], max(dev)),
    "tensors": lambda h, d: torch.tensor([d[h.index(max(h))], max(d)], dtype=torch.float64),
}

WRONG_8_3 = {
    "turned_round": ("the two rules swapped", lambda h, d: (max(d), d[h.index(max(h))])),
    "last_of_equals": ("of equal held-out scores the last", last_of_equals),
    "best_of_equals": (
        "of equal held-out scores the one with the best development score",
        lambda h, d: (max(zip(h, d, strict=True))[1], max(d)),
    ),
    "worst_of_equals": (
        "of equal held-out scores the one with the lowest development score",
        lambda h, d: (max(zip(h, (-x for x in d), strict=True))[1] * -1, max(d)),
    ),
    "held_out_score": ("the held-out score itself", lambda h, d: (max(h), max(d))),
    "held_out_at_best": ("the second is the held-out score", lambda h, d: (d[h.index(max(h))], h[d.index(max(d))])),
    "lowest": ("the lowest held-out score chooses", lambda h, d: (d[h.index(min(h))], max(d))),
    "optimism": ("the second is the difference", lambda h, d: (d[h.index(max(h))], max(d) - d[h.index(max(h))])),
    "first_forgotten": (
        "the first epoch is left out",
        lambda h, d: (d[h.index(max(h[1:]), 1)] if h[1:] else d[0], max(d[1:] or d)),
    ),
}

# 8.4: detectable(score, n)


def step_by_step(score, n):
    right = score / 100
    variance_of_one_answer = right * (1 - right)
    error_of_a_run = math.sqrt(variance_of_one_answer / n)
    return 100 * (1.96 + 0.84) * math.hypot(error_of_a_run, error_of_a_run)


def log_space(score, n):
    if score in (0, 100):
        return 0.0
    return math.exp(math.log(2.8) + (math.log(2) + math.log(score) + math.log(100 - score) - math.log(n)) / 2)


RIGHT_8_4 = {
    "steps": step_by_step,
    "log_space": log_space,
    "per_cent_inside": lambda score, n: 2.8 * (2 * score * (100 - score) / n) ** 0.5,
    "numpy": lambda score, n: np.float64(280) * np.sqrt(2 * np.var([1, 0]) * 4 * score / 100 * (1 - score / 100) / n),
    "tensor": lambda score, n: 280 * torch.tensor(2 * score * (100 - score) / 1e4 / n, dtype=torch.float64).sqrt(),
}


def se(score, n):
    return 100 * math.sqrt(score / 100 * (1 - score / 100) / n)


WRONG_8_4 = {
    "two": ("2 in place of √2", lambda s, n: 5.6 * se(s, n)),
    "minus": ("1.96 − 0.84", lambda s, n: 1.12 * math.sqrt(2) * se(s, n)),
    "n_minus_1": ("n − 1 in place of n", lambda s, n: 2.8 * math.sqrt(2) * se(s, n - 1)),
    "no_root": ("the root is forgotten", lambda s, n: 2.8 * math.sqrt(2) * s * (100 - s) / n),
    "n_outside": ("n is not below the root", lambda s, n: 2.8 * math.sqrt(2) * se(s, 1) / n),
    "worst_case": ("p is always a half", lambda s, n: 2.8 * math.sqrt(2) * se(50, n)),
    "p_squared": ("p² in place of p (1 − p)", lambda s, n: 280 * math.sqrt(2) * s / 100 / math.sqrt(n)),
    "rounded": ("rounded to one decimal", lambda s, n: round(2.8 * math.sqrt(2) * se(s, n), 1)),
    "two_n": ("two runs make 2 n examples", lambda s, n: 2.8 * se(s, 2 * n)),
    "whole_per_cent": ("the score is cut to a whole number", lambda s, n: 2.8 * math.sqrt(2) * se(int(s), n)),
}

# 8.5: paired_counts(gold, first, second)


def bc(gold, first, second):
    rows = list(zip(gold, first, second, strict=True))
    return sum(g == x != y for g, x, y in rows), sum(g == y != x for g, x, y in rows)


def points(b, c, n):
    return 100 * math.sqrt(max(0, b + c - (b - c) ** 2 / n)) / n


def with_error(formula):
    """An answer with the right counts, and its own error from b, c and n."""

    def answer(gold, first, second):
        b, c = bc(gold, first, second)
        return b, c, formula(b, c, len(gold))

    return answer


def counts_by_loop(gold, first, second):
    only = [0, 0]
    for i in range(len(gold)):
        if (first[i] == gold[i]) != (second[i] == gold[i]):
            only[int(second[i] == gold[i])] += 1
    b, c = only
    return b, c, points(b, c, len(gold))


def numpy_differences(gold, first, second):
    difference = (np.array(first) == gold).astype(float) - (np.array(second) == gold)
    return np.sum(difference > 0), np.sum(difference < 0), 100 * difference.std() / len(gold) ** 0.5


def tensor_differences(gold, first, second):
    g, x, y = map(torch.tensor, (gold, first, second))
    difference = (x == g).double() - (y == g).double()
    error = 100 * difference.std(correction=0) / math.sqrt(len(gold))
    return [(difference == 1).sum(), (difference == -1).sum(), error]


def variances(gold, first, second):
    """Var X + Var Y − 2 Cov, the covariance of two yes-or-no columns."""
    x, y = ([int(p == g) for p, g in zip(z, gold, strict=True)] for z in (first, second))
    table = np.cov(x, y, ddof=0)
    both, n = sum(map(min, x, y)), len(gold)
    error = max(0.0, table[0, 0] + table[1, 1] - 2 * table[0, 1])
    return sum(x) - both, sum(y) - both, 100 * math.sqrt(error / n)


def rest_is_first(gold, first, second):
    """Every example with two different predictions counts: for the second where it is right, else for the first."""
    rows = [(g, x, y) for g, x, y in zip(gold, first, second, strict=True) if x != y]
    c = sum(g == y for g, _, y in rows)
    return len(rows) - c, c, points(len(rows) - c, c, len(gold))


def binary(gold, first, second):
    """Right means that both are 0 or both are not."""
    return paired([bool(g) for g in gold], [bool(x) for x in first], [bool(y) for y in second])


def paired(gold, first, second):
    return with_error(points)(gold, first, second)


def totals(gold, first, second):
    x, y = (sum(g == p for g, p in zip(gold, z, strict=True)) for z in (first, second))
    return x, y, paired(gold, first, second)[2]


def net(gold, first, second):
    b, c = bc(gold, first, second)
    return max(b - c, 0), max(c - b, 0), points(b, c, len(gold))


def unpaired(gold, first, second):
    n, (b, c) = len(gold), bc(gold, first, second)
    x, y = (sum(g == p for g, p in zip(gold, z, strict=True)) / n for z in (first, second))
    return b, c, 100 * math.sqrt((x * (1 - x) + y * (1 - y)) / n)


RIGHT_8_5 = {
    "loop": counts_by_loop,
    "numpy": numpy_differences,
    "tensors": tensor_differences,
    "covariance": variances,
    "formula": paired,
}

WRONG_8_5 = {
    "unpaired": ("the error of two independent runs", unpaired),
    "n_minus_1": ("n − 1 in place of n", with_error(lambda b, c, n: points(b, c, n) * math.sqrt(n / (n - 1)))),
    "mcnemar": ("(b − c)² is left out", with_error(lambda b, c, n: 100 * math.sqrt(b + c) / n)),
    "not_over_n": (
        "(b − c)² is not divided by n",
        with_error(lambda b, c, n: 100 * math.sqrt(max(0, b + c - (b - c) ** 2)) / n),
    ),
    "discordant_only": (
        "n is the number of discordant examples",
        with_error(lambda b, c, n: points(b, c, b + c) if b + c else 0.0),
    ),
    "both_wrong_first": ("both wrong but different counts for the first", rest_is_first),
    "two_labels": ("labels other than 0 are all the same", binary),
    "totals": ("how many each has right, not it alone", totals),
    "net": ("only what is left after b and c cancel", net),
    "rounded": ("the error rounded to one decimal", with_error(lambda b, c, n: round(points(b, c, n), 1))),
}

CHECKS = [
    (exercises.check_macro_f1, RIGHT_8_1, WRONG_8_1),
    (exercises.check_choice_accuracy, RIGHT_8_2, WRONG_8_2),
    (exercises.check_pick_scores, RIGHT_8_3, WRONG_8_3),
    (exercises.check_detectable, RIGHT_8_4, WRONG_8_4),
    (exercises.check_paired_counts, RIGHT_8_5, WRONG_8_5),
]
