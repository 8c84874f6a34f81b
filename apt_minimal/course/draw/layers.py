"""What a prefix does over layers, and how it gets into a model (lessons 03, 05 and 07)."""

from apt_minimal.course.draw.card import MARGIN, Card, Drawing
from apt_minimal.course.draw.palette import FROZEN, GATE, INK, LINE, OUTPUT, PREFIX, QUERY, WHITE, WRONG, tint

RED, BLUE, GREY = WRONG, GATE, LINE


def two_layers() -> Drawing:
    """How two layers get round the limit of one, in four panels."""
    card = Card(
        "How two layers get round the limit",
        "Four panels. One: in layer 2, without a prefix, [CLS] looks mostly at the red token. Two: in layer 1 every "
        "token asks the prefix, and red and blue tokens get different vectors from it. Three: so the states of the "
        "tokens move, red towards grey and blue away from it. Four: in layer 2 the same frozen weights now make [CLS] "
        "look mostly at the blue token.",
        604,
    )
    _looks(card, MARGIN, 56, ("1  Before: layer 2", "looks at red"), (0.9, 0.06, 0.04))
    _lower_prefix(card, 248, 56)
    _moved_states(card, MARGIN, 328)
    _looks(card, 248, 328, ("4  After: layer 2", "looks at blue"), (0.12, 0.82, 0.06))
    return card.drawing()


def _panel(card: Card, x: float, y: float, title: tuple[str, str]) -> None:
    """A white panel with a title of two lines."""
    card.box(x, y, 208, 252, fill=WHITE, edge=tint(LINE, 0.6))
    for i, line in enumerate(title):
        card.text(x + 12, y + 20 + 20 * i, line, size=15, anchor="start")


def _looks(card: Card, x: float, y: float, title: tuple[str, str], weights: tuple[float, ...]) -> None:
    """[CLS] above three tokens; the thicker the line, the more it looks at one."""
    _panel(card, x, y, title)
    asks = card.box(x + 68, y + 62, 72, 34, "[CLS]", fill=QUERY)
    for i, (color, weight) in enumerate(zip((RED, BLUE, GREY), weights, strict=True)):
        middle = x + 40 + 64 * i
        card.line((asks.middle, asks.bottom), (middle, y + 182), color=INK, width=1 + 9 * weight)
        card.box(middle - 24, y + 182, 48, 34, fill=color)
        card.note(middle, y + 232, ("red", "blue", "grey")[i])


def _lower_prefix(card: Card, x: float, y: float) -> None:
    """Prefix tokens of layer 1 that answer a red and a blue token differently."""
    _panel(card, x, y, ("2  Layer 1’s prefix says", "something else to each"))
    tops = [x + 40 + 42 * i for i in range(4)]
    for top in tops:
        card.box(top - 17, y + 66, 34, 30, fill=PREFIX)
    for middle, color, name, weights in (
        (x + 56, RED, "red", (0.7, 0.2, 0.06, 0.04)),
        (x + 152, BLUE, "blue", (0.04, 0.1, 0.3, 0.56)),
    ):
        for top, weight in zip(tops, weights, strict=True):
            card.line((top, y + 96), (middle, y + 182), color=PREFIX, width=1 + 8 * weight)
        card.box(middle - 24, y + 182, 48, 34, fill=color)
        card.note(middle, y + 232, name)


def _moved_states(card: Card, x: float, y: float) -> None:
    """Where the states of the three colours lie, before and after the prefix of layer 1."""
    _panel(card, x, y, ("3  So their states move:", "now blue stands out"))
    grey = (x + 66, y + 190)
    card.dot(*grey, 13, GREY)
    for start, end, color in (((160, 176), (98, 196), RED), ((92, 146), (166, 92), BLUE)):
        card.dot(x + start[0], y + start[1], 13, WHITE, color)
        length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
        u, v = ((end[i] - start[i]) / length for i in (0, 1))
        near = (x + start[0] + 15 * u, y + start[1] + 15 * v)
        card.arrow(near, (x + end[0] - 15 * u, y + end[1] - 15 * v), color=color)
        card.dot(x + end[0], y + end[1], 13, color)
    card.note(x + 104, y + 232, "hollow: before, full: after")


SCALES = (0.4, 1.2, 0.8, 1.5, 0.2, 1.0)
ALPHAS = (
    (0.5, 0.5, 0.6, 0.4, 0.5),
    (0.9, 0.2, 0.7, 0.1, 0.4),
    (0.3, 0.8, 0.1, 0.9, 0.6),
    (0.7, 0.1, 0.9, 0.3, 0.2),
    (0.2, 0.6, 0.8, 0.4, 0.9),
    (0.8, 0.9, 0.2, 0.1, 0.7),
)


def lambda_layers() -> Drawing:
    """APT over all layers: a λ for each layer, an α for each prefix token."""
    card = Card(
        "Every layer has its own λ, α and P",
        "Six layers, the first at the bottom. Each has one number λ, the same for every sentence; five numbers α, one "
        "for each prefix token, made anew for each sentence; and a gated prefix of five tokens, coloured the more "
        "strongly the larger λ times α. The states of the sentence pass through the layers from below.",
        470,
    )
    for x, head in ((112, "λ"), (222, "α"), (384, "P̂ = λ · α ⊙ P")):
        card.text(x, 70, head, size=17)
    for layer, (scale, alphas) in enumerate(zip(SCALES, ALPHAS, strict=True), 1):
        y = 90 + 46 * (6 - layer)
        card.box(MARGIN, y - 4, 432, 40, fill=tint(FROZEN, 0.6))
        card.note(36, y + 16, f"layer {layer}", anchor="start")
        card.box(94, y, 36, 32, f"{scale}", fill=GATE, size=15)
        card.tiles(152, y, [[tint(GATE, 0.08 + 0.6 * a) for a in alphas]], 26, 32)
        card.tiles(313, y, [[tint(PREFIX, min(1, 0.04 + 0.96 * scale * a)) for a in alphas]], 26, 32)
        card.text(141, y + 16, "·", size=18)
    card.arrow((58, 390), (58, 362))
    card.note(72, 382, "the sentence’s states", anchor="start")
    card.note(MARGIN, 416, "λ: one number per layer, the same for every sentence.", anchor="start")
    card.note(MARGIN, 438, "α: one number per prefix token, new for every sentence.", anchor="start")
    return card.drawing()


def attach_path() -> Drawing:
    """The way of a prefix into a model's own attention."""
    card = Card(
        "How a prefix reaches a model’s attention",
        "The states that enter a layer go two ways. On the left a hook hands them to the layer’s AdaptivePrefix, "
        "which builds the gated prefix. On the right the model makes query, key and value from them as it always "
        "does. Then the prefix is put in front of the keys and values, the mask grows by its length, and the model’s "
        "own attention does the rest. Not one of its weights changes.",
        556,
    )
    states = card.box(MARGIN, 62, 432, 40, "states that enter the layer: [b, n, d]", fill=FROZEN)
    hook = card.box(MARGIN, 152, 206, 84, "AdaptivePrefix", "α, λ, P", fill=GATE)
    host = card.box(250, 152, 206, 84, "the model’s own", "query, key, value", fill=FROZEN)
    card.arrow((hook.middle, states.bottom + 1), (hook.middle, hook.y - 2))
    card.arrow((host.middle, states.bottom + 1), (host.middle, host.y - 2))
    card.note(hook.middle + 10, 128, "a hook", anchor="start")
    card.note(host.middle + 10, 128, "as always", anchor="start")
    card.box(MARGIN, 302, 432, 92, fill=WHITE, edge=LINE)
    card.arrow((hook.middle, hook.bottom + 1), (hook.middle, 300))
    card.arrow((host.middle, host.bottom + 1), (host.middle, 300))
    card.text(hook.middle + 10, 266, "P̂ₖ, P̂ᵥ", anchor="start")
    card.text(host.middle + 10, 266, "q, K, V", anchor="start")
    card.text(MARGIN + 18, 331, "keys and values", anchor="start", size=15)
    card.tiles(190, 319, [[PREFIX] * 3 + [LINE] * 6], 24, 24)
    card.text(MARGIN + 18, 367, "mask", anchor="start", size=15)
    card.tiles(190, 355, [[tint(OUTPUT, 0.5)] * 7 + [FROZEN] * 2], 24, 24)
    attention = card.box(MARGIN, 432, 432, 40, "the model’s own attention", fill=FROZEN)
    card.arrow((240, 395), (240, attention.y - 2))
    card.arrow((240, attention.bottom + 1), (240, 500))
    card.text(240, 514, "[b, n, d]: as many states as before")
    card.note(240, 536, "Not one of the model’s weights changes.")
    return card.drawing()
