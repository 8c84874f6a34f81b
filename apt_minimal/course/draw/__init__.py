"""The drawings of the course, written by hand as SVG: one pen, one palette, no library.

    from apt_minimal.course import draw

    draw("apt_layer")   # a notebook's cell shows it
    draw.roadmap(4)     # the strip that opens lesson 04
    draw.names()        # all that there are

`python -m apt_minimal.course.draw docs/figures` writes them to files. `card.py` is the pen; a module of drawings holds
what belongs to the same lessons.
"""

import sys
from pathlib import Path
from types import ModuleType

from apt_minimal.course.draw import apt, attention, beyond, encoder, layers, prefix, reading, scores
from apt_minimal.course.draw.card import Drawing
from apt_minimal.course.draw.roadmap import LESSONS, roadmap

_DRAWINGS = {
    make.__name__: make
    for make in (
        apt.apt_layer,
        attention.soft_lookup,
        attention.mask_broadcast,
        attention.heads_cards,
        encoder.three_rows,
        encoder.bert_block,
        prefix.e1_blocks,
        layers.two_layers,
        prefix.alpha_rows,
        reading.closing_gate_vs_removing,
        layers.lambda_layers,
        apt.gradient_factors,
        reading.teacher_student,
        reading.what_can_be_read,
        layers.attach_path,
        scores.selection_rules,
        scores.labels_subwords,
        scores.tickets,
        reading.importance,
        beyond.beside_and_log,
        beyond.pruning,
        scores.report_map,
    )
}


def names() -> list[str]:
    """The names of all drawings, in the order of the lessons."""
    return list(_DRAWINGS)


def named(name: str) -> Drawing:
    """Return one drawing; `draw(name)` does the same.

    Raises:
        ValueError: there is no drawing of this name.
    """
    if name not in _DRAWINGS:
        raise ValueError(f"there is no drawing {name!r}; there are {', '.join(_DRAWINGS)}")
    return _DRAWINGS[name]()


def files() -> dict[str, str]:
    """The name and text of every file in docs/figures: all drawings, and the roadmap of each lesson."""
    drawings = {name: named(name) for name in names()} | {f"roadmap_{lesson}": roadmap(lesson) for lesson in LESSONS}
    return {f"{name}.svg": drawing.svg for name, drawing in drawings.items()}


def write(folder: str | Path) -> None:
    """Write all of `files` into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, svg in files().items():
        (Path(folder) / name).write_text(svg, encoding="utf-8", newline="\n")


class _Callable(ModuleType):
    """This module, so that `draw("apt_layer")` needs no second import."""

    def __call__(self, name: str) -> Drawing:
        return named(name)


sys.modules[__name__].__class__ = _Callable
__all__ = ["Drawing", "files", "named", "names", "roadmap", "write"]
