"""What an optimiser is given, sorted by the part that a parameter plays, so that each part can have its own rate."""

from typing import Any

from torch import nn

from apt_minimal.gates import LayerGate, TokenGate
from apt_minimal.prefix import AdaptivePrefix

PARTS = ("prefix", "gate", "layer_gate", "head")


def parameter_groups(
    model: nn.Module,
    lr: float,
    gate_lr: float | None = None,
    layer_gate_lr: float | None = None,
    head_lr: float | None = None,
) -> list[dict[str, Any]]:
    """Sort what a model trains into groups for any torch optimiser, by the part it plays in E2 and E3.

        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2, gate_lr=1e-4))

    One step of AdamW moves each element of W by about its learning rate, and h W by about that times the sum of |h|. So
    the rate that suits P can saturate α within a few steps, and W may need a smaller one.

    Args:
        model: an attached model, or any module; only what requires gradients is taken.
        lr: the learning rate of P, and of every part that has none of its own.
        gate_lr: of the token gates' W.
        layer_gate_lr: of the layer gates' λ.
        head_lr: of all that lies outside the prefixes: the head, say.

    Returns:
        Groups with "params", "lr" and "name": "prefix", "gate", "layer_gate" and "head", those that hold something.

    Raises:
        ValueError: a rate is not above 0.
    """
    rates = dict(zip(PARTS, (lr, gate_lr, layer_gate_lr, head_lr), strict=True))
    rates = {part: lr if rate is None else rate for part, rate in rates.items()}
    if wrong := [f"{part} {rate!r}" for part, rate in rates.items() if not rate > 0]:
        raise ValueError(f"learning rates must be above 0, not {', '.join(wrong)}")
    part_of = {}
    for part, kind in zip(PARTS, (AdaptivePrefix, TokenGate, LayerGate), strict=False):
        for module in model.modules():
            if isinstance(module, kind):  # a prefix's gates are sorted anew after it
                part_of |= dict.fromkeys(module.parameters(), part)
    groups = {part: [] for part in PARTS}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups[part_of.get(parameter, "head")].append(parameter)
    return [{"params": groups[part], "lr": rates[part], "name": part} for part in PARTS if groups[part]]
