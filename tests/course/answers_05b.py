"""Answers to the exercises of lesson 05b, for test_exercises.py."""

import torch

from apt_minimal import course


def dead_by_gradient(key, value, weight, scale):
    """Backward from random numbers, as a loss that happens to nothing would send them."""
    parts = [x.detach().double().requires_grad_() for x in (key, value, weight, scale)]
    h = torch.rand(3, key.shape[1], dtype=torch.float64) + 0.5
    gate = parts[3] * (h @ parts[2].T / 100).sigmoid()
    sum((torch.rand(3, *p.shape, dtype=torch.float64) * gate[..., None] * p).sum() for p in parts[:2]).backward()
    return {n for n, p in zip(("key", "value", "weight", "scale"), parts, strict=True) if not p.grad.any()}


def dead_by_cases(key, value, weight, scale):
    names = ["key", "value", "weight"] if scale == 0 else []
    return names + (["weight", "scale"] if max(key.abs().max(), value.abs().max()) == 0 else [])


CHECKS = [
    (
        course.check_dead,
        {"gradient": dead_by_gradient, "list": dead_by_cases},
        {
            "P_k alone": lambda k, v, w, s: dead_by_cases(k, k, w, s),
            "first rows": lambda k, v, w, s: dead_by_cases(k[:1], v[:1], w, s),
            "no names": lambda k, v, w, s: dead_by_cases(k, v, w, s) != [],
        },
    ),
]
