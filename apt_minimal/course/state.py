"""Which exercises are solved: kept in memory, and in a small file of the user's cache where that can be written."""

import json
import os
from contextlib import suppress
from pathlib import Path

_solved: set[str] = set()


def solved(number: str) -> None:
    """Remember that the exercise of this number, such as "1.1", is solved."""
    if not number or number in all_solved():
        return
    _solved.add(number)
    with suppress(OSError, RuntimeError):  # a disk that cannot be written, a user without a home: memory will do
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}")  # replaced at once: another kernel may be reading
        new.write_text(json.dumps(sorted(_solved)), encoding="utf-8")
        new.replace(file)


def all_solved() -> set[str]:
    """The numbers of all exercises that are solved, in this session and in earlier ones."""
    with suppress(OSError, RuntimeError, ValueError, TypeError):  # there is no file yet, or not ours
        _solved.update(map(str, json.loads(_file().read_text(encoding="utf-8"))))
    return _solved


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(cache) / "apt-minimal" / "solved.json"
