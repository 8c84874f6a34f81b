"""What an adapter consists of, and what it must share with the model that it is loaded into."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apt_minimal.adapter_description import Description
from apt_minimal.attach import attached_encoder, host_encoder, is_attached
from apt_minimal.hosts import HostModule
from apt_minimal.tuners import tuner_parameters


def unwrapped(model: HostModule) -> HostModule:
    """The model inside torch.compile, DistributedDataParallel or DataParallel, one around the other or not."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def adapter_tensors(model: nn.Module, backbone_tensors: Sequence[str] = (), prefix: bool = True) -> dict[str, Tensor]:
    """What an adapter holds, by name: all outside the backbone, prefixes and gates, and named parts of the backbone.

    Of buffers only those that a state_dict holds, too. With `prefix=False` without prefixes and gates.
    """
    encoder = attached_encoder(model) if is_attached(model) else host_encoder(model)
    inside = {id(tensor) for tensor in (*encoder.parameters(), *encoder.buffers())} - tuner_parameters(encoder)
    state = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    named = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if id(b) in state)]
    return {
        name: tensor
        for name, tensor in named
        if id(tensor) not in inside or (prefix and ".prefix." in name) or name in backbone_tensors
    }


def trained_backbone(model: nn.Module) -> list[str]:
    """Names of the backbone's own parameters that require gradients, prefixes aside."""
    encoder = attached_encoder(model)
    inside = {id(p) for name, p in encoder.named_parameters() if ".prefix." not in name} - tuner_parameters(encoder)
    return [name for name, p in model.named_parameters() if id(p) in inside and p.requires_grad]


def fingerprint(model: nn.Module, without: Sequence[str] = ()) -> str:
    """SHA-256 of a model's backbone: names, shapes and values of its weights, without those that `without` names.

    Values are hashed as bfloat16, so that a backbone in float32 and its copies in float64 or bfloat16 count as the same
    (but not a copy in float16, which rounds differently).
    """
    encoder = attached_encoder(model) if is_attached(model) else host_encoder(model)
    left_out = {id(p) for name, p in model.named_parameters() if name in without} | tuner_parameters(encoder)
    digest = hashlib.sha256()
    for name, parameter in sorted(encoder.named_parameters()):
        if ".prefix." not in name and id(parameter) not in left_out:
            digest.update(f"{name} {list(parameter.shape)}".encode())
            digest.update(whole(parameter).bfloat16().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, put together if it is sharded over devices."""
    found: Any = tensor.detach()
    return (found.full_tensor() if hasattr(found, "full_tensor") else found).cpu().contiguous()


def backbone_facts(model: nn.Module, trained: Sequence[str], digest: str = "") -> dict[str, str | int]:
    """What two models must share for one's adapter to fit the other (but for the name, which is for people)."""
    encoder = attached_encoder(model) if is_attached(model) else host_encoder(model)
    config = encoder.config
    return {
        # Keep only a local path's last part: the rest is private.
        "name": Path(config.name_or_path).name if Path(config.name_or_path).is_absolute() else config.name_or_path,
        "architecture": type(model).__name__.removeprefix("FSDP"),  # as torch's sharding names a class
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "fingerprint": digest or fingerprint(model, trained),
    }


def label_names(model: nn.Module) -> list[str]:
    """The label names of a model that has them; a gap in their numbers is filled as transformers names labels."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "num_labels"):
        return []
    return [config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)]


def check_allowed(encoder: nn.Module, model: nn.Module, description: Description, allow: Sequence[str]) -> None:
    """Raise unless every part of the backbone that the adapter replaces is one, and allowed by name."""
    declared, allow = description.backbone_tensors, (allow,) if isinstance(allow, str) else tuple(allow)
    own = {id(p) for name, p in encoder.named_parameters() if ".prefix." not in name}
    parts = {name for name, p in model.named_parameters() if id(p) in own}
    if strange := [name for name in declared if name not in parts]:
        raise ValueError(f"declares {listed(strange)} as trained, which are no weights of this backbone")
    if refused := [name for name in declared if not any(f"{name}.".startswith(f"{one}.") for one in allow)]:
        raise ValueError(
            f"replaces {len(refused)} weights of the backbone: {listed(refused)}; if you trust it, "
            f"load_adapter(model, folder, allow=[{refused[0]!r}, …])"
        )


def check_host(model: nn.Module, description: Description, known: str) -> None:
    """Raise, naming both sides, unless the adapter was made on this backbone with as many labels."""
    facts, labels = description.backbone, description.labels
    here = backbone_facts(model, description.backbone_tensors, known)
    if facts.keys() != here.keys():
        raise ValueError(f"must say of its backbone in adapter.json: {', '.join(here)}, and nothing else")
    for what in here:
        if what != "name" and facts[what] != here[what]:
            raise ValueError(
                f"was trained on {str(facts['name'])[:100]!r} with {what} {str(facts[what])[:100]}; "
                f"this model, {here['name']!r}, has {what} {here[what]}"
            )
    if len(labels) != len(label_names(model)):
        raise ValueError(
            f"has a head for {len(labels)} labels ({listed(labels)}); "
            f"this model has {len(label_names(model))}: load it with num_labels={len(labels)}"
        )


def listed(names: Sequence[str]) -> str:
    """The first names of a list, short enough to read."""
    return ", ".join(name[:80] for name in names[:5]) + (", …" if len(names) > 5 else "")
