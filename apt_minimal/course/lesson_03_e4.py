"""Lesson 03, exercises 3 and 4: what E4 says."""

import torch

from apt_minimal.course.check import exercise


def undo_prefix(output, mass, prefix_output):
    """E4 solved for Attn(q; K, V): (output − m · prefix_output) / (1 − m), [b, h, n, d_h]."""
    m = mass.unsqueeze(-1)  # [b, h, n, 1]
    return (output - m * prefix_output) / (1 - m)


@exercise(undo_prefix)
def check_undo_prefix(draw):
    """
    ? What does E4 say the output is made of, and how large is each part?
    ? Solve E4 for Attn(q; K, V). Then mind the shapes: [b, h, n] beside [b, h, n, d_h].
    ? m = mass.unsqueeze(-1)
    m and 1 − m are swapped: the prefix's share is m → return (output - (1 - m) * prefix_output) / m
    divide by 1 − m, not by m → return (output - m * prefix_output) / m
    the prefix's part is gone, but the rest is still shrunk by 1 − m → return output - m * prefix_output
    the rest was shrunk by 1 − m: divide by it, don't multiply → return (output - m * prefix_output) * (1 - m)
    the prefix's part is still in it: dividing by 1 − m undoes only the shrinking → return output / (1 - m)
    divide the whole difference by 1 − m, not the prefix's part alone: mind the brackets →
        return output - m * prefix_output / (1 - m)
    the rest was shrunk by 1 − m: divide by that, not by 1 + m → return (output - m * prefix_output) / (1 + m)
    this is Attn(q; P_k, P_v), the prefix's own output: Attn(q; K, V) is asked for → return prefix_output
    the mass [b, h, n] is left to broadcasting, which lines it up with the last axes, [h, n, d_h] → m = mass
    each example has its own mass: yours is the first one's → m = mass[:1].unsqueeze(-1)
    a mass may lie near 0 or 1: don't clamp it → m = mass.clamp(0.15, 0.85).unsqueeze(-1)
    the mass belongs to the queries, not to the d_h numbers of an output: give it a last axis of 1 →
        m = mass.unsqueeze(-2)
    """
    ones = torch.ones(1, 1, 1, 2)
    yield "a mass of ¼", 7 * ones, torch.tensor([[[0.25]]]), 4 * ones
    for tests, *shape in (
        ("all sizes different", 2, 3, 4, 5),
        ("n = d_h", 2, 3, 4, 4),
        ("all sizes the same, where broadcasting fits in every direction", 3, 3, 3, 3),
        ("one query", 1, 1, 1, 6),
    ):
        plain, prefix, mass = draw(*shape), draw(*shape), 0.5 + 0.4 * draw(*shape[:3]).sin()
        yield tests, (1 - mass[..., None]) * plain + mass[..., None] * prefix, mass, prefix


def can_a_prefix(before, after):
    """Whether a prefix can turn the weights `before` [n] into `after` [n]: all shrink by one factor."""
    factor = after.sum()  # `before` sums to 1
    shrinks = 0 < factor < 1
    same = torch.allclose(after, factor * before)
    return bool(shrinks and same)


@exercise(can_a_prefix, pairs=False)
def check_can_a_prefix(draw):
    """
    ? What does E4 say about after / before? And which values can m(q) not have?
    ? One factor, 1 − m, for all tokens: strictly between 0 and 1. What is it, if `before` sums to 1?
    ? factor = after.sum()
    your function always says True: some changes are out of a prefix's reach → return True
    your function says True exactly where a prefix cannot do it: turn it round → return not (shrinks and same)
    a smaller sum is not enough: the ratios between the input's weights must stay → return bool(shrinks)
    it is not enough that every weight shrinks: all must shrink by the same factor → return bool((after < before).all())
    the same ratios are not enough: the factor must lie between 0 and 1, ends excluded → return same
    a factor of 1 would need a prefix without any weight, and e^score is never 0 → shrinks = 0 < factor <= 1
    a factor of 0 would leave the input without any weight, and e^score is never 0 → shrinks = 0 <= factor < 1
    the same order is not enough: the ratios must stay, too →
        return bool(shrinks and (after < before).all() and (before.argsort() == after.argsort()).all())
    ratios that differ a little are not the same → same = (r := after / before).max() - r.min() < 0.1
    ratios that differ very little are not the same → same = len((after / before * 100).round().unique()) == 1
    a token that loses all its weight counts, too → same = torch.allclose(r := (after / before)[after > 0], r[:1])
    it is not enough that the ratios stay within pairs →
        same = all(before[i] * after[i + 1] == before[i + 1] * after[i] for i in range(0, len(before) - 1, 2))
    one token has a factor, too: strictly between 0 and 1 → shrinks = len(before) == 1 or 0 < factor < 1
    a factor just below 1 is in reach → shrinks = 0 < factor < 0.95
    factors of 0 and of 1 are out of reach: e^score is never 0, for the prefix and for the input →
        shrinks = 0 <= factor <= 1
    """
    # Halves of halves: sums and products are exact, so no answer can stumble over rounding.
    four, even, pair = [1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4, [3 / 4, 1 / 4]
    for tests, before, after in (
        ("all weights halved", [1 / 2, 1 / 2], [1 / 4, 1 / 4]),
        ("a small factor", four, [x / 64 for x in four]),
        ("a factor a little below 1", even, [63 / 256] * 4),
        ("one token, less weight", [1.0], [3 / 4]),
        ("one token, all the weight", [1.0], [1.0]),
        ("one token, no weight", [1.0], [0.0]),
        ("two change places", four, [1 / 16, 1 / 8, 1 / 16, 1 / 4]),
        ("two small ones change places", four, [1 / 4, 1 / 16, 1 / 8, 1 / 16]),
        ("the order stays, the largest grows", four, [5 / 8, 1 / 8, 1 / 16, 1 / 16]),
        ("the largest is halved, the others are not", four, [1 / 4, 1 / 32, 1 / 16, 1 / 16]),
        ("ratios that stay within pairs", even, [1 / 8, 1 / 8, 1 / 16, 1 / 16]),
        ("one weight a little too large", even, [1 / 8, 1 / 8, 1 / 8, 33 / 256]),
        ("equal weights that differ by little", [1 / 2, 1 / 2], [1 / 4, 16385 / 65536]),
        ("one of four small weights doubled", four, [1 / 128, 1 / 256, 1 / 512, 1 / 256]),
        ("every weight smaller by the same amount", four, [7 / 16, 3 / 16, 1 / 16, 1 / 16]),
        ("one token hidden", four, [1 / 4, 1 / 8, 1 / 16, 0.0]),
        ("one token alone", four, [1 / 2, 0.0, 0.0, 0.0]),
        ("two turned round", pair, [1 / 8, 3 / 8]),
        ("no change", four, four),
        ("no weight left", four, [0.0] * 4),
        ("all weights grow", four, [x * 1.5 for x in four]),
    ):
        yield tests, torch.tensor(before), torch.tensor(after)
