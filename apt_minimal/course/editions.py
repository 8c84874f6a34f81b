"""A course's editions: for students (solutions out), for teachers (solutions in), and the slides of the lecture.

    python -m apt_minimal.course.editions    # from the repository's root; writes build/teaching/

Students get the lessons without outputs, so that a prediction is one, and the question bank without its key. Teachers
get the lessons with outputs, each exercise solved in its place, and the key. The slides are `docs/slides.md`, which
takes its code and its figures from the lessons' cells.
"""

import argparse
import re
from copy import deepcopy
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

EXERCISE = "exercise-"  # beginning of the id of a cell in which an exercise is solved, in lessons and in solutions


def student_edition(lesson: NotebookNode) -> NotebookNode:
    """A lesson without outputs."""
    lesson = deepcopy(lesson)
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return lesson


def instructor_edition(lesson: NotebookNode, solutions: NotebookNode) -> NotebookNode:
    """A lesson in which every exercise is solved: after its text come the solution's text and the solved cell.

    Raises:
        ValueError: exercises and solutions are not the same; the message names them.
    """
    asked, solved = ([cell.id for cell in one.cells if cell.id.startswith(EXERCISE)] for one in (lesson, solutions))
    if asked != solved:
        raise ValueError(f"the lesson's exercises are {asked}, the solutions solve {solved}")
    # What stands in front of a solved cell belongs to it: its text, and before the first the imports.
    pieces, piece = {}, []
    for cell in solutions.cells[1:]:  # without the title
        piece.append(deepcopy(cell))
        if cell.id.startswith(EXERCISE):
            pieces[cell.id], piece = piece, []
    cells = [one for cell in lesson.cells for one in pieces.get(cell.id, [deepcopy(cell)])]
    for number, cell in enumerate(cells, start=1):
        cell.id = cell.id if cell.id.startswith(EXERCISE) else f"cell-{number:03}"  # both notebooks count their own
    return new_notebook(cells=cells, metadata=lesson.metadata)


def without_key(questions: str) -> str:
    """The question bank without its key, the folded parts of the page."""
    return re.sub(r"<details>.*?</details>\n*", "", questions, flags=re.DOTALL)


def slides(text: str, lessons: dict[str, NotebookNode]) -> NotebookNode:
    """The lecture as a notebook for nbconvert: slides lie between lines `---`.

    A line `{{code 03_prefix/ID}}` stands for that cell of that lesson, `{{figure 03_prefix/ID}}` for its outputs alone,
    and a paragraph that begins with `Note:` is for the speaker.

    Raises:
        ValueError: there is no such lesson or cell.
    """
    cells = []
    for slide in re.split(r"^---$", text, flags=re.MULTILINE):
        kind = "slide"  # the first piece begins a slide, the others ("-") go on with it
        for piece in re.split(r"^(\{\{.*\}\}|Note: .*)$", slide, flags=re.MULTILINE):
            if piece.strip():
                cell = _quoted(piece, lessons) if piece.startswith("{{") else new_markdown_cell(piece.strip())
                spoken = piece.startswith("Note: ")
                cell.metadata["slideshow"] = {"slide_type": "notes" if spoken else kind}
                cell.id = f"slide-{len(cells) + 1:03}"  # its own would collide where a cell is quoted twice
                cells.append(cell)
                kind = "-"
    return new_notebook(cells=cells)


def _quoted(directive: str, lessons: dict[str, NotebookNode]) -> NotebookNode:
    found = re.fullmatch(r"\{\{(code|figure) (\S+)/(\S+)\}\}", directive)
    if found is None or found[2] not in lessons:
        raise ValueError(f"{directive} names no lesson; {{{{code LESSON/ID}}}} or {{{{figure LESSON/ID}}}} does")
    cell = next((deepcopy(cell) for cell in lessons[found[2]].cells if cell.id == found[3]), None)
    if cell is None:
        raise ValueError(f"{directive}: {found[2]} has no cell {found[3]}")
    cell.metadata = {"tags": ["no-input"] if found[1] == "figure" else []}
    return cell


def _write_slides(notebook: NotebookNode, file: Path) -> None:
    config = Config()
    config.TagRemovePreprocessor.remove_input_tags = {"no-input"}
    config.SlidesExporter.reveal_transition = "none"
    config.SlidesExporter.exclude_input_prompt = config.SlidesExporter.exclude_output_prompt = True
    html, _ = SlidesExporter(config=config).from_notebook_node(notebook)
    # A line of code in a lesson is longer than a slide is wide.
    narrow = "<style>.reveal .highlight pre { font-size: 75% !important }</style>"
    file.write_text(html.replace("</head>", narrow + "</head>", 1), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write both editions and the slides."""
    parser = argparse.ArgumentParser(
        prog="python -m apt_minimal.course.editions",
        description="Write student and instructor editions, and the slides.",
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")
    parser.add_argument("--out", type=Path, default=Path("build/teaching"), help="where to write")
    options = parser.parse_args(arguments)
    files = sorted((options.root / "notebooks").glob("*.ipynb"))
    if not files:
        where = "the lessons lie in the repository, not in the installed package: run this from its root"
        parser.error(
            f"there are no notebooks in {(options.root / 'notebooks').resolve()}; {where}, or name it with --root"
        )
    lessons = {file.stem: nbformat.read(file, as_version=4) for file in files}
    questions = (options.root / "docs/questions.md").read_text(encoding="utf-8")
    for edition, bank in (("student", without_key(questions)), ("instructor", questions)):
        folder = options.out / edition
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "questions.md").write_text(bank, encoding="utf-8")
    for file in files:
        solved = file.parent / "solutions" / file.name
        solutions = nbformat.read(solved, as_version=4) if solved.exists() else new_notebook()  # nothing to solve
        nbformat.write(student_edition(lessons[file.stem]), options.out / "student" / file.name)
        nbformat.write(instructor_edition(lessons[file.stem], solutions), options.out / "instructor" / file.name)
    lecture = slides((options.root / "docs/slides.md").read_text(encoding="utf-8"), lessons)
    _write_slides(lecture, options.out / "lecture.slides.html")
    print(f"{len(files)} lessons for students and for instructors, and the slides, in {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
