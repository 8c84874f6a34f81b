"""Save what was trained and load it onto the same backbone: a small folder, no pickle."""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from apt_minimal.attach import attach, attached_encoder, detach, is_attached
from apt_minimal.prefix import AptConfig

CONFIG_FILE, TENSORS_FILE = "adapter.json", "adapter.safetensors"
FORMAT = 1


def save_adapter(model: nn.Module, folder: str | Path) -> None:
    """Write an attached model's config, prefixes, gates and head into a folder.

    `adapter.json` holds the `AptConfig`, the labels and the backbone's fingerprint; `adapter.safetensors` every
    parameter that is not frozen backbone, under the model's own names. A backbone part that requires gradients as well
    (an unfrozen pooler, say) is saved too.

    Args:
        model: a model that `attach` was called on.
        folder: made if missing; an adapter that stands there is replaced only when the new one is completely written.

    Raises:
        ValueError: nothing is attached, or a trained tensor is not finite.
        NotADirectoryError: the path is a file.
    """
    folder, model = Path(folder), getattr(model, "_orig_mod", model)  # torch.compile wraps a model
    if not is_attached(model):
        raise ValueError("this model has no prefixes attached, so there is no adapter to save")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that shall hold the adapter")
    tensors = {name: t.detach().cpu().contiguous() for name, t in adapter_parameters(model).items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values; a diverged adapter is not saved")

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_file(tensors, Path(scratch, TENSORS_FILE))
        description = {
            "format": FORMAT,
            "config": asdict(attached_encoder(model).apt_attachment.config),
            "labels": _labels(model),
            "backbone": _backbone_facts(model, tensors),
            "tensors_sha256": hashlib.sha256(Path(scratch, TENSORS_FILE).read_bytes()).hexdigest(),
        }
        Path(scratch, CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")
        for name in (TENSORS_FILE, CONFIG_FILE):
            os.replace(Path(scratch, name), folder / name)


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Attach a saved adapter to a fresh model of the same backbone and the same head.

    After an error the model is as it was. Where a part of the backbone was trained and saved as well, it requires
    gradients again.

    Args:
        model: the model that `save_adapter` saw, before `attach`: same backbone, same head, same number of labels.
        folder: what `save_adapter` wrote.

    Returns:
        The same model, attached, with the saved tensors (and label names) in place.

    Raises:
        FileNotFoundError: the folder or one of its two files is missing.
        ValueError: the files are damaged, or belong to another backbone or head; the message names both sides.
    """
    folder = Path(folder)
    description, tensors = _read(folder)
    if is_attached(model):
        raise ValueError("this model already has prefixes attached; call detach(model) first")
    _check_host(model, description, tensors, folder)
    attach(model, description["config"])
    ours = adapter_parameters(model, also=tensors)
    if wrong := _mismatch(ours, tensors):
        detach(model)
        raise ValueError(f"the adapter in {folder} doesn't fit this model: {wrong}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            ours[name].copy_(tensor.reshape(ours[name].shape))
            ours[name].requires_grad_(True)
    if labels := description["labels"]:
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}
    return model


def adapter_parameters(model: nn.Module, also=()) -> dict[str, Tensor]:
    """Every parameter of an attached model but the frozen backbone, by name; those named in `also` in any case."""
    frozen = {id(p) for p in model.base_model.parameters() if not p.requires_grad}
    named = model.named_parameters()
    return {name: p for name, p in named if id(p) not in frozen or ".prefix." in name or name in also}


def fingerprint(model: nn.Module, without=()) -> str:
    """SHA-256 of a model's backbone: names, shapes and values of its weights, without those named in `without`.

    Values are hashed as bfloat16, so that a backbone in float32 and its copies in float64 or bfloat16 count as the same
    (but not a copy in float16, which rounds otherwise).
    """
    outer = "" if model.base_model is model else model.base_model_prefix + "."
    digest = hashlib.sha256()
    for name, parameter in sorted(model.base_model.named_parameters()):
        if ".prefix." not in name and outer + name not in without:
            digest.update(f"{name} {list(parameter.shape)}".encode())
            digest.update(parameter.detach().bfloat16().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _backbone_facts(model: nn.Module, trained: dict[str, Tensor]) -> dict:
    """What two models must share for one's adapter to fit the other (but for the name, which is for people)."""
    config = model.config
    return {
        # of a local path only the last part: where it lies is nobody's business
        "name": Path(config.name_or_path).name if Path(config.name_or_path).is_absolute() else config.name_or_path,
        "architecture": type(model).__name__,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "fingerprint": fingerprint(model, without=trained),
    }


def _labels(model: nn.Module) -> list[str]:
    return [model.config.id2label[i] for i in range(model.config.num_labels)]


def _read(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    """Both files of an adapter, checked against each other."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that save_adapter wrote")
    for name in (CONFIG_FILE, TENSORS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}, so it is no (complete) adapter; save it again")
    try:
        description = json.loads((folder / CONFIG_FILE).read_text())
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']}, this version reads {FORMAT}")
        description["config"] = AptConfig(**description["config"])
        checksum = description["tensors_sha256"]
        if not isinstance(description["labels"], list) or "fingerprint" not in dict(description["backbone"]):
            raise ValueError("labels must be a list, and backbone must have a fingerprint")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} is damaged or not an adapter's: {error}") from None
    data = (folder / TENSORS_FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != checksum:
        raise ValueError(
            f"{folder / TENSORS_FILE} ({len(data)} bytes) is not the file that {CONFIG_FILE} describes: "
            "it is truncated, damaged or another adapter's; copy the folder again or save again"
        )
    return description, load(data)


def _check_host(model: nn.Module, description: dict, tensors: dict[str, Tensor], folder: Path) -> None:
    """Raise ValueError, naming both sides, unless the adapter was made on this backbone with as many labels."""
    facts, labels = description["backbone"], description["labels"]
    here = _backbone_facts(model, tensors)
    for what in here:
        if what != "name" and facts.get(what) != here[what]:
            raise ValueError(
                f"the adapter in {folder} was trained on {facts.get('name')!r} with {what} {facts.get(what)}; "
                f"this model, {here['name']!r}, has {what} {here[what]}"
            )
    if len(labels) != len(_labels(model)):
        raise ValueError(
            f"the adapter in {folder} has a head for {len(labels)} labels ({', '.join(labels)}); "
            f"this model has {len(_labels(model))}: load it with num_labels={len(labels)}"
        )


def _mismatch(ours: dict[str, Tensor], saved: dict[str, Tensor]) -> str:
    """The first way in which the saved tensors and the model's differ; empty if they fit."""
    for name in sorted(ours.keys() | saved.keys()):
        if name not in saved:
            return f"the model trains {name}, which the adapter lacks"
        if name not in ours:
            return f"the adapter holds {name}, which the model lacks"
        if ours[name].squeeze().shape != saved[name].squeeze().shape:  # λ was [] once
            return f"{name} is {list(saved[name].shape)} in the adapter and {list(ours[name].shape)} in the model"
    return ""
