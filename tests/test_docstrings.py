"""The calls that docstrings show run as they stand."""

import doctest

import pytest

import apt_minimal.attach  # noqa: F401  (the module; the package's attribute of this name is the function)
import apt_minimal.prefix  # noqa: F401


@pytest.mark.parametrize("name", ["apt_minimal.prefix", "apt_minimal.attach"])
def test_the_examples_run(name):
    import sys

    found = doctest.testmod(sys.modules[name])
    assert found.attempted >= 3 and found.failed == 0
