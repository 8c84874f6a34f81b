"""Print the oldest versions that pyproject.toml allows, one requirement per line, as `make test-oldest` installs them.

python tests/oldest.py            # torch~=2.5.0, transformers~=5.17.0, …: a first release with its repairs
TORCH=2.13.0 python tests/oldest.py    # all but torch, which is fixed elsewhere
"""

import os
import tomllib
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement  # pip is all that a fresh environment has

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def oldest(line: str) -> str:
    """The requirement that only a range's first release and its repairs meet."""
    requirement = Requirement(line)
    (lowest,) = (one.version for one in requirement.specifier if one.operator in (">=", "=="))
    return f"{requirement.name}~={lowest}{'.0' * (2 - lowest.count('.'))}"


if __name__ == "__main__":
    extras = PROJECT["optional-dependencies"]
    lines = [oldest(line) for line in [*PROJECT["dependencies"], *extras["lab"], *extras["cluster"]]]
    print("\n".join(line for line in lines if not (os.environ.get("TORCH") and line.startswith("torch~"))))
