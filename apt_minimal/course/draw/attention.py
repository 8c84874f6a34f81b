"""Attention, heads and masks (lesson 01)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import MUTED, OUTPUT, QUERY, tint


def soft_lookup() -> Drawing:
    """Lesson 01's lookup with a query and three keys, by hand."""
    card = Card(
        "Attention is a soft lookup",
        "The query (ln 2, ln 3) is compared with three keys. Their dot products are ln 2, ln 3 and ln 6. Taken as "
        "powers of e they are 2, 3 and 6, which sum to 11, so the weights are 2/11, 3/11 and 6/11. The output is the "
        "mean of the three values with these weights: (8, 15).",
        430,
    )
    query = card.box(MARGIN, 62, 170, 36, "query (ln 2, ln 3)", fill=QUERY)
    for x, head in ((66, "key"), (160, "score"), (225, "e to the"), (294, "weight"), (416, "value")):
        card.text(x, 138, head, size=15, color=MUTED)
    card.text(160, 156, "q · k", size=14, color=MUTED)
    card.text(225, 156, "score", size=14, color=MUTED)
    card.arrow((66, query.bottom + 1), (66, 126))
    card.note(query.right + 12, 80, "compared with every key", anchor="start")
    rows = [("(1, 0)", "ln 2", 2, "(11, 0)"), ("(0, 1)", "ln 3", 3, "(0, 11)"), ("(1, 1)", "ln 6", 6, "(11, 22)")]
    for i, (key, score, power, value) in enumerate(rows):
        y = 174 + 52 * i
        card.box(MARGIN, y, 84, 36, key)
        card.text(160, y + 18, score)
        card.text(225, y + 18, f"{power}")
        bar = card.box(264, y + 6, 10 * power, 24, fill=tint(OUTPUT, 0.25 + power / 11), radius=3)
        card.text(bar.right + 6, y + 18, f"{power}/11", size=15, anchor="start")
        card.box(376, y, 80, 36, value, fill=tint(OUTPUT, 0.25 + power / 11))
    card.line((MARGIN, 334), (456, 334), width=1.5)
    card.text(225, 352, "11", color=MUTED)
    card.text(294, 352, "sum 1", color=MUTED)
    card.text(MARGIN, 396, "weighted mean of the values", anchor="start", color=MUTED)
    card.box(376, 378, 80, 36, "(8, 15)", fill=OUTPUT, bold=True)
    card.arrow((416, 321), (416, 376))
    return card.drawing()
