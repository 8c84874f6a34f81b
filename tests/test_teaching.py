"""For teachers: the question bank, the editions of the lessons, the slides, and the tables of the plan."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from apt_minimal.course import editions
from apt_minimal.course import run as course

ROOT = Path(__file__).parent.parent
QUESTIONS = (ROOT / "docs/questions.md").read_text(encoding="utf-8")
BANK = re.findall(r"^### (\d+) · (\w+) · lessons? [\d, ]+ · (\d+) points$(.*?)(?=^#|\Z)", QUESTIONS, flags=re.M | re.S)
BLOCK = re.compile(r"```python\n(.*?)```", flags=re.S)
KEY = re.compile(r"<details><summary>Key</summary>(.*?)</details>", flags=re.S)

# The question bank


def test_the_bank_holds_what_its_first_lines_say():
    assert [int(number) for number, *_ in BANK] == list(range(1, 31))
    assert Counter(kind for _, kind, *_ in BANK) == {"derive": 8, "predict": 8, "debug": 7, "implement": 7}
    assert "8 to derive, 8 to predict, 7 to debug, 7 to implement; 120 points" in QUESTIONS
    assert sum(int(points) for *_, points, _ in BANK) == 120


@pytest.mark.parametrize(("number", "points", "text"), [(n, p, t) for n, _, p, t in BANK])
def test_each_key_gives_away_all_points(number, points, text):
    (key,) = KEY.findall(text)
    given = [int(one) for one in re.findall(r"\((\d)\)", BLOCK.sub("", key))]
    assert sum(given) == int(points)


@pytest.mark.parametrize(("number", "text"), [(n, t) for n, _, _, t in BANK if BLOCK.search(KEY.search(t)[1])])
def test_code_in_keys_is_right(number, text):
    (prelude,) = BLOCK.findall(QUESTIONS[: QUESTIONS.index("## Derive")])
    (code,) = BLOCK.findall(KEY.search(text)[1])
    assert "assert" in code
    exec(prelude + code, {})


def test_students_get_the_questions_without_the_key():
    bank = editions.without_key(QUESTIONS)
    assert "Key" not in bank and "details" not in bank
    assert len(re.findall(r"^### \d+", bank, flags=re.M)) == 30
    assert "return scores.masked_fill(mask, -torch.inf)" in bank  # code of a question stays


# Editions


@pytest.fixture
def lesson():
    """A lesson of one exercise."""
    open_ = new_output("stream", text="… not solved yet\n")
    return new_notebook(
        cells=[
            new_markdown_cell("# Lesson", id="cell-01"),
            new_code_cell("x = 1", id="cell-02", execution_count=1),
            new_markdown_cell("**1.1** Write it.", id="cell-03"),
            new_code_cell("raise NotImplementedError", id="exercise-1-1", execution_count=2, outputs=[open_]),
            new_markdown_cell("## What to take away", id="cell-05"),
        ]
    )


@pytest.fixture
def solutions():
    """Its solution."""
    right = new_output("stream", text="✓ right\n")
    return new_notebook(
        cells=[
            new_markdown_cell("# Solutions", id="cell-01"),
            new_code_cell("import math", id="cell-02", execution_count=1),
            new_markdown_cell("**1.1** Because.", id="cell-03"),
            new_code_cell("answer = 42", id="exercise-1-1", execution_count=2, outputs=[right]),
        ]
    )


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_students_get_lessons_without_outputs(lesson):
    made = editions.student_edition(lesson)
    assert sources(made) == sources(lesson)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in made.cells if cell.cell_type == "code")
    assert lesson.cells[3].outputs  # the lesson itself is left alone


def test_instructors_get_each_exercise_solved_in_its_place(lesson, solutions):
    made = editions.instructor_edition(lesson, solutions)
    text, imports, why, solved = "**1.1** Write it.", "import math", "**1.1** Because.", "answer = 42"
    assert sources(made) == ["# Lesson", "x = 1", text, imports, why, solved, "## What to take away"]
    assert made.cells[5].outputs[0].text == "✓ right\n"
    nbformat.validate(made)  # two notebooks' ids must not collide


def test_an_exercise_without_a_solution_is_named(lesson, solutions):
    solutions.cells.pop()
    with pytest.raises(ValueError, match="exercise-1-1"):
        editions.instructor_edition(lesson, solutions)


def test_slides_quote_code_and_figures_from_lessons(lesson):
    text = "# Title\n\n---\n## Two\n{{code 01_it/cell-02}}\n{{figure 01_it/exercise-1-1}}\nmore\n\nNote: Say this.\n"
    made = editions.slides(text, {"01_it": lesson})
    kinds = [cell.metadata.slideshow.slide_type for cell in made.cells]
    assert kinds == ["slide", "slide", "-", "-", "-", "notes"]
    assert sources(made) == ["# Title", "## Two", "x = 1", "raise NotImplementedError", "more", "Note: Say this."]
    assert [cell.metadata.get("tags") for cell in made.cells[2:4]] == [[], ["no-input"]]


@pytest.mark.parametrize("line", ["{{code 02_no/cell-02}}", "{{code 01_it/cell-99}}", "{{picture 01_it/cell-02}}"])
def test_a_slide_that_quotes_what_is_not_there_is_named(line, lesson):
    with pytest.raises(ValueError, match=re.escape(line)):
        editions.slides(f"# Title\n{line}\n", {"01_it": lesson})


def test_one_command_writes_both_editions_and_the_slides(tmp_path):
    assert editions.main(["--root", str(ROOT), "--out", str(tmp_path)]) == 0
    lessons = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    for edition in ("student", "instructor"):
        assert {path.name for path in (tmp_path / edition).iterdir()} == lessons | {"questions.md"}
    solved = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "instructor").glob("*.ipynb"))
    open_ = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "student").glob("*.ipynb"))
    assert '"    raise NotImplementedError' not in solved and "solved = exercises." not in solved
    assert '"    raise NotImplementedError' in open_ and "assert exercises." not in open_ and '"image/png"' not in open_
    page = (tmp_path / "lecture.slides.html").read_text(encoding="utf-8")
    assert page.count("<section") > 20 and "data:image/png" in page


@pytest.mark.slow
def test_an_instructors_lesson_runs(tmp_path):
    lesson, solutions = (ROOT / "notebooks" / folder / "01_attention.ipynb" for folder in ("", "solutions"))
    made = editions.instructor_edition(*(nbformat.read(path, as_version=4) for path in (lesson, solutions)))
    nbformat.write(made, tmp_path / "01_attention.ipynb")
    assert course.run_notebook(tmp_path / "01_attention.ipynb", tmp_path) is None


def test_without_notebooks_the_command_says_where_to_start_it(tmp_path, capsys):
    with pytest.raises(SystemExit):
        editions.main(["--root", str(tmp_path)])
    assert "run this from its root" in capsys.readouterr().err


# The plan and its numbers


def minutes_to_read(notebook):
    """130 words a minute, 6 seconds a line of code (2 if it draws), a minute a picture, two a prediction; to five."""
    text, seconds = "", 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and not re.search(r"^\*\*\d+\.\d\*\* ", cell.source, flags=re.M):
            text += cell.source + "\n"
        elif cell.cell_type == "code" and not cell.id.startswith(("exercise-", "roadmap")):
            shown = {kind for output in cell.outputs for kind in output.get("data", {})}
            picture = not shown.isdisjoint({"image/png", "image/svg+xml"})
            hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
            seconds += 60 * picture + (0 if hidden else len(cell.source.splitlines()) * (2 if picture else 6))
    minutes = len(text.split()) / 130 + seconds / 60 + 2 * text.count("**Predict first")
    return 5 * round(minutes / 5)


def numbers(notebook):
    """A lesson in numbers: cells of code, minutes to read, exercises and their minutes."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    minutes = [int(number) for number in re.findall(r"^\*\*\d+\.\d\*\* \((\d+) minutes", prose, flags=re.M)]
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    return [code, minutes_to_read(notebook), len(minutes), sum(minutes)]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_plan_has_the_lessons_numbers(path):
    plan = (ROOT / "docs/teaching.md").read_text(encoding="utf-8")
    wanted = [path.stem.replace("_", " "), *map(str, numbers(nbformat.read(path, as_version=4)))]
    assert plan.count(f"| {' | '.join(wanted)} |") == 1


def test_the_plan_links_only_to_what_is_there():
    for name in ("teaching", "glossary", "troubleshooting", "equations", "questions", "errata"):
        links = re.findall(r"\]\((?!http)([^)#\s]+)", (ROOT / f"docs/{name}.md").read_text(encoding="utf-8"))
        assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    plan = (ROOT / "docs/teaching.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:tests|apt_minimal)/[\w/*]+(?:\.py)?)`", plan)
    assert len(files) > 10 and [file for file in files if not list(ROOT.glob(file))] == []


def test_each_word_to_look_up_occurs_in_the_lesson_that_the_glossary_names():
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| \[\w+\]\(\.\./notebooks/(\S+)\) \|$", glossary, flags=re.M)
    prose = {
        file: "\n".join(c.source for c in nbformat.read(ROOT / "notebooks" / file, as_version=4).cells).lower()
        for file in {file for _, file in rows}
    }
    words = [(word, file) for row, file in rows for word in re.split(", | and ", row.split(" of ")[0])]
    assert len(words) > 50
    assert [(word, file) for word, file in words if word.lower() not in prose[file]] == []


# The form of a lesson

FORMED = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_formed = pytest.mark.parametrize("path", FORMED, ids=lambda path: path.stem)


@each_formed
def test_a_prediction_has_a_hidden_output_and_a_folded_answer(path):
    cells = nbformat.read(path, as_version=4).cells
    places = [i for i, cell in enumerate(cells) if "**Predict first" in cell.source]
    for place, limit in zip(places, [*places[1:], None], strict=False):
        after = cells[place + 1 : limit]
        assert any("answer" in cell.metadata.get("tags", []) for cell in after), cells[place].id
        assert any("<summary>Answer</summary>" in cell.source for cell in after), cells[place].id


@each_formed
def test_a_lesson_prints_at_most_a_hundred_decimals(path):
    cells = nbformat.read(path, as_version=4).cells
    printed = [output.get("text", "") for cell in cells for output in cell.get("outputs", [])]
    assert len(re.findall(r"\d\.\d+", "".join(printed))) <= 100


@each_formed
def test_a_lesson_ends_with_three_folded_questions_and_a_reading_list(path):
    prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    questions = re.split(r"^## Check yourself$", prose, flags=re.M)[1]
    assert questions.split("\n## ")[0].count("<details>") == 3
    addresses = re.findall(r"\]\((http\S+)\)", prose.split("\n## Read on\n")[1])
    assert 2 < len(addresses) < 9 and all(re.fullmatch(r"https://[\w.-]+(/[\w.%-]+)*/?", one) for one in addresses)
