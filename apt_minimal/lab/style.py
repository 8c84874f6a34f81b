"""One look for the whole course: the style of its figures, and what many of them share.

It needs matplotlib only, so that the first lesson starts quickly. Each method's colour stands in `lab.methods`.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

STYLE: dict = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def use_style() -> None:
    """Give every figure of a notebook the course's look."""
    plt.rcParams.update(STYLE)


def heatmap(axis, values, rows=None, columns=None, title="", low=0.0, high=1.0, digits: int | None = 2):
    """Draw a matrix as coloured cells, the first row on top, each with its number in it.

    Args:
        axis: matplotlib axes.
        values: [rows, columns], an array or a tensor.
        rows, columns: labels of the ticks; None: counted from 1.
        title: of the axes.
        low, high: the values at the ends of the colour scale; None: the smallest and the largest of `values`.
        digits: decimals of the numbers in the cells; None: no numbers.

    Returns:
        The image, for `figure.colorbar`.
    """
    values = np.asarray(values)
    image = axis.imshow(values, vmin=low, vmax=high, cmap="cividis", aspect="auto")
    for ticks, labels, count in ((axis.set_yticks, rows, len(values)), (axis.set_xticks, columns, values.shape[1])):
        ticks(range(count), range(1, count + 1) if labels is None else labels)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_title(title)
    if digits is not None:
        for (row, column), value in np.ndenumerate(values):
            shade = "black" if image.norm(value) > 0.6 else "white"
            axis.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=shade)
    return image


def attention_map(weights, tokens: Sequence[str], query: int | None = None, title: str = "", axis=None):
    """Draw where tokens look: each query on the left, each key on the right, a line as thick as its weight between.

    Args:
        weights: [n, n], one head's attention weights; a row is a query.
        tokens: the n tokens.
        query: the only one whose lines are drawn, counted from 0, with its weights as numbers; None: all queries.
        title: of the axes.
        axis: matplotlib axes; None: new ones, of a size that fits.

    Returns:
        The axes.
    """
    weights = np.asarray(weights)
    if weights.shape != (len(tokens), len(tokens)):
        raise ValueError(f"weights are {list(weights.shape)} for {len(tokens)} tokens; give one head's, [n, n]")
    if axis is None:
        _, axis = plt.subplots(figsize=(4.4, 0.8 + 0.3 * len(tokens)))
    for (i, j), weight in np.ndenumerate(weights):
        if query in (None, i):
            axis.plot([0.3, 0.7], [i, j], color="#D55E00", lw=9 * weight, alpha=0.85 if query == i else 0.5)
    for i, token in enumerate(tokens):
        asks = query in (None, i)
        axis.text(0.28, i, token, ha="right", va="center", **_emphasis(asks and query is not None, asks))
        share = "" if query is None else f"   {weights[query, i]:.2f}"
        strong = query is not None and weights[query, i] >= 0.2
        axis.text(0.72, i, token + share, ha="left", va="center", **_emphasis(strong, strong or query is None))
    axis.set(xlim=(0, 1), ylim=(len(tokens) - 0.4, -0.6), title=title)
    axis.axis("off")
    return axis


def _emphasis(bold: bool, dark: bool) -> dict:
    """How a token is written."""
    return {"fontweight": "bold" if bold else "normal", "color": "#1F2933" if dark else "#77808C"}


def smoothed(values, window: int = 15) -> np.ndarray:
    """Running mean over the last `window` values (fewer at the start)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
