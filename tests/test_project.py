"""The project around the code: environments, README, CI, saved notebooks, the course runner."""

import os
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import find_comment_markers, find_metadata_tags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from apt_minimal.course import address
from apt_minimal.course import run as course

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {  # all that `make test` compares, by their paths below notebooks/
    path.relative_to(ROOT / "notebooks").as_posix(): path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [
    Requirement(line)
    for lines in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in lines
]

# Environments


def test_environment_yml_asks_for_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (from_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    from_conda = [line for line in environment["dependencies"] if isinstance(line, str) and line != "pip"]
    names_on_conda = {"torch": "pytorch"}
    found = {r.name: str(r.specifier) for r in map(Requirement, from_conda + from_pip)}
    wanted = {names_on_conda.get(r.name, r.name): str(r.specifier) for r in DIRECT}
    wanted["python"] = PROJECT["requires-python"]
    assert len(found) == len(from_conda + from_pip), "a package is listed twice"
    assert found == wanted
    assert (environment["name"], environment["channels"][0]) == (PROJECT["name"], "conda-forge")


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="ascii").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 and re.fullmatch(r"[\d.]+(b\d+)?", pin[1]) for pin in pins), "not an exact public version"
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_constraints_pin_each_direct_dependency_within_its_range(requirement, pins):
    version = pins.get(canonicalize_name(requirement.name))
    assert version is not None, f"constraints.txt has no pin for {requirement.name}"
    assert version in requirement.specifier


def test_the_lock_holds_the_same_versions_with_a_hash_of_every_file(pins):
    text = (ROOT / "requirements.lock").read_text(encoding="ascii")
    locked = re.findall(r"^(\S+)==(\S+).*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, flags=re.M)
    assert len(locked) == len(re.findall("^[^ #]", text, flags=re.M)), "not everything has a hash"
    versions = {canonicalize_name(name): version for name, version, _ in locked}
    assert {name: versions.get(name) for name in pins} == pins, "run make lock"
    assert "://" not in text


# README and CI


def test_readme_names_the_makefiles_commands_and_ci_runs_its_test_command():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.M))
    assert {"course", "check", "test", "lab"} <= named <= targets
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make lint && make test" in ci
    assert os.name == "nt" or os.access(ROOT / ".ci/run", os.X_OK)


def test_readme_installs_the_extras_that_make_installs():
    asked = re.findall(r'-e "\.\[(.*?)\]"', README + (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(asked) == 4
    extras = set(PROJECT["optional-dependencies"]) - {"cluster"}  # which the tests have as well
    assert {frozenset(given.split(",")) for given in asked} == {frozenset(extras)}


def test_what_pages_and_grids_run_as_a_module_is_a_command():
    pages = [*ROOT.glob("*.md"), ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.toml")]
    pages += (ROOT / "apt_minimal").rglob("*.py")
    for page in pages:
        for module in re.findall(r"python -m (apt_minimal[\w.]*)", page.read_text(encoding="utf-8")):
            place = ROOT / module.replace(".", "/")
            file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
            assert '__name__ == "__main__"' in file.read_text(encoding="utf-8"), f"{page}: {module}"


def test_readme_links_every_lesson():
    numbers = {int(path.name[:2]) for path in LESSONS}
    assert len(numbers) > 11 and numbers == set(range(min(numbers), max(numbers) + 1)), "a lesson is missing"
    assert re.findall(r"\]\(notebooks/([^/\s]+?\.ipynb)\)", README) == [path.name for path in LESSONS]


def test_readme_links_only_to_what_is_there():
    links = re.findall(r"\]\((?!http)(\S+?)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_example_runs(minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README, flags=re.S)[0]
    names = {}
    exec(example, names)
    assert len(names["optimizer"].param_groups[0]["params"]) > 2
    assert {file.name for file in Path("my-adapter").iterdir()} >= {"adapter.json", "adapter.safetensors"}


# Saved notebooks


def faults(notebook):
    """What must not be in a saved notebook: code that was not run from top to bottom, errors, warnings, local paths."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if not code:
        found.append("no code")
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("execution counts are not 1, 2, 3, …")
    for cell in code:
        texts = []
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{cell.id}: an error")
            texts.append(output.get("text", ""))
            texts += [str(data) for mime, data in output.get("data", {}).items() if not mime.startswith("image/")]
        for fault, pattern in {
            "a traceback": r"Traceback \(most recent call last\)",
            "a warning": r"\b\w*Warning\b|\bWARNING\b|^\[?warn",
            "a local path": r"/home/|/root/|/Users/|/tmp/|/var/folders/|\b[A-Z]:\\",
        }.items():
            if any(re.search(pattern, text, flags=re.M) for text in texts):
                found.append(f"{cell.id}: {fault}")
    return found


def uncompared(notebook):
    """Ids of the code cells that nbval doesn't run or whose output it doesn't compare."""
    ids = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            options = dict(find_metadata_tags(cell.metadata)) | dict(find_comment_markers(cell.source))
            if options.get("skip") or options.get("check") is False:
                ids.add(cell.id)
    return ids


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_notebook_was_run_and_is_clean(name):
    assert faults(nbformat.read(NOTEBOOKS[name], as_version=4)) == []


def test_uncompared_cells_are_those_of_the_register():
    text = (ROOT / "docs/uncompared.md").read_text(encoding="utf-8")
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0] == ["notebook", "cell id", "reason"]
    assert all(len(row) == 3 and all(row) for row in rows), "a row lacks its reason"
    registered = [(name, cell) for name, cell, _ in rows[2:]]
    tagged = {
        (name, cell) for name, path in NOTEBOOKS.items() for cell in uncompared(nbformat.read(path, as_version=4))
    }
    assert sorted(registered) == sorted(tagged)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_computes_with_one_thread(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    # On a busy machine several threads wait for each other: lesson 07 then took ten times as long.
    assert "import torch\n" not in code or "\ntorch.set_num_threads(1)" in code


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_opens_in_colab_kaggle_and_binder(path):
    repository = PROJECT["urls"]["Repository"]  # the only place where the address is chosen
    owner_and_name = repository.removeprefix("https://github.com/")
    file = f"{owner_and_name}/blob/main/notebooks/{path.name}"
    title, first = nbformat.read(path, as_version=4).cells[:2]
    colab = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    kaggle = "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
    binder = "[![Open in Binder](https://mybinder.org/badge_logo.svg)]"
    assert title.source.splitlines()[2].split(") ") == [
        f"{colab}(https://colab.research.google.com/github/{file}",
        f"{kaggle}(https://kaggle.com/kernels/welcome?src=https://github.com/{file}",
        f"{binder}(https://mybinder.org/v2/gh/{owner_and_name}/main?labpath=notebooks%2F{path.name})",
    ]
    assert (first.id, first.outputs) == ("colab", [])
    assert first.source == nbformat.read(LESSONS[0], as_version=4).cells[1].source
    for needed in (f"git clone -q {repository} ", "-c apt-minimal/constraints.txt", '"google.colab" in sys.modules'):
        assert needed in first.source


def test_a_fork_writes_its_address_into_a_lesson_with_one_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    old, new = "apt-minimal/apt-minimal", "someone/apt-minimal"
    before = nbformat.read(LESSONS[0], as_version=4)
    nbformat.write(before, tmp_path / "notebooks" / LESSONS[0].name)
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "https://github.com/{new}"\n', "utf-8")
    monkeypatch.chdir(tmp_path)
    for changed in (1, 0):
        assert address.main() == 0
        assert capsys.readouterr().out.startswith(f"{changed} of 1 lessons changed")
    after = nbformat.read(tmp_path / "notebooks" / LESSONS[0].name, as_version=4)
    assert [cell.source for cell in after.cells] == [cell.source.replace(old, new) for cell in before.cells]


def test_a_lesson_has_three_to_six_exercises_and_solutions_to_each():
    counts = {}
    for lesson in {path.name[:2] for path in LESSONS} - {"00", "13"}:  # which only show; 05 and 05b share theirs
        asked, solved = (
            sorted(
                cell.id
                for path in folder.glob(f"{lesson}*.ipynb")
                for cell in nbformat.read(path, as_version=4).cells
                if cell.id.startswith("exercise-")
            )
            for folder in (ROOT / "notebooks", ROOT / "notebooks/solutions")
        )
        assert asked == solved == [f"exercise-{int(lesson)}-{i}" for i in range(1, len(asked) + 1)]
        counts[lesson] = len(asked)
    assert set(counts.values()) <= {3, 4, 5, 6}, counts


def cell(source="1 + 1", count=1, outputs=(), id="it", **more):
    return new_code_cell(source, id=id, execution_count=count, outputs=list(outputs), **more)


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def html(text):
    return new_output("display_data", data={"text/html": text})


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([cell(count=None)], "execution counts are not 1, 2, 3, …"),
        ([cell(count=2, id="one"), cell(count=1)], "execution counts are not 1, 2, 3, …"),
        ([new_markdown_cell("# Title")], "no code"),
        ([cell(outputs=[new_output("error", ename="ValueError", evalue="x", traceback=[])])], "it: an error"),
        ([cell(outputs=[stream("Traceback (most recent call last):\n")])], "it: a traceback"),
        ([cell(outputs=[stream("lib.py:3: FutureWarning: soon\n", "stderr")])], "it: a warning"),
        ([cell(outputs=[html("<b>UserWarning</b>")])], "it: a warning"),
        ([cell(outputs=[stream("from /home/someone/data\n")])], "it: a local path"),
        ([cell(outputs=[html("<td>/tmp/x</td>")])], "it: a local path"),
        ([cell(outputs=[stream("C:\\Users\\someone\n")])], "it: a local path"),
    ],
)
def test_faults_of_a_saved_notebook_are_found(cells, fault):
    assert faults(new_notebook(cells=cells)) == [fault]


def test_a_clean_notebook_has_no_faults():
    cells = [
        new_markdown_cell("see /tmp"),
        cell(outputs=[stream("ratio 1/2, 3 MB\n")]),
        cell("", count=None, id="empty"),
    ]
    assert faults(new_notebook(cells=cells)) == []


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (cell(), set()),
        (cell(metadata={"tags": ["nbval-ignore-output"]}), {"it"}),
        (cell(metadata={"tags": ["nbval-skip"]}), {"it"}),
        (cell("# NBVAL_IGNORE_OUTPUT\n1"), {"it"}),
        (cell("# NBVAL_SKIP\n1"), {"it"}),
    ],
)
def test_uncompared_cells_are_found(there, expected):
    assert uncompared(new_notebook(cells=[there])) == expected


# The course runner


@pytest.fixture
def folder(tmp_path):
    """A course of four lessons, of which the second raises and the fourth is no notebook."""
    lessons = tmp_path / "notebooks"
    lessons.mkdir()
    for name, source in {"01_good": "6 * 7", "02_bad": "raise ValueError('no such gate')", "03_good": "'on'"}.items():
        cells = [new_markdown_cell("# Lesson"), cell("x = 1", id="start"), cell(source, id="heart")]
        notebook = new_notebook(cells=cells)
        nbformat.write(notebook, lessons / f"{name}.ipynb")
    (lessons / "04_torn.ipynb").write_text('{"cells": [')
    return lessons


def run_course(folder, *names):
    return course.main([*names, "--notebooks", str(folder), "--out", str(folder.parent / "out")])


@pytest.mark.slow
def test_course_goes_on_after_failures_and_reports_them(folder, capsys):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run_course(folder) == 1
    progress, *reports = capsys.readouterr().out.split("\n\n")
    lines = progress.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["01_good", "02_bad", "03_good", "04_torn"]
    assert ["FAILED" in line for line in lines[:4]] == [False, True, False, True]
    assert lines[4].startswith("2 of 4 notebooks ran")
    assert re.search(r"FAILED .*02_bad\.ipynb, in cell 3 \(id heart\): ValueError: no such gate", reports[0])
    assert re.search(r"FAILED .*04_torn\.ipynb, before its first cell: NotJSONError", reports[1])
    assert all(len(report.strip().splitlines()) <= 6 for report in reports)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_course_names_a_lesson_before_it_runs(folder, capsys, monkeypatch):
    printed = []
    monkeypatch.setattr(course, "run_notebook", lambda path, out: printed.append(capsys.readouterr().out))
    run_course(folder, "01", "03")
    assert printed == ["01_good ... ", "0.0 minutes\n03_good ... "]


@pytest.mark.slow
def test_course_runs_the_lessons_it_is_given_and_keeps_other_files(folder, capsys):
    out = folder.parent / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    assert run_course(folder, "01", "notebooks/03_good.ipynb") == 0
    assert "FAILED" not in capsys.readouterr().out
    made = sorted(path.name for path in out.iterdir())
    assert made == ["01_good.ipynb", "03_good.ipynb", "mine.txt"]
    executed = nbformat.read(out / "01_good.ipynb", as_version=4)
    assert [c.execution_count for c in executed.cells[1:]] == [1, 2]
    assert executed.cells[2].outputs[0].data["text/plain"] == "42"


@pytest.mark.slow
def test_course_reports_a_kernel_that_dies(folder, capsys):
    notebook = new_notebook(cells=[cell("import os\nos._exit(1)")])
    nbformat.write(notebook, folder / "05_dies.ipynb")
    assert run_course(folder, "05") == 1
    assert "in cell 1 (id it): DeadKernelError" in capsys.readouterr().out


@pytest.mark.parametrize("names", [["13"], ["01", "nowhere"]])
def test_course_names_the_lessons_there_are_when_one_is_unknown(folder, names, capsys):
    with pytest.raises(SystemExit) as stop:
        run_course(folder, *names)
    assert stop.value.code == 2
    assert re.search(f"no notebook {names[-1]} .*01_good", capsys.readouterr().err)


def test_course_without_notebooks_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_course(tmp_path)
    assert stop.value.code == 2
    assert "no notebook" in capsys.readouterr().err


def test_course_says_before_the_first_lesson_that_it_cannot_write(folder, capsys, monkeypatch):
    monkeypatch.setattr(course, "run_notebook", lambda path, out: pytest.fail("a notebook ran"))
    (folder.parent / "out").write_text("a file")
    with pytest.raises(SystemExit) as stop:
        run_course(folder, "01")
    assert stop.value.code == 2
    assert re.search(r"can't go to .*out \(.*\); name another folder with --out", capsys.readouterr().err)


@pytest.mark.slow
def test_course_without_a_home_writes_nothing_about_it_into_the_cells(folder, monkeypatch):
    for name, value in {"HOME": "/proc/nothing", "MPLCONFIGDIR": "", "IPYTHONDIR": ""}.items():
        monkeypatch.setenv(name, value)
    nbformat.write(
        new_notebook(cells=[cell("import matplotlib.pyplot as plt\nplt.figure();")]), folder / "05_plot.ipynb"
    )
    assert run_course(folder, "05") == 0
    outputs = nbformat.read(folder.parent / "out" / "05_plot.ipynb", as_version=4).cells[0].outputs
    assert [output for output in outputs if output.output_type == "stream"] == []
