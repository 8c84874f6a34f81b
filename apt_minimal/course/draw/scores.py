"""Labels, selection, luck and verdicts (lessons 08, 09, 10 and 13)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import (
    FROZEN,
    GATE,
    INK,
    LINE,
    MUTED,
    OTHER,
    OUTPUT,
    PREFIX,
    WHITE,
    WRONG,
    tint,
)

# Made-up scores after each of eleven evaluations: on a held-out tenth, and on the development set.
HELD_OUT = (52, 58, 55, 66, 71, 69, 76, 70, 73, 68, 70)
DEVELOPMENT = (54, 61, 63, 62, 70, 67, 70, 73, 77, 71, 69)


def labels_subwords() -> Drawing:
    """How the tags of words become labels of sub-words."""
    card = Card(
        "A word’s first piece carries its tag",
        "The words Ines, Caldeira, sailed, to, Reykjavik and a full stop, with the tags B-Peop, I-Peop, O, O, B-Loc "
        "and O. The tokenizer cuts them into pieces: in, ##es, cal, ##de, ##ira, sailed, to, reykjavik, full stop, "
        "between [CLS] and [SEP]. The first piece of each word gets the word’s tag. All others, [CLS] and [SEP] "
        "included, get −100, which the loss skips.",
        524,
    )
    words = (
        ("Ines", ("in", "##es"), "B-Peop", GATE),
        ("Caldeira", ("cal", "##de", "##ira"), "I-Peop", tint(GATE, 0.6)),
        ("sailed", ("sailed",), "O", LINE),
        ("to", ("to",), "O", LINE),
        ("Reykjavik", ("reykjavik",), "B-Loc", PREFIX),
        (".", (".",), "O", LINE),
    )
    for x, head in ((84, "word"), (240, "piece"), (396, "label")):
        card.text(x, 66, head, color=MUTED, size=15)
    y = 84.0
    for word, pieces, tag, color in (("", ("[CLS]",), "", LINE), *words, ("", ("[SEP]",), "", LINE)):
        height = 36 * len(pieces) - 4
        if word:
            place = card.box(MARGIN, y, 120, height, word, fill=tint(color, 0.5))
            for i in range(len(pieces)):
                card.line((place.right + 4, place.centre), (178, y + 16 + 36 * i), width=1.5)
        for i, piece in enumerate(pieces):
            carries = bool(word) and not i
            card.box(182, y + 36 * i, 116, 32, piece, fill=tint(color, 0.5) if carries else FROZEN)
            if carries:
                card.box(336, y, 120, 32, tag, fill=color)
                card.arrow((300, y + 16), (333, y + 16))
            else:
                card.text(396, y + 16 + 36 * i, "−100", color=MUTED)
        y += height + 4
    card.note(MARGIN, y + 22, "−100: the loss skips this piece.", anchor="start")
    return card.drawing()


def _curve(card: Card, scores: tuple[int, ...], color: str, dashed=False) -> list[tuple[float, float]]:
    """A line of scores between 50 and 80 per cent, and its points."""
    points = [(52 + 36.0 * i, 330 - 8.4 * (score - 50)) for i, score in enumerate(scores)]
    card.line(*points, color=color, width=2.5, dashed=dashed)
    return points


def selection_rules() -> Drawing:
    """Three rules that report three scores of one training."""
    best, chosen, last = max(DEVELOPMENT), DEVELOPMENT[HELD_OUT.index(max(HELD_OUT))], DEVELOPMENT[-1]
    card = Card(
        "One training, three reported scores",
        "A schematic curve of the development score over eleven evaluations, and a dashed one of a held-out tenth of "
        f"the training data. The best development score is {best}. Where the held-out score is highest the development "
        f"score is {chosen}. After the last step it is {last}. Each of the three can be reported.",
        512,
    )
    for score in (50, 60, 70, 80):
        level = 330 - 8.4 * (score - 50)
        card.line((52, level), (440, level), color=tint(LINE, 0.5), width=1)
        card.note(42, level, str(score), anchor="end")
    held = _curve(card, HELD_OUT, LINE, dashed=True)
    points = _curve(card, DEVELOPMENT, INK)
    rules = (
        ("best of all evaluations", DEVELOPMENT.index(best), WRONG),
        ("chosen by the held-out tenth", HELD_OUT.index(max(HELD_OUT)), GATE),
        ("after the last step", len(DEVELOPMENT) - 1, OUTPUT),
    )
    place = held[rules[1][1]]
    card.arrow((place[0], place[1] + 8), (place[0], points[rules[1][1]][1] - 10), color=GATE)
    card.dot(*place, 7, WHITE, GATE)
    for i, (name, at, color) in enumerate(rules):
        card.dot(*points[at], 8, color)
        card.dot(MARGIN + 10, 402 + 28 * i, 8, color)
        card.text(MARGIN + 28, 402 + 28 * i, name, anchor="start")
        card.text(456, 402 + 28 * i, f"{DEVELOPMENT[at]}", anchor="end", bold=True)
    card.note(246, 350, "evaluation (schematic)")
    card.line((52, 374), (78, 374), color=INK, width=2.5)
    card.note(86, 374, "development set", anchor="start")
    card.line((236, 374), (262, 374), color=LINE, width=2.5, dashed=True)
    card.note(270, 374, "held-out tenth", anchor="start")
    card.note(MARGIN, 484, "The best of many noisy scores flatters.", anchor="start")
    return card.drawing()


# Made-up draws: right answers among 16 held-out examples, the true score in per cent.
DRAWS = ((12, 71), (9, 68), (15, 73), (11, 75), (13, 69))


def tickets() -> Drawing:
    """Few-shot scores as lottery tickets: one method, five draws."""
    card = Card(
        "Five draws, one method",
        "Schematic. The same method is trained on five different draws of 16 examples. Judged on another 16 examples "
        "each, it scores 75, 56, 94, 69 and 81 per cent. Its true scores, on all the other examples, are 71, 68, 73, "
        "75 and 69 per cent. The best ticket promises 94 and keeps 73.",
        438,
    )

    def place(score: float) -> float:
        return 104 + 330 * (score - 50) / 50

    for score in (50, 60, 70, 80, 90, 100):
        card.line((place(score), 76), (place(score), 332), color=tint(LINE, 0.5), width=1)
        card.note(place(score), 350, f"{score} %")
    for i, (hits, true) in enumerate(DRAWS):
        y, seen = 98 + 52 * i, 100 * hits / 16
        best = hits == max(hits for hits, _ in DRAWS)
        card.text(MARGIN, y, f"draw {i + 1}", anchor="start", size=15)
        card.line((place(true), y), (place(seen), y), color=WRONG if best else LINE, width=4 if best else 3)
        card.dot(place(seen), y, 9, WHITE, WRONG if best else INK)
        card.dot(place(true), y, 8, GATE)
    card.dot(MARGIN + 8, 384, 8, WHITE, INK)
    card.note(MARGIN + 26, 384, "score on 16 held-out examples", anchor="start")
    card.dot(MARGIN + 8, 410, 7, GATE)
    card.note(MARGIN + 26, 410, "true score, on all the others (schematic)", anchor="start")
    card.note(place(83.4), 182, "promises 94, keeps 73", color="#A84A00")
    return card.drawing()


def report_map() -> Drawing:
    """How an interval becomes a verdict on a claim of the paper."""
    card = Card(
        "From an interval to a verdict",
        "Schematic. A claim says: APT is better by 1.5 points. Five intervals for the measured difference. Wholly "
        "above 0: reproduced. Holding both 0 and the claim: not seen. Holding 0 but not the claim: excluded. "
        "Wholly below 0: opposite. No runs: untested.",
        470,
    )

    def place(points: float) -> float:
        return 330 + 36 * points

    card.line((place(0), 88), (place(0), 420), color=INK, width=1.5)
    card.line((place(1.5), 88), (place(1.5), 420), color=PREFIX, width=2, dashed=True)
    card.note(place(0) - 8, 74, "0", color=INK)
    card.note(place(1.5) + 10, 74, "the claim")
    verdicts = (
        ("reproduced", 0.6, 2.6, OUTPUT),
        ("not seen", -1.2, 2.4, LINE),
        ("excluded", -2.2, 0.8, OTHER),
        ("opposite", -2.8, -0.7, WRONG),
    )
    for i, (name, low, high, color) in enumerate(verdicts):
        y = 118 + 66 * i
        card.text(MARGIN, y, name, anchor="start", bold=True)
        card.line((place(low), y), (place(high), y), color=color, width=9)
        card.dot(place((low + high) / 2), y, 7, WHITE, INK)
    card.text(MARGIN, 382, "untested", anchor="start", bold=True)
    card.note(250, 382, "no runs")
    card.note(MARGIN, 444, "Difference APT − P-tuning v2, in points (schematic)", anchor="start")
    return card.drawing()
