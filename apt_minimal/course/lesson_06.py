"""Lesson 06: planted gates."""

import math
from collections.abc import Callable
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.checking import check, combine

__all__ = ["check_canonical", "check_match_tokens", "check_recoverable", "check_relative_error"]


def _draw(generator: torch.Generator, *shape: int) -> Tensor:
    """Normal numbers of the default dtype, which the lesson sets to float64: the reader's own tensors have it too."""
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(torch.get_default_dtype())


def _number(answer: Callable) -> Callable:
    """Let a number and a tensor with one number count the same; other shapes stay as they are."""

    def wrapped(*inputs):
        value = answer(*inputs)
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()
        # inf − inf is NaN, and NaN equals nothing: as a text, the same mistake is recognised.
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return wrapped


def _joint(rest: Tensor, b: Tensor, norms: Callable) -> Tensor:
    return rest.norm() / b.norm()


# How the norm of every example is taken: some ways fail where a set has fewer dimensions than three.
NORMS = {
    "": lambda x: x.flatten(1).norm(dim=1) if x.ndim > 1 else x.abs(),
    "and a set may have only one dimension": lambda x: x.flatten(1).norm(dim=1),
    "and a set may have fewer dimensions than three": lambda x: x.square().sum(dim=(1, 2)).sqrt(),
}
# Each example by itself, from the differences, b and one of these norms.
EXAMPLES = {
    "that is the mean of each example's own ratio: small examples count too much, and a zero one divides by 0": (
        lambda rest, b, norms: (norms(rest) / norms(b)).mean()
    ),
    "that is the mean of each example's own ratio where b is not 0: small examples count too much, zero ones not": (
        lambda rest, b, norms: (norms(rest) / norms(b))[norms(b) > 0].mean()
    ),
    "take norms of each whole set, not means or sums of each example's norm": (
        lambda rest, b, norms: norms(rest).sum() / norms(b).sum()
    ),
    "one number for the whole set is asked for, not one for each example": (
        lambda rest, b, norms: norms(rest) / norms(b)
    ),
    "that is the largest of the examples' ratios; one ratio of two norms over everything is asked for": (
        lambda rest, b, norms: (norms(rest) / norms(b)).max()
    ),
    "that is the median of the examples' ratios; one ratio of two norms over everything is asked for": (
        lambda rest, b, norms: (norms(rest) / norms(b)).median()
    ),
    "where an example of b is 0, its differences are left out: they count above like all others": (
        lambda rest, b, norms: rest[norms(b) > 0].norm() / b.norm()
    ),
}


def check_relative_error(answer: Callable[[Tensor, Tensor], float]) -> bool:
    """Exercise 6.1: answer(a, b) is ‖a − b‖ / ‖b‖ over all numbers of a set, a float or a tensor [].

    The errors are told apart from each other to 1e-5, so the inputs keep them of order 1.
    """
    g = torch.Generator().manual_seed(0)
    b = _draw(g, 5, 3, 4) * torch.tensor([0.1, 1.0, 2.0, 0.3, 4.0])[:, None, None].to(torch.get_default_dtype())
    a = b + _draw(g, 5, 3, 4)
    zeros = b.clone()
    zeros[1] = 0.0
    trials = [
        ("all differences of the set are squared and added up, the root is taken, and the same for b", (a, b)),
        ("a small error must come out small", (b + 0.01 * _draw(g, 5, 3, 4), b)),
        ("the set is measured by the true one, b: a may be of quite another size", (3 * a + 1, b)),
        ("an example of b may be zero: only the norm of the whole set divides", (zeros + a / 4, zeros)),
        ("where a is 0 everywhere the relative error is 1", (torch.zeros_like(b), b)),
        ("it is one number for any shape, [d] and [n, d] too", (a[0, 0] - 2, b[0, 0] - 1)),
        ("it is one number for any shape, [d] and [n, d] too", (a[:, 0], b[:, 0])),
        ("one example may be all there is, and its norm may be below 1", (a[:1], b[:1])),
        ("where a equals b the relative error is 0", (b, b)),
    ]

    mistakes = {
        "divide by the norm of b, the true one: a is what is judged": lambda a, b: (a - b).norm() / a.norm(),
        "these are squares: the root of the ratio is missing": lambda a, b: (a - b).square().sum() / b.square().sum(),
        "the root is missing above: ‖a − b‖ is the root of the summed squares": lambda a, b: (
            (a - b).square().sum() / b.norm()
        ),
        "the root is missing below: ‖b‖ is the root of the summed squares": lambda a, b: (
            (a - b).norm() / b.square().sum()
        ),
        "that is the mean ratio of single numbers: add up everything first, divide once": lambda a, b: (
            (a - b).abs() / b.abs()
        ).mean(),
        "that is the largest difference over the largest number: one number decides, the norm asks all of them": (
            lambda a, b: (a - b).abs().max() / b.abs().max()
        ),
        "absolute values are added there: ‖·‖ is the root of the summed squares": lambda a, b: (
            (a - b).abs().sum() / b.abs().sum()
        ),
        "that is an absolute error: it is not divided by the size of b": lambda a, b: (a - b).norm(),
        "that is the mean squared error: no root, and not divided by the size of b": lambda a, b: (
            (a - b).square().mean()
        ),
        "the difference of the two norms is not the norm of the difference: other outputs can have the same size": (
            lambda a, b: (a.norm() - b.norm()).abs() / b.norm()
        ),
        "divide by b's norm, not by its spread around its mean": lambda a, b: (a - b).norm() / (b - b.mean()).norm(),
        "divide by b alone: the norms of a and b are added or averaged there": lambda a, b: (
            2 * (a - b).norm() / (a.norm() + b.norm())
        ),
        "each number or row is divided by itself; take the norms of everything first": lambda a, b: (
            (a - b) / b
        ).norm(),
        "a root mean square above needs a root mean square below (or norms in both places)": lambda a, b: (
            (a - b).square().mean().sqrt() / b.norm()
        ),
        "the root of the mean squared error is not divided by the size of b": lambda a, b: (
            (a - b).square().mean().sqrt()
        ),
        "divide by the norm of b: the mean of its absolute values is smaller": lambda a, b: (
            (a - b).square().mean().sqrt() / b.abs().mean()
        ),
        "norms over the last dimension leave one ratio a token; take the norm over everything": lambda a, b: (
            (a - b).norm(dim=-1) / b.norm(dim=-1)
        ).mean(),
        "norms over the last dimension, added up above and below; take the norm over everything": lambda a, b: (
            (a - b).norm(dim=-1).sum() / b.norm(dim=-1).sum()
        ),
        "a small ‖b‖ divides like any other: there is no floor below it": lambda a, b: (
            (a - b).norm() / b.norm().clamp(min=1)
        ),
        "nothing is added to ‖b‖ before it divides": lambda a, b: (a - b).norm() / (1 + b.norm()),
        "divide by the norm of b, not by the larger of two: b is the true one": lambda a, b: (
            (a - b).norm() / torch.maximum(a.norm(), b.norm())
        ),
        "that is in per cent: the same function has 0, and 0 in place of b has 1": lambda a, b: (
            100 * (a - b).norm() / b.norm()
        ),
        "a difference of signed numbers cancels; square before adding up": lambda a, b: (a - b).sum().abs() / b.norm(),
    }
    mistakes |= combine(lambda judge, norms: lambda a, b: judge(a - b, b, norms), {"": _joint} | EXAMPLES, NORMS)
    named = {message: _number(mistake) for message, mistake in mistakes.items()}
    return check(_number(answer), lambda a, b: ((a - b).norm() / b.norm()).item(), trials, named)


def _best_order(student: Tensor, teacher: Tensor, worth: Callable | None = None) -> Tensor:
    """The order of all l! with the smallest cost, by default the summed squared distance: worth([l!, l, d], [l, d])."""
    worth = worth or (lambda a, b: (a - b).square().sum(dim=(1, 2)))
    orders = torch.tensor(list(permutations(range(len(student)))))
    return orders[worth(student[orders], teacher).argmin()]


def _unsquared(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).norm(dim=-1).sum(dim=1)


def _greedy(student: Tensor, teacher: Tensor, by_student: bool = False, nearest_pair: bool = False) -> Tensor:
    """Give one token after the other the nearest that is left (or the nearest pair of all first)."""
    cost = torch.cdist(teacher, student)
    order = torch.zeros(len(student), dtype=torch.long)
    for step in range(len(student)):
        if nearest_pair:
            i, j = divmod(cost.argmin().item(), len(student))
        elif by_student:
            i, j = cost[:, step].argmin().item(), step
        else:
            i, j = step, cost[step].argmin().item()
        order[i] = j
        cost[i], cost[:, j] = torch.inf, torch.inf
    return order


def check_match_tokens(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 6.2: answer(student, teacher) is the order [l] for which student[order] is closest to teacher."""
    g = torch.Generator().manual_seed(10)
    dtype = torch.get_default_dtype()
    teacher = _draw(g, 5, 3)
    renumbered = torch.tensor([2, 0, 3, 4, 1])  # a cycle and not its own inverse

    def line(*numbers):
        # a second, small number: on a line proper, orders would tie for those who do not square the distances
        return torch.stack([torch.tensor(numbers, dtype=dtype), 0.3 * _draw(g, len(numbers))], dim=1)

    # Each teacher's token has the same nearest student's token: two of them must give way.
    crowd_teacher, crowd_student = line(0.0, 1.0, 2.5, 7.0), line(1.3, -4.0, 9.0, 5.0)
    trials = [
        (
            "the same tokens in another order: student[order] must equal the teacher, and order[i] is a place in "
            "the student",
            (teacher[renumbered], teacher),
        ),
        ("a little noise must not change the order", (teacher[renumbered] + 0.05 * _draw(g, 5, 3), teacher)),
        (
            "tokens may have one and the same nearest partner: then the smallest sum over all pairs decides",
            (crowd_student, crowd_teacher),
        ),
        ("what counts is the sum over all pairs, not each pair by itself", (line(1.1, 5.0, 0.8), line(0.0, 1.0, 1.2))),
        ("distances are squared before they are added up", _plane(dtype)),
        (
            "tokens of the same norm can lie far apart",
            (3 * torch.eye(4, dtype=dtype)[[1, 2, 3, 0]] + _draw(g, 4, 4) / 10, 3 * torch.eye(4, dtype=dtype)),
        ),
        ("the sign counts: −P is not P", (line(-2.0, 1.9, 0.5), line(2.1, 0.6, -1.9))),
        ("long tokens must not win just because they are long", (line(10.0, 1.0, 3.0), line(2.9, 9.0, 1.2))),
        ("one token alone has one order", (teacher[:1], teacher[1:2])),
        *[
            (f"the best of all orders is asked for, also of {count} tokens that lie near none", _far_apart(*case))
            for count, case in [
                *((5, (seed, width)) for seed, width in ((4, 2), (14, 2), (10, 5), (36, 5), (38, 5), (10, 4), (18, 4))),
                *((6, (seed, width, 6)) for seed, width in SIX),
            ]
        ],
    ]
    inverse = lambda student, teacher: _best_order(student, teacher).argsort()  # noqa: E731
    mistakes = {
        "that is the inverse order: it sorts the teacher's tokens, but student[order] should be close to the teacher": (
            inverse
        ),
        "each teacher's token takes its nearest by itself, so two may take the same: every token must be used once": (
            lambda student, teacher: torch.cdist(teacher, student).argmin(dim=1)
        ),
        "each student's token picks its nearest by itself: two may pick the same, and that order is the inverse one": (
            lambda student, teacher: torch.cdist(student, teacher).argmin(dim=1)
        ),
        "greedy: what the first tokens take is missing for the later ones; the total over all pairs must be smallest": (
            _greedy
        ),
        "greedy from the student's side: what one token takes is missing for the next; the total must be smallest": (
            lambda student, teacher: _greedy(student, teacher, by_student=True)
        ),
        "greedy, nearest pair first: the pairs left over may lie far apart; the total of all pairs must be smallest": (
            lambda student, teacher: _greedy(student, teacher, nearest_pair=True)
        ),
        "sorting by norm doesn't match tokens: those of one length can point anywhere": (
            lambda student, teacher: student.norm(dim=1).argsort()[teacher.norm(dim=1).argsort().argsort()]
        ),
        "that sorts the student's tokens by norm, and the teacher is not asked": (
            lambda student, teacher: student.norm(dim=1).argsort()
        ),
        "that sorts by the first number of each token; all of them count": (
            lambda student, teacher: student[:, 0].argsort()[teacher[:, 0].argsort().argsort()]
        ),
        "the distances are added up there without being squared, and that can prefer another order": (
            lambda student, teacher: _best_order(student, teacher, _unsquared)
        ),
        "that is the inverse order, and the distances are not squared before they are added up": (
            lambda student, teacher: _best_order(
                student, teacher, lambda a, b: (a - b).norm(dim=-1).sum(dim=1)
            ).argsort()
        ),
        "greedy from the student's side, and the order is the inverse one: student[order] should be like the teacher": (
            lambda student, teacher: _greedy(student, teacher, by_student=True).argsort()
        ),
        "greedy, and the order is the inverse one: student[order] should be close to the teacher": (
            lambda student, teacher: _greedy(student, teacher).argsort()
        ),
        "absolute differences are added up there; the squared ones are asked for": (
            lambda student, teacher: _best_order(student, teacher, lambda a, b: (a - b).abs().sum(dim=(1, 2)))
        ),
        "cosine similarity looks only at directions; distances are asked for": (
            lambda student, teacher: _best_order(
                student, teacher, lambda a, b: -torch.cosine_similarity(a, b.expand_as(a), dim=-1).sum(dim=1)
            )
        ),
        "distances are those of the tokens as they are: the student's must not be brought to length 1 before": (
            lambda student, teacher: _best_order(F.normalize(student, dim=1), teacher)
        ),
        "distances are those of the tokens as they are: the teacher's must not be brought to length 1 before": (
            lambda student, teacher: _best_order(student, F.normalize(teacher, dim=1))
        ),
        "that order makes the total largest: the smallest is asked for": (
            lambda student, teacher: _best_order(student, teacher, lambda a, b: -(a - b).square().sum(dim=(1, 2)))
        ),
        "that minimises the largest distance of a pair; the sum of squares is asked for": (
            lambda student, teacher: _best_order(
                student, teacher, lambda a, b: (a - b).square().sum(dim=-1).amax(dim=1)
            )
        ),
        "student[order] is asked for, not the order: return the numbers of the tokens": (
            lambda student, teacher: student[_best_order(student, teacher)]
        ),
        "the order counts from 0, so that student[order] works": (
            lambda student, teacher: _best_order(student, teacher) + 1
        ),
        "nothing is reordered: that is 0, 1, 2, …": lambda student, teacher: torch.arange(len(student)),
    }

    def as_order(value):
        if isinstance(value, list | tuple) and all(type(place) is int for place in value):
            return torch.tensor(value)
        if hasattr(value, "dtype") and not isinstance(value, Tensor) and getattr(value, "ndim", 0) == 1:
            return torch.as_tensor(value)  # numpy's, straight from linear_sum_assignment
        return value

    return check(lambda student, teacher: as_order(answer(student, teacher)), _best_order, trials, mistakes)


# Seeds and widths of six tokens: see _far_apart.
SIX = ((16, 2), (58, 3), (110, 3), (36, 5), (45, 5), (152, 5))


def _far_apart(seed: int, width: int, count: int = 5) -> tuple[Tensor, Tensor]:
    """Tokens near none. The seeds used give greedy and unsquared matching another order, and no order nearly ties."""
    g = torch.Generator().manual_seed(seed)
    return 2 * _draw(g, count, width), 2 * _draw(g, count, width)


def _plane(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Student and teacher with distances 0 and 3 in one order, 1.9 and 1.9 in the other: squares prefer the latter."""
    student = torch.tensor([[0.0, 0.0], [-1.326, 1.360]], dtype=dtype)
    return student, torch.tensor([[0.0, 0.0], [1.645, 0.95]], dtype=dtype)


def check_canonical(answer: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]) -> bool:
    """Exercise 6.3: answer(scale, key, value) is the same layer with λ > 0 and a prefix of norm 1."""
    g = torch.Generator().manual_seed(0)
    dtype = torch.get_default_dtype()

    def number(value):
        return torch.tensor(value, dtype=dtype)

    key, value = _draw(g, 3, 4), 2 * _draw(g, 3, 4)
    trials = [
        ("λ · P must stay what it was, and the norm of all of P_k and P_v together be 1", (number(1.5), key, value)),
        ("a negative λ becomes positive, and its sign goes into both P_k and P_v", (number(-0.7), key, value)),
        ("P may be much larger or smaller than 1", (number(0.4), 20 * key, 3 * value)),
        ("P_k or P_v alone may be zero: only their norm together divides", (number(-2.0), key, 0 * value)),
        ("P_k or P_v alone may be zero: only their norm together divides", (number(2.0), 0 * key, value)),
        (
            "single tokens may be zero",
            (number(3.0), key * number([[0.0], [1.0], [2.0]]), value * number([[0.0], [1.0], [1.0]])),
        ),
        ("P may be small, as a fresh one is: its norm divides all the same", (number(-2.0), 0.01 * key, 0.01 * value)),
        ("as many tokens as numbers in each: nothing may be mixed up", (number(-1.3), _draw(g, 4, 4), _draw(g, 4, 4))),
        ("one token is a prefix too", (number(1.0), _draw(g, 1, 5), _draw(g, 1, 5))),
    ]

    mistakes = CANONICAL | combine(_standard_form, DIVIDE, SCALE, SIGN, at_most=3)
    named = {
        message: (lambda s, k, v, mistake=mistake: _without_sign_trouble(mistake(s, k, v)))
        for message, mistake in mistakes.items()
    }
    right = _standard_form(DIVIDE[""], SCALE[""], SIGN[""])
    return check(lambda *inputs: _without_sign_trouble(answer(*inputs)), right, trials, named)


def _norm(key: Tensor, value: Tensor) -> Tensor:
    return torch.cat([key, value]).norm()


def _standard_form(divide: Callable, of_scale: Callable, signs: Callable) -> Callable:
    """A function (λ, P_k, P_v) → the same in standard form, from a choice of each of DIVIDE, SCALE and SIGN."""

    def function(scale, key, value):
        key_size, value_size, size = divide(key, value)
        sign, key_sign, value_sign = signs(scale.sign())
        return sign * of_scale(scale.abs(), size), key_sign * key / key_size, value_sign * value / value_size

    return function


def _all(size: Callable) -> Callable:
    """Divide P_k and P_v by one number, and multiply λ by it."""
    return lambda key, value: (size(key, value),) * 3


def _rows(key: Tensor, value: Tensor) -> Tensor:
    return torch.cat([key, value], dim=1).norm(dim=1, keepdim=True)


# What P_k, what P_v is divided by, and what λ is multiplied by.
DIVIDE = {
    "": _all(_norm),
    "that is the sum of squares; the norm is its root": _all(lambda k, v: _norm(k, v) ** 2),
    "the norm of P is not 1: nothing has divided it": _all(lambda k, v: torch.ones_like(k.sum())),
    "only P_k has norm 1: the norm is that of P_k and P_v together": _all(lambda k, v: k.norm()),
    "only P_v has norm 1: the norm is that of P_k and P_v together": _all(lambda k, v: v.norm()),
    "that is the norm of P_k plus that of P_v; the norm of both together is asked for": _all(
        lambda k, v: k.norm() + v.norm()
    ),
    "the norm of a matrix as a map (its largest singular value) is not asked for, but the root of all squares": _all(
        lambda k, v: torch.linalg.matrix_norm(torch.cat([k, v]), 2)
    ),
    "a norm below 1 divides like any other: no floor": _all(lambda k, v: _norm(k, v).clamp(min=1)),
    "that is the root of the mean square; the norm is the root of the sum": _all(
        lambda k, v: torch.cat([k, v]).square().mean().sqrt()
    ),
    "the largest number of P is 1 there; the root of the sum of all squares is to be": _all(
        lambda k, v: torch.cat([k, v]).abs().max()
    ),
    "absolute values are added up there; the norm is the root of the sum of squares": _all(
        lambda k, v: torch.cat([k, v]).abs().sum()
    ),
    "the norm is that of P_k and P_v together: λ is one number, it can't give each its own size back": (
        lambda k, v: (k.norm(), v.norm(), _norm(k, v))
    ),
    "P_k and P_v have one norm together, and not each √½: λ is one number, it can't give each its own size back": (
        lambda k, v: (k.norm() * 2**0.5, v.norm() * 2**0.5, _norm(k, v))
    ),
    "each token is divided by its own norm there: λ is one number and can't give every token its size back": (
        lambda k, v: (_rows(k, v), _rows(k, v), _norm(k, v))
    ),
    "every token is given the same norm there: λ is one number and can't give each its own size back": (
        lambda k, v: (_rows(k, v) * len(k) ** 0.5, _rows(k, v) * len(k) ** 0.5, _norm(k, v))
    ),
    "each row of P_k and of P_v is divided by its own norm there: one norm over everything is asked for": (
        lambda k, v: (k.norm(dim=1, keepdim=True), v.norm(dim=1, keepdim=True), _norm(k, v))
    ),
    "each column of P_k and of P_v is divided by its own norm there: one norm over everything is asked for": (
        lambda k, v: (k.norm(dim=0), v.norm(dim=0), _norm(k, v))
    ),
}
# The new λ without its sign, from |λ| and what λ is to be multiplied by.
SCALE = {
    "": lambda scale, size: scale * size,
    "λ P has changed: what P is divided by, λ must be multiplied by": lambda scale, size: scale,
    "λ is multiplied by what P is divided by, not divided itself": lambda scale, size: scale / size,
    "λ itself is lost: the new one is |λ| times the norm of P": lambda scale, size: size,
    "λ P has changed: λ must not be 1 afterwards, it takes over all of the size": (
        lambda scale, size: torch.ones_like(size)
    ),
}
# The signs of the new λ and what P_k and P_v are multiplied by, from the sign of the old λ.
SIGN = {
    "": lambda sign: (1, sign, sign),
    "λ must be positive: turn its sign round and that of P with it": lambda sign: (sign, 1, 1),
    "the sign is lost: with λ turned positive, P must change its sign as well, or λ P does": lambda sign: (1, 1, 1),
    "only P_k changed its sign: P_v must do so too": lambda sign: (1, sign, 1),
    "only P_v changed its sign: P_k must do so too": lambda sign: (1, 1, sign),
    "the signs are turned even where λ was positive: only a negative λ changes its sign": lambda sign: (-sign, -1, -1),
    "λ was turned and must be positive: it comes out negative": lambda sign: (-1, -sign, -sign),
}
# Mistakes that are no choice of one of these.
CANONICAL = {
    "nothing has changed: λ must become positive and the norm of P 1": lambda s, k, v: (s, k, v),
    "P must have norm 1, and λ carry the rest; here λ went into P": lambda s, k, v: (torch.ones_like(s), s * k, s * v),
    "P_k and P_v are swapped": lambda s, k, v: (
        s.abs() * _norm(k, v),
        v * s.sign() / _norm(k, v),
        k * s.sign() / _norm(k, v),
    ),
    "λ has gone into P, whose norm is then not 1; only its sign belongs there": lambda s, k, v: (
        _norm(k, v),
        s * k / _norm(k, v),
        s * v / _norm(k, v),
    ),
    "λ has been counted twice in P: divide P by its own norm, not by λ's share as well": lambda s, k, v: (
        s.abs() * _norm(k, v),
        k / (s * _norm(k, v)),
        v / (s * _norm(k, v)),
    ),
}


def _without_sign_trouble(value):
    """Let λ be a plain number or a tensor with one: both are accepted as []."""
    if isinstance(value, list | tuple) and len(value) == 3:
        scale, key, rest = value
        if isinstance(scale, int | float):
            scale = torch.tensor(float(scale))
        return scale, key, rest
    return value


NAMES = ("lambda", "P", "alpha", "W", "lambda*alpha", "lambda*P", "lambda*alpha*P", "m")
RECOVERABLE = {True: {"alpha", "W", "lambda*P", "lambda*alpha*P", "m"}, False: {"lambda*alpha*P", "m"}}
# What to say about each name: where it can be recovered and was not named, or the other way round.
REASONS = {
    (True, "lambda"): "λ: (cλ, P/c) is the same function",
    (True, "P"): "P: (cλ, P/c) is the same function, so its size and sign are open",
    (True, "alpha"): "α: (cα, P/c) works for one input, but no other W gives cα for all inputs, so α is determined",
    (True, "W"): "W: α as a function of a first token that varies freely determines W",
    (True, "lambda*alpha"): "λα: α is determined and λ is not, so their product is not",
    (True, "lambda*P"): "λP: c cancels in (cλ)(P/c), and α is determined; what is left of λ α ⊙ P is λP",
    (True, "lambda*alpha*P"): "λαP: it is all that the attention ever sees, so it is determined",
    (True, "m"): "the mass: it follows from the gated prefix, which is determined",
    (False, "lambda"): "λ: (cλ, P/c) is the same function, whatever the first token",
    (False, "P"): "P: both λ and α can take over part of its size",
    (False, "alpha"): "α: (cα_i, P_i/c) is the same function, token by token",
    (False, "W"): "W: only h W with this one h counts, and even α = σ(h W) is open",
    (False, "lambda*alpha"): "λα: c moves between α_i and P_i, so λα changes and the function doesn't",
    (False, "lambda*P"): "λP: c moves between α_i and P_i, so λP changes and the function doesn't",
    (False, "lambda*alpha*P"): "λαP: it is all that the attention ever sees, also where it is constant",
    (False, "m"): "the mass: it follows from the gated prefix, which is determined",
}


def check_recoverable(answer: Callable[[bool], set[str]]) -> bool:
    """Exercise 6.4: answer(varies) is the set of the names that inputs and outputs determine, up to order."""

    def named(function):
        def has(varies, name):
            names = function(varies)
            if names is None:
                return None
            if not isinstance(names, set | frozenset | list | tuple):
                raise TypeError(f"a set of names is expected, not {type(names).__name__}")
            strange = [one for one in names if one not in NAMES]
            if strange:
                raise ValueError(f"{strange[0]!r} is none of the eight names")
            return "can be recovered" if name in names else "cannot be recovered"

        return has

    def right(varies):
        return RECOVERABLE[varies]

    # No name at all is in no set: these two only look at what is returned.
    trials = [("return a set of names out of the eight, spelt like them", (varies, "")) for varies in (True, False)]
    trials += [
        (f"first token {'varying' if varies else 'constant'}, {reason}", (varies, name))
        for (varies, name), reason in REASONS.items()
    ]
    everything = set(NAMES)
    mistakes = {
        "what can be recovered depends on whether the first token varies: with a constant one α and P trade too": (
            lambda varies: RECOVERABLE[True]
        ),
        "what can be recovered depends on whether the first token varies: a varying one gives more away": (
            lambda varies: RECOVERABLE[False]
        ),
        "the two cases are swapped: a first token that varies gives more away": lambda varies: RECOVERABLE[not varies],
        "these are the names that can NOT be recovered": lambda varies: everything - RECOVERABLE[varies],
        "not everything can be recovered: (cλ, P/c) is the same function": lambda varies: everything,
        "something can be recovered: what the attention sees, λ α ⊙ P, is the same for all who fit": lambda varies: (
            set()
        ),
    }
    return check(
        named(answer), named(right), trials, {message: named(mistake) for message, mistake in mistakes.items()}
    )
