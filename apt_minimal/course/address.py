"""The repository's address stands in pyproject.toml; this command writes it into the lessons, for those who fork.

python -m apt_minimal.course.address    # from the repository's root
"""

import re
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode


def readdress(lesson: NotebookNode, address: str) -> bool:
    """Let a lesson's badges and its first cell, which fetches the course, name this repository.

    Args:
        lesson: a notebook, changed in place; its first two cells hold the addresses.
        address: such as "https://github.com/owner/name".

    Returns:
        Whether anything has changed.
    """
    title, first = lesson.cells[:2]
    found = re.search(r"git clone -q \S+?github\.com/(\S+)", first.source)
    new = address.removeprefix("https://github.com/")
    if found is None or found[1] == new:
        return False
    for cell in (title, first):
        cell.source = re.sub(rf"(github\.com/|github/|gh/){re.escape(found[1])}\b", rf"\g<1>{new}", cell.source)
    return True


def main() -> int:
    """Write the address of pyproject.toml into every lesson in notebooks/."""
    urls = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    files = sorted(Path("notebooks").glob("*.ipynb"))
    lessons = {file: nbformat.read(file, as_version=4) for file in files}
    changed = [file for file, lesson in lessons.items() if readdress(lesson, urls["Repository"])]
    for file in changed:
        nbformat.write(lessons[file], file)
    print(f"{len(changed)} of {len(files)} lessons changed: they name {urls['Repository']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
