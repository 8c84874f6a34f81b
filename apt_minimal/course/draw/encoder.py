"""BERT's embeddings and layers (lesson 02)."""

from apt_minimal.course.draw.card import MARGIN, Box, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, LINE, MUTED, OTHER, OUTPUT, PREFIX, QUERY, WHITE, tint


def three_rows() -> Drawing:
    """Word, position and type: three rows of three tables are added."""
    card = Card(
        "Three rows are added for each token",
        "For the tokens [CLS], the, dog and sleeps, each token's vector is the sum of three rows: that of its word, "
        "that of its position 0, 1, 2 or 3, and that of its type, which is 0 for a single text. Layer normalisation "
        "follows, and one vector for each token goes on to the first layer.",
        392,
    )
    words = ["[CLS]", "the", "dog", "sleeps"]
    rows = [
        ("word", words, tint(QUERY, 0.6)),
        ("position", ["0", "1", "2", "3"], tint(PREFIX, 0.55)),
        ("type", ["0"] * 4, tint(OTHER, 0.5)),
    ]
    for i, (name, row, color) in enumerate(rows):
        y = 66 + 62 * i
        card.text(MARGIN, y + 18, name, anchor="start")
        card.tiles(108, y, [[color] * 4], 84, 36, 4, [row], 16)
        if i:
            for column in range(4):
                card.text(150 + 88 * column, y - 13, "+", color=MUTED)
    for column in range(4):
        card.arrow((150 + 88 * column, 228), (150 + 88 * column, 258))
    norm = card.box(108, 260, 348, 36, "layer normalisation", fill=tint(OUTPUT, 0.3))
    card.text(MARGIN, norm.centre, "norm", anchor="start")
    for column in range(4):
        card.arrow((150 + 88 * column, norm.bottom + 1), (150 + 88 * column, 326))
    card.tiles(108, 328, [[FROZEN] * 4], 84, 36, 4, [["x₁", "x₂", "x₃", "x₄"]], 16)
    card.note(MARGIN, 346, "[b, n, d]", anchor="start")
    return card.drawing()


# The parts of a layer and their colours.
PARTS = {
    "attention": tint(QUERY, 0.6),
    "+": WHITE,
    "norm": tint(OUTPUT, 0.4),
    "feed-forward": tint(PREFIX, 0.45),
}
POST = ("attention", "+", "norm", "feed-forward", "+", "norm")
PRE = ("norm", "attention", "+", "norm", "feed-forward", "+")


def bert_block() -> Drawing:
    """BERT's encoder with the names of its parameters, and the other order of its parts beside it."""
    card = Card(
        "BERT’s encoder, and the order of its norms",
        "Left, BERT: embeddings, then L layers, each with attention, addition, norm, feed-forward, addition, norm. "
        "The norm comes after the addition: post-norm. The middle names the parameters of each part in this course. "
        "Right, for comparison, pre-norm: norm, attention, addition, norm, feed-forward, addition. The parameters are "
        "the same, the function is not.",
        672,
    )
    card.text(94, 68, "BERT: post-norm", size=15)
    card.text(394, 68, "pre-norm", size=15)
    embeddings = card.box(38, 86, 112, 52, "embeddings,", "norm", fill=FROZEN)
    card.note(172, 85, "embeddings.word", ".position", ".token_type", ".norm", anchor="start", step=18)
    names = {
        "attention": ("attention.query", ".key", ".value", ".output"),
        "feed-forward": ("feed_forward.0", "feed_forward.2"),
    }
    card.box(MARGIN, 168, 132, 452, fill=WHITE, edge=LINE)
    tops = _stack(card, 94, embeddings.bottom, POST)
    for part, lines in names.items():
        y = tops[POST.index(part)].centre - 9 * (len(lines) - 1)
        card.note(172, y, *lines, anchor="start", step=18)
    for place, name in ((2, "attention_norm"), (5, "feed_forward_norm")):
        card.note(172, tops[place].centre, name, anchor="start")
    card.box(324, 168, 132, 452, fill=WHITE, edge=LINE)
    _stack(card, 394, 140, PRE)
    card.note(172, 612, "× L layers", anchor="start")
    return card.drawing()


def _stack(card: Card, middle: float, start: float, parts: tuple[str, ...]) -> list[Box]:
    """Draw a layer's parts below each other, with a way past each sublayer, and return their places."""
    places, above, y, fork = [], start, 200.0, 0.0
    for i, part in enumerate(parts):
        if i in (0, 3):  # a sublayer begins: from here its input also goes straight to the addition
            fork = (above + y) / 2 if i else 182.0
        card.arrow((middle, above + 1), (middle, y - 2))
        if part == "+":
            place = Box(middle - 13, y, 26, 26)
            card.dot(middle, place.centre, 12, WHITE, MUTED)
            card.text(middle, place.centre, "+", size=18)
            card.arrow((middle, fork), (middle - 58, fork), (middle - 58, place.centre), (place.x, place.centre))
        else:
            height = 64 if part == "attention" else 40
            place = card.box(middle - 50, y, 100, height, part, fill=PARTS[part], size=15)
        places.append(place)
        above, y = place.bottom, place.bottom + 32
    card.arrow((middle, above + 1), (middle, 644))
    return places
