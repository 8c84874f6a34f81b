"""Lesson 02, exercises 3 to 5: a layer, its packed weights, and positions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.check import exercise


def halving_norm(x: Tensor) -> Tensor:
    """A norm that can be followed by hand: the deviations from the mean, halved."""
    return (x - x.mean(dim=-1, keepdim=True)) / 2


def bert_layer(x, attention, attention_norm, feed_forward, feed_forward_norm):
    """norm(x + attention(x)), then norm(y + feed_forward(y)): [b, n, d] -> [b, n, d]."""
    y = attention_norm(x + attention(x))
    return feed_forward_norm(y + feed_forward(y))


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
    one after the other: the feed-forward works on what the attention's half returns →
        return feed_forward_norm(attention_norm(x + attention(x) + feed_forward(x)))
    each norm follows its own half: yours both stand at the end →
        y = x + attention(x); return feed_forward_norm(attention_norm(y + feed_forward(y)))
    the second half is the feed-forward: yours is the attention again → return feed_forward_norm(y + attention(y))
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
    """The weights [3d, d] and biases [3d] of a layer's query, key and value, one below the other."""
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
    names that are sorted as texts come in the order 0, 1, 10, 11, 2 →
        start = f"encoder.layer.{sorted({k.split('.')[2] for k in state if 'layer.' in k})[layer]}.attention.self"
    a layer's number may have two digits → start = f"encoder.layer.{str(layer)[0]}.attention.self"
    query, key and value stand below each other: yours are transposed; weights are [out, in] →
        weights = [state[f"{start}.{name}.weight"].T for name in names]
    query, key and value stand below each other: yours stand beside each other →
        return torch.cat(weights, dim=1), torch.cat(biases)
    query, key and value stand below each other: yours have a dimension of their own →
        return torch.stack(weights), torch.stack(biases)
    query, key and value stand below each other: yours take turns, row by row →
        return torch.stack(weights, dim=1).flatten(0, 1), torch.stack(biases, dim=1).flatten()
    the biases have another order than the weights: query, key, value →
        biases = [state[f"{start}.{name}.bias"] for name in ("key", "query", "value")]
    the value's weight is transposed; weights are [out, in] →
        return torch.cat([*weights[:2], weights[2].T]), torch.cat(biases)
    the query is not divided by √d here: attention does it →
        return [torch.cat([x[0] / len(x[0]) ** 0.5, *x[1:]]) for x in (weights, biases)]
    first the weight, then the bias → return torch.cat(biases), torch.cat(weights)
    the bias is missing: return both, weight and bias → return torch.cat(weights)
    """
    yield "layer 1 of two, d = 2", bert_state(2, 2), 1
    yield "layer 0, d = 6", bert_state(2, 6), 0
    yield "layer 1 beside layers 10 and 11", bert_state(13, 4), 1
    yield "layer 11", bert_state(13, 4), 11


def position_ids(attention_mask):
    """Positions that count real tokens from 0, and 0 under padding: [b, n] -> [b, n]."""
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
    each example begins at its own first token; yours all begin where the first one does →
        count = (torch.arange(real.shape[1]) - real[0].argmax()).clamp(min=0)
    each example begins at its own first token; yours all begin where the longest one does →
        count = (torch.arange(real.shape[1]) - real.argmax(1).min()).clamp(min=0)
    real tokens stay where they are: yours move to the left →
        return torch.arange(real.shape[1]) * (torch.arange(real.shape[1]) < real.sum(1, True))
    each example has its own padding; yours takes the first example's positions for all →
        return (count * real)[:1].expand(real.shape)
    positions are integers: a table has no row 1.0 → return (count * real).float()
    positions are integers where the mask is boolean, too → return (count * real).to(attention_mask.dtype)
    positions go beyond seven → return (count * real).clamp(max=7)
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
