"""Which numbers a model computes with: float32, or bfloat16 where the device has it in hardware."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

# What torch tells of a CPU that multiplies in bfloat16: by tiles (AMX), or by vectors.
_CPU_HAS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 by itself; any other CPU would be slower with it than without.

    On CPUs torch is asked; versions that can't be asked count as a no.
    """
    if device.type == "cuda":
        return True
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in _CPU_HAS)


class FrozenInBf16(AbstractContextManager):
    """While open, the frozen linear layers of a model hold their weights in bfloat16, and afterwards what they held.

    Autocast rounds a weight to bfloat16 whenever it is used. A frozen one may as well be rounded once: the results are
    the same bit by bit, without a pass over all weights in every step. Prefixes, gates and heads stay in float32. The
    same object can be opened again and again.

    Args:
        model: what requires gradients when the object is made counts as not frozen.
    """

    def __init__(self, model: nn.Module):
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        frozen = {p for layer in layers for p in layer.parameters(recurse=False) if not p.requires_grad}
        self.held: list[tuple[nn.Parameter, Tensor, Tensor]] = [(p, p.data, p.data.bfloat16()) for p in frozen]

    def __enter__(self) -> None:
        for parameter, _, half in self.held:
            parameter.data = half

    def __exit__(self, *_) -> None:
        for parameter, whole, _ in self.held:
            parameter.data = whole
