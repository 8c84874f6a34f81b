"""Prefixes beside peft's tuners (LoRA and others) in one model: neither freezes the other."""

import sys
from functools import wraps
from typing import Any

from torch import nn


def has_tuner(module: nn.Module) -> bool:
    """Whether a tuner of peft is inside: its layers wrap what they tune as `base_layer`."""
    return any(hasattr(child, "base_layer") for child in module.modules())


def tuner_parameters(module: nn.Module) -> set[int]:
    """The ids of all parameters that peft's tuners have added to a module."""
    return {
        id(parameter)
        for child in module.modules()
        if hasattr(child, "base_layer")
        for name, parameter in child.named_parameters()
        if not name.startswith("base_layer.")
    }


def spare_prefixes() -> None:
    """Let peft leave prefixes and gates trainable when it freezes a model around its tuners.

    peft offers no way to ask for that. So, where it is imported, the method that freezes is followed by one line that
    gives gradients back to attached prefixes, and to nothing else.
    """
    utils: Any = sys.modules.get("peft.tuners.tuners_utils")
    freeze = utils and utils.BaseTuner._mark_only_adapters_as_trainable
    if freeze is None or hasattr(freeze, "spares_prefixes"):
        return

    @wraps(freeze)
    def freeze_the_rest(tuner: Any, model: nn.Module) -> None:
        attached = any("apt_attachment" in vars(module) for module in model.modules())
        trained = {name for name, p in model.named_parameters() if ".prefix." in name and p.requires_grad}
        freeze(tuner, model)
        for name, parameter in model.named_parameters():
            if attached and name in trained:
                parameter.requires_grad_(True)

    vars(freeze_the_rest)["spares_prefixes"] = True
    utils.BaseTuner._mark_only_adapters_as_trainable = freeze_the_rest
