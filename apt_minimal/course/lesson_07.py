"""Lesson 07: APT inside BERT."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.course.checking import check
from apt_minimal.gates import first_token

__all__ = ["check_equal_sizes", "check_gate_input", "check_widen_mask"]


def check_equal_sizes(answer: Callable[[int], tuple[int, int]]) -> bool:
    """Exercise 7.1: answer(l) is the prefix length of P-tuning v2, and the rank of LoRA on queries and values, that
    have as many parameters as APT with prefix length l (λ left out)."""
    mistakes = {
        "the other way round: first P-tuning v2's length, then LoRA's rank": lambda l: (3 * l / 4, 3 * l / 2),
        "P-tuning v2 has no W, so it needs a longer prefix for as many parameters": lambda l: (l, 3 * l // 4),
        "P-tuning v2 has two prefixes in a layer too, for keys and for values": lambda l: (3 * l, 3 * l // 4),
        "LoRA adapts two weights, of two matrices each: four blocks of d · r": lambda l: (3 * l // 2, 3 * l // 2),
        "LoRA has four blocks of d · r in a layer, not one": lambda l: (3 * l // 2, 3 * l),
        "for APT's gate a layer has W too: three blocks of l · d, not two": lambda l: (l, l // 2),
    }
    hint = "count one layer: APT has P_k, P_v and W, each of l · d"
    trials = [(hint, (length,)) for length in (16, 8, 40)]
    return check(answer, lambda l: (3 * l // 2, 3 * l // 4), trials, mistakes)


def check_widen_mask(answer: Callable[[Tensor, int], Tensor]) -> bool:
    """Exercise 7.2: answer(mask, l) adds l columns in front of a mask, into which every query may look."""
    real = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()[:, None, None, :]
    added = torch.zeros(real.shape).masked_fill(~real, torch.finfo(torch.float32).min)
    boolean = "in a boolean mask True means that a query may look, and the prefix stands in front of the input's keys"
    additive = "an additive mask is added to the scores: 0 is neutral, 1 lifts the prefix, a very low number hides it"
    every = "the mask's other sizes and its dtype must stay as they are"
    trials = [(boolean, (real, 3)), (boolean, (real, 1)), (additive, (added, 3)), (additive, (added, 1))]
    trials += [(every, (added.double().expand(2, 1, 4, 4), 2)), (every, (real.expand(2, 1, 4, 4), 2))]

    def typed(wide):
        return (wide, str(wide.dtype)) if isinstance(wide, Tensor) else wide

    return check(
        lambda mask, l: typed(answer(mask, l)),
        lambda mask, l: typed(F.pad(mask, (l, 0), value=mask.dtype == torch.bool)),
        trials,
    )


def check_gate_input(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 7.3: answer(hidden_states, attention_mask) is each example's first real token, [b, d]."""
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    none, right, left = [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]
    trials = [
        ("without padding it is position 0", (states, torch.tensor([none, none]))),
        ("padding on the right changes nothing: it is still position 0", (states, torch.tensor([right, none]))),
        (
            "with padding on the left it is the first 1 of the mask, not position 0",
            (states, torch.tensor([left, none])),
        ),
        ("both sides may be padded: counting the 0s doesn't help", (states, torch.tensor([[0, 1, 1, 0, 0], left]))),
        ("the mask may be boolean", (states, torch.tensor([left, right]).bool())),
    ]
    return check(answer, first_token, trials)
