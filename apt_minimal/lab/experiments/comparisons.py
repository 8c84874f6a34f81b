"""Comparisons of two methods over tasks, rates and seeds, under three rules of selection: as docs/experiments.md plans.

A training is scored in three states. The last evaluation selects nothing and is the primary one; the evaluation that a
held-out tenth chose is what the earlier grids report; the best of all evaluations is the paper's rule, and optimistic.
What is missing, or was recorded in another way, is said beside a number and never filled in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from apt_minimal.lab.experiments.grid import methods_of, seeds_of
from apt_minimal.lab.experiments.intervals import (
    Counts,
    Interval,
    average_interval,
    holm,
    score_interval,
    seeds_interval,
)
from apt_minimal.lab.experiments.recordings import Recording
from apt_minimal.lab.experiments.records import RunRecord

LAST, HELD_OUT, BEST = "last evaluation", "held-out tenth", "best of all evaluations"
RULES = {LAST: ("last", "last_test"), HELD_OUT: ("dev", "test"), BEST: ("dev_best", "dev_best_test")}
# "plain" has no held-out tenth: there the development split chooses, and the test split is scored in that state.
PLAIN = {LAST: RULES[LAST], HELD_OUT: ("", ""), BEST: ("dev_best", "test")}
VARIES = 0.05  # a gate varies if its standard deviation over the inputs is above this
TWO_ANSWERS = ("boolq", "copa", "rte", "wic", "wsc")


@dataclass(frozen=True)
class Place:
    """Where runs of one task lie: a recording, and which split's scores are compared.

    Attributes:
        recording, task, setting: as in `Recording.of`.
        split: "dev" or "test".
    """

    recording: Recording
    task: str
    setting: str = "full"
    split: str = "dev"

    def named(self, method: str) -> dict[str, str]:
        """The grid's names of a method by learning rate; {"": method} where one rate was chosen or none is needed."""
        names = methods_of(self.recording.grid, self.task, self.setting)
        return {name.partition("~")[2]: name for name in names if name.partition("~")[0] == method}

    def records(self, name: str) -> list[RunRecord]:
        """The final runs of one name in a grid."""
        return self.recording.of(self.task, self.setting, name)

    def runs(self, method: str) -> list[RunRecord]:
        """The final runs of a method, at all of its rates where they are crossed with seeds."""
        return [record for name in self.named(method).values() for record in self.records(name)]

    def planned(self, name: str) -> int:
        """How many seeds the grid asks for."""
        return len(seeds_of(self.recording.grid, self.task, self.setting)[name])

    def state(self, rule: str) -> str:
        """Under which name a record keeps the score that a rule reports; "" if the setting has none."""
        return (PLAIN if self.setting == "plain" else RULES)[rule][self.split == "test"]

    def counts(self, name: str, rule: str) -> Counts:
        """By seed, what each example adds to the score that a rule reports."""
        return self.recording.counts(self.task, self.setting, name, self.state(rule))

    def last_scores(self, name: str) -> dict[int, float]:
        """By seed, the development score of the last evaluation out of the curves that every record keeps."""
        if self.split == "test":
            return {}
        key = "scores" if self.setting == "plain" else "watched_scores"
        return {r.spec.seed: r.history[key][-1] for r in self.records(name) if r.history.get(key)}


@dataclass(frozen=True)
class Comparison:
    """How much one method scores above another.

    Attributes:
        interval: None where nothing can be said.
        seeds, planned: how many seeds both have, and how many the grid asks for.
        rates: the learning rates that were averaged over; empty where each method ran at a rate of its own.
        notes: what is missing, or recorded otherwise.
        precision: the numbers that the runs were computed with.
        void: tasks on which neither method is above the majority label: there the comparison says nothing.
    """

    interval: Interval | None
    seeds: int
    planned: int
    rates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = ""
    void: tuple[str, ...] = ()

    def row(self) -> dict:
        """Its part of a table's row, in points."""
        found = self.interval
        numbers = [100 * x for x in (found.mean, found.low, found.high)] if found else [np.nan] * 3
        return dict(zip(("difference", "low", "high"), numbers, strict=True)) | {
            "p": found.p if found else np.nan,
            "seeds": f"{self.seeds} of {self.planned}",
            "precision": self.precision,
        }


def compare(places: Sequence[Place], method: str, other: str, rule: str = LAST, rate: str | None = None) -> Comparison:
    """How much a method scores above another, averaged over places with equal weights.

    Where a grid crosses rates with seeds, both are taken at equal rates and averaged over them. The same seeds are used
    in all places and at all rates. The last evaluation of earlier recordings has no predictions, only scores; then the
    interval holds for other seeds only, and a note says so.

    Args:
        places: one for each task.
        method, other: names without a rate.
        rule: one of `RULES`.
        rate: only this one of the crossed rates.
    """
    if not places:
        return Comparison(None, 0, 0, notes=("missing: no such runs",))
    pairs = [_pairs(place, method, other, rate) for place in places]
    planned = min((place.planned(n) for place, of in zip(places, pairs, strict=True) for p in of for n in p), default=0)
    if missing := [place.task for place, of in zip(places, pairs, strict=True) if not of]:
        return Comparison(None, 0, planned, notes=(f"missing: {', '.join(missing)} (not in the grid)",))
    found, seeds, notes = _interval(places, pairs, rule)
    records = [r for p, of in zip(places, pairs, strict=True) for two in of for name in two for r in p.records(name)]
    crossed = tuple(ours.partition("~")[2] for ours, _ in pairs[0] if "~" in ours)
    void = tuple(p.task for p, of in zip(places, pairs, strict=True) if found and _is_void(p, of, rule))
    if found and _unequal_rates(places, pairs):
        notes += ("at unequal learning rates",)
    return Comparison(found, seeds, planned, crossed, notes, precision_of(records), void)


def comparison_table(rows: Mapping[Any, Comparison]) -> pd.DataFrame:
    """One row for each comparison, in points; the rows are one family of tests, and "Holm" corrects their p-values.

    Columns: "difference", "low", "high" (95 %), "p", "Holm", "seeds" in common, "precision"; "said", what follows.
    """
    table = pd.DataFrame([one.row() for one in rows.values()], index=pd.Index(rows))
    table.insert(4, "Holm", holm(table["p"].tolist()))
    table["said"] = [said(one, p) for one, p in zip(rows.values(), table["Holm"], strict=True)]
    return table


def rules_table(places: Mapping[str, Sequence[Place]], method: str, other: str) -> pd.DataFrame:
    """One comparison over several sets of tasks, under each of the three rules: `comparison_table`, a row each."""
    rows = {(name, rule): compare(of, method, other, rule) for name, of in places.items() for rule in RULES}
    table = pd.concat([comparison_table({key: one}) for key, one in rows.items()])  # a family each: not corrected
    table.index = pd.MultiIndex.from_tuples(rows, names=["average over", "rule"])
    return table.drop(columns="Holm")


def said(comparison: Comparison, p: float | None = None) -> str:
    """What follows from a comparison, in words: which difference is shown or excluded, and the notes."""
    found, notes = comparison.interval, list(comparison.notes)
    if comparison.void:
        notes.append(f"void on {', '.join(comparison.void)}")
    words = [] if found is None or np.isnan(found.examples_sd) else [excluded(found, p)]
    return "; ".join(words + notes)


def excluded(found: Interval, p: float | None = None) -> str:
    """What an interval of a difference shows, or else excludes; `p` is its p-value after a correction, if any."""
    low, high = 100 * found.low, 100 * found.high
    if found.excludes_zero and (p is None or p < 0.05):
        return "higher" if found.mean > 0 else "lower"
    if low == high == 0:  # a constant answer in both, say: not a design of infinite precision
        return "no difference at all: every example scores the same in both"
    if found.excludes_zero:
        return "not shown after Holm's correction"
    gain = f"a gain above {high:.1f}" if high > 0 else "any gain"
    loss = f"a loss above {-low:.1f}" if low < 0 else "any loss"
    return f"no difference shown; {gain} and {loss} are excluded"


def share_varying(records: Iterable[RunRecord]) -> float:
    """The share of gates α whose standard deviation over inputs is above 0.05, mean over runs; NaN without gates."""
    shares = []
    for record in records:
        spreads = [one for layer in record.gates.get("alpha_spread", ()) for one in layer if one is not None]
        shares += [np.mean([one > VARIES for one in spreads])] if spreads else []
    return float(np.mean(shares)) if shares else float("nan")


def precision_of(records: Iterable[RunRecord]) -> str:
    """Which numbers runs were computed with; all kinds if there are several. Earlier records leave it to the device."""
    kinds = {r.precision or ("bf16 autocast" if "NVIDIA" in r.device else "float32") for r in records if r.spec.train}
    return " and ".join(sorted(kinds))


def hurdle(place: Place) -> float:
    """What a constant answer scores; of two answers the more frequent one. 0 without runs of the majority label."""
    scores = [r.score(place.split) for r in place.records("majority") if place.split in r.scores]
    if place.task in TWO_ANSWERS:  # the label may be another one with another seed
        scores = [max(score, 1 - score) for score in scores]
    return float(np.mean(scores)) if scores else 0.0


def _pairs(place: Place, method: str, other: str, rate: str | None) -> list[tuple[str, str]]:
    """The names to compare: at equal rates; a method with one chosen rate is held against every rate of the other."""
    ours, theirs = place.named(method), place.named(other)
    rates = [one for one in {**ours, **theirs} if one and rate in (None, one)] or [""]
    found = [(ours.get(one, ours.get("")), theirs.get(one, theirs.get(""))) for one in rates]
    return [(one, two) for one, two in found if one and two]


def _interval(places, pairs, rule: str) -> tuple[Interval | None, int, tuple[str, ...]]:
    """The interval, how many seeds it has, and notes."""
    signed = [[(w / len(of), n) for p in of for w, n in zip((1, -1), p, strict=True)] for of in pairs]
    if not all(place.state(rule) for place in places):
        return None, 0, ("this setting has no such rule",)
    terms = [[(w, p.counts(n, rule)) for w, n in of] for p, of in zip(places, signed, strict=True)]
    if len(seeds := _common(terms)) > 1:
        return average_interval(*terms), len(seeds), ()
    if rule == LAST:
        terms = [[(w, p.last_scores(n)) for w, n in of] for p, of in zip(places, signed, strict=True)]
        if len(seeds := _common(terms)) > 1:
            sums = {s: sum(w * scores[s] for of in terms for w, scores in of) / len(terms) for s in seeds}
            note = "over seeds only, so too narrow: the last evaluation's predictions were not kept"
            return seeds_interval(sums), len(seeds), (note,)
    return None, len(seeds), (_why_missing(places, pairs, seeds),)


def _common(terms) -> set[int]:
    return set.intersection(*(set(of_seed) for of in terms for _, of_seed in of))


def _why_missing(places, pairs, seeds) -> str:
    """Whether runs are missing, or only this rule's scores."""
    names = [(place, name) for place, of in zip(places, pairs, strict=True) for two in of for name in two]
    run = [{r.spec.seed for r in place.records(name)} for place, name in names]
    if len(set.intersection(*run)) > 1:
        return "not recorded: these runs kept no scores under this rule"
    short = dict.fromkeys(place.task for (place, _), seeds_run in zip(names, run, strict=True) if len(seeds_run) < 2)
    return f"missing: {len(seeds)} seeds in common, two are needed ({', '.join(short)})"


def _unequal_rates(places, pairs) -> bool:
    """Whether two methods with prefixes ran at rates of their own (those of other methods mean something else)."""
    for place, of in zip(places, pairs, strict=True):
        records = [[r for name in names for r in place.records(name)] for names in zip(*of, strict=True)]
        rates = [{r.spec.learning_rate for r in these if (r.spec.settings or {}).get("config")} for these in records]
        if rates[0] and rates[1] and rates[0] != rates[1]:
            return True
    return False


def _is_void(place: Place, pairs, rule: str) -> bool:
    """Whether neither of the two methods is above the majority label, with its interval, at any rate."""
    names = [name for names in pairs for name in names]
    counts = [place.counts(name, rule) or place.counts(name, HELD_OUT) for name in names]
    return not any(one and score_interval(one).low > hurdle(place) for one in counts)
