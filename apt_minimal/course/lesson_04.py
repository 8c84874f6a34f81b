"""Lesson 04: the token gate."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.checking import check, combine
from apt_minimal.gates import first_token, mean_token

__all__ = [
    "check_gate_prefix",
    "check_masked_mean",
    "check_reads_padding",
    "check_remove_tokens",
    "check_token_gate",
]

NONE, RIGHT, LEFT, BOTH = [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]


def _draws(seed: int) -> Callable[..., Tensor]:
    """A source of normal numbers, its own for each checker."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _at(position: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """What a gate sees that reads the token at `position(mask)`."""
    return lambda hidden, mask: hidden[torch.arange(len(hidden)), position(mask)]


def _last_real(hidden: Tensor, mask: Tensor) -> Tensor:
    return first_token(hidden.flip(1), mask.flip(1))


def _filled(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.eq(0).unsqueeze(-1), 0.0)


def check_token_gate(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 4.1: answer(hidden_states, attention_mask, weight) is α of E2, [b, l], from the first real token."""
    one, own = "the gate reads one token, the first real one; yours reads", "each example has its own first position:"
    summaries = {
        "": first_token,
        "position 0 is padding where a sentence is padded on the left: look for the first 1 of the mask": (
            lambda h, m: h[:, 0]
        ),
        "argmax refuses a boolean mask: convert it first": _at(lambda m: m.argmax(dim=1)),
        "~ makes −2 of the integer 1, which counts as True: convert the mask to booleans first": (
            _at(lambda m: (~m).bool().int().argmin(dim=1))
        ),
        "counting the 0s finds the first real token only if all padding is on the left": (
            _at(lambda m: m.eq(0).sum(dim=1).clamp(max=m.shape[1] - 1))
        ),
        f"{one} the last position": lambda h, m: h[:, -1],
        f"{one} the last real one": _last_real,
        f"{one} the mean over all positions, padding too": lambda h, m: h.mean(dim=1),
        f"{one} the mean over the real tokens": mean_token,
        f"{one} the sum of the real tokens": lambda h, m: _filled(h, m).sum(dim=1),
        f"{one} the sum of all tokens where the mask's running sum is 1, and that goes on behind a single real one": (
            lambda h, m: _filled(h, m.cumsum(dim=1) == 1).sum(dim=1)
        ),
        f"{own} yours takes the first example's": lambda h, m: h[:, m[0].int().argmax()],
        f"{own} yours takes the last example's": lambda h, m: h[:, m[-1].int().argmax()],
        f"{own} hidden_states[:, position] takes the positions of all examples from each": (
            lambda h, m: h[:, m.int().argmax(dim=1)]
        ),
        "position 1 is not the first: Python counts from 0": lambda h, m: h[:, min(1, h.shape[1] - 1)],
    }
    turns = {
        "": lambda w: w.T,
        "weight is Wᵀ, [l, d]: transpose it before you multiply (where l = d nothing complains)": lambda w: w,
        "reshape does not transpose: weight is Wᵀ, so turn it with .T": lambda w: w.reshape(w.shape[::-1]),
        "nothing is divided by √d in E2: that belongs to attention": lambda w: w.T / math.sqrt(w.shape[1]),
    }
    squashes = {
        "": torch.sigmoid,
        "σ is the sigmoid: a softmax makes the gates compete for a sum of 1": lambda x: x.softmax(dim=-1),
        "σ is the sigmoid: your softmax makes the examples of a batch compete": lambda x: x.softmax(dim=0),
        "σ is missing: an α can be outside (0, 1)": lambda x: x,
        "σ is applied twice: then α is always above ½": lambda x: x.sigmoid().sigmoid(),
        "σ is the sigmoid: tanh lies between −1 and 1, and is 0 at 0": torch.tanh,
        "a gate opens as h · w grows: yours is 1 − α": lambda x: (-x).sigmoid(),
        "σ is the sigmoid: relu is not bounded above, and 0 on half of its inputs": torch.relu,
        "a gate is a number in between, not 0 or 1: do not round": lambda x: x.sigmoid().round(),
    }

    def make(summarise, turn, squash):
        return lambda hidden, mask, weight: squash(summarise(hidden, mask) @ turn(weight))

    mistakes = combine(make, summaries, turns, squashes)
    mistakes["σ belongs around h W, not around h"] = lambda h, m, w: first_token(h, m).sigmoid() @ w.T
    mistakes["E2 has no bias: yours adds 1 before σ"] = lambda h, m, w: (first_token(h, m) @ w.T + 1).sigmoid()
    draw = _draws(41)

    def trial(hint, masks, d=4, l=3, dtype=torch.int64):
        return hint, (draw(len(masks), len(masks[0]), d), torch.tensor(masks).to(dtype), draw(l, d))

    trials = [
        trial("without padding: α = σ(h W), [b, l], h at position 0, W = weightᵀ", [NONE, NONE]),
        trial("one gate for each prefix token: l may be larger than d", [NONE, NONE, NONE], d=2, l=6),
        trial("padding on the right leaves the first token at position 0", [RIGHT, NONE]),
        trial("with padding on the left the first real token is the first 1 of the mask", [LEFT, NONE, RIGHT]),
        trial("padding may stand on both sides", [BOTH, LEFT]),
        trial("a sentence may have one token, with padding on both sides", [[0, 1, 0, 0, 0], BOTH]),
        trial("the mask may be boolean", [LEFT, BOTH, NONE], dtype=torch.bool),
        trial("l = d: is W the right way round?", [LEFT, RIGHT], d=3, l=3),
        trial("a batch may hold one example, and a sentence one token", [[1]], d=5, l=2),
        trial("a batch may hold one example", [LEFT], d=5, l=1),
        trial("all sizes may be equal", [BOTH, LEFT, NONE, RIGHT, BOTH], d=5, l=5),
    ]
    return check(answer, make(first_token, turns[""], torch.sigmoid), trials, mistakes)


def check_masked_mean(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 4.2: answer(hidden_states, attention_mask) is the mean over each example's real tokens, [b, d]."""
    own = "each example has its own number of real tokens: yours divides by"
    sums = {
        "": lambda h, m: _filled(h, m).sum(dim=1),
        "0 · NaN is NaN: padding has to be replaced, multiplying it by 0 is not enough": (
            lambda h, m: (h * m.unsqueeze(-1)).sum(dim=1)
        ),
        "padding is in the sum: fill it with 0 first": lambda h, m: h.sum(dim=1),
        "NaN is not the only thing that padding may hold: the mask says what counts": (
            lambda h, m: h.nan_to_num().sum(dim=1)
        ),
        "padding may hold ordinary numbers as well: real is what the mask marks, not what is finite": (
            lambda h, m: _filled(h, h.isfinite().all(dim=-1)).sum(dim=1)
        ),
        "True and 1 mean a real token: yours adds up the padding": lambda h, m: _filled(h, m.eq(0)).sum(dim=1),
        "~ makes −2 of the integer 1, which counts as True: convert the mask to booleans first": (
            lambda h, m: h.masked_fill((~m).bool().unsqueeze(-1), 0.0).sum(dim=1)
        ),
        "the first tokens of each row are not its real ones: padding may stand on the left": (
            lambda h, m: _filled(h, torch.arange(h.shape[1]) < m.sum(dim=1, keepdim=True)).sum(dim=1)
        ),
        "the last tokens of each row are not its real ones: padding may stand on the right": (
            lambda h, m: _filled(h, torch.arange(h.shape[1]) >= m.eq(0).sum(dim=1, keepdim=True)).sum(dim=1)
        ),
        "each example has its own mask: yours uses the first example's": (
            lambda h, m: _filled(h, m[:1].expand_as(m)).sum(dim=1)
        ),
    }
    divisors = {
        "": lambda m, h: m.sum(dim=1, keepdim=True),
        "divide by the number of real tokens, not by n": lambda m, h: m.shape[1],
        "a sum is no mean: divide by the number of real tokens": lambda m, h: 1,
        f"{own} that of the whole batch": lambda m, h: m.sum(),
        f"{own} the batch's average": lambda m, h: m.sum() / len(m),
        f"{own} the first example's": lambda m, h: m[0].sum(),
        f"{own} the longest sentence's": lambda m, h: m.sum(dim=1).max(),
        f"{own} the examples at each position (the mask's sum runs along n, not along b)": (
            lambda m, h: m.sum(dim=0)[:, None]
        ),
        "the counts are [b], so dividing [b, d] by them runs along d: give them a last axis": lambda m, h: m.sum(dim=1),
        "divide by the number of real tokens, not by d": lambda m, h: h.shape[2],
        "divide by the number of real tokens, not of padding": lambda m, h: m.eq(0).sum(dim=1, keepdim=True),
        "divide by the number of real tokens: the mask says which these are, not what is finite": (
            lambda m, h: h.isfinite().all(dim=-1).sum(dim=1, keepdim=True)
        ),
        "the mask says how many real tokens there are: a real token may hold zeros, and yours leaves these out": (
            lambda m, h: _filled(h, m).ne(0).sum(dim=1)
        ),
        "the mask says how many real tokens there are: one that is 0 all over counts too": (
            lambda m, h: _filled(h, m).ne(0).any(dim=-1).sum(dim=1, keepdim=True)
        ),
        "an eps beside a small number of tokens moves the mean; each example has at least one": (
            lambda m, h: m.sum(dim=1, keepdim=True) + 1
        ),
        "a sentence may have one token: yours divides by at least 2": (
            lambda m, h: m.sum(dim=1, keepdim=True).clamp(min=2)
        ),
    }

    def make(add, divide):
        return lambda hidden, mask: add(hidden, mask) / divide(mask, hidden)

    draw = _draws(42)

    def trial(hint, masks, d=4, dtype=torch.int64, padding=None, zeros=()):
        hidden, mask = draw(len(masks), len(masks[0]), d) + 1, torch.tensor(masks)
        for place in zeros:
            hidden[place] = 0.0
        if padding is not None:
            hidden = hidden.masked_fill(mask.eq(0).unsqueeze(-1), padding)
        return hint, (hidden, mask.to(dtype))

    trials = [
        trial("without padding it is the plain mean over the tokens, [b, d]", [NONE, NONE]),
        trial("only real tokens count, in the sum and in the number", [RIGHT, NONE, [1, 1, 0, 0, 0]]),
        trial("padding may stand on the left, or on both sides", [LEFT, BOTH]),
        trial("a sentence may have one token", [[0, 0, 0, 1, 0], NONE]),
        trial("b = d: does each example get its own number?", [LEFT, NONE, BOTH, [0, 0, 0, 1, 0]]),
        trial("b = n: are the tokens counted along the right axis?", [NONE, LEFT, BOTH, RIGHT, [1, 1, 0, 0, 0]], d=3),
        trial("the mask may be boolean", [RIGHT, BOTH], dtype=torch.bool),
        trial("padding may be very large", [RIGHT, LEFT], padding=1e6),
        trial("padding may hold NaN", [RIGHT, NONE, LEFT], padding=math.nan),
        trial("padding may hold inf", [BOTH, NONE], padding=math.inf, dtype=torch.bool),
        trial("a batch may hold one example", [LEFT], d=3),
        trial("n = d, and a sentence may have one token", [[0, 0, 1]], d=3),
        trial("a real token may hold zeros", [RIGHT, NONE], zeros=[(0, 1, 2), (1, 3, 0)]),
        trial("a real token may be 0 all over", [BOTH, NONE], zeros=[(0, 2), (1, 3)]),
    ]
    return check(answer, mean_token, trials, combine(make, sums, divisors))


def check_gate_prefix(answer: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Exercise 4.3: answer(prefix_key, prefix_value, alpha) is the gated prefix of each example, two of [b, l, d]."""

    def gated(alpha, prefix):
        return alpha.unsqueeze(-1) * prefix

    gates = {
        "": gated,
        "no gate is applied": lambda a, p: p.expand(len(a), -1, -1),
        "no gate is applied, and each example has its own prefix, [b, l, d]: yours is [l, d]": lambda a, p: p,
        "an α belongs to a prefix token, not to one of the d columns: [b, l, 1], not [b, 1, l]": (
            lambda a, p: a.unsqueeze(1) * p
        ),
        "one number for all prefix tokens of an example is no token gate: do not average α": (
            lambda a, p: gated(a.mean(dim=1, keepdim=True).expand_as(a), p)
        ),
        "each prefix token has its own α: yours uses the first one's": lambda a, p: gated(a[:, :1].expand_as(a), p),
        "each example has its own α: do not average over the batch": (
            lambda a, p: gated(a.mean(dim=0, keepdim=True).expand_as(a), p)
        ),
        "each example has its own gated prefix: yours uses the first example's α": (
            lambda a, p: gated(a[:1].expand_as(a), p)
        ),
        "α is applied twice": lambda a, p: gated(a * a, p),
        "α = 1 lets a prefix token through: yours uses 1 − α": lambda a, p: gated(1 - a, p),
        "α is already between 0 and 1: no second sigmoid": lambda a, p: gated(a.sigmoid(), p),
        "the gates do not compete: do not let α sum to 1": lambda a, p: gated(a.softmax(dim=-1), p),
        "the gates do not compete: do not divide α by its sum": (
            lambda a, p: gated(a / a.sum(dim=-1, keepdim=True), p)
        ),
        "⊙ multiplies, it does not add": lambda a, p: a.unsqueeze(-1) + p,
        "α ⊙ P keeps all l prefix tokens: a matrix product sums them into one": lambda a, p: a @ p,
        "each example has its own gated prefix: [b, l, d], so α needs a last axis": lambda a, p: a * p,
        "the batch comes first: [b, l, d], yours is [l, b, d]": lambda a, p: gated(a, p).transpose(0, 1),
        "P is repeated in the wrong order: each example gets all l tokens in their order, not one token b times": (
            lambda a, p: gated(a, p.repeat_interleave(len(a), dim=0).view(*a.shape, -1))
        ),
        "a gate is a number in between: do not round α": lambda a, p: gated(a.round(), p),
        "α itself multiplies P, not its square root": lambda a, p: gated(a.sqrt(), p),
    }
    orders = {
        "": lambda key, value: (key, value),
        "key first, then value: yours come in the other order": lambda key, value: (value, key),
        "two tensors are expected: yours are stacked into one": lambda key, value: torch.stack([key, value]),
    }

    def make(gate_key, gate_value, order):
        return lambda key, value, alpha: order(gate_key(alpha, key), gate_value(alpha, value))

    in_key, in_value = (
        {said and f"in the {name}: {said}": g for said, g in gates.items()} for name in ("key", "value")
    )
    mistakes = combine(lambda gate, order: make(gate, gate, order), gates, orders)
    mistakes |= combine(make, in_key, in_value, orders)
    mistakes["both of yours are made from the key"] = lambda k, v, a: (gated(a, k), gated(a, k))
    mistakes["both of yours are made from the value"] = lambda k, v, a: (gated(a, v), gated(a, v))
    draw = _draws(43)

    def trial(hint, b, l, d, alpha=None):
        return hint, (draw(l, d), draw(l, d), draw(b, l).sigmoid() if alpha is None else torch.tensor(alpha))

    trials = [
        trial("two tensors are expected, key then value, [b, l, d] each, all of them α ⊙ P", 2, 3, 5),
        trial("l = d: does each α belong to a prefix token?", 2, 4, 4),
        trial("b = l = d: does each α belong to one example and one prefix token?", 3, 3, 3),
        trial("b = l: which axis of α is the batch?", 3, 3, 5),
        trial("a batch may hold one example", 1, 4, 2),
        trial("a prefix may have one token", 3, 1, 4),
        trial("α may come close to 0 and to 1", 2, 2, 3, [[0.001, 0.999], [0.5, 0.001]]),
    ]
    return check(answer, make(gated, gated, orders[""]), trials, mistakes)


def check_remove_tokens(answer: Callable[..., Tensor]) -> bool:
    """Exercise 4.4: answer(query, key, value, prefix_key, prefix_value, keep) is attention that has the prefix tokens
    marked by keep, and no others, in front: [b, n, d]."""

    def look(scores, keep, words=True):  # may a query look there? [b, 1, l + n]
        return F.pad(keep, (0, scores.shape[-1] - keep.shape[1]), value=words).unsqueeze(1)

    def masked(low=-math.inf, keep_of=lambda k: k, words=True):
        return lambda s, k: (s.masked_fill(~look(s, keep_of(k), words), low), 1)

    def minus(number):
        return lambda s, k: (s - number * ~look(s, k), 1)

    def marks_queries(s, k):
        return s.masked_fill(~look(s, k)[:, 0], -math.inf), 1

    def last_columns(s, k):
        return s.masked_fill(F.pad(~k, (s.shape[-1] - k.shape[1], 0)).unsqueeze(1), -math.inf), 1

    def marks_words(s, k):  # as many columns as there are prefix tokens: an error unless l = n
        return s.masked_fill(F.pad(~k, (k.shape[1], 0)).unsqueeze(1), -math.inf), 1

    low_enough = "is not low enough for every score: take −inf"
    own = "each example has its own keep: yours"
    # Scores [b, n, l + n] and keep -> the scores of the softmax, and what the prefix's values are multiplied by.
    removals = {
        "": masked(),
        "nothing is removed": lambda s, k: (s, 1),
        "keep is True for the prefix tokens that stay: yours removes those": masked(keep_of=lambda k: ~k),
        "the whole prefix is removed: some of its tokens are to stay": masked(keep_of=lambda k: k & False),
        "a score of 0 (a key of zeros, or a fill of 1e-9) still takes e⁰ = 1: it has to go to −inf": masked(0.0),
        "key and value of zeros still take weight (e⁰ = 1), which damps the rest: the score has to go to −inf": (
            lambda s, k: (s * look(s, k), k.unsqueeze(-1))
        ),
        "removed tokens keep their share where only their weights or values become 0: mask the scores": (
            lambda s, k: (s, k.unsqueeze(-1))
        ),
        "keep marks prefix tokens, not input tokens: it belongs to the first l columns": marks_words,
        "keep belongs to the first l columns, the prefix's: yours marks the last l": last_columns,
        "keep belongs to an example, not to a query: [b, 1, l], not [b, l] against [n, l]": marks_queries,
        "the mask is added to the scores as 0 and 1: that only lifts the kept ones": lambda s, k: (s + look(s, k), 1),
        "−1 is not low enough: a score of −1 still has a weight": masked(-1.0),
        f"a low number (such as −10) {low_enough}": masked(-10.0),
        f"a low number (such as −100) {low_enough}": masked(-100.0),
        "subtracting a number (such as 10) is not enough where a removed token scores high: take −inf": minus(10.0),
        "subtracting a number (such as 100) is not enough where a removed token scores high: take −inf": minus(100.0),
        "the input tokens are masked too; F.pad fills a mask with False unless told otherwise": masked(words=False),
        f"{own} uses the first example's": masked(keep_of=lambda k: k[:1].expand_as(k)),
        f"{own} keeps in all what one example keeps": masked(keep_of=lambda k: k.any(dim=0).expand_as(k)),
        "keep says which tokens stay, not only how many: yours keeps the first ones": (
            masked(keep_of=lambda k: torch.arange(k.shape[1]) < k.sum(dim=1, keepdim=True))
        ),
        "an example may lose its whole prefix: yours then keeps all of it": (
            masked(keep_of=lambda k: k | ~k.any(dim=1, keepdim=True))
        ),
    }
    scales = {
        "": lambda d, l: math.sqrt(d),
        "scores are divided by √d: that is missing": lambda d, l: 1.0,
        "scores are divided by √d, not by d": lambda d, l: d,
        "scores are divided by √d, not by √l: what makes them large is the number of columns": lambda d, l: l**0.5,
        "d is not always 4: take it from the shape": lambda d, l: 2.0,
    }

    def over_sum(scores, largest):
        weights = (scores - largest).exp()
        return weights / weights.sum(dim=-1, keepdim=True)

    softmaxes = {
        "": lambda s: s.softmax(dim=-1),
        "the softmax runs over the keys, the last axis, not over the queries": lambda s: s.softmax(dim=1),
        "e^score overflows where a score is in the hundreds: subtract each query's largest first, as torch's softmax": (
            lambda s: over_sum(s, 0.0)
        ),
        "e^score overflows where a score is in the hundreds, and NaN made 0 brings no weight back": (
            lambda s: over_sum(s, 0.0).nan_to_num()
        ),
        "one largest score is subtracted for all queries: where all scores of one are far below it, 0/0": (
            lambda s: over_sum(s, s.max())
        ),
    }

    def all_scores(query, key, prefix_key):
        return query @ torch.cat([prefix_key, key], dim=1).mT

    def make(remove, scale, softmax):
        def attention(query, key, value, prefix_key, prefix_value, keep):
            scores = all_scores(query, key, prefix_key) / scale(query.shape[-1], keep.shape[1])
            scores, of_value = remove(scores, keep)
            return softmax(scores) @ torch.cat([prefix_value * of_value, value], dim=1)

        return attention

    right = make(removals[""], scales[""], softmaxes[""])

    def masked_late(divide):
        def attention(query, key, value, prefix_key, prefix_value, keep):
            scores = all_scores(query, key, prefix_key) / math.sqrt(query.shape[-1])
            weights = scores.softmax(dim=-1) * look(scores, keep)
            return divide(weights, weights.sum(dim=-1, keepdim=True)) @ torch.cat([prefix_value, value], dim=1)

        return attention

    def in_key(low):
        return lambda q, k, v, p, w, keep: right(q, k, v, p.masked_fill(~keep.unsqueeze(-1), low), w, keep | True)

    late = (
        "the mask comes after the softmax: where a removed token scores hundreds above the others, these are 0 by then"
    )

    def overflowing(query, key, value, prefix_key, prefix_value, keep):
        scores = all_scores(query, key, prefix_key) / math.sqrt(query.shape[-1])
        weights = scores.exp() * look(scores, keep)
        return weights / weights.sum(dim=-1, keepdim=True) @ torch.cat([prefix_value, value], dim=1)

    mistakes = {
        "e^score overflows where a score is in the hundreds, and ∞ · 0 is NaN: mask scores, then softmax": overflowing,
    }
    mistakes |= combine(make, removals, scales, softmaxes) | {
        "the input tokens are masked too, and 0 is put where a query may look nowhere": (
            make(masked(words=False), scales[""], lambda s: s.softmax(dim=-1).nan_to_num())
        ),
        f"{late}, and 0/0 is NaN": masked_late(lambda w, total: w / total),
        f"{late} (an eps in the sum does not bring them back)": masked_late(lambda w, total: w / total.clamp(min=1e-9)),
        f"{late} (an eps added to the sum does not bring them back)": masked_late(lambda w, total: w / (total + 1e-9)),
        "−inf belongs in the score: in the key it gives q · k either sign, or NaN": in_key(-math.inf),
        "−1e9 belongs in the score: in the key it gives q · k either sign, or NaN": in_key(-1e9),
    }
    draw = _draws(44)

    def trial(hint, keep, n, d, factor=1.0):
        keep = torch.tensor(keep).bool()
        b, l = keep.shape
        return hint, (draw(b, n, d) * factor, draw(b, n, d), draw(b, n, d), draw(b, l, d), draw(b, l, d), keep)

    def extreme(hint, keep, signs, prefix, words):
        """Query i scores signs[i] · prefix[j] with prefix token j and signs[i] · words[j] with word j (exactly)."""
        keep, n = torch.tensor(keep).bool(), len(words)
        b, l = keep.shape
        query = torch.tensor(signs).view(1, n, 1).expand(b, n, 4)
        key, prefix_key = (torch.tensor(s).view(1, -1, 1).expand(b, len(s), 4) / 2 for s in (words, prefix))
        return hint, (query.float(), key, draw(b, n, 4) + 3, prefix_key, draw(b, l, 4) + 3, keep)

    some = [[1, 0], [0, 1]]
    trials = [
        trial("all are kept: that is prefix attention (E1), scores over √d", [[1, 1], [1, 1]], n=3, d=7),
        trial("none is kept: exactly attention without a prefix", [[0, 0], [0, 0]], n=3, d=4),
        trial("a removed token has weight 0, and the others share 1", [[1, 0, 1], [0, 1, 1]], n=4, d=5),
        trial("l = n: keep marks prefix tokens, not input tokens", [[1, 0, 0], [0, 1, 1]], n=3, d=5),
        trial("b = n: keep belongs to examples, not to queries", [[1, 0], [0, 1], [0, 0]], n=3, d=4),
        trial("b = l = n = d", [[1, 0, 0], [0, 1, 1], [1, 1, 0]], n=3, d=3),
        trial("one example, one prefix token, one input token", [[0]], n=1, d=2),
        trial("a score of 0 is a score like any other: all queries may be zeros", [[1, 0, 1]], n=2, d=4, factor=0.0),
        trial("scores of either sign may be large", [[1, 0, 0, 1], [0, 0, 1, 0]], n=2, d=6, factor=4.0),
        extreme(
            "all scores may be hundreds below 0: a removed token still has weight 0",
            some,
            [1, 1],
            [-220, -230],
            [-210, -200],
        ),
        extreme(
            "a removed token may score hundreds above the others: its weight is 0",
            [[0, 1], [0, 0]],
            [1, 1],
            [200, -10],
            [-20, 0],
        ),
        extreme(
            "one query's scores may be hundreds above 0, another's hundreds below",
            some,
            [1, -1],
            [190, 220],
            [200, 210],
        ),
    ]
    return check(answer, right, trials, mistakes)


def check_reads_padding(answer: Callable[[Callable], bool]) -> bool:
    """Exercise 4.5: answer(gate) says whether padding moves a gate, (hidden_states [b, n, 8], mask) -> [b, l]."""
    weight = _draws(45)(3, 8)

    def gate(summarise):  # summarise gives what all rows of Wᵀ see, [b, 8], or what each sees, [b, 3, 8]
        def alpha(hidden_states, attention_mask=None):
            if attention_mask is None:
                attention_mask = torch.ones(hidden_states.shape[:2])
            seen = summarise(hidden_states, attention_mask.ne(0))
            return ((seen if seen.ndim == 3 else seen.unsqueeze(1)) * weight.to(seen.dtype)).sum(dim=-1).sigmoid()

        return alpha

    def rounded(h, m):  # the mean over real tokens, on a detour that rounds differently for each n
        return _filled(h, m).div(7.3 * h.shape[1]).sum(dim=1) * (7.3 * h.shape[1]) / m.sum(dim=1, keepdim=True)

    def leaking(h, m):  # a mean by softmax, where padding is not hidden by −inf but by −8
        return (h * m.float().mul(8.0).softmax(dim=1).unsqueeze(-1)).sum(dim=1)

    def last_row_leaks(h, m):
        return torch.stack([first_token(h, m), first_token(h, m), h.mean(dim=1)], dim=1)

    def one_side(h, m):  # right if padding stands on one side
        return _at(lambda m: m.eq(0).sum(dim=1).masked_fill(m[:, 0], 0))(h, m)

    def opposite(h, m):  # h W is t, −t and 0
        t = h[:, 0] @ weight[0].to(h.dtype)
        return torch.stack([t, -t, 0 * t], dim=1).unsqueeze(-1) * (weight / weight.square().sum(dim=1, keepdim=True))

    mean = "the mean over everything is moved by padding unless it is like the words, and NaN > 1e-5 is False; α may"
    gates = [
        (f"{mean} rise or fall (abs): say True", lambda h, m: h.mean(dim=1), True),
        (f"{mean} fall or rise (abs): say True", lambda h, m: -h.mean(dim=1), True),
        ("a gate of the first real token is safe, given the right mask (1: real): say False", first_token, False),
        ("a gate of the last real token is safe: say False", _last_real, False),
        (
            "the same number, rounded along two ways, differs in its last digits: allow a tolerance of 1e-5",
            rounded,
            False,
        ),
        ("a gate of the mean over real tokens is safe: say False", mean_token, False),
        ("a gate that looks at nothing is safe: say False", lambda h, m: torch.ones_like(h[:, 0]), False),
        (
            "0 · NaN is NaN, but a gate that multiplies padding by 0 is safe from ordinary numbers: say False",
            lambda h, m: (h * m.unsqueeze(-1)).sum(dim=1) / m.sum(dim=1, keepdim=True),
            False,
        ),
        (
            "position 0 is moved by padding on the left, unless that is a copy of the first token: say True",
            lambda h, m: h[:, 0],
            True,
        ),
        (
            "the last position is moved by padding on the right, unless that is a copy of the last token: say True",
            lambda h, m: h[:, -1],
            True,
        ),
        (
            "padding of zeros does not show that a gate adds padding up: let it hold other numbers",
            lambda h, m: h.sum(dim=1) / m.sum(dim=1, keepdim=True),
            True,
        ),
        (
            "a sum over real tokens divided by n is moved by the amount of padding: change the amount too",
            lambda h, m: _filled(h, m).mean(dim=1),
            True,
        ),
        (
            "the position in the middle is not moved by as much padding on the left as on the right: try them apart",
            lambda h, m: h[:, h.shape[1] // 2],
            True,
        ),
        ("padding may move α by a thousandth only, but 1e-5 is all that is allowed: say True", leaking, True),
        (
            "one of a gate's l numbers may read padding where the others don't: look at all of them",
            last_row_leaks,
            True,
        ),
        (
            "a gate may be right for padding on one side, and wrong for padding on both: try both at once",
            one_side,
            True,
        ),
        ("one α may rise as another falls: take each change's size before you add or average them", opposite, True),
    ]
    wanted = {summarise: moved for _, summarise, moved in gates}
    trials = [(hint, (summarise,)) for hint, summarise, _ in gates]
    constants = {
        "yours finds no fault with any gate, though some read padding": lambda summarise: False,
        "yours finds fault with every gate, though some are safe": lambda summarise: True,
        "the other way round: True for a gate that padding moves": lambda summarise: not wanted[summarise],
    }
    return check(lambda summarise: _said(answer(gate(summarise))), lambda s: wanted[s], trials, constants)


def _said(verdict) -> bool:
    """True or False, also where it comes as a tensor or from numpy."""
    if isinstance(verdict, Tensor) and verdict.numel() == 1 or type(verdict).__module__ == "numpy":
        return bool(verdict)
    return verdict
