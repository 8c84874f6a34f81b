"""How long a grid takes on many machines: a bound that holds, and the page's table."""

import heapq
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apt_minimal.lab.experiments.scaling import hours, scaling_table

MINUTES = st.lists(st.floats(0.1, 60), min_size=1, max_size=30)


@given(MINUTES, MINUTES, st.integers(1, 20))
def test_no_order_of_the_runs_takes_longer_than_is_said(searches, finals, workers):
    took = 0.0
    for runs in (searches, finals):
        free = [0.0] * workers
        for minutes in runs:  # by whoever is free first
            heapq.heapreplace(free, free[0] + minutes)
        took += max(free)
    said = 60 * hours(sum(searches + finals), max(searches + finals), workers)
    assert max(sum(searches + finals) / workers, max(searches + finals)) <= took * (1 + 1e-9) <= said * (1 + 2e-9)


@pytest.mark.slow
def test_the_page_holds_what_is_computed():
    page = Path(__file__).parents[3] / "docs/experiments.md"
    assert scaling_table() in page.read_text(encoding="utf-8")
