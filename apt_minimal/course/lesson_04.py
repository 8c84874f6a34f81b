"""Lesson 04: the token gate."""

import math

import torch
import torch.nn.functional as F

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_04_verdicts import check_half_closed, check_reads_padding  # noqa: F401  4.3, 4.6
from apt_minimal.gates import mean_token  # noqa: F401  a slip takes it

FULL, RIGHT, LEFT, BOTH, ONE = [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0]


def token_gate(hidden_states, attention_mask, weight):
    """4.1: α of E2, [b, l], from [b, n, d], a mask [b, n] and Wᵀ, [l, d]."""
    position = attention_mask.int().argmax(dim=1)  # [b]
    h = hidden_states[torch.arange(len(position)), position]  # [b, d]
    return (h @ weight.T).sigmoid()


@exercise(token_gate)
def check_token_gate(draw):
    """
    ? Where does each mask have its first 1, and why is position 0 not enough?
    ? Find one position for each example, take its row of hidden_states, multiply it by W, apply σ.
    ? position = attention_mask.int().argmax(dim=1), then hidden_states[torch.arange(b), position]
    position 0 is padding where a sentence is padded on the left → h = hidden_states[:, 0]
    argmax refuses a boolean mask: convert it first → position = attention_mask.argmax(dim=1)
    ~ makes −2 of the integer 1, which is true → position = (~attention_mask).bool().int().argmin(dim=1)
    counting 0s is right only if all padding is on the left → position = attention_mask.eq(0).sum(dim=1)
    the gate reads the first real token, not the last → position = -1 - attention_mask.int().flip(1).argmax(1)
    the gate reads one token, not the mean of the real ones → h = mean_token(hidden_states, attention_mask)
    each example has its own first position; yours is the first example's → h = hidden_states[:, position[0]]
    each example has its own first position; yours is the last example's → h = hidden_states[:, position[-1]]
    behind a sentence of one token the running sum is 1, too, so padding is added →
        h = (hidden_states * (attention_mask.cumsum(1) == 1).unsqueeze(-1)).sum(1)
    weight is Wᵀ where l = d, too: transpose it always →
        return (h @ (weight if len(weight) == len(weight.T) else weight.T)).sigmoid()
    weight is Wᵀ: transpose it (where l = d nothing complains) → return (h @ weight).sigmoid()
    σ is the sigmoid: a softmax makes the gates compete → return (h @ weight.T).softmax(dim=1)
    σ is the sigmoid: your softmax makes the examples compete → return (h @ weight.T).softmax(dim=0)
    σ is missing → return h @ weight.T
    σ belongs around h W, not around h → return h.sigmoid() @ weight.T
    a gate opens as h W grows: yours is 1 − α → return 1 - (h @ weight.T).sigmoid()
    E2 has no bias → return (h @ weight.T + 1).sigmoid()
    """
    states, weight = torch.tensor([[[1.0, -1.0], [5.0, 5.0]]]), torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]])
    yield "no padding", states, torch.ones(1, 2).int(), weight
    for tests, masks, l, d in (
        ("padding on the left", [LEFT, FULL, RIGHT], 3, 4),
        ("padding on both sides, a sentence of one token", [ONE, BOTH], 6, 2),
        ("l = d", [LEFT, RIGHT, BOTH], 4, 4),
        ("one example and one prefix token", [LEFT], 1, 3),
    ):
        yield tests, draw(len(masks), 4, d), torch.tensor(masks), draw(l, d)
    yield "a boolean mask", draw(3, 4, 2), torch.tensor([LEFT, BOTH, FULL]).bool(), draw(3, 2)


def gate_prefix(prefix_key, prefix_value, alpha):
    """4.2: the gated prefix of each example, two of [b, l, d], from two of [l, d] and α, [b, l]."""
    gate = alpha.unsqueeze(-1)  # [b, l, 1]
    return gate * prefix_key, gate * prefix_value


@exercise(gate_prefix)
def check_gate_prefix(draw):
    """
    ? Which axes does α have, and which one is missing to multiply a whole prefix token?
    ? Give α a last axis of size 1 and multiply both P_k and P_v by it.
    ? alpha.unsqueeze(-1) * prefix_key
    α belongs to a prefix token, not to a column: [b, l, 1], not [b, 1, l] → gate = alpha.unsqueeze(1)
    α needs a last axis: without it [b, l] meets the columns → gate = alpha
    the axes of α are mixed up: the batch comes first → gate = alpha.T.unsqueeze(-1)
    the axes of α are [b, l] where b = l, too → gate = (alpha.T if len(alpha) == len(alpha.T) else alpha).unsqueeze(-1)
    each prefix token has its own α: yours is the first one's → gate = alpha[:, :1].unsqueeze(-1)
    each example has its own α: don't average → gate = alpha.mean(dim=0).expand_as(alpha).unsqueeze(-1)
    each example has its own α: yours is the first one's → gate = alpha[:1].expand_as(alpha).unsqueeze(-1)
    α = 1 lets a token through: yours uses 1 − α → gate = 1 - alpha.unsqueeze(-1)
    α is already between 0 and 1: no second sigmoid → gate = alpha.sigmoid().unsqueeze(-1)
    gates do not compete: α need not sum to 1 → gate = (alpha / alpha.sum(dim=1, keepdim=True)).unsqueeze(-1)
    key first, then value → return gate * prefix_value, gate * prefix_key
    the value is not gated → return gate * prefix_key, prefix_value.expand(len(alpha), -1, -1)
    the value is gated twice → return gate * prefix_key, gate * gate * prefix_value
    the value's columns are gated, as its rows should be → return gate * prefix_key, alpha.unsqueeze(1) * prefix_value
    both are made from the key → return gate * prefix_key, gate * prefix_key
    """
    key, value = torch.tensor([[2.0, 4.0, 6.0], [1.0, 0.0, 3.0]]), torch.tensor([[8.0, 0.0, -2.0], [5.0, 7.0, 9.0]])
    yield "one example", key, value, torch.tensor([[0.5, 1.0]])
    for tests, b, l, d in (
        ("l = d", 2, 4, 4),
        ("b = l", 3, 3, 5),
        ("one example and one prefix token", 1, 1, 4),
    ):
        yield tests, draw(l, d), draw(l, d), draw(b, l).sigmoid()


def remove_tokens(query, key, value, prefix_key, prefix_value, keep):
    """4.4: attention, [b, n, d], to all input tokens and to the prefix tokens that keep, [b, l], marks."""
    n = key.shape[1]
    keys = torch.cat([prefix_key, key], dim=1)  # [b, l + n, d]
    values = torch.cat([prefix_value, value], dim=1)
    scores = query @ keys.mT / math.sqrt(query.shape[-1])  # [b, n, l + n]
    look = F.pad(keep, (0, n), value=True)  # [b, l + n]: everyone may look at the input
    seen = scores.masked_fill(~look[:, None], -math.inf)
    weights = seen.softmax(dim=-1)
    return weights @ values


@exercise(remove_tokens)
def check_remove_tokens(draw):
    """
    ? What weight does a token with a score of 0 get? With which score would it get none?
    ? Make all scores, [b, n, l + n], prefix first, put −∞ where keep is False, then take one softmax.
    ? scores.masked_fill(~F.pad(keep, (0, n), value=True)[:, None], -math.inf).softmax(dim=-1)
    nothing is removed → seen = scores
    keep is True for the tokens that stay: yours removes those → look = F.pad(~keep, (0, n), value=True)
    a score of 0 still takes e⁰ = 1: it has to be −∞ → seen = scores.masked_fill(~look[:, None], 0.0)
    a key and value of 0 still take weight: −∞ does not →
        seen = scores * look[:, None]; return weights * look[:, None] @ values
    weights of 0 leave the rest with less than 1 → seen = scores; return weights * look[:, None] @ values
    −10 is not low enough for every score: take −∞ → seen = scores.masked_fill(~look[:, None], -10.0)
    −100 is not low enough for every score: take −∞ → seen = scores.masked_fill(~look[:, None], -100.0)
    100 less is not enough where a removed token scores high → seen = scores - 100.0 * ~look[:, None]
    keep belongs to the first l columns, the prefix's → look = F.pad(keep, (n, 0), value=True)
    keep belongs to an example, not to a query: [b, 1, l + n] → seen = scores.masked_fill(~look, -math.inf)
    the input is masked too: F.pad fills with False unless told otherwise → look = F.pad(keep, (0, n))
    each example has its own keep → look = F.pad(keep[:1].expand_as(keep), (0, n), value=True)
    each example has its own keep, not the sum → look = F.pad(keep.any(0).expand_as(keep), (0, n), value=True)
    an example may lose its whole prefix → look = F.pad(keep | ~keep.any(1, keepdim=True), (0, n), value=True)
    keep says which tokens stay, not how many → look = F.pad(keep.sort(1, True).values, (0, n), value=True)
    scores are divided by √d: that is missing → scores = query @ keys.mT
    scores are divided by √d, not by d → scores = query @ keys.mT / query.shape[-1]
    scores are divided by √d, and d is not always 4 → scores = query @ keys.mT / 2
    scores are divided by √d, not by √l → scores = query @ keys.mT / math.sqrt(keep.shape[1])
    the softmax runs over the keys, not over the queries → weights = seen.softmax(dim=1)
    e^score overflows in the hundreds: use torch's softmax → weights = seen.exp() / seen.exp().sum(-1, True)
    e^score overflows, and NaN is no 0 → weights = (seen.exp() / seen.exp().sum(-1, True)).nan_to_num()
    the input's own words are left out → look = F.pad(keep, (0, n)); weights = seen.softmax(-1).nan_to_num()
    one largest score is subtracted for all rows: far below it all e^… are 0 →
        weights = (e := (seen - seen.max()).exp()) / e.sum(-1, True)
    masked after the softmax: a removed token far above the others has made their weights 0 →
        weights = scores.softmax(-1) * look[:, None]; return weights / weights.sum(-1, keepdim=True) @ values
    """
    zero, values, keep = torch.zeros(1, 1, 2), torch.tensor([[[5.0, 1.0], [7.0, 2.0]]]), torch.tensor([[True, False]])
    evenly = "scores of 0, where all that stay share the weight evenly"
    yield evenly, zero, zero + 1, zero + 3, torch.ones(1, 2, 2), values, keep
    for tests, keep, n, d, size in (
        ("all prefix tokens kept: E1, scores over √d", [[1, 1], [1, 1]], 3, 7, 1),
        ("no prefix token kept", [[0, 0], [0, 0]], 3, 4, 1),
        ("some prefix tokens kept", [[1, 0, 1], [0, 0, 1]], 4, 5, 1),
        ("l = n", [[1, 0, 0], [0, 1, 1]], 3, 5, 1),
        ("b = n", [[1, 0], [0, 1], [0, 0]], 3, 4, 1),
        ("one example, one prefix token and one input token", [[0]], 1, 6, 1),
        ("large scores of either sign", [[1, 0, 0, 1], [0, 0, 1, 0]], 2, 6, 4),
    ):
        stays = torch.tensor(keep).bool()
        b, l = stays.shape
        yield tests, size * draw(b, n, d), draw(b, n, d), draw(b, n, d), draw(b, l, d), draw(b, l, d), stays
    for tests, keep, signs, prefix, words in (
        ("scores hundreds below 0", [[1, 0], [0, 1]], [1, 1], [-840, -880], [-840, -800]),
        ("a removed token that scores hundreds above the others", [[0, 1], [0, 0]], [1, 1], [800, -40], [-80, 0]),
        ("one query hundreds above 0, another below", [[1, 0], [0, 1]], [1, -1], [760, 880], [800, 840]),
    ):  # query i scores signs[i] · prefix[j] with prefix token j, and signs[i] · words[j] with word j, exactly
        q, p, k = (0 * draw(2, 2, 4) + torch.tensor(scores).view(1, 2, 1) for scores in (signs, prefix, words))
        yield tests, q, k / 2, draw(2, 2, 4), p / 2, draw(2, 2, 4), torch.tensor(keep).bool()


def masked_mean(hidden_states, attention_mask):
    """4.5: the mean over each example's real tokens, from [b, n, d] and [b, n] to [b, d]."""
    real = attention_mask.bool()
    total = hidden_states.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=1)  # [b, d]
    count = real.sum(dim=1, keepdim=True)  # [b, 1]
    return total / count


@exercise(masked_mean)
def check_masked_mean(draw):
    """
    ? What is 0 · NaN? And by which number is each example's sum divided?
    ? Replace the padding by 0, add up over the tokens, divide by each example's own number of real tokens.
    ? hidden_states.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=1) / real.sum(dim=1, keepdim=True)
    0 · NaN is NaN: fill the padding, don't multiply it → total = (hidden_states * real.unsqueeze(-1)).sum(1)
    0 · ∞ is NaN: fill the padding, don't multiply it →
        total = (hidden_states.nan_to_num(0, math.inf) * real.unsqueeze(-1)).sum(1)
    padding is in the sum: fill it with 0 first → total = hidden_states.sum(dim=1)
    padding may hold other things than NaN: ask the mask → total = hidden_states.nansum(dim=1)
    real is what the mask marks, not what is finite → total = hidden_states.nan_to_num(0, 0, 0).sum(dim=1)
    1 and True mean a real token: yours is the mean over the padding → real = ~attention_mask.bool()
    the last tokens are real only if padding is on the left → real = attention_mask.bool().sort(dim=1).values
    the first are real only if padding is on the right → real = attention_mask.bool().sort(1, True).values
    each example has its own mask → real = attention_mask[:1].bool().expand_as(attention_mask)
    divide by the number of real tokens, not by n → count = hidden_states.shape[1]
    a sum is no mean: divide by the number of real tokens → return total
    each example has its own number: yours is the longest sentence's → count = real.sum(dim=1).max()
    count along the tokens, not along the examples → count = real.sum(dim=0).unsqueeze(-1)
    counts [b] divide the columns of [b, d]: give them a last axis → count = real.sum(dim=1)
    a real token may be 0 all over, and counts → count = hidden_states.any(dim=2).logical_and(real).sum(1, True)
    a real token is what the mask marks, not what is finite → count = hidden_states.isfinite().all(-1).sum(1, True)
    the number of real tokens divides, not that of entries other than 0 →
        count = hidden_states.masked_fill(~real.unsqueeze(-1), 0.0).ne(0).sum(1)
    the mean runs over the tokens, not over d → return hidden_states.mean(dim=-1)
    a sentence may have one token: yours divides by at least 2 → count = real.sum(1, keepdim=True).clamp(min=2)
    """
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[4.0, 0.0], [5.0, 7.0], [6.0, 2.0]]])
    yield "padding on the right", states, torch.tensor([[1, 1, 0], [1, 1, 1]])
    for tests, masks, padding in (
        ("padding on the left and on both sides", [LEFT, BOTH], 1.0),
        ("b = n = d", [LEFT, FULL, BOTH, ONE], 1.0),
        ("large numbers in the padding", [RIGHT, LEFT], 1e6),
        ("NaN in the padding", [RIGHT, FULL, LEFT], math.nan),
        ("infinity in the padding", [BOTH, FULL], math.inf),
    ):
        mask = torch.tensor(masks)
        yield tests, (draw(len(masks), 4, 4) + 1).masked_fill(mask.eq(0).unsqueeze(-1), padding), mask
    yield "a boolean mask", draw(2, 4, 3), torch.tensor([RIGHT, BOTH]).bool()
    zeros = draw(1, 4, 3).index_fill(1, torch.tensor([1]), 0.0)
    yield "a real token of zeros", zeros, torch.tensor([[1, 1, 1, 0]])
