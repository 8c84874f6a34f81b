"""Lesson 08's checkers pass right answers in different styles, and name the usual mistakes."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from einops import rearrange
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from apt_minimal.course import lesson_08 as exercises

F1, CHOICE, PICK = exercises.check_macro_f1, exercises.check_choice_accuracy, exercises.check_pick_scores
DETECTABLE, PAIRED = exercises.check_detectable, exercises.check_paired_counts


def f1_by_sklearn(gold, predicted):
    return f1_score(gold, predicted, average="macro", zero_division=0.0)


def f1_by_counter(gold, predicted):
    true, guessed = Counter(gold), Counter(predicted)
    hits = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    labels = true | guessed
    return sum(2 * hits[label] / (true[label] + guessed[label]) for label in labels) / len(labels)


def f1_by_tensors(gold, predicted):
    gold, predicted = torch.tensor(gold), torch.tensor(predicted)
    labels = torch.cat([gold, predicted]).unique()[:, None]
    hits = ((gold == labels) & (predicted == labels)).sum(1)
    return (2 * hits / ((gold == labels).sum(1) + (predicted == labels).sum(1))).mean()


def choice_by_loop(scores, labels):
    c, right = len(scores) // len(labels), 0
    for i, label in enumerate(labels.tolist()):
        row = scores[i * c : (i + 1) * c].tolist()
        right += row.index(max(row)) == label
    return right / len(labels)


def choice_by_view(scores, labels):
    return (scores.view(len(labels), -1).max(dim=-1).indices == labels).float().mean()


def choice_by_numpy(scores, labels):
    return np.mean(scores.numpy().reshape(len(labels), -1).argmax(1) == labels.numpy())


def pick_by_loop(held_out, dev):
    best, at = -1.0, None
    for i, score in enumerate(held_out):
        if score > best:
            best, at = score, i
    return [dev[at], sorted(dev)[-1]]


def detectable_by_parts(score, n):
    p = score / 100
    variance = p * (1 - p) / n
    return 100 * 2.8 * (variance + variance) ** 0.5


def paired_by_differences(gold, first, second):
    gold, first, second = map(np.array, (gold, first, second))
    difference = (first == gold).astype(float) - (second == gold)
    return (difference > 0).sum(), (difference < 0).sum(), 100 * difference.std() / math.sqrt(len(gold))


def paired_by_loop(gold, first, second):
    b = c = 0
    for g, x, y in zip(gold, first, second, strict=True):
        if x == g and y != g:
            b += 1
        elif x != g and y == g:
            c += 1
    n = len(gold)
    return [b, c, 100 * math.sqrt((b + c) / n - ((b - c) / n) ** 2) / math.sqrt(n)]


def paired_by_tensors(gold, first, second):
    gold, first, second = (torch.tensor(x, dtype=torch.float64) for x in (gold, first, second))
    one, other = first == gold, second == gold
    b, c, n = (one & ~other).sum(), (~one & other).sum(), len(gold)
    return b, c, 100 / n * (b + c - (b - c) ** 2 / n).sqrt()


RIGHT = [
    *((F1, answer) for answer in (f1_by_sklearn, f1_by_counter, f1_by_tensors)),
    *((CHOICE, answer) for answer in (choice_by_loop, choice_by_view, choice_by_numpy)),
    *((PICK, answer) for answer in (pick_by_loop, lambda h, d: (d[int(np.argmax(h))], max(d)))),
    (PICK, lambda h, d: torch.tensor([d[torch.tensor(h).argmax()], max(d)], dtype=torch.float64)),
    (DETECTABLE, detectable_by_parts),
    (DETECTABLE, lambda score, n: 2.8 * math.sqrt(2 * score * (100 - score) / n)),
    (DETECTABLE, lambda score, n: np.sqrt(2) * 280 * np.sqrt(np.float64(score) / 100 * (1 - score / 100) / n)),
    *((PAIRED, answer) for answer in (paired_by_differences, paired_by_loop, paired_by_tensors)),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def argmax_rows(scores, b, **order):
    return rearrange(scores, order.get("order", "(b c) -> b c"), b=b).argmax(1)


def se(score, n):
    return 100 * math.sqrt(score / 100 * (1 - score / 100) / n)


def wrong_counts(gold, first, second):
    n, (b, c, error) = len(gold), paired_by_loop(gold, first, second)
    return n, b, c, error


def only_gold_f1(gold, predicted):
    return f1_score(gold, predicted, average="macro", labels=sorted(set(gold)), zero_division=0.0)


def only_predicted_f1(gold, predicted):
    return f1_score(gold, predicted, average="macro", labels=sorted(set(predicted)), zero_division=0.0)


def common_f1(gold, predicted):
    common = sorted(set(gold) & set(predicted))
    return f1_score(gold, predicted, average="macro", labels=common, zero_division=0.0) if common else 0.0


def f1_of_means(gold, predicted):
    p, r = (f(gold, predicted, average="macro", zero_division=0.0) for f in (precision_score, recall_score))
    return 2 * p * r / (p + r) if p + r else 0.0


def every_number_f1(gold, predicted):
    every = list(range(max(gold + predicted) + 1))
    return f1_score(gold, predicted, average="macro", labels=every, zero_division=0.0)


def above_zero(scores, labels):
    gold = torch.zeros(len(labels), len(scores) // len(labels))
    gold[range(len(labels)), labels] = 1
    return ((scores > 0) == gold.flatten().bool()).float().mean()


def unpaired(gold, first, second):
    n, b, c, _ = wrong_counts(gold, first, second)
    one, other = (np.mean(np.array(x) == np.array(gold)) for x in (first, second))
    return b, c, 100 * math.sqrt(one * (1 - one) / n + other * (1 - other) / n)


def misses(gold, first, second):
    _, _, _, error = wrong_counts(gold, first, second)
    return *(sum(g != x for g, x in zip(gold, xs, strict=True)) for xs in (first, second)), error


def hits(gold, first, second):
    _, _, _, error = wrong_counts(gold, first, second)
    return *(sum(g == x for g, x in zip(gold, xs, strict=True)) for xs in (first, second)), error


def disagree(gold, first, second):
    _, _, _, error = wrong_counts(gold, first, second)
    differ = sum(x != y for x, y in zip(first, second, strict=True))
    return differ, differ, error


def with_error(error):
    def mistaken(gold, first, second):
        n, b, c, right = wrong_counts(gold, first, second)
        return b, c, error(b, c, n, right)

    return mistaken


def net(gold, first, second):
    _, b, c, error = wrong_counts(gold, first, second)
    return max(b - c, 0), max(c - b, 0), error


MISTAKES = [
    (F1, accuracy_score, "that is accuracy"),
    (F1, only_gold_f1, "predicted but never true"),
    (F1, only_predicted_f1, "true but never predicted"),
    (F1, every_number_f1, "you divide by more"),
    (F1, lambda g, p: recall_score(g, p, average="macro", zero_division=0.0), "mean recall"),
    (F1, lambda g, p: precision_score(g, p, average="macro", zero_division=0.0), "mean precision"),
    (F1, f1_of_means, "first an F1 for each label"),
    (F1, lambda g, p: f1_score(g, p, average="weighted", zero_division=0.0), "weighted by how often"),
    (F1, lambda g, p: jaccard_score(g, p, average="macro", zero_division=0.0), "Jaccard"),
    (F1, lambda g, p: f1_score([x == 1 for x in g], [x == 1 for x in p], zero_division=0.0), "label 1 alone"),
    (F1, lambda g, p: f1_by_counter(g, p) * len({*g, *p}), "divide by how many"),
    (F1, lambda g, p: f1_by_counter(g, p) * len({*g, *p}) / 3, "you divide by 3"),
    (F1, common_f1, "in only one of the lists"),
    (F1, lambda g, p: f1_by_counter(g, p) / 2, "half of it"),
    (F1, lambda g, p: 100 * f1_by_counter(g, p), "not per cent"),
    (CHOICE, lambda s, y: (argmax_rows(s, len(y), order="(c b) -> b c") == y).float().mean(), "not (c b)"),
    (CHOICE, lambda s, y: (s.view(len(y), -1).argmin(1) == y).float().mean(), "not the lowest"),
    (CHOICE, lambda s, y: (s.view(len(y), -1).argmax(1) != y).float().mean(), "share of the wrong"),
    (CHOICE, above_zero, "above 0 decides nothing"),
    (CHOICE, lambda s, y: (argmax_rows(s, len(y)) + 1 == y).float().mean(), "count from 0"),
    (CHOICE, lambda s, y: (s.view(-1, 2).argmax(1) == y).float().mean(), "isn't always 2"),
    (CHOICE, lambda s, y: (argmax_rows(s, len(y)) == y).sum(), "not how many"),
    (CHOICE, lambda s, y: (s.view(-1, 2).argmax(1)[: len(y)] == y).float().mean(), "as many rows as"),
    (
        CHOICE,
        lambda s, y: ((s.view(len(y), -1)[:, 1] > s.view(len(y), -1)[:, 0]).long() == y).float().mean(),
        "first two",
    ),
    (CHOICE, lambda s, y: choice_by_loop(s, y) * len(y) / len(s), "not of scores"),
    (CHOICE, lambda s, y: choice_by_loop(s.abs(), y), "farthest from 0"),
    (CHOICE, lambda s, y: choice_by_loop(s.long(), y), "cut to integers"),
    (CHOICE, lambda s, y: 100 * choice_by_loop(s, y), "not per cent"),
    (PICK, lambda h, d: (max(d), d[h.index(max(h))]), "other way round"),
    (PICK, lambda h, d: (max(h), max(d)), "the held-out score chooses"),
    (PICK, lambda h, d: (d[max(range(len(h)), key=lambda i: (h[i], i))], max(d)), "not the last"),
    (PICK, lambda h, d: (h.index(max(h)), d.index(max(d))), "these are the evaluations"),
    (PICK, lambda h, d: (d[-1], max(d)), "held-out rule doesn't take the last"),
    (PICK, lambda h, d: (d[h.index(max(h))], d[-1]), "paper's rule doesn't take the last"),
    (PICK, lambda h, d: (d[h.index(min(h))], max(d)), "not the lowest"),
    (PICK, lambda h, d: (d[h.index(max(h))], max(d) - d[h.index(max(h))]), "not the difference"),
    (PICK, lambda h, d: (d[max(range(len(h)), key=lambda i: (h[i], d[i]))], max(d)), "has no say"),
    (PICK, lambda h, d: (d[max(range(len(h)), key=lambda i: (h[i], -d[i]))], max(d)), "lowest development score"),
    (PICK, lambda h, d: (d[h.index(max(h))], h[d.index(max(d))]), "not a held-out one"),
    (PICK, lambda h, d: (d[h.index(max(h))],) * 2, "of all evaluations"),
    (PICK, lambda h, d: (max(d), max(d)), "must not look"),
    (DETECTABLE, se, "error of one score"),
    (DETECTABLE, lambda s, n: math.sqrt(2) * se(s, n), "of which 2.8"),
    (DETECTABLE, lambda s, n: 2.8 * se(s, n), "each with its own error"),
    (DETECTABLE, lambda s, n: 2.8 * 2 * se(s, n), "not 2"),
    (DETECTABLE, lambda s, n: 1.96 * math.sqrt(2) * se(s, n), "half of the cases"),
    (DETECTABLE, lambda s, n: detectable_by_parts(s, n) / 100, "in points, not a share"),
    (DETECTABLE, lambda s, n: detectable_by_parts(s, 1), "without n"),
    (DETECTABLE, lambda s, n: detectable_by_parts(s, n) / math.sqrt(n), "before the root"),
    (DETECTABLE, lambda s, n: 280 * math.sqrt(2) * s / 100 * (1 - s / 100) / n, "root is missing"),
    (DETECTABLE, lambda s, n: 1.12 * math.sqrt(2) * se(s, n), "add up"),
    (DETECTABLE, lambda s, n: detectable_by_parts(s, n - 1), "not n − 1"),
    (DETECTABLE, lambda s, n: round(detectable_by_parts(s, n), 1), "don't round"),
    (DETECTABLE, lambda s, n: detectable_by_parts(int(s), n), "need not be whole"),
    (DETECTABLE, lambda s, n: 280 * math.sqrt(2) * (s / 100) / math.sqrt(n), "not p²"),
    (DETECTABLE, lambda s, n: 2.8 * math.sqrt(2) * s * (100 - s) / n, "its root is missing"),
    (DETECTABLE, lambda s, n: 2.8 * se(s, 2 * n), "each run has n examples"),
    (DETECTABLE, lambda s, n: detectable_by_parts(50, n), "depends on the score"),
    (PAIRED, lambda g, a, b: [paired_by_loop(g, b, a)[i] for i in (0, 1, 2)], "other way round"),
    (PAIRED, hits, "both predict right"),
    (PAIRED, misses, "one predicts wrong"),
    (PAIRED, unpaired, "different examples"),
    (PAIRED, with_error(lambda b, c, n, right: 100 * math.sqrt(b + c) / n), "(b − c)² / n is missing"),
    (PAIRED, with_error(lambda b, c, n, right: right / 100), "in points"),
    (PAIRED, with_error(lambda b, c, n, right: right * math.sqrt(n)), "once more by √n"),
    (PAIRED, with_error(lambda b, c, n, right: right**2 / 100), "root is missing"),
    (PAIRED, with_error(lambda b, c, n, right: 100 * (b - c) / n), "the difference itself"),
    (PAIRED, with_error(lambda b, c, n, right: 100 * math.sqrt(b + c + (b - c) ** 2 / n) / n), "not added"),
    (
        PAIRED,
        with_error(lambda b, c, n, right: 100 * math.sqrt(max(b + c - (b - c) ** 2, 0)) / n),
        "before it is taken off",
    ),
    (PAIRED, with_error(lambda b, c, n, right: right * math.sqrt(n / (n - 1))), "not n − 1"),
    (
        PAIRED,
        with_error(
            lambda b, c, n, right: 100 * math.sqrt(1 - (b - c) ** 2 / (b + c) ** 2) / math.sqrt(b + c) if b + c else 0.0
        ),
        "only the discordant",
    ),
    (PAIRED, with_error(lambda b, c, n, right: round(right, 1)), "don't round"),
    (PAIRED, with_error(lambda b, c, n, right: 100 * (b + c - (b - c) ** 2 / n) / n), "root is missing"),
    (PAIRED, net, "when they cancel"),
    (PAIRED, disagree, "both be wrong"),
]


@pytest.mark.parametrize(("check", "answer", "said"), MISTAKES)
def test_mistakes_are_named(check, answer, said, capsys):
    assert not check(answer)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and said in out and out.count("\n") == 1


UNNAMED = [
    (F1, lambda g, p: 0.5, "for each label"),
    (CHOICE, lambda s, y: 0.37, "cut scores into b rows"),
    (PICK, lambda h, d: (d[0], max(d)), "first dev where"),
    (DETECTABLE, lambda s, n: 1.0, "2.8"),
    (PAIRED, lambda g, a, b: (1, 1, 1.0), "b and c: one list"),
]


@pytest.mark.parametrize(("check", "answer", "hint"), UNNAMED)
def test_other_wrong_answers_get_a_hint(check, answer, hint, capsys):
    assert not check(answer)
    assert capsys.readouterr().out.startswith("✗ " + hint)


@pytest.mark.parametrize("check", [F1, CHOICE, PICK, DETECTABLE, PAIRED])
def test_an_unsolved_one_says_so(check, capsys):
    def stub(*inputs):
        raise NotImplementedError

    assert not check(stub)
    assert capsys.readouterr().out == "… not solved yet\n"
