"""Figures that move: with sliders where somebody can move them, still where nobody can."""

import os
import sys
from collections.abc import Callable


def slide(show: Callable[..., None], **controls) -> None:
    """Show a figure with a control for each of its arguments, or once, at their start, where there is no front end.

        slide(show_weights, score=(-4.0, 4.0, 0.0), masked=False)

    Args:
        show: draws the figure; it is called with one value for each control, by name.
        controls: (low, high, start) makes a slider, a list a menu that starts with its first entry, True or False a
            box to tick, a text a field to type in.
    """
    starts = {name: control[2] if isinstance(control, tuple) else control for name, control in controls.items()}
    starts = {name: start[0] if isinstance(start, list) else start for name, start in starts.items()}
    if not has_front_end():
        show(**starts)
        return
    import ipywidgets

    sliders = {int: ipywidgets.IntSlider, float: ipywidgets.FloatSlider}
    for name, control in controls.items():
        if isinstance(control, tuple):
            low, high, start = control
            controls[name] = sliders[type(start)](start, min=low, max=high)
    ipywidgets.interact(show, **controls)


def has_front_end() -> bool:
    """Whether a person may be there to move a slider: not where a notebook is run as a whole, by a test, say."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return (
        "JPY_SESSION_NAME" in os.environ  # JupyterLab, Notebook, Binder
        or "google.colab" in sys.modules
        or os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Interactive"
        or "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})  # VS Code
    )
