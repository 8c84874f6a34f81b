"""Answers to the exercises of lesson 12: how they came about is said in test_answers.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum

from apt_minimal.course import lesson_12 as exercises

# 12.1: log_gated_attention(query, key, value, prefix_key, prefix_value, alpha, mask)


def by_fused_kernel(query, key, value, prefix_key, prefix_value, alpha, mask):
    bias = torch.cat([alpha.log(), torch.zeros(mask.shape).masked_fill(~mask, -math.inf)], dim=1)
    keys, values = torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2)
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias[:, None, None].to(query.dtype))


def by_weights(query, key, value, prefix_key, prefix_value, alpha, mask):
    """Exponentials by hand, in float64: α multiplies them, a mask of 0 and 1 too."""
    q, k, p = query.double(), key.double(), prefix_key.double()
    scores = torch.cat([q @ p.mT, q @ k.mT], dim=-1) / query.shape[-1] ** 0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * torch.cat([alpha, mask], dim=1)[:, None, None]
    weights = weights / weights.sum(-1, keepdim=True)
    return (weights @ torch.cat([prefix_value, value], dim=2).double()).float()


def by_loops(query, key, value, prefix_key, prefix_value, alpha, mask):
    out = torch.zeros_like(query)
    for b in range(len(query)):
        keys = torch.cat([prefix_key[b], key[b][:, mask[b]]], dim=1)
        values = torch.cat([prefix_value[b], value[b][:, mask[b]]], dim=1)
        bias = torch.cat([torch.log(alpha[b]), torch.zeros(int(mask[b].sum()))])
        for h in range(query.shape[1]):
            for i in range(query.shape[2]):
                scores = keys[h] @ query[b, h, i] / math.sqrt(query.shape[3]) + bias
                out[b, h, i] = torch.softmax(scores, 0) @ values[h]
    return out


def by_einsum(query, key, value, prefix_key, prefix_value, alpha, mask):
    keys, values = torch.cat([key, prefix_key], dim=2), torch.cat([value, prefix_value], dim=2)  # words first
    scores = einsum(query, keys, "b h n x, b h k x -> b h n k") * query.shape[-1] ** -0.5
    n = key.shape[2]
    scores[..., :n].masked_fill_(~mask[:, None, None, :], -1e9)
    scores[..., n:] += (alpha + 1e-30).log()[:, None, None]
    return einsum(scores.softmax(-1), values, "b h n k, b h k x -> b h n x")


def gated(add=lambda a: a.log(), pair=lambda a: 1.0, words=lambda s, m: s.masked_fill(~m, -math.inf), dim=-1, root=0.5):
    """An answer with one thing to change."""

    def answer(query, key, value, prefix_key, prefix_value, alpha, mask):
        factor = pair(alpha)
        factor = factor if isinstance(factor, float) else factor[:, None, :, None]
        prefix = query @ (factor * prefix_key).mT / query.shape[-1] ** root + add(alpha)[:, None, None]
        rest = words(query @ key.mT / query.shape[-1] ** root, mask[:, None, None].expand(*query.shape[:3], -1))
        return torch.cat([prefix, rest], -1).softmax(dim) @ torch.cat([factor * prefix_value, value], 2)

    return answer


def two_softmaxes(query, key, value, prefix_key, prefix_value, alpha, mask):
    own = (query @ prefix_key.mT / query.shape[-1] ** 0.5 + alpha.log()[:, None, None]).softmax(-1) @ prefix_value
    rest = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~mask[:, None, None], -math.inf).softmax(-1) @ value
    return own + rest


RIGHT_12_1 = {"kernel": by_fused_kernel, "weights": by_weights, "loops": by_loops, "einsum": by_einsum, "cat": gated()}

WRONG_12_1 = {
    "plain": ("no gate", gated(add=lambda a: 0 * a)),
    "scaled": ("E3", gated(add=lambda a: 0 * a, pair=lambda a: a)),
    "both": ("E3 and log α", gated(pair=lambda a: a)),
    "alpha": ("α is added", gated(add=lambda a: a)),
    "log1p": ("log(1 + α)", gated(add=torch.log1p)),
    "log_sigmoid": ("log σ(α)", gated(add=F.logsigmoid)),
    "clamped": ("α is kept from 0", gated(add=lambda a: a.clamp(min=0.01).log())),
    "no_infinity": ("log 0 is made 0", gated(add=lambda a: a.log().nan_to_num(neginf=0.0))),
    "no_mask": ("the mask is not used", gated(words=lambda s, m: s)),
    "mask_times": ("scores are multiplied by the mask", gated(words=lambda s, m: s * m)),
    "softmax_of_queries": ("the softmax runs over the queries", gated(dim=-2)),
    "unscaled": ("not divided", gated(root=0.0)),
    "by_d_h": ("divided by d_h", gated(root=1.0)),
    "two_softmaxes": ("prefix and words in two softmaxes", two_softmaxes),
    "normalised": ("α is made to sum to 1", gated(add=lambda a: (a / a.sum(1, keepdim=True).clamp(min=1e-9)).log())),
    "batch_mean": ("α is averaged over the batch", gated(add=lambda a: a.mean(0, keepdim=True).expand_as(a).log())),
    "words_only": ("the prefix is left out", lambda q, k, v, pk, pv, a, m: by_fused_kernel(q, k, v, pk, pv, 0 * a, m)),
}

# 12.2: chances(location, low, high, beta)


def by_quantiles(location, low, high, beta):
    """u below which z is 0, and above which it is 1."""

    def u(z):
        s = (z - low) / (high - low)
        return torch.sigmoid(beta * math.log(s / (1 - s)) - location)

    return u(0.0), u(1.0) - u(0.0), 1 - u(1.0)


def by_numbers(location, low, high, beta):
    shut, full = [], []
    for a in location.flatten().tolist():
        shut.append(1 / (1 + math.exp(a - beta * math.log(-low / high))))
        full.append(1 / (1 + math.exp(beta * math.log((1 - low) / (high - 1)) - a)))
    shut, full = (torch.tensor(one).reshape(location.shape) for one in (shut, full))
    return [shut, 1 - shut - full, full]


def by_tanh(location, low, high, beta):
    above = [0.5 + 0.5 * torch.tanh((location - beta * math.log((z - low) / (high - z))) / 2) for z in (0.0, 1.0)]
    return 1 - above[0], above[0] - above[1], above[1]


def chances_with(
    at=lambda low, high: (-low / high, (1 - low) / (high - 1)), beta_of=lambda b: b, out=lambda s, f: None
):
    def answer(location, low, high, beta):
        first, last = (math.log(x) for x in at(low, high))
        shut = (beta_of(beta) * first - location).sigmoid()
        full = (location - beta_of(beta) * last).sigmoid()
        return out(shut, full) or (shut, 1 - shut - full, full)

    return answer


RIGHT_12_2 = {"quantiles": by_quantiles, "numbers": by_numbers, "tanh": by_tanh, "plain": chances_with()}

WRONG_12_2 = {
    "symmetric": ("z = 1 as if it were symmetric", chances_with(at=lambda lo, hi: (-lo / hi, -hi / lo))),
    "fixed": ("the lesson's stretch", chances_with(at=lambda lo, hi: (1 / 11, 11))),
    "no_beta": ("β is left out", chances_with(beta_of=lambda b: 1)),
    "over_beta": ("1/β", chances_with(beta_of=lambda b: 1 / b)),
    "open": ("P(z ≠ 0) comes first", chances_with(out=lambda s, f: (1 - s, 1 - s - f, f))),
    "inclusive": ("1 is in between", chances_with(out=lambda s, f: (s, 1 - s, f))),
    "sum": ("the second is 1 − P(z = 1)", chances_with(out=lambda s, f: (s, 1 - f, f))),
    "turned": ("from 1 to 0", chances_with(out=lambda s, f: (f, 1 - s - f, s))),
    "high_over_low": ("(high)/(−low) for 0", chances_with(at=lambda lo, hi: (-hi / lo, (1 - lo) / (hi - 1)))),
    "noise_free": (
        "z without noise, as chances",
        lambda a, lo, hi, b: tuple((lo + (hi - lo) * a.sigmoid()).clamp(0, 1) for _ in "abc"),
    ),
    "two": ("two values", lambda a, lo, hi, b: by_tanh(a, lo, hi, b)[::2]),
    "stacked_rounded": ("rounded", lambda *x: tuple(one.round(decimals=2) for one in by_tanh(*x))),
}

# 12.3: upper_cost(L, k, l, d, E)


def by_counting(L, k, l, d, E):
    parameters = plain = kept = 0
    for layer in range(L):
        prefixed = layer >= L - k
        parameters += (l * d * 2 + l * d + 1) * prefixed
        for epoch in range(E):
            plain += 1 + prefixed
            kept += 2 * prefixed or epoch == 0
    return parameters, plain, int(kept)


RIGHT_12_3 = {
    "counting": by_counting,
    "formula": lambda L, k, l, d, E: (k * (1 + 3 * d * l), E * L + E * k, L + k * (2 * E - 1)),
    "list": lambda L, k, l, d, E: [3 * k * l * d + k, sum([L + k] * E), L - k + sum([2 * k] * E)],
    "numpy": lambda L, k, l, d, E: np.array([k * (3 * l * d + 1), E * (L + k), 2 * k * E + L - k]),
}

WRONG_12_3 = {
    "no_scale": ("λ is forgotten", lambda L, k, l, d, E: (3 * k * l * d, E * (L + k), L - k + 2 * k * E)),
    "one_scale": ("one λ in all", lambda L, k, l, d, E: (3 * k * l * d + 1, E * (L + k), L - k + 2 * k * E)),
    "all": ("parameters of all layers", lambda L, k, l, d, E: (L * (3 * l * d + 1), E * (L + k), L - k + 2 * k * E)),
    "ptuning": ("2 l d", lambda L, k, l, d, E: (2 * k * l * d, E * (L + k), L - k + 2 * k * E)),
    "full_back": ("all backward", lambda L, k, l, d, E: (k * (3 * l * d + 1), 2 * L * E, L - k + 2 * k * E)),
    "no_cache_pass": ("the pass that keeps", lambda L, k, l, d, E: (k * (3 * l * d + 1), E * (L + k), 2 * k * E)),
    "every_epoch": ("kept anew", lambda L, k, l, d, E: (k * (3 * l * d + 1), E * (L + k), E * (L - k + 2 * k))),
    "whole_first": ("a whole pass", lambda L, k, l, d, E: (k * (3 * l * d + 1), E * (L + k), L + 2 * k * E)),
    "swapped": ("swapped", lambda L, k, l, d, E: (k * (3 * l * d + 1), L - k + 2 * k * E, E * (L + k))),
    "one_epoch": ("of one epoch", lambda L, k, l, d, E: (k * (3 * l * d + 1), L + k, L + k)),
    "lower": ("the lower k", lambda L, k, l, d, E: (k * (3 * l * d + 1), 2 * L * E, 2 * L * E)),
    "saved": ("what is saved", lambda L, k, l, d, E: (k * (3 * l * d + 1), (L - k) * E, 2 * L * E - 2 * k * E)),
}

# 12.4: winner(scores)


def by_leaving_out(scores):
    values, left_out = scores.tolist(), []
    for seed in range(scores.shape[1]):
        means = [sum(v for i, v in enumerate(row) if i != seed) / (len(row) - 1) for row in values]
        left_out.append(values[means.index(max(means))][seed])
    return scores.mean(dim=1).max(), torch.tensor(left_out).mean()


def by_deleting(scores):
    table = scores.double().numpy()
    kept = [np.delete(table, seed, axis=1).mean(axis=1).argmax() for seed in range(table.shape[1])]
    fair = table[kept, range(table.shape[1])].mean()
    return [torch.tensor(table.mean(axis=1).max()), torch.tensor(fair)]


def by_matrix(scores):
    k = scores.shape[1]
    others = scores @ (1 - torch.eye(k))  # sums over the other seeds
    return scores.mean(1).amax(), (F.one_hot(others.argmax(0), len(scores)).T * scores).sum() / k


def picked(choose, judge=lambda s: s):
    def answer(scores):
        k = scores.shape[1]
        chosen = choose((scores.sum(1, keepdim=True) - scores) / (k - 1), scores)
        return scores.mean(1).max(), judge(scores)[chosen, torch.arange(k)].mean()

    return answer


RIGHT_12_4 = {
    "loop": by_leaving_out,
    "numpy": by_deleting,
    "matrix": by_matrix,
    "picked": picked(lambda others, s: others.argmax(0)),
}

WRONG_12_4 = {
    "same": ("all seeds choose", picked(lambda others, s: s.mean(1).argmax().expand(s.shape[1]))),
    "own": ("each seed chooses for itself", picked(lambda others, s: s.argmax(0))),
    "judged_by_others": (
        "those that chose judge",
        picked(lambda o, s: o.argmax(0), lambda s: (s.sum(1, keepdim=True) - s) / (s.shape[1] - 1)),
    ),
    "worst": ("the lowest", picked(lambda others, s: others.argmin(0))),
    "last": ("of equals the last", picked(lambda others, s: len(s) - 1 - others.flip(0).argmax(0))),
    "median": ("the best by the median", picked(lambda others, s: s.median(1).values.argmax().expand(s.shape[1]))),
    "of_seeds": ("means over variants", lambda s: by_matrix(s.T) if s.shape[0] > 1 else (s.max(), s.max())),
    "single": ("the highest single score", lambda s: (s.max(), by_matrix(s)[1])),
    "one": ("only the fair one", lambda s: by_matrix(s)[1]),
    "gap": ("the gap", lambda s: (by_matrix(s)[0], by_matrix(s)[0] - by_matrix(s)[1])),
    "halves": (
        "one half chooses, the other judges",
        lambda s: (s.mean(1).max(), s[s[:, : s.shape[1] // 2].mean(1).argmax(), s.shape[1] // 2 :].mean()),
    ),
    "swapped": ("swapped", lambda s: by_matrix(s)[::-1]),
}

CHECKS = [
    (exercises.check_log_gated_attention, RIGHT_12_1, WRONG_12_1),
    (exercises.check_chances, RIGHT_12_2, WRONG_12_2),
    (exercises.check_upper_cost, RIGHT_12_3, WRONG_12_3),
    (exercises.check_winner, RIGHT_12_4, WRONG_12_4),
]
