"""Versions: the package tells its own, and refuses a transformers that is known not to work."""

import re
from importlib import metadata

import pytest
from packaging.version import Version

import apt_minimal
from apt_minimal import versions


@pytest.fixture
def installed(monkeypatch):
    """Let another version of transformers be installed, or none."""

    def pretend(found):
        def version(name):
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(versions, "version", version)

    return pretend


@pytest.mark.parametrize("found", ["4.57.6", "5.0.0", "5.16.9", "5.17.0.dev0"])
def test_a_transformers_that_is_too_old_is_refused_by_its_number(found, installed):
    installed(found)
    with pytest.raises(ImportError, match=rf"transformers {re.escape(found)}: it is too old\. .*>=5\.17,<6"):
        versions.check_transformers()


def test_a_version_known_not_to_work_is_refused_with_the_reason(installed, monkeypatch):
    monkeypatch.setitem(versions.NOT_WORKING, "5.99.1", "it ignores prefixes")
    installed("5.99.1")
    with pytest.raises(ImportError, match="transformers 5.99.1: it ignores prefixes"):
        versions.check_transformers()


@pytest.mark.parametrize("found", ["5.17.0", "5.17.1", "5.99.0", None])
def test_other_versions_pass_and_so_does_none(found, installed):
    installed(found)
    versions.check_transformers()


def test_the_package_tells_its_version(installed):
    assert Version(apt_minimal.__version__) >= Version("0.1.0")
    installed(None)
    assert versions.own_version() == "unknown"
