"""The drawings: that each can be read, on a phone too, and described; that the files are what the code draws."""

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from apt_minimal.course import draw
from apt_minimal.course.draw import palette
from apt_minimal.lab.methods import color

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
FILES = draw.files()
SVG = "{http://www.w3.org/2000/svg}"
FONTS = {weight: FontProperties(family="DejaVu Sans", weight=weight) for weight in ("normal", "bold")}  # a wide one


def texts(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Each line of text with its left, right, upper and lower edge, in a font wider than most."""
    found = []
    for element in ElementTree.fromstring(svg).iter(SVG + "text"):
        x, y, size = (float(element.get(key)) for key in ("x", "y", "font-size"))
        font = FONTS[element.get("font-weight", "normal")].copy()
        font.set_size(size)
        width = TextToPath().get_text_width_height_descent(element.text, font, False)[0] * 0.93  # nearer to Arial
        left = x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor")]
        found.append((element.text, left, left + width, y - 0.75 * size, y + 0.2 * size))
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_drawing_can_be_read_on_a_phone_and_no_text_leaves_its_card(name):
    card = ElementTree.fromstring(FILES[name])
    _, _, width, height = map(float, card.get("viewBox").split())
    sizes = [float(element.get("font-size")) for element in card.iter(SVG + "text")]
    assert width <= 720 and min(sizes) >= 14
    assert min(sizes) * 358 / width >= 10, "on a phone of 390 pixels its smallest letters are below 10 pixels"
    for words, left, right, upper, lower in texts(FILES[name]):
        assert left >= 12 and right <= width - 12 and upper >= 8 and lower <= height - 8, words


@pytest.mark.parametrize("name", FILES)
def test_no_two_texts_of_a_drawing_overlap(name):
    for (one, *a), (other, *b) in combinations(texts(FILES[name]), 2):
        apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
        assert apart, f"{one!r} lies on {other!r}"


@pytest.mark.parametrize("name", FILES)
def test_a_drawing_describes_itself_and_holds_nothing_that_could_clash_on_a_page(name):
    card = ElementTree.fromstring(FILES[name])
    title, description = (card.find(SVG + tag).text for tag in ("title", "desc"))
    assert card.get("role") == "img" and card.get("aria-label") == title
    assert len(description) > 60 and description.endswith(".") and title not in description
    allowed = {"svg", "title", "desc", "rect", "text", "polyline", "polygon", "circle"}
    assert {element.tag.removeprefix(SVG) for element in card.iter()} <= allowed
    assert not re.search(r"\b(id|class|on\w+|href)=", FILES[name])


def test_the_files_in_docs_are_what_the_code_draws():
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FIGURES.glob("*.svg")}
    assert on_disk == FILES, "write them anew: python -m apt_minimal.course.draw docs/figures"


def test_every_figure_that_a_page_shows_is_there_and_described():
    root = FIGURES.parents[1]
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    shown = [
        m for page in pages for m in re.findall(r"!\[([^\]]*)\]\([^)]*?figures/([^)]+)\)", page.read_text("utf-8"))
    ]
    assert "apt_layer.svg" in {file for _, file in shown}
    assert all(len(alt) > 40 and file in FILES for alt, file in shown)


def test_a_notebook_shows_a_drawing_as_svg_with_its_alternative_text_beside_it():
    drawing = draw("apt_layer")
    assert drawing._repr_svg_() == FILES["apt_layer.svg"]
    assert repr(drawing) == drawing.alt and drawing.alt.startswith("APT in one layer. The states")


def test_colours_are_those_of_the_methods():
    methods = ("p_tuning_v2", "apt", "head_only", "full", "apt_no_token_gate", "lora")
    drawn = (palette.PREFIX, palette.GATE, palette.QUERY, palette.OUTPUT, palette.WRONG, palette.OTHER)
    assert drawn == tuple(color(method) for method in methods)


def test_the_roadmap_colours_the_current_lesson_alone():
    for current, number in ((4, "04"), ("05b", "05b"), (13, "13")):
        bold = [e.text for e in ElementTree.fromstring(draw.roadmap(current).svg) if e.get("font-weight") == "bold"]
        assert bold[1:] == [number] and bold[0].startswith(number + " · ")


def test_what_cannot_be_drawn_is_refused_with_what_can_be():
    with pytest.raises(ValueError, match="no drawing 'apt'; there are .*apt_layer"):
        draw("apt")
    with pytest.raises(ValueError, match="no lesson 14; the lessons are 00, .* 13"):
        draw.roadmap(14)
