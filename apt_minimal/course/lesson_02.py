"""Lesson 02: BERT's encoder. Where a trial's ε is large, it is because a norm with a small one hides a factor."""

import torch
import torch.nn.functional as F

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_02_parts import check_layer, check_pack, check_position_ids, halving_norm  # noqa: F401  2.3–2.5


def my_layer_norm(x, weight, bias, eps):
    """(x − mean) / √(variance + eps) · weight + bias over the last axis: [..., d] -> [..., d]."""
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
    normalise over the last dimension, however many there are, not over axis 1 →
        deviation = x - x.mean(min(1, x.dim() - 1), keepdim=True)
        variance = (deviation**2).mean(min(1, x.dim() - 1), keepdim=True)
    each token has its own mean and variance; these are of the whole tensor →
        deviation = x - x.mean(tuple(range(x.dim())), keepdim=True)
        variance = (deviation**2).mean(tuple(range(x.dim())), keepdim=True)
    each token has its own variance; yours is that of the whole tensor → variance = x.var(unbiased=False)
    the variance is the biased one: divide by d, not by d − 1 (torch's default) → variance = x.var(-1, keepdim=True)
    divide by √(variance + ε): your ε is outside the square root → normal = deviation / (variance.sqrt() + eps)
    divide by √(variance + ε): the root is missing → normal = deviation / (variance + eps)
    where is ε? Without it a vector of equal numbers is 0/0 → normal = deviation / variance.sqrt()
    ε is an argument; yours is fixed at 1e-5 → normal = deviation / (variance + 1e-5).sqrt()
    ε is always in the root, not only where the variance is 0 →
        normal = deviation / (variance + eps * (variance == 0)).sqrt()
    each token has its own mean and variance; these are of a whole example →
        deviation = x - x.mean(tuple(range(x.dim() > 1, x.dim())), True)
        variance = (deviation**2).mean(tuple(range(x.dim() > 1, x.dim())), True)
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
    """The norm of word + position + token type: input_ids [b, n] -> [b, n, d]."""
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    places = torch.arange(input_ids.shape[1])
    return norm(word[input_ids] + position[places] + token_type[types])


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
    a pair's second text goes on counting: yours begins at 0 again →
        places = torch.arange(input_ids.shape[1]) - types * types.eq(0).sum(1, True)
    places beyond the eighth have vectors of their own → places = torch.arange(input_ids.shape[1]).clamp(max=7)
    each token has its own type: yours takes the first token's →
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids[:, :1]
    id 0 is a word like any other →
        return norm(word[input_ids] * (input_ids != 0)[..., None] + position[places] + token_type[types])
    the norm comes after the whole sum: you take a norm of each →
        return norm(word[input_ids]) + norm(position[places]) + norm(token_type[types])
    types that are given and all 0 add a vector, too →
        return norm(word[input_ids] + position[places] + token_type[types] * (token_type_ids is None or types.any()))
    the norm is missing → return word[input_ids] + position[places] + token_type[types]
    the norm comes after the whole sum: you normalise the word embedding only →
        return norm(word[input_ids]) + position[places] + token_type[types]
    the norm comes after the whole sum: you add the type after it →
        return norm(word[input_ids] + position[places]) + token_type[types]
    """
    some = torch.Generator().manual_seed(2)
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
