"""Lesson 03: prefixes."""

import math

import torch
import torch.nn.functional as F
from einops import repeat

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_03_e4 import check_can_a_prefix, check_undo_prefix  # noqa: F401  exercises 3.3, 3.4


def prefix_attention(query, key, value, prefix_key, prefix_value, mask):
    """E1, softmax(q [P_k; K]ᵀ / √d_h) [P_v; V]: output [b, h, n, d_h] and weights [b, h, n, l + n]."""
    b, h, _, d_h = query.shape
    l = len(prefix_key)
    p_k = repeat(prefix_key, "l (h d_h) -> b h l d_h", b=b, h=h)
    p_v = repeat(prefix_value, "l (h d_h) -> b h l d_h", b=b, h=h)
    keys = torch.cat([p_k, key], dim=2)  # [b, h, l + n, d_h]
    values = torch.cat([p_v, value], dim=2)
    scores = query @ keys.mT / math.sqrt(d_h)
    wide = None if mask is None else F.pad(mask, (l, 0), value=True)  # [b, 1, 1, l + n]
    seen = scores if wide is None else scores.masked_fill(~wide, -math.inf)
    weights = seen.softmax(dim=-1)
    return weights @ values, weights


def until(n, *lengths):
    """A mask [b, 1, 1, n] of examples that have so many real tokens, padding behind."""
    return (torch.arange(n) < torch.tensor(lengths)[:, None])[:, None, None]


def far_apart(draw, q, k):
    """Seen scores near −q k / 2 in example 1 and q k / 2 in example 2, the hidden opposite; whole numbers are exact."""
    query, key, prefix_key = (draw(*shape).sign() for shape in ((2, 4, 3, 4), (2, 4, 3, 4), (2, 16)))
    mask = torch.tensor([[False, True, True], [True, True, False]])[:, None, None]
    query[0, ..., 0], query[1, ..., 0], prefix_key[:, ::4] = q, -q, -k
    query[:, :, -1, 0] *= -1
    key[..., 0] = torch.where(mask[:, 0], -k, k).to(key)
    return query, key, draw(*key.shape), prefix_key, draw(*prefix_key.shape), mask


LEFT = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]]).bool()[:, None, None]


def fill(scores, mask, number):
    """Scores with a number where the mask is False; without a mask the scores."""
    return scores if mask is None else scores.masked_fill(~mask, number)


@exercise(prefix_attention)
def check_prefix_attention(draw):
    """
    ? How many keys does a query meet now, and how many columns has the mask?
    ? Cut P into heads and repeat it over the batch; concatenate along the tokens, axis 2; widen the mask in front.
    ? F.pad(mask, (l, 0), value=True): without the value it pads with False
    P_k and P_v are swapped: P_k is what queries are compared with, P_v is what they get →
        keys = torch.cat([p_v, key], dim=2); values = torch.cat([p_k, value], dim=2)
    P is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)' →
        p_k = repeat(prefix_key, "l (d_h h) -> b h l d_h", b=b, h=h)
        p_v = repeat(prefix_value, "l (d_h h) -> b h l d_h", b=b, h=h)
    P_v is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)' →
        p_v = repeat(prefix_value, "l (d_h h) -> b h l d_h", b=b, h=h)
    the heads of P_v are in reverse order → values = torch.cat([p_v.flip(1), value], dim=2)
    P is only reshaped to [h, l, d_h], which mixes tokens with heads: cut its columns first →
        p_k = prefix_key.reshape(h, l, d_h).expand(b, h, l, d_h)
        p_v = prefix_value.reshape(h, l, d_h).expand(b, h, l, d_h)
    P stands behind K, and E1 wants [P_k; K]: the output is the same, but not the order of the weights →
        keys = torch.cat([key, p_k], dim=2); values = torch.cat([value, p_v], dim=2)
        wide = None if mask is None else F.pad(mask, (0, l), value=True)
    with a mask the prefix is hidden: the new columns hold False (or 0), which means: may not look →
        wide = None if mask is None else F.pad(mask, (l, 0))
    the mask's new columns stand behind the input's, and the keys' in front →
        wide = None if mask is None else F.pad(mask, (0, l), value=True)
    padding may stand anywhere: ask the mask, don't count →
        wide = None if mask is None else F.pad(mask.sort(-1, True).values, (l, 0), value=True)
    the mask is not used: queries look at padding → seen = scores
    all examples get the first one's mask: each has its own →
        wide = None if mask is None else F.pad(mask[:1], (l, 0), value=True)
    masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf → seen = fill(scores, wide, 0)
    a hidden score of −30 is not low enough for all that may be seen: take −inf → seen = fill(scores, wide, -30)
    a hidden score of −500 is not low enough for all that may be seen: take −inf → seen = fill(scores, wide, -500)
    1000 less is not enough where a hidden score is high: take −inf →
        seen = scores if mask is None else scores - 1000.0 * ~wide
    the softmax runs over the queries: it is each query's weights that sum to 1 → weights = seen.softmax(dim=-2)
    the scores are not divided by √d_h → scores = query @ keys.mT
    the root is of d_h, not of the number of tokens → scores = query @ keys.mT / math.sqrt(query.shape[2])
    the mask says what may be looked at, not who may look: padding has queries, too →
        return [x if mask is None else x * mask.mT for x in (weights @ values, weights)]
    the output is right, but the weights still count hidden tokens → return weights @ values, scores.softmax(dim=-1)
    """
    two, eight = torch.tensor([2.0, 0, 0, 0]).view(1, 1, 1, 4), 8 * torch.ones(1, 4)
    yield "scores 1 for the prefix, 0 for the input", two, 0 * two, 0 * two + 4, two[0, 0] / 2, eight, None
    for tests, b, h, n, l, d_h, mask, size in (
        ("no mask", 2, 3, 5, 4, 2, None, 1.0),
        ("one example", 1, 2, 6, 3, 5, None, 1.0),
        ("one prefix token, one input token", 3, 2, 1, 1, 4, None, 1.0),
        ("padding behind", 3, 2, 5, 4, 3, until(5, 5, 3, 1), 1.0),
        ("l = n", 2, 4, 4, 4, 4, until(4, 4, 2), 1.0),
        ("padding on the left, and on both sides", 2, 2, 5, 3, 4, LEFT, 1.0),
        ("large scores", 2, 2, 3, 2, 4, None, 10.0),
    ):
        inputs = [draw(b, h, n, d_h) for _ in range(3)] + [draw(l, h * d_h) for _ in range(2)]
        yield tests, *(size * x for x in inputs), mask
    yield "hidden scores hundreds above those that are seen, or below", *far_apart(draw, 12, 83)


def mass(query, key, l, mask):
    """m(q) of E4, the softmax's share of the first l of the keys [b, h, l + n, d_h]: [b, h, n]."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    seen = scores if mask is None else scores.masked_fill(~mask, -math.inf)
    weights = seen.softmax(dim=-1)
    return weights[..., :l].sum(dim=-1)


@exercise(mass)
def check_prefix_mass(draw):
    """
    ? A mass is a sum of weights. Over which keys does the softmax run, and over which the sum?
    ? Lesson 01's weights over all l + n keys, padding hidden; then the sum of the first l of them.
    ? weights[..., :l].sum(dim=-1)
    these are the weights of the last l keys: the prefix stands in front → return weights[..., -l:].sum(-1)
    that is 1 − m(q), the input's share → return weights[..., l:].sum(-1)
    this is the mean weight of a prefix token: the mass is their sum → return weights[..., :l].mean(-1)
    the sum has l − 1 terms: the slice that ends before l has l → return weights[..., : l - 1].sum(-1)
    averaged over the heads: every head has its own mass →
        return weights[..., :l].sum(-1).mean(1, True).expand(weights.shape[:3])
    the mask is not used: queries look at padding → seen = scores
    masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf → seen = fill(scores, mask, 0)
    hidden scores are −100, and those that are seen may lie below that → seen = fill(scores, mask, -100)
    hidden scores are −1000, and those that are seen may lie below that → seen = fill(scores, mask, -1000)
    2000 less is not enough where a hidden score is high: take −inf →
        seen = scores if mask is None else scores - 2000.0 * ~mask
    padding may stand anywhere: ask the mask, don't count →
        seen = fill(scores, mask if mask is None else mask.sort(-1, True).values, -math.inf)
    all examples get the first one's mask: each has its own →
        seen = fill(scores, mask if mask is None else mask[:1], -math.inf)
    the mask is upside down on the input: True is where a query may look →
        seen = fill(scores, mask if mask is None else torch.cat([mask[..., :l], ~mask[..., l:]], -1), -math.inf)
    one largest score is subtracted for all rows: far below it all e^… are 0 →
        weights = (e := (seen - seen.max()).exp()) / e.sum(-1, True)
    subtract each row's largest score of those that are seen: another may lie far above →
        weights = (e := (seen - scores.amax(-1, True)).exp()) / e.sum(-1, True)
    e^score overflows, in float64 too: subtract each row's largest score first →
        weights = ((e := seen.double().exp()) / e.sum(-1, True)).to(seen)
    the root is of d_h, not of the number of keys → scores = query @ key.mT / math.sqrt(key.shape[2])
    the softmax runs over the queries: it is each query's weights that sum to 1 → weights = seen.softmax(dim=-2)
    the scores are not divided by √d_h → scores = query @ key.mT
    """
    query, key = torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, None, :2]
    yield "scores 1 and 0", query, key, 1, None
    left = torch.tensor([[1, 1, 0, 0, 1, 1], [1, 1, 0, 1, 1, 0]]).bool()[:, None, None]
    for tests, b, h, n, l, d_h, mask, size in (
        ("no mask", 2, 3, 5, 4, 6, None, 1.0),
        ("one prefix token", 1, 2, 4, 1, 3, None, 1.0),
        ("l = n", 2, 2, 3, 3, 3, None, 1.0),
        ("padding behind", 3, 2, 5, 2, 4, until(7, 5, 7, 3), 1.0),
        ("padding on the left, and on both sides", 2, 3, 4, 2, 4, left, 1.0),
        ("one input token", 2, 1, 1, 5, 2, until(6, 6, 6), 1.0),
        ("large scores", 2, 2, 4, 3, 4, None, 10.0),
    ):
        yield tests, size * draw(b, h, n, d_h), size * draw(b, h, l + n, d_h), l, mask
    query, key, _, prefix_key, _, mask = far_apart(draw, 4, 499)
    key = torch.cat([repeat(prefix_key, "l (h d_h) -> b h l d_h", b=2, h=4), key], dim=2)
    yield "hidden scores a thousand above those that are seen, or below", query, key, 2, F.pad(mask, (2, 0), value=True)
