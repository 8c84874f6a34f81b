"""How to train, and what of it is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch

from apt_minimal.lab.train.precision import computes_in_bf16


@dataclass(frozen=True)
class TrainConfig:
    """How to train: AdamW, the learning rate rising over the warm-up and then falling linearly to 0.

    Args:
        learning_rate: the highest.
        batch_size: examples in a step.
        max_steps: optimiser steps.
        evaluations: how often the development set is scored, at equal distances.
        patience: stop after so many evaluations in a row without a better score; None: never.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        max_grad_norm: gradients are scaled down to this norm; None: they stay as they are.
        seed: of the order of examples and of dropout.
        bf16: on a GPU, forward passes run in bfloat16; weights, gradients and the optimiser stay float32.
        hardware_bf16: on a CPU that has bfloat16 in hardware they do so too. In training steps the frozen backbone is
            held in bfloat16 then, on either device, which changes no number.
        gate_learning_rate: the highest learning rate of the token gates' W; None: the same as for everything else.

    Raises:
        ValueError: one of them is of another kind, or out of its range; the message names it and says what would do.
    """

    learning_rate: float
    batch_size: int = 16
    max_steps: int = 600
    evaluations: int = 10
    patience: int | None = None
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float | None = 1.0
    seed: int = 11
    bf16: bool = True
    hardware_bf16: bool = False
    gate_learning_rate: float | None = None

    def __post_init__(self):
        for name, (kinds, fits, wanted) in ALLOWED.items():
            value = getattr(self, name)
            # Python counts True among the integers; we don't
            if type(value) is bool and bool not in kinds or not isinstance(value, kinds) or not fits(value):
                raise ValueError(f"{name} is {value!r}; it must be {wanted}")
        if self.evaluations > self.max_steps:
            raise ValueError(f"evaluations is {self.evaluations}; there are only max_steps = {self.max_steps} steps")

    @property
    def recorded(self) -> dict:
        """What a run records of it, without later fields that say nothing: earlier runs keep their keys."""
        late = {"hardware_bf16": False, "gate_learning_rate": None}
        return {name: value for name, value in vars(self).items() if name not in late or value != late[name]}

    def in_bf16(self, device: torch.device) -> bool:
        """Whether forward passes on a device run in bfloat16."""
        return self.bf16 and (device.type == "cuda" or (self.hardware_bf16 and computes_in_bf16(device)))

    def precision(self, device: torch.device) -> str:
        """Which numbers a training on a device computes with, in words."""
        if not self.in_bf16(device):
            return "float32"
        return "bf16 autocast" + (", frozen backbone in bf16" if self.hardware_bf16 else "")

    def learning_rate_factor(self, step: int) -> float:
        """The share of the highest learning rate that is used after `step` steps."""
        warmup = round(self.warmup * self.max_steps)
        if step < warmup:
            return (step + 1) / warmup
        return (self.max_steps - step) / max(self.max_steps - warmup, 1)

    def evaluation_steps(self) -> list[int]:
        """The steps after which the development set is scored; the last step is one of them."""
        return [round(self.max_steps * i / self.evaluations) for i in range(1, self.evaluations + 1)]


# Of each argument the kinds of value, whether a value of them fits, and what is wanted, in words.
COUNT = (int,), lambda count: count >= 1, "a whole number of at least 1"
ALLOWED: dict[str, tuple[tuple[type, ...], Callable, str]] = {
    "learning_rate": ((int, float), lambda rate: 0 < rate < inf, "a finite number above 0"),
    "batch_size": COUNT,
    "max_steps": COUNT,
    "evaluations": COUNT,
    "patience": ((int, type(None)), lambda count: count is None or count >= 1, f"{COUNT[2]}, or None"),
    "warmup": ((int, float), lambda share: 0 <= share < 1, "a share of the steps: at least 0, and below 1"),
    "weight_decay": ((int, float), lambda decay: 0 <= decay < inf, "a finite number of at least 0"),
    "max_grad_norm": (
        (int, float, type(None)),
        lambda norm: norm is None or norm > 0,
        "a number above 0, or None, which leaves gradients as they are",
    ),
    "seed": ((int,), lambda seed: 0 <= seed < 2**63, "a whole number of at least 0"),
    "bf16": ((bool,), lambda _: True, "True or False"),
    "hardware_bf16": ((bool,), lambda _: True, "True or False"),
    "gate_learning_rate": (
        (int, float, type(None)),
        lambda rate: rate is None or 0 < rate < inf,
        "a finite number above 0, or None",
    ),
}
