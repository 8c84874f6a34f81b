"""Answers to the exercises of lesson 04, for test_exercises.py."""

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


def gate_by_one_hot(x, mask, weight):
    first = ((mask.long().cumsum(1) == 1) & (mask == 1)).to(x)
    return einsum(x, first, weight, "b n d, b n, l d -> b l").sigmoid()


def filled(x, mask, filling=0.0):
    return x.masked_fill(~mask.bool().unsqueeze(-1), filling)


def mean_by_loops(x, mask):
    return torch.stack([states[real.bool()].mean(0) for states, real in zip(x, mask, strict=True)])


def gate_by_token(prefix_key, prefix_value, alpha):
    return [
        torch.stack([torch.stack([a * token for a, token in zip(row, p, strict=True)]) for row in alpha])
        for p in (prefix_key, prefix_value)
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


def removal(weigh):
    """Masked prefix attention whose weights, weigh(seen scores, all scores, look), can be got wrong."""

    def remove_tokens(query, key, value, prefix_key, prefix_value, keep):
        scores = query @ torch.cat([prefix_key, key], dim=1).mT / math.sqrt(query.shape[-1])
        look = F.pad(keep, (0, key.shape[1]), value=True)[:, None]
        e = weigh(scores.masked_fill(~look, -math.inf), scores, look)
        return e / e.sum(-1, keepdim=True).clamp(min=1e-9) @ torch.cat([prefix_value, value], dim=1)

    return remove_tokens


def with_keep(change):
    return lambda *x: remove_by_loop(*x[:-1], change(x[-1]))


def reader(content=torch.randn, mask=lambda m: m, moved=lambda a, b: (a - b).abs().max() > 1e-5, some=any):
    """A test of gates that pads with `content` on all sides."""

    def reads_padding(gate):
        x, changes = torch.randn(1, 4, 8), []
        for left, right in ((0, 1), (1, 0), (0, 3), (3, 0), (2, 5), (5, 2)):
            padded = torch.cat([content(1, left, 8), x, content(1, right, 8)], 1)
            real = mask(torch.tensor([[0] * left + [1] * 4 + [0] * right]))
            changes.append(bool(moved(gate(padded, real), gate(x, None))))
        return some(changes)

    return reads_padding


def reads_in_one_batch(gate):
    n, sides = 3, [(0, 9), (9, 0), (4, 5), (1, 8), (8, 1), (5, 4)]
    x, states, mask = torch.randn(n, 8), 5 * torch.randn(len(sides), n + 9, 8), torch.zeros(len(sides), n + 9).int()
    for i, (left, _) in enumerate(sides):
        states[i, left : left + n], mask[i, left : left + n] = x, 1
    return not torch.allclose(gate(states, mask), gate(x.expand(6, -1, -1), None), rtol=0, atol=1e-5)


CHECKS = [
    (
        course.check_token_gate,
        {"loops": gate_by_loops, "one hot": gate_by_one_hot},
        {
            "running sum": lambda x, m, w: ((x * (m.cumsum(1) == 1).unsqueeze(-1)).sum(1) @ w.T).sigmoid(),
            "W the wrong way round where l = d": lambda x, m, w: gate_by_loops(x, m, w.T if len(w) == len(w.T) else w),
            "bias": lambda x, m, w: (first_token(x, m) @ w.T + 1).sigmoid(),
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
            "last tokens": lambda x, m: mean_by_loops(x, torch.arange(m.shape[1]) >= m.eq(0).sum(1, keepdim=True)),
        },
    ),
    (
        course.check_gate_prefix,
        {"token by token": gate_by_token, "diagonal matrices": both(lambda p, a: torch.diag_embed(a) @ p)},
        {
            "transposed where b = l": both(lambda p, a: (a.T if len(a) == len(a.T) else a)[..., None] * p),
            "value gated twice": lambda k, v, a: (a[..., None] * k, a[..., None] ** 2 * v),
            "[l, b, d]": both(lambda p, a: (a[..., None] * p).transpose(0, 1)),
            "squeezed": both(lambda p, a: (a[..., None] * p).squeeze()),
        },
    ),
    (
        course.check_remove_tokens,
        {"loop": remove_by_loop, "torch, prefix last": remove_by_torch},
        {
            "largest of all subtracted": removal(lambda seen, s, look: (seen - seen.max()).exp()),
            "largest may be removed": removal(lambda seen, s, look: (s - s.amax(-1, True)).exp() * look),
            "overflow made 0": removal(lambda seen, s, look: seen.exp().nan_to_num(0, 0)),
            "kept where one example keeps it": with_keep(lambda keep: keep.any(0).expand_as(keep)),
            "all kept where none is": with_keep(lambda keep: keep | ~keep.any(1, keepdim=True)),
            "√4": lambda q, *x: remove_by_loop(q * q.shape[-1] ** 0.5 / 2, *x),
            "√l": lambda q, *x: remove_by_loop(q * (q.shape[-1] / x[-1].shape[1]) ** 0.5, *x),
        },
    ),
    (
        course.check_reads_padding,
        {"all sides": reader(), "one batch": reads_in_one_batch, "booleans": reader(mask=lambda m: m.bool())},
        {
            "moved on all sides": reader(some=all),
            "NaN is a move": reader(lambda *s: torch.full(s, math.nan), moved=lambda a, b: not (a - b).abs().max() < 1),
            "no verdict": lambda gate: None,
        },
    ),
]
