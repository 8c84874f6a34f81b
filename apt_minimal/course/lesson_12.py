"""Lesson 12: beyond the paper."""

import math

import torch

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_12_log_gate import (
    check_log_gated_attention as check_log_gated_attention,
)  # exercise 12.1


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
    z is random: yours is z without its noise → return [(low + (high - low) * location.sigmoid()).clamp(0, 1)] * 3
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
    that is what is saved: the passes that remain are asked for → whole = (L - k) * E; kept = 2 * (L - k) * E
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
    the means choose, not the medians → chosen = scores.median(1).values.argmax().expand(1, seeds)
    each seed is left out once: yours chooses with one half and judges with the other →
        return overall.max(), scores[scores[:, : seeds // 2].mean(1).argmax(), seeds // 2 :].mean()
    each seed chooses for itself: the others are to choose for it → chosen = scores.argmax(0, True)
    one seed chooses, the others judge: turn it round →
        chosen = scores.argmax(0, True); judged = others.gather(0, chosen)
    all seeds are left out once: yours leaves out the first only → judged = scores.gather(0, chosen)[:, :1]
    all seeds are left out once: yours leaves out the last only → judged = scores.gather(0, chosen)[:, -1:]
    the mean of the choices' scores, not their sum → return overall.max(), judged.sum()
    of equals the first variant is chosen → chosen = len(scores) - 1 - others.flip(0).argmax(0, True)
    the highest mean is chosen, not the lowest → chosen = others.argmin(dim=0, keepdim=True)
    the second is a score, not the optimism → return overall.max(), overall.max() - judged.mean()
    scores is [variants, seeds]: yours has the axes the other way round → return winner(scores.T)
    the order: first the mean over all seeds, then the fair one → return judged.mean(), overall.max()
    the winner's mean over all seeds comes first: only the fair one is returned → return judged.mean()
    """
    yield "two variants, two seeds", torch.tensor([[1.0, 4.0], [3.0, 1.0]])
    yield "six variants, five seeds", draw(6, 5)
    yield "as many variants as seeds", draw(4, 4)
    yield "two seeds", draw(5, 2)
    yield "one variant", draw(1, 3)
    yield "equal variants", torch.tensor([[1.0, 1, 4], [1, 1, 0], [0.0, 2, 3]])
    yield "scores far from 0", 60 + 3 * draw(3, 5)
