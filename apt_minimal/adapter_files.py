"""An adapter's two files on disk: written so that a kill loses nothing, and read so that no file is believed.

`adapter.json` says what the adapter is and has a checksum of its own; `adapter.safetensors` holds the tensors. Both are
checked completely before anybody sees them, so that a damaged or hostile folder ends in one error that names it.
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from apt_minimal.adapter_description import FORMAT, Description, checked, checksum, once_each

CONFIG_FILE, TENSORS_FILE, CARD_FILE = "adapter.json", "adapter.safetensors", "README.md"
LARGEST_JSON = 8 * 2**20
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    text = json.dumps(description | {"sha256": checksum(description)}, indent=2) + "\n"
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
        found = json.loads(_bytes_of(folder / CONFIG_FILE, LARGEST_JSON), object_pairs_hook=once_each)
        return checked(found)
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
