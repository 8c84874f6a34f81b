"""Answers to the exercises of lesson 04: right ones in other styles, and wrong ones that are no slip of the checker."""

import math

import torch
import torch.nn.functional as F
from einops import einsum

from apt_minimal import course
from apt_minimal.gates import first_token


def gate_by_loops(hidden_states, attention_mask, weight):
    alpha = []
    for states, mask in zip(hidden_states.tolist(), attention_mask.tolist(), strict=True):
        h = next(state for state, real in zip(states, mask, strict=True) if real)
        alpha.append([1 / (1 + math.exp(-sum(a * b for a, b in zip(h, row, strict=True)))) for row in weight.tolist()])
    return torch.tensor(alpha, dtype=hidden_states.dtype)


def gate_by_one_hot(hidden_states, attention_mask, weight):
    real = attention_mask.long()
    first = ((real.cumsum(1) == 1) & (real == 1)).double()
    return einsum(hidden_states.double(), first, weight.double(), "b n d, b n, l d -> b l").sigmoid().float()


def gate_of(summary):
    return lambda x, m, w: (summary(x, m) @ w.T).sigmoid()


def filled(x, mask, filling=0.0):
    return x.masked_fill(~mask.bool().unsqueeze(-1), filling)


def count(mask):
    return mask.long().sum(1, keepdim=True)


def mean_by_loops(x, mask):
    return torch.stack(
        [sum(state for state, m in zip(*pair, strict=True) if m) / pair[1].sum() for pair in zip(x, mask)]
    )


def gate_prefix_by_loops(prefix_key, prefix_value, alpha):
    return [
        torch.stack([torch.stack([a * p for a, p in zip(row, P)]) for row in alpha]) for P in (prefix_key, prefix_value)
    ]


def both(gate):
    return lambda k, v, a: (gate(k, a), gate(v, a))


def remove_by_loop(query, key, value, prefix_key, prefix_value, keep):
    output = []
    for q, k, v, pk, pv, stays in zip(query, key, value, prefix_key, prefix_value, keep, strict=True):
        k, v = torch.cat([pk[stays], k]), torch.cat([pv[stays], v])
        output.append((q @ k.T * len(q.T) ** -0.5).softmax(1) @ v)
    return torch.stack(output)


def remove_by_torch(query, key, value, prefix_key, prefix_value, keep):
    key, value = torch.cat([key, prefix_key], 1), torch.cat([value, prefix_value], 1)  # the order does not matter
    mask = torch.cat([torch.ones_like(query[..., 0], dtype=torch.bool), keep], dim=1)
    return F.scaled_dot_product_attention(query, key, value, mask[:, None])


def removal(weigh, hidden=-math.inf):
    """Masked prefix attention whose softmax, weigh(scores, look), can be got wrong."""

    def remove_tokens(query, key, value, prefix_key, prefix_value, keep):
        scores = query @ torch.cat([prefix_key, key], dim=1).mT / math.sqrt(query.shape[-1])
        look = F.pad(keep, (0, key.shape[1]), value=True)[:, None]
        return weigh(scores.masked_fill(~look, hidden), scores, look) @ torch.cat([prefix_value, value], dim=1)

    return remove_tokens


def over_sum(e, eps=0.0):
    return e / (e.sum(-1, keepdim=True) + eps)


def with_keep(change):
    return lambda *x: remove_by_loop(*x[:-1], change(x[-1]))


def reader(sides, content=torch.randn, mask=lambda m: m, moved=lambda a, b: (a - b).abs().max() > 1e-5, any=any):
    """A test of gates that tries these (left, right) paddings."""

    def reads_padding(gate):
        x = torch.randn(1, 4, 8)
        padded = [
            gate(
                torch.cat([content(1, left, 8), x, content(1, right, 8)], 1),
                mask(torch.tensor([[0] * left + [1] * 4 + [0] * right])),
            )
            for left, right in sides
        ]
        return any(bool(moved(p, gate(x, None))) for p in padded)

    return reads_padding


def reads_in_one_batch(gate):
    n, sides = 3, [(0, 9), (9, 0), (4, 5), (1, 8), (8, 1), (5, 4)]
    x, states, mask = torch.randn(n, 8), 5 * torch.randn(len(sides), n + 9, 8), torch.zeros(len(sides), n + 9).int()
    for i, (left, _) in enumerate(sides):
        states[i, left : left + n], mask[i, left : left + n] = x, 1
    return not torch.allclose(gate(states, mask), gate(x.expand(6, -1, -1), None), rtol=0, atol=1e-5)


SIDES = [(left, right) for left in range(6) for right in range(6)]

CHECKS = [
    (
        course.check_token_gate,
        {"loops": gate_by_loops, "one_hot": gate_by_one_hot},
        {
            "sum up to the second": gate_of(lambda x, m: (x * (m.cumsum(1) == 1).unsqueeze(-1)).sum(1)),
            "W transposed only where that is needed": lambda x, m, w: (
                first_token(x, m) @ (w if len(w) == len(w.T) else w.T)
            ).sigmoid(),
            "bias": lambda x, m, w: (first_token(x, m) @ w.T + 1).sigmoid(),
            "squeezed": lambda *x: gate_by_loops(*x).squeeze(),
        },
    ),
    (
        course.check_masked_mean,
        {"loops": mean_by_loops, "nanmean": lambda x, m: filled(x, m, math.nan).nanmean(dim=1)},
        {
            "counts entries that are not 0": lambda x, m: filled(x, m).sum(1) / filled(x, m).ne(0).sum(1),
            "0 · ∞": lambda x, m: (x.masked_fill(x.isnan(), 0) * m.unsqueeze(-1)).sum(1) / count(m),
            "counts what is finite": lambda x, m: filled(x, m).sum(1) / x.isfinite().all(-1).sum(1, True).clamp(min=1),
            "refuses booleans": lambda x, m: x.masked_fill((1 - m).bool()[..., None], 0).sum(1) / count(m),
            "padding on the left": lambda x, m: mean_by_loops(x, torch.arange(m.shape[1]) >= m.shape[1] - count(m)),
        },
    ),
    (
        course.check_gate_prefix,
        {"loops": gate_prefix_by_loops, "diagonal matrices": both(lambda p, a: torch.diag_embed(a) @ p)},
        {
            "α on the value's columns where l = d": lambda k, v, a: (
                a[..., None] * k,
                a[:, None] * v if len(v) == len(v.T) else a[..., None] * v,
            ),
            "α transposed where b = l": both(lambda p, a: (a.T if len(a) == len(a.T) else a)[..., None] * p),
            "the value gated twice": lambda k, v, a: (a[..., None] * k, a[..., None] ** 2 * v),
            "[l, b, d]": both(lambda p, a: (a[..., None] * p).transpose(0, 1)),
            "squeezed": both(lambda p, a: (a[..., None] * p).squeeze()),
            "repeated in the wrong order": both(
                lambda p, a: a[..., None] * p.repeat_interleave(len(a), 0).view(*a.shape, -1)
            ),
        },
    ),
    (
        course.check_remove_tokens,
        {
            "loop": remove_by_loop,
            "torch, prefix last": remove_by_torch,
            "−1e9": removal(lambda s, *_: s.softmax(-1), -1e9),
        },
        {
            "the largest score may be removed": removal(
                lambda _, s, look: over_sum((s - s.amax(-1, True)).exp() * look, 1e-9)
            ),
            "the largest of all is subtracted": removal(lambda s, *_: over_sum((s - s.max()).exp())),
            "NaN made 0": removal(lambda s, *_: over_sum(s.exp()).nan_to_num()),
            "∞ · 0": removal(lambda _, s, look: over_sum(s.exp() * look)),
            "kept in all where one keeps it": with_keep(lambda keep: keep.any(0).expand_as(keep)),
            "all kept where none is": with_keep(lambda keep: keep | ~keep.any(1, keepdim=True)),
            "√4": lambda q, *x: remove_by_loop(q * q.shape[-1] ** 0.5 / 2, *x),
            "√l": lambda q, *x: remove_by_loop(q * math.sqrt(q.shape[-1] / x[-1].shape[1]), *x),
            "squeezed": lambda *x: remove_by_loop(*x).squeeze(),
        },
    ),
    (
        course.check_reads_padding,
        {
            "all sides": reader(SIDES),
            "one batch": reads_in_one_batch,
            "booleans": reader(SIDES, mask=lambda m: m.bool()),
        },
        {
            "moved on all sides": reader([(0, 3), (3, 0)], any=all),
            "the padding's numbers alone": lambda gate: (
                gate(torch.randn(1, 4, 8), torch.tensor([[0, 1, 1, 0]])).std() > 1
            ),
            "NaN taken for a move": reader(
                SIDES, lambda *s: torch.full(s, math.nan), moved=lambda a, b: not (a - b).abs().max() < 1e-5
            ),
            "1 for padding": reader(SIDES[1:], mask=lambda m: 1 - m),
            "nothing": lambda gate: None,
        },
    ),
]
