"""APT as a whole: in one layer, and over all layers."""

from apt_minimal.course.draw.card import MARGIN, Box, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, GATE, INK, LINE, MUTED, OUTPUT, PREFIX, QUERY, WHITE, tint

ALPHA = (0.9, 0.2, 0.6)


def apt_layer() -> Drawing:
    """APT in one layer, from the entering states to the attention."""
    card = Card(
        "APT in one layer",
        "The states x enter the layer. The first token's state h gives α = σ(h W), one number for each prefix token. "
        "The prefix P is multiplied by α, token by token, and by λ, one number for the layer. The result, P̂, stands "
        "in front of the keys and values that the frozen layer makes of x, and every token's query looks at both. "
        "Only P, W and λ are trained.",
        632,
    )
    card.note(MARGIN, 64, "x, the states that enter the layer: [b, n, d]", anchor="start", size=15)
    x = card.box(MARGIN, 80, 432, 46, fill=WHITE, edge=LINE)
    words = ["[CLS]", "what", "a", "great", "film", "[SEP]"]
    card.tiles(30, 86, [[tint(GATE, 0.3)] + [FROZEN] * 5], 65, 34, 6, [words])
    gate = card.box(24, 168, 206, 38, "α = σ(h W)", fill=GATE, size=17)
    card.arrow((62, 121), (62, gate.y - 2))
    card.note(74, 148, "h, the first token: [b, d]", anchor="start")
    gated = _gated_prefix(card)
    maps = card.box(262, 236, 194, 88, "frozen: the layer’s", "own maps to query,", "key and value")
    card.arrow((359, x.bottom + 1), (359, maps.y - 2))
    _attention(card, gated, maps)
    return card.drawing()


def _gated_prefix(card: Card) -> Box:
    """α, P, λ and P̂ below each other, one column for each prefix token."""
    card.arrow((146, 206), (146, 234))
    for y, name in ((251, "α"), (305, "P"), (359, "λ"), (421, "P̂")):
        card.text(40, y, name, size=18)
    card.tiles(62, 236, [[tint(GATE, 0.1 + 0.5 * a) for a in ALPHA]], 52, 30, 6, [[f"{a}" for a in ALPHA]])
    card.tiles(62, 290, [[PREFIX] * 3], 52, 30, 6, [["P₁", "P₂", "P₃"]])
    card.box(62, 344, 168, 30, "one for the layer", fill=GATE, size=15)
    for y, sign in ((278, "×"), (332, "×"), (390, "=")):
        card.text(146, y, sign, color=MUTED)
    return card.tiles(62, 406, [[tint(PREFIX, 0.05 + 0.95 * a) for a in ALPHA]], 52, 30, 6)


def _attention(card: Card, gated: Box, maps: Box) -> None:
    """E1 with the gated prefix in front, and what the colours mean."""
    card.box(MARGIN, 472, 432, 88, fill=tint(OUTPUT, 0.14), edge=OUTPUT)
    card.tiles(40, 485, [[tint(PREFIX, 0.05 + 0.95 * a) for a in ALPHA] + [LINE] * 6], 39.5, 24, 5.5)
    card.arrow((146, gated.bottom + 2), (146, 454), (105, 454), (105, 483))
    card.arrow((300, maps.bottom + 1), (300, 483))
    card.arrow((430, maps.bottom + 1), (430, 470))
    card.text(310, 400, "K, V", anchor="start")
    card.text(420, 400, "q", anchor="end")
    card.text(240, 536, "softmax( q [P̂ₖ ; K]ᵀ / √dₕ ) [P̂ᵥ ; V]", size=18)
    card.legend(584, (PREFIX, "P, trained: 2·l·d"), (GATE, "W and λ, trained: l·d + 1"))
    card.legend(584, (FROZEN, "frozen, as pretrained"), (OUTPUT, "as many outputs as inputs"), x=250)


def gradient_factors() -> Drawing:
    """Which trained part stands in whose gradient."""
    card = Card(
        "Who stands in whose gradient",
        "The gated prefix is λ times α times P, and α is σ of h W. G is the gradient that arrives at it from the loss. "
        "The gradient of P is the product of λ, α and G. That of λ is the product of α, P and G. That of W is the "
        "product of h, λ, the slope of σ, P and G. A product is 0 as soon as one of its factors is 0.",
        372,
    )
    card.note(MARGIN, 66, "P̂ = λ · α ⊙ P,  with α = σ(h W)", anchor="start", size=16, color=INK)
    colors = {"λ": GATE, "α": tint(GATE, 0.3), "P": PREFIX, "h": tint(QUERY, 0.6), "σ′": tint(GATE, 0.3), "G": LINE}
    rows = (("P", "λαG"), ("λ", "αPG"), ("W", ("h", "λ", "σ′", "P", "G")))
    for i, (name, factors) in enumerate(rows):
        y = 96 + 60 * i
        card.text(MARGIN, y + 20, "gradient of", anchor="start", color=MUTED)
        card.box(116, y, 46, 40, name, fill=PREFIX if name == "P" else GATE, size=18)
        card.text(184, y + 20, "=", color=MUTED)
        for j, factor in enumerate(factors):
            if j:
                card.text(198 + 52 * j, y + 20, "·", color=MUTED, size=20)
            card.box(204 + 52 * j, y, 40, 40, factor, fill=colors[factor], size=18)
    card.note(
        MARGIN,
        296,
        "G: the gradient that arrives at P̂ from the loss.",
        "σ′: the slope of σ, which is never 0.",
        anchor="start",
    )
    card.note(MARGIN, 344, "One factor of 0 makes the whole product 0.", anchor="start", color=INK, size=16)
    return card.drawing()
