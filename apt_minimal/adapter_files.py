"""An adapter's two files on disk: written so that a kill loses nothing, and read so that no file is believed.

`adapter.json` says what the adapter is and has a checksum of its own; `adapter.safetensors` holds the tensors. Both are
checked completely before anybody sees them, so that a damaged or hostile folder ends in one error that names it.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from apt_minimal.prefix import AptConfig

CONFIG_FILE, TENSORS_FILE, CARD_FILE = "adapter.json", "adapter.safetensors", "README.md"
FORMAT = 2
LARGEST_JSON = 8 * 2**20
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Description:
    """What `adapter.json` says.

    Attributes:
        config: of the prefixes.
        labels: names of the head's labels in the order of their ids; empty for a model without labels.
        problem_type: transformers' name for the head's loss, or None.
        backbone: facts that another model must share, by name; see `adapter.backbone_facts`.
        backbone_tensors: parts of the backbone that were trained and saved as well.
        versions: of apt-minimal, torch and transformers, for people.
        tensors_sha256: of the other file.
    """

    config: AptConfig
    labels: list[str]
    problem_type: str | None
    backbone: dict[str, str | int]
    backbone_tensors: list[str]
    versions: dict[str, str]
    tensors_sha256: str


def write_adapter(folder: Path, description: dict[str, Any], tensors: dict[str, Tensor], card: str) -> None:
    """Write both files and the model card; whenever it is killed, the folder loads as the old or the new adapter.

    The tensors are written beside the old ones, then the description that names their checksum takes the old one's
    place, then the tensors take theirs. `read_description` and `read_tensors` understand the moment in between.

    Raises:
        OSError: the folder can't be written to, or the disk is full. The old adapter is whole then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _finish_interrupted(folder)
    data = save(tensors)
    description = {"format": FORMAT} | description | {"tensors_sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(description | {"sha256": _checksum(description)}, indent=2) + "\n"
    card_file = folder / CARD_FILE
    own_card = not card_file.exists() or card_file.read_text(encoding="utf-8", errors="replace").startswith(card[:40])
    parts = {TENSORS_FILE: data, CONFIG_FILE: text.encode()} | ({CARD_FILE: card.encode()} if own_card else {})
    try:
        for name, content in parts.items():
            with (folder / f"{name}.next").open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        for name in parts:
            (folder / f"{name}.next").unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}; no adapter was written to {folder}") from None
    for name in (CONFIG_FILE, TENSORS_FILE, *list(parts)[2:]):
        os.replace(folder / f"{name}.next", folder / name)


def read_description(folder: Path) -> Description:
    """Read and check `adapter.json`.

    Raises:
        FileNotFoundError: no such folder, or one of the two files is missing.
        ValueError: the file is damaged or not an adapter's; the message names the folder and what is wrong.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that save_adapter wrote")
    for name, instead in ((CONFIG_FILE, CONFIG_FILE), (TENSORS_FILE, f"{TENSORS_FILE}.next")):
        if not os.path.lexists(folder / name) and not os.path.lexists(folder / instead):
            raise FileNotFoundError(f"{folder} holds no {name}, so it is no (complete) adapter; save it again")
    try:
        found = json.loads(_bytes_of(folder / CONFIG_FILE, LARGEST_JSON), object_pairs_hook=_once_each)
        return _checked(found)
    except (ValueError, TypeError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:300]
        raise ValueError(f"{folder / CONFIG_FILE} is damaged or not an adapter's: {why}") from None


def read_tensors(folder: Path, description: Description, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read `adapter.safetensors`, which must hold exactly the expected tensors (on any device, "meta" too), all finite.

    Raises:
        ValueError: it doesn't; the message names the folder and the first difference.
    """
    most = sum(8 * tensor.numel() + 400 for tensor in expected.values()) + 2000  # of 8 bytes each, with their names
    try:
        tensors = load(_described(folder, description.tensors_sha256, most))
        if wrong := _difference(tensors, expected):
            raise ValueError(f"doesn't fit this model: {wrong}")
    except (ValueError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / TENSORS_FILE} {str(error)[:500]}") from None
    return tensors


def _described(folder: Path, sha256: str, most: int) -> bytes:
    """The content of the tensors' file with this checksum: it lies beside its place if a save was killed."""
    fault = ""
    for place in (folder / TENSORS_FILE, folder / f"{TENSORS_FILE}.next"):
        try:
            data = _bytes_of(place, most)
        except ValueError as error:
            fault = fault or str(error)
            continue
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        fault = fault or (
            f"({len(data)} bytes) is not the file that {CONFIG_FILE} describes: it is truncated, damaged or another "
            "adapter's; copy the folder again or save again"
        )
    raise ValueError(fault)


def _bytes_of(file: Path, most: int) -> bytes:
    """A regular file's content, read only if it is no larger than it can rightly be."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer
        with open(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is no regular file")
            if status.st_size > most:
                raise ValueError(f"has {status.st_size} bytes, and what it should hold has at most {most}")
            return opened.read(status.st_size)
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _checksum(description: dict[str, Any]) -> str:
    """SHA-256 of a description without its own checksum."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _checked(found: Any) -> Description:
    """A description whose every part is of the right kind."""
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object was expected, not {type(found).__name__}")
    wanted = {field.name for field in fields(Description)} | {"format", "sha256"}
    if found.get("format") != FORMAT:
        raise ValueError(
            f"format {found.get('format')!r}, and this version reads format {FORMAT}: save the adapter again"
        )
    if different := found.keys() ^ wanted:
        raise ValueError(f"its keys differ from an adapter's in {', '.join(map(repr, sorted(different)))}")
    if found["sha256"] != _checksum(found):
        raise ValueError("its checksum does not fit: a part of it was changed or damaged")
    config = found["config"]
    known = [field.name for field in fields(AptConfig)]
    if not isinstance(config, dict) or config.keys() != set(known):
        strange = f" ({', '.join(config.keys() ^ set(known))} differs)" if isinstance(config, dict) else ""
        raise ValueError(f"config must have {', '.join(known)}, and nothing else{strange}")
    for name in ("labels", "backbone_tensors"):
        if not _strings(found[name]) or len(set(found[name])) < len(found[name]):
            raise ValueError(f"{name} must be a list of different names")
    for name in ("backbone", "versions"):
        if not isinstance(found[name], dict) or not all(type(v) in (str, int) for v in found[name].values()):
            raise ValueError(f"{name} must be an object of names and numbers")
    if not isinstance(found["problem_type"], str | None) or not isinstance(found["tensors_sha256"], str):
        raise ValueError("problem_type must be a name or null, and tensors_sha256 a string")
    rest = {name: value for name, value in found.items() if name not in ("format", "sha256", "config")}
    return Description(config=AptConfig(**config), **rest)


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _difference(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """The first way in which tensors differ from what is expected; empty if they fit."""
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors:
            return f"the model trains {name}, which the adapter lacks"
        if name not in expected:
            return f"the adapter holds {name}, which the model lacks"
        tensor = tensors[name]
        if tensor.shape != expected[name].shape:
            return f"{name} is {list(tensor.shape)} in the adapter and {list(expected[name].shape)} in the model"
        kinds = tensor.dtype in FLOATS, expected[name].is_floating_point()
        if kinds[0] != kinds[1] or tensor.is_complex():
            return f"{name} holds numbers of type {tensor.dtype}, in the model {expected[name].dtype}"
        if not tensor.isfinite().all():
            return f"{name} holds NaN or infinite values"
    return ""


def _finish_interrupted(folder: Path) -> None:
    """Do the last step of a save that was killed before it: its description is there already."""
    try:
        sha256 = read_description(folder).tensors_sha256
        pending = (folder / f"{TENSORS_FILE}.next").read_bytes()
    except (OSError, ValueError):
        return
    if hashlib.sha256(pending).hexdigest() == sha256:
        os.replace(folder / f"{TENSORS_FILE}.next", folder / TENSORS_FILE)
