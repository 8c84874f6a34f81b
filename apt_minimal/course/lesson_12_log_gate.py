"""Lesson 12, exercise 1: attention whose gate is log α on the scores."""

import math

import torch

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


def gated(alpha, prefix, words):
    """α · prefix in front of the words, along the tokens: [b, h, l + n, d_h]."""
    return torch.cat([alpha[:, None, :, None] * prefix, words], dim=2)


def hide(mask, number):
    """A tensor of 0, with a number where the mask is True."""
    return torch.zeros(mask.shape).masked_fill(mask, number)


@exercise(log_gated_attention)
def check_log_gated_attention(draw):
    """
    ? What must be added to a score so that its e^score is multiplied by α?
    ? Put prefix and words together. Add log α to the prefix's scores, −∞ to masked words', and 0 to the others.
    ? alpha.log()[:, None, None] has axes for heads and queries; −∞ at α = 0 is just right.
    that is E3: at α = 0 a zero key keeps its mass →
        keys = gated(alpha, prefix_key, key); values = gated(alpha, prefix_value, value); gate = 0 * alpha
    α on values (or weights) leaves the mass: it belongs into the score →
        values = gated(alpha, prefix_value, value); gate = 0 * alpha
    α multiplies the score: add its logarithm to it → keys = gated(alpha, prefix_key, key); gate = 0 * alpha
    keys and values stay whole: log α alone is the gate →
        keys = gated(alpha, prefix_key, key); values = gated(alpha, prefix_value, value)
    the key stays whole: no factor α on it → keys = gated(alpha, prefix_key, key)
    the value stays whole: no factor α on it → values = gated(alpha, prefix_value, value)
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
    α need not sum to 1: don't divide by its sum → gate = (alpha / alpha.sum(1, True).clamp(min=1e-9)).log()
    each prefix token has its own α: don't average → gate = alpha.mean(1, True).log().expand_as(alpha)
    masked words still get weight: their scores must be −∞ → hidden = hide(~mask, 0.0)
    the mask's sign: True is a real word → hidden = hide(mask, -math.inf)
    each example has its own mask, not the first one's → hidden = hide(~mask[:1].expand_as(mask), -math.inf)
    a masked word's score must be −∞: others may lie below −100 → hidden = hide(~mask, -100.0)
    a masked word's score of 0 is still e⁰ = 1 in the sum →
        keys = torch.cat([prefix_key, key * mask[:, None, :, None]], dim=2)
        hidden = hide(~mask, 0.0)
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
