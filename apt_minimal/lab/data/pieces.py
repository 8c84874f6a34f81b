"""Backbones that lie in a package registry in pieces: what they are called, their hashes, and where they are kept."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

BASE = "all-mpnet-base-v2"


@dataclass(frozen=True)
class Pieces:
    """A backbone as a zip file in pieces, a wheel each.

    Attributes:
        name: of the backbone, of the zip file, of the folder in it, and of the folder in the cache.
        wheels: SHA-256 of each wheel, in the pieces' order.
        files: SHA-256 of each file that is taken out of the zip file.
        size: bytes of all wheels together.
    """

    name: str
    wheels: tuple[str, ...]
    files: dict[str, str]
    size: int

    def requirement(self, number: int) -> str:
        """What pip is asked for to get a piece, counted from 1."""
        return f"{self.name}-pypi-part-{number:03}==0.0.1"

    def wheel(self, number: int) -> str:
        """The name of a piece's wheel."""
        return f"{self.name.replace('-', '_')}_pypi_part_{number:03}-0.0.1-py3-none-any.whl"

    def wrong_file(self, folder: Path) -> str:
        """Which of the backbone's files a folder lacks or has another of, in words; "" where all are right."""
        for name, wanted in self.files.items():
            if not (folder / name).is_file():
                return f"no {name}"
            if (found := sha256(folder / name)) != wanted:
                return f"another {name} (SHA-256 {found[:12]}…, not {wanted[:12]}…)"
        return ""


PIECES = {
    "base": Pieces(
        BASE,
        wheels=(
            "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
            "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
            "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
            "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
            "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
        ),
        files={
            "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
            "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
            "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
            "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
            "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
            "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        },
        size=404_534_822,
    )
}


def pieces_of(size: str) -> Pieces:
    """The pieces of an embedded backbone; ValueError where there are none."""
    if size not in PIECES:
        raise ValueError(f'the embedded backbones are "small" and {", ".join(map(repr, PIECES))}; {size!r} is none')
    return PIECES[size]


def cache_folder() -> Path:
    """Where fetched backbones are kept: $APT_CACHE, else apt_minimal in $XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("APT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "apt_minimal"


def sha256(file: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
