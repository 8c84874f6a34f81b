"""Lesson 12: beyond the paper."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from apt_minimal.course.checking import check, combine

__all__ = ["check_chances", "check_log_gated_attention", "check_upper_cost", "check_winner"]


def _draw(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def check_log_gated_attention(answer: Callable[..., Tensor]) -> bool:
    """Exercise 12.1: log α on the prefix's scores; answer(query, key, value, P_k, P_v, alpha, mask), [b, h, n, d_h]."""

    def log(alpha):
        return alpha.log()[:, None, None]

    added = {
        "": log,
        "α must be in the scores: add its logarithm to those of the prefix": lambda a: 0 * a[:, None, None],
        "α itself is added; log α is asked for, which multiplies the weight by α": lambda a: a[:, None, None],
        "the sign of log α: a small α has to make the weight small": lambda a: -log(a),
        "no small number beside α: log 0 = −∞ takes the token out, and that is wanted": lambda a: log(a + 1e-3),
        "each example has its own α: yours uses the first one's": lambda a: log(a[:1].expand_as(a)),
        "each prefix token has its own α: do not average": lambda a: log(a.mean(1, keepdim=True).expand_as(a)),
        "each example has its own α: do not average over b": lambda a: log(a.mean(0, keepdim=True).expand_as(a)),
        "log is the natural logarithm here": lambda a: a.log2()[:, None, None],
        "α is a gate already: no sigmoid around it": lambda a: log(a.sigmoid()),
        "α belongs to the keys, which are the last axis of the scores": lambda a: a.log()[:, None, :, None],
        "α needs axes for heads and queries: [b, 1, 1, l]": lambda a: a.log(),
    }
    scaled = {
        "": (False, False),
        "keys and values stay whole: that scales them, as E3 does, and a zero key keeps its mass": (True, True),
        "the key stays whole: no factor α on it": (True, False),
        "the value stays whole: no factor α on it": (False, True),
    }
    hidden = {
        "": lambda scores, mask: scores.masked_fill(~mask[:, None, None], -math.inf),
        "masked words still get weight: their scores must be −∞": lambda scores, mask: scores,
        "the mask's sign: True is a real word": lambda scores, m: scores.masked_fill(m[:, None, None], -math.inf),
        "a masked word's score of 0 is still e⁰ = 1 in the sum": lambda s, m: s.masked_fill(~m[:, None, None], 0.0),
        "each example has its own mask: not the first": lambda s, m: s.masked_fill(~m[:1, None, None], -math.inf),
    }
    scales = {
        "": (lambda d_h: math.sqrt(d_h), False),
        "the scores are not divided by √d_h": (lambda d_h: 1.0, False),
        "the scores are divided by d_h, not by its root": (lambda d_h: d_h, False),
        "log α is added after the division by √d_h, not divided with the score": (math.sqrt, True),
    }

    def make(add, scale_pair, hide, scale):
        def attention(query, key, value, prefix_key, prefix_value, alpha, mask):
            gate = alpha[:, None, :, None]
            prefix_key, prefix_value = (
                gate * part if on else part for part, on in zip((prefix_key, prefix_value), scale_pair, strict=True)
            )
            divide, with_score = scale
            of_prefix, of_words = (query @ k.transpose(-1, -2) / divide(query.shape[-1]) for k in (prefix_key, key))
            of_prefix = of_prefix + add(alpha) / (divide(query.shape[-1]) if with_score else 1)
            weights = torch.cat([of_prefix, hide(of_words, mask)], dim=-1).softmax(dim=-1)
            return weights @ torch.cat([prefix_value, value], dim=2)

        return attention

    right, none = [factor[""] for factor in (added, scaled, hidden, scales)], list(added.values())[1]
    mistakes = {
        "that scales keys and values by α, as E3 does: at α = 0 the token keeps mass; add log α to its score instead": (
            make(none, (True, True), *right[2:])
        ),
        "α multiplies the value (or the weights after the softmax), and the mass stays: it belongs into the score": (
            make(none, (False, True), *right[2:])
        ),
        "queries that are padding attend like the others: the mask is for keys": (
            lambda *given: make(*right)(*given) * given[-1][:, None, :, None]
        ),
        **combine(make, added, scaled, hidden, scales),
    }
    draw = _draw(121)

    def trial(hint, b, h, n, l, d_h, masked=(), alpha=None):
        mask = torch.ones(b, n, dtype=torch.bool)
        for place in masked:
            mask[place] = False
        alpha = draw(b, l).sigmoid() if alpha is None else torch.tensor(alpha)
        return hint, (*(draw(b, h, size, d_h) for size in (n, n, n, l, l)), alpha, mask)

    trials = [
        trial("no word is masked: score + log α for the prefix, one softmax over all l + n keys", 2, 3, 5, 4, 6),
        trial("masked words get no weight, whatever α is", 2, 3, 5, 4, 6, masked=[(0, 3), (0, 4), (1, 0)]),
        trial("α may be 0: that token is out, and there is no NaN", 2, 2, 3, 2, 4, alpha=[[0.0, 1.0], [0.5, 0.0]]),
        trial("α may be 0 for the whole prefix: then it is plain attention", 1, 2, 3, 2, 4, alpha=[[0.0, 0.0]]),
        trial("α = 1 everywhere is E1", 2, 2, 3, 2, 4, alpha=[[1.0, 1.0], [1.0, 1.0]]),
        trial("all sizes may be equal", 3, 3, 3, 3, 3, masked=[(1, 2)]),
        trial("one example, one head, one word, one prefix token", 1, 1, 1, 1, 4),
    ]
    return check(answer, make(*right), trials, mistakes)


def check_chances(answer: Callable[[Tensor, float, float, float], tuple]) -> bool:
    """Exercise 12.2: answer(location, low, high, beta) is P(z = 0), P(0 < z < 1) and P(z = 1)."""
    closed, full = lambda lo, hi: math.log(-lo / hi), lambda lo, hi: math.log((1 - lo) / (hi - 1))
    points = {  # where the logit of the stretched sigmoid is for z = 0 and z = 1
        "": (closed, full),
        "low and high are arguments, not −0.1 and 1.1": tuple(lambda *_, f=f: f(-0.1, 1.1) for f in (closed, full)),
        "z = 1 is symmetric to z = 0 only where high − 1 = −low": (closed, lambda lo, hi: -closed(lo, hi)),
        "low shifts z too: z = 1 is not where high times the sigmoid is 1": (closed, lambda _, hi: -math.log(hi - 1)),
        "z = 1 counts once the stretched sigmoid exceeds 1, not ½": (closed, lambda lo, hi: 0.0),
        "z = 0 counts once the stretched sigmoid is below 0, not below ½": (lambda lo, hi: 0.0, full),
    }
    betas = {
        "": lambda beta: beta,
        "β is left out": lambda beta: 1.0,
        "β multiplies the logarithm, it does not divide it": lambda beta: 1 / beta,
        "β is an argument: yours has the lesson's ⅔": lambda beta: 2 / 3,
    }
    signs = {"": 1.0, "the sign of a: a large a opens the gate": -1.0}
    orders = {
        "": lambda shut, open_: (shut, 1 - shut - open_, open_),
        "the order: P(z = 0), P(0 < z < 1), P(z = 1)": lambda shut, open_: (open_, 1 - shut - open_, shut),
        "the order: what is in between comes second": lambda s, o: (s, o, 1 - s - o),
        "the first is P(z = 0); yours is P(z ≠ 0)": lambda shut, open_: (1 - shut, 1 - shut - open_, open_),
        "P(0 < z < 1) leaves out z = 1: yours is P(z > 0)": lambda shut, open_: (shut, 1 - shut, open_),
        "P(0 < z < 1) leaves out z = 0: yours is P(z < 1)": lambda shut, open_: (shut, 1 - open_, open_),
        "the three must add up to 1: in between is what is neither 0 nor 1": lambda s, o: (s, s * o, o),
    }

    def make(at, stretch, sign, order):
        def chances(a, low, high, beta):
            shut, open_ = at[0](low, high), at[1](low, high)
            return order((stretch(beta) * shut - sign * a).sigmoid(), (sign * a - stretch(beta) * open_).sigmoid())

        return chances

    by_hand = "at a = 2 with the lesson's values z is 0 with probability 0.03 and 1 with 0.60"
    trials = [
        (by_hand, (torch.tensor([2.0, 0.0, -2.0]), -0.1, 1.1, 2 / 3)),
        ("low and high may differ in how far they stretch", (torch.tensor([0.5, -1.0]), -0.3, 1.1, 2 / 3)),
        ("β may be another", (torch.tensor([[1.0], [-0.5]]), -0.1, 1.4, 0.3)),
        ("location may have any shape, [] too", (torch.tensor(0.7), -0.5, 1.2, 1.5)),
    ]
    right = make(points[""], betas[""], 1.0, orders[""])
    flat = {"each of the three has location's shape: yours are flat": lambda *x: [one.flatten() for one in right(*x)]}
    return check(answer, right, trials, flat | combine(make, points, betas, signs, orders))


def check_upper_cost(answer: Callable[[int, int, int, int, int], tuple]) -> bool:
    """Exercise 12.3: answer(L, k, l, d, E) is trained parameters, and layer passes without and with kept states."""
    sizes = {  # of n layers
        "": lambda n, l, d: n * (3 * l * d + 1),
        "each layer has a λ": lambda n, l, d: n * 3 * l * d,
        "each layer has a λ of its own: yours is one for all": lambda n, l, d: n * 3 * l * d + 1,
        "the gate's W is missing: l · d numbers a layer": lambda n, l, d: n * (2 * l * d + 1),
        "W of the gate has l · d numbers a layer; l is how many α it gives": lambda n, l, d: n * (2 * l * d + l + 1),
        "that is P-tuning v2: W and λ of the gates are missing": lambda n, l, d: n * 2 * l * d,
    }
    layers = {
        "": lambda L, k: k,
        "only k layers have prefixes: yours counts all L": lambda L, k: L,
        "the upper k layers have prefixes, not the L − k below": lambda L, k: L - k,
    }
    whole = {
        "": lambda L, k, E: (L + k) * E,
        "a backward pass goes through the k upper layers only: the gradient stops there": lambda L, k, E: 2 * L * E,
        "every forward pass runs all L layers here": lambda L, k, E: 2 * k * E,
        "the backward pass is missing in the second number": lambda L, k, E: L * E,
        "E epochs: the second number is for one": lambda L, k, E: L + k,
    }
    kept = {
        "": lambda L, k, E: L - k + 2 * k * E,
        "the one pass through the L − k lower layers is missing": lambda L, k, E: 2 * k * E,
        "the lower layers run once, not in every epoch": lambda L, k, E: (L - k) * E + 2 * k * E,
        "the one pass that keeps states ends below the upper k layers": lambda L, k, E: L + 2 * k * E,
        "the backward pass is missing in the third number": lambda L, k, E: L - k + k * E,
        "E epochs: the third number is for one": lambda L, k, E: L - k + 2 * k,
        "nothing goes backward through the lower layers": lambda L, k, E: 2 * (L - k) + 2 * k * E,
    }
    swapped = {"": False, "the order: first without kept states, then with": True}

    def make(size, count, plain, cached, swap):
        def cost(L, k, l, d, E):
            passes = plain(L, k, E), cached(L, k, E)
            return size(count(L, k), l, d), *(passes[::-1] if swap else passes)

        return cost

    trials = [
        ("the lesson's case: two of six layers, ten epochs, 80 and 44 passes", (6, 2, 16, 384, 10)),
        ("prefixes in a single layer", (12, 1, 5, 8, 7)),
        ("with prefixes everywhere nothing is saved: 2 L E passes, twice", (5, 5, 3, 7, 4)),
        ("one epoch", (7, 3, 2, 11, 1)),
    ]
    right = [factor[""] for factor in (sizes, layers, whole, kept, swapped)]
    return check(answer, make(*right), trials, combine(make, sizes, layers, whole, kept, swapped))


def check_winner(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 12.4: answer(scores [variants, seeds]) is the winner's mean, and the same judged on left-out seeds."""

    def others(scores: Tensor) -> Tensor:
        return (scores.sum(dim=1, keepdim=True) - scores) / (scores.shape[1] - 1)

    def fair(scores: Tensor, judge: Tensor, chosen: Tensor | None = None) -> Tensor:
        chosen = others(scores).argmax(dim=0, keepdim=True) if chosen is None else chosen
        return judge.gather(0, chosen).mean()

    def overall(scores: Tensor) -> Tensor:
        return scores.mean(dim=1).argmax().expand(1, scores.shape[1])

    naives = {
        "": lambda s: s.mean(dim=1).max(),
        "the first is the highest mean over seeds, not the highest single score": lambda s: s.max(),
        "the first is the highest mean, not the mean over seeds of the best in each": lambda s: s.max(0).values.mean(),
        "the first is one variant's mean, not that of all": lambda s: s.mean(),
        "scores is [variants, seeds]: the first takes means along the wrong axis": lambda s: s.mean(dim=0).max(),
    }
    judged = {
        "": lambda s: fair(s, s),
        "the seeds that chose also judge: a score on the left-out seed is asked for": lambda s: fair(s, others(s)),
        "the left-out seed has had a say: choose by the other seeds only": lambda s: fair(s, s, overall(s)),
        "each seed chooses for itself: choose by the other seeds, judge by this one": lambda s: s.max(0).values.mean(),
        "one seed chooses and the others judge: turn it round": lambda s: fair(s, others(s), s.argmax(0)[None]),
        "all seeds are left out once: yours leaves out the first only": lambda s: s[others(s)[:, 0].argmax(), 0],
        "all seeds are left out once: yours leaves out the last only": lambda s: s[others(s)[:, -1].argmax(), -1],
        "the mean of the choices' scores, not their sum": lambda s: fair(s, s) * s.shape[1],
        "of equals the first variant is chosen": lambda s: fair(s, s, len(s) - 1 - others(s).flip(0).argmax(0)[None]),
        "the highest mean is chosen, not the lowest": lambda s: fair(s, s, others(s).argmin(dim=0, keepdim=True)),
        "the second is a score, not the optimism": lambda s: s.mean(dim=1).max() - fair(s, s),
    }
    swapped = {"": False, "the order: first the mean over all seeds, then the fair one": True}

    def make(naive, judge, swap):
        return lambda s: (judge(s), naive(s)) if swap else (naive(s), judge(s))

    turned = {
        "scores is [variants, seeds]: yours has the two axes the other way round": (
            lambda s: make(naives[""], judged[""], False)(s.T)
        )
    }

    draw = _draw(125)
    trials = [
        ("two variants, two seeds: each seed's choice is made by the other seed", (torch.tensor([[1.0, 4], [3, 2]]),)),
        ("six variants, five seeds", (draw(6, 5),)),
        ("as many variants as seeds", (draw(4, 4),)),
        ("two seeds", (draw(5, 2),)),
        ("one variant wins by itself", (draw(1, 3),)),
        ("of equals the first is chosen", (torch.tensor([[1.0, 1, 4], [1, 1, 0], [0.0, 2, 3]]),)),
        ("scores far from 0", (60 + 3 * draw(3, 5),)),
    ]
    return check(answer, make(naives[""], judged[""], False), trials, turned | combine(make, naives, judged, swapped))
