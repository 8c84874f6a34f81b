"""Figures that move."""

import ipywidgets
import pytest

from apt_minimal.course import slide

HOSTS = ("JPY_SESSION_NAME", "KAGGLE_KERNEL_RUN_TYPE")


@pytest.fixture
def shown(monkeypatch):
    """The values with which a figure was drawn, outside any front end."""
    for name in HOSTS:
        monkeypatch.delenv(name, raising=False)
    return []


def test_without_a_front_end_the_figure_is_drawn_once_at_the_controls_start(shown):
    slide(lambda **values: shown.append(values), score=(-4.0, 4.0, 0.5), layer=(1, 6, 3), head=["all", "1"])
    assert shown == [{"score": 0.5, "layer": 3, "head": "all"}]


@pytest.mark.parametrize("host", HOSTS)
def test_in_a_front_end_there_is_a_control_for_each_argument(shown, host, monkeypatch):
    monkeypatch.setenv(host, "Interactive")
    given = {}
    monkeypatch.setattr(ipywidgets, "interact", lambda show, **controls: given.update(controls))
    slide(lambda **values: shown.append(values), score=(-4.0, 4.0, 0.5), layer=(1, 6, 3), masked=True)
    assert shown == [] and given["masked"] is True
    assert (type(given["layer"]), given["layer"].value) == (ipywidgets.IntSlider, 3)
    assert (given["score"].min, given["score"].max, given["score"].value) == (-4.0, 4.0, 0.5)
