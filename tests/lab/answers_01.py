"""Answers to the exercises of lesson 01: how they came about is said in test_answers.py."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from apt_minimal import course as exercises
from apt_minimal.attention import merge_heads, scaled_dot_product_attention, split_heads


def soft(scores, dim=-1):
    return scores.softmax(dim=dim)


def plain(query, key, value, scale=None, softmax=soft):
    """Attention of [b, h, n, d_h] in which the scale and the softmax can be got wrong."""
    return softmax(query @ key.mT / (scale or math.sqrt(query.shape[-1]))) @ value


# 1.1: attend(query, key, value), [b, n, h, d_h] and [b, k, h, d_h]


def swapped(f):
    """An attention of [b, h, n, d_h] for the layout [b, n, h, d_h]."""
    return lambda *qkv: f(*(x.transpose(1, 2) for x in qkv)).transpose(1, 2)


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


def attend_by_broadcasting(query, key, value):
    scores = (query[:, :, None] * key[:, None]).sum(-1).mul_(query.size(-1) ** -0.5)  # b n k h
    weights = scores.sub_(scores.amax(2, keepdim=True)).exp_()
    return (weights[..., None] * value[:, None]).sum(2) / weights.sum(2)[..., None]


def attend_by_bmm(query, key, value):
    b, n, h, d = query.shape
    q, k, v = (x.permute(0, 2, 1, 3).reshape(b * h, -1, d) for x in (query, key, value))
    weights = torch.baddbmm(torch.zeros((), dtype=q.dtype), q, k.mT, alpha=1 / math.sqrt(d)).softmax(-1)
    return torch.bmm(weights, v).unflatten(0, (b, h)).movedim(1, 2).contiguous()


RIGHT_1_1 = {
    "rearrange": lambda *x: rearrange(
        scaled_dot_product_attention(*(rearrange(y, "b n h d -> b h n d") for y in x))[0], "b h n d -> b n h d"
    ),
    "torch_function": swapped(F.scaled_dot_product_attention),
    "loops": attend_by_loops,
    "log_space": attend_in_log_space,
    "broadcasting_in_place": attend_by_broadcasting,
    "bmm": attend_by_bmm,
    "module_head_by_head": lambda *x: torch.stack(
        [scaled_dot_product_attention(*(y[:, None, :, i] for y in x))[0][:, 0] for i in range(x[0].shape[2])], dim=2
    ),
}


def exp_less(largest):
    """A softmax by hand that subtracts `largest(scores)`."""

    def softmax(scores):
        e = (scores - largest(scores)).exp()
        return e / e.sum(-1, keepdim=True)

    return softmax


WRONG_1_1 = {
    "scale_and_axis": (
        "not divided, and the softmax over the queries",
        swapped(lambda *x: plain(*x, scale=1, softmax=lambda s: soft(s, -2))),
    ),
    "scaled_by_d": ("divided by √(h d_h)", swapped(lambda q, k, v: plain(q, k, v, math.sqrt(q[0, :, 0].numel())))),
    "scaled_by_2": ("√4 hard-coded", swapped(lambda *x: plain(*x, scale=2))),
    "scaled_twice": (
        "divided twice",
        swapped(lambda q, k, v: F.scaled_dot_product_attention(q / q.size(-1) ** 0.5, k, v)),
    ),
    "over_heads": ("the softmax runs over the heads", swapped(lambda *x: plain(*x, softmax=lambda s: soft(s, 1)))),
    "heads_attend": ("the axes stay where they are: head looks at head", F.scaled_dot_product_attention),
    "reshaped_back": (
        "reshape where the axes have to be exchanged back",
        lambda *x: plain(*(y.transpose(1, 2) for y in x)).reshape(x[0].shape),
    ),
    "as_many_keys_as_queries": (
        "a loop over n for the keys too: others are not seen",
        lambda q, k, v: attend_by_bmm(q, k[:, : q.shape[1]], v[:, : q.shape[1]]),
    ),
    "scores_of_all_heads": (
        "one set of scores, summed over the heads",
        swapped(lambda q, k, v: soft((q @ k.mT).sum(1, keepdim=True) / math.sqrt(q.shape[-1])) @ v),
    ),
    "overflow_hidden": (
        "exp overflows, NaN made 0",
        swapped(lambda *x: plain(*x, softmax=exp_less(lambda s: 0)).nan_to_num()),
    ),
    "largest_of_all": (
        "the largest of all scores is subtracted: other rows underflow, 0/0",
        swapped(lambda *x: plain(*x, softmax=exp_less(torch.max))),
    ),
    "largest_from_0": (
        "the largest score is looked for from 0 on: rows far below 0 underflow, 0/0",
        swapped(lambda *x: plain(*x, softmax=exp_less(lambda s: s.amax(-1, keepdim=True).clamp(min=0)))),
    ),
    "mean_subtracted": (
        "the row's mean is subtracted: overflow where scores lie far apart",
        swapped(lambda *x: plain(*x, softmax=exp_less(lambda s: s.mean(-1, keepdim=True)))),
    ),
    "mean_subtracted_float64": (
        "the same in float64: 500 and five of −500 are enough",
        swapped(lambda *x: plain(*(y.double() for y in x), softmax=exp_less(lambda s: s.mean(-1, keepdim=True)))),
    ),
    "first_subtracted": (
        "the first key's score is subtracted",
        swapped(lambda *x: plain(*x, softmax=exp_less(lambda s: s[..., :1]))),
    ),
    "squeezed": ("drops axes of size 1", lambda *x: attend_by_bmm(*x).squeeze()),
}


# 1.2: masked_attention(query, key, value, mask), mask [b, k]


def fill(query, key, value, mask, hidden=-math.inf):
    """Attention with the given score in hidden places."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask[:, None, None], hidden).softmax(-1)


def masked_by_loop(query, key, value, mask):
    output = torch.zeros_like(query)
    for i, real in enumerate(mask):
        if real.any():
            output[i] = F.scaled_dot_product_attention(query[i], key[i][:, real], value[i][:, real])
    return output


def masked_in_log_space(query, key, value, mask):
    scores = torch.einsum("bhnd,bhkd->bhnk", query.double(), key.double()) / query.size(-1) ** 0.5
    scores = scores + mask.double().log()[:, None, None, :]
    total = scores.logsumexp(-1, keepdim=True)
    weights = (scores - torch.where(total.isfinite(), total, 0)).exp()
    return torch.einsum("bhnk,bhkd->bhnd", weights, value.double()).to(value.dtype)


class MaskedAttention:
    def __init__(self, hidden=-1e9):
        self.hidden = hidden

    def __call__(self, query, key, value, mask):
        mask = rearrange(mask, "b k -> b 1 1 k").to(query.dtype)
        scores = einsum(query, key, "b h n d, b h k d -> b h n k") / query.shape[-1] ** 0.5
        return ((scores * mask + self.hidden * (1 - mask)).softmax(-1) * mask) @ value


def masked_softmax_by_hand(query, key, value, mask):
    mask = mask[:, None, None].expand(-1, -1, query.shape[2], -1)
    scores = torch.where(mask, query @ key.mT * query.shape[-1] ** -0.5, -torch.inf)
    scores -= scores.amax(-1, keepdim=True).clamp(min=-1e30)
    e = scores.exp_()
    return e @ value / e.sum(-1, keepdim=True).clamp(min=1e-30)


RIGHT_1_2 = {
    "fill_twice": lambda q, k, v, m: fill(q, k, v, m).masked_fill(~m[:, None, None], 0.0) @ v,
    "nan_to_num": lambda q, k, v, m: fill(q, k, v, m).nan_to_num(0.0) @ v,
    "torch_function": lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m[:, None, None]),
    "package": lambda q, k, v, m: scaled_dot_product_attention(q, k, v, rearrange(m, "b k -> b 1 1 k"))[0],
    "loop_over_examples": masked_by_loop,
    "log_space": masked_in_log_space,
    "large_negative_number": MaskedAttention(),
    "softmax_by_hand": masked_softmax_by_hand,
    "smallest_float": lambda q, k, v, m: (fill(q, k, v, m, torch.finfo(q.dtype).min) * m[:, None, None]) @ v,
    "empty_examples_zeroed": lambda q, k, v, m: torch.where(
        m.any(-1)[:, None, None, None], fill(q, k, v, m) @ v, torch.zeros_like(q)
    ),
}


def renormalized(query, key, value, mask):
    weights = fill(query, key, value, mask | True) * mask[:, None, None]
    return (weights / weights.sum(-1, keepdim=True)).nan_to_num(0.0) @ value


def largest_of_hidden_too(query, key, value, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    e = (scores - scores.amax(-1, keepdim=True)).exp() * mask[:, None, None]
    return e @ value / e.sum(-1, keepdim=True).clamp(min=1e-9)


def hides_padding_queries(query, key, value, mask):
    output = masked_by_loop(query, key, value, mask)
    return output * mask[:, None, :, None] if query.shape[2] == mask.shape[1] else output


def padding_at_the_end(query, key, value, mask):
    return masked_by_loop(query, key, value, torch.arange(mask.shape[1]) < mask.sum(-1, keepdim=True))


def last_empty_zeroed(query, key, value, mask):
    output = fill(query, key, value, mask) @ value
    if not mask[-1].any():
        output[-1] = 0
    return output


def cut_to_longest(query, key, value, mask):
    longest = int(mask.sum(-1).max())
    return masked_by_loop(query, key[:, :, :longest], value[:, :, :longest], mask[:, :longest])


def logarithm_of_mask(query, key, value, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1]) + (mask[:, None, None] + 1e-9).log()
    return scores.softmax(-1) @ value * mask.any(-1)[:, None, None, None]


def key_1_always_seen(query, key, value, mask):
    seen = mask.clone()
    seen[:, 0] = True
    return fill(query, key, value, seen) @ value * mask.any(-1)[:, None, None, None]


def mean_subtracted(query, key, value, mask):
    mask = mask[:, None, None]
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    mean = (scores * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    e = (scores - mean).exp().masked_fill(~mask, 0.0)
    return e @ value / e.sum(-1, keepdim=True).clamp(min=1e-30)


def largest_of_all(query, key, value, mask):
    hidden = ~mask[:, None, None]
    scores = (query @ key.mT / math.sqrt(query.shape[-1])).masked_fill(hidden, -math.inf)
    e = (scores - scores.max()).exp().masked_fill(hidden, 0.0)
    return (e / e.sum(-1, keepdim=True)).nan_to_num() @ value


def zero_is_hidden(query, key, value, mask):
    scores = query @ key.mT / math.sqrt(query.shape[-1]) * mask[:, None, None]
    return scores.masked_fill(scores == 0, -math.inf).softmax(-1).nan_to_num() @ value


WRONG_1_2 = {
    "mean_subtracted": ("the mean of the real scores is subtracted: overflow", mean_subtracted),
    "largest_of_all": ("the largest of all real scores is subtracted: underflow in other rows", largest_of_all),
    "zero_is_hidden": ("hidden scores made 0, then every 0 made −∞: a real key of zeros too", zero_is_hidden),
    "hides_queries": ("the mask hides queries", lambda q, k, v, m: fill(q, k, v, m | True) @ v * m[:, None, :, None]),
    "hides_queries_too": ("outputs of padding zeroed where n = k", hides_padding_queries),
    "upside_down": ("True hides", lambda q, k, v, m: masked_by_loop(q, k, v, ~m)),
    "last_example_only": ("padding only is seen to in the last example only", last_empty_zeroed),
    "mean_of_padding": ("padding only gives the mean", lambda q, k, v, m: fill(q, k, v, m, -1e9) @ v),
    "minus_100": (
        "hidden scores are −100, others may be lower",
        lambda q, k, v, m: fill(q, k, v, m, -100.0) @ v * m.any(-1)[:, None, None, None],
    ),
    "key_0": ("hidden keys and values are 0", lambda q, k, v, m: plain(q, *(x * m[:, None, :, None] for x in (k, v)))),
    "renormalized": ("hidden after the softmax and divided by the sum: underflow, 0/0", renormalized),
    "largest_of_hidden_too": ("the largest score, subtracted, may be padding's: underflow", largest_of_hidden_too),
    "logarithm_of_mask": ("hidden scores get −20.7 added: not enough if they are high", logarithm_of_mask),
    "mask_of_heads": (
        "one axis too few: a row for each head",
        lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m[:, None])[0],
    ),
    "padding_at_the_end": ("padding is taken to stand at the end", padding_at_the_end),
    "cut_to_longest": ("keys cut to the number of the longest", cut_to_longest),
    "key_1_always_seen": ("key 1 left visible against NaN", key_1_always_seen),
    "any_padding": (
        "an example with any padding gives zeros",
        lambda q, k, v, m: plain(q, k, v) * m.all(-1)[:, None, None, None],
    ),
    "fewer_queries": (
        "no more queries than keys",
        lambda q, k, v, m: masked_by_loop(q[:, :, : k.shape[2]], k, v, m),
    ),
}


# 1.3: multi_head_attention(x, w_q, w_k, w_v, w_o, num_heads)


def mha(split=split_heads, attend=plain, merge=merge_heads, linear=F.linear, linear_out=F.linear):
    """Multi-head attention of which one step can be got wrong."""

    def multi_head_attention(x, w_q, w_k, w_v, w_o, num_heads):
        return linear_out(merge(attend(*(split(linear(x, w), num_heads) for w in (w_q, w_k, w_v)))), w_o)

    return multi_head_attention


def mha_by_slices(x, w_q, w_k, w_v, w_o, num_heads):
    size, heads = x.shape[-1] // num_heads, []
    for i in range(num_heads):
        columns = slice(i * size, (i + 1) * size)
        query, key, value = (x @ w[columns].T for w in (w_q, w_k, w_v))
        heads.append(torch.softmax(query @ key.transpose(1, 2) / size**0.5, dim=2) @ value)
    return torch.cat(heads, dim=-1) @ w_o.T


def mha_as_sum_of_heads(x, w_q, w_k, w_v, w_o, num_heads):
    w_q, w_k, w_v = (rearrange(w, "(h e) d -> h e d", h=num_heads) for w in (w_q, w_k, w_v))
    metric = einsum(w_q, w_k, "h e i, h e j -> h i j") / w_q.shape[1] ** 0.5
    scores = einsum(x, metric, x, "b n i, h i j, b k j -> b h n k")
    moved = einsum(rearrange(w_o, "o (h e) -> o h e", h=num_heads), w_v, "o h e, h e d -> h o d")
    return einsum(scores.softmax(-1), x, moved, "b h n k, b k d, h o d -> b n o")


def mha_of_torch(x, w_q, w_k, w_v, w_o, num_heads):
    theirs = nn.MultiheadAttention(x.shape[-1], num_heads, bias=False, batch_first=True, dtype=x.dtype)
    theirs.load_state_dict({"in_proj_weight": torch.cat([w_q, w_k, w_v]), "out_proj.weight": w_o})
    return theirs(x, x, x, need_weights=False)[0]


def mha_into_float32(x, w_q, w_k, w_v, w_o, num_heads):  # the text speaks of float32 only
    output = torch.zeros(x.shape)
    for columns in torch.arange(x.shape[-1]).chunk(num_heads):
        output[..., columns] = F.scaled_dot_product_attention(*(F.linear(x, w[columns]) for w in (w_q, w_k, w_v)))
    return F.linear(output, w_o)


class MultiHeadAttention(nn.Module):
    def forward(self, x, *weights):
        *maps, w_o, h = weights
        q, k, v = (F.linear(x, w).unflatten(-1, (h, -1)).transpose(1, 2) for w in maps)
        return F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2), w_o)


def mha_token_by_token(x, w_q, w_k, w_v, w_o, num_heads):
    x, (w_q, w_k, w_v, w_o) = x.double(), [w.double() for w in (w_q, w_k, w_v, w_o)]
    rows = []
    for example in x:
        key, value = ((example @ w.T).chunk(num_heads, dim=-1) for w in (w_k, w_v))
        for token in example:
            query = (w_q @ token).chunk(num_heads)
            heads = [v.T @ (k @ q / math.sqrt(len(q))).softmax(0) for q, k, v in zip(query, key, value, strict=True)]
            rows.append(w_o @ torch.cat(heads))
    return torch.stack(rows).view_as(x).float()


RIGHT_1_3 = {
    "package": mha(attend=lambda *x: scaled_dot_product_attention(*x)[0]),
    "slices": mha_by_slices,
    "sum_of_heads": mha_as_sum_of_heads,
    "torch_module": mha_of_torch,
    "into_float32": mha_into_float32,
    "module": MultiHeadAttention(),
    "token_by_token": mha_token_by_token,
}


def dealt(x, num_heads):
    return rearrange(x, "b n (d_h h) -> b h n d_h", h=num_heads)


def times(x, w):
    return x @ w


def scaled_by(scale):
    return mha(attend=lambda q, k, v: plain(q, k, v, scale(q)))


def random_biases(x, *rest):
    def linear(x, w):
        layer = nn.Linear(*w.T.shape, dtype=w.dtype)
        layer.weight = nn.Parameter(w)
        return layer(x)

    return mha(linear=linear, linear_out=linear)(x, *rest).detach()


WRONG_1_3 = {
    "dealt": (
        "heads dealt out, (d_h h), in split and merge",
        mha(dealt, merge=lambda x: rearrange(x, "b h n d -> b n (d h)")),
    ),
    "dealt_and_output": ("split as (d_h h), and x W for x Wᵀ in the output", mha(dealt, linear_out=times)),
    "query_not_transposed": ("x W for x Wᵀ in the queries", lambda x, w, *rest: mha_by_slices(x, w.T, *rest)),
    "scaled_by_d": ("divided by √d", scaled_by(lambda q: math.sqrt(q.shape[1] * q.shape[-1]))),
    "scaled_by_heads": ("divided by √h", scaled_by(lambda q: math.sqrt(q.shape[1]))),
    "scaled_by_2": ("√4 hard-coded", scaled_by(lambda q: 2)),
    "cut_by_view": (
        "[b, n, d] viewed as [b, h, n, d_h] and back",
        mha(lambda x, h: x.view(x.size(0), h, x.size(1), -1), plain, lambda x: x.reshape(x.size(0), x.size(2), -1)),
    ),
    "merged_by_view": ("merged without exchanging axes", mha(merge=lambda x: x.reshape(x.size(0), x.size(2), -1))),
    "three_heads": ("three heads, whatever is asked for", lambda *x: mha_by_slices(*x[:-1], 3)),
    "size_for_number": (
        "num_heads taken for the size of a head",
        lambda *x: mha_by_slices(*x[:-1], x[0].shape[-1] // x[-1]),
    ),
    "key_asks": ("queries and keys exchanged", lambda x, w_q, w_k, *rest: mha_by_slices(x, w_k, w_q, *rest)),
    "over_heads": ("the softmax runs over the heads", mha(attend=lambda *x: plain(*x, softmax=lambda s: soft(s, 1)))),
    "examples_attend": (
        "batch and tokens exchanged",
        lambda x, *rest: mha_by_slices(x.transpose(0, 1), *rest).transpose(0, 1),
    ),
    "heads_reversed": ("heads merged in reverse order", mha(merge=lambda x: merge_heads(x.flip(1)))),
    "random_biases": ("nn.Linear with its own bias", random_biases),
    "x_centred": ("x is centred first", lambda x, *rest: mha_by_slices(x - x.mean(-1, keepdim=True), *rest)),
}


# 1.4: telling_inputs()


def inputs(query, key, value, mask, dtype=torch.float32):
    """The four of them as [1, 1, …]."""
    return *(torch.tensor([[x]], dtype=dtype) for x in (query, key, value)), torch.tensor([[[mask]]]).bool()


Q, K, V = [[3, 0], [0, 1], [1, -1]], [[1, 2], [-1, 0], [0, 3]], [[3, 0], [0, 3], [-3, 1]]  # n = 3, d_h = 2
M = [1, 1, 0]


def drawn():
    torch.manual_seed(5)
    query, key, value = torch.randint(-3, 4, (3, 1, 1, 4, 2)).double()
    return query, key, value, torch.arange(4).ne(2).view(1, 1, 1, 4)


def searched():
    """Draw until a test of our own is passed."""
    generator = torch.Generator().manual_seed(1)
    while True:
        query, key, value = torch.randint(-2, 3, (3, 1, 1, 4, 3), generator=generator).float()
        mask = torch.tensor([True, False, True, True]).reshape(1, 1, 1, 4)
        right = plain(query, key, value, softmax=lambda s, m=mask: soft(s.masked_fill(~m, -math.inf)))
        others = [
            plain(query, key, value, softmax=lambda s, m=mask: soft(s.masked_fill(~m, -math.inf), -2).nan_to_num()),
            plain(key, query, value, softmax=lambda s, m=mask: soft(s.masked_fill(~m, -math.inf))),
            plain(query, key, value, 2, softmax=lambda s, m=mask: soft(s.masked_fill(~m, -math.inf))),
            plain(query, key, value) * mask.mT,
        ]
        if all((other - right).abs().max() > 0.1 for other in others):
            return query, key, value, mask


class Telling:
    def __call__(self):
        mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
        mask[..., -1] = False
        return *(nn.Parameter(torch.Tensor(x)[None, None]) for x in (Q, K, V)), mask


RIGHT_1_4 = {
    "three_by_two": lambda: inputs(Q, K, V, M),
    "as_list": lambda: list(inputs(Q, K, V, M)),
    "half": lambda: inputs(Q, K, V, M, torch.float16),
    "drawn_float64": drawn,
    "searched": searched,
    "parameters_from_a_class": Telling(),
    "one_column": lambda: inputs([[1], [3], [-1]], [[2], [-1], [0]], [[3], [-3], [1]], M),
    "not_contiguous": lambda: tuple(x.transpose(0, 1).mT.contiguous().mT for x in inputs(Q, K, V, M)),
}

WRONG_1_4 = {
    "nothing_hidden": ("the mask hides nothing", lambda: inputs(Q, K, V, [1, 1, 1])),
    "upside_down": ("mask made as True = hidden: one key left", lambda: inputs(Q, K, V, [0, 0, 1])),
    "square": (
        "n = d_h hides the wrong scale",
        lambda: inputs(*([x + [i] for i, x in enumerate(y)] for y in (Q, K, V)), M),
    ),
    "query_is_key": ("query = key: the scores are symmetric", lambda: inputs(K, K, V, M)),
    "equal_values": ("all values equal: no weight matters", lambda: inputs(Q, K, [[3, 1]] * 3, M)),
    "saturated": (
        "scores so far apart that the scale makes no difference",
        lambda: inputs([[3, 3], [-3, -3], [3, 0]], [[3, 3], [-3, -3], [1, 1]], [[3, 0], [0, 3], [-3, 1]], M),
    ),
    "fractions": ("no whole numbers", lambda: (*(x / 2 for x in inputs(Q, K, V, M)[:3]), inputs(Q, K, V, M)[3])),
    "minus_4": ("a number of −4 in the values", lambda: inputs(Q, K, [*V[:2], [-4, 1]], M)),
    "integers": ("an integer dtype", lambda: inputs(Q, K, V, M, torch.long)),
    "five_tokens": ("n = 5", lambda: inputs(*([*x, *x[:2]] for x in (Q, K, V)), [1, 1, 0, 1, 1])),
    "two_examples": ("b = 2", lambda: tuple(torch.cat([x, x]) for x in inputs(Q, K, V, M))),
    "mask_of_pairs": (
        "mask of [1, 1, n, n]",
        lambda: (*inputs(Q, K, V, M)[:3], inputs(Q, K, V, M)[3].repeat(1, 1, 3, 1)),
    ),
    "mask_float": ("mask of 0.0 and 1.0", lambda: tuple(x.float() for x in inputs(Q, K, V, M))),
    "wide_values": ("value of another shape", lambda: inputs(Q, K, [[*v, 1] for v in V], M)),
    "not_a_number": ("NaN among the values", lambda: inputs(Q, K, [*V[:2], [math.nan, 1]], M)),
}

CHECKS = [
    (exercises.check_attention, RIGHT_1_1, WRONG_1_1),
    (exercises.check_masked_attention, RIGHT_1_2, WRONG_1_2),
    (exercises.check_multi_head_attention, RIGHT_1_3, WRONG_1_3),
    (exercises.check_telling_inputs, RIGHT_1_4, WRONG_1_4),
]
