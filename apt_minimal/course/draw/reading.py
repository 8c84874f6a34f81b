"""What can be read in gates, and what cannot (lessons 04, 06 and 11)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, GATE, INK, LINE, MUTED, OUTPUT, PREFIX, QUERY, WHITE, WRONG, tint


def closing_gate_vs_removing() -> Drawing:
    """A closed gate still takes its share of the softmax; a mask takes the token out."""
    card = Card(
        "A closed gate is not removal",
        "The softmax of one query, as bars, with two prefix tokens and two words. Open, e to the score is 3, 3, 1 and "
        "1: the prefix has three quarters, and the output is 8.5. With α = 0 the prefix keys are zero, e⁰ is 1, and "
        "the prefix still has half, now with values of 0: the output is 2. Removed by a mask, the prefix has nothing, "
        "and the output is that of the words alone, 4.",
        470,
    )
    card.note(
        MARGIN,
        64,
        "One query, two words with values 6 and 2,",
        "two prefix tokens with values 10 and 10.",
        anchor="start",
    )
    cases = (
        ("α = 1: open", ("3", "3", "1", "1"), (3 / 8, 3 / 8, 1 / 8, 1 / 8), "8.5"),
        ("α = 0: closed, each value is 0 now", ("e⁰ = 1", "e⁰ = 1", "1", "1"), (1 / 4,) * 4, "2"),
        ("masked: removed", ("", "", "1", "1"), (0, 0, 1 / 2, 1 / 2), "4"),
    )
    for i, (name, powers, shares, output) in enumerate(cases):
        y = 108 + 104 * i
        card.text(MARGIN, y + 14, name, anchor="start")
        x = float(MARGIN)
        fills = (tint(PREFIX, 0.9 if i == 0 else 0.25),) * 2 + (LINE,) * 2
        for fill, power, share in zip(fills, powers, shares, strict=True):
            if share:
                edge = PREFIX if i == 1 and fill != LINE else None
                card.box(x + 1.5, y + 34, 344 * share - 3, 40, power, fill=fill, edge=edge, radius=4)
            x += 344 * share
        card.arrow((374, y + 54), (396, y + 54))
        card.box(400, y + 34, 56, 40, output, fill=tint(OUTPUT, 0.55), bold=True)
    card.legend(424, (PREFIX, "the prefix’s share of the softmax"), (LINE, "the words’ share"))
    card.note(428, 122, "output")
    return card.drawing()


def teacher_student() -> Drawing:
    """A teacher with planted gates, and a student that sees inputs and outputs only."""
    card = Card(
        "A teacher with planted gates",
        "The same inputs x go to a teacher and to a student, which are one frozen attention layer each. The teacher "
        "has planted P, W and λ, which are hidden. The student has its own P, W and λ, which are fitted until its "
        "outputs are those of the teacher. The student sees the inputs, the outputs, the frozen maps and the number "
        "of prefix tokens. It never sees the teacher’s P, W, λ, α or m(q).",
        522,
    )
    x = card.box(160, 62, 160, 40, "inputs x", fill=QUERY)
    boxes = []
    for left, name, what, color in (
        (MARGIN, "teacher", "planted, hidden:", WRONG),
        (256, "student", "to be found:", GATE),
    ):
        middle = left + 100
        card.arrow((x.middle + (-40 if left < 100 else 40), x.bottom + 1), (middle, 136))
        place = card.box(left, 138, 200, 148, fill=WHITE, edge=LINE)
        card.text(middle, 160, name, size=17, bold=True)
        card.box(left + 14, 178, 172, 44, fill=tint(color, 0.3))
        card.note(middle, 190, what, color=INK)
        card.note(middle, 209, "P, W and λ", color=INK, size=15)
        card.box(left + 14, 230, 172, 42, "frozen attention", fill=FROZEN, size=15)
        boxes.append(place)
    card.arrow((124, boxes[0].bottom + 1), (124, 338))
    card.arrow((356, boxes[1].bottom + 1), (356, 338))
    card.box(88, 340, 72, 38, "y", fill=OUTPUT, size=17)
    card.box(320, 340, 72, 38, "ŷ", fill=OUTPUT, size=17)
    card.line((166, 359), (314, 359), dashed=True, color=MUTED)
    card.note(240, 346, "how far apart?")
    card.arrow((398, 359), (430, 359), (430, 288), color=GATE, dashed=True)
    card.note(420, 318, "fit", anchor="end")
    card.text(MARGIN, 414, "The student sees", anchor="start", color="#00704F", bold=True, size=15)
    card.note(MARGIN, 436, "x and y, the frozen maps,", "the form of the model, l", anchor="start")
    card.text(256, 414, "It never sees", anchor="start", color="#A84A00", bold=True, size=15)
    card.note(256, 436, "the teacher’s P, W and λ,", "and so neither α nor m(q)", anchor="start")
    card.note(MARGIN, 496, "What cannot be found here cannot be read from a real model.", anchor="start", color=INK)
    return card.drawing()


def what_can_be_read() -> Drawing:
    """Lesson 06's answer as traffic lights."""
    card = Card(
        "What can be read in a trained layer",
        "A table with a light for two cases. Where the first token varies between inputs: the mass m(q), and what "
        "changes when the prefix is masked, yes; the gated prefix P̂, yes, up to order; α, W and λP, yes, up to "
        "order; λ alone or the size of P, no. Where the first token is constant: the first, yes; P̂, up to the order "
        "in each head; α, W and λP, no; λ or the size of P, no.",
        482,
    )
    card.note(262, 66, "first token", "varies")
    card.note(394, 66, "first token", "(nearly) constant")
    rows = (
        (("m(q), and what", "masking changes"), ("yes", OUTPUT), ("yes", OUTPUT)),
        (("P̂ = λ · α ⊙ P",), ("up to order", OUTPUT), ("up to order, by head", PREFIX)),
        (("α, W and λP",), ("up to order", OUTPUT), ("no", WRONG)),
        (("λ alone,", "size of P"), ("no", WRONG), ("no", WRONG)),
    )
    for i, (words, *lights) in enumerate(rows):
        y = 108 + 84 * i
        card.line((MARGIN, y - 4), (456, y - 4), width=1)
        for j, line in enumerate(words):
            card.text(MARGIN, y + 36 + 21 * (j - (len(words) - 1) / 2), line, anchor="start")
        for x, (answer, color) in zip((262, 394), lights, strict=True):
            card.dot(x, y + 26, 15, color)
            card.note(x, y + 58, answer)
    card.note(MARGIN, 460, "Yes: models that are the same function agree about it.", anchor="start")
    return card.drawing()


def importance() -> Drawing:
    """A gate says how open a token is; only taking it away says whether it does something."""
    card = Card(
        "An open gate is not importance",
        "Two prefix tokens. Token A has an open gate, α = 0.9, but its key points away from every query: its mass is "
        "0, and when it is removed the output stays as it is. Token B has a nearly closed gate, α = 0.2, but every "
        "query looks at it: its mass is large, and when it is removed the output changes much.",
        408,
    )
    card.text(222, 70, "token A", bold=True)
    card.text(372, 70, "token B", bold=True)
    card.note(222, 92, "key turned away")
    card.note(372, 92, "key well placed")
    rows = (
        ("gate α", (0.9, 0.2), GATE, ("0.9", "0.2")),
        ("mass m(q)", (0.0, 0.55), PREFIX, ("0", "large")),
        ("change when", (0.0, 0.7), OUTPUT, ("none", "large")),
    )
    for i, (name, values, color, words) in enumerate(rows):
        y = 118 + 76 * i
        card.text(MARGIN, y + 13 - (10 if i == 2 else 0), name, anchor="start")
        if i == 2:
            card.text(MARGIN, y + 24, "removed", anchor="start")
        for x, value, word in zip((164, 314), values, words, strict=True):
            card.box(x, y, 116, 26, fill=FROZEN, radius=4)
            if value:
                card.box(x, y, 116 * value, 26, fill=color, radius=4)
            card.note(x + 58, y + 42, word)
    card.note(
        MARGIN,
        360,
        "The gate says how open a token is.",
        "Only removal says what it does.",
        anchor="start",
        color=INK,
        size=15,
        step=22,
    )
    return card.drawing()
