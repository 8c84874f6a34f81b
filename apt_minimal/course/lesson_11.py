"""Lesson 11: reading the gates."""

import math

import torch
from scipy.stats import kendalltau  # noqa: F401  a slip takes it

from apt_minimal.course.check import exercise
from apt_minimal.course.lesson_11_lengths import check_lengths, check_moved  # noqa: F401  exercises 11.4, 11.5


def attention_without(query, key, value, prefix_key, prefix_value, gone):
    """Return E1's output, [b, h, n, d_h], without the prefix tokens in gone."""
    kept = [i for i in range(prefix_key.shape[2]) if i not in gone]
    p_k = prefix_key[:, :, kept]
    p_v = prefix_value[:, :, kept]
    keys = torch.cat([p_k, key], dim=2)  # [b, h, kept + n, d_h]
    values = torch.cat([p_v, value], dim=2)
    scores = query @ keys.mT / math.sqrt(query.shape[-1])
    weights = scores.softmax(dim=-1)
    return weights @ values


def filled(x, places, dim, number=0.0):
    """x with a number at some places of an axis."""
    return x.index_fill(dim, torch.tensor(places, dtype=torch.long), number)


def one_by_one(l, gone):
    """What is left if each place is deleted from what the ones before have left."""
    kept = list(range(l))
    for i in gone:
        kept = kept[:i] + kept[i + 1 :]
    return kept


@exercise(attention_without)
def check_attention_without(draw):
    """
    ? What would the softmax look like if these tokens had never been there?
    ? Leave them out before keys and values are put together, or set their scores to −∞ before the softmax.
    ? kept = [i for i in range(l) if i not in gone], then prefix_key[:, :, kept]
    a key of zeros (or a score of 0) still takes mass → p_k = filled(prefix_key, gone, 2); p_v = prefix_value
    a value (or weight) of 0 leaves the token its share → p_k = prefix_key; p_v = filled(prefix_value, gone, 2)
    a token of zeros is no missing token → p_k = filled(prefix_key, gone, 2); p_v = filled(prefix_value, gone, 2)
    a low number isn't −∞: scores may lie even lower →
        p_k = prefix_key; p_v = prefix_value
        scores = filled(query @ keys.mT / math.sqrt(query.shape[-1]), gone, -1, -30.0)
    the prefix stands in front, your masked columns behind →
        p_k = prefix_key; p_v = prefix_value
        scores = filled(query @ keys.mT / math.sqrt(query.shape[-1]), [key.shape[2] + i for i in gone], -1, -math.inf)
    nothing has been removed → kept = [i for i in range(prefix_key.shape[2]) if True]
    those in gone are to be removed: yours keeps them and removes the others → kept = gone
    the whole prefix is removed: only the tokens in gone are to go → kept = []
    prefix tokens are counted from 0 → kept = [i for i in range(prefix_key.shape[2]) if i + 1 not in gone]
    yours removes the first of gone only → kept = [i for i in range(prefix_key.shape[2]) if i not in gone[:1]]
    yours removes the last of gone only → kept = [i for i in range(prefix_key.shape[2]) if i not in gone[-1:]]
    removed one by one: behind each the others move → kept = one_by_one(prefix_key.shape[2], gone)
    as many tokens are removed as gone names, but the first ones →
        kept = [i for i in range(prefix_key.shape[2]) if i >= len(gone)]
    all between the first and the last of gone are removed →
        kept = [i for i in range(prefix_key.shape[2]) if not gone or not min(gone) <= i <= max(gone)]
    a key and its value go together: yours leaves other values out → p_v = prefix_value[:, :, : len(kept)]
    a key and its value go together: where one is removed, yours are shifted →
        values = torch.cat([prefix_value, value], dim=2)[:, :, : keys.shape[2]]
    a token that stays takes mass, whatever its key → p_k = filled(prefix_key, gone, 2, 0.5); p_v = prefix_value
    keys and values must stand in the same order → keys = torch.cat([key, p_k], dim=2)
    the scores are not divided by √d_h → scores = query @ keys.mT
    the scores are divided by d_h, not by its root → scores = query @ keys.mT / query.shape[-1]
    the softmax runs over the queries → weights = scores.softmax(dim=-2)
    e^score overflows: leave the exponentials to softmax → weights = scores.exp() / scores.exp().sum(-1, True)
    """

    def inputs(b, h, n, l, d_h, gone):
        return *(draw(b, h, size, d_h) for size in (n, n, n, l, l)), gone

    one = torch.ones(1, 1, 1, 1)
    yield "one word and two prefix tokens", one, one, 2 * one, torch.ones(1, 1, 2, 1), draw(1, 1, 2, 1).round(), [1]
    yield "two of five tokens removed", *inputs(2, 3, 4, 5, 6, [1, 4])
    yield "gone in another order", *inputs(1, 2, 3, 6, 4, [5, 0, 2])
    yield "nothing removed", *inputs(2, 2, 3, 4, 5, [])
    yield "all tokens removed", *inputs(2, 2, 5, 3, 4, [0, 1, 2])
    yield "all sizes equal", *inputs(3, 3, 3, 3, 3, [0])
    yield "a prefix longer than the input", *inputs(1, 1, 1, 7, 2, [3, 6])
    query, key, value, p_k, p_v, gone = inputs(1, 2, 3, 4, 5, [0, 3])
    yield "large scores", 15 * query, 15 * key, value, 15 * p_k, p_v, gone
    yield "scores far below 0", 0.3 * query + 9, 0.3 * key - 9, value, 0.3 * p_k - 9, p_v, gone


def effect(given, without, mask):
    """Return the mean over inputs of ‖given − without‖ / ‖without‖ on real tokens: [b, n, d] twice, [b, n] -> []."""
    padding = ~mask.bool().unsqueeze(-1)
    g = given.masked_fill(padding, 0.0).flatten(1)  # [b, n · d]
    w = without.masked_fill(padding, 0.0).flatten(1)
    change = (g - w).norm(dim=1)
    length = w.norm(dim=1)
    ratio = change / length
    return ratio.mean()


def per_token(given, without):
    """‖given − without‖ / ‖without‖ of each token: [b, n, d] -> [b, n]."""
    return (given - without).norm(dim=2) / without.norm(dim=2)


@exercise(effect)
def check_effect(draw):
    """
    ? For one input without padding: what are the two lengths, and over which axes do they run?
    ? Set padding to 0 in both, flatten tokens and d into one axis, and take norms along it.
    ? (g - w).norm(dim=1) / w.norm(dim=1), with g and w of shape [b, n · d]
    padding must not count → padding = torch.zeros_like(mask).bool().unsqueeze(-1)
    the mask is turned round: True (or 1) is a real token → padding = mask.bool().unsqueeze(-1)
    padding must not count in what you divide by, either → length = without.flatten(1).norm(dim=1)
    padding must not count in the change, either → change = (given - without).flatten(1).norm(dim=1)
    divide by the length of the output without the prefix → length = g.norm(dim=1)
    take the length of the difference, not the difference of the lengths → change = g.norm(dim=1) - length
    take the length of the difference, not how the length changes → ratio = (g.norm(dim=1) / length - 1).abs()
    the change is to be divided by the length of the output without → ratio = change
    one ratio per input, then the mean: yours divides one sum by another → ratio = change.sum() / length.sum()
    one ratio per input: yours takes one norm over the whole batch → ratio = (g - w).norm() / w.norm()
    one norm per input, not one per token → ratio = (per_token(given, without) * mask).sum(1) / mask.sum(1)
    one ratio per input, then the mean: tokens don't count alike → ratio = per_token(given, without)[mask.bool()]
    that is an angle: the difference's length is asked for → ratio = 1 - torch.cosine_similarity(g, w)
    that is a largest singular value: the norm over all numbers is asked for →
        change = torch.linalg.matrix_norm((given - without) * ~padding, 2)
        length = torch.linalg.matrix_norm(without * ~padding, 2)
    norms are asked for, not a ratio for each number → ratio = ((given - without) / without)[mask.bool()].abs()
    all real tokens count, not only the first position → ratio = per_token(given, without)[:, 0]
    norms, not squared norms → ratio = (change / length) ** 2
    a norm is no sum of absolute values → change = (g - w).abs().sum(dim=1); length = w.abs().sum(dim=1)
    the mean over inputs, not the sum → return ratio.sum()
    a mean over the inputs is asked for, one number → return ratio
    the shape is [], a single number: yours has an axis → return ratio.mean()[None]
    """

    def inputs(b, n, d, lengths, dtype=torch.bool):
        without = draw(b, n, d)
        scale = 0.3 + 3 * draw(b, n, 1).sigmoid()
        mask = (torch.arange(n) < torch.tensor(lengths)[:, None]).to(dtype)
        return scale * (without + 0.5 * draw(b, n, d)), scale * without, mask

    one = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 5.0], [1.0, 2.0]]])
    yield "one real token and one of padding", *one, torch.tensor([[True, False]])
    yield "padding behind", *inputs(3, 5, 4, [5, 2, 3])
    yield "padding in front", *tuple(x.flip(1) for x in inputs(3, 6, 2, [1, 6, 4]))
    yield "a mask of integers", *inputs(2, 4, 3, [4, 1], torch.long)
    yield "no padding", *inputs(5, 3, 2, [3] * 5)
    yield "all sizes equal", *inputs(4, 4, 4, [4, 3, 2, 1])
    yield "one input of one token", *inputs(1, 1, 6, [1])
    yield "float64", *tuple(x.double() if x.is_floating_point() else x for x in inputs(2, 3, 4, [3, 2]))


def rank_correlation(one, other):
    """Return Spearman's rank correlation of two readings, [L] each: equal values share the mean of their ranks."""
    deviations = []
    for x in (one, other):
        smaller = (x[:, None] > x).sum(dim=1)
        equal = (x[:, None] == x).sum(dim=1)
        ranks = smaller + (equal + 1) / 2
        deviations.append(ranks - ranks.mean())
    a, b = deviations
    root = (a.square().sum() * b.square().sum()).sqrt()
    return ((a * b).sum() / root).item()


@exercise(rank_correlation)
def check_rank_correlation(draw):
    """
    ? How many values are smaller than a given one, and how many are equal to it?
    ? A value's rank: how many are smaller, plus half of (how many are equal + 1). Then Pearson's formula.
    ? (x[:, None] > x).sum(dim=1) + ((x[:, None] == x).sum(dim=1) + 1) / 2
    that is the correlation of the values: rank them first → ranks = x.double()
    argsort tells which layer comes first: a rank is a layer's place → ranks = x.argsort(stable=True).double()
    equal values share a rank: yours differ → ranks = x.argsort(stable=True).argsort().double()
    equal values share the mean of their ranks, not the lowest → ranks = smaller.double()
    equal values share the mean of their ranks, not the highest → ranks = (smaller + equal).double()
    after equal values ranks are left out → ranks = torch.unique(x, return_inverse=True)[1].double()
    both readings are ranked, not only the first → ranks = x if x is other else smaller + (equal + 1) / 2
    6 Σ d² fails where values are equal → return 1 - 6 * float((a - b).square().sum()) / (len(a) ** 3 - len(a))
    that is a covariance: it is to be divided by both spreads → root = torch.tensor(len(a) - 1.0)
    values that differ by little have different ranks → for x in ((100 * one).round(), (100 * other).round()):
    the sum of products is to be divided → root = torch.ones(())
    that is Kendall's τ, which counts pairs → return float(kendalltau(one, other).statistic)
    ranks have a mean, which is to be taken off → deviations.append(ranks + 0)
    the sign: the same order gives 1 → return -((a * b).sum() / root).item()
    opposite orders give −1, so nothing is squared → return ((a * b).sum() / root).item() ** 2
    opposite orders give −1, not 0 → return (1 + ((a * b).sum() / root).item()) / 2
    opposite orders give −1: no absolute value → return abs(((a * b).sum() / root).item())
    """
    one, other = draw(8), draw(8)
    yield "three layers", torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0, 6.0, 5.0])
    yield "no equal values", one, other.exp()
    yield "some equal values", torch.tensor([3.0, 1, 1, 5, 2, 0]), torch.tensor([1.0, 2, 3, 3, 0, 3])
    yield "many equal values", torch.tensor([0.0, 0, 0, 0, 1]), torch.tensor([2.0, 1, 1, 2, 2])
    yield "opposite orders", one, -(one**3)
    yield "values close together", 0.5 + 1e-3 * one.double(), other.double()
    yield "two layers", torch.tensor([0.1, 0.2]), torch.tensor([5.0, 4.0])
    yield "values below 0", other - 5, one
