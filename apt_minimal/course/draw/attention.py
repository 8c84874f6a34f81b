"""Attention, masks and heads (lesson 01)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, MUTED, OTHER, OUTPUT, PAPER, QUERY, tint


def soft_lookup() -> Drawing:
    """Lesson 01's lookup with a query and four keys, by hand."""
    card = Card(
        "Attention is a soft lookup",
        "The word apple asks for a colour, with the weight ln 2, and for a word of the first pair, with the weight "
        "ln 3. Its query is compared with the keys of red, apple, green and pear. The scores are ln 6, ln 3, ln 2 and "
        "0. Taken as powers of e they are 6, 3, 2 and 1, which sum to 12, so the weights are 6/12, 3/12, 2/12 and "
        "1/12. The output is the mean of the four values with these weights: (6, 2).",
        482,
    )
    query = card.box(MARGIN, 62, 218, 36, "apple’s query (ln 2, ln 3)", fill=QUERY)
    for x, head in ((114, "key"), (184, "score"), (240, "e to the"), (296, "weight"), (418, "value")):
        card.text(x, 138, head, size=15, color=MUTED)
    card.text(184, 156, "q · k", size=14, color=MUTED)
    card.text(240, 156, "score", size=14, color=MUTED)
    card.arrow((114, query.bottom + 1), (114, 126))
    card.note(query.right + 12, 80, "compared with every key", anchor="start")
    rows = [
        ("red", "(1, 1)", "ln 6", 6, "(12, 0)"),
        ("apple", "(0, 1)", "ln 3", 3, "(0, 0)"),
        ("green", "(1, 0)", "ln 2", 2, "(0, 12)"),
        ("pear", "(0, 0)", "0", 1, "(0, 0)"),
    ]
    for i, (word, key, score, power, value) in enumerate(rows):
        y, color = 174 + 52 * i, tint(OUTPUT, 0.15 + power / 8)
        card.text(MARGIN, y + 18, word, anchor="start")
        card.box(82, y, 66, 36, key)
        card.text(184, y + 18, score)
        card.text(240, y + 18, f"{power}")
        bar = card.box(266, y + 6, 10 * power, 24, fill=color, radius=3)
        card.text(bar.right + 6, y + 18, f"{power}/12", size=15, anchor="start")
        card.box(380, y, 76, 36, value, fill=color)
    card.line((MARGIN, 386), (456, 386), width=1.5)
    card.text(240, 404, "12", color=MUTED)
    card.text(296, 404, "sum 1", color=MUTED)
    card.text(MARGIN, 448, "weighted mean of the values", anchor="start", color=MUTED)
    card.box(380, 430, 76, 36, "(6, 2)", fill=OUTPUT, bold=True)
    card.arrow((418, 373), (418, 428))
    return card.drawing()


def mask_broadcast() -> Drawing:
    """A row of True and False for each example, stretched over queries and heads."""
    card = Card(
        "One row of a mask serves all",
        "Two examples, the second with two padding tokens. The mask has one row of five tiles for each example, of "
        "shape [b, 1, 1, k]. The row is repeated downwards for each of the five queries, and the sheet that results "
        "is repeated for each head, which gives [b, h, n, k]. The columns of the padding are closed in every row and "
        "every sheet.",
        480,
    )
    yes, no = tint(OUTPUT, 0.55), FROZEN
    for x, title, real in ((MARGIN, "example 1", 5), (258, "example 2", 3)):
        row = [yes] * real + [no] * (5 - real)
        card.text(x, 66, title, anchor="start", size=15)
        strip = card.tiles(x, 82, [row], 28, 26)
        card.arrow((strip.middle, strip.bottom + 6), (strip.middle, 166))
        card.note(strip.middle + 12, 138, "n queries", anchor="start")
        for shift in (44, 22, 0):
            card.box(x + shift - 3, 212 - shift - 3, 158, 151, fill=PAPER, radius=4)
            card.tiles(x + shift, 212 - shift, [row] * 5, 28, 26)
        card.arrow((x + 160, 376), (x + 198, 338))
        card.note(x + 164, 388, "h heads")
    card.note(240, 422, "[b, 1, 1, k] → [b, h, n, k]", size=16)
    card.legend(454, (yes, "True: may look"))
    card.legend(454, (no, "False: padding"), x=258)
    return card.drawing()


def heads_cards() -> Drawing:
    """Six columns cut into two heads: neighbours, or dealt out like cards."""
    card = Card(
        "Two ways to cut six columns into two heads",
        "With the pattern (h d_h) head 1 gets the neighbouring columns 0, 1 and 2, and head 2 gets 3, 4 and 5. With "
        "(d_h h) the columns are dealt out like cards: head 1 gets 0, 2 and 4, head 2 gets 1, 3 and 5. The shapes are "
        "the same, the heads are not.",
        446,
    )
    for top, title, head_of in (
        (66, "“b n (h d_h)”: neighbours, as in this course", lambda column: column // 3),
        (256, "“b n (d_h h)”: dealt out like cards", lambda column: column % 2),
    ):
        card.text(MARGIN, top, title, anchor="start")
        colors = [tint((QUERY, OTHER)[head_of(column)], 0.75) for column in range(6)]
        card.tiles(90, top + 20, [colors], 46, 34, 4, [[str(column) for column in range(6)]], 17)
        for head, left in enumerate((56, 280)):
            columns = [column for column in range(6) if head_of(column) == head]
            color = (QUERY, OTHER)[head]
            for place, column in enumerate(columns):
                card.arrow((113 + 50 * column, top + 56), (left + 23 + 50 * place, top + 98), color=color)
            words = [[str(column) for column in columns]]
            tiles = card.tiles(left, top + 100, [[tint(color, 0.75)] * 3], 46, 34, 4, words, 17)
            card.note(tiles.middle, top + 150, f"head {head + 1}")
    return card.drawing()
