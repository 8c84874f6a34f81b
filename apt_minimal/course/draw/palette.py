"""The colours of all drawings: the methods' own, so that a colour means the same in a drawing and in a plot."""

PREFIX = "#E69F00"  # P, which is trained: the colour of P-tuning v2
GATE = "#0072B2"  # α, W and λ, which are trained: the colour of APT
QUERY = "#56B4E9"  # the one who asks: the colour of "head only"
OUTPUT = "#009E73"  # what comes out: the colour of full fine-tuning
WRONG = "#D55E00"  # what goes wrong, or needs care: the colour of APT without its token gate
OTHER = "#CC79A7"  # a second input or group: the colour of LoRA

INK = "#1F2933"
MUTED = "#55606E"
LINE = "#B4BCC8"
FROZEN = "#DFE3EA"  # the pretrained model, which is not trained
PAPER = "#FCFBF8"
WHITE = "#FFFFFF"


def tint(color: str, share: float) -> str:
    """Mix a colour with white: share 1 is the colour itself, share 0 is white."""
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02X}" for part in parts)


def on(fill: str) -> str:
    """Black or white ink, whichever is easier to read on `fill`."""
    red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
    return WHITE if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else INK
