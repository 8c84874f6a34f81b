"""Lesson 12: beyond the paper."""

import math

import torch
from torch import Tensor

from apt_minimal.course.check import exercise

def log_gated_attention(query, key, value, prefix_key, prefix_value, alpha, mask):
    """Return attention with log α on the prefix's scores, [b, h, n, d_h]."""
    keys = torch.cat([prefix_key, key], dim=2)
    values = torch.cat([prefix_value, value], dim=2)
    gate = alpha.log()
    hidden = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    scores = query @ keys.mT / math.sqrt(query.shape[-1])  # [b, h, n, l + n]
    added = torch.cat([gate, hidden], dim=1)[:, None, None]
    weights = (scores + added).softmax(dim=-1)
    return weights @ values


def over_keys(alpha: Tensor) -> Tensor:
    return alpha[:, None, :, None]


@exercise(log_gated_attention)
def check_log_gated_attention(draw):
    """
    ? What must be added to a score so that its e^score is multiplied by α?
    ? Put prefix and words together. Add log α to the prefix's scores, −∞ to masked words', and 0 to the others.
    ? alpha.log()[:, None, None] has axes for heads and queries; −∞ at α = 0 is just right.
    that is E3: at α = 0 a zero key keeps its mass →
        keys = torch.cat([over_keys(alpha) * prefix_key, key], dim=2)
        values = torch.cat([over_keys(alpha) * prefix_value, value], dim=2)
        gate = 0 * alpha
    α on values (or weights) leaves the mass: it belongs into the score →
        values = torch.cat([over_keys(alpha) * prefix_value, value], dim=2); gate = 0 * alpha
    α multiplies the score: add its logarithm to it →
        keys = torch.cat([over_keys(alpha) * prefix_key, key], dim=2); gate = 0 * alpha
    keys and values stay whole: log α alone is the gate →
        keys = torch.cat([over_keys(alpha) * prefix_key, key], dim=2)
        values = torch.cat([over_keys(alpha) * prefix_value, value], dim=2)
    the key stays whole: no factor α on it → keys = torch.cat([over_keys(alpha) * prefix_key, key], dim=2)
    the value stays whole: no factor α on it → values = torch.cat([over_keys(alpha) * prefix_value, value], dim=2)
    there is no α in the scores: add its logarithm to those of the prefix → gate = 0 * alpha
    α itself is added: log α is asked for, which multiplies the weight by α → gate = alpha
    the sign of log α: a small α makes the weight small → gate = -alpha.log()
    log 0 = −∞ takes the token out: even a tiny number added to α leaves it in → gate = (alpha + 1e-6).log()
    log 0 = −∞ takes the token out: a clamped α leaves it in → gate = alpha.clamp(min=0.01).log()
    log 0 = −∞ takes the token out: made 0, it leaves it in → gate = alpha.log().nan_to_num(neginf=0.0)
    log α is asked for, not log (1 + α) → gate = alpha.log1p()
    α is a gate already: no sigmoid around it → gate = alpha.sigmoid().log()
    each example has its own α: yours uses the first one's → gate = alpha[:1].log().expand_as(alpha)
    each example has its own α: don't average over b → gate = alpha.mean(0).log().expand_as(alpha)
    each prefix token has its own α: don't average → gate = alpha.mean(1, True).log().expand_as(alpha)
    masked words still get weight: their scores must be −∞ → hidden = torch.zeros(mask.shape).masked_fill(~mask, 0.0)
    the mask's sign: True is a real word → hidden = torch.zeros(mask.shape).masked_fill(mask, -math.inf)
    each example has its own mask, not the first one's →
        hidden = torch.zeros(mask.shape).masked_fill(~mask[:1], -math.inf)
    a masked word's score must be −∞: others may lie below −100 →
        hidden = torch.zeros(mask.shape).masked_fill(~mask, -100.0)
    a masked word's score of 0 is still e⁰ = 1 in the sum →
        keys = torch.cat([prefix_key, key * over_keys(mask)], dim=2)
        hidden = torch.zeros(mask.shape).masked_fill(~mask, 0.0)
    the scores are not divided by √d_h → scores = query @ keys.mT
    the scores are divided by d_h, not by its root → scores = query @ keys.mT / query.shape[-1]
    log α is added after the division by √d_h → gate = alpha.log() / math.sqrt(query.shape[-1])
    the prefix is left out → gate = 0 * alpha - math.inf
    one softmax over prefix and words is asked for, not two →
        weights = torch.cat([x.softmax(-1) for x in (scores + added).tensor_split([gate.shape[1]], -1)], -1)
    the softmax runs over the queries → weights = (scores + added).softmax(dim=-2)
    e^score overflows: use softmax → weights = (scores + added).exp() / (scores + added).exp().sum(-1, True)
    padding's queries attend, too: the mask is for keys → return weights @ values * mask[:, None, :, None]
    """

    def inputs(b, h, n, l, d_h, alpha=None, masked=()):
        mask = torch.ones(b, n, dtype=torch.bool)
        for place in masked:
            mask[place] = False
        alpha = draw(b, l).sigmoid() if alpha is None else torch.tensor(alpha)
        return *(draw(b, h, size, d_h) for size in (n, n, n, l, l)), alpha, mask

    one, mask = torch.ones(1, 1, 1, 1), torch.tensor([[True]])
    yield "one word and one prefix token", one, one, 2 * one, one, -2 * one, one[0, 0] / 4, mask
    yield "no masked words", *inputs(2, 3, 5, 4, 6)
    yield "masked words", *inputs(2, 3, 5, 4, 6, masked=[(0, 3), (0, 4), (1, 0)])
    yield "α = 0 for some tokens", *inputs(2, 2, 3, 2, 4, [[0.0, 1.0], [0.5, 0.0]])
    yield "α = 0 for the whole prefix", *inputs(1, 2, 3, 2, 4, [[0.0, 0.0]])
    yield "α = 1 everywhere (E1)", *inputs(2, 2, 3, 2, 4, [[1.0, 1.0], [1.0, 1.0]])
    yield "a tiny α", *inputs(2, 2, 3, 2, 4, [[1e-4, 1.0], [0.5, 1e-7]])
    yield "all sizes equal", *inputs(3, 3, 3, 3, 3, masked=[(1, 2)])
    # Whole numbers, exact in any precision: scores of 60 at α = 0 and for a masked word, of −198 to −202 elsewhere.
    extreme = inputs(2, 2, 3, 2, 4, [[0.0, 0.5], [0.25, 0.0]], [(0, 2), (1, 2)])
    query, words, prefix = torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 2, 4)
    query[..., 0], words[..., 0] = 4.0, torch.tensor([-100.0, -99.0, 30.0])
    prefix[0, ..., 0], prefix[1, ..., 0] = torch.tensor([30.0, -99.5]), torch.tensor([-99.5, 30.0])
    yield "scores far from 0", query, words, extreme[2], prefix, *extreme[4:]


def chances(location, low, high, beta):
    """Return P(z = 0), P(0 < z < 1) and P(z = 1), each of location's shape."""
    shut = beta * math.log(-low / high)
    full = beta * math.log((1 - low) / (high - 1))
    zero = (shut - location).sigmoid()
    one = (location - full).sigmoid()
    between = 1 - zero - one
    return zero, between, one


@exercise(chances)
def check_chances(draw):
    """
    ? z = 0 where the stretched sigmoid is at most 0: what must the sigmoid be below? And for z = 1?
    ? The bounds' logits are log(−low / high) and log((1 − low) / (high − 1)). Solve for u.
    ? P(z = 0) = σ(β · log(−low / high) − a); P(z = 1) likewise; in between is the rest.
    low and high are arguments, not −0.1 and 1.1 → shut = -beta * math.log(11); full = beta * math.log(11)
    z = 1 is symmetric to z = 0 only where high − 1 = −low → full = -beta * math.log(-low / high)
    low shifts z too: high times the sigmoid is not z → full = -beta * math.log(high - 1)
    z = 1 counts once the stretched sigmoid exceeds 1, not ½ → full = 0.0
    z = 0 counts once the stretched sigmoid is below 0, not below ½ → shut = 0.0
    the two parts of the logit are turned round for z = 0 → shut = beta * math.log(-high / low)
    the logarithm is missing → shut = -beta * low / high; full = beta * (1 - low) / (high - 1)
    β is left out → shut = math.log(-low / high); full = math.log((1 - low) / (high - 1))
    β multiplies the logarithm, it does not divide it →
        shut = math.log(-low / high) / beta; full = math.log((1 - low) / (high - 1)) / beta
    β is an argument: yours has the lesson's ⅔ →
        shut = 2 / 3 * math.log(-low / high); full = 2 / 3 * math.log((1 - low) / (high - 1))
    β multiplies the logarithm, not the difference from a →
        zero = (shut - location * beta).sigmoid(); one = (location * beta - full).sigmoid()
    a large a opens the gate → zero = (shut + location).sigmoid(); one = (full + location).neg().sigmoid()
    z = 1 where the sigmoid is above its bound, not below → one = (full - location).sigmoid()
    the first is P(z = 0), not P(z ≠ 0) → return 1 - zero, between, one
    the order: P(z = 0), P(0 < z < 1), P(z = 1) → return one, between, zero
    the order: what is in between comes second → return zero, one, between
    P(0 < z < 1) leaves out z = 1: yours is P(z > 0) → between = 1 - zero
    P(0 < z < 1) leaves out z = 0: yours is P(z < 1) → between = 1 - one
    in between is what is neither 0 nor 1: the three add up to 1 → between = zero * one
    chances are asked for, not rounded ones → return [x.round(decimals=2) for x in (zero, between, one)]
    each of the three has location's shape → return zero.flatten(), between.flatten(), one.flatten()
    """
    yield "a = 0, −1 to 2, β = 1 (a third each)", torch.tensor(0.0), -1.0, 2.0, 1.0
    yield "the lesson's values", torch.tensor([2.0, 0.0, -2.0]), -0.1, 1.1, 2 / 3
    yield "low and high of different reach", torch.tensor([0.5, -1.0]), -0.3, 1.1, 2 / 3
    yield "another β", torch.tensor([[1.0], [-0.5]]), -0.1, 1.4, 0.3
    yield "a location without axes", torch.tensor(0.7), -0.5, 1.2, 1.5


def upper_cost(L, k, l, d, E):
    """Return the trained parameters, and the layer passes without and with kept states."""
    per_layer = 3 * l * d + 1  # P_k, P_v, W and λ
    parameters = k * per_layer
    whole = (L + k) * E
    kept = (L - k) + 2 * k * E
    return parameters, whole, kept


@exercise(upper_cost)
def check_upper_cost(draw):
    """
    ? Which layers run forward in an epoch, and which backward? What changes if the lower states are kept?
    ? Without: L + k passes per epoch. With: the L − k lower layers once in all, the upper k twice per epoch.
    ? k · (3 l d + 1), (L + k) · E, (L − k) + 2 k E
    each layer has a λ → per_layer = 3 * l * d
    each layer has a λ of its own: yours is one for all → parameters = k * 3 * l * d + 1
    the gate's W is missing: l · d numbers per layer → per_layer = 2 * l * d + 1
    W has l · d numbers per layer: l is how many α it gives → per_layer = 2 * l * d + l + 1
    that is P-tuning v2: the gates' W and λ are missing → per_layer = 2 * l * d
    only k layers have prefixes: yours counts all L → parameters = L * per_layer
    the upper k layers have prefixes, not the L − k below → parameters = (L - k) * per_layer
    a backward pass goes through the k upper layers only → whole = 2 * L * E
    every forward pass runs all L layers here → whole = 2 * k * E
    the backward pass is missing in the second number → whole = L * E
    E epochs: the second number is for one → whole = L + k
    the one pass through the L − k lower layers is missing → kept = 2 * k * E
    the lower layers run once, not in every epoch → kept = (L - k) * E + 2 * k * E
    the pass that keeps states ends below the upper k layers → kept = L + 2 * k * E
    the backward pass is missing in the third number → kept = (L - k) + k * E
    E epochs: the third number is for one → kept = (L - k) + 2 * k
    nothing goes backward through the lower layers → kept = 2 * (L - k) + 2 * k * E
    that is what is saved: the passes that remain are asked for → whole = (L - k) * E
    the order: first without kept states, then with → return parameters, kept, whole
    """
    yield "the upper one of two layers", 2, 1, 1, 2, 3
    yield "the lesson's case", 6, 2, 16, 384, 10
    yield "prefixes in a single layer", 12, 1, 5, 8, 7
    yield "prefixes everywhere", 5, 5, 3, 7, 4
    yield "one epoch", 7, 3, 2, 11, 1


def winner(scores):
    """Return the winner's mean over all seeds, and the same judged on left-out seeds."""
    seeds = scores.shape[1]
    overall = scores.mean(dim=1)
    others = (scores.sum(dim=1, keepdim=True) - scores) / (seeds - 1)
    chosen = others.argmax(dim=0, keepdim=True)
    judged = scores.gather(0, chosen)
    return overall.max(), judged.mean()


@exercise(winner)
def check_winner(draw):
    """
    ? For one seed: which variant would the other seeds have chosen, and what does it score on this one?
    ? Sums over the other seeds are the row's sum without each score: a table in which each column chooses.
    ? others = (scores.sum(dim=1, keepdim=True) - scores) / (seeds - 1), then argmax(dim=0) and gather
    the first is the highest mean, not the highest single score → return scores.max(), judged.mean()
    the first is the highest mean, not that of the bests → return scores.amax(0).mean(), judged.mean()
    the first is one variant's mean, not that of all → return scores.mean(), judged.mean()
    the rows are variants: the first takes means along the wrong axis → overall = scores.mean(dim=0)
    the seeds that chose also judge: the left-out seed judges → judged = others.gather(0, chosen)
    the left-out seed has had a say: choose by the other seeds only → chosen = overall.argmax().expand(1, seeds)
    each seed chooses for itself: the others are to choose for it → chosen = scores.argmax(0, True)
    one seed chooses, the others judge: turn it round →
        chosen = scores.argmax(0, True); judged = others.gather(0, chosen)
    all seeds are left out once: yours leaves out the first only → judged = scores.gather(0, chosen)[:, :1]
    all seeds are left out once: yours leaves out the last only → judged = scores.gather(0, chosen)[:, -1:]
    the mean of the choices' scores, not their sum → return overall.max(), judged.sum()
    of equals the first variant is chosen → chosen = len(scores) - 1 - others.flip(0).argmax(0, True)
    the highest mean is chosen, not the lowest → chosen = others.argmin(dim=0, keepdim=True)
    the second is a score, not the optimism → return overall.max(), overall.max() - judged.mean()
    the order: first the mean over all seeds, then the fair one → return judged.mean(), overall.max()
    the winner's mean over all seeds comes first: only the fair one is returned → return judged.mean()
    """
    yield "two variants, two seeds", torch.tensor([[1.0, 4.0], [3.0, 1.0]])
    yield "six variants, five seeds", draw(6, 5)
    yield "as many variants as seeds", draw(4, 4)
    yield "two seeds", draw(5, 2)
    yield "one variant", draw(1, 3)
    yield "equal variants", torch.tensor([[1.0, 1, 4], [1, 1, 0], [0.0, 2, 3]])
    yield (
        "scores far from 0",
        60 + 3 * draw(3, 5),
    )  # OTHERS {"scores is [variants, seeds]: yours has the axes the other way round": lambda scores: winner(scores.T)}
