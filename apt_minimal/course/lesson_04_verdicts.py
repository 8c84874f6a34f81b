"""Lesson 04, exercises 3 and 6: a prefix whose mass is lowest at half-closed gates, and a test of gates."""

import math  # noqa: F401  a slip uses it

import torch
from torch import Tensor

from apt_minimal.course.check import draws, exercise
from apt_minimal.gates import first_token, mean_token

ENOUGH = 0.05
NOTHING = "all scores of the prefix are 0, so gates change nothing"
NOBODY_GAINS = "no score of the prefix is below 0, so no token gains while its gate closes"
NOBODY_LOSES = "no score of the prefix is above 0, so no token loses while its gate closes"
LOSE_MORE = f"at ½ it must be at least {ENOUGH} lower than at 1, so the scores above 0 must lose more"
GAIN_MORE = f"at ½ it must be at least {ENOUGH} lower than at 0, so the scores below 0 must have more to gain"


def masses(query: Tensor, key: Tensor, prefix_key: Tensor) -> tuple[Tensor, list[float]]:
    """The prefix's scores [l], and its mass with all gates at 1, ½ and 0."""
    root = query.shape[-1] ** 0.5
    words, prefix = key.double() @ query.double() / root, prefix_key.double() @ query.double() / root
    weights = [torch.cat([alpha * prefix, words]).softmax(dim=0) for alpha in (1.0, 0.5, 0.0)]
    return prefix, [w[: len(prefix)].sum().item() for w in weights]


def lowest_at_half(found) -> str:
    """Why the mass is not lowest at ½, or what is wrong with the form; empty if nothing is."""
    if fault := form_fault(found):
        return fault
    scores, (open_, half, closed) = masses(*(x.detach() for x in found))
    if half <= min(open_, closed) - ENOUGH:
        return ""
    why = GAIN_MORE if half <= open_ - ENOUGH else LOSE_MORE
    if not scores.any():
        why = NOTHING
    elif scores.min() >= 0:
        why = NOBODY_GAINS
    elif scores.max() <= 0:
        why = NOBODY_LOSES
    return f"the mass is {open_:.2f} at α = 1, {half:.2f} at ½ and {closed:.2f} at 0: {why}"


def form_fault(found) -> str:
    """What is wrong with the form of an answer; empty if nothing is."""
    if not isinstance(found, list | tuple) or len(found) != 3 or not all(isinstance(x, Tensor) for x in found):
        return "return three tensors: query, key and prefix_key"
    query, key, prefix_key = found
    shapes = [list(x.shape) for x in found]
    if [x.dim() for x in found] != [1, 2, 2] or not len(query) == key.shape[1] == prefix_key.shape[1]:
        return f"query must be [d_h], key [n, d_h] and prefix_key [l, d_h]; yours are {shapes}"
    if not min(x.numel() for x in found):
        return "there must be at least one word and one prefix token"
    if not all(x.is_floating_point() and x.isfinite().all() for x in found):
        return "all numbers must be finite, in a floating-point dtype"
    return ""


def half_closed():
    """A query [1], keys [3, 1] and prefix keys [3, 1] whose mass on the prefix is lowest at α = ½."""
    query = torch.tensor([1.0])
    key = torch.zeros(3, 1)
    prefix_key = torch.tensor([[1.0], [-3.0], [-3.0]])  # one that loses, two that gain
    return query, key, prefix_key


@exercise(half_closed, look=lowest_at_half)
def check_half_closed(draw):
    """
    ? Which prefix tokens lose weight while their gates close, and which ones gain?
    ? Take both kinds: one token with a small score above 0, and some with scores far below 0.
    ? prefix_key = torch.tensor([[1.0], [-3.0], [-3.0]]), with a query of 1 and three words that score 0
    """
    yield ("the mass at α = 1, ½ and 0",)


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
    """The sum, not the mean, over real tokens: [b, n, d] -> [b, d]."""
    return (h * m.unsqueeze(-1)).sum(1)


def one_side(h, m):
    """The first real token if all padding is on the left: [b, n, d] -> [b, d]."""
    return h[torch.arange(len(h)), m.eq(0).sum(dim=1).masked_fill(m[:, 0], 0)]


def verdict(found, gate):
    """What is wrong with a verdict, in words."""
    said = found.item() if hasattr(found, "item") else found  # a tensor's or numpy's
    if not isinstance(said, bool):
        return f"return True or False, not {type(found).__name__}"
    if said == gate.moved:
        return ""
    return f"padding moves {gate.__name__}" if gate.moved else f"padding doesn't move {gate.__name__}"


@exercise(reads_padding, look=verdict, pairs=False)
def check_reads_padding(draw):
    """
    ? What has to be tried before you may say that a gate is safe?
    ? Pad a random sentence with random numbers on the left, on the right and on both sides, and compare α.
    ? if (gate(padded, mask) - gate(sentence, None)).abs().max() > 1e-5: return True
    you call every gate safe → if False:
    you find fault with every gate → if True:
    padding on the left is never tried → for left, right in [(0, 3)]:
    padding on the right is never tried → for left, right in [(3, 0)]:
    padding on both sides at once is never tried → for left, right in [(3, 0), (0, 3)]:
    zeros hide a gate that adds padding up → before, after = torch.zeros(1, left, 8), torch.zeros(1, right, 8)
    NaN is no ordinary number, and NaN > 1e-5 is False →
        before, after = (torch.full((1, n, 8), math.nan) for n in (left, right))
    copies of the words hide a gate that reads the first or last position →
        before, after = sentence[:, :1].expand(1, left, 8), sentence[:, -1:].expand(1, right, 8)
    give the mask with the padded sentence, 1 for real tokens → mask = None
    take the change's size (abs): α may fall → if (padded - alone).max() > 1e-5:
    take each change's size before you average → if (padded - alone).mean().abs() > 1e-5:
    look at all numbers of α, not at the first alone → if (padded - alone)[:, 0].abs().max() > 1e-5:
    0.1 is too much: 1e-5 is allowed → if (padded - alone).abs().max() > 0.1:
    rounding changes the last digits: allow 1e-5 → if not torch.equal(padded, alone):
    σ is flat for numbers that large → sentence = 1e4 * torch.randn(1, 5, 8, generator=generator)
    """
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
        yield gate.__name__, gate
