"""Answers to the exercises of lesson 04: how they came about is said in test_answers.py."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from apt_minimal import course as exercises
from apt_minimal.attention import prefix_attention
from apt_minimal.gates import TokenGate, mean_token

# 4.1: token_gate(hidden_states, attention_mask, weight)


def gate_at(position):
    """A token gate that reads the token at `position(mask)`, one for each example."""
    return lambda x, mask, w: (x[torch.arange(len(x)), position(mask)] @ w.T).sigmoid()


def gate_by_loops(hidden_states, attention_mask, weight):
    alpha = []
    for states, mask in zip(hidden_states.tolist(), attention_mask.tolist(), strict=True):
        h = next(state for state, real in zip(states, mask, strict=True) if real)
        alpha.append([1 / (1 + math.exp(-sum(a * b for a, b in zip(h, row, strict=True)))) for row in weight.tolist()])
    return torch.tensor(alpha, dtype=hidden_states.dtype)


def gate_by_one_hot(hidden_states, attention_mask, weight):
    real = attention_mask.long()
    first = ((real.cumsum(1) == 1) & (real == 1)).double()
    scores = einsum(hidden_states.double(), first, weight.double(), "b n d, b n, l d -> b l")
    return torch.exp(-F.softplus(-scores)).to(hidden_states.dtype)


def gate_by_gather(hidden_states, attention_mask, weight):
    index = repeat(attention_mask.to(torch.uint8).argmax(-1), "b -> b 1 d", d=hidden_states.shape[-1])
    scores = F.linear(hidden_states.gather(1, index).squeeze(1), weight)
    return scores.neg_().exp_().add_(1).reciprocal_()


def gate_of_all_tokens(hidden_states, attention_mask, weight):
    every = torch.special.expit(hidden_states @ weight.mT)  # α as if each token were the first
    place = torch.arange(hidden_states.shape[1]).expand_as(attention_mask)
    first = torch.where(attention_mask.bool(), place, hidden_states.shape[1]).amin(1)
    return torch.stack([rows[i] for rows, i in zip(every, first.tolist(), strict=True)])


class GateFromPackage:
    def __call__(self, hidden_states, attention_mask, weight):
        gate = TokenGate(*weight.shape).to(weight)
        gate.weight.data = weight.detach().clone()
        return gate(hidden_states, attention_mask)


RIGHT_4_1 = {
    "argmax": gate_at(lambda m: m.int().argmax(1)),
    "loops": gate_by_loops,
    "one_hot": gate_by_one_hot,
    "gather_in_place": gate_by_gather,
    "all_tokens": gate_of_all_tokens,
    "package": GateFromPackage(),
    "tanh": lambda x, m, w: (
        0.5 + 0.5 * torch.tanh(torch.stack([s[r.nonzero()[0, 0]] for s, r in zip(x, m, strict=True)]) @ w.T / 2)
    ),
}


def sums_up_to_second(hidden_states, attention_mask, weight):
    first = attention_mask.long().cumsum(1) == 1
    return (einsum(hidden_states, first.to(hidden_states), "b n d, b n -> b d") @ weight.T).sigmoid()


WRONG_4_1 = {
    "position_0": ("reads position 0, padding or not", lambda x, m, w: (x[:, 0] @ w.T).sigmoid()),
    "last_real": ("reads the last real token", gate_at(lambda m: m.shape[1] - 1 - m.int().flip(1).argmax(1))),
    "all_padding_left": ("takes all padding to stand on the left", gate_at(lambda m: m.shape[1] - m.int().sum(1))),
    "not_for_booleans": ("argmax of the mask as it comes: refuses booleans", gate_at(lambda m: m.argmax(1))),
    "not_for_integers": ("~ on integers: 1 becomes −2, which is true", gate_at(lambda m: (~m).bool().int().argmin(1))),
    "examples_position": (
        "the first example's position for all",
        gate_at(lambda m: m.int().argmax(1)[0].expand(len(m))),
    ),
    "last_examples_position": (
        "hidden_states[:, position], of which the last is taken for all",
        lambda x, m, w: (x[:, m.int().argmax(1)][:, -1] @ w.T).sigmoid(),
    ),
    "two_mistakes": (
        "the first example's position, and 1 − α",
        lambda x, m, w: 1 - gate_at(lambda m: m.int().argmax(1)[0].expand(len(m)))(x, m, w),
    ),
    "one_real_token": ("cumsum = 1 also holds behind a sentence of one token: padding is added", sums_up_to_second),
    "mean": ("the mean over the real tokens", lambda x, m, w: (mean_token(x, m) @ w.T).sigmoid()),
    "not_transposed_if_square": (
        "h W for h Wᵀ where l = d",
        lambda x, m, w: gate_by_gather(x, m, w.T if w.shape[0] == w.shape[1] else w),
    ),
    "softmax": ("softmax for sigmoid", lambda *x: gate_by_gather(*x).logit().softmax(-1)),
    "sigmoid_of_h": ("σ of h, then W", lambda x, m, w: gate_by_gather(x.sigmoid(), m, w).logit()),
    "with_bias": ("a bias of 1", lambda *x: (gate_by_gather(*x).logit() + 1).sigmoid()),
    "squeezed": ("drops axes of size 1", lambda *x: gate_by_gather(*x).squeeze()),
}


# 4.2: masked_mean(hidden_states, attention_mask)


def filled(hidden_states, attention_mask, filling=0.0):
    return hidden_states.masked_fill(~attention_mask.bool().unsqueeze(-1), filling)


def count(attention_mask):
    return attention_mask.long().sum(1, keepdim=True)


def mean_by_loops(hidden_states, attention_mask):
    means = []
    for states, mask in zip(hidden_states, attention_mask, strict=True):
        real = [state for state, m in zip(states, mask.tolist(), strict=True) if m]
        means.append(sum(real) / len(real))
    return torch.stack(means)


def mean_by_weights(hidden_states, attention_mask):
    weights = attention_mask.double().log().softmax(dim=1)  # −inf for padding
    return einsum(weights, filled(hidden_states, attention_mask).double(), "b n, b n d -> b d").to(hidden_states.dtype)


def mean_by_scatter(hidden_states, attention_mask):
    example, place = attention_mask.nonzero(as_tuple=True)
    sums = torch.zeros_like(hidden_states[:, 0]).index_add_(0, example, hidden_states[example, place])
    return sums.div_(torch.bincount(example, minlength=len(sums)).unsqueeze(1))


def mean_in_place(hidden_states, attention_mask):
    x = hidden_states.clone()
    x[attention_mask == 0] = 0
    return x.sum(1).div_(attention_mask.ne(0).sum(1)[:, None])


class RunningMean(nn.Module):
    def forward(self, hidden_states, attention_mask):
        mean, seen = hidden_states.new_zeros(len(hidden_states), hidden_states.shape[2]), 0
        for state, mask in zip(hidden_states.unbind(1), attention_mask.bool().unbind(1), strict=True):
            seen = seen + mask.to(state.dtype)
            mean = torch.where(mask[:, None], mean + (state - mean) / seen.clamp(min=1)[:, None], mean)
        return mean


RIGHT_4_2 = {
    "masked_fill": lambda x, m: filled(x, m).sum(1) / count(m),
    "loops": mean_by_loops,
    "weights_in_log_space": mean_by_weights,
    "scatter": mean_by_scatter,
    "in_place_on_a_copy": mean_in_place,
    "running_mean": RunningMean(),
    "nanmean": lambda x, m: filled(x, m, math.nan).nanmean(dim=1),
    "nan_to_num_first": lambda x, m: (x.nan_to_num(0, 0, 0) * m.to(x.dtype)[..., None]).sum(1) / count(m),
}


WRONG_4_2 = {
    "counts_entries_not_0": ("counts what is not 0", lambda x, m: filled(x, m).sum(1) / filled(x, m).ne(0).sum(1)),
    "counts_tokens_not_0": (
        "a real token of zeros is not counted",
        lambda x, m: filled(x, m).sum(1) / filled(x, m).ne(0).any(-1).sum(1, keepdim=True),
    ),
    "multiplied": (
        "padding multiplied by 0: NaN stays",
        lambda x, m: (x * m.to(x.dtype)[..., None]).sum(1) / count(m),
    ),
    "nansum": ("leaves out what is NaN, whatever the mask says", lambda x, m: x.nansum(1) / count(m)),
    "nan_only": (
        "NaN made 0, ∞ not: 0 · ∞ is NaN",
        lambda x, m: (torch.where(x.isnan(), 0, x) * m.to(x.dtype)[..., None]).sum(1) / count(m),
    ),
    "finite_is_real": (
        "takes what is finite for real",
        lambda x, m: filled(x, x.isfinite().all(-1)).sum(1) / count(m),
    ),
    "counts_finite": (
        "divides by the number of finite tokens",
        lambda x, m: filled(x, m).sum(1) / x.isfinite().all(-1).sum(1, keepdim=True).clamp(min=1),
    ),
    "divided_by_n": ("divides by n", lambda x, m: filled(x, m).mean(1)),
    "divided_by_longest": ("divides by the longest's number", lambda x, m: filled(x, m).sum(1) / m.long().sum(1).max()),
    "counts_over_batch": (
        "counts over the wrong axis where b = n",
        lambda x, m: filled(x, m).sum(1) / (m.long().sum(0)[:, None] if m.shape[0] == m.shape[1] else count(m)),
    ),
    "count_in_columns": (
        "divides by [b] where b = d: each column by another example's number",
        lambda x, m: filled(x, m).sum(1) / (count(m)[:, 0] if x.shape[0] == x.shape[2] else count(m)),
    ),
    "at_least_two": ("divides by at least 2", lambda x, m: filled(x, m).sum(1) / count(m).clamp(min=2)),
    "padding_left": (
        "takes padding to stand on the left",
        lambda x, m: mean_by_loops(x, torch.arange(m.shape[1]) >= m.shape[1] - count(m)),
    ),
    "first_examples_mask": ("the first example's mask for all", lambda x, m: mean_by_loops(x, m[:1].expand_as(m))),
    "not_for_integers": ("~ on integers: all tokens are real, padding too", lambda x, m: mean_by_loops(x, ~m)),
    "not_for_booleans": (
        "1 − mask: refuses booleans",
        lambda x, m: x.masked_fill((1 - m).bool()[..., None], 0).sum(1) / count(m),
    ),
    "over_d": (
        "mean over d",
        lambda x, m: filled(x, m).mean(2) if x.shape[1] == x.shape[2] else filled(x, m).sum(1) / count(m),
    ),
}


# 4.3: gate_prefix(prefix_key, prefix_value, alpha)


def gated(prefix, alpha):
    return torch.einsum("bl,ld->bld", alpha, prefix)


def gate_prefix_by_loops(prefix_key, prefix_value, alpha):
    pair = []
    for prefix in (prefix_key, prefix_value):
        gated = torch.empty(*alpha.shape, prefix.shape[1], dtype=prefix.dtype)
        for i in range(alpha.shape[0]):
            for j in range(alpha.shape[1]):
                gated[i, j] = alpha[i, j] * prefix[j]
        pair.append(gated)
    return pair


def gate_prefix_in_place(prefix_key, prefix_value, alpha):
    key, value = (p.repeat(len(alpha), 1, 1) for p in (prefix_key, prefix_value))
    key *= alpha[..., None]
    value.mul_(alpha[..., None])
    return key, value


class GatePrefix:
    def __call__(self, prefix_key, prefix_value, alpha):
        both = torch.cat([prefix_key, prefix_value], dim=1).double()
        return tuple((alpha.double().unsqueeze(2) * both).to(prefix_key.dtype).chunk(2, dim=2))


def gate_prefix_in_log_space(*x):
    alpha = x[2].double().log()[..., None]
    return [((p.double().abs().log() + alpha).exp() * p.sign()).to(p.dtype) for p in x[:2]]


RIGHT_4_3 = {
    "broadcast": lambda k, v, a: (a[:, :, None] * k, a[:, :, None] * v),
    "einsum": lambda k, v, a: (gated(k, a), gated(v, a)),
    "einops_list": lambda k, v, a: [einsum(a, p, "b l, l d -> b l d") for p in (k, v)],
    "loops": gate_prefix_by_loops,
    "in_place_on_copies": gate_prefix_in_place,
    "class": GatePrefix(),
    "diagonal_matrices": lambda k, v, a: (torch.diag_embed(a) @ k, a.diag_embed() @ v),
    "log_space": gate_prefix_in_log_space,
}


def both_gated(gate):
    return lambda k, v, a: (gate(k, a), gate(v, a))


WRONG_4_3 = {
    "columns": ("α on the columns where l = d", both_gated(lambda p, a: a[:, None] * p)),
    "columns_of_value": (
        "α on the value's columns where l = d",
        lambda k, v, a: (gated(k, a), a[:, None] * v if v.shape[0] == v.shape[1] else gated(v, a)),
    ),
    "batch_for_tokens": (
        "α transposed where b = l",
        both_gated(lambda p, a: gated(p, a.T if a.shape[0] == a.shape[1] else a)),
    ),
    "swapped": ("value first", lambda k, v, a: (gated(v, a), gated(k, a))),
    "key_only": ("value not gated", lambda k, v, a: (gated(k, a), v.expand(len(a), -1, -1))),
    "key_twice": ("the key in both places", lambda k, v, a: (gated(k, a), gated(k, a))),
    "value_twice_gated": ("the value gated twice", lambda k, v, a: (gated(k, a), gated(v, a * a))),
    "sigmoid_again": ("σ of α", both_gated(lambda p, a: gated(p, a.sigmoid()))),
    "softmax": ("α made to sum to 1", both_gated(lambda p, a: gated(p, a / a.sum(-1, keepdim=True)))),
    "mean_alpha": ("one α for all examples", both_gated(lambda p, a: gated(p, a.mean(0, keepdim=True).expand_as(a)))),
    "one_gate": ("one gate for all tokens", both_gated(lambda p, a: gated(p, a[:, :1].expand_as(a)))),
    "tokens_first": ("[l, b, d]", both_gated(lambda p, a: gated(p, a).transpose(0, 1))),
    "squeezed": ("drops axes of size 1", both_gated(lambda p, a: gated(p, a).squeeze())),
    "viewed": (
        "repeated and viewed in the wrong order",
        both_gated(lambda p, a: a[..., None] * p.repeat_interleave(len(a), 0).view(*a.shape, -1)),
    ),
}


# 4.4: remove_tokens(query, key, value, prefix_key, prefix_value, keep)


def soft(scores):
    return scores.softmax(-1)


def with_prefix(query, key, value, prefix_key, prefix_value):
    """Scores [b, n, l + n] and values, prefix first."""
    scores = query @ torch.cat([prefix_key, key], dim=1).mT / math.sqrt(query.shape[-1])
    return scores, torch.cat([prefix_value, value], dim=1)


def looks(keep, n):
    return F.pad(keep, (0, n), value=True)[:, None]


def removal(hidden=-math.inf, softmax=soft):
    """Masked prefix attention in which the score of hidden tokens and the softmax can be got wrong."""

    def remove_tokens(query, key, value, prefix_key, prefix_value, keep):
        scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
        return softmax(scores.masked_fill(~looks(keep, key.shape[1]), hidden)) @ values

    return remove_tokens


def remove_by_loop(query, key, value, prefix_key, prefix_value, keep):
    output = []
    for q, k, v, pk, pv, stays in zip(query, key, value, prefix_key, prefix_value, keep, strict=True):
        k, v = torch.cat([pk[stays], k]), torch.cat([pv[stays], v])
        output.append((q @ k.T * len(q.T) ** -0.5).softmax(1) @ v)
    return torch.stack(output)


def remove_by_torch(query, key, value, prefix_key, prefix_value, keep):
    key, value = torch.cat([key, prefix_key], 1), torch.cat([value, prefix_value], 1)  # the order does not matter
    mask = torch.cat([torch.ones_like(query[..., 0], dtype=torch.bool), keep], dim=1)
    return F.scaled_dot_product_attention(query, key, value, rearrange(mask, "b k -> b 1 k"))


def remove_in_log_space(query, key, value, prefix_key, prefix_value, keep):
    q, k, v, pk, pv = (x.double() for x in (query, key, value, prefix_key, prefix_value))
    scale = q.shape[-1] ** 0.5
    prefix = einsum(q, pk, "b n d, b l d -> b n l") / scale + keep.double().log()[:, None]
    words = einsum(q, k, "b n d, b k d -> b n k") / scale
    total = torch.logaddexp(prefix.logsumexp(-1, keepdim=True), words.logsumexp(-1, keepdim=True))
    return ((prefix - total).exp() @ pv + (words - total).exp() @ v).to(query.dtype)


def remove_by_token(query, key, value, prefix_key, prefix_value, keep):
    output = torch.zeros_like(query)
    for b, i in torch.cartesian_prod(torch.arange(query.shape[0]), torch.arange(query.shape[1])).tolist():
        tokens = [*zip(key[b], value[b], strict=True)]
        tokens += [pair for *pair, stays in zip(prefix_key[b], prefix_value[b], keep[b], strict=True) if stays]
        scores = [float(query[b, i] @ k) / math.sqrt(query.shape[2]) for k, _ in tokens]
        weights = [math.exp(s - max(scores)) for s in scores]
        for w, (_, v) in zip(weights, tokens, strict=True):
            output[b, i] += w / sum(weights) * v
    return output


class RemoveTokens(nn.Module):
    def forward(self, query, key, value, prefix_key, prefix_value, keep):
        scores, _ = with_prefix(query, key, value, prefix_key, prefix_value)
        weights = (scores + torch.where(looks(keep, key.shape[1]), 0.0, -1e9)).softmax(-1)
        of_prefix, of_words = weights.split([keep.shape[1], key.shape[1]], dim=-1)
        return torch.baddbmm(of_words @ value, of_prefix, prefix_value)


def remove_by_package(query, key, value, prefix_key, prefix_value, keep):
    rows = []
    for i, stays in enumerate(keep):
        words = (x[i, None, None] for x in (query, key, value))
        rows.append(prefix_attention(*words, prefix_key[i, stays][None], prefix_value[i, stays][None])[0][0, 0])
    return torch.stack(rows)


RIGHT_4_4 = {
    "masked_fill": removal(),
    "large_negative_number": removal(hidden=-1e9),
    "loop_over_examples": remove_by_loop,
    "torch_function_prefix_last": remove_by_torch,
    "log_space": remove_in_log_space,
    "token_by_token": remove_by_token,
    "module": RemoveTokens(),
    "package": remove_by_package,
}


def by_hand(largest):
    """A softmax by hand that subtracts `largest(scores)`."""

    def softmax(scores):
        e = (scores - largest(scores)).exp()
        return e / e.sum(-1, keepdim=True)

    return softmax


def zeroed(keys, values):
    """Removed tokens' keys, values or both are 0."""

    def remove_tokens(query, key, value, prefix_key, prefix_value, keep):
        pk, pv = (p * keep[..., None] if zero else p for p, zero in ((prefix_key, keys), (prefix_value, values)))
        return removal()(query, key, value, pk, pv, keep | True)

    return remove_tokens


def renormalized(query, key, value, prefix_key, prefix_value, keep):
    scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
    weights = scores.softmax(-1) * looks(keep, key.shape[1])
    return weights / weights.sum(-1, keepdim=True) @ values


def largest_of_hidden_too(query, key, value, prefix_key, prefix_value, keep):
    scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
    e = (scores - scores.amax(-1, keepdim=True)).exp() * looks(keep, key.shape[1])
    return e @ values / e.sum(-1, keepdim=True).clamp(min=1e-9)


def mask_at_the_end(query, key, value, prefix_key, prefix_value, keep):
    scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
    return scores.masked_fill(~F.pad(keep, (key.shape[1], 0), value=True)[:, None], -math.inf).softmax(-1) @ values


def kept_for_queries(query, key, value, prefix_key, prefix_value, keep):
    if keep.shape[0] != query.shape[1]:
        return remove_by_loop(query, key, value, prefix_key, prefix_value, keep)
    scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
    return scores.masked_fill(~F.pad(keep, (0, key.shape[1]), value=True), -math.inf).softmax(-1) @ values


def only_prefix(query, key, value, prefix_key, prefix_value, keep):
    scores, values = with_prefix(query, key, value, prefix_key, prefix_value)
    mask = F.pad(keep, (0, key.shape[1]), value=False)[:, None]
    return scores.masked_fill(~mask, -math.inf).softmax(-1).nan_to_num() @ values


def kept_moved_forward(query, key, value, prefix_key, prefix_value, keep):
    number = keep.sum(1, keepdim=True)
    return removal()(query, key, value, prefix_key, prefix_value, torch.arange(keep.shape[1]) < number)


def with_keep(change):
    return lambda *x: removal()(*x[:-1], change(x[-1]))


WRONG_4_4 = {
    "zeroed": ("keys and values are 0: damps instead of removing", zeroed(True, True)),
    "key_zeroed": ("keys are 0, values stay", zeroed(True, False)),
    "value_zeroed": ("values are 0, weight stays", zeroed(False, True)),
    "renormalized": ("hidden after the softmax and divided by the sum: underflow, 0/0", renormalized),
    "largest_of_hidden_too": ("the largest score, subtracted, may be removed: underflow", largest_of_hidden_too),
    "minus_100": ("hidden scores are −100, others may be lower", removal(hidden=-100.0)),
    "minus_100_added": (
        "100 subtracted from hidden scores: not enough if they are high",
        lambda q, k, v, pk, pv, keep: F.scaled_dot_product_attention(
            q, torch.cat([pk, k], 1), torch.cat([pv, v], 1), torch.where(looks(keep, k.shape[1]), 0.0, -100.0)
        ),
    ),
    "first_examples_keep": ("the first example's keep for all", with_keep(lambda keep: keep[:1].expand_as(keep))),
    "kept_by_any": ("kept in all where one example keeps it", with_keep(lambda keep: keep.any(0).expand_as(keep))),
    "kept_moved_forward": ("keeps as many, but the first ones", kept_moved_forward),
    "none_kept": (
        "plain prefix attention where all shall go",
        with_keep(lambda keep: keep | ~keep.any(1, keepdim=True)),
    ),
    "mask_at_the_end": ("prefix first, its mask last", mask_at_the_end),
    "kept_for_queries": ("[b, l + n] without an axis: a row for each query where b = n", kept_for_queries),
    "only_prefix": ("the input's own columns are hidden too", only_prefix),
    "overflow": ("exp overflows", removal(softmax=by_hand(lambda s: 0.0))),
    "overflow_hidden": ("exp overflows, NaN made 0", removal(softmax=lambda s: by_hand(lambda s: 0.0)(s).nan_to_num())),
    "largest_of_all": (
        "the largest of all scores is subtracted: other rows underflow",
        removal(softmax=by_hand(torch.max)),
    ),
    "scaled_by_2": ("√4 hard-coded", lambda q, *x: remove_by_loop(q * q.shape[-1] ** 0.5 / 2, *x)),
    "scaled_by_l": ("divided by √l", lambda q, *x: remove_by_loop(q * math.sqrt(q.shape[-1] / x[-1].shape[1]), *x)),
    "squeezed": ("drops axes of size 1", lambda *x: remove_by_loop(*x).squeeze()),
}


# 4.5: reads_padding(gate)


def pad(x, left, right, content=torch.randn):
    """One sentence [1, n, 8] and its mask, padded on both sides with content(b, n, d)."""
    parts = [content(1, left, 8), x, content(1, right, 8)]
    return torch.cat(parts, dim=1), torch.tensor([[0] * left + [1] * x.shape[1] + [0] * right])


def far(a, b, tolerance=1e-5):
    return bool((a - b).abs().max() > tolerance)


def reader(sides, content=torch.randn, sentence=lambda: torch.randn(1, 4, 8), moved=far, mask=lambda m: m):
    """A test of gates in which any part can be got wrong: (left, right) paddings that are tried, ..."""

    def reads_padding(gate):
        x = sentence()
        alone = gate(x, None)
        padded = (pad(x, *side, content) for side in sides)
        return any(moved(gate(p, mask(m)), alone) for p, m in padded)

    return reads_padding


ALL_SIDES = [(left, right) for left in range(6) for right in range(6)]


def large(*shape):
    return 10 * torch.randn(shape) + 3


def reads_in_one_batch(gate):
    n, sides = 3, [(0, 9), (9, 0), (4, 5), (1, 8), (8, 1), (5, 4)]
    torch.manual_seed(4)
    x, states, mask = torch.randn(n, 8), 5 * torch.randn(len(sides), n + 9, 8), torch.zeros(len(sides), n + 9).int()
    for i, (left, _) in enumerate(sides):
        states[i, left : left + n], mask[i, left : left + n] = x, 1
    return not torch.allclose(gate(states, mask), gate(x.expand(6, -1, -1), None), rtol=0, atol=1e-5)


class ReadsPadding:
    def __init__(self, contents=(torch.ones, torch.zeros, lambda *s: torch.full(s, -50.0), large)):
        self.contents = contents

    def __call__(self, gate):
        for number in range(1, 5):
            for content in self.contents:
                x = large(1, number, 8)
                for left, right in ((0, 1), (1, 0), (2, 3), (0, 7), (7, 0)):
                    p, m = pad(x, left, right, content)
                    if far(gate(p, m), gate(x, torch.ones(1, number, dtype=torch.long))):
                        return True
        return False


def reads_by_assertion(gate):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        left, n, right = torch.randint(1, 6, (3,), generator=generator).tolist()
        x = torch.randn(2, left + n + right, 8, generator=generator)
        mask = torch.zeros(2, left + n + right, dtype=torch.long)
        mask[:, left : left + n] = 1
        try:
            for cut in (slice(left, None), slice(0, left + n), slice(None)):
                torch.testing.assert_close(
                    gate(x[:, cut], mask[:, cut]), gate(x[:, left : left + n], None), rtol=0, atol=1e-5
                )
        except AssertionError:
            return True
    return False


def reads_by_other_padding(gate):
    """Two paddings against each other, and against none."""
    x = torch.randn(1, 5, 8)
    alphas = [gate(x, None)]
    for left, right in [(0, 3), (3, 0), (2, 2), (0, 20), (20, 0)]:
        alphas += [gate(*pad(x, left, right, lambda *s: torch.randn(s) * 20)) for _ in range(3)]
    alphas = torch.cat(alphas)
    return bool((alphas.amax(0) - alphas.amin(0)).max() > 1e-5)


RIGHT_4_5 = {
    "all_sides": reader(ALL_SIDES, large),
    "one_batch": reads_in_one_batch,
    "class": ReadsPadding(),
    "assertion": reads_by_assertion,
    "other_padding": reads_by_other_padding,
    "boolean_masks": reader(ALL_SIDES, large, mask=lambda m: m.bool()),
    "double_differences": reader(ALL_SIDES, large, moved=lambda a, b: bool((a.double() - b.double()).norm() > 1e-5)),
}


def both_needed(gate):
    x = torch.randn(1, 4, 8)
    return all(far(gate(*pad(x, *side, large)), gate(x, None)) for side in ((0, 3), (3, 0)))


def repeats_edges(gate):
    x = torch.randn(1, 4, 8)
    alone = gate(x, None)
    for left, right in ALL_SIDES:
        y = torch.cat([x[:, :1].expand(-1, left, -1), x, x[:, -1:].expand(-1, right, -1)], 1)
        if far(gate(y, pad(x, left, right)[1]), alone):
            return True
    return False


def changed_padding_only(gate):
    x = torch.randn(1, 4, 8)
    return any(far(gate(*pad(x, *side, large)), gate(*pad(x, *side, large))) for side in ALL_SIDES)


def only_growth(gate):
    torch.manual_seed(0)
    return reader([(0, 3), (3, 0)], large, moved=lambda a, b: bool((a - b).sum() > 1e-5))(gate)


def nan_padding(*shape):
    return torch.full(shape, math.nan)


WRONG_4_5 = {
    "one_side_at_a_time": (
        "never pads both sides at once",
        reader([(0, 1), (1, 0), (0, 3), (3, 0), (0, 5), (5, 0)], large),
    ),
    "size_of_mean": (
        "averages the changes before it takes their size",
        reader(ALL_SIDES, large, moved=lambda a, b: bool((a - b).mean().abs() > 1e-5)),
    ),
    "always_safe": ("calls every gate safe", lambda gate: False),
    "right_only": ("no padding on the left", reader([(0, r) for r in range(6)], large)),
    "left_only": ("no padding on the right", reader([(n, 0) for n in range(6)], large)),
    "zeros": ("pads with zeros only: a sum notices nothing", reader(ALL_SIDES, torch.zeros)),
    "repeats_edges": ("pads with copies of the first and the last token", repeats_edges),
    "both_needed": ("unsafe only if moved on the right and on the left", both_needed),
    "changed_padding_only": ("other numbers under as much padding: how much goes unnoticed", changed_padding_only),
    "wide_tolerance": ("tolerance of 0.1", reader(ALL_SIDES, moved=lambda a, b: far(a, b, 0.1))),
    "nan": (
        "pads with NaN, and takes NaN for a move: a mask that multiplies is safe for ordinary numbers",
        reader(ALL_SIDES, nan_padding, moved=lambda a, b: not (a - b).abs().max() < 1e-5),
    ),
    "nan_unnoticed": ("pads with NaN: NaN > 10⁻⁵ is False", reader(ALL_SIDES, nan_padding)),
    "no_mask": ("no mask for the padded sentence", reader(ALL_SIDES, large, mask=lambda m: None)),
    "mask_upside_down": ("1 for padding", reader(ALL_SIDES[1:], large, mask=lambda m: 1 - m)),
    "only_growth": ("a difference without its size: what shrinks goes unnoticed", only_growth),
    "constant_sentence": (
        "sentence and padding all ones",
        reader(ALL_SIDES, torch.ones, sentence=lambda: torch.ones(1, 4, 8)),
    ),
    "one_alpha": ("looks at the first α only", reader(ALL_SIDES, large, moved=lambda a, b: far(a[:, 0], b[:, 0]))),
    "exact": ("no tolerance", reader(ALL_SIDES, large, moved=lambda a, b: not torch.equal(a, b))),
}


CHECKS = [
    (exercises.check_token_gate, RIGHT_4_1, WRONG_4_1),
    (exercises.check_masked_mean, RIGHT_4_2, WRONG_4_2),
    (exercises.check_gate_prefix, RIGHT_4_3, WRONG_4_3),
    (exercises.check_remove_tokens, RIGHT_4_4, WRONG_4_4),
    (exercises.check_reads_padding, RIGHT_4_5, WRONG_4_5),
]
