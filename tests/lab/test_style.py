"""The look of figures, which the first lesson loads at once: so it must load nothing but matplotlib."""

import subprocess
import sys

import pytest

from apt_minimal.lab.style import smoothed


def test_smoothed_is_a_running_mean():
    assert smoothed([4.0, 2.0, 6.0, 0.0], window=2) == pytest.approx([4.0, 3.0, 4.0, 3.0])


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("from apt_minimal.lab import heatmap, use_style", False),
        ("from apt_minimal.lab import COLORS, LABELS, heatmap", False),
        ("from apt_minimal.lab import score_table", True),  # what would be noticed
    ],
)
def test_colours_and_heat_maps_load_no_table_process_pool_or_pandas(statement, loaded):
    heavy = ("pandas", "apt_minimal.lab.experiments.tables", "concurrent.futures.process", "transformers.models")
    script = f"import sys; {statement}; print(*(name for name in {heavy} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert bool(found) is loaded, found
