"""Save what was trained and load it onto the same backbone: a small folder, no pickle (its files: `adapter_files`)."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from apt_minimal.adapter_files import read_description, read_tensors, write_adapter
from apt_minimal.adapter_parts import (
    adapter_tensors,
    backbone_facts,
    check_allowed,
    check_host,
    label_names,
    listed,
    trained_backbone,
    unwrapped,
    whole,
)
from apt_minimal.attach import M, attach, attached_encoder, detach, host_encoder, is_attached, prefix_shapes
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
    tensors = {name: whole(tensor) for name, tensor in adapter_tensors(model, trained).items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values; a diverged adapter is not saved")
    description = {
        "config": asdict(attached_encoder(model).apt_attachment.config),
        "labels": label_names(model),
        "problem_type": getattr(getattr(model, "config", None), "problem_type", None),
        "backbone": backbone_facts(model, trained),
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
        raise ValueError(f"the attached adapter changed {listed(trained)}; load the next one onto a fresh backbone")
    return _load(model, adapter_folder(folder), ())


def _load(model: M, folder: Path, allow: Sequence[str]) -> M:
    inner, description = unwrapped(model), read_description(folder)
    encoder = attached_encoder(inner) if is_attached(inner) else host_encoder(inner)
    known = encoder.apt_attachment.fingerprint if is_attached(inner) else ""
    try:
        check_allowed(encoder, inner, description, allow)
        check_host(inner, description, known)
        expected = adapter_tensors(inner, description.backbone_tensors, prefix=False)
        expected |= prefix_shapes(inner, encoder, description.config)
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} {error}") from None
    tensors = read_tensors(folder, description, expected)

    # From here on nothing can fail: every name, shape and value is known to fit.
    if not is_attached(inner) or encoder.apt_attachment.config != description.config:
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
