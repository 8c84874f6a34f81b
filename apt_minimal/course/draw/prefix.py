"""A prefix in front of keys and values, and what α does to it (lessons 03 and 04)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import GATE, INK, LINE, OUTPUT, PREFIX, QUERY, tint

# Made-up weights of four queries on two prefix tokens and four words; each row sums to 1.
WEIGHTS = (
    (0.20, 0.30, 0.15, 0.05, 0.25, 0.05),
    (0.10, 0.10, 0.10, 0.20, 0.45, 0.05),
    (0.45, 0.15, 0.10, 0.10, 0.10, 0.10),
    (0.15, 0.20, 0.05, 0.05, 0.10, 0.45),
)


def e1_blocks() -> Drawing:
    """E1 as matrices whose sides fit together."""
    card = Card(
        "A prefix in front of keys and values",
        "E1 as matrices. Four queries, each of size dₕ, meet the keys of two prefix tokens and of four words, and the "
        "softmax gives four rows of six weights. In each row the first two weights, on the prefix, sum to m(q), the "
        "other four to 1 − m(q). Multiplied by the values of prefix and words, they give four outputs: as many as "
        "without a prefix.",
        510,
    )
    size, step, top = 24, 27, 284
    colors = [PREFIX] * 2 + [LINE] * 4
    queries = card.tiles(MARGIN, top, [[QUERY] * 3] * 4, size, size)
    keys = card.tiles(151, top - 3 * step - 14, [colors] * 3, size, size)
    shades = [[tint(PREFIX if j < 2 else INK, 1.9 * w) for j, w in enumerate(row)] for row in WEIGHTS]
    weights = card.tiles(151, top, shades, size, size)
    values = card.tiles(378, top - 6 * step - 14, [[color] * 3 for color in colors], size, size)
    outputs = card.tiles(378, top, [[OUTPUT] * 3] * 4, size, size)
    card.text(queries.middle, top - 20, "Q", size=18)
    card.text(keys.middle, keys.y - 20, "[Pₖ ; K]ᵀ", size=18)
    card.text(values.middle, values.y - 20, "[Pᵥ ; V]", size=18)
    card.arrow((queries.right + 6, weights.centre), (weights.x - 4, weights.centre))
    card.arrow((weights.right + 8, weights.centre), (outputs.x - 6, weights.centre))
    card.note(342, weights.centre - 18, "mean")
    card.bracket(151, 151 + 2 * step - 3, weights.bottom + 9, color=PREFIX)
    card.bracket(151 + 2 * step, weights.right, weights.bottom + 9)
    card.text(175, weights.bottom + 24, "m(q)", size=15)
    card.text(259, weights.bottom + 24, "1 − m(q)", size=15)
    for box, words in ((queries, "[n, dₕ]"), (outputs, "[n, dₕ]")):
        card.note(box.middle, box.bottom + 16, words)
    card.note(weights.middle, weights.bottom + 46, "weights: [n, l + n]")
    card.note(
        MARGIN, 72, "2 prefix tokens, 4 words, dₕ = 3;", "weights: softmax(q · k / √dₕ), row by row", anchor="start"
    )
    card.legend(466, (PREFIX, "trained"), (LINE, "computed from the words"))
    card.legend(466, (QUERY, "who asks"), (OUTPUT, "as many outputs as before"), x=250)
    return card.drawing()


def alpha_rows() -> Drawing:
    """α multiplies the rows of P, differently for two examples."""
    card = Card(
        "α scales whole rows of P",
        "One prefix P of four rows, the same for every sentence. Each sentence has its own four numbers α. The first "
        "sentence, with α = 0.9, 0.1, 0.7 and 0.3, keeps mostly rows one and three. The second, with 0.2, 0.8, 0.7 "
        "and 0.1, keeps mostly rows two and three. In each row all columns are multiplied by the same number.",
        440,
    )
    prefix = card.tiles(240 - 66, 66, [[PREFIX] * 5] * 4)
    for i, name in enumerate("₁₂₃₄"):
        card.text(158, 78 + 27 * i, "P" + name, size=15)
    card.note(prefix.right + 14, prefix.centre - 9, "the same for", "every sentence", anchor="start")
    panels = (("“A masterpiece.”", (0.9, 0.1, 0.7, 0.3)), ("“I want those hours back.”", (0.2, 0.8, 0.7, 0.1)))
    for x, (sentence, alpha) in zip((MARGIN, 252), panels, strict=True):
        card.arrow((prefix.middle + (-30 if x < 100 else 30), prefix.bottom + 4), (x + 102, 214))
        card.text(x + 102, 232, sentence, size=15)
        tints = [[tint(GATE, 0.08 + 0.5 * a)] for a in alpha]
        gates = card.tiles(x, 272, tints, 40, 24, 3, [[f"{a}"] for a in alpha])
        rows = card.tiles(x + 72, 272, [[tint(PREFIX, 0.05 + 0.95 * a)] * 5 for a in alpha])
        card.text(gates.middle, 256, "α", size=17)
        card.text(rows.middle, 256, "α ⊙ P", size=17)
        card.arrow((gates.right + 5, rows.centre), (rows.x - 5, rows.centre))
    card.note(240, 404, "[b, l, 1] × [l, d] → [b, l, d], here b = 2, l = 4, d = 5", size=15)
    return card.drawing()
