"""From the repository's files to the site's pages: what Sphinx doesn't know about lessons, links and docstrings."""

import html
import json
import os
import re
import tomllib
from base64 import b64decode
from functools import cache
from importlib import import_module
from pathlib import Path

import captions

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
# method.md: a line, a test or a cell, its file, and the line's text or the name
REFERENCE = re.compile(r"^- (line|test|cell) \[(.*?)\]\(\.\./(\S+)\) `(.+)`$", flags=re.MULTILINE)
API = re.compile(r"^\{\{api (\S+): (.+)\}\}$", flags=re.MULTILINE)
NO_PAGES = ("README", "docs/slides", "notebooks/solutions")  # what the site leaves to the repository
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:")


def read(app, docname, source):
    """Sphinx's event source-read: change a page's text before it is parsed."""
    path = Path(app.env.doc2path(docname, base=False))
    if path.suffix == ".ipynb":
        executed = Path(os.environ.get("LESSONS", "notebooks")) / path.name
        text = executed.read_text(encoding="utf-8") if executed.exists() else source[0]
        source[0] = json.dumps(lesson(json.loads(text), path))
    else:
        text = REFERENCE.sub(reference, source[0])
        text = API.sub(lambda found: api(*found.groups()), text)
        text = re.sub(r"^\{\{readme (.+)\}\}$", lambda found: of_readme(found[1]), text, flags=re.MULTILINE)
        source[0] = links(text, path)


# Lessons


def lesson(notebook: dict, path: Path) -> dict:
    """A lesson as a page: what JupyterLab hides is folded, drawings are part of the page, figures are described."""
    cells, section, known = [], "", captions.functions(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = links(badges("".join(cell["source"])), path)
            section = (re.findall(r"^#+ (.*)", cell["source"], flags=re.MULTILINE) or [section])[-1]
        else:
            fold(cell)
            image = {"alt": captions.caption(cell, known, section), "classes": "wide" if is_wide(cell) else ""}
            cell["metadata"]["mystnb"] = {"image": image}
            if f"{path.stem}-{cell['id']}" in named_cells():
                target = f"({path.stem}-{cell['id']})="  # for links of the method page
                cells.append({"id": f"at-{cell['id']}", "cell_type": "markdown", "metadata": {}, "source": target})
        cells.append(cell)
    return notebook | {"cells": cells}


def fold(cell: dict) -> None:
    """Give a code cell the tags with which myst-nb folds it, and its drawings as HTML."""
    tags, hidden = cell["metadata"].setdefault("tags", []), cell["metadata"].get("jupyter", {})
    drawn = False
    for data in (output.get("data", {}) for output in cell["outputs"]):
        if "image/svg+xml" in data:  # as a picture it would lose its title and description
            data["text/html"] = f'<div class="drawing">{"".join(data.pop("image/svg+xml"))}</div>'
            drawn = True
    if cell["id"] == "colab":
        tags.append("remove-cell")
    elif hidden.get("source_hidden"):
        tags.append("remove-input" if drawn else "hide-input")
    if hidden.get("outputs_hidden"):
        tags.append("hide-output")


def is_wide(cell: dict) -> bool:
    """Whether a cell's figure has several panels side by side, too small on a phone if all of it is to be seen."""
    pictures = ["".join(output["data"].get("image/png", "")) for output in cell["outputs"] if "data" in output]
    # A PNG's width stands in its bytes 16 to 19.
    return any(int.from_bytes(b64decode(picture[:32])[16:20]) > 800 for picture in pictures if picture)


def badges(text: str) -> str:
    """Badges are pictures from other sites; a page that needs no network has links in their place."""
    return re.sub(r"\[!\[(.*?)\]\(\S+?\)\]\((\S+?)\)", r'<a class="badge" href="\2">\1</a>', text)


# Links


def links(text: str, path: Path) -> str:
    """A link to a file that is no page leads to the repository."""

    def there(found):
        target = os.path.normpath(path.parent / found[2])
        is_page = target.endswith((".md", ".ipynb")) and not target.startswith(NO_PAGES)
        if not (ROOT / target).exists():
            return found[0]
        return f"{found[1]}({f'/{target}' if is_page else in_repository(target)})"

    return re.sub(r"((?<!!)\[[^\]!]*\])\(([^)#\s]+)\)", there, text)


def of_readme(title: str) -> str:
    """A section of the README, without its title."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return links(section[1], Path("README.md"))


def in_repository(path: str, line: int = 0) -> str:
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{REPOSITORY}/{kind}/main/{path}" + (f"#L{line}" if line else "")


# The method page


@cache
def named_cells() -> set[str]:
    found = REFERENCE.findall((ROOT / "docs/method.md").read_text(encoding="utf-8"))
    return {f"{Path(file).stem}-{text}" for kind, _, file, text in found if kind == "cell"}


def line_of(file: str, text: str) -> int:
    """Where a line of code, or a test by its name, stands in a file; ValueError if that is not exactly one place."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [i for i, line in enumerate(lines, start=1) if line.strip() == text or line.startswith(f"def {text}(")]
    if len(found) != 1:
        raise ValueError(f"{file} has {len(found)} lines {text!r}; docs/method.md needs exactly one")
    return found[0]


def reference(found: re.Match) -> str:
    """A line of method.md as the site shows it: code with its number, a test with its place, a cell as a link."""
    kind, name, file, text = found.groups()
    if kind == "cell":
        return f"- **in the lesson** [{name}](#{Path(file).stem}-{text})"
    number = line_of(file, text)
    there = f"[{file}, line {number}]({in_repository(file, number)})"
    if kind == "test":
        return f"- **tested by** {there}  \n  `{text}`"
    return f"- **the line** {there}\n\n  ```python\n  {text}\n  ```"


# The API page


def api(module: str, rooms: str) -> str:
    """The public functions and classes that a module has from some of its rooms, as Sphinx's autodoc wants them."""
    package, entries = import_module(module), []
    for room in rooms.split():
        for name in package.__all__:
            value = getattr(package, name)
            if callable(value) and f"{value.__module__}.".startswith(f"{module}.{room}."):
                kind = "class" if isinstance(value, type) else "function"
                entries.append(f".. auto{kind}:: {module}.{name}" + ("\n   :members:" if kind == "class" else ""))
    return "```{eval-rst}\n" + "\n\n".join(entries) + "\n```"


def docstring(app, what, name, object, options, lines):
    """Sphinx's event autodoc-process-docstring: what is set in is code, but for a section's entries."""
    text, section, code = [], False, False
    for line in lines:
        if line[:1].strip():
            section, code = line in SECTIONS, False
        elif line.startswith("    ") and not section and not code:
            text += ["::", ""]
            code = True
        text.append(
            line if code else re.sub(r": (\w)\.$", r": `\1`.", line.replace("|", "\\|"))
        )  # "d." would be a list
    lines[:] = text


# The front door


def front_door(app, error):
    """Sphinx's event build-finished: the site's address opens its first page."""
    if error is None:
        first, title = f"{app.config.root_doc}.html", html.escape(app.config.html_title)
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        page += f'<meta http-equiv="refresh" content="0; url={first}"><a href="{first}">{title}</a></html>'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")
