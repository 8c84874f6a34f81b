"""Lesson 06: planted gates."""

from itertools import permutations

import torch

from apt_minimal.course.check import exercise


def my_relative_error(a, b):
    """6.1: ‖a − b‖ / ‖b‖ over all numbers of a set together."""
    return (a - b).norm() / b.norm()


def each(x):
    """The norm of every example."""
    return x.flatten(1).norm(dim=1)


@exercise(my_relative_error)
def check_relative_error(draw):
    """
    ? How many norms are there, and over which numbers is each of them taken?
    ? Square all differences, add up everything, take the root; the same for b; divide once.
    ? (a - b).norm() / b.norm()
    divide by b, the true one: a is what is judged → return (a - b).norm() / a.norm()
    the root is missing: these are squares → return (a - b).square().sum() / b.square().sum()
    this is the mean of each number's ratio → return ((a - b) / b).abs().mean()
    absolute values are added: ‖·‖ is the root of summed squares → return (a - b).abs().sum() / b.abs().sum()
    this is the largest difference over the largest number → return (a - b).abs().max() / b.abs().max()
    this is an absolute error: divide by ‖b‖ → return (a - b).norm()
    this is the root of the mean square, over a norm → return (a - b).square().mean().sqrt() / b.norm()
    a difference of norms is not the norm of the difference → return (a.norm() - b.norm()).abs() / b.norm()
    b's norm divides, not its spread around its mean → return (a - b).norm() / (b - b.mean()).norm()
    a small ‖b‖ divides like any other: there is no floor → return (a - b).norm() / b.norm().clamp(min=1)
    these are the rows' norms, added up → return (a - b).norm(dim=-1).sum() / b.norm(dim=-1).sum()
    one number for the whole set, not one for each example → return each(a - b) / each(b)
    this is the mean of each example's ratio: small ones count too much → return (each(a - b) / each(b)).mean()
    examples' norms are added up: take the norm of the whole set → return each(a - b).sum() / each(b).sum()
    this leaves out where b is zero → return (each(a - b) / each(b))[each(b) > 0].mean()
    what differs where b is zero counts above, too → return (a - b)[each(b) > 0].norm() / b.norm()
    """
    yield "two examples", torch.tensor([[10.0], [5.0]]), torch.tensor([[6.0], [8.0]])
    b = draw(5, 3, 4) * torch.tensor([0.1, 1.0, 2.0, 0.3, 4.0])[:, None, None]
    a = b + draw(5, 3, 4)
    zeros = b.index_fill(0, torch.tensor([1]), 0.0)
    yield "three axes", a, b
    yield "a small error", b + 0.01 * draw(5, 3, 4), b
    yield "an a of another size", 3 * a + 1, b
    yield "an example of b that is zero", zeros + a / 4, zeros
    yield "one axis", a[0, 0], b[0, 0]
    yield "one small example", a[:1], b[:1]
    yield "no error", b, b


def match_tokens(student, teacher):
    """6.2: the order, [l], in which student's tokens lie closest to teacher's, [l, d] each."""
    orders = torch.tensor(list(permutations(range(len(student)))))  # [l!, l]
    distances = (student[orders] - teacher).square().sum(dim=-1)  # [l!, l]
    best = distances.sum(dim=1).argmin()
    return orders[best]


def greedy(cost, nearest_pair=False):
    """Give each row in turn the cheapest column that is left; or the cheapest pair first."""
    order, cost = torch.zeros(len(cost), dtype=torch.long), cost.clone()
    for row in range(len(cost)):
        i, j = divmod(cost.argmin().item(), len(cost)) if nearest_pair else (row, cost[row].argmin().item())
        order[i], cost[i], cost[:, j] = j, torch.inf, torch.inf
    return order


def ranks(numbers):
    """The place of each number in ascending order, from 0."""
    return numbers.argsort().argsort()


def tensor(found, *given):
    """A numpy array, as scipy returns it, as a tensor; everything else as it is."""
    return torch.as_tensor(found) if type(found).__name__ == "ndarray" else found  # scipy's


@exercise(match_tokens, look=tensor)
def check_match_tokens(draw):
    """
    ? If two of the teacher's tokens have the same nearest token, which of them gets it?
    ? Try all l! orders, add up the squared distances of each, and take the order with the smallest sum.
    ? min(permutations(range(l)), key=lambda order: (student[list(order)] - teacher).square().sum())
    this is the inverse order: student[order] is to be close → return orders[best].argsort()
    two may have the same nearest token: use each once → return torch.cdist(teacher, student).argmin(dim=1)
    greedy: what the first take is missing for the later ones → return greedy(torch.cdist(teacher, student))
    greedy, nearest pair first: the rest may lie far apart → return greedy(torch.cdist(teacher, student), True)
    greedy from the student's side → return greedy(torch.cdist(student, teacher)).argsort()
    the distances are not squared → distances = (student[orders] - teacher).norm(dim=-1)
    absolute differences are added up: square them → distances = (student[orders] - teacher).abs().sum(dim=-1)
    this makes the largest distance small, not the sum → best = distances.amax(dim=1).argmin()
    tokens of the same norm may lie far apart: don't sort by it →
        return student.norm(dim=1).argsort()[ranks(teacher.norm(dim=1))]
    distances, not directions → distances = -torch.cosine_similarity(student[orders], teacher, dim=-1)
    keep the lengths of the tokens →
        distances = (torch.nn.functional.normalize(student)[orders] - teacher).square().sum(-1)
    return the order, not student[order] → return student[orders[best]]
    count from 0, so that student[order] works → return orders[best] + 1
    nothing is reordered → return torch.arange(len(student))
    """
    teacher = torch.tensor([[0.0, 1.0], [3.0, 0.0], [5.0, 5.0]])
    yield "the same tokens in another order", teacher[[2, 0, 1]], teacher
    yield "one token", teacher[:1], teacher[1:2]
    far = draw(5, 3)
    yield "the same tokens with some noise", far[[2, 0, 3, 4, 1]] + 0.05 * draw(5, 3), far
    for student, teacher in (
        ([[-4, 4], [-6, 5], [4, 0]], [[6, 5], [4, -3], [3, -6]]),
        ([[-3, -6], [-6, -2], [-4, 6]], [[-3, -4], [2, 0], [1, -2]]),
        ([[16, 3], [2, -25], [19, 22], [-10, 0], [30, -7]], [[-5, 28], [1, 6], [9, 19], [-20, -18], [29, 28]]),
        ([[23, -16], [8, 7], [17, 26], [-13, -28], [-17, -1]], [[8, 28], [-4, -6], [30, 29], [22, 27], [-19, -24]]),
        (
            [[2, -36], [-47, -31], [-45, -44], [21, -14], [-34, -13], [32, -48]],
            [[34, -36], [-44, 31], [1, -45], [21, -20], [12, 29], [-28, 27]],
        ),
    ):
        yield f"{len(student)} tokens that lie far apart", 1.0 * torch.tensor(student), 1.0 * torch.tensor(teacher)


def canonical(scale, key, value):
    """6.3: λ, P_k and P_v of the layer with the same function, λ > 0 and a prefix of norm 1."""
    c = scale.sign() * torch.cat([key, value]).norm()
    return c * scale, key / c, value / c


@exercise(canonical)
def check_canonical(draw):
    """
    ? λ P must not change. By what do you divide P, and what happens to λ and its sign?
    ? (cλ, P/c) is the same function for every c. Choose c such that cλ > 0 and P/c has norm 1.
    ? c = scale.sign() * torch.cat([key, value]).norm()
    nothing has changed → return scale, key, value
    λ must be positive: turn its sign, and that of P with it → c = torch.cat([key, value]).norm()
    λ turned its sign: P must turn, too, or λ P does → return c * scale, key / c.abs(), value / c.abs()
    P_v must turn its sign as P_k does → return c * scale, key / c, value / c.abs()
    P_k must turn its sign as P_v does → return c * scale, key / c.abs(), value / c
    only a negative λ turns its sign → c = -torch.cat([key, value]).norm()
    λ P has changed: what divides P multiplies λ → return scale.abs(), key / c, value / c
    λ is multiplied by what divides P, not divided → return scale / c, key / c, value / c
    λ itself is lost: it is |λ| times the norm → return c.abs(), key / c, value / c
    λ went into P: its norm is to be 1 → return torch.ones_like(scale), scale * key, scale * value
    the norm is the root of the summed squares → c = scale.sign() * torch.cat([key, value]).square().sum()
    this is the root of a mean → c = scale.sign() * torch.cat([key, value]).square().mean().sqrt()
    the norm is that of P_k and P_v together, not of P_k → c = scale.sign() * key.norm()
    the norm of both together is not the sum of two norms → c = scale.sign() * (key.norm() + value.norm())
    this is the largest singular value → c = scale.sign() * torch.linalg.svdvals(torch.cat([key, value]))[0]
    absolute values are added: square them → c = scale.sign() * torch.cat([key, value]).abs().sum()
    a norm below 1 divides, too: no floor → c = scale.sign() * torch.cat([key, value]).norm().clamp(min=1)
    one λ can't give P_k and P_v each its own size back →
        return c * scale, scale.sign() * key / key.norm() / 2**0.5, scale.sign() * value / value.norm() / 2**0.5
    one λ can't give each token its own size back →
        c = scale.sign() * torch.cat([key, value], dim=1).norm(dim=1, keepdim=True) * len(key) ** 0.5
        return c.norm() * scale.abs() / len(key) ** 0.5, key / c, value / c
    P_k and P_v are swapped → return c * scale, value / c, key / c
    """
    key, value = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[3.0, 2.0, 0.0]])
    yield "a prefix of norm 4 and λ = −2", torch.tensor(-2.0), key, value
    key, value = draw(3, 4), 2 * draw(3, 4)
    yield "a positive λ", torch.tensor(1.5), key, value
    yield "a large prefix", torch.tensor(0.4), 20 * key, 3 * value
    yield "a small prefix", torch.tensor(-2.0), 0.01 * key, 0.01 * value
    yield "P_v = 0", torch.tensor(-2.0), key, 0 * value
    yield "P_k = 0", torch.tensor(2.0), 0 * key, value
    yield "a token of zeros", torch.tensor(3.0), key.index_fill(0, torch.tensor(0), 0), value
    yield "l = d", torch.tensor(-1.3), draw(4, 4), draw(4, 4)


NAMES = ("lambda", "P", "alpha", "W", "lambda*alpha", "lambda*P", "lambda*alpha*P", "m")


def recoverable(varies):
    """6.4: what inputs and outputs determine, up to the order of the tokens."""
    always = {"lambda*alpha*P", "m"}
    return always | {"alpha", "W", "lambda*P"} if varies else always


class Verdict(str):
    """How many names are wrong in a set, and not which: that is for the reader to find out. Equal for equal sets."""

    names: frozenset

    def __new__(cls, names, varies):
        strange = [name for name in names if name not in NAMES]
        wrong = sum((name in names) != (name in recoverable(varies)) for name in NAMES)
        fault = f"you are wrong about {wrong} of the eight names" if wrong else ""
        self = super().__new__(cls, f"{strange[0]!r} is none of the eight names" if strange else fault)
        self.names = frozenset(names)
        return self

    def __eq__(self, other):
        return self.names == other.names if isinstance(other, Verdict) else super().__eq__(other)

    __hash__ = str.__hash__


def verdict(found, varies):
    """The names found and whether the first token varies, to be judged; a sentence where they are no set."""
    return Verdict(found, varies) if isinstance(found, set | frozenset | list | tuple) else "return a set of names"


@exercise(recoverable, look=verdict, pairs=False)
def check_recoverable(draw):
    """
    ? Which other numbers make the same function, for every input?
    ? (cλ, P/c) do; with a constant first token (cα_i, P_i/c) do, too. What agrees between them can be recovered.
    ? λ α P is all that the attention sees, so it and the mass are always determined. If h varies, so is h → α.
    it matters whether the first token varies, or is constant → return always | {"alpha", "W", "lambda*P"}
    it matters whether the first token varies: where it does, it tells more → return always
    the two cases are swapped → return always if varies else always | {"alpha", "W", "lambda*P"}
    not everything can be recovered: (cλ, P/c) is the same function → return set(NAMES)
    something can be recovered: what the attention sees is the same for all who fit → return set()
    these are the names that can NOT be recovered → return set(NAMES) - recoverable(varies)
    """
    yield "a first token that varies", True
    yield "a constant first token", False
