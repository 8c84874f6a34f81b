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


def rate_by_steps(scale, lr, optimizer):
    """Take one step on the loss g · λ · P, and see how far λ · P goes."""
    P = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    step = kind([P], lr, **({} if optimizer == "sgd" else {"eps": 0}))
    (scale * P).sum().backward()
    step.step()
    return abs((scale * (P - 1)).item())


CHECKS = [
    (
        course.check_plain_rate,
        {"by steps": rate_by_steps, "tensor": lambda s, lr, o: torch.tensor(lr * abs(s) ** {"sgd": 2, "adam": 1}[o])},
        {"the root": lambda s, lr, o: lr * abs(s) ** 0.5, "one less": lambda s, lr, o: rate_by_steps(s, lr, o) - 1},
    ),
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
