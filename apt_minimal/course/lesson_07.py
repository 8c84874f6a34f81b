"""Lesson 07: APT inside BERT."""

import torch
import torch.nn.functional as F

from apt_minimal.course.check import exercise


def equal_sizes(l):
    """Return P-tuning v2's prefix length and LoRA's rank that have as many parameters as APT with length l."""
    blocks = 3 * l  # of d numbers each: P_k, P_v and W
    length = blocks // 2
    rank = blocks // 4
    return length, rank


@exercise(equal_sizes)
def check_equal_sizes(draw):
    """
    ? Count one layer's parameters in units of d: of APT, of P-tuning v2 per prefix token, of LoRA per unit of rank.
    ? APT has three blocks of l · d: P_k, P_v and W. P-tuning v2 has two, and LoRA four of r · d.
    ? 3 l = 2 · length = 4 · rank
    the other way round: first P-tuning v2's length, then LoRA's rank → return rank, length
    per layer APT's gate has W too: three blocks of l · d, not two → blocks = 2 * l
    W is shared by keys and values: it counts once → blocks = 4 * l
    P-tuning v2 has no W, so it needs a longer prefix for as many parameters → length = l
    P-tuning v2 has two prefixes per layer too, for keys and for values → length = blocks
    LoRA has four blocks of d · r per layer, not one → rank = blocks
    LoRA adapts two weights, not four: four blocks of d · r → rank = blocks // 8
    LoRA adapts two weights, of two matrices each: four blocks of d · r → rank = blocks // 2
    APT's W counts in the comparison with LoRA too: three blocks of l · d → rank = l // 2
    LoRA's rank is no prefix length: count its blocks of d · r → rank = l
    l is an argument, not always 16 → blocks = 48
    """
    yield "a prefix of four tokens", 4
    yield "sixteen tokens", 16
    yield "forty tokens", 40


def widen_mask(mask, l):
    """Return the mask with l more columns in front, into which every query may look."""
    seen = True if mask.dtype == torch.bool else 0.0
    return F.pad(mask, (l, 0), value=seen)


def _in_its_dtype(wide, mask, l):
    if mask.dtype in (torch.bool, torch.get_default_dtype()) and mask.dtype != torch.float64:
        return wide
    return "" if wide.dtype == mask.dtype else f"the dtype is {wide.dtype}; the mask's was {mask.dtype}, and it stays"


@exercise(widen_mask, look=_in_its_dtype)
def check_widen_mask(draw):
    """
    ? Which entry lets every query look: in a boolean mask, and in one that is added to the scores?
    ? Put l columns of this entry in front of the last dimension, and ask mask.dtype which kind it is.
    ? F.pad(mask, (l, 0), value=…) pads the last dimension on the left.
    False in a boolean mask means that a query may not look: it is True here → seen = 0.0
    added to the scores, 1 lifts the prefix's: 0 changes nothing → seen = 1.0
    a very low number, added to the scores, hides it → seen = mask.dtype == torch.bool or torch.finfo(mask.dtype).min
    added to the scores, float32's lowest number hides it → seen = mask.dtype == torch.bool or torch.finfo().min
    added to the scores, −∞ hides the prefix: 0 changes nothing → seen = mask.dtype == torch.bool or -torch.inf
    the kinds are mixed up: True if boolean, 0 if added to scores → seen = mask.dtype != torch.bool
    the prefix is hidden in both kinds of mask → seen = -1e4 if mask.is_floating_point() else False
    the prefix stands in front: the new columns do, too → return F.pad(mask, (0, l), value=seen)
    you copy the first column: with padding on the left that hides the prefix →
        return torch.cat([mask[..., :1]] * l + [mask], dim=-1)
    no entry may mean “may look”: it is a constant, not the largest → seen = float(mask.float().max())
    l columns are missing, not one → return F.pad(mask, (1, 0), value=seen)
    only the last size grows: the prefix has keys, but no queries → return F.pad(mask, (l, 0, l, 0), value=seen)
    the mask must grow: yours overwrites the first l columns → return F.pad(mask[..., l:], (l, 0), value=seen)
    each example has its own mask, not the first's → return F.pad(mask[:1].expand_as(mask), (l, 0), value=seen)
    each query has its own row: yours keeps the first's → return F.pad(mask[:, :, :1], (l, 0), value=seen)
    the mask comes out as it went in: l columns are to be added → return mask
    the input's part is turned round → return F.pad(~mask if seen else mask.min() - mask, (l, 0), value=seen)
    the dtype stays: yours is always a float32 → return F.pad(mask.float(), (l, 0), value=float(seen))
    the dtype stays: any float gets float32 → return F.pad(mask if seen else mask.float(), (l, 0), value=seen)
    the dtype stays: booleans become integers → return F.pad(mask.long() if seen else mask, (l, 0), value=seen)
    the dtype stays: added masks become boolean → return F.pad(mask if seen else mask == 0, (l, 0), value=True)
    """

    def added(mask, lowest=-1e4):
        return torch.zeros(mask.shape).masked_fill(~mask, lowest)

    right, left, causal, blind = (
        torch.tensor(rows).bool().unsqueeze(1)
        for rows in (
            [[[1, 1, 0]]],
            [[[0, 0, 1, 1]], [[0, 1, 1, 1]]],
            [[[1, 0, 0], [1, 1, 0], [1, 1, 1]], [[0, 0, 0], [0, 1, 0], [0, 1, 1]]],
            [[[0, 0, 0, 0]], [[0, 0, 0, 0]]],
        )
    )
    for kind, make in ("boolean", lambda mask: mask), ("added to the scores", added):
        yield f"padding on the right ({kind})", make(right), 2
        yield f"padding on the left ({kind})", make(left), 2
        yield f"a prefix of one token ({kind})", make(left), 1
        yield f"a row for each query ({kind})", make(causal), 3
        yield f"no token that may be seen ({kind})", make(blind), 2
    yield "padding of −∞", added(left, -torch.inf), 2
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        yield f"a mask in {dtype}", added(right).to(dtype), 2


def gate_input(hidden_states, attention_mask):
    """Return each example's first real token: [b, n, d] and [b, n] -> [b, d]."""
    position = attention_mask.int().argmax(dim=1)
    example = torch.arange(len(position))
    return hidden_states[example, position]


@exercise(gate_input)
def check_gate_input(draw):
    """
    ? In which column does each row of the mask have its first 1?
    ? argmax returns the first of equal maxima; it refuses booleans, so convert. Then pick one state per example.
    ? hidden_states[torch.arange(b), position]
    that is position 0, which may be padding → position = 0 * attention_mask.int().argmax(dim=1)
    argmax refuses booleans: make integers of the mask first → position = attention_mask.argmax(dim=1)
    padding is counted, and that behind too: find the first 1 → position = (attention_mask == 0).sum(dim=1)
    their number doesn't tell where the first real token stands → position = attention_mask.sum(dim=1) - 1
    that is the last real token, not the first → position = -1 - attention_mask.int().flip(1).argmax(dim=1)
    that is the first padding: 1 (or True) is a real token → position = attention_mask.int().argmin(dim=1)
    each example has its own position: yours has the first's →
        position = attention_mask.int().argmax(dim=1)[:1].repeat(len(attention_mask))
    search along dim 1: yours searches along the examples → position = attention_mask.int().argmax(dim=0)
    each example has its own states: yours has the first's → return hidden_states[0, position]
    [:, position] takes each position of each example: pair them → return hidden_states[:, position]
    the shape is [b, d]: yours keeps an axis for the token → return hidden_states[example, position][:, None]
    these are the positions: the states that stand there are asked for → return position
    that is the mean over the real tokens →
        return (hidden_states * attention_mask[..., None]).sum(1) / attention_mask.sum(1, True)
    that is the sum of the real tokens → return (hidden_states * attention_mask[..., None]).sum(dim=1)
    that is the mean over all tokens, padding too → return hidden_states.mean(dim=1)
    """
    three = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    none, right, left, both = [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0]
    yield "padding on the left", three, torch.tensor([[0, 1, 1]])
    yield "no padding", draw(2, 5, 3), torch.tensor([none, none])
    yield "padding on the right", draw(2, 5, 3), torch.tensor([right, none])
    yield "padding on both sides", draw(3, 5, 3), torch.tensor([both, left, right])
    yield "one real token", draw(2, 4, 3), torch.tensor([[0, 0, 0, 1], [0, 0, 1, 0]])
    yield "a boolean mask", draw(2, 5, 4), torch.tensor([left, both]).bool()
    yield "as many examples as tokens", draw(5, 5, 5), torch.tensor([left, both, right, none, left])
