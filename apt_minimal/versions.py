"""Which version of apt_minimal this is, and which versions of transformers it refuses."""

from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

OLDEST = "5.17"  # of transformers; `pyproject.toml` asks for the same
NOT_WORKING: dict[str, str] = {}  # a later version of transformers -> why it does not work, in a few words


def own_version() -> str:
    """The installed version of apt_minimal; "unknown" where its folder was copied and never installed."""
    try:
        return version("apt-minimal")
    except PackageNotFoundError:
        return "unknown"


def check_transformers() -> None:
    """Refuse a transformers that is known not to work; without one, only what needs it will fail.

    Raises:
        ImportError: the installed version is older than `OLDEST`, or one of `NOT_WORKING`.
    """
    try:
        found = version("transformers")
    except PackageNotFoundError:
        return
    reason = "it is too old" if Version(found) < Version(OLDEST) else NOT_WORKING.get(found)
    if reason:
        raise ImportError(
            f"apt_minimal does not work with transformers {found}: {reason}. "
            f'Install one that does: pip install "transformers>={OLDEST},<6"'
        )
