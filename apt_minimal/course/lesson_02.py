"""Lesson 02: BERT's encoder. Where a trial's ε is large, it is because a norm with a small one hides a factor."""

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.check import exercise


def my_layer_norm(x, weight, bias, eps):
    deviation = x - x.mean(dim=-1, keepdim=True)
    variance = (deviation**2).mean(dim=-1, keepdim=True)
    normal = deviation / (variance + eps).sqrt()
    return normal * weight + bias


@exercise(my_layer_norm)
def check_layer_norm(draw):
    """
    ? Over which dimension are mean and variance taken, and which shape must they have to be subtracted from x?
    ? Take both over dim=-1 and keep the dimension. The variance is the mean of the squared deviations.
    ? variance = (deviation**2).mean(dim=-1, keepdim=True)
    normalise each token by itself, over the last dimension, not over the tokens →
        deviation = x - x.mean(max(x.dim() - 2, 0), keepdim=True)
        variance = (deviation**2).mean(max(x.dim() - 2, 0), keepdim=True)
    each token has its own mean and variance; these are of the whole tensor →
        deviation = x - x.mean(tuple(range(x.dim())), keepdim=True)
        variance = (deviation**2).mean(tuple(range(x.dim())), keepdim=True)
    each token has its own variance; yours is that of the whole tensor → variance = x.var(unbiased=False)
    the variance is the biased one: divide by d, not by d − 1 (torch's default) → variance = x.var(-1, keepdim=True)
    divide by √(variance + ε): your ε is outside the square root → normal = deviation / (variance.sqrt() + eps)
    divide by √(variance + ε): the root is missing → normal = deviation / (variance + eps)
    where is ε? Without it a vector of equal numbers is 0/0 → normal = deviation / variance.sqrt()
    ε is an argument; yours is fixed at 1e-5 → normal = deviation / (variance + 1e-5).sqrt()
    the mean is not subtracted from x → normal = x / (variance + eps).sqrt()
    weight and bias are swapped: the weight multiplies, the bias is added → return normal * bias + weight
    the weight is missing → return normal + bias
    first times weight, then plus bias: you add the bias first → return (normal + bias) * weight
    """
    yield "one vector, of mean 2 and variance 4", torch.tensor([0.0, 4]), torch.tensor([1.0, 3]), torch.ones(2), 12.0
    for tests, shape, eps, scale in (
        ("three dimensions", (2, 5, 7), 1e-5, 1.0),
        ("as many tokens as features", (4, 4), 1e-5, 1.0),
        ("all sizes the same", (3, 3, 3), 1e-5, 1.0),
        ("four dimensions", (2, 3, 2, 5), 1e-3, 1.0),
        ("one example", (1, 4, 6), 1e-5, 1.0),
        ("one token", (3, 1, 5), 1e-5, 1.0),
        ("a large ε", (3, 4, 6), 0.5, 1.0),
        ("numbers close together", (3, 6), 0.05, 0.02),
        ("numbers closer together", (3, 6), 1e-5, 1e-6),
    ):
        yield tests, draw(*shape) * scale + scale, draw(shape[-1]) + 2.0, draw(shape[-1]), eps
    yield "equal numbers", torch.ones(2, 3, 4), draw(4), draw(4), 1e-5


def embed(input_ids, token_type_ids, word, position, token_type, norm):
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    places = torch.arange(input_ids.shape[1])
    return norm(word[input_ids] + position[places] + token_type[types])


def halving_norm(x: Tensor) -> Tensor:
    """A norm that can be followed by hand: the deviations from the mean, halved."""
    return (x - x.mean(dim=-1, keepdim=True)) / 2


@exercise(embed)
def check_embed(draw):
    """
    ? Which three rows are added for each token, and what picks each of them?
    ? Word by id, position by place (0, 1, …), token type by type, type 0 included; then the norm, once.
    ? torch.zeros_like(input_ids) stands for types that are not given
    without token_type_ids every token is of type 0, and type 0 has a vector, too: add it →
        return norm(word[input_ids] + position[places] + (0 if token_type_ids is None else token_type[types]))
    token_type_ids may be None: every token is of type 0 then → types = token_type_ids
    token_type_ids are not used: every token is of type 0 in yours → types = torch.zeros_like(input_ids)
    types 0 and 1 are swapped → types = torch.zeros_like(input_ids) if token_type_ids is None else 1 - token_type_ids
    type 0 has a vector, too; yours adds one for type 1 only →
        return norm(word[input_ids] + position[places] + types[..., None] * token_type[1])
    positions count from 0, not from 1 → places = torch.arange(input_ids.shape[1]) + 1
    the position embedding is missing → return norm(word[input_ids] + token_type[types])
    each example begins at position 0 → places = torch.arange(input_ids.numel()).view(input_ids.shape)
    positions count every token, whatever the ids: yours puts those of id 0 at position 0 →
        places = torch.arange(input_ids.shape[1]) * (input_ids != 0)
    the norm is missing → return word[input_ids] + position[places] + token_type[types]
    the norm comes after the whole sum: you normalise the word embedding only →
        return norm(word[input_ids]) + position[places] + token_type[types]
    the norm comes after the whole sum: you add the type after it →
        return norm(word[input_ids] + position[places]) + token_type[types]
    """
    draw, some = draws(2), torch.Generator().manual_seed(2)
    tables = torch.eye(2), torch.tensor([[2.0, 0], [0, 4]]), torch.tensor([[0.0, 6], [8, 0]])
    yield "two tokens, one of each type", torch.tensor([[1, 0]]), torch.tensor([[0, 1]]), *tables, halving_norm

    def norm(x):
        return F.layer_norm(x, x.shape[-1:], eps=0.1) * 1.5 + 0.5

    for tests, shape, types in (
        ("a pair", (2, 5), [[0, 0, 0, 1, 1]] * 2),
        ("types that differ from example to example", (3, 4), [[0] * 4, [0, 0, 1, 1], [1, 0, 1, 1]]),
        ("no types", (2, 5), None),
        ("given types that are all 0", (2, 3), [[0] * 3] * 2),
        ("as many examples as tokens", (4, 4), [[0, 1, 1, 0], [0] * 4, [1] * 4, [0, 0, 1, 1]]),
        ("a longer sentence", (2, 24), [[0] * 12 + [1] * 12] * 2),
        ("one example", (1, 6), [[0, 0, 0, 1, 1, 1]]),
        ("one token", (3, 1), [[0], [1], [0]]),
        ("one token without a type", (1, 1), None),
    ):
        ids = torch.randint(3, shape, generator=some)  # id 0 among them: a token like any other
        yield tests, ids, types and torch.tensor(types), draw(3, 5), draw(40, 5), draw(2, 5), norm


def bert_layer(x, attention, attention_norm, feed_forward, feed_forward_norm):
    y = attention_norm(x + attention(x))
    return feed_forward_norm(y + feed_forward(y))


PRE_1, PRE_2 = "y = x + attention(attention_norm(x))", "return y + feed_forward(feed_forward_norm(y))"
INNER_1, INNER_2 = "y = x + attention_norm(attention(x))", "return y + feed_forward_norm(feed_forward(y))"


@exercise(bert_layer)
def check_layer(draw):
    """
    ? What is added to what comes out of the attention, and what to what comes out of the feed-forward?
    ? Twice the same: a part's output is added to what went into that part, and the sum is normalised.
    ? y = attention_norm(x + attention(x))
    this is pre-norm: BERT normalises after each addition →
        y = x + attention(attention_norm(x)); return y + feed_forward(feed_forward_norm(y))
    the feed-forward is pre-norm: BERT normalises the sum → return y + feed_forward(feed_forward_norm(y))
    the norms come after the additions, not before them: norm(x + f(x)) →
        y = x + attention_norm(attention(x)); return y + feed_forward_norm(feed_forward(y))
    the residual of the attention is missing → y = attention_norm(attention(x))
    the residual of the feed-forward is missing → return feed_forward_norm(feed_forward(y))
    the residual of the feed-forward is what goes into it, the first half's output: not x →
        return feed_forward_norm(x + feed_forward(y))
    the feed-forward works on what the first half returns, not on x → return feed_forward_norm(y + feed_forward(x))
    the norm after the attention is missing → y = x + attention(x)
    the norm after the feed-forward is missing → return y + feed_forward(y)
    the two norms are swapped → y = feed_forward_norm(x + attention(x)); return attention_norm(y + feed_forward(y))
    attention_norm stands in both places → return attention_norm(y + feed_forward(y))
    the two parts are swapped: the attention comes first, then the feed-forward →
        y = attention_norm(x + feed_forward(x)); return feed_forward_norm(y + attention(y))
    """
    parts = lambda x: x.flip(-2), halving_norm, lambda x: 3 * x, lambda x: x + 1  # noqa: E731
    yield "parts to follow by hand", torch.tensor([[[0.0, 4.0], [2.0, 2.0]]]), *parts

    def made(b, n, d, scale=1.0):
        mix, inner, outer, affine = draw(d, d) / d**0.5, draw(d, 2 * d) / d**0.5, draw(2 * d, d) / d**0.5, draw(4, d)

        def attention(x):
            return (x @ x.mT / d**0.5).softmax(dim=-1) @ x @ mix + 0.5

        one, two = (lambda x, i=i: F.layer_norm(x, (d,), affine[i] + 2 - 2 * i, affine[i + 1], 0.1) for i in (0, 2))
        return draw(b, n, d) * scale, attention, one, lambda x: F.gelu(x @ inner) @ outer - 0.5, two

    yield "all sizes different", *made(2, 5, 7)
    yield "all sizes the same", *made(4, 4, 4)
    yield "one token", *made(1, 1, 6)
    yield "large numbers", *made(3, 4, 5, scale=3.0)


def pack(state, layer):
    start = f"encoder.layer.{layer}.attention.self"
    names = "query", "key", "value"
    weights = [state[f"{start}.{name}.weight"] for name in names]
    biases = [state[f"{start}.{name}.bias"] for name in names]
    return torch.cat(weights), torch.cat(biases)


def bert_state(layers: int, d: int) -> dict[str, Tensor]:
    """A state dict with the names of transformers' `BertModel`, in its order; each number tells where it stands."""
    parts = [f"attention.self.{name}" for name in ("query", "key", "value")] + ["attention.output.dense"]
    state = {"embeddings.word_embeddings.weight": torch.zeros(9, d)}
    for name in (f"encoder.layer.{i}.{part}" for i in range(layers) for part in parts):
        state[f"{name}.weight"] = 100.0 * len(state) + torch.arange(float(d * d)).view(d, d)
        state[f"{name}.bias"] = 100.0 * len(state) + torch.arange(float(d))
    return state


@exercise(pack)
def check_pack(draw):
    """
    ? Which six tensors of the state dict are needed, and what are they called?
    ? Build the six names with an f-string rather than search for them: "layer.1" also begins "layer.10".
    ? torch.cat([state[f"encoder.layer.{layer}.attention.self.{name}.weight"] for name in ("query", "key", "value")])
    the order is query, key, value: yours is query, value, key → names = "query", "value", "key"
    the order is query, key, value: yours is key, query, value → names = "key", "query", "value"
    layers are numbered from 0, as in the names → start = f"encoder.layer.{layer - 1}.attention.self"
    a layer's number may have two digits → start = f"encoder.layer.{str(layer)[0]}.attention.self"
    query, key and value stand below each other, d rows each: yours are transposed; these weights are [out, in], as torch's →
        weights = [state[f"{start}.{name}.weight"].T for name in names]
    query, key and value stand below each other, d rows each: yours stand beside each other →
        return torch.cat(weights, dim=1), torch.cat(biases)
    query, key and value stand below each other, d rows each: yours have a dimension of their own →
        return torch.stack(weights), torch.stack(biases)
    query, key and value stand below each other, d rows each: yours take turns, row by row →
        return torch.stack(weights, dim=1).flatten(0, 1), torch.stack(biases, dim=1).flatten()
    first the weight, then the bias → return torch.cat(biases), torch.cat(weights)
    the bias is missing: return both, weight and bias → return torch.cat(weights)
    """
    yield "layer 1 of two, d = 2", bert_state(2, 2), 1
    yield "layer 0, d = 6", bert_state(2, 6), 0
    yield "layer 1 beside layers 10 and 11", bert_state(13, 4), 1
    yield "layer 11", bert_state(13, 4), 11


def position_ids(attention_mask):
    real = attention_mask.long()
    count = real.cumsum(dim=1) - 1
    return count * real


@exercise(position_ids)
def check_position_ids(draw):
    """
    ? What does `cumsum(dim=1)` of the mask give at the first real token, and what behind the last?
    ? Count the real tokens up to each place, begin at 0, and set the padding to 0.
    ? count = real.cumsum(dim=1) - 1
    the padding on the left is still counted: the first real token must get 0 →
        count = torch.arange(real.shape[1]).expand(real.shape)
    real tokens are numbered from 0, not from 1 → count = real.cumsum(dim=1)
    padding gets 0, too: yours gets −1 on the left, and the last number on the right → return count
    padding gets 0, too: on the right yours gets the last number → return count.clamp(min=0)
    padding gets 0, too: on the right yours counts on →
        return (torch.arange(real.shape[1]) - real.argmax(dim=1, keepdim=True)).clamp(min=0)
    only padding on the left moves a sentence; yours subtracts all padding →
        count = (torch.arange(real.shape[1]) - (1 - real).sum(dim=1, keepdim=True)).clamp(min=0)
    count along the tokens, not along the batch → count = real.cumsum(dim=0) - 1
    each example has its own padding; yours takes the first example's positions for all →
        return (count * real)[:1].expand(real.shape)
    positions are integers: a table has no row 1.0 → return (count * real).float()
    int8 holds numbers up to 127; positions go beyond → return (count * real).to(torch.int8)
    uint8 holds numbers up to 255; positions go beyond → return (count * real).to(torch.uint8)
    """
    for tests, mask in (
        ("one example, padding on both sides", [[0, 1, 1, 0]]),
        ("padding on the left", [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]),
        ("padding on the right", [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        ("as many examples as tokens", [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]),
        ("one real token", [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]),
        ("one token", [[1]]),
        ("300 tokens", [[0] * 3 + [1] * 297, [1] * 300]),
        ("a boolean mask", [[False, False, True, True, True], [False, True, True, False, False]]),
    ):
        yield tests, torch.tensor(mask)
