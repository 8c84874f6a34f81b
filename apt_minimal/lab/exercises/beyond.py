"""Lesson 12: beyond the paper."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from apt_minimal.lab.exercises.checking import check, combine

__all__ = ["check_beside_attention", "check_chances", "check_log_gated_attention", "check_upper_cost", "check_winner"]

MASKED = {  # the mask [b, n] as what is added to the words' scores
    "": lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -math.inf)[:, None, None],
    "masked words still get weight: their scores must be −∞": lambda mask: torch.zeros(mask.shape)[:, None, None],
    "the mask's sign: True is a word that may be looked at": (
        lambda mask: torch.zeros(mask.shape).masked_fill(mask, -math.inf)[:, None, None]
    ),
    "a masked word's score of 0 is still e⁰ = 1 in the sum: −∞ is meant": None,
    "each example has its own mask: yours uses the first one's": (
        lambda mask: torch.zeros(mask.shape).masked_fill(~mask[:1], -math.inf)[:, None, None]
    ),
}
ZERO_SCORE = "a masked word's score of 0 is still e⁰ = 1 in the sum: −∞ is meant"
SCALES = {
    "": lambda d_h, h: math.sqrt(d_h),
    "the scores are not divided by √d_h": lambda d_h, h: 1.0,
    "√d_h is meant, the size of one head: yours divides by the root of all heads' width": (
        lambda d_h, h: math.sqrt(d_h * h)
    ),
    "the scores are divided by d_h, not by its root": lambda d_h, h: d_h,
}


def _draw(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _tensors(draw, b, h, n, l, d_h, masked=()) -> tuple[list[Tensor], Tensor]:
    """query, key, value, prefix_key, prefix_value, and a mask that is False at (example, word)."""
    mask = torch.ones(b, n, dtype=torch.bool)
    for place in masked:
        mask[place] = False
    return [draw(b, h, size, d_h) for size in (n, n, n, l, l)], mask


def _word_scores(query: Tensor, key: Tensor, mask: Tensor, hide, scale) -> Tensor:
    scores = query @ key.transpose(-1, -2) / scale(query.shape[-1], query.shape[1])
    return scores.masked_fill(~mask[:, None, None], 0.0) if hide is None else scores + hide(mask)


def check_log_gated_attention(answer: Callable[..., Tensor]) -> bool:
    """Exercise 12.1: log α on the prefix's scores; answer(query, key, value, P_k, P_v, alpha, mask), [b, h, n, d_h]."""
    log, ones = lambda a: a.log()[:, None, None], lambda a: torch.ones_like(a)[:, None, :, None]
    whole = torch.ones_like
    gates = {  # what is added to the prefix's scores, and what multiplies keys and values
        "": (log, whole, whole),
        "α must be in the scores: yours leaves it out": (torch.zeros_like, whole, whole),
        "that scales keys and values, as E3 does, and a zero key keeps its mass: add log α to the scores": (
            torch.zeros_like,
            lambda a: a,
            lambda a: a,
        ),
        "that scales the key only: add log α to the scores instead": (torch.zeros_like, lambda a: a, whole),
        "that scales the value only, and the mass stays: add log α to the scores instead": (
            torch.zeros_like,
            whole,
            lambda a: a,
        ),
        "the value stays whole: with log α in the score it would be gated twice": (log, whole, lambda a: a),
        "keys and values stay whole: α stands in the score only": (log, lambda a: a, lambda a: a),
        "the key stays whole: α stands in the score only": (log, lambda a: a, whole),
        "α itself is added; log α is asked for, so that the weight is multiplied by α": (
            lambda a: a[:, None, None],
            whole,
            whole,
        ),
        "log α with the wrong sign: a small α has to make the weight small": (lambda a: -log(a), whole, whole),
        "a small number beside α keeps α = 0 in the softmax: log 0 = −∞ is what is wanted": (
            lambda a: (a + 1e-3).log()[:, None, None],
            whole,
            whole,
        ),
        "each example has its own α: yours uses the first one's": (lambda a: log(a[:1].expand_as(a)), whole, whole),
        "each prefix token has its own α: do not average": (
            lambda a: log(a.mean(dim=1, keepdim=True).expand_as(a)),
            whole,
            whole,
        ),
        "the logarithm is the natural one": (lambda a: a.log2()[:, None, None], whole, whole),
    }
    orders = {
        "": "after",
        "log α is added after the division by √d_h, not divided with the score": "before",
    }

    def make(gate, hide, scale, order):
        added, on_key, on_value = gate

        def attention(query, key, value, prefix_key, prefix_value, alpha, mask):
            log_gate = added(alpha)
            log_gate = log_gate if log_gate.dim() == 4 else log_gate[:, None, None]
            prefix_key = prefix_key * on_key(alpha)[:, None, :, None]
            scores = query @ prefix_key.transpose(-1, -2) / scale(query.shape[-1], query.shape[1])
            scores = scores + log_gate / (math.sqrt(query.shape[-1]) if order == "before" else 1)
            scores = torch.cat([scores, _word_scores(query, key, mask, hide, scale)], dim=-1)
            return scores.softmax(dim=-1) @ torch.cat([prefix_value * on_value(alpha)[:, None, :, None], value], dim=2)

        return attention

    right = make(gates[""], MASKED[""], SCALES[""], "after")

    def multiplied(*given):
        """α multiplies the weights after the softmax, which then no longer sum to 1."""
        query, key, value, prefix_key, prefix_value, alpha, mask = given
        scores = query @ torch.cat([prefix_key, key], dim=2).transpose(-1, -2) / math.sqrt(query.shape[-1])
        hidden = torch.cat([torch.ones_like(alpha).bool(), mask], dim=1)[:, None, None]
        weights = scores.masked_fill(~hidden, -math.inf).softmax(dim=-1)
        return weights * torch.cat([alpha, mask.float()], dim=1)[:, None, None] @ torch.cat([prefix_value, value], 2)

    mistakes = combine(make, gates, MASKED, SCALES, orders)
    mistakes["α multiplies weights after the softmax, which then don't add up to 1: it belongs into the scores"] = (
        multiplied
    )
    draw = _draw(121)

    def trial(hint, *sizes, masked=(), alpha=None):
        tensors, mask = _tensors(draw, *sizes, masked=masked)
        alpha = torch.sigmoid(draw(sizes[0], sizes[3])) if alpha is None else torch.tensor(alpha)
        return hint, (*tensors, alpha, mask)

    trials = [
        trial("no word is masked: score + log α for the prefix, one softmax over all l + n keys", 2, 3, 5, 4, 6),
        trial("masked words get no weight, whatever α is", 2, 3, 5, 4, 6, masked=[(0, 3), (0, 4), (1, 0)]),
        trial("α may be 0: that token is out, and no NaN", 2, 2, 3, 2, 4, alpha=[[0.0, 1.0], [0.5, 0.0]]),
        trial("α may be 0 for the whole prefix: then it is plain attention", 1, 2, 3, 2, 4, alpha=[[0.0, 0.0]]),
        trial("α = 1 everywhere is E1", 2, 2, 3, 2, 4, alpha=[[1.0, 1.0], [1.0, 1.0]]),
        trial("all sizes may be equal", 3, 3, 3, 3, 3, masked=[(1, 2)]),
        trial("one example, one head, one word, one prefix token", 1, 1, 1, 1, 4),
    ]
    return check(answer, right, trials, mistakes)


def check_beside_attention(answer: Callable[..., Tensor]) -> bool:
    """Exercise 12.2: Attn(q; K, V) + tanh(g) Attn(q; P_k, P_v), [b, h, n, d_h]."""
    gates = {
        "": torch.tanh,
        "the gate is tanh(g), which is 0 at g = 0: yours is g itself": lambda g: g,
        "the gate is tanh(g), which is 0 at g = 0: yours is the sigmoid, ½ there": torch.sigmoid,
        "the gate is left out": torch.ones_like,
        "the sign: the prefix's part is added": lambda g: -g.tanh(),
        "tanh is applied twice": lambda g: g.tanh().tanh(),
    }
    words = {
        "": lambda g: 1.0,
        "that is an interpolation, as in E4: here nothing is taken from the words": lambda g: 1 - g.tanh(),
        "the gate belongs to the prefix's part, not to both": torch.tanh,
        "the words' attention is missing": lambda g: 0.0,
    }

    def make(gate, share, hide, scale):
        def attention(query, key, value, prefix_key, prefix_value, g, mask):
            of_words = _word_scores(query, key, mask, hide, scale).softmax(dim=-1) @ value
            scores = query @ prefix_key.transpose(-1, -2) / scale(query.shape[-1], query.shape[1])
            return share(g) * of_words + gate(g) * (scores.softmax(dim=-1) @ prefix_value)

        return attention

    right = make(torch.tanh, words[""], MASKED[""], SCALES[""])

    def common(gated):
        def attention(query, key, value, prefix_key, prefix_value, g, mask):
            scores = query @ torch.cat([prefix_key, key], dim=2).transpose(-1, -2) / math.sqrt(query.shape[-1])
            length = prefix_key.shape[2]
            scores[..., length:] += MASKED[""](mask)
            weights = scores.softmax(dim=-1)
            return weights[..., length:] @ value + (g.tanh() if gated else 1) * weights[..., :length] @ prefix_value

        return attention

    mistakes = combine(make, gates, words, MASKED, SCALES)
    common_softmax = "one softmax over prefix and words takes mass from the words: two softmaxes are asked for"
    mistakes |= {common_softmax: common(True), f"{common_softmax}; the gate is left out": common(False)}
    draw = _draw(122)

    def trial(hint, g, *sizes, masked=()):
        tensors, mask = _tensors(draw, *sizes, masked=masked)
        return hint, (*tensors, torch.tensor(g), mask)

    trials = [
        trial("no word is masked: two attentions, the prefix's times tanh(g)", 0.7, 2, 3, 5, 4, 6),
        trial("the mask belongs to the words", -0.4, 2, 3, 5, 4, 6, masked=[(0, 3), (0, 4), (1, 0)]),
        trial("at g = 0 it is plain attention, to the last bit", 0.0, 2, 2, 3, 2, 4, masked=[(1, 1)]),
        trial("g may be large", 3.0, 2, 2, 4, 4, 4, masked=[(0, 0)]),
        trial("all sizes may be equal", 1.5, 3, 3, 3, 3, 3, masked=[(1, 2)]),
        trial("one example, one head, one word, one prefix token", 0.5, 1, 1, 1, 1, 4),
    ]
    return check(answer, right, trials, mistakes)


def check_chances(answer: Callable[[Tensor, float, float, float], tuple]) -> bool:
    """Exercise 12.3: answer(location, low, high, beta) is P(z = 0), P(0 < z < 1) and P(z = 1)."""
    closed, full = lambda lo, hi: math.log(-lo / hi), lambda lo, hi: math.log((1 - lo) / (hi - 1))
    points = {  # where the logit of the stretched sigmoid is for z = 0 and z = 1
        "": (closed, full),
        "low and high are arguments: yours has the lesson's −0.1 and 1.1": (
            lambda lo, hi: closed(-0.1, 1.1),
            lambda lo, hi: full(-0.1, 1.1),
        ),
        "z = 1 is symmetric to z = 0 only where high − 1 = −low": (closed, lambda lo, hi: -closed(lo, hi)),
        "z is stretched before it is clipped: z = 1 where the sigmoid exceeds (1 − low)/(high − low), not at 1/high": (
            closed,
            lambda lo, hi: math.log((1 / hi) / (1 - 1 / hi)),
        ),
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
        "the order: P(z = 0), then P(0 < z < 1), then P(z = 1)": lambda s, o: (s, o, 1 - s - o),
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
    trials = [(by_hand, (torch.tensor([2.0, 0.0, -2.0]), -0.1, 1.1, 2 / 3))]
    trials += [("low and high may differ in how far they stretch", (torch.tensor([0.5, -1.0]), -0.3, 1.1, 2 / 3))]
    trials += [("β may be another", (torch.tensor([[1.0], [-0.5]]), -0.1, 1.4, 0.3))]
    trials += [("location may have any shape, [] too", (torch.tensor(0.7), -0.5, 1.2, 1.5))]
    return check(
        answer, make(points[""], betas[""], 1.0, orders[""]), trials, combine(make, points, betas, signs, orders)
    )


def check_upper_cost(answer: Callable[[int, int, int, int, int], tuple]) -> bool:
    """Exercise 12.4: answer(L, k, l, d, E) is trained parameters, and layer passes without and with kept states."""
    per_layer = {
        "": lambda l, d: 3 * l * d + 1,
        "each layer has a λ": lambda l, d: 3 * l * d,
        "the gate's W is missing: l · d numbers a layer": lambda l, d: 2 * l * d + 1,
        "that is P-tuning v2: W and λ of the gates are missing": lambda l, d: 2 * l * d,
        "keys and values each have a prefix, l · d numbers": lambda l, d: 2 * l * d + 1 - (l * d),
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
        "the first epoch runs the upper layers like any other": lambda L, k, E: L + k + 2 * k * (E - 2),
    }
    swapped = {"": False, "the order: first without kept states, then with": True}

    def make(size, count, plain, cached, swap):
        def cost(L, k, l, d, E):
            passes = plain(L, k, E), cached(L, k, E)
            return count(L, k) * size(l, d), *(passes[::-1] if swap else passes)

        return cost

    trials = [
        ("the lesson's case: two of six layers, ten epochs, 80 and 44 passes", (6, 2, 16, 384, 10)),
        ("prefixes in a single layer", (12, 1, 5, 8, 7)),
        ("with prefixes everywhere nothing is saved: 2 L E passes, twice", (5, 5, 3, 7, 4)),
        ("one epoch", (7, 3, 2, 11, 1)),
    ]
    right = [factor[""] for factor in (per_layer, layers, whole, kept, swapped)]
    return check(answer, make(*right), trials, combine(make, per_layer, layers, whole, kept, swapped))


def check_winner(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 12.5: answer(scores [variants, seeds]) is the winner's mean, and the same judged on left-out seeds."""

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
        "one seed chooses and the others judge: it is the other way round": (
            lambda s: fair(s, others(s), s.argmax(dim=0, keepdim=True))
        ),
        "all seeds are left out once: yours leaves out the first only": lambda s: s[others(s)[:, 0].argmax(), 0],
        "all seeds are left out once: yours leaves out the last only": lambda s: s[others(s)[:, -1].argmax(), -1],
        "the mean of the choices' scores, not their sum": lambda s: fair(s, s) * s.shape[1],
        "of equals the first variant is chosen": lambda s: fair(
            s, s, len(s) - 1 - others(s).flip(0).argmax(dim=0, keepdim=True)
        ),
        "the highest mean is chosen, not the lowest": lambda s: fair(s, s, others(s).argmin(dim=0, keepdim=True)),
        "a fair score is not the best of the fair scores": lambda s: s.gather(0, others(s).argmax(0)[None]).max(),
        "the second is a score, not the optimism": lambda s: s.mean(dim=1).max() - fair(s, s),
    }
    swapped = {"": False, "the order: first the mean over all seeds, then the fair one": True}

    def make(naive, judge, swap):
        return lambda s: (judge(s), naive(s)) if swap else (naive(s), judge(s))

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
    return check(answer, make(naives[""], judged[""], False), trials, combine(make, naives, judged, swapped))
