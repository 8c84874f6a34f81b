"""What others install: the source distribution and the wheel hold what they need, and say what they can't have."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD = "from setuptools import build_meta; print(build_meta.build_{}({!r}))"
pytestmark = pytest.mark.slow  # builds, unpacks and starts processes


def python(code, folder, **environment):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def build(kind, folder, out):
    done = python(BUILD.format(kind, str(out)), folder)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The source distribution, unpacked: built from a copy of what git would hold."""
    copy, out = (tmp_path_factory.mktemp(name) for name in ("copy", "sdist"))
    unwanted = (".git", ".venv", "build", "dist", "shared", "running", "*.egg-info", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*unwanted), dirs_exist_ok=True)
    with tarfile.open(build("sdist", copy, out)) as archive:
        archive.extractall(out, filter="data")
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def installed(unpacked, tmp_path_factory):
    """A folder that holds the wheel's files, and nothing of the repository near it."""
    out = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", unpacked, out)) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_source_distribution_holds_what_the_tests_read(unpacked):
    read = [path for top in ("tests", "notebooks", "docs") for path in (ROOT / top).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in read if not {"__pycache__", "running"} & set(path.parts)}
    wanted |= {"tests/conftest.py", "tests/reference.py", "constraints.txt", "environment.yml", "Makefile", ".ci/run"}
    assert {name for name in wanted if ".ipynb_checkpoints" not in name} - files(unpacked) == set()


def test_its_tests_run_from_it(unpacked):
    run = "import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', 'tests/test_gates.py']))"
    done = python(run, unpacked)
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_the_package_its_sample_and_its_types_and_nothing_else(installed):
    package = {name for name in files(ROOT / "apt_minimal") if "__pycache__" not in name}
    found = {name for name in files(installed) if ".dist-info/" not in name}
    assert found == {f"apt_minimal/{name}" for name in package}
    assert "apt_minimal/py.typed" in found
    assert any(name.startswith("apt_minimal/lab/data/sample/") for name in found)


def test_without_the_repository_the_package_loads_its_sample(installed, tmp_path):
    code = (
        "import apt_minimal; from apt_minimal.lab import embedded_backbone; from transformers import AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(embedded_backbone())\n"
        "print(apt_minimal.__file__, apt_minimal.load_task('boolq', tokenizer, source='sample').source)"
    )
    done = python(code, tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{installed / 'apt_minimal' / '__init__.py'} sample")


@pytest.mark.parametrize(
    "code",
    [
        "from apt_minimal.course.run import main; main([])",
        "from apt_minimal.course.editions import main; main([])",
        "from apt_minimal.lab.experiments.recordings import load_recording; load_recording('minilm_cpu')",
        "from apt_minimal.lab.experiments.tables import paper_scores; paper_scores()",
    ],
)
def test_what_needs_the_repository_says_so(code, installed, tmp_path):
    done = python(code, tmp_path, PYTHONPATH=str(installed))
    assert done.returncode != 0
    assert "in the repository, not in the installed package" in done.stderr
