"""Lesson 03: prefixes."""

import math

import torch
import torch.nn.functional as F
from einops import repeat

from apt_minimal.course.check import Exercise, draws

# 3.1


def prefix_attention(query, key, value, prefix_key, prefix_value, mask):
    b, h, _, d_h = query.shape
    l = len(prefix_key)
    p_k = repeat(prefix_key, "l (h d_h) -> b h l d_h", b=b, h=h)
    p_v = repeat(prefix_value, "l (h d_h) -> b h l d_h", b=b, h=h)
    keys = torch.cat([p_k, key], dim=2)  # [b, h, l + n, d_h]
    values = torch.cat([p_v, value], dim=2)
    scores = query @ keys.mT / math.sqrt(d_h)
    wide = None if mask is None else F.pad(mask, (l, 0), value=True)  # [b, 1, 1, l + n]
    seen = scores if mask is None else scores.masked_fill(~wide, -math.inf)
    weights = seen.softmax(dim=-1)
    return weights @ values, weights


DEALT = 'p_{0} = repeat(prefix_{1}, "l (d_h h) -> b h l d_h", b=b, h=h)'.format
BEHIND = "keys = torch.cat([key, p_k], dim=2)\nvalues = torch.cat([value, p_v], dim=2)"
WIDE = "wide = None if mask is None else F.pad(mask, {})".format
NO_ROOT = "the scores are not divided by √d_h"
OVER_QUERIES = "the softmax runs over the queries: it is each query's weights that sum to 1"
FIRST_MASK = "all examples get the first one's mask: each has its own"
NOT_MASKED = "the mask is not used: queries look at padding"
ZERO_SCORE = "masked scores are set to 0, and e^0 = 1 is a weight like any other: they must be −inf"
PREFIX_ATTENTION = {
    "P_k and P_v are swapped: P_k is what queries are compared with, P_v is what they get": (
        "keys = torch.cat([p_v, key], dim=2)\nvalues = torch.cat([p_k, value], dim=2)"
    ),
    "P is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'": (
        f"{DEALT('k', 'key')}\n{DEALT('v', 'value')}"
    ),
    "P_v is cut into heads the wrong way round: head 1 has the first d_h columns, '(h d_h)', not '(d_h h)'": (
        DEALT("v", "value")
    ),
    "P is only reshaped to [h, l, d_h], which mixes tokens with heads: cut its columns first": (
        "p_k = prefix_key.reshape(h, l, d_h).expand(b, h, l, d_h)\n"
        "p_v = prefix_value.reshape(h, l, d_h).expand(b, h, l, d_h)"
    ),
    "P stands behind K, and E1 wants [P_k; K]: the output is the same, but not the order of the weights": (
        f"{BEHIND}\n{WIDE('(0, l), value=True')}"
    ),
    "with a mask the prefix is hidden: the new columns hold False (or 0), which means: may not look": WIDE("(l, 0)"),
    "the mask's new columns stand behind the input's, and the keys' in front": WIDE("(0, l), value=True"),
    NOT_MASKED: "seen = scores",
    FIRST_MASK: WIDE("(l, 0), value=True").replace("(mask,", "(mask[:1],"),
    ZERO_SCORE: "seen = scores if mask is None else scores.masked_fill(~wide, 0.0)",
    OVER_QUERIES: "weights = seen.softmax(dim=-2)",
    NO_ROOT: "scores = query @ keys.mT",
    "the mask says what may be looked at, not who may look: padding has queries, too": (
        "return weights @ values * (1 if mask is None else mask.mT), weights * (1 if mask is None else mask.mT)"
    ),
}


def until(n, *lengths):
    """A mask [b, 1, 1, n] of examples that have so many real tokens, padding behind."""
    return (torch.arange(n) < torch.tensor(lengths)[:, None])[:, None, None]


def far_apart(q, k, b=2, h=4, n=3, l=2, d_h=4):
    """Seen scores near −q k / 2 in example 1 and q k / 2 in example 2, the hidden opposite; whole numbers are exact."""
    draw, generator = draws(3), torch.Generator().manual_seed(3)
    query, key, prefix_key = (
        torch.randint(-1, 2, shape, generator=generator).to(torch.get_default_dtype())
        for shape in ((b, h, n, d_h), (b, h, n, d_h), (l, h * d_h))
    )
    mask = torch.tensor([[False, True, True], [True, True, False]])[:, None, None]
    query[0, ..., 0], query[1, ..., 0], prefix_key[:, ::d_h] = q, -q, -k
    query[:, :, -1, 0] *= -1
    key[..., 0] = torch.where(mask[:, 0], -k, k).to(key)
    return query, key, draw(*key.shape), prefix_key, draw(*prefix_key.shape), mask


LEFT = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]]).bool()[:, None, None]


def attention_trials():
    draw, two = draws(3), torch.tensor([2.0, 0, 0, 0])
    yield (
        "scores 1 for the prefix, 0 for the input",
        (
            *(two.view(1, 1, 1, 4), torch.zeros(1, 1, 1, 4), 4 * torch.ones(1, 1, 1, 4)),
            *(two.view(1, 4) / 2, 8 * torch.ones(1, 4), None),
        ),
    )
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
        yield tests, (*(size * x for x in inputs), mask)
    yield "hidden scores hundreds above those that are seen, or below", far_apart(12, 83)


ATTENTION_HINTS = (
    "How many keys does a query meet now, and how many columns has the mask?",
    "Cut P into heads and repeat it over the batch; concatenate along the tokens, axis 2; widen the mask in front.",
    "F.pad(mask, (l, 0), value=True): without the value it pads with False",
)
check_prefix_attention = Exercise(prefix_attention, attention_trials, PREFIX_ATTENTION, hints=ATTENTION_HINTS)

# 3.2


def mass(query, key, l, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    seen = scores if mask is None else scores.masked_fill(~mask, -math.inf)
    weights = seen.softmax(dim=-1)
    return weights[..., :l].sum(dim=-1)


MASS = {
    "these are the weights of the last l keys: the prefix stands in front": "return weights[..., -l:].sum(-1)",
    "that is 1 − m(q), the input's share": "return weights[..., l:].sum(-1)",
    "this is the mean weight of a prefix token: the mass is their sum": "return weights[..., :l].mean(-1)",
    "the sum has l − 1 terms: the slice that ends before l has l": "return weights[..., : l - 1].sum(-1)",
    "averaged over the heads: every head has its own mass": "return weights[..., :l].sum(-1).mean(1)",
    NOT_MASKED: "seen = scores",
    ZERO_SCORE: "seen = scores if mask is None else scores.masked_fill(~mask, 0.0)",
    "hidden scores are −100, and those that are seen may lie below that": (
        "seen = scores if mask is None else scores.masked_fill(~mask, -100.0)"
    ),
    FIRST_MASK: "seen = scores if mask is None else scores.masked_fill(~mask[:1], -math.inf)",
    OVER_QUERIES: "weights = seen.softmax(dim=-2)",
    NO_ROOT: "scores = query @ key.mT",
}


def mass_trials():
    draw = draws(5)
    query, key = torch.tensor([[[[2.0, 0, 0, 0]]]]), torch.eye(4)[None, None, :2]
    yield "scores 1 and 0", (query, key, 1, None)
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
        yield tests, (size * draw(b, h, n, d_h), size * draw(b, h, l + n, d_h), l, mask)
    query, key, _, prefix_key, _, mask = far_apart(4, 499)
    key = torch.cat([repeat(prefix_key, "l (h d_h) -> b h l d_h", b=2, h=4), key], dim=2)
    yield (
        "hidden scores a thousand above those that are seen, or below",
        (query, key, 2, F.pad(mask, (2, 0), value=True)),
    )


MASS_HINTS = (
    "A mass is a sum of weights. Over which keys does the softmax run, and over which the sum?",
    "Lesson 01's weights over all l + n keys, padding hidden; then the sum of the first l of them.",
    "weights[..., :l].sum(dim=-1)",
)
check_prefix_mass = Exercise(mass, mass_trials, MASS, hints=MASS_HINTS)

# 3.3


def undo_prefix(output, mass, prefix_output):
    m = mass.unsqueeze(-1)  # [b, h, n, 1]
    return (output - m * prefix_output) / (1 - m)


UNDO = {
    "m and 1 − m are swapped: the prefix's share is m": "return (output - (1 - m) * prefix_output) / m",
    "divide by 1 − m, not by m": "return (output - m * prefix_output) / m",
    "the prefix's part is gone, but the rest is still shrunk by 1 − m": "return output - m * prefix_output",
    "the rest was shrunk by 1 − m: divide by it, don't multiply": "return (output - m * prefix_output) * (1 - m)",
    "the prefix's part is still in it: dividing by 1 − m undoes only the shrinking": "return output / (1 - m)",
    "divide the whole difference by 1 − m, not the prefix's part alone: mind the brackets": (
        "return output - m * prefix_output / (1 - m)"
    ),
    "the rest was shrunk by 1 − m: divide by that, not by 1 + m": "return (output - m * prefix_output) / (1 + m)",
    "this is Attn(q; P_k, P_v), the prefix's own output: Attn(q; K, V) is asked for": "return prefix_output",
    "the mass [b, h, n] is left to broadcasting, which lines it up with the last axes, [h, n, d_h]": "m = mass",
    "the mass belongs to the queries, not to the d_h numbers of an output: give it a last axis of 1": (
        "m = mass.unsqueeze(-2)"
    ),
}


def undo_trials():
    draw, ones = draws(7), torch.ones(1, 1, 1, 2)
    yield "a mass of ¼", (7 * ones, torch.tensor([[[0.25]]]), 4 * ones)
    for tests, *shape in (
        ("all sizes different", 2, 3, 4, 5),
        ("n = d_h", 2, 3, 4, 4),
        ("all sizes the same, where broadcasting fits in every direction", 3, 3, 3, 3),
        ("one query", 1, 1, 1, 6),
    ):
        plain, prefix, mass = draw(*shape), draw(*shape), 0.5 + 0.4 * draw(*shape[:3]).sin()
        yield tests, ((1 - mass[..., None]) * plain + mass[..., None] * prefix, mass, prefix)


UNDO_HINTS = (
    "What does E4 say the output is made of, and how large is each part?",
    "Solve E4 for Attn(q; K, V). Then mind the shapes: [b, h, n] beside [b, h, n, d_h].",
    "m = mass.unsqueeze(-1)",
)
check_undo_prefix = Exercise(undo_prefix, undo_trials, UNDO, hints=UNDO_HINTS)

# 3.4


def can_a_prefix(before, after):
    factor = after.sum()  # `before` sums to 1
    shrinks = 0 < factor < 1
    same = torch.allclose(after, factor * before)
    return bool(shrinks and same)


CAN = {
    "your function always says True: some changes are out of a prefix's reach": "return True",
    "your function says True exactly where a prefix cannot do it: turn it round": "return not (shrinks and same)",
    "a smaller sum is not enough: the ratios between the input's weights must stay": "return bool(shrinks)",
    "it is not enough that every weight shrinks: all must shrink by the same factor": (
        "return bool((after < before).all())"
    ),
    "the same ratios are not enough: the factor must lie between 0 and 1, ends excluded": "return same",
    "a factor of 1 would need a prefix without any weight, and e^score is never 0": "shrinks = 0 < factor <= 1",
    "a factor of 0 would leave the input without any weight, and e^score is never 0": "shrinks = 0 <= factor < 1",
    "factors of 0 and of 1 are out of reach: e^score is never 0, for the prefix and for the input": (
        "shrinks = 0 <= factor <= 1"
    ),
}


def can_trials():
    # Halves of halves: sums and products are exact, so no answer can stumble over rounding.
    four, even, pair = [1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4, [3 / 4, 1 / 4]
    for tests, before, after in (
        ("all weights halved", [1 / 2, 1 / 2], [1 / 4, 1 / 4]),
        ("a small factor", four, [x / 64 for x in four]),
        ("a factor a little below 1", even, [63 / 256] * 4),
        ("one token, less weight", [1.0], [3 / 4]),
        ("one token, all the weight", [1.0], [1.0]),
        ("one token, no weight", [1.0], [0.0]),
        ("two change places", four, [1 / 16, 1 / 8, 1 / 16, 1 / 4]),
        ("two small ones change places", four, [1 / 4, 1 / 16, 1 / 8, 1 / 16]),
        ("the order stays, the largest grows", four, [5 / 8, 1 / 8, 1 / 16, 1 / 16]),
        ("the largest is halved, the others are not", four, [1 / 4, 1 / 32, 1 / 16, 1 / 16]),
        ("ratios that stay within pairs", even, [1 / 8, 1 / 8, 1 / 16, 1 / 16]),
        ("one weight a little too large", even, [1 / 8, 1 / 8, 1 / 8, 33 / 256]),
        ("equal weights that differ by little", [1 / 2, 1 / 2], [1 / 4, 16385 / 65536]),
        ("one of four small weights doubled", four, [1 / 128, 1 / 256, 1 / 512, 1 / 256]),
        ("every weight smaller by the same amount", four, [7 / 16, 3 / 16, 1 / 16, 1 / 16]),
        ("one token hidden", four, [1 / 4, 1 / 8, 1 / 16, 0.0]),
        ("one token alone", four, [1 / 2, 0.0, 0.0, 0.0]),
        ("two turned round", pair, [1 / 8, 3 / 8]),
        ("no change", four, four),
        ("no weight left", four, [0.0] * 4),
        ("all weights grow", four, [x * 1.5 for x in four]),
    ):
        yield tests, (torch.tensor(before), torch.tensor(after))


CAN_HINTS = (
    "What does E4 say about after / before? And which values can m(q) not have?",
    "One factor, 1 − m, for all tokens: strictly between 0 and 1. What is it, if `before` sums to 1?",
    "factor = after.sum()",
)
check_can_a_prefix = Exercise(can_a_prefix, can_trials, CAN, hints=CAN_HINTS, pairs=False)
