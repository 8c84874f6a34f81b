"""Save what was trained and load it onto the same backbone: a small folder, no pickle (its files: `adapter_files`)."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apt_minimal.adapter_files import Description, read_description, read_tensors, write_adapter
from apt_minimal.attach import M, attach, attached_encoder, detach, host_encoder, is_attached, prefix_shapes
from apt_minimal.hosts import HostModule
from apt_minimal.hub import adapter_folder, model_card


def save_adapter(
    model: nn.Module, folder: str | Path, task: str | None = None, scores: dict[str, float] | None = None
) -> None:
    """Write an attached model's config, prefixes, gates and everything outside its backbone into a folder.

    `adapter.json` holds the `AptConfig`, the labels and the backbone's fingerprint; `adapter.safetensors` every
    parameter and buffer that is not frozen backbone, under the model's own names. A part of the backbone that requires
    gradients (an unfrozen pooler, say) is saved too, and the description lists it. `README.md` is a model card.

        save_adapter(model, "my-adapter", task="conll2004", scores={"f1": 0.71})

    Args:
        model: a model that `attach` was called on, compiled or wrapped for several devices or not.
        folder: made if missing; an adapter in it is replaced only when the new one is completely written.
        task, scores: for the model card.

    Raises:
        ValueError: nothing is attached, or a trained tensor is not finite.
        NotADirectoryError: the path is a file.
        OSError: the folder can't be written to, or the disk is full.
    """
    folder, model = Path(folder), unwrapped(model)
    if not is_attached(model):
        raise ValueError("this model has no prefixes attached, so there is no adapter to save")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that shall hold the adapter")
    trained = trained_backbone(model)
    tensors = {name: _whole(tensor) for name, tensor in adapter_tensors(model, trained).items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values; a diverged adapter is not saved")
    description = {
        "config": asdict(attached_encoder(model).apt_attachment.config),
        "labels": _labels(model),
        "problem_type": getattr(getattr(model, "config", None), "problem_type", None),
        "backbone": _backbone_facts(model, trained),
        "backbone_tensors": trained,
        "versions": {name: _version(name) for name in ("apt-minimal", "torch", "transformers")},
    }
    write_adapter(folder, description, tensors, model_card(description, task, scores))


def load_adapter(model: M, folder: str | Path, allow: Sequence[str] = ()) -> M:
    """Attach a saved adapter to a fresh model of the same backbone and the same head.

        model = load_adapter(AutoModelForTokenClassification.from_pretrained(backbone, num_labels=9), "my-adapter")
        model = load_adapter(model, "user/name")  # from the hub

    The whole folder is checked before the model is touched: after an error the model is as it was. An adapter writes
    prefixes, gates and what lies outside the backbone. If it also holds parts of the backbone, it is refused unless
    `allow` names them.

    Args:
        model: the model that `save_adapter` saw, before `attach`: same backbone, same head, same number of labels.
        folder: what `save_adapter` wrote, or the name of an adapter on the hub, "user/name".
        allow: names of backbone parameters that the adapter may replace, or beginnings of such names ("bert.pooler").
            They require gradients again.

    Returns:
        The same model, attached, with the saved tensors (and label names) in place.

    Raises:
        FileNotFoundError: the folder or one of its two files is missing.
        ValueError: the files are damaged, or belong to another backbone or head; the message names both sides.
        TypeError: the model holds no encoder that can take prefixes.
    """
    if is_attached(model):
        raise ValueError(
            "this model already has prefixes attached; call detach(model) or switch_adapter(model, folder)"
        )
    return _load(model, adapter_folder(folder), allow)


def switch_adapter(model: M, folder: str | Path) -> M:
    """Put another saved adapter into the place of the attached one: as `detach` and `load_adapter`, but much faster.

    The backbone's fingerprint is taken once, so the backbone must not change in between. After an error the adapter
    that was attached still is.

    Raises:
        ValueError: nothing is attached, one of the two adapters comes with parts of the backbone, or as in
            `load_adapter`.
        FileNotFoundError: as in `load_adapter`.
    """
    inner = unwrapped(model)
    if trained := trained_backbone(inner):
        raise ValueError(f"the attached adapter changed {_listed(trained)}; load the next one onto a fresh backbone")
    return _load(model, adapter_folder(folder), ())


def _load(model: M, folder: Path, allow: Sequence[str]) -> M:
    inner, description = unwrapped(model), read_description(folder)
    encoder = attached_encoder(inner) if is_attached(inner) else host_encoder(inner)
    known = encoder.apt_attachment.fingerprint if is_attached(inner) else ""
    try:
        _check_allowed(encoder, inner, description, allow)
        _check_host(inner, description, known)
        expected = adapter_tensors(inner, description.backbone_tensors, prefix=False)
        expected |= prefix_shapes(inner, encoder, description.config)
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} {error}") from None
    tensors = read_tensors(folder, description, expected)

    # From here on nothing can fail: every name, shape and value is known to fit.
    if is_attached(inner):
        detach(inner)
    attach(inner, description.config, next((t.dtype for name, t in tensors.items() if ".prefix." in name), None))
    if not description.backbone_tensors:
        encoder.apt_attachment.fingerprint = description.backbone["fingerprint"]
    ours = adapter_tensors(inner, description.backbone_tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            ours[name].copy_(tensor)
            if isinstance(ours[name], nn.Parameter):
                ours[name].requires_grad_(True)
    if description.labels:
        inner.config.id2label = dict(enumerate(description.labels))
        inner.config.label2id = {label: i for i, label in enumerate(description.labels)}
        inner.config.problem_type = description.problem_type
    return model


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
    inside = {id(tensor) for tensor in (*encoder.parameters(), *encoder.buffers())}
    state = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    named = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if id(b) in state)]
    return {
        name: tensor
        for name, tensor in named
        if id(tensor) not in inside or (prefix and ".prefix." in name) or name in backbone_tensors
    }


def trained_backbone(model: nn.Module) -> list[str]:
    """Names of the backbone's own parameters that require gradients, prefixes aside."""
    inside = {id(p) for name, p in attached_encoder(model).named_parameters() if ".prefix." not in name}
    return [name for name, p in model.named_parameters() if id(p) in inside and p.requires_grad]


def fingerprint(model: nn.Module, without: Sequence[str] = ()) -> str:
    """SHA-256 of a model's backbone: names, shapes and values of its weights, without those that `without` names.

    Values are hashed as bfloat16, so that a backbone in float32 and its copies in float64 or bfloat16 count as the same
    (but not a copy in float16, which rounds differently).
    """
    encoder = attached_encoder(model) if is_attached(model) else host_encoder(model)
    left_out = {id(p) for name, p in model.named_parameters() if name in without}
    digest = hashlib.sha256()
    for name, parameter in sorted(encoder.named_parameters()):
        if ".prefix." not in name and id(parameter) not in left_out:
            digest.update(f"{name} {list(parameter.shape)}".encode())
            digest.update(_whole(parameter).bfloat16().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, put together if it is sharded over devices."""
    whole: Any = tensor.detach()
    return (whole.full_tensor() if hasattr(whole, "full_tensor") else whole).cpu().contiguous()


def _backbone_facts(model: nn.Module, trained: Sequence[str], digest: str = "") -> dict[str, str | int]:
    """What two models must share for one's adapter to fit the other (but for the name, which is for people)."""
    encoder = attached_encoder(model) if is_attached(model) else host_encoder(model)
    config = encoder.config
    return {
        # Keep only a local path's last part: the rest is private.
        "name": Path(config.name_or_path).name if Path(config.name_or_path).is_absolute() else config.name_or_path,
        "architecture": type(model).__name__,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "fingerprint": digest or fingerprint(model, trained),
    }


def _labels(model: nn.Module) -> list[str]:
    """The label names of a model that has them; a gap in their numbers is filled as transformers names labels."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "num_labels"):
        return []
    return [config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)]


def _check_allowed(encoder: nn.Module, model: nn.Module, description: Description, allow: Sequence[str]) -> None:
    """Raise unless every part of the backbone that the adapter replaces is one, and allowed by name."""
    declared, allow = description.backbone_tensors, (allow,) if isinstance(allow, str) else tuple(allow)
    own = {id(p) for name, p in encoder.named_parameters() if ".prefix." not in name}
    parts = {name for name, p in model.named_parameters() if id(p) in own}
    if strange := [name for name in declared if name not in parts]:
        raise ValueError(f"declares {_listed(strange)} as trained, which are no weights of this backbone")
    if refused := [name for name in declared if not any(f"{name}.".startswith(f"{one}.") for one in allow)]:
        raise ValueError(
            f"replaces {len(refused)} weights of the backbone: {_listed(refused)}; if you trust it, "
            f"load_adapter(model, folder, allow=[{refused[0]!r}, …])"
        )


def _check_host(model: nn.Module, description: Description, known: str) -> None:
    """Raise, naming both sides, unless the adapter was made on this backbone with as many labels."""
    facts, labels = description.backbone, description.labels
    here = _backbone_facts(model, description.backbone_tensors, known)
    if facts.keys() != here.keys():
        raise ValueError(f"must say of its backbone in adapter.json: {', '.join(here)}, and nothing else")
    for what in here:
        if what != "name" and facts[what] != here[what]:
            raise ValueError(
                f"was trained on {str(facts['name'])[:100]!r} with {what} {str(facts[what])[:100]}; "
                f"this model, {here['name']!r}, has {what} {here[what]}"
            )
    if len(labels) != len(_labels(model)):
        raise ValueError(
            f"has a head for {len(labels)} labels ({_listed(labels)}); "
            f"this model has {len(_labels(model))}: load it with num_labels={len(labels)}"
        )


def _listed(names: Sequence[str]) -> str:
    """The first names of a list, short enough to read."""
    return ", ".join(name[:80] for name in names[:5]) + (", …" if len(names) > 5 else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
