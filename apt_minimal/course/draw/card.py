"""One drawing: a light card on which boxes, arrows, tiles and words are put, written out as SVG.

Every drawing brings its own light background, so that it reads on light and on dark pages. There are no scripts, no
styles and no ids in it: several of them may stand on one page, and each is text that can be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from apt_minimal.course.draw.palette import FROZEN, INK, LINE, MUTED, PAPER, on, tint

WIDTH, MARGIN = 480, 24  # 480 units on a phone 390 pixels wide: a letter of size 15 is still 11 pixels high


@dataclass(frozen=True)
class Drawing:
    """A finished drawing, which a notebook shows as a picture.

    Attributes:
        title: what it is about.
        description: what there is to see, in words, for those who cannot see it.
        svg: the picture.
    """

    title: str
    description: str
    svg: str

    @property
    def alt(self) -> str:
        """The alternative text: title and description."""
        return f"{self.title}. {self.description}"

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.alt


@dataclass(frozen=True)
class Box:
    """A place on the card, and the points where arrows start and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Horizontal middle."""
        return self.x + self.width / 2

    @property
    def centre(self) -> float:
        """Vertical middle."""
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height


class Card:
    """A card to draw on. Coordinates count from the upper left corner; the y of a text is the middle of its line.

    Args:
        title: the heading, and the picture's name for screen readers.
        description: the rest of the alternative text.
        height: of the card; its width is `WIDTH`.
    """

    def __init__(self, title: str, description: str, height: int):
        self.title, self.description, self.height = title, description, height
        self.parts: list[str] = []
        self.text(MARGIN, 32, title, size=19, anchor="start", bold=True)

    def text(self, x, y, words: str, size=16, anchor="middle", color=INK, bold=False) -> None:
        """Write one line; `anchor` says whether x is its start, middle or end."""
        weight = ' font-weight="bold"' if bold else ""
        place = f'x="{_number(x)}" y="{_number(y + 0.35 * size)}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} font-size="{size}" fill="{color}"{weight}>{escape(words, False)}</text>')

    def note(self, x, y, *lines: str, anchor="middle", color=MUTED, size=14, step=19) -> None:
        """Write several short lines below each other, smaller and paler than the rest."""
        for i, line in enumerate(lines):
            self.text(x, y + step * i, line, size=size, anchor=anchor, color=color)

    def box(self, x, y, width, height, *lines: str, fill=FROZEN, edge=None, size=16, bold=False, radius=7) -> Box:
        """Draw a box with lines of text in its middle, and return where it is."""
        outline = f' stroke="{edge}" stroke-width="2"' if edge else ""
        place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
        self.parts.append(f'<rect {place} rx="{radius}" fill="{fill}"{outline}/>')
        step = 1.25 * size
        for i, line in enumerate(lines):
            level = y + height / 2 + step * (i - (len(lines) - 1) / 2)
            self.text(x + width / 2, level, line, size=size, color=on(fill), bold=bold)
        return Box(x, y, width, height)

    def tiles(self, x, y, fills: Sequence[Sequence[str]], width=24.0, height=24.0, gap=3.0, words=None, size=15) -> Box:
        """Draw a matrix of small tiles, one per colour, with `words` (rows of texts) in them, and return its place."""
        for i, row in enumerate(fills):
            for j, fill in enumerate(row):
                place = (x + j * (width + gap), y + i * (height + gap), width, height)
                self.box(*place, *((words[i][j],) if words else ()), fill=fill, size=size, radius=4)
        columns = max(len(row) for row in fills)
        return Box(x, y, columns * (width + gap) - gap, len(fills) * (height + gap) - gap)

    def line(self, *points: tuple[float, float], color=LINE, width=2.0, dashed=False) -> None:
        """Draw straight pieces from point to point."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        look = f'fill="none" stroke="{color}" stroke-width="{_number(width)}" stroke-linejoin="round"'
        self.parts.append(f'<polyline points="{path}" {look} stroke-linecap="round"{dash}/>')

    def arrow(self, *points: tuple[float, float], color=MUTED, width=2.0, dashed=False) -> None:
        """Draw a line through the points, with a head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        length = math.hypot(x1 - x0, y1 - y0)
        u, v = (x1 - x0) / length, (y1 - y0) / length
        reach, half = 6 + 1.5 * width, 3 + width
        base = (x1 - reach * u, y1 - reach * v)
        self.line(*points[:-1], base, color=color, width=width, dashed=dashed)
        corners = ((x1, y1), (base[0] - half * v, base[1] + half * u), (base[0] + half * v, base[1] - half * u))
        self.area(*corners, fill=color)

    def area(self, *points: tuple[float, float], fill: str) -> None:
        """Fill a polygon."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.parts.append(f'<polygon points="{path}" fill="{fill}"/>')

    def dot(self, x, y, radius=5.0, fill=INK, edge=None) -> None:
        """Draw a filled circle."""
        outline = f' stroke="{edge}" stroke-width="2"' if edge else ""
        place = f'cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"'
        self.parts.append(f'<circle {place} fill="{fill}"{outline}/>')

    def bracket(self, start, end, level, tick=6, color=MUTED, upright=False) -> None:
        """Draw a bracket from `start` to `end` at `level`; a negative tick opens it the other way."""
        points = [(start, level - tick), (start, level), (end, level), (end, level - tick)]
        self.line(*[(y, x) if upright else (x, y) for x, y in points], color=color, width=1.5)

    def legend(self, y, *entries: tuple[str, str], x=MARGIN) -> None:
        """Explain colours, one line for each (colour, words)."""
        for i, (color, words) in enumerate(entries):
            self.box(x, y + 22 * i - 7, 14, 14, fill=color, radius=3)
            self.text(x + 22, y + 22 * i, words, size=14, anchor="start", color=MUTED)

    def drawing(self) -> Drawing:
        """Write the card out."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'style="max-width:100%;height:auto" font-family="sans-serif" role="img" aria-label="{escape(self.title)}">'
        )
        names = f"<title>{escape(self.title, False)}</title>\n<desc>{escape(self.description, False)}</desc>"
        edge = tint(LINE, 0.6)
        paper = (
            f'<rect x="1" y="1" width="{WIDTH - 2}" height="{self.height - 2}" rx="14" fill="{PAPER}" stroke="{edge}"/>'
        )
        return Drawing(self.title, self.description, "\n".join([head, names, paper, *self.parts, "</svg>", ""]))


def _number(x: float) -> str:
    """A coordinate, to a tenth, without a useless zero."""
    return f"{x:.1f}".removesuffix(".0").replace("-0.0", "0")
