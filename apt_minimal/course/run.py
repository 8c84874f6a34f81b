"""Run the course: every notebook in order, each from start to end in a fresh kernel.

    python -m apt_minimal.course.run            # all of them
    python -m apt_minimal.course.run 07 09_ner  # some, by the beginnings of their names

The notebooks stay as they are; the executed copies go to build/course/. `make course` makes pages of them.
"""

import argparse
import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def run_notebook(path: Path, out: Path) -> str | None:
    """Execute a notebook where it stands and write the executed copy, complete or not, into the folder `out`.

    Returns:
        None, or what went wrong, in a few lines.
    """
    at = "before its first cell"

    def remember(cell, cell_index):
        nonlocal at
        at = f"in cell {cell_index + 1} (id {cell.get('id', 'none')})"

    fault, notebook = None, None
    try:
        notebook = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where, on_cell_start=remember)
        client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log; what cells write to stderr is kept
    except CellExecutionError as error:
        fault = f"{path}, {at}: {error.ename}: {error.evalue}"
    except Exception as error:  # a file that is no notebook, a kernel that died: the next notebook runs all the same
        fault = f"{path}, {at}: {type(error).__name__}: {error}"
    if notebook is not None:
        nbformat.write(notebook, out / path.name)
    return fault


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks that the command line names; the exit status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m apt_minimal.course.run", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of notebooks' names, such as 07 (default: all)")
    parser.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="folder that holds the notebooks")
    parser.add_argument("--out", type=Path, default=Path("build/course"), help="folder for the executed copies")
    options = parser.parse_args(arguments)
    paths = sorted(options.notebooks.glob("*.ipynb"))
    if not paths:
        where = "the lessons lie in the repository, not in the installed package: run this from its root"
        parser.error(
            f"there is no notebook in {options.notebooks.resolve()}; {where}, or name a folder with --notebooks"
        )
    for name in options.names or [""]:
        if not any(path.name.startswith(Path(name).name) for path in paths):
            parser.error(f"no notebook {name or '*.ipynb'} in {options.notebooks}; there: {[p.stem for p in paths]}")
    if options.names:
        paths = [path for path in paths if path.name.startswith(tuple(Path(name).name for name in options.names))]
    try:  # before an hour of notebooks, not after it
        options.out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=options.out):
            pass
    except OSError as error:
        parser.error(
            f"the executed copies can't go to {options.out} ({error.strerror}); name another folder with --out"
        )
    with TemporaryDirectory() as scratch:
        if not os.access(Path("~").expanduser(), os.W_OK):  # else matplotlib and IPython write about it into the cells
            os.environ |= {"MPLCONFIGDIR": scratch, "IPYTHONDIR": scratch}
        return run_notebooks(paths, options.out)


def run_notebooks(paths: list[Path], out: Path) -> int:
    """Execute notebooks one after the other and report on each; the exit status is 1 if one of them failed."""
    faults = []
    for path in paths:
        print(f"{path.stem} ... ", end="", flush=True)
        start = time.monotonic()
        fault = run_notebook(path, out)
        print(f"{(time.monotonic() - start) / 60:.1f} minutes{', FAILED' if fault else ''}", flush=True)
        if fault:
            faults.append("\n".join(fault.splitlines()[:6]))
    print(f"{len(paths) - len(faults)} of {len(paths)} notebooks ran; executed copies in {out}")
    for fault in faults:
        print(f"\nFAILED {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
