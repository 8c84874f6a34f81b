"""Lesson 07: right answers in another style, and wrong ones that no slip names."""

import torch

from apt_minimal import course

# 7.2


def widen_with_cat(mask, l):
    columns = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
    return torch.cat([columns(*mask.shape[:-1], l), mask], dim=-1)


def widen_in_place(mask, l):
    wide = torch.full((*mask.shape[:-1], l + mask.shape[-1]), mask.dtype == torch.bool, dtype=mask.dtype)
    wide[..., l:] = mask
    mask.fill_(0)
    return wide


# 7.3


def first_by_loop(hidden_states, attention_mask):
    return torch.stack([h[m.nonzero()[0, 0]] for h, m in zip(hidden_states, attention_mask, strict=True)])


def first_by_cumsum(hidden_states, attention_mask):
    first = (attention_mask.cumsum(dim=1) == 1) & attention_mask.bool()
    return hidden_states[first]


CHECKS = [
    (
        course.check_equal_sizes,
        {"halves": lambda l: (l + l // 2, l - l // 4), "floats": lambda l: [1.5 * l, 0.75 * l]},
        {
            "twice the length": lambda l: (2 * l, 3 * l // 4),
            "one number": lambda l: 2.25 * l,
            "right for 16 only": lambda l: (l + 8, l - 4),
        },
    ),
    (
        course.check_widen_mask,
        {"cat": widen_with_cat, "in place": widen_in_place},
        {
            "one example's mask without its batch": lambda mask, l: widen_with_cat(mask, l)[0],
            "the prefix can be seen by the first query only": lambda mask, l: torch.cat(
                [widen_with_cat(mask, l)[:, :, :1], widen_with_cat(~mask if mask.dtype == torch.bool else mask - 9, l)],
                dim=2,
            ),
            "numbers in place of a tensor": lambda mask, l: [1] * l + mask.flatten().tolist(),
        },
    ),
    (
        course.check_gate_input,
        {"loop": first_by_loop, "cumsum": first_by_cumsum},
        {
            "the largest values over the tokens": lambda h, m: h.amax(dim=1),
            "a position from all examples' real tokens": lambda h, m: h[:, m.sum(dim=0).argmax()],
            "the second real token where there are two": lambda h, m: first_by_loop(
                h, m.bool() & ((m.cumsum(dim=1) == 2) | (m.sum(dim=1, keepdim=True) == 1))
            ),
        },
    ),
]
