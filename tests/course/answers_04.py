"""Answers to the exercises of lesson 04, for test_exercises.py."""

import math

import torch
import torch.nn.functional as F
from einops import einsum

from apt_minimal import course


def gate_by_loops(hidden_states, attention_mask, weight):
    alpha = []
    for states, mask in zip(hidden_states.tolist(), attention_mask.tolist(), strict=True):
        h = next(state for state, real in zip(states, mask, strict=True) if real)
        alpha.append([1 / (1 + math.exp(-sum(a * b for a, b in zip(h, row, strict=True)))) for row in weight.tolist()])
    return torch.tensor(alpha, dtype=hidden_states.dtype)


def gate_by_one_hot(x, mask, weight):
    first = ((mask.long().cumsum(1) == 1) & (mask == 1)).to(x)
    return einsum(x, first, weight, "b n d, b n, l d -> b l").sigmoid()


def filled(x, mask, filling=0.0):
    return x.masked_fill(~mask.bool().unsqueeze(-1), filling)


def mean_by_loops(x, mask):
    return torch.stack([states[real.bool()].mean(0) for states, real in zip(x, mask, strict=True)])


def both(gate):
    return lambda k, v, a: [gate(k, a), gate(v, a)]


def remove_by_loop(query, key, value, prefix_key, prefix_value, keep):
    output = []
    for q, k, v, pk, pv, stays in zip(query, key, value, prefix_key, prefix_value, keep, strict=True):
        k, v = torch.cat([pk[stays], k]), torch.cat([pv[stays], v])
        output.append((q @ k.T * len(q.T) ** -0.5).softmax(1) @ v)
    return torch.stack(output)


def remove_by_torch(query, key, value, prefix_key, prefix_value, keep, softmax=None):
    key, value = torch.cat([key, prefix_key], 1), torch.cat([value, prefix_value], 1)  # the order does not matter
    mask = torch.cat([torch.ones_like(query[..., 0], dtype=torch.bool), keep], dim=1)[:, None]
    if softmax is None:
        return F.scaled_dot_product_attention(query, key, value, mask)
    e = softmax((query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~mask, -math.inf))
    return e / e.sum(-1, keepdim=True).clamp(min=1e-9) @ value


def reads(content=torch.randn, moved=lambda a, b: (a - b).abs().max() > 1e-5, some=any):
    """A test of gates that pads with `content` on all sides."""

    def reads_padding(gate):
        x, changes = torch.randn(1, 4, 8), []
        for left, right in ((0, 1), (1, 0), (0, 3), (3, 0), (2, 5), (5, 2)):
            padded = torch.cat([content(1, left, 8), x, content(1, right, 8)], 1)
            changes.append(bool(moved(gate(padded, torch.tensor([[0] * left + [1] * 4 + [0] * right])), gate(x, None))))
        return some(changes)

    return reads_padding


def reads_in_one_batch(gate):
    n, sides = 3, [(0, 9), (9, 0), (4, 5), (1, 8), (8, 1), (5, 4)]
    x, states, mask = torch.randn(n, 8), 5 * torch.randn(len(sides), n + 9, 8), torch.zeros(len(sides), n + 9).bool()
    for i, (left, _) in enumerate(sides):
        states[i, left : left + n], mask[i, left : left + n] = x, True
    return not torch.allclose(gate(states, mask), gate(x.expand(6, -1, -1), None), rtol=0, atol=1e-5)


def half(size, *prefix):
    """A query of two numbers, of which words and prefix use one."""
    column = torch.tensor(prefix)[:, None] * torch.tensor([[1.0, 0.0]])
    return torch.tensor([size, 5.0]), torch.zeros(2, 2), column


def many_words():
    return [
        torch.ones(3).double(),
        torch.linspace(-1, 0.5, 27).reshape(9, 3).double(),
        torch.tensor([[0.6] * 3, *[[-4.0] * 3] * 5]).double(),
    ]


WRONG_4_3 = {
    "open alone": lambda: half(1.0, 0.1, -9.0, -9.0),
    "one token": lambda: half(1.0, 1.0),
    "a row as query": lambda: (torch.ones(1, 2), *half(1.0, 1.0, -3.0, -3.0)[1:]),
    "whole numbers": lambda: tuple(x.long() for x in half(1.0, 1.0, -3.0, -3.0)),
    "a stack": lambda: torch.ones(3, 2, 2),
    "infinite": lambda: half(1.0, 1.0, -torch.inf, -3.0),
    "no word": lambda: (torch.ones(1), torch.zeros(0, 1), torch.tensor([[1.0], [-3.0], [-3.0]])),
}
CHECKS = [
    (
        course.check_token_gate,
        {"loops": gate_by_loops, "one hot": gate_by_one_hot},
        {
            "running sum": lambda x, m, w: ((x * (m.cumsum(1) == 1).unsqueeze(-1)).sum(1) @ w.T).sigmoid(),
            "W the wrong way round where l = d": lambda x, m, w: gate_by_loops(x, m, w.T if len(w) == len(w.T) else w),
            "squeezed": lambda *x: gate_by_loops(*x).squeeze(),
        },
    ),
    (
        course.check_masked_mean,
        {"loops": mean_by_loops, "nanmean": lambda x, m: filled(x, m, math.nan).nanmean(dim=1)},
        {
            "counts what is not 0": lambda x, m: filled(x, m).sum(1) / filled(x, m).ne(0).sum(1),
            "0 · ∞": lambda x, m: (x.nan_to_num(0, math.inf) * m.unsqueeze(-1)).sum(1) / m.sum(1, keepdim=True),
            "counts what is finite": lambda x, m: filled(x, m).sum(1) / x.isfinite().sum(1).clamp(min=1),
            "refuses booleans": lambda x, m: filled(x, 1 - (1 - m)).sum(1) / m.sum(1, keepdim=True),
        },
    ),
    (
        course.check_gate_prefix,
        {
            "einsum": both(lambda p, a: einsum(a, p, "b l, l d -> b l d")),
            "diagonal": both(lambda p, a: a.diag_embed() @ p),
        },
        {
            "transposed where b = l": both(lambda p, a: (a.T if len(a) == len(a.T) else a)[..., None] * p),
            "[l, b, d]": both(lambda p, a: (a[..., None] * p).transpose(0, 1)),
            "squeezed": both(lambda p, a: (a[..., None] * p).squeeze()),
        },
    ),
    (course.check_half_closed, {"many words": many_words, "two sizes": lambda: half(2.0, 0.5, -3.0, -4.0)}, WRONG_4_3),
    (
        course.check_remove_tokens,
        {"loop": remove_by_loop, "torch, prefix last": remove_by_torch},
        {
            "keep for queries": lambda *x: remove_by_loop(*x[:-1], x[-1].T if len(x[-1]) == len(x[-1].T) else x[-1]),
            "largest of all subtracted": lambda *x: remove_by_torch(*x, softmax=lambda s: (s - s.max()).exp()),
        },
    ),
    (
        course.check_reads_padding,
        {"all sides": reads(), "one batch": reads_in_one_batch},
        {
            "moved on all sides": reads(some=all),
            "NaN is a move": reads(lambda *s: torch.full(s, math.nan), moved=lambda a, b: not (a - b).abs().max() < 1),
            "no verdict": lambda gate: None,
        },
    ),
]
