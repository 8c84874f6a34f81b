"""The look of figures, which the first lesson loads at once: so it must load nothing but matplotlib."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from apt_minimal.lab.style import attention_map, smoothed

TOKENS = ["[CLS]", "bank", "river"]
WEIGHTS = np.array([[1.0, 0.0, 0.0], [0.2, 0.05, 0.75], [0.3, 0.3, 0.4]])


def test_smoothed_is_a_running_mean():
    assert smoothed([4.0, 2.0, 6.0, 0.0], window=2) == pytest.approx([4.0, 3.0, 4.0, 3.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("from apt_minimal.lab import COLORS, LABELS, heatmap, use_style", False),
        ("from apt_minimal.lab import score_table", True),  # what would be noticed
    ],
)
def test_colours_and_heat_maps_load_no_table_process_pool_or_pandas(statement, loaded):
    heavy = ("pandas", "apt_minimal.lab.experiments.tables", "concurrent.futures.process", "transformers.models")
    script = f"import sys; {statement}; print(*(name for name in {heavy} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert bool(found) is loaded, found


def test_an_attention_map_of_one_query_draws_its_lines_alone_as_thick_as_its_weights():
    axis = attention_map(WEIGHTS, TOKENS, query=1)
    assert [list(line.get_ydata()) for line in axis.lines] == [[1, 0], [1, 1], [1, 2]]
    widths = np.array([line.get_linewidth() for line in axis.lines])
    assert np.allclose(widths / widths.sum(), WEIGHTS[1])
    bold = [text.get_text().split()[0] for text in axis.texts if text.get_fontweight() == "bold"]
    assert bold == ["[CLS]", "bank", "river"]  # the one who looks, and the keys that get a fifth or more
    plt.close(axis.figure)


def test_without_a_query_an_attention_map_draws_all_into_the_axes_it_is_given():
    figure, axis = plt.subplots()
    assert attention_map(WEIGHTS, TOKENS, title="head 1", axis=axis) is axis
    assert len(axis.lines) == 9 and axis.get_title() == "head 1"
    plt.close(figure)


def test_an_attention_map_refuses_weights_of_several_heads():
    with pytest.raises(ValueError, match=r"weights are \[2, 3, 3\] for 3 tokens"):
        attention_map(np.stack([WEIGHTS, WEIGHTS]), TOKENS)
