"""Lesson 10: a few examples."""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from operator import index, itemgetter
from statistics import fmean

import torch
from torch import Tensor

from apt_minimal.course.checking import check, say

__all__ = ["check_curse", "check_disjoint_draw", "check_expected_best", "check_seeds_needed"]


def check_disjoint_draw(answer: Callable[[int, int, int], tuple]) -> bool:
    """Exercise 10.1: answer(n, k, seed) draws k positions of 0..n − 1 to train and k others to choose."""
    try:
        fault = _one_draw_fault(answer) or _many_draws_fault(answer) or _limit_fault(answer)
    except NotImplementedError:
        print("… not solved yet")
        return False
    except Exception as error:
        fault = f"it fails, though 2k is at most n ({type(error).__name__}: {error})".splitlines()[0]
    return say(not fault, fault or "right")


def _lists(drawn) -> list[list[int]]:
    if any(isinstance(part, set) for part in drawn):
        raise TypeError("a set is no list")
    return [[index(position) for position in part] for part in drawn]


def _one_draw_fault(answer: Callable) -> str:
    """What is wrong with single draws; empty if nothing is."""
    for n, k in ((40, 16), (10, 5), (7, 1)):
        for seed in range(20):
            drawn = answer(n, k, seed)
            if drawn is None:
                return "your function returns None: is there a return?"
            try:
                parts = _lists(drawn)
            except (TypeError, ValueError):
                return "two lists of integers are asked for, first the positions that train, then those that choose"
            every = [position for part in parts for position in part]
            if len(parts) != 2 or any(len(part) != k for part in parts):
                return f"two lists of k positions each are asked for; for k = {k} yours hold {[len(p) for p in parts]}"
            if not all(0 <= position < n for position in every):
                return f"positions run from 0 to n − 1; for n = {n} yours run from {min(every)} to {max(every)}"
            if any(len(set(part)) < k for part in parts):
                return "a position occurs twice in one list: draw without putting back"
            if len(set(every)) < 2 * k:
                return "the two lists share positions: what chooses would have been trained on"
    return ""


def _many_draws_fault(answer: Callable) -> str:
    """What is wrong with how draws differ between seeds; empty if nothing is."""
    random.seed(1), torch.manual_seed(1)
    first = [_lists(answer(10, 3, seed)) for seed in range(400)]
    random.seed(2), torch.manual_seed(2)
    again = [_lists(answer(10, 3, seed)) for seed in reversed(range(400))][::-1]
    if first != again:
        return "the same seed must give the same draw, whatever was drawn before: use a generator made from the seed"
    sets = {name: [frozenset(draw[i]) for draw in first] for i, name in enumerate(("training", "development"))}
    if same := [name for name, drawn in sets.items() if len(set(drawn)) == 1]:
        return f"the {same[0]} set is the same for every seed; the seed draws both sets"
    if all(max(train) < min(held) or max(held) < min(train) for train, held in first):
        return "one set always has the lower positions: sorted before the cut, or drawn from halves fixed beforehand"
    if len({frozenset(map(frozenset, _lists(answer(2000, 5, seed)))) for seed in range(400)}) < 300:
        return "different seeds give the same positions far too often"
    for name, drawn in sets.items():
        counts = [sum(position in one for one in drawn) for position in range(10)]
        if min(counts) == 0:
            return f"position {counts.index(0)} of 10 is never in the {name} set, with any of 400 seeds"
        if max(abs(count / 400 - 0.3) for count in counts) > 0.12 or len(set(drawn)) < 60:
            return f"the {name} set is not drawn plainly at random: some positions, or some sets, come too often"
    drawn = (_lists(answer(6, 2, seed)) for seed in range(3600))
    pairs = Counter(tuple(frozenset(part) for part in draw) for draw in drawn)  # 15 · 6 pairs of sets, 40 of each
    surprise = sum((count - 40) ** 2 / 40 for count in pairs.values()) + 40 * (90 - len(pairs))
    if surprise > 160:  # chi-squared with 89 degrees of freedom: once in 100,000 cases
        return "not every pair of sets is equally likely: a shuffle that isn't fair, or one set hangs on the other"
    return ""


def _limit_fault(answer: Callable) -> str:
    try:
        answer(9, 5, 0)
    except ValueError:
        return ""
    except Exception as error:
        return f"where 2k is above n a ValueError is asked for, not a {type(error).__name__}"
    return "9 positions can't give two sets of 5: raise a ValueError where 2k is above n"


def _binomial(n: int, p: float, choose=math.comb, miss=True) -> Tensor:
    chances = [choose(n, j) * p**j * ((1 - p) ** (n - j) if miss else 1) for j in range(n + 1)]
    return torch.tensor(chances, dtype=torch.float64)


def _best(n: int, accuracies: Sequence[float], first=0, strictly=False, worst=False, **binomial) -> float:
    """E[max] / n from P(max ≤ j), the product of each F(j)."""
    below = torch.stack([_binomial(n, p, **binomial).cumsum(0) for p in accuracies])
    if strictly:
        below = torch.cat([torch.zeros(len(below), 1), below[:, :-1]], dim=1)
    at_most = 1 - (1 - below).prod(dim=0) if worst else below.prod(dim=0)
    return (1 - at_most[first:-1]).sum().item() / n


def _all_like(one: Callable) -> Callable:
    return lambda n, accuracies: _best(n, [one(accuracies)] * len(accuracies))


def check_expected_best(answer: Callable[[int, list[float]], float]) -> bool:
    """Exercise 10.2: answer(n, accuracies) is the expected best score of such classifiers on n examples each."""
    ones = [("the mean accuracy", fmean), ("the first one's", itemgetter(0)), ("the best one's", max)]
    mistakes = {
        "that is the best of the expected scores; the expected best score is higher": lambda n, a: max(a),
        "that is the mean of the accuracies: nothing has been chosen yet": lambda n, a: sum(a) / len(a),
        "that is a number of right answers; divide by n for a score": lambda n, a: n * _best(n, a),
        **{f"each classifier has an F of its own; yours takes {which} for all": _all_like(of) for which, of in ones},
        "equally good classifiers count each: two guessers pull two tickets": lambda n, a: _best(n, sorted(set(a))),
        "the sum begins at j = 0: the chance that the best has more than 0 right": lambda n, a: _best(n, a, first=1),
        "F(j) is the chance of at most j right answers, j included": lambda n, a: _best(n, a, strictly=True),
        "that is the expected worst; all are at most j if each is": lambda n, a: _best(n, a, worst=True),
        "in how many ways are j of n right? A factor is missing": lambda n, a: _best(n, a, choose=lambda *_: 1),
        "the other n − j answers must be wrong: (1 − p) to that power is missing": lambda n, a: _best(n, a, miss=False),
        "that is P(max ≤ j) summed; the chances to exceed j are 1 minus it": lambda n, a: 1 - _best(n, a),
    }
    by_hand = "two examples, two guessers: the lesson has 22/16 right answers out of 2; an exact value is asked for"
    trials = [(by_hand, (2, [0.5, 0.5])), ("with a single classifier it is its accuracy", (7, [0.3]))]
    trials += [("twenty guessers on 16 examples: section 2's table has the value, rounded", (16, [0.5] * 20))]
    trials += [("the accuracies differ here", (n, a)) for n, a in ((16, [0.9, 0.1, 0.5]), (5, [0.2, 0.7]))]
    trials += [("an accuracy may be 0 or 1", (6, a)) for a in ([0.0], [0.0, 0.4], [0.3, 1.0])]
    large = "n = 200 must work, exactly: neither float32 nor factorials as floats reach that far"
    trials += [(large, (200, [0.5, 0.6, 0.55]))]
    return check(answer, _best, trials, mistakes)


def _at(scores: Tensor, chosen: Tensor) -> Tensor:
    return scores.gather(1, chosen)


def _curse(dev: Tensor, test: Tensor) -> Tensor:
    return _at(dev - test, dev.argmax(dim=1, keepdim=True)).mean()


def _last_of_equals(dev: Tensor) -> Tensor:
    return dev.shape[1] - 1 - dev.flip(1).argmax(dim=1, keepdim=True)


def check_curse(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 10.3: answer(dev, test), [runs, epochs] each: mean of reported minus test score, []."""
    mistakes = {
        "the sign: reported minus test": lambda d, t: -_curse(d, t),
        "a mean over the runs is asked for, one number": lambda d, t: _at(d - t, d.argmax(1, keepdim=True)).squeeze(1),
        "the mean over the runs, not their sum": lambda d, t: _curse(d, t) * len(d),
        "that is the mean reported score; the test score in the chosen state is still to be taken off": lambda d, t: (
            d.max(dim=1).values.mean()
        ),
        "test[:, chosen] is a square, every run at every chosen epoch; one entry a run is asked for": lambda d, t: (
            d.max(dim=1).values.mean() - t[:, d.argmax(dim=1)].mean()
        ),
        "test is read in the chosen epoch, not in the last": lambda d, t: d.max(1).values.mean() - t[:, -1].mean(),
        "a gap can be negative, and then it counts as such, not as 0": lambda d, t: (
            _at(d - t, d.argmax(1, keepdim=True)).clamp(min=0).mean()
        ),
        "the two best scores are of two different epochs; test belongs to the epoch that dev chose": lambda d, t: (
            d.max(dim=1).values.mean() - t.max(dim=1).values.mean()
        ),
        "the development score chooses the epoch, not the test score": lambda d, t: -_curse(t, d),
        "the development score chooses the epoch, not the largest gap": lambda d, t: (d - t).max(dim=1).values.mean(),
        "that is the last epoch; the best one on dev is chosen": lambda d, t: (d - t)[:, -1].mean(),
        "that is the mean over all epochs; only the chosen one counts": lambda d, t: (d - t).mean(),
        "the mean test score has no say; the chosen epoch's has": lambda d, t: d.amax(1).mean() - t.mean(),
        "the earliest of equals is chosen, not the latest": lambda d, t: _at(d - t, _last_of_equals(d)).mean(),
        "each run chooses its own epoch; yours chooses one for all": lambda d, t: (d - t)[:, d.mean(0).argmax()].mean(),
        "runs are rows and epochs columns: the best epoch of each run is along dim 1": lambda d, t: (
            (d - t).gather(0, d.argmax(dim=0, keepdim=True)).mean()
        ),
        "each run chooses for itself; yours takes the best run's best epoch only": lambda d, t: (d - t).flatten()[
            d.argmax()
        ],
        "a gap can be negative, and then it counts as such: no absolute value": lambda d, t: (
            _at(d - t, d.argmax(1, keepdim=True)).abs().mean()
        ),
    }
    generator = torch.Generator().manual_seed(0)

    def scores(runs: int, epochs: int, k: int = 16) -> tuple[Tensor, Tensor]:
        """Development scores in steps of 1/k, so that there are ties, and fine test scores, some of them higher."""
        dev = torch.randint(k // 2, k + 1, (runs, epochs), generator=generator) / k
        return dev, 0.5 + 0.5 * torch.rand(runs, epochs, generator=generator)

    trials = [
        ("each run chooses its best development epoch, and test is read there", scores(5, 7, k=1000)),
        ("many epochs are equally good here: the earliest counts", scores(6, 20, k=4)),
        (
            "close together is not equal",
            tuple(0.7 + 0.005 * one for one in scores(4, 9, k=1000)),
        ),
        ("there may be as many runs as epochs", scores(4, 4)),
        ("the mean over the runs may be negative, too", (lambda dev, test: (dev - 0.4, test))(*scores(5, 6, k=1000))),
        ("there may be a single run", scores(1, 6)),
        ("there may be a single epoch: nothing to choose", scores(3, 1)),
        ("the scores may be float64", tuple(one.double() for one in scores(2, 9))),
    ]
    return check(answer, _curse, trials, mistakes)


def _needed(sd: float, difference: float, reach=0.975, power=0.8, freedom=lambda r: r - 1, first=2, scale=math.sqrt):
    from scipy.stats import t

    r = first
    while sum(t.ppf([reach, power], freedom(r))) * sd / scale(r) > difference:
        r += 1
    return r


def check_seeds_needed(answer: Callable[[float, float], int]) -> bool:
    """Exercise 10.4: answer(sd, difference) is how many draws show a difference in four of five cases."""
    normal = 1.959964 + 0.841621
    mistakes = {
        "with few draws t is far above the normal distribution's 1.96 and 0.84": lambda s, d: max(
            2, math.ceil((normal * s / d) ** 2)
        ),
        "1.96 and 0.84 are for a known sd; from r draws use t with r − 1 degrees": lambda s, d: max(
            2, math.ceil((2.8 * s / d) ** 2)
        ),
        "without t at 0.8 the difference is seen only every second time": lambda s, d: _needed(s, d, power=0.5),
        "a two-sided 95 % interval leaves out 2.5 % on each side: 0.975": lambda s, d: _needed(s, d, reach=0.95),
        "four of five cases is t at 0.8; 0.9 would be nine of ten": lambda s, d: _needed(s, d, power=0.9),
        "t at 0.2 is negative: it has to be 0.8": lambda s, d: _needed(s, d, power=0.2),
        "r draws have r − 1 degrees of freedom, not r": lambda s, d: _needed(s, d, freedom=lambda r: r),
        "the draws are paired: r − 1 degrees, not 2r − 2": lambda s, d: _needed(s, d, freedom=lambda r: 2 * r - 2),
        "sd is that of the differences already: no further √2": lambda s, d: _needed(2**0.5 * s, d),
        "a mean of r draws scatters by sd / √r, not sd / r": lambda s, d: _needed(s, d, scale=lambda r: r),
        "t depends on r: yours takes t for five draws throughout": lambda s, d: _needed(s, d, freedom=lambda r: 4),
        "one too many: the smallest r that does is asked for": lambda s, d: _needed(s, d) + 1,
        "one too few: that many draws don't quite do yet": lambda s, d: _needed(s, d) - 1,
        "one draw has no standard deviation (t is NaN there): begin at 2": lambda s, d: 1,
        "begin at r = 2: two draws may do, where the difference is large": lambda s, d: _needed(s, d, first=3),
        "sd is a standard deviation, not a variance: it need not be squared": lambda s, d: _needed(s * s, d),
        "sd is a standard deviation, not a variance: no root of it is taken": lambda s, d: _needed(s**0.5, d),
        "it is sd / difference: yours has them the other way round": lambda s, d: _needed(d, s),
    }
    large = "the difference is large beside sd: two draws are enough"
    trials = [(large, (1.0, 10.0)), ("with sd 4, four draws show 8.3 points and five show 6.6", (4.0, 8.0))]
    trials += [("sd and difference may be equal", (5.0, 5.0)), ("many draws are needed here", (3.2, 0.8))]
    trials += [("both may be far below 1, as shares", (0.06, 0.05)), ("almost two hundred draws", (2.5, 0.5))]
    trials += [("more than a thousand draws", (0.3, 0.025))]
    return check(answer, _needed, trials, mistakes)
