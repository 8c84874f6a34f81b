"""Verdicts on the paper's claims: the rule case by case, the paper's figures, and claims that take new lines."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from apt_minimal.lab.experiments import claims
from apt_minimal.lab.experiments.claims import all_claims, claim_table, markdown, outcomes, verdict_on, weakest
from apt_minimal.lab.experiments.comparisons import BEST, HELD_OUT, LAST, Comparison, Place
from apt_minimal.lab.experiments.intervals import Interval
from apt_minimal.lab.experiments.recommend import evidence, recommendation

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def interval(low, high, p=None):
    """A made interval, in points."""
    shown = low > 0 or high < 0
    p = (0.01 if shown else 0.5) if p is None else p
    return Interval((low + high) / 200, low / 100, high / 100, 0.01, 0.01, 0.1, p)


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.6, 2.6, 0.01, "reproduced"),
        (2.0, 4.0, 0.01, "reproduced"),  # larger than the paper's 1.5, of its sign
        (-2.8, -0.7, 0.01, "opposite"),
        (-2.2, 0.8, 0.3, "excluded"),
        (-1.2, 2.4, 0.3, "not seen"),
        (0.6, 2.6, 0.06, "not seen"),  # Holm's correction took it back
        (-2.8, -0.7, 0.06, "excluded"),
    ],
)
def test_a_verdict_follows_from_the_interval(low, high, p, verdict):
    assert verdict_on(1.5, interval(low, high), p) == verdict


def test_a_claim_without_a_figure_cannot_be_excluded():
    assert verdict_on(math.nan, interval(-2.2, 0.8), 0.3) == "not seen"


def test_of_two_rules_the_weaker_verdict_holds():
    assert weakest(["opposite", "excluded"]) == "excluded" and weakest(["opposite", "opposite"]) == "opposite"
    assert weakest(["excluded", "reproduced"]) == weakest(["not seen", "opposite"]) == "not seen"


@pytest.fixture
def planted(monkeypatch):
    """Two claims of one family, whose comparisons are given in place of runs: (claim, rule) -> interval."""

    def planted(found, void=()):
        place = Place(None, "rte")
        two = [replace(all_claims()[0], text=name, method=name, places={"base": [place]}, tasks={}) for name in "ab"]

        def compare(places, method, other, rule):
            one = found.get((method, rule))
            return Comparison(one, 5, 5, void=void) if one else Comparison(None, 0, 5)

        monkeypatch.setattr(claims, "compare", compare)
        return [one.verdict for one in outcomes(two, "base")]

    return planted


def test_the_last_evaluation_decides_where_its_predictions_were_kept(planted):
    shown, lost = interval(0.5, 2.5), interval(-2.5, -0.5)
    assert planted({("a", LAST): shown, ("a", HELD_OUT): lost, ("a", BEST): lost}) == ["reproduced", "untested"]
    seeds_only = replace(shown, examples_sd=math.nan)
    assert planted({("a", LAST): seeds_only, ("a", HELD_OUT): lost, ("a", BEST): lost})[0] == "opposite"


def test_claims_of_one_family_are_corrected_together(planted):
    shown = interval(0.5, 2.5, p=0.04)
    assert planted({("a", LAST): shown})[0] == "reproduced"
    assert planted({("a", LAST): shown, ("b", LAST): interval(-1, 2)}) == ["not seen", "not seen"]


def test_where_neither_method_learns_a_comparison_is_void(planted):
    assert planted({("a", LAST): interval(0.5, 2.5)}, void=("rte",))[0] == "void"


@pytest.mark.slow
def test_the_papers_figures_are_those_of_its_table_or_of_a_quote():
    found = {claim.text: (claim.figure, claim.status) for claim in all_claims()}
    assert found["APT scores above P-tuning v2 on SuperGLUE, on average"] == (1.5, "recalled")
    assert found["APT scores above P-tuning v2 on SuperGLUE with BERT-large"] == (1.8, "second-hand")
    assert found["APT scores above full fine-tuning on SuperGLUE, on average"] == (2.1, "recalled")
    assert found["With 16 examples APT scores above full fine-tuning"] == (5.6, "recalled")
    small = all_claims()[0].tasks["small"]  # COPA, RTE, WiC and WSC: 2.6, 1.4, 1.7 and 1.5
    assert small == 1.8
    on_one_task = next(claim for claim in all_claims() if claim.text.startswith("The token gate helps on entities"))
    assert on_one_task.figure == 0.8 and math.isnan(on_one_task.tasks["small"])  # an average over three data sets


@pytest.mark.slow
def test_a_table_has_a_row_for_each_claim_and_says_what_was_not_run():
    table = claim_table()
    assert len(table) == len(all_claims())
    assert table.loc["APT scores above P-tuning v2 on CoNLL-2003", "verdict (small)"] == "untested"
    text = markdown(pd.DataFrame({"a": [1.25, math.nan, 5e-5], "b": ["x|y", "z", "w"]}))
    assert text == "| a | b |\n| --- | --- |\n| 1.2 | x\\|y |\n| – | z |\n| 5e-05 | w |"


# The recommendation


@pytest.mark.slow
def test_readme_recommends_what_the_recordings_say():
    flat = " ".join(README.split())
    assert [sentence for sentence in recommendation() if sentence not in flat] == []


@pytest.mark.slow
def test_the_recommendations_words_fit_its_intervals():
    found = evidence()
    for name in ("LoRA − APT", "LoRA − P-tuning v2", "prefix beside attention − P-tuning v2"):
        assert found[name].low > 0, f"{name} is called above"
    for name in ("full fine-tuning − LoRA", "APT − P-tuning v2"):
        assert not found[name].excludes_zero, f"{name} is called not shown"
