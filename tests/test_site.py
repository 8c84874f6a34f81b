"""The site: built whole, without a warning, a dead link or a picture without words; looked at as on a phone."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import captions
import nbformat
import pages
import pytest

import apt_minimal
import apt_minimal.lab

ROOT = Path(__file__).parent.parent
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOOKED_AT = [f"docs/{page}.html" for page in ("index", "method", "hosts", "api")]
LOOKED_AT += [f"notebooks/{page}.html" for page in ("03_prefix", "08_superglue")]

# What the pages are made of


@pytest.mark.parametrize(("kind", "name", "file", "text"), pages.REFERENCE.findall(METHOD))
def test_the_method_page_names_lines_tests_and_cells_that_are_there(kind, name, file, text):
    if kind == "cell":
        lesson = nbformat.read(ROOT / file, as_version=4)
        assert text in [cell.id for cell in lesson.cells if cell.cell_type == "code"]
        assert lesson.cells[0].source.startswith(f"# {name}")
    else:
        assert pages.line_of(file, text) > 0 and name == f"`{file}`"
        assert (kind == "test") == (file.startswith("tests/") and text.startswith("test_"))


def test_each_equation_has_a_line_a_test_and_a_cell():
    for part in re.findall(r"^## (E\d.*?)(?=^## )", METHOD, flags=re.DOTALL | re.MULTILINE):
        kinds = [kind for kind, *_ in pages.REFERENCE.findall(part)]
        assert {*kinds} == {"line", "test", "cell"} and len(kinds) == part.count("\n- "), part


@pytest.mark.parametrize("module", [apt_minimal, apt_minimal.lab])
def test_every_public_name_stands_on_the_api_page(module):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    shown = re.findall(r":: \S+\.(\w+)", pages.API.sub(lambda found: pages.api(*found.groups()), page))
    shown += re.findall(r"`([A-Z_]{4,}|load_task)`", page)
    assert set(module.__all__) - set(shown) == set()


def test_the_front_page_lists_every_page():
    listed = re.findall(r"^([\w-]+)$", (ROOT / "docs/index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted({file.stem for file in ROOT.glob("docs/*.md")} - {"index", "slides"})


def hidden():
    return {"jupyter": {"source_hidden": True, "outputs_hidden": True}}


def test_what_jupyterlab_hides_is_folded_and_a_drawing_keeps_its_words():
    drawing = {"output_type": "execute_result", "data": {"image/svg+xml": ["<svg>", "</svg>"]}}
    cells = [
        {"id": "plain", "metadata": {}, "outputs": []},
        {"id": "answer", "metadata": hidden(), "outputs": []},
        {"id": "drawn", "metadata": hidden(), "outputs": [drawing]},
        {"id": "colab", "metadata": {}, "outputs": []},
    ]
    for cell in cells:
        pages.fold(cell | {"source": []})
    assert [cell["metadata"].get("tags") for cell in cells] == [
        [],
        ["hide-input", "hide-output"],
        ["remove-input", "hide-output"],
        ["remove-cell"],
    ]
    assert drawing["data"] == {"text/html": '<div class="drawing"><svg></svg></div>'}


def test_a_figure_is_described_by_its_own_words():
    cells = [
        {"cell_type": "code", "source": ["def line(axis, n):\n", "    axis.set(ylabel='m(q)')\n"]},
        {"cell_type": "code", "source": ["!ls\n", "axis.set_title(f'{n} tokens')\n", "line(axis, n=1)\n"]},
        {"cell_type": "code", "source": ["plot_gates(reading)"]},
        {"cell_type": "code", "source": ["show(x)"]},
    ]
    known = captions.functions({"cells": cells})
    assert [captions.caption(cell, known, "The mass") for cell in cells[1:]] == [
        "Figure. … tokens; upwards: m(q)",
        f"Figure. {apt_minimal.lab.plot_gates.__doc__.splitlines()[0]}",
        "Figure. It belongs to “The mass”.",
    ]


def test_a_link_leads_to_a_page_or_into_the_repository():
    text = "[a](glossary.md) [b](../LICENSE) [c](results) [d](nowhere.md) ![e](figures/apt_layer.svg)"
    there = pages.REPOSITORY
    assert pages.links(text, Path("docs/data.md")) == (
        f"[a](/docs/glossary.md) [b]({there}/blob/main/LICENSE) [c]({there}/tree/main/docs/results) [d](nowhere.md) "
        "![e](figures/apt_layer.svg)"
    )


def texts():
    """All prose of the project: pages, and the notebooks' cells of text."""
    for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        yield file.name, file.read_text(encoding="utf-8")
    for file in ROOT.glob("notebooks/*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        yield file.name, "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_addresses_are_well_formed():
    found = [(name, address) for name, text in texts() for address in re.findall(r"https?:[^\s>)\"'`}]*", text)]
    form = r"https://([a-z0-9-]+\.)+[a-z]{2,}(/[\w.~%/:?=&+@,-]*(#[\w.:=-]+)?)?"
    assert len(found) > 60
    assert [(name, a) for name, a in found if not re.fullmatch(form, a.rstrip(".,;"))] == []


def test_the_repositorys_address_stands_in_pyproject_alone():
    assert [name for name, text in texts() if name.endswith(".md") and pages.REPOSITORY.split("//")[1] in text] == []


# The built site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".", str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "LESSONS"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """A page's ids, what it links to and loads, and its pictures without words."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.wordless = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get("id"), attrs.get("name")}
        self.links += [attrs[name] for name in ("href", "src") if attrs.get(name)]
        if tag == "img" and not attrs.get("alt"):
            self.wordless.append(attrs["src"][:80])


@pytest.mark.slow
def test_no_link_is_dead_no_picture_without_words_and_no_table_left_as_text(site):
    built = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    assert len(built) > 25
    dead = []
    for file, page in built.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            there = target.is_file() and (not parts.fragment or unquote(parts.fragment) in built[target].ids)
            if not (parts.scheme or parts.netloc or there):
                dead.append((file.name, link))
    assert dead == []
    as_text = r"<p>\s*\|.*\|"  # a table of Markdown that was taken for prose
    assert [file.name for file in built if re.search(as_text, file.read_text(encoding="utf-8"))] == []
    assert {file.name: page.wordless for file, page in built.items() if page.wordless} == {}


@pytest.mark.slow
def test_no_page_loads_anything_from_another_site(site):
    elsewhere = r"<(?:script|img|iframe)[^>]* src=\"(?:https?:)?//[^\"]*|<link[^>]*stylesheet[^>]*//[^>]*"
    for file in site.rglob("*.html"):
        assert re.findall(elsewhere, file.read_text(encoding="utf-8")) == []


@pytest.fixture
def served(site):
    """The site's address on this machine, and what was not found there."""
    missing = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def send_error(self, code, *args):
            missing.append(self.path)
            super().send_error(code, *args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", missing
    server.shutdown()
    server.server_close()


# Opens each page as wide as a phone and as a laptop, waits for its mathematics, and writes down what it sees.
LOOK = """<!doctype html><link rel="icon" href="data:,"><body><script>
(async () => {
  const seen = {}
  for (const width of [390, 1440]) for (const page of PAGES) {
    const frame = document.createElement("iframe")
    frame.width = width
    frame.height = 844
    frame.src = page
    document.body.append(frame)
    await new Promise(loaded => { frame.onload = loaded })
    const there = frame.contentDocument, formulas = [...there.querySelectorAll(".math")]
    if (formulas.length) {
      while (!frame.contentWindow.MathJax?.startup?.promise) await new Promise(wait => setTimeout(wait, 50))
      await frame.contentWindow.MathJax.startup.promise
    }
    seen[`${page} ${width}`] = {
      wider: there.documentElement.scrollWidth - there.documentElement.clientWidth,
      formulas: formulas.length,
      raw: formulas.filter(f => !f.querySelector("mjx-container svg")).map(f => f.textContent.slice(0, 80)),
      wrong: [...there.querySelectorAll("mjx-merror, [data-mjx-error]")].map(f => f.getAttribute("data-mjx-error")),
      unloaded: [...there.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    }
  }
  document.body.textContent = JSON.stringify(seen)
})()
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here, so nobody looks at the pages")
def test_in_a_browser_without_a_network_mathematics_is_set_and_no_page_is_wider_than_a_phone(site, served, tmp_path):
    address, missing = served
    (site / "look.html").write_text(LOOK.replace("PAGES", json.dumps(LOOKED_AT)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-extensions"]
    flags += [f"--user-data-dir={tmp_path}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([BROWSER, *flags, f"{address}/look.html"], capture_output=True, text=True, timeout=300)
    seen = json.loads(re.search(r"<body>(\{.*\})</body>", done.stdout, flags=re.DOTALL)[1])
    (site / "look.html").unlink()
    assert [*seen] == [f"{page} {width}" for width in (390, 1440) for page in LOOKED_AT]
    formulas = {page: found.pop("formulas") for page, found in seen.items()}
    assert {page: what for page, found in seen.items() if (what := {k: v for k, v in found.items() if v})} == {}
    assert formulas["notebooks/03_prefix.html 390"] > 50 and formulas["docs/method.html 390"] > 5
    # Our pages only: a slow machine makes the browser complain about its own.
    said = re.findall(rf"CONSOLE:(?:(?!CONSOLE:).)*source: {address}\S*", done.stderr, flags=re.DOTALL)
    assert said == [] and missing == []
