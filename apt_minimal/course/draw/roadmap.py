"""The strip that opens every lesson: where the reader stands in the course."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, GATE, MUTED, OUTPUT, PREFIX, tint

GROUPS = {  # what a stretch of the course does: its colour, and its lessons
    "start": (OUTPUT, {"00": "APT in ten minutes"}),
    "build it": (
        GATE,
        {
            "01": "Attention",
            "02": "Encoder",
            "03": "Prefix",
            "04": "Token gate α",
            "05": "Layer gate λ",
            "05b": "Layer gate λ, closer (optional)",
            "06": "Planted gates (advanced)",
        },
    ),
    "use it": (PREFIX, {"07": "APT inside BERT", "08": "SuperGLUE", "09": "NER", "10": "Few-shot"}),
    "judge it": (OUTPUT, {"11": "Reading the gates", "12": "Beyond the paper", "13": "The report"}),
}
LESSONS = {number: name for _, members in GROUPS.values() for number, name in members.items()}


def roadmap(current: int | str) -> Drawing:
    """The course as a strip of boxes, one of them coloured.

    Args:
        current: the lesson's number, as 4 or "04"; "05b" for the optional half of lesson 05.

    Raises:
        ValueError: there is no such lesson.
    """
    here = f"{current:02}" if isinstance(current, int) else current
    if here not in LESSONS:
        raise ValueError(f"there is no lesson {current!r}; the lessons are {', '.join(LESSONS)}")
    card = Card(f"{here} · {LESSONS[here]}", _description(here), 192)
    x, y = MARGIN, 76
    for name, (color, members) in GROUPS.items():
        if name == "use it":
            x, y = MARGIN, 146
        card.text(x, y - 16, name, size=14, anchor="start", color=MUTED)
        for number in members:
            place = card.box(x, y, 48, 30, number, **_look(number, here, color))
            x = place.right + 4
        x += 16
    return card.drawing()


def _look(number: str, here: str, color: str) -> dict:
    """The current lesson in full colour, those before it tinted, those to come pale."""
    if number == here:
        return {"fill": color, "bold": True}
    order = list(LESSONS)
    return {"fill": tint(color, 0.25) if order.index(number) < order.index(here) else FROZEN}


def _description(here: str) -> str:
    """The same in words."""
    order = list(LESSONS)
    place = order.index(here)
    before = f"after {order[place - 1]}, {LESSONS[order[place - 1]]}" if place else "the beginning"
    after = f"before {order[place + 1]}, {LESSONS[order[place + 1]]}" if place + 1 < len(order) else "the end"
    return f"This lesson's place in the course: {before}; {after}."
