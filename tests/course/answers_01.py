"""Answers to the exercises of lesson 01."""

import math

import torch
import torch.nn.functional as F
from einops import einsum
from torch import nn

from apt_minimal import course


def plain(query, key, value, softmax=lambda scores: scores.softmax(-1), size=None):
    return softmax(query @ key.mT / math.sqrt(size or query.shape[-1])) @ value


def swapped(f):
    return lambda *qkv: f(*(x.transpose(1, 2) for x in qkv)).transpose(1, 2)


def exp_less(largest):
    def softmax(scores):
        e = (scores - largest(scores)).exp()
        return e / e.sum(-1, keepdim=True)

    return softmax


def attend_by_loops(query, key, value):
    output = torch.empty_like(query)
    for b, n, h in torch.cartesian_prod(*(torch.arange(s) for s in query.shape[:3])).tolist():
        scores = [float(query[b, n, h] @ k) / math.sqrt(len(k)) for k in key[b, :, h]]
        weights = [math.exp(s - max(scores)) for s in scores]
        output[b, n, h] = sum(w * v for w, v in zip(weights, value[b, :, h], strict=True)) / sum(weights)
    return output


def attend_in_log_space(query, key, value):
    scores = einsum(query.double(), key.double(), "b n h d, b k h d -> h k n b") / query.shape[-1] ** 0.5
    weights = (scores - scores.logsumexp(dim=1, keepdim=True)).exp()
    return einsum(weights, value.double(), "h k n b, b k h d -> b n h d").to(query.dtype)


WRONG_1_1 = {
    "as_many_keys_as_queries": lambda q, k, v: swapped(plain)(q, k[:, : q.shape[1]], v[:, : q.shape[1]]),
    "overflow_hidden": swapped(lambda *x: plain(*x, exp_less(lambda s: 0)).nan_to_num()),
    "mean_subtracted": swapped(lambda *x: plain(*x, exp_less(lambda s: s.mean(-1, keepdim=True)))),
    "mean_subtracted_in_float64": swapped(
        lambda *x: plain(*(y.double() for y in x), exp_less(lambda s: s.mean(-1, keepdim=True)))
    ),
    "first_subtracted": swapped(lambda *x: plain(*x, exp_less(lambda s: s[..., :1]))),
    "scaled_by_heads": swapped(lambda *x: plain(*x, size=x[0].shape[1])),
    "squeezed": lambda *x: swapped(plain)(*x).squeeze(),
}


def masked_by_loop(query, key, value, mask):
    output = torch.zeros_like(query)
    for i, real in enumerate(mask):
        if real.any():
            output[i] = F.scaled_dot_product_attention(query[i], key[i][:, real], value[i][:, real])
    return output


class MaskedAttention:
    def __call__(self, query, key, value, mask):
        mask = mask[:, None, None].to(query.dtype)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        return ((scores * mask - 1e9 * (1 - mask)).softmax(-1) * mask) @ value


def hides_padding_queries(query, key, value, mask):
    output = masked_by_loop(query, key, value, mask)
    return output * mask[:, None, :, None] if query.shape[2] == mask.shape[1] else output


def cut_to_longest(query, key, value, mask):
    longest = int(mask.sum(-1).max())
    return masked_by_loop(query, key[:, :, :longest], value[:, :, :longest], mask[:, :longest])


def filled(query, key, value, mask, hidden=-math.inf, softmax=lambda scores: scores.softmax(-1)):
    """Zeros for padding alone, but a wrong number in hidden places, or another softmax."""

    def fill(scores):
        return softmax(scores.masked_fill(~mask[:, None, None], hidden)).nan_to_num()

    return plain(query, key, value, fill) * mask.any(-1)[:, None, None, None]


def last_empty_zeroed(*inputs):
    output = plain(*inputs[:3], lambda s: s.masked_fill(~inputs[3][:, None, None], -math.inf).softmax(-1))
    return output if inputs[3][-1].any() else torch.cat([output[:-1], 0 * inputs[0][-1:]])


WRONG_1_2 = {
    "hides_padding_queries_where_n_is_k": hides_padding_queries,
    "padding_at_the_end": lambda q, k, v, m: masked_by_loop(
        q, k, v, torch.arange(m.shape[1]) < m.sum(-1, keepdim=True)
    ),
    "cut_to_longest": cut_to_longest,
    "first_key_always_seen": lambda q, k, v, m: filled(q, k, v, m.index_fill(1, torch.tensor([0]), True)),
    "last_empty_zeroed": last_empty_zeroed,
    "minus_100": lambda *x: filled(*x, hidden=-100.0),
    "0_is_hidden": lambda *x: filled(*x, 0.0, lambda s: s.masked_fill(s == 0, -math.inf).softmax(-1)),
    "largest_of_all": lambda *x: filled(*x, softmax=exp_less(torch.max)),
    "any_padding": lambda q, k, v, m: plain(q, k, v) * m.all(-1)[:, None, None, None],
    "fewer_queries": lambda q, k, v, m: masked_by_loop(q[:, :, : k.shape[2]], k, v, m),
}


def mha_by_slices(x, w_q, w_k, w_v, w_o, num_heads):
    size, heads = x.shape[-1] // num_heads, []
    for i in range(num_heads):
        columns = slice(i * size, (i + 1) * size)
        heads.append(plain(*(x @ w[columns].T for w in (w_q, w_k, w_v))))
    return torch.cat(heads, dim=-1) @ w_o.T


def mha_of_torch(x, w_q, w_k, w_v, w_o, num_heads):
    theirs = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, batch_first=True, dtype=x.dtype)
    theirs.load_state_dict({"in_proj_weight": torch.cat([w_q, w_k, w_v]), "out_proj.weight": w_o})
    return theirs(x, x, x, need_weights=False)[0]


WRONG_1_3 = {
    "query_not_transposed": lambda x, w, *rest: mha_by_slices(x, w.T, *rest),
    "three_heads": lambda *x: mha_by_slices(*x[:-1], 3),
    "key_asks": lambda x, w_q, w_k, *rest: mha_by_slices(x, w_k, w_q, *rest),
    "random_start": lambda x, *rest: mha_by_slices(x, *rest) + torch.rand(()),
    "x_centred": lambda x, *rest: mha_by_slices(x - x.mean(-1, keepdim=True), *rest),
}


def telling(query, key, value, mask=(1, 1, 0), dtype=torch.float32):
    return *(torch.tensor([[x]], dtype=dtype) for x in (query, key, value)), torch.tensor([[[mask]]]).bool()


Q, K, V = [[3, 0], [0, 1], [1, -1]], [[1, 2], [-1, 0], [0, 3]], [[3, 0], [0, 3], [-3, 1]]
RIGHT_1_4 = {
    "half_as_list": lambda: list(telling(Q, K, V, dtype=torch.float16)),
    "parameters": lambda: tuple(nn.Parameter(x, x.is_floating_point()) for x in telling(Q, K, V)),
}
WRONG_1_4 = {
    "n_is_d_h": lambda: telling(*([[*x, i] for i, x in enumerate(y)] for y in (Q, K, V))),
    "saturated": lambda: telling([[3, 3], [-3, -3], [3, 0]], [[3, 3], [-3, -3], [1, 1]], V),
    "five_tokens": lambda: telling(*([*x, *x[:2]] for x in (Q, K, V)), [1, 1, 0, 1, 1]),
    "mask_of_floats": lambda: tuple(x.float() for x in telling(Q, K, V)),
}


def back_on_a_circle(n):
    """Places on a circle: the query is the key of the place before, turned back by one step."""
    angle = torch.arange(n).double() * 2 * math.pi / (n + 1)
    key = torch.stack([angle.cos(), angle.sin()], dim=-1)
    return 3000 * key[(torch.arange(n) - 1).clamp(min=0)], key


def back_by_scores(n):
    """The scores themselves as queries, with one key for each place."""
    scores = torch.full((n, n), -50.0 * n)
    for token in range(n):
        scores[token, max(token - 1, 0)] = 50.0 * n
    return scores, torch.eye(n)


WRONG_1_5 = {
    "keys_of_another_size": lambda n: (torch.zeros(n, 2), torch.zeros(n, 3)),
    "for_eight_tokens": lambda n: (100 * torch.eye(8)[[0, 0, 1, 2, 3, 4, 5, 6]][:n], torch.eye(8)[:n]),
    "integers": lambda n: (torch.eye(n).long(), torch.eye(n).long()),
    "infinite": lambda n: (torch.eye(n) * math.inf, torch.eye(n)),
    "two_back": lambda n: (100 * torch.eye(n)[(torch.arange(n) - 2).clamp(min=0)], torch.eye(n)),
}

CHECKS = [
    (course.check_attention, {"loops": attend_by_loops, "log_space": attend_in_log_space}, WRONG_1_1),
    (course.check_masked_attention, {"loop": masked_by_loop, "large_number": MaskedAttention()}, WRONG_1_2),
    (course.check_multi_head_attention, {"slices": mha_by_slices, "torch": mha_of_torch}, WRONG_1_3),
    (course.check_telling_inputs, RIGHT_1_4, WRONG_1_4),
    (course.check_look_back, {"circle": back_on_a_circle, "scores": back_by_scores}, WRONG_1_5),
]
