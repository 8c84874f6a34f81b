"""One look for the whole course: the style of its figures, and what many of them share.

It needs matplotlib only, so that the first lesson starts quickly. Each method's colour stands in `lab.methods`.
"""

import matplotlib.pyplot as plt
import numpy as np

STYLE = {
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


def smoothed(values, window: int = 15) -> np.ndarray:
    """Running mean over the last `window` values (fewer at the start)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
