"""Lesson 06's checkers pass right answers in different styles, and name the usual mistakes."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from apt_minimal.course import lesson_06 as exercises

ERROR, MATCH = exercises.check_relative_error, exercises.check_match_tokens
CANONICAL, RECOVERABLE = exercises.check_canonical, exercises.check_recoverable


@pytest.fixture(autouse=True, params=[torch.float32, torch.float64], ids=["fp32", "fp64"])
def _default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


def error_by_loop(a, b):
    above = below = 0.0
    for one, other in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        above += (one - other) ** 2
        below += other**2
    return math.sqrt(above / below)


def error_in_numpy(a, b):
    return np.linalg.norm((a - b).numpy().ravel()) / np.linalg.norm(b.numpy().ravel())


def order_by_trying(student, teacher):
    best, smallest = None, math.inf
    for order in permutations(range(len(teacher))):
        cost = sum(((student[j] - teacher[i]) ** 2).sum().item() for i, j in enumerate(order))
        if cost < smallest:
            best, smallest = order, cost
    return torch.tensor(best)


def order_by_assignment(student, teacher):
    return torch.from_numpy(linear_sum_assignment(torch.cdist(teacher, student).numpy() ** 2)[1])


def order_by_inner_products(student, teacher):
    # the squared norms do not depend on the order, so only the inner products count
    return linear_sum_assignment((teacher @ student.T).numpy(), maximize=True)[1].tolist()


def order_by_inverse(student, teacher):
    cost = (student[:, None] - teacher[None]).square().sum(dim=-1)
    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1]).argsort()


def canonical_by_sums(scale, key, value):
    size = ((key**2).sum() + (value**2).sum()) ** 0.5
    if scale < 0:
        key, value, scale = -key, -value, -scale
    return [scale * size, key / size, value / size]


def canonical_by_product(scale, key, value):
    both = scale * torch.cat([key, value], dim=1)
    size = both.norm()
    key, value = (both / size).chunk(2, dim=1)
    return size, key, value


def canonical_in_place(scale, key, value):
    c = math.copysign(torch.stack([key, value]).norm().item(), scale.item())
    key /= c
    value /= c
    return scale.item() * c, key, value


ALWAYS = {"lambda*alpha*P", "m"}


def recoverable_as_list(varies):
    names = ["m", "lambda*alpha*P"]
    if varies:
        names += ["W", "alpha", "lambda*P"]
    return names


@pytest.mark.parametrize(
    "check, answer",
    [
        (ERROR, error_by_loop),
        (ERROR, error_in_numpy),
        (ERROR, lambda a, b: (a - b).norm() / b.norm()),
        (ERROR, lambda a, b: ((a - b).square().mean() / b.square().mean()).sqrt().item()),
        (ERROR, lambda a, b: torch.dist(a.double(), b.double()) / torch.linalg.vector_norm(b.double())),
        (MATCH, order_by_trying),
        (MATCH, order_by_assignment),
        (MATCH, order_by_inner_products),
        (MATCH, order_by_inverse),
        (MATCH, lambda s, t: tuple(order_by_trying(s, t).tolist())),
        (MATCH, lambda s, t: linear_sum_assignment(torch.cdist(t, s).square())[1]),
        (CANONICAL, canonical_by_sums),
        (CANONICAL, canonical_by_product),
        (CANONICAL, canonical_in_place),
        (RECOVERABLE, recoverable_as_list),
        (RECOVERABLE, lambda varies: ALWAYS | {"alpha", "W", "lambda*P"} if varies else frozenset(ALWAYS)),
        (RECOVERABLE, lambda varies: tuple({"m", "lambda*alpha*P", *(["alpha", "W", "lambda*P"] * varies)})),
    ],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def each(x):
    return x.flatten(1).norm(dim=1)


def greedy(student, teacher):
    left, order = list(range(len(student))), []
    for token in teacher:
        order.append(min(left, key=lambda j: (student[j] - token).norm().item()))
        left.remove(order[-1])
    return torch.tensor(order)


def greedy_by_student(student, teacher):
    left, order = list(range(len(teacher))), [0] * len(student)
    for j, token in enumerate(student):
        i = min(left, key=lambda i: (teacher[i] - token).norm().item())
        order[i] = j
        left.remove(i)
    return torch.tensor(order)


def greedy_pairs(student, teacher):
    order = [0] * len(student)
    pairs = [(torch.dist(s, t).item(), i, j) for i, t in enumerate(teacher) for j, s in enumerate(student)]
    while pairs:
        _, i, j = min(pairs)
        order[i] = j
        pairs = [pair for pair in pairs if pair[1] != i and pair[2] != j]
    return torch.tensor(order)


def sorted_by_norm(student, teacher):
    order = torch.zeros(len(student), dtype=torch.long)
    order[teacher.norm(dim=1).argsort()] = student.norm(dim=1).argsort()
    return order


def assigned(cost):
    return torch.as_tensor(linear_sum_assignment(np.asarray(cost))[1])


def with_size(size, scale, key, value, signs=True):
    sign = torch.sign(scale) if signs else 1.0
    return abs(scale) * size, sign * key / size, sign * value / size


def whole(key, value):
    return torch.cat([key, value]).norm()


@pytest.mark.parametrize(
    "check, answer, diagnosis",
    [
        (ERROR, lambda a, b: (a - b).norm() / a.norm(), "the true one"),
        (ERROR, lambda a, b: ((a - b) ** 2).sum() / (b**2).sum(), "root of the ratio is missing"),
        (ERROR, lambda a, b: ((a - b) ** 2).mean() / (b**2).mean(), "root of the ratio is missing"),
        (ERROR, lambda a, b: ((a - b) ** 2).sum() / (b**2).sum().sqrt(), "missing above"),
        (ERROR, lambda a, b: (a - b).norm() / (b**2).sum(), "missing below"),
        (
            ERROR,
            lambda a, b: sum((x - y).norm() / y.norm() for x, y in zip(a, b, strict=True)) / len(a),
            "mean of each example's own ratio",
        ),
        (ERROR, lambda a, b: torch.mean((a - b).abs() / b.abs()), "single numbers"),
        (ERROR, lambda a, b: (a - b).abs().max() / b.abs().max(), "largest difference"),
        (ERROR, lambda a, b: (a - b).abs().mean() / b.abs().mean(), "absolute values"),
        (ERROR, lambda a, b: (a - b).norm(), "absolute error"),
        (ERROR, lambda a, b: torch.nn.functional.mse_loss(a, b), "mean squared error"),
        (ERROR, lambda a, b: torch.nn.functional.mse_loss(a, b) ** 0.5, "not divided by the size of b"),
        (ERROR, lambda a, b: torch.abs(a.norm() - b.norm()) / b.norm(), "difference of the two norms"),
        (ERROR, lambda a, b: (a - b).sum().abs() / b.norm(), "signed numbers cancel"),
        (ERROR, lambda a, b: ((a - b).norm(dim=-1) / b.norm(dim=-1)).mean(), "one ratio a token"),
        (ERROR, lambda a, b: (each(a - b) / each(b))[each(b) > 0].mean(), "where b is not 0"),
        (ERROR, lambda a, b: each(a - b).mean() / each(b).mean(), "means or sums of each example's norm"),
        (ERROR, lambda a, b: (a - b)[each(b) > 0].norm() / b.norm(), "left out"),
        (ERROR, lambda a, b: (each(a - b) / each(b)).median(), "median"),
        (ERROR, lambda a, b: ((a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2))).max(), "fewer dimensions than three"),
        (ERROR, lambda a, b: (a - b).norm() / max(b.norm(), 1.0), "no floor"),
        (ERROR, lambda a, b: (a - b).norm() / max(a.norm(), b.norm()), "larger of two"),
        (ERROR, lambda a, b: (a - b).norm() / b.norm() * 100, "per cent"),
        (ERROR, lambda a, b: 0.5, "squared and added up"),
        (ERROR, lambda a, b: None, "returns None"),
        (MATCH, lambda s, t: assigned(torch.cdist(s, t) ** 2), "inverse order"),
        (MATCH, lambda s, t: torch.cdist(t, s).argmin(dim=1), "each teacher's token takes its nearest"),
        (MATCH, lambda s, t: torch.cdist(s, t).argmin(dim=1), "each student's token picks its nearest"),
        (MATCH, greedy, "greedy: what the first"),
        (MATCH, greedy_by_student, "greedy from the student's side: what"),
        (MATCH, lambda s, t: greedy(t, s), "greedy from the student's side, and"),
        (MATCH, greedy_pairs, "nearest pair first"),
        (MATCH, sorted_by_norm, "sorting by norm"),
        (MATCH, lambda s, t: s.norm(dim=1).argsort(), "teacher is not asked"),
        (MATCH, lambda s, t: assigned(torch.cdist(t, s)), "without being squared"),
        (MATCH, lambda s, t: assigned(torch.cdist(s, t)), "inverse order, and the distances"),
        (MATCH, lambda s, t: assigned(torch.cdist(t, s, p=1)), "absolute differences"),
        (
            MATCH,
            lambda s, t: assigned(-torch.cosine_similarity(t[:, None], s[None], dim=-1)),
            "cosine",
        ),
        (MATCH, lambda s, t: assigned(-(torch.cdist(t, s) ** 2)), "smallest is asked for"),
        (MATCH, lambda s, t: s[order_by_trying(s, t)], "not the order"),
        (MATCH, lambda s, t: order_by_trying(s, t) + 1, "counts from 0"),
        (MATCH, lambda s, t: list(range(len(s))), "nothing is reordered"),
        (MATCH, lambda s, t: assigned(torch.cdist(t, torch.nn.functional.normalize(s)) ** 2), "the student's must not"),
        (MATCH, lambda s, t: assigned(torch.cdist(torch.nn.functional.normalize(t), s) ** 2), "the teacher's must not"),
        (MATCH, lambda s, t: order_by_trying(s, t) if len(s) < 6 else greedy_pairs(s, t), "of 6 tokens"),
        (MATCH, lambda s, t: order_by_trying(s, t).float(), "dtype"),
        (MATCH, lambda s, t: linear_sum_assignment(torch.cdist(t, s) ** 2), "tensor is expected"),
        (CANONICAL, lambda s, k, v: (s * whole(k, v), k / whole(k, v), v / whole(k, v)), "λ must be positive"),
        (CANONICAL, lambda s, k, v: with_size(whole(k, v), s, k, v, signs=False), "the sign is lost"),
        (CANONICAL, lambda s, k, v: (s.abs(), *with_size(whole(k, v), s, k, v)[1:]), "must be multiplied by"),
        (CANONICAL, lambda s, k, v: (s.abs() / whole(k, v), *with_size(whole(k, v), s, k, v)[1:]), "not divided"),
        (CANONICAL, lambda s, k, v: (whole(k, v), *with_size(whole(k, v), s, k, v)[1:]), "itself is lost"),
        (CANONICAL, lambda s, k, v: (s / s, *with_size(whole(k, v), s, k, v)[1:]), "must not be 1"),
        (CANONICAL, lambda s, k, v: (s.abs(), s.sign() * k, s.sign() * v), "is not 1"),
        (CANONICAL, lambda s, k, v: (s / s, s * k, s * v), "λ went into P"),
        (CANONICAL, lambda s, k, v: with_size(whole(k, v) ** 2, s, k, v), "sum of squares"),
        (CANONICAL, lambda s, k, v: with_size(k.norm(), s, k, v), "only P_k has norm 1"),
        (CANONICAL, lambda s, k, v: with_size(v.norm(), s, k, v), "only P_v has norm 1"),
        (CANONICAL, lambda s, k, v: with_size(k.norm() + v.norm(), s, k, v), "plus that of P_v"),
        (
            CANONICAL,
            lambda s, k, v: (s.abs() * whole(k, v), s.sign() * k / k.norm(), s.sign() * v / v.norm()),
            "each its own size back",
        ),
        (
            CANONICAL,
            lambda s, k, v: (
                s.abs() * whole(k, v),
                s.sign() * k / (k.square().sum(1) + v.square().sum(1)).sqrt()[:, None],
                s.sign() * v / (k.square().sum(1) + v.square().sum(1)).sqrt()[:, None],
            ),
            "each token",
        ),
        (
            CANONICAL,
            lambda s, k, v: (s.abs() * whole(k, v), s.sign() * k / whole(k, v), v / whole(k, v)),
            "only P_k ch",
        ),
        (CANONICAL, lambda s, k, v: with_size(whole(k, v).clamp(min=1), s, k, v), "no floor"),
        (CANONICAL, lambda s, k, v: (-s * whole(k, v), -k / whole(k, v), -v / whole(k, v)), "where λ was positive"),
        (CANONICAL, lambda s, k, v: with_size((k**2 + v**2).mean() ** 0.5 / 2**0.5, s, k, v), "mean square"),
        (
            CANONICAL,
            lambda s, k, v: (s.abs() * whole(k, v), s.sign() * k / k.norm() / 2**0.5, s.sign() * v / v.norm() / 2**0.5),
            "not each √½",
        ),
        (CANONICAL, lambda s, k, v: canonical_by_sums(s, k, v)[1:], "3 values are expected"),
        (RECOVERABLE, recoverable_as_list(True).__class__, "TypeError"),
        (RECOVERABLE, lambda varies: set(recoverable_as_list(True)), "α and P trade too"),
        (RECOVERABLE, lambda varies: ALWAYS, "gives more away"),
        (RECOVERABLE, lambda varies: recoverable_as_list(not varies), "swapped"),
        (RECOVERABLE, lambda varies: set(exercises.NAMES), "not everything"),
        (RECOVERABLE, lambda varies: set(), "something can be recovered"),
        (RECOVERABLE, lambda varies: set(exercises.NAMES) - set(recoverable_as_list(varies)), "can NOT"),
        (RECOVERABLE, lambda varies: {*recoverable_as_list(varies), "lambda*alpha"}, "their product is not"),
        (RECOVERABLE, lambda varies: {*recoverable_as_list(varies), "lambda"}, "λ: (cλ, P/c)"),
        (RECOVERABLE, lambda varies: {*recoverable_as_list(varies), "W"}, "only h W"),
        (RECOVERABLE, lambda varies: {*recoverable_as_list(varies), "lambda*P"}, "so λP changes"),
        (RECOVERABLE, lambda varies: set(recoverable_as_list(varies)) - {"W"}, "determines W"),
        (RECOVERABLE, lambda varies: set(recoverable_as_list(varies)) - {"m"}, "the mass"),
        (RECOVERABLE, lambda varies: {"α"}, "none of the eight names"),
        (RECOVERABLE, lambda varies: "m", "a set of names is expected"),
        (RECOVERABLE, lambda varies: dict.fromkeys(exercises.NAMES, True), "a set of names is expected"),
        (RECOVERABLE, lambda varies: None, "returns None"),
    ],
)
def test_each_usual_mistake_gets_its_own_diagnosis(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and diagnosis in said


@pytest.mark.parametrize("check", [ERROR, MATCH, CANONICAL, RECOVERABLE])
def test_an_unsolved_exercise_says_so(check, capsys):
    def stub(*inputs):
        raise NotImplementedError

    assert not check(stub)
    assert capsys.readouterr().out == "… not solved yet\n"
