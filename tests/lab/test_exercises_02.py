"""Lesson 02's checkers pass right answers in different styles, and name the usual mistakes."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn

from apt_minimal.course import lesson_02 as exercises
from apt_minimal.course.checking import difference

# --- 2.1


def norm_plain(x, weight, bias, eps):
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


def norm_by_var(x, weight, bias, eps):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


def norm_by_loop(x, weight, bias, eps):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        mean = sum(row.tolist()) / len(row)
        variance = sum((v - mean) ** 2 for v in row.tolist()) / len(row)
        rows.append([(v - mean) / math.sqrt(variance + eps) for v in row.tolist()])
    return torch.tensor(rows).view(x.shape) * weight + bias


def norm_in_place(x, weight, bias, eps):
    x -= reduce(x, "... d -> ... 1", "mean")
    x /= (reduce(x**2, "... d -> ... 1", "mean") + eps) ** 0.5
    return x.mul_(weight).add_(bias)


def norm_in_double(x, weight, bias, eps):
    x, d = x.double(), x.shape[-1]
    mean = x.sum(-1) / d
    variance = (x * x).sum(-1) / d - mean**2
    return weight * ((x - mean[..., None]) / (variance + eps).sqrt().unsqueeze(-1)) + bias


def norm_of(divide, unbiased=False, dim=-1):
    """A layer norm that divides by something else."""

    def norm(x, weight, bias, eps):
        variance = x.var(dim=dim, unbiased=unbiased, keepdim=True)
        return (x - x.mean(dim=dim, keepdim=True)) / divide(variance, eps) * weight + bias

    return norm


def norm_of_all(x, w, b, eps):
    return (x - x.mean()) / (x.var(unbiased=False) + eps).sqrt() * w + b


def norm_of_example(x, w, b, eps):
    if x.dim() < 3:
        return norm_of_all(x, w, b, eps)
    return F.layer_norm(x, x.shape[-2:], None, None, eps) * w + b


def norm_without_keepdim(x, w, b, eps):
    return (x - x.mean(-1)) / (x.var(-1, unbiased=False) + eps).sqrt() * w + b


def root(v, eps):
    return (v + eps).sqrt()


# --- 2.2


def embed_plain(ids, types, word, position, token_type, norm):
    if types is None:
        types = torch.zeros_like(ids)
    return norm(word[ids] + position[torch.arange(ids.shape[1])] + token_type[types])


def embed_functional(ids, types, word, position, token_type, norm):
    types = ids * 0 if types is None else types
    x = F.embedding(ids, word)
    x += position[: ids.size(1)].unsqueeze(0)
    x += F.embedding(types, token_type)
    return norm(x)


def embed_by_loop(ids, types, word, position, token_type, norm):
    rows = []
    for b in range(len(ids)):
        for i in range(ids.shape[1]):
            rows.append(word[ids[b, i]] + position[i] + token_type[0 if types is None else types[b, i]])
    return norm(torch.stack(rows).view(*ids.shape, -1))


def embed_one_hot(ids, types, word, position, token_type, norm):
    x = F.one_hot(ids, len(word)).float() @ word + position[None, : ids.shape[1], :]
    second = torch.zeros(ids.shape) if types is None else types.float()
    return norm(x + token_type[0] + second[..., None] * (token_type[1] - token_type[0]))


def embed_but(**change):
    """The plain embedding with one step replaced."""
    steps = {
        "w": lambda word, ids: word[ids],
        "p": lambda position, ids: position[torch.arange(ids.shape[1])],
        "t": lambda table, types, ids: table[torch.zeros_like(ids) if types is None else types],
        "add": lambda w, p, t, norm: norm(w + p + t),
    } | change

    def embed(ids, types, word, position, token_type, norm):
        parts = steps["w"](word, ids), steps["p"](position, ids), steps["t"](token_type, types, ids)
        return steps["add"](*parts, norm)

    return embed


def no_none(table, types, ids):
    return table[types]


# --- 2.3


def layer_plain(x, attention, attention_norm, feed_forward, feed_forward_norm):
    y = attention_norm(x + attention(x))
    return feed_forward_norm(y + feed_forward(y))


def layer_in_place(x, attention, attention_norm, feed_forward, feed_forward_norm):
    for part, norm in ((attention, attention_norm), (feed_forward, feed_forward_norm)):
        residual = x.clone()
        x = part(x)
        x += residual
        x = norm(x)
    return x


def layer_of_modules(x, attention, attention_norm, feed_forward, feed_forward_norm):
    class Residual(nn.Module):
        def __init__(self, part, norm):
            super().__init__()
            self.part, self.norm = part, norm

        def forward(self, x):
            return self.norm(torch.add(self.part(x), x))

    return nn.Sequential(Residual(attention, attention_norm), Residual(feed_forward, feed_forward_norm))(x)


def pre_norm(x, a, n1, f, n2):
    x = x + a(n1(x))
    return x + f(n2(x))


def inner_norm(x, a, n1, f, n2):
    x = x + n1(a(x))
    return x + n2(f(x))


def pre_norm_swapped(x, a, n1, f, n2):
    return pre_norm(x, a, n2, f, n1)


# --- 2.4


def pack_plain(state, layer):
    start = f"encoder.layer.{layer}.attention.self."
    weights = [state[start + f"{name}.weight"] for name in ("query", "key", "value")]
    biases = [state[start + f"{name}.bias"] for name in ("query", "key", "value")]
    return torch.cat(weights, dim=0), torch.cat(biases)


def pack_einops(state, layer):
    def take(kind):
        return [state[f"encoder.layer.{layer}.attention.self.{n}.{kind}"] for n in ("query", "key", "value")]

    return [rearrange(take("weight"), "three o i -> (three o) i"), rearrange(take("bias"), "three o -> (three o)")]


def pack_by_filling(state, layer):
    d = len(state[f"encoder.layer.{layer}.attention.self.query.bias"])
    weight, bias = torch.empty(3 * d, d), torch.empty(3 * d)
    for i, name in enumerate(["query", "key", "value"]):
        weight[i * d : (i + 1) * d] = state[f"encoder.layer.{layer}.attention.self.{name}.weight"]
        bias[i * d : (i + 1) * d] = state[f"encoder.layer.{layer}.attention.self.{name}.bias"]
    return weight, bias


def pack_by_search(state, layer, start="layer.{}"):
    """The last names that contain the layer's: right only if `start` ends in a dot."""
    found = []
    for kind in ("weight", "bias"):
        parts = []
        for name in ("query", "key", "value"):
            hits = [k for k in state if start.format(layer) in k and k.endswith(f"self.{name}.{kind}")]
            parts.append(state[hits[-1]])
        found.append(torch.cat(parts))
    return tuple(found)


def pack_with(join, join_bias=torch.cat, names=("query", "key", "value"), shift=0):
    def pack(state, layer):
        start = f"encoder.layer.{layer + shift}.attention.self."
        return tuple(
            how([state[f"{start}{name}.{kind}"] for name in names])
            for how, kind in ((join, "weight"), (join_bias, "bias"))
        )

    return pack


# --- 2.5


def ids_by_cumsum(mask):
    return (mask.long().cumsum(1) - 1).clamp(min=0) * mask.long()


def ids_by_loop(mask):
    ids = torch.zeros(mask.shape, dtype=torch.int32)
    for i in range(len(mask)):
        count = 0
        for j in range(mask.shape[1]):
            if mask[i, j]:
                ids[i, j] = count
                count += 1
    return ids


def ids_by_first(mask):
    places = torch.arange(mask.shape[1])
    first = torch.stack([row.nonzero()[0] for row in mask])
    return torch.where(mask.bool(), places - first, 0)


def ids_by_fill(mask):
    ids = mask.int().cumsum(-1) - 1
    ids.masked_fill_(mask == 0, 0)
    return ids


RIGHT = {
    "check_layer_norm": [norm_plain, norm_by_var, norm_by_loop, norm_in_place, norm_in_double],
    "check_embed": [embed_plain, embed_functional, embed_by_loop, embed_one_hot],
    "check_layer": [layer_plain, layer_in_place, layer_of_modules],
    "check_pack": [pack_plain, pack_einops, pack_by_filling, lambda s, i: pack_by_search(s, i, ".layer.{}.")],
    "check_position_ids": [ids_by_cumsum, ids_by_loop, ids_by_first, ids_by_fill],
}


@pytest.mark.parametrize("check, answer", [(check, answer) for check, answers in RIGHT.items() for answer in answers])
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert getattr(exercises, check)(answer)
    assert capsys.readouterr().out == "✓ right\n"


LAYER_NORM = [
    (norm_of(root, unbiased=True), "biased one"),
    (norm_of(lambda v, eps: v.sqrt() + eps), "outside the square root"),
    (norm_of(lambda v, eps: v.sqrt() + eps, unbiased=True), "(torch's default); divide by √(variance + ε): your ε is"),
    (norm_of(lambda v, eps: v.sqrt()), "where is ε"),
    (norm_of(lambda v, eps: v.sqrt(), unbiased=True), "(torch's default); where is ε"),
    (norm_of(lambda v, eps: v + eps), "root is missing"),
    (norm_of(lambda v, eps: v), "root and ε are missing"),
    (norm_of(lambda v, eps: (v + 1e-5).sqrt()), "fixed at 1e-5"),
    (norm_of(lambda v, eps: (v + 1e-12).sqrt()), "fixed at 1e-12"),
    (norm_of(lambda v, eps: v.where(v > 0, eps).sqrt()), "added always"),
    (norm_of(lambda v, eps: v.sqrt().clamp(min=eps)), "no lower limit of the root"),
    (norm_of(lambda v, eps: v.clamp(min=eps).sqrt()), "no lower limit of the variance"),
    (norm_of(root, dim=0), "not over the first"),
    (norm_of(root, dim=-2), "-1; yours is the one before it"),
    (norm_of(root, dim=1), "not always 1"),
    (lambda *x: norm_of(root, dim=min(1, x[0].dim() - 1))(*x), "yours is 1"),
    (lambda *x: norm_of(root, dim=tuple(range(1, x[0].dim())) or -1)(*x), "all but the first dimension"),
    (
        lambda x, w, b, e: (x - x.mean(-1, keepdim=True)) / (x.var(unbiased=False) + e).sqrt() * w + b,
        "yours is that of the whole tensor",
    ),
    (lambda *x: norm_plain(*x).squeeze(), "may have the size 1"),
    (norm_of_all, "of the whole tensor"),
    (norm_of_example, "of a whole example"),
    (norm_without_keepdim, "keepdim=True"),
    (
        lambda x, w, b, eps: (d := x - x.mean(-1)) / ((d**2).mean(-1) + eps).sqrt() * w + b,
        "mean and variance, of these deviations",
    ),
    (
        lambda x, w, b, eps: (d := x - x.mean(-1)) / ((d**2).mean(-1, keepdim=True) + eps).sqrt() * w + b,
        "the mean, and so the deviations",
    ),
    (
        lambda x, w, b, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b,
        "the mean is not subtracted from x; a variance averages",
    ),
    (lambda x, w, b, eps: F.layer_norm(x, w.shape, b, w, eps), "swapped"),
    (lambda x, w, b, eps: F.layer_norm(x, w.shape, None, None, eps), "weight and bias are missing"),
    (lambda x, w, b, eps: F.layer_norm(x, w.shape, w, None, eps), "the bias is missing"),
    (lambda x, w, b, eps: F.layer_norm(x, w.shape, None, b, eps), "the weight is missing"),
    (lambda x, w, b, eps: (F.layer_norm(x, w.shape, None, None, eps) + b) * w, "add the bias first"),
    (lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b), "fixed at 1e-5"),
    (lambda x, w, b, eps: F.layer_norm(x * w + b, w.shape, None, None, eps), "normalise first"),
    (lambda x, w, b, eps: (x - x.mean(-1, keepdim=True)) * w + b, "the division is missing"),
    (lambda x, w, b, eps: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps), "outside"),
    (lambda x, w, b, eps: x.sigmoid() * w + b, "over the last dimension; then times weight"),
    (lambda x, w, b, eps: None, "is there a return"),
]
EMBED = [
    (embed_but(p=lambda position, ids: position[1 : ids.shape[1] + 1]), "from 0, not from 1"),
    (embed_but(p=lambda position, ids: 0), "position embedding is missing"),
    (embed_but(p=lambda position, ids: position[torch.arange(len(ids))][:, None]), "not in the batch"),
    (embed_but(p=lambda position, ids: position[torch.arange(len(ids))]), "each of the n tokens"),
    (embed_but(p=lambda position, ids: position), "first n rows"),
    (embed_but(p=lambda position, ids: position[ids]), "not the token's id"),
    (embed_but(p=lambda position, ids: position[0]), "position 0 in yours"),
    (embed_but(p=lambda position, ids: position[torch.arange(ids.numel()).reshape(ids.shape)]), "begins at position 0"),
    (embed_but(t=lambda table, types, ids: 0), "type embedding is missing"),
    (embed_but(t=lambda table, types, ids: table[0]), "are not used"),
    (embed_but(t=lambda table, types, ids: 0 if types is None else table[types]), "type 0 has a vector, too"),
    (embed_but(t=lambda table, types, ids: 0 if types is None else table[1] * types[..., None]), "for type 1 only"),
    (embed_but(t=lambda table, types, ids: table[1 if types is None else types]), "not of type 1"),
    (embed_but(t=no_none), "may be None"),
    (embed_but(t=lambda table, types, ids: F.embedding(types, table)), "may be None"),
    (embed_but(add=lambda w, p, t, norm: w + p + t), "norm is missing"),
    (embed_but(add=lambda w, p, t, norm: norm(w) + p + t), "word embedding only"),
    (embed_but(add=lambda w, p, t, norm: norm(w + p) + t), "add the type after it"),
    (embed_but(add=lambda w, p, t, norm: norm(w) + norm(p[None]) + norm(t)), "each summand"),
    (embed_but(add=lambda w, p, t, norm: norm((w + p + t) / 3)), "their mean"),
    (embed_but(add=lambda w, p, t, norm: norm(w * p * t)), "not multiplied"),
    (embed_but(w=lambda word, ids: word[ids] * word.shape[1] ** 0.5), "times √d"),
    (
        embed_but(p=lambda p, ids: p[1 : ids.shape[1] + 1], add=lambda w, p, t, norm: w + p + t),
        "not from 1; the norm is missing",
    ),
    (
        embed_but(p=lambda p, ids: 0, t=lambda table, types, ids: 0),
        "the position embedding is missing; the token type embedding",
    ),
    (embed_but(add=lambda w, p, t, norm: norm(w - p * t)), "three rows are added"),
    (embed_but(p=lambda p, ids: p[((ids != 0).cumsum(1) - 1).clamp(min=0)]), "leaves out those of id 0"),
    (embed_but(p=lambda p, ids: p[torch.arange(ids.shape[1]) * (ids != 0)]), "puts those of id 0 at position 0"),
    (embed_but(p=lambda p, ids: p[torch.arange(ids.shape[1]).clamp(max=7)]), "a longer sentence"),
    (embed_but(w=lambda word, ids: word[ids] * (ids != 0)[..., None]), "adds zeros there"),
    (embed_but(t=lambda table, types, ids: table[ids * 0 if types is None else 1 - types]), "0 and 1 are swapped"),
    (embed_but(t=lambda table, types, ids: table[(ids * 0 if types is None else types)[:, :1]]), "its example's first"),
    (embed_but(add=lambda w, p, t, norm: norm(w + p + t).transpose(0, 1)), "yours is [n, b, d]"),
    (embed_but(add=lambda w, p, t, norm: norm(w @ p)), "three rows are added"),  # an error, but none of those named
]
LAYER = [
    (pre_norm, "this is pre-norm"),
    (pre_norm_swapped, "this is pre-norm: BERT normalises after each addition; the two norms are swapped"),
    (inner_norm, "come after the additions"),
    (lambda x, a, n, f, m: m(f(n(a(x)))), "both residuals are missing"),
    (lambda x, a, n, f, m: (lambda y: m(y + f(y)))(n(a(x))), "residual of the attention is missing"),
    (lambda x, a, n, f, m: m(f(n(x + a(x)))), "residual of the feed-forward is missing"),
    (lambda x, a, n, f, m: m(x + f(n(x + a(x)))), "output: not x"),
    (lambda x, a, n, f, m: m(x + a(x) + f(n(x + a(x)))), "not the sum before its norm"),
    (lambda x, a, n, f, m: m(n(x + a(x)) + f(x)), "not on x"),
    (lambda x, a, n, f, m: layer_plain(x, a, m, f, n), "norms are swapped"),
    (lambda x, a, n, f, m: layer_plain(x, a, n, f, n), "attention_norm stands in both"),
    (lambda x, a, n, f, m: layer_plain(x, a, m, f, m), "feed_forward_norm stands in both"),
    (lambda x, a, n, f, m: layer_plain(x, f, m, a, n), "the attention and its norm come first"),
    (lambda x, a, n, f, m: layer_plain(x, f, n, a, m), "✗ the two parts are swapped"),
    (lambda x, a, n, f, m: layer_plain(x, a, n, a, m), "attention stands in both places"),
    (lambda x, a, n, f, m: m(n(x + a(x) + f(x))), "adds up x and both parts"),
    (lambda x, a, n, f, m: (lambda s: m(n(s + f(s))))(x + a(x)), "both come at the end"),
    (lambda x, a, n, f, m: (lambda y: m((y + f(y)) / 2))(n((x + a(x)) / 2)), "sums must not be halved"),
    (lambda x, a, n, f, m: n(x + a(x)), "feed-forward and its norm are missing"),
    (lambda x, a, n, f, m: (lambda y: y + f(y))(n(x + a(x))), "norm after the feed-forward is missing"),
    (lambda x, a, n, f, m: (lambda y: y + f(y))(x + a(x)), "both norms are missing"),
    (lambda x, a, n, f, m: (lambda y: m(y + f(y)))(x + a(n(x))), "the attention is pre-norm"),
    (lambda x, a, n, f, m: layer_plain(x, a, n, f, m)[:, 0], "what the first half returns"),
]
PACK = [
    (pack_with(lambda w: torch.cat(w, dim=1)), "stand beside each other"),
    (pack_with(torch.stack), "dimension of their own"),
    (pack_with(torch.stack, torch.stack), "dimension of their own; the bias is one vector"),
    (pack_with(lambda w: torch.cat([p.T for p in w])), "transposed"),
    (pack_with(torch.cat, names=("query", "value", "key")), "yours is query, value, key"),
    (pack_with(torch.cat, names=("key", "query", "value")), "yours is key, query, value"),
    (pack_with(torch.cat, shift=-1), "numbered from 0"),
    (pack_with(torch.cat, shift=1), "the one above"),
    (pack_by_search, "fit as a whole"),
    (lambda state, layer: pack_plain(state, 0), "whichever is asked for"),
    (lambda state, layer: pack_plain(state, layer)[::-1], "first the weight"),
    (lambda state, layer: pack_plain(state, layer)[0], "bias is missing"),
    (pack_with(lambda w: torch.cat([*w[:2], w[2].T])), "(the value)"),
    (
        lambda s, i: (pack_plain(s, i)[0], pack_with(torch.cat, names=("key", "query", "value"))(s, i)[1]),
        "(in the bias)",
    ),
    (lambda s, i: pack_plain(s, int(sorted(map(str, range(13 if len(s) > 99 else 2)))[i])), "sorted as text"),
    (
        lambda s, i: pack_with(*[lambda w: torch.cat([w[0] / len(w[0]) ** 0.5, *w[1:]])] * 2)(s, i),
        "attention that divides",
    ),
    (pack_with(torch.cat, lambda b: torch.cat(b).zero_()), "not 0"),
    (lambda state, layer: [w * 2 for w in pack_plain(state, layer)], "weight [3d, d] and bias [3d]"),
]
POSITIONS = [
    (lambda m: torch.arange(m.shape[1]).expand(m.shape), "default positions"),
    (lambda m: torch.arange(m.shape[1]), "one row for each example"),
    (lambda m: torch.arange(m.shape[1]) * m, "still counted"),
    (lambda m: m.long().cumsum(1) - 1, "yours gets −1 on the left"),
    (lambda m: m.long().cumsum(1) * m.long(), "not from 1"),
    (lambda m: (m.long().cumsum(1) - 1).clamp(min=0), "gets the last number"),
    (lambda m: (m.long().cumsum(1) - 1).masked_fill(m == 0, 1), "yours gets 1"),
    (lambda m: (torch.arange(m.shape[1]) - (m == 0).sum(1, keepdim=True)) * m.long(), "subtracts all padding"),
    (lambda m: (torch.arange(m.shape[1]) - m.int().argmax(1, keepdim=True)).clamp(min=0), "counts on"),
    (lambda m: (m.long().cumsum(0) - 1) * m.long(), "along the batch"),
    (lambda m: ids_by_cumsum(m).float(), "integers"),
    (lambda m: ids_by_cumsum(m).to(torch.int8), "up to 127"),
    (lambda m: ids_by_cumsum(m).to(torch.uint8), "up to 255"),
    (lambda m: ids_by_cumsum(m)[:1].expand(m.shape), "first example's positions"),
    (lambda m: (torch.arange(m.shape[1]) - m.int().argmax(1).min()) * m.long(), "batch's least"),
    (lambda m: ids_by_cumsum(m.long().sort(dim=1, descending=True).values), "to the left"),
    (lambda m: ids_by_cumsum(m) + 2, "number the real tokens"),
    (lambda m: ids_by_cumsum(m - 0), "boolean"),  # booleans have no subtraction
]
WRONG = {
    "check_layer_norm": LAYER_NORM,
    "check_embed": EMBED,
    "check_layer": LAYER,
    "check_pack": PACK,
    "check_position_ids": POSITIONS,
}


@pytest.mark.parametrize("check, answer, said", [(check, *case) for check, cases in WRONG.items() for case in cases])
def test_each_usual_mistake_is_named(check, answer, said, capsys):
    assert not getattr(exercises, check)(answer)
    out = capsys.readouterr().out
    assert out.startswith("✗ ") and out.count("\n") == 1 and said in out


@pytest.mark.parametrize("check", WRONG)
def test_an_unsolved_exercise_is_no_error(check, capsys):
    def unsolved(*inputs):
        raise NotImplementedError

    assert not getattr(exercises, check)(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"


@pytest.mark.parametrize("check", WRONG)
def test_no_listed_mistake_passes_every_trial(check, monkeypatch):
    def look(answer, right, trials, mistakes):
        def fails(mistake, inputs):
            try:
                return bool(difference(mistake(*inputs), right(*inputs)))
            except Exception:
                return True

        assert [m for m, mistake in mistakes.items() if not any(fails(mistake, inputs) for _, inputs in trials)] == []

    monkeypatch.setattr(exercises, "check", look)
    getattr(exercises, check)(None)
