"""What `adapter.json` says, and the check that all of it is of the right kind; it has a checksum of its own."""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from apt_minimal.prefix import AptConfig

FORMAT = 2


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


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object as a dictionary; ValueError where a key stands there twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def checksum(description: dict[str, Any]) -> str:
    """SHA-256 of a description without its own checksum."""
    rest = {key: value for key, value in description.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def checked(found: Any) -> Description:
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
    if found["sha256"] != checksum(found):
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
