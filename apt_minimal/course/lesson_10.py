"""Lesson 10: few-shot."""

import math
from functools import cache
from types import SimpleNamespace

import torch
from scipy import stats

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_10_draw import check_disjoint_draw as check_disjoint_draw  # exercise 10.1


def expected_best(n, accuracies):
    """Return the expected best score of classifiers with these accuracies, scored on n examples each."""
    at_most = torch.ones(n + 1, dtype=torch.float64)
    for p in accuracies:
        chances = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
        F = torch.tensor(chances, dtype=torch.float64).cumsum(dim=0)
        at_most *= F  # the best has at most j right if each one has
    exceeds = 1 - at_most[:-1]
    return exceeds.sum().item() / n


def each_at_most(n, accuracies):
    """F(j) of each classifier for j < n: [classifiers, n]."""
    return torch.tensor([[math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n)] for p in accuracies]).cumsum(1)


@exercise(expected_best)
def check_expected_best(draw):
    """
    ? With what chance have all of them at most j right?
    ? Independent chances multiply, each classifier with its own F(j). Sum 1 − the product over j < n; divide by n.
    ? F is the cumulative sum of math.comb(n, j) * p**j * (1 - p) ** (n - j).
    that is the best of the expected scores: the expected best score is higher → return max(accuracies)
    that is the mean of the accuracies: nothing has been chosen yet → return sum(accuracies) / len(accuracies)
    that is a number of right answers: divide by n for a score → return exceeds.sum().item()
    each classifier has its own F, not the mean accuracy's →
        for p in [sum(accuracies) / len(accuracies)] * len(accuracies):
    each classifier has its own F, not the first one's → for p in accuracies[:1] * len(accuracies):
    each classifier has its own F, not the best one's → for p in [max(accuracies)] * len(accuracies):
    equally good classifiers count each: two guessers pull two tickets → for p in {*accuracies}:
    the sum begins at j = 0, the chance that the best has more than 0 right → exceeds = 1 - at_most[1:-1]
    F(j) includes j: at most j right answers → F = torch.tensor([0.0, *chances[:-1]], dtype=torch.float64).cumsum(0)
    F(j) adds up the chances to j: cumsum is missing → F = torch.tensor(chances, dtype=torch.float64)
    that is the expected worst score →
        F = 1 - torch.tensor(chances, dtype=torch.float64).cumsum(0); exceeds = at_most[:-1]
    in how many ways are j of n right? → chances = [p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    (1 − p) to the n − j is missing: these are wrong → chances = [math.comb(n, j) * p**j for j in range(n + 1)]
    p to the j is missing: these are right → chances = [math.comb(n, j) * (1 - p) ** (n - j) for j in range(n + 1)]
    p is the chance to be right, not wrong →
        chances = [math.comb(n, j) * (1 - p) ** j * p ** (n - j) for j in range(n + 1)]
    P(max ≤ j) is summed: the chance to exceed j is 1 minus it → exceeds = at_most[:-1]
    an accuracy may be 0 or 1 → for p in [min(max(p, 0.01), 0.99) for p in accuracies]:
    several may exceed j at once: their chances don't add up →
        return (1 - each_at_most(n, accuracies)).sum(0).clamp(max=1).mean().item()
    the F multiply: yours are averaged first →
        return (1 - each_at_most(n, accuracies).mean(0) ** len(accuracies)).mean().item()
    """
    yield "the lesson's two guessers on two examples", 2, [0.5, 0.5]
    yield "a single classifier", 7, [0.3]
    yield "twenty guessers", 16, [0.5] * 20
    yield "three accuracies", 16, [0.9, 0.1, 0.5]
    yield "two accuracies", 5, [0.2, 0.7]
    yield "an accuracy of 0", 6, [0.0, 0.4]
    yield "an accuracy of 1", 6, [0.3, 1.0]
    yield "200 examples", 200, [0.5, 0.6, 0.55]


def curse(dev, test):
    """Return the mean over runs of the reported minus the test score: [runs, epochs] twice -> []."""
    chosen = dev.argmax(dim=1, keepdim=True)
    reported = dev.gather(1, chosen)
    judged = test.gather(1, chosen)
    gap = reported - judged
    return gap.mean()


@exercise(curse)
def check_curse(draw):
    """
    ? Which epoch does each run choose, and what are its two scores there?
    ? argmax along the epochs returns the first of equal maxima. gather picks one entry per row of dev and of test.
    ? (dev - test).gather(1, dev.argmax(dim=1, keepdim=True))
    the sign: reported minus test → gap = judged - reported
    a mean over the runs is asked for, one number → return gap.squeeze(1)
    the mean over the runs, not their sum → return gap.sum()
    that is the mean reported score: the test score is still to be taken off → gap = reported
    that is every run at every chosen epoch: take one entry per run → judged = test[:, chosen.squeeze(1)]
    test is read in the chosen epoch, not in the last → judged = test[:, -1:]
    test is read in the epoch that dev chose, not at its own best → judged = test.amax(dim=1, keepdim=True)
    the mean test score has no say: that of the chosen epoch has → judged = test.mean(dim=1, keepdim=True)
    a gap can be negative, and then it counts as such, not as 0 → return gap.clamp(min=0).mean()
    a gap can be negative, and then it counts as such: no absolute value → return gap.abs().mean()
    dev chooses the epoch, not test → chosen = test.argmax(dim=1, keepdim=True)
    dev chooses the epoch, not the largest gap → chosen = (dev - test).argmax(1, True)
    the best epoch on dev is chosen, not the last → chosen = torch.full((len(dev), 1), dev.shape[1] - 1)
    that is the mean over all epochs: only the chosen one counts → gap = dev - test
    of equals the earliest is chosen, not the latest → chosen = dev.shape[1] - 1 - dev.flip(1).argmax(1, True)
    of equals the earliest is chosen, not the best on test → chosen = (dev + 1e-6 * test).argmax(1, True)
    of equals the earliest is chosen: yours takes the mean of all →
        judged = test.masked_fill(dev < dev.amax(1, True), math.nan).nanmean(1, True)
    a score that is a little higher is chosen, too → chosen = (dev > dev.amax(1, True) - 0.01).int().argmax(1, True)
    each run chooses its own epoch, not one for all → chosen = dev.mean(dim=0).argmax().expand(len(dev), 1)
    runs are rows and epochs columns: the best epoch of each run is along dim 1 →
        chosen = dev.argmax(dim=0, keepdim=True); reported = dev.gather(0, chosen); judged = test.gather(0, chosen)
    each run counts: yours takes the best run's best epoch only → gap = (dev - test).flatten()[dev.argmax()]
    """
    generator = torch.Generator().manual_seed(0)

    def scores(runs, epochs, k=16):
        """Development scores in steps of 1/k, so that some are equal, and fine test scores, some of them higher."""
        dev = torch.randint(k // 2, k + 1, (runs, epochs), generator=generator) / k
        return dev, 0.5 + 0.5 * torch.rand(runs, epochs, generator=generator)

    yield (
        "two runs of three epochs",
        torch.tensor([[0.5, 0.75, 0.25], [1.0, 0.5, 0.75]]),
        torch.tensor([[0.4, 0.5, 0.6], [0.7, 0.2, 0.3]]),
    )
    yield "different epochs chosen", *scores(5, 7, k=1000)
    yield "equal development scores", *scores(3, 6, k=2)
    yield "scores close together", *tuple(0.7 + 0.005 * one for one in scores(4, 9, k=1000))
    yield "as many runs as epochs", *scores(4, 4)
    dev, test = scores(5, 6, k=1000)
    yield "a mean below 0", dev - 0.4, test
    yield "a single run", *scores(1, 7, k=1000)
    yield "a single epoch", *scores(3, 1)
    yield "float64", *tuple(one.double() for one in scores(2, 9))


t = SimpleNamespace(ppf=cache(stats.t.ppf))  # as scipy's, but each quantile is computed once for all mistakes


def seeds_needed(sd, difference):
    """Return how many draws show a difference in four of five cases."""
    r, seen = 1, False
    while not seen:
        r += 1
        freedom = r - 1
        multiple = t.ppf(0.975, freedom) + t.ppf(0.8, freedom)
        error = sd / math.sqrt(r)
        seen = multiple * error <= difference
    return r


@exercise(seeds_needed)
def check_seeds_needed(draw):
    """
    ? Which differences can be seen with two draws, with three, …?
    ? Count r upwards from 2, until (t at 0.975 plus t at 0.8) · sd / √r is at most the difference.
    ? scipy.stats.t.ppf(0.975, r - 1) is the first of the two.
    with few draws t is far above the normal distribution's 1.96 and 0.84 → multiple = 1.959964 + 0.841621
    1.96 and 0.84 are for a known sd: from r draws use t with r − 1 degrees → multiple = 1.96 + 0.84
    without t at 0.8 the difference is seen only every second time → multiple = t.ppf(0.975, freedom)
    without t at 0.975 the interval isn't asked to leave out 0 → multiple = t.ppf(0.8, freedom)
    95 % leaves out 2.5 % on each side: 0.975 → multiple = t.ppf(0.95, freedom) + t.ppf(0.8, freedom)
    four of five cases is t at 0.8, not 0.9 → multiple = t.ppf(0.975, freedom) + t.ppf(0.9, freedom)
    t at 0.2 is negative: it has to be 0.8 → multiple = t.ppf(0.975, freedom) + t.ppf(0.2, freedom)
    r draws have r − 1 degrees of freedom, not r → freedom = r
    the draws are paired: r − 1 degrees, not 2r − 2 → freedom = 2 * r - 2
    t depends on r: yours takes t for five draws throughout → freedom = 4
    sd is that of the differences already: no further √2 → error = math.sqrt(2) * sd / math.sqrt(r)
    a mean of r draws scatters by sd / √r, not sd / r → error = sd / r
    sd is a standard deviation, not a variance: it need not be squared → error = sd**2 / math.sqrt(r)
    sd is a standard deviation, not a variance: no root of it is taken → error = math.sqrt(sd / r)
    a mean of r draws scatters by sd / √r, not sd / √(r − 1) → error = sd / math.sqrt(r - 1)
    one too many: the smallest r that does is asked for → return r + 1
    one too few: that many draws don't quite do yet → return r - 1
    r counts up one by one: yours doubles → r += r
    more than a thousand draws may be needed → return min(r, 1000)
    one too few (but two): that many draws don't quite do yet → return max(2, r - 1)
    one draw has no standard deviation (t is NaN there): begin at 2 → return 1
    it is sd / difference: yours has them the other way round → return seeds_needed(difference, sd)
    begin at r = 2: two draws may do, where the difference is large → r, seen = 2, False
    """
    yield "a difference of twice sd", 4.0, 8.0
    yield "a difference that is large beside sd", 1.0, 10.0
    yield "four draws that just do", 2.0, 4.2
    yield "a difference as large as sd", 5.0, 5.0
    yield "shares in place of points", 0.06, 0.05
    yield "a difference that is small beside sd", 3.2, 0.8
    yield "almost two hundred draws", 2.5, 0.5
    yield "more than a thousand draws", 0.3, 0.025
