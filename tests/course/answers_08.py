"""Lesson 08: right answers in another style, and wrong ones that no slip names."""

import math
from collections import Counter

import numpy as np
import torch
from sklearn.metrics import f1_score

from apt_minimal import course

# 8.1


def counters(gold, predicted):
    size = Counter(gold) + Counter(predicted)
    right = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    return sum(2 * right[label] / size[label] for label in size) / len(size)


def by_sklearn(gold, predicted):
    return f1_score(gold, predicted, average="macro", zero_division=0)


# 8.2


def by_loops(scores, labels):
    values, right, size = scores.tolist(), 0, len(scores) // len(labels)
    for i, label in enumerate(labels.tolist()):
        own = values[i * size : (i + 1) * size]
        right += all(own[label] > x for j, x in enumerate(own) if j != label)
    return right / len(labels)


# 8.3


def by_loop(held_out, dev):
    chosen = 0
    for epoch, value in enumerate(held_out):
        if value > held_out[chosen]:
            chosen = epoch
    return [dev[chosen], sorted(dev)[-1]]


def first_forgotten(held_out, dev):
    return by_loop(held_out[1:] or held_out, dev[1:] or dev)


# 8.4


def step_by_step(score, n):
    right = score / 100
    error_of_a_run = math.sqrt(right * (1 - right) / n)
    return 100 * (1.96 + 0.84) * math.hypot(error_of_a_run, error_of_a_run)


# 8.5


def numpy_differences(gold, first, second):
    difference = (np.array(first) == gold).astype(float) - (np.array(second) == gold)
    return np.sum(difference > 0), np.sum(difference < 0), 100 * difference.std() / len(gold) ** 0.5


def tensor_differences(gold, first, second):
    g, x, y = map(torch.tensor, (gold, first, second))
    difference = (x == g).double() - (y == g).double()
    error = 100 * difference.std(correction=0) / math.sqrt(len(gold))
    return [(difference == 1).sum(), (difference == -1).sum(), error]


def two_labels(gold, first, second):
    return numpy_differences(*([int(label > 0) for label in labels] for labels in (gold, first, second)))


CHECKS = [
    (
        course.check_macro_f1,
        {"counters": counters, "sklearn": by_sklearn},
        {"a tenth too high": lambda gold, predicted: counters(gold, predicted) + 0.1},
    ),
    (
        course.check_choice_accuracy,
        {"loops": by_loops, "numpy": lambda s, y: (s.numpy().reshape(len(y), -1).argmax(axis=1) == y.numpy()).mean()},
        {
            "without the last example": lambda scores, labels: by_loops(
                scores[: -len(scores) // len(labels)], labels[:-1]
            )
        },
    ),
    (
        course.check_pick_scores,
        {"loop": by_loop, "numpy": lambda held_out, dev: np.array([dev[np.argmax(held_out)], np.max(dev)])},
        {"the first evaluation left out": first_forgotten},
    ),
    (
        course.check_detectable,
        {"steps": step_by_step, "per cent below the root": lambda s, n: 2.8 * (2 * s * (100 - s) / n) ** 0.5},
        {"three standard errors": lambda score, n: 3 / 2.8 * step_by_step(score, n)},
    ),
    (
        course.check_paired_counts,
        {"numpy": numpy_differences, "tensors": tensor_differences},
        {"labels other than 0 are all the same": two_labels},
    ),
]
