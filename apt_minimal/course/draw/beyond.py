"""Changes to the paper's method (lesson 12)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import GATE, INK, LINE, MUTED, PREFIX, WHITE, tint


def beside_and_log() -> Drawing:
    """A prefix beside the softmax, and a gate that counts in it."""
    card = Card(
        "Two other ways to gate a prefix",
        "Above, a prefix beside the attention: the words keep their whole softmax, the prefix has one of its own, and "
        "its output is added, multiplied by tanh(g), which is 0 at the start. Below, one word and one prefix token "
        "whose score is ln 3. Scaled by α = 1, 1/3 and 0 the prefix keeps 0.75, 0.59 and 0.50 of the softmax. With "
        "log α added to its score it keeps 0.75, 0.50 and nothing.",
        612,
    )
    card.text(MARGIN, 68, "A prefix beside the attention", anchor="start", bold=True)
    card.box(MARGIN, 88, 190, 40, "softmax over words", fill=LINE, size=15)
    card.box(MARGIN, 148, 190, 40, "softmax over prefix", fill=PREFIX, size=15)
    gate = card.box(246, 148, 96, 40, "× tanh(g)", fill=GATE)
    card.arrow((216, 168), (244, 168))
    card.dot(390, 108, 14, WHITE, MUTED)
    card.text(390, 108, "+", size=18)
    card.arrow((215, 108), (374, 108))
    card.arrow((gate.right + 1, 168), (390, 168), (390, 124))
    card.arrow((405, 108), (450, 108))
    card.note(
        MARGIN,
        214,
        "g = 0 at the start: the model is as pretrained, bit by bit.",
        "The words never lose their mass.",
        anchor="start",
    )
    card.line((MARGIN, 258), (456, 258), width=1)
    card.text(MARGIN, 286, "A gate that counts: score + log α", anchor="start", bold=True)
    card.note(MARGIN, 312, "One word (score 0), one prefix token (score ln 3):", anchor="start")
    for x, head in ((166, "key × α (E3)"), (366, "score + log α")):
        card.text(x, 342, head, size=15)
    for i, (alpha, scaled, logged) in enumerate((("1", 0.75, 0.75), ("1/3", 0.59, 0.5), ("0", 0.5, 0.0))):
        y = 362 + 52 * i
        card.text(MARGIN, y + 16, f"α = {alpha}", anchor="start")
        for x, share in ((88, scaled), (286, logged)):
            width = 164 * share
            if share:
                fill = tint(PREFIX, 0.9 if x > 100 or i == 0 else 0.9 - 0.3 * i)
                card.box(x, y, width - 2, 32, f"{share:.2f}", fill=fill, size=15, radius=4)
            card.box(x + width, y, 164 - width, 32, fill=LINE, radius=4)
    card.legend(536, (PREFIX, "the prefix’s share of the softmax"), (LINE, "the word’s share"))
    card.note(MARGIN, 586, "With log α, α = 0 truly removes the token.", anchor="start", color=INK)
    return card.drawing()


def pruning() -> Drawing:
    """Gates at exactly zero or one, and the shorter prefix that is left."""
    card = Card(
        "Pruning: gates that end at exactly zero",
        "Six layers with sixteen prefix tokens each, the first at the bottom. The gates z of most tokens end at 0, "
        "and these tokens are taken out: layers 1 to 6 keep 0, 1, 2, 4, 8 and 16 tokens, 31 of 96 in all. The outputs "
        "stay the same.",
        404,
    )
    card.note(92, 66, "z = 1 is kept, z = 0 is taken out", anchor="start")
    card.note(428, 66, "left")
    for layer, kept in enumerate((0, 1, 2, 4, 8, 16), 1):
        y = 84 + 38 * (6 - layer)
        card.note(MARGIN, y + 13, f"layer {layer}", anchor="start")
        for token in range(16):
            x = 92 + 19.2 * token
            if token < kept:
                card.box(x, y, 16, 26, fill=PREFIX, radius=3)
            else:
                card.box(x + 1, y + 1, 14, 24, fill=WHITE, edge=tint(LINE, 0.8), radius=3)
        card.text(428, y + 13, str(kept))
    card.line((92, 316), (456, 316), width=1)
    card.text(92, 338, "31 of 96 prefix tokens", anchor="start", size=15)
    card.note(
        MARGIN,
        362,
        "The outputs stay the same (but for rounding).",
        "Layer 1 is the pretrained layer again.",
        anchor="start",
    )
    return card.drawing()
