"""Lesson 04: the token gate."""

import math

import torch
import torch.nn.functional as F

from apt_minimal.course.check import Exercise, draws
from apt_minimal.course.lesson_04_half import check_half_closed  # exercise 4.3
from apt_minimal.gates import first_token, mean_token

__all__ = [
    "check_gate_prefix",
    "check_half_closed",
    "check_masked_mean",
    "check_reads_padding",
    "check_remove_tokens",
    "check_token_gate",
]

FULL, RIGHT, LEFT, BOTH, ONE = [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0]


def token_gate(hidden_states, attention_mask, weight):
    """4.1: α of E2, [b, l], from [b, n, d], a mask [b, n] and Wᵀ, [l, d]."""
    position = attention_mask.int().argmax(dim=1)  # [b]
    h = hidden_states[torch.arange(len(position)), position]  # [b, d]
    return (h @ weight.T).sigmoid()


def token_gate_trials():
    states, weight = torch.tensor([[[1.0, -1.0], [5.0, 5.0]]]), torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0]])
    yield "no padding", (states, torch.ones(1, 2).int(), weight)
    draw = draws(41)
    for tests, masks, l, d in (
        ("padding on the left", [LEFT, FULL, RIGHT], 3, 4),
        ("padding on both sides, a sentence of one token", [ONE, BOTH], 6, 2),
        ("l = d", [LEFT, RIGHT, BOTH], 4, 4),
        ("one example and one prefix token", [LEFT], 1, 3),
    ):
        yield tests, (draw(len(masks), 4, d), torch.tensor(masks), draw(l, d))
    yield "a boolean mask", (draw(3, 4, 2), torch.tensor([LEFT, BOTH, FULL]).bool(), draw(3, 2))


check_token_gate = Exercise(
    token_gate,
    token_gate_trials,
    {
        "position 0 is padding where a sentence is padded on the left": "h = hidden_states[:, 0]",
        "argmax refuses a boolean mask: convert it first": "position = attention_mask.argmax(dim=1)",
        "~ makes −2 of the integer 1, which is true": "position = (~attention_mask).bool().int().argmin(dim=1)",
        "counting 0s is right only if all padding is on the left": "position = attention_mask.eq(0).sum(dim=1)",
        "the gate reads the first real token, not the last": "position = -1 - attention_mask.int().flip(1).argmax(1)",
        "the gate reads one token, not the mean of the real ones": "h = mean_token(hidden_states, attention_mask)",
        "each example has its own first position; yours is the first example's": "h = hidden_states[:, position[0]]",
        "each example has its own first position; yours is the last example's": "h = hidden_states[:, position[-1]]",
        "weight is Wᵀ: transpose it (where l = d nothing complains)": "return (h @ weight).sigmoid()",
        "σ is the sigmoid: a softmax makes the gates compete": "return (h @ weight.T).softmax(dim=1)",
        "σ is the sigmoid: your softmax makes the examples compete": "return (h @ weight.T).softmax(dim=0)",
        "σ is missing": "return h @ weight.T",
        "σ belongs around h W, not around h": "return h.sigmoid() @ weight.T",
        "a gate opens as h W grows: yours is 1 − α": "return 1 - (h @ weight.T).sigmoid()",
        "E2 has no bias": "return (h @ weight.T + 1).sigmoid()",
    },
    hints=(
        "Where does each mask have its first 1, and why is position 0 not enough?",
        "Find one position for each example, take its row of hidden_states, multiply it by W, apply σ.",
        "position = attention_mask.int().argmax(dim=1), then hidden_states[torch.arange(b), position]",
    ),
)


def masked_mean(hidden_states, attention_mask):
    """4.5: the mean over each example's real tokens, from [b, n, d] and [b, n] to [b, d]."""
    real = attention_mask.bool()
    total = hidden_states.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=1)  # [b, d]
    count = real.sum(dim=1, keepdim=True)  # [b, 1]
    return total / count


def masked_mean_trials():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[4.0, 0.0], [5.0, 7.0], [6.0, 2.0]]])
    yield (
        "padding on the right",
        (states, torch.tensor([[1, 1, 0], [1, 1, 1]])),
    )
    draw = draws(42)
    for tests, masks, padding in (
        ("padding on the left and on both sides", [LEFT, BOTH], 1.0),
        ("b = n = d", [LEFT, FULL, BOTH, ONE], 1.0),
        ("large numbers in the padding", [RIGHT, LEFT], 1e6),
        ("NaN in the padding", [RIGHT, FULL, LEFT], math.nan),
        ("infinity in the padding", [BOTH, FULL], math.inf),
    ):
        mask = torch.tensor(masks)
        yield tests, ((draw(len(masks), 4, 4) + 1).masked_fill(mask.eq(0).unsqueeze(-1), padding), mask)
    yield "a boolean mask", (draw(2, 4, 3), torch.tensor([RIGHT, BOTH]).bool())
    zeros = draw(1, 4, 3).index_fill(1, torch.tensor([1]), 0.0)
    yield "a real token of zeros", (zeros, torch.tensor([[1, 1, 1, 0]]))


check_masked_mean = Exercise(
    masked_mean,
    masked_mean_trials,
    {
        "0 · NaN is NaN: fill the padding, don't multiply it": "total = (hidden_states * real.unsqueeze(-1)).sum(1)",
        "padding is in the sum: fill it with 0 first": "total = hidden_states.sum(dim=1)",
        "padding may hold other things than NaN: ask the mask": "total = hidden_states.nansum(dim=1)",
        "real is what the mask marks, not what is finite": "total = hidden_states.nan_to_num(0, 0, 0).sum(dim=1)",
        "1 and True mean a real token: yours is the mean over the padding": "real = ~attention_mask.bool()",
        "the last tokens are real only if padding is on the left": "real = attention_mask.bool().sort(dim=1).values",
        "the first are real only if padding is on the right": "real = attention_mask.bool().sort(1, True).values",
        "each example has its own mask": "real = attention_mask[:1].bool().expand_as(attention_mask)",
        "divide by the number of real tokens, not by n": "count = hidden_states.shape[1]",
        "a sum is no mean: divide by the number of real tokens": "return total",
        "each example has its own number: yours is the longest sentence's": "count = real.sum(dim=1).max()",
        "count along the tokens, not along the examples": "count = real.sum(dim=0).unsqueeze(-1)",
        "counts [b] divide the columns of [b, d]: give them a last axis": "count = real.sum(dim=1)",
        "a real token may be 0 all over, and counts": "count = hidden_states.any(dim=2).logical_and(real).sum(1, True)",
        "a sentence may have one token: yours divides by at least 2": "count = real.sum(1, keepdim=True).clamp(min=2)",
    },
    hints=(
        "What is 0 · NaN? And by which number is each example's sum divided?",
        "Replace the padding by 0, add up over the tokens, divide by each example's own number of real tokens.",
        "hidden_states.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=1) / real.sum(dim=1, keepdim=True)",
    ),
)


def gate_prefix(prefix_key, prefix_value, alpha):
    """4.2: the gated prefix of each example, two of [b, l, d], from two of [l, d] and α, [b, l]."""
    gate = alpha.unsqueeze(-1)  # [b, l, 1]
    return gate * prefix_key, gate * prefix_value


def gate_prefix_trials():
    key, value = torch.tensor([[2.0, 4.0, 6.0], [1.0, 0.0, 3.0]]), torch.tensor([[8.0, 0.0, -2.0], [5.0, 7.0, 9.0]])
    yield "one example", (key, value, torch.tensor([[0.5, 1.0]]))
    draw = draws(43)
    for tests, b, l, d in (
        ("l = d", 2, 4, 4),
        ("b = l", 3, 3, 5),
        ("one example and one prefix token", 1, 1, 4),
    ):
        yield tests, (draw(l, d), draw(l, d), draw(b, l).sigmoid())


check_gate_prefix = Exercise(
    gate_prefix,
    gate_prefix_trials,
    {
        "α belongs to a prefix token, not to a column: [b, l, 1], not [b, 1, l]": "gate = alpha.unsqueeze(1)",
        "α needs a last axis: without it [b, l] meets the columns": "gate = alpha",
        "the axes of α are mixed up: the batch comes first": "gate = alpha.T.unsqueeze(-1)",
        "each prefix token has its own α: yours is the first one's": "gate = alpha[:, :1].unsqueeze(-1)",
        "each example has its own α: don't average": "gate = alpha.mean(dim=0).expand_as(alpha).unsqueeze(-1)",
        "each example has its own α: yours is the first one's": "gate = alpha[:1].expand_as(alpha).unsqueeze(-1)",
        "α = 1 lets a token through: yours uses 1 − α": "gate = 1 - alpha.unsqueeze(-1)",
        "α is already between 0 and 1: no second sigmoid": "gate = alpha.sigmoid().unsqueeze(-1)",
        "gates do not compete: α need not sum to 1": "gate = (alpha / alpha.sum(dim=1, keepdim=True)).unsqueeze(-1)",
        "key first, then value": "return gate * prefix_value, gate * prefix_key",
        "the value is not gated": "return gate * prefix_key, prefix_value.expand(len(alpha), -1, -1)",
        "both are made from the key": "return gate * prefix_key, gate * prefix_key",
    },
    hints=(
        "Which axes does α have, and which one is missing to multiply a whole prefix token?",
        "Give α a last axis of size 1 and multiply both P_k and P_v by it.",
        "alpha.unsqueeze(-1) * prefix_key",
    ),
)


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


def remove_tokens_trials():
    zero, values = torch.zeros(1, 1, 2), torch.tensor([[[5.0, 1.0], [7.0, 2.0]]])
    evenly = (zero, zero + 1, zero + 3, torch.ones(1, 2, 2), values, torch.tensor([[True, False]]))
    yield "scores of 0, where all that stay share the weight evenly", evenly
    draw = draws(44)
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
        yield tests, (size * draw(b, n, d), draw(b, n, d), draw(b, n, d), draw(b, l, d), draw(b, l, d), stays)
    for tests, keep, signs, prefix, words in (
        ("scores hundreds below 0", [[1, 0], [0, 1]], [1, 1], [-840, -880], [-840, -800]),
        ("a removed token that scores hundreds above the others", [[0, 1], [0, 0]], [1, 1], [800, -40], [-80, 0]),
        ("one query hundreds above 0, another below", [[1, 0], [0, 1]], [1, -1], [760, 880], [800, 840]),
    ):  # query i scores signs[i] · prefix[j] with prefix token j, and signs[i] · words[j] with word j, exactly
        q, p, k = (0 * draw(2, 2, 4) + torch.tensor(scores).view(1, 2, 1) for scores in (signs, prefix, words))
        yield tests, (q, k / 2, draw(2, 2, 4), p / 2, draw(2, 2, 4), torch.tensor(keep).bool())


check_remove_tokens = Exercise(
    remove_tokens,
    remove_tokens_trials,
    {
        "nothing is removed": "seen = scores",
        "keep is True for the tokens that stay: yours removes those": "look = F.pad(~keep, (0, n), value=True)",
        "a score of 0 still takes e⁰ = 1: it has to be −∞": "seen = scores.masked_fill(~look[:, None], 0.0)",
        "a key and value of 0 still take weight: −∞ does not": (
            "seen = scores * look[:, None]\nreturn weights * look[:, None] @ values"
        ),
        "weights of 0 leave the rest with less than 1": "seen = scores\nreturn weights * look[:, None] @ values",
        "−10 is not low enough for every score: take −∞": "seen = scores.masked_fill(~look[:, None], -10.0)",
        "−100 is not low enough for every score: take −∞": "seen = scores.masked_fill(~look[:, None], -100.0)",
        "100 less is not enough where a removed token scores high": "seen = scores - 100.0 * ~look[:, None]",
        "keep belongs to the first l columns, the prefix's": "look = F.pad(keep, (n, 0), value=True)",
        "keep belongs to an example, not to a query: [b, 1, l + n]": "seen = scores.masked_fill(~look, -math.inf)",
        "the input is masked too: F.pad fills with False unless told otherwise": "look = F.pad(keep, (0, n))",
        "each example has its own keep": "look = F.pad(keep[:1].expand_as(keep), (0, n), value=True)",
        "each example has its own keep, not the sum": "look = F.pad(keep.any(0).expand_as(keep), (0, n), value=True)",
        "an example may lose its whole prefix": "look = F.pad(keep | ~keep.any(1, keepdim=True), (0, n), value=True)",
        "keep says which tokens stay, not how many": "look = F.pad(keep.sort(1, True).values, (0, n), value=True)",
        "scores are divided by √d: that is missing": "scores = query @ keys.mT",
        "scores are divided by √d, not by d": "scores = query @ keys.mT / query.shape[-1]",
        "scores are divided by √d, and d is not always 4": "scores = query @ keys.mT / 2",
        "scores are divided by √d, not by √l": "scores = query @ keys.mT / math.sqrt(keep.shape[1])",
        "the softmax runs over the keys, not over the queries": "weights = seen.softmax(dim=1)",
        "e^score overflows in the hundreds: use torch's softmax": "weights = seen.exp() / seen.exp().sum(-1, True)",
        "e^score overflows, and NaN is no 0": "weights = (seen.exp() / seen.exp().sum(-1, True)).nan_to_num()",
        "masked after the softmax: a removed token far above the others has made their weights 0": (
            "weights = scores.softmax(-1) * look[:, None]\nreturn weights / weights.sum(-1, keepdim=True) @ values"
        ),
    },
    hints=(
        "What weight does a token with a score of 0 get? With which score would it get none?",
        "Make all scores, [b, n, l + n], prefix first, put −∞ where keep is False, then take one softmax.",
        "scores.masked_fill(~F.pad(keep, (0, n), value=True)[:, None], -math.inf).softmax(dim=-1)",
    ),
)


def reads_padding(gate):
    """4.6: whether padding moves a gate, which maps [b, n, 8] and a mask [b, n] or None to α, [b, l]."""
    generator = torch.Generator().manual_seed(0)
    sentence = torch.randn(1, 5, 8, generator=generator)
    alone = gate(sentence, None)
    for left, right in [(3, 0), (0, 3), (2, 5)]:
        before, after = (torch.randn(1, n, 8, generator=generator) for n in (left, right))
        mask = torch.tensor([[0] * left + [1] * 5 + [0] * right])
        padded = gate(torch.cat([before, sentence, after], dim=1), mask)
        if (padded - alone).abs().max() > 1e-5:
            return True
    return False


class Gate:
    """A gate that says what it reads and whether padding moves it: α = σ(seen · weight)."""

    def __init__(self, reads, moved, seen, rows=(1, 1, 1)):
        self.__name__, self.moved, self.seen, self.rows = f"a gate that reads {reads}", moved, seen, rows

    def __call__(self, hidden_states, attention_mask=None):
        mask = torch.ones(hidden_states.shape[:2]) if attention_mask is None else attention_mask
        weight = draws(45)(1, 8).to(hidden_states.dtype) * torch.tensor(self.rows).unsqueeze(-1)  # [3, 8]
        seen = self.seen(hidden_states, mask.ne(0))  # [b, 8], or [b, 3, 8] with a row for each α
        return ((seen if seen.ndim == 3 else seen.unsqueeze(1)) * weight).sum(dim=-1).sigmoid()


def total(h, m):
    return (h * m.unsqueeze(-1)).sum(1)


def one_side(h, m):
    return h[torch.arange(len(h)), m.eq(0).sum(dim=1).masked_fill(m[:, 0], 0)]


def reads_padding_trials():
    for gate in (
        Gate("position 0", True, lambda h, m: h[:, 0]),
        Gate("the first real token", False, first_token),
        Gate("the mean over all positions", True, lambda h, m: h.mean(1)),
        Gate("minus the mean over all positions", True, lambda h, m: -h.mean(1)),
        Gate("the mean over the real tokens", False, mean_token),
        Gate("nothing", False, lambda h, m: torch.ones_like(h[:, 0])),
        Gate("the last position", True, lambda h, m: h[:, -1]),
        Gate("the sum of all, over the number of real tokens", True, lambda h, m: h.sum(1) / m.sum(1, True)),
        Gate("the sum of the real tokens, over n", True, lambda h, m: total(h, m) / h.shape[1]),
        Gate("the sum of the real tokens, multiplying padding by 0", False, total),
        Gate("the position in the middle", True, lambda h, m: h[:, h.shape[1] // 2]),
        Gate("a digit of n beside a real token", False, lambda h, m: first_token(h, m) + h.shape[1] % 2 / 1e6),
        Gate("a mean in which a padding token weighs e⁻⁸", True, lambda h, m: total(h, (m * 8.0).softmax(1))),
        Gate("position 0 for one of its α", True, lambda h, m: torch.stack([first_token(h, m)] * 2 + [h[:, 0]], 1)),
        Gate("the first real token if padding stands on one side", True, one_side),
        Gate("position 0, so that one α rises as another falls", True, lambda h, m: h[:, 0], rows=(1, -1, 0)),
    ):
        yield gate.__name__, (gate,)


def verdict(found, gate):
    """What is wrong with a verdict, in words."""
    said = found.item() if hasattr(found, "item") else found  # a tensor's or numpy's
    if not isinstance(said, bool):
        return f"return True or False, not {type(found).__name__}"
    if said == gate.moved:
        return ""
    return f"padding moves {gate.__name__}" if gate.moved else f"padding doesn't move {gate.__name__}"


check_reads_padding = Exercise(
    reads_padding,
    reads_padding_trials,
    {
        "you call every gate safe": "if False:",
        "you find fault with every gate": "if True:",
        "padding on the left is never tried": "for left, right in [(0, 3)]:",
        "padding on the right is never tried": "for left, right in [(3, 0)]:",
        "padding on both sides at once is never tried": "for left, right in [(3, 0), (0, 3)]:",
        "zeros hide a gate that adds padding up": "before, after = torch.zeros(1, left, 8), torch.zeros(1, right, 8)",
        "NaN is no ordinary number, and NaN > 1e-5 is False": (
            "before, after = (torch.full((1, n, 8), math.nan) for n in (left, right))"
        ),
        "copies of the words hide a gate that reads the first or last position": (
            "before, after = sentence[:, :1].expand(1, left, 8), sentence[:, -1:].expand(1, right, 8)"
        ),
        "give the mask with the padded sentence, 1 for real tokens": "mask = None",
        "take the change's size (abs): α may fall": "if (padded - alone).max() > 1e-5:",
        "take each change's size before you average": "if (padded - alone).mean().abs() > 1e-5:",
        "look at all numbers of α, not at the first alone": "if (padded - alone)[:, 0].abs().max() > 1e-5:",
        "0.1 is too much: 1e-5 is allowed": "if (padded - alone).abs().max() > 0.1:",
        "rounding changes the last digits: allow 1e-5": "if not torch.equal(padded, alone):",
        "σ is flat for numbers that large": "sentence = 1e4 * torch.randn(1, 5, 8, generator=generator)",
    },
    look=verdict,
    pairs=False,
    hints=(
        "What has to be tried before you may say that a gate is safe?",
        "Pad a random sentence with random numbers on the left, on the right and on both sides, and compare α.",
        "if (gate(padded, mask) - gate(sentence, None)).abs().max() > 1e-5: return True",
    ),
)
