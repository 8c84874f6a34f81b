"""The paper's claims, one by one, with a verdict that follows from our intervals by a fixed rule.

    reproduced   a difference is shown: its interval leaves out 0, and does so after Holm's correction within its
                 family; and it has the paper's sign
    opposite     a difference is shown, and it has the other sign
    excluded     no such difference is shown, and the paper's figure, of the same tasks, lies outside the interval
    not seen     neither
    void         on none of the tasks is either method above the majority label: the comparison says nothing
    untested     no runs

The last evaluation decides where its predictions were kept. Earlier recordings kept those of two other rules. There the
verdict is what both rules support: of "opposite" and "excluded" the weaker, and of other pairs "not seen".
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from apt_minimal.lab.experiments.comparisons import BEST, HELD_OUT, LAST, Comparison, Place, compare
from apt_minimal.lab.experiments.intervals import Interval, holm
from apt_minimal.lab.experiments.recordings import RESULTS, recorded
from apt_minimal.lab.experiments.tables import paper_scores
from apt_minimal.lab.methods import LABELS

BACKBONES = ("small", "base")
UNTESTED = "untested"
# Differences on which we have seen the paper quoted (setting "gain" of paper.csv).
QUOTED = {("apt", "p_tuning_v2", "BERT-base", "ner_average"), ("apt", "p_tuning_v2", "BERT-large", "superglue_average")}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: that one method scores above another.

    Attributes:
        text: in our words.
        method, other: the names of the runs that are compared.
        figure: by how many points, in the paper; NaN where we don't know it.
        status: how we know the figure.
        places: for each backbone, where our runs lie; empty where there are none.
        family: claims whose tests are corrected together.
        stronger: what would make the verdict stronger.
        tasks: of an average, the paper's figure on our tasks, for each backbone; NaN unless all of them have cells.
    """

    text: str
    method: str
    other: str
    figure: float
    status: str
    places: Mapping[str, Sequence[Place]]
    family: str
    stronger: str
    tasks: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What our runs on one backbone say of a claim.

    Attributes:
        verdict: see above.
        comparisons: by rule of selection; empty where there are no runs.
        figure: the paper's, on the same tasks; NaN where it is not known on them.
    """

    verdict: str
    comparisons: Mapping[str, Comparison]
    figure: float

    @property
    def in_part_void(self) -> bool:
        """Whether on some of the tasks, but not on all, neither method is above the majority label."""
        return self.verdict not in ("void", UNTESTED) and any(one.void for one in self.comparisons.values())


def verdict_on(figure: float, found: Interval, p: float) -> str:
    """One interval's verdict on a claim that a difference is above 0.

    Args:
        figure: the paper's, in points; NaN where it is not known.
        found: our interval.
        p: its p-value after the correction.
    """
    if found.excludes_zero and p < 0.05:
        return "reproduced" if found.mean > 0 else "opposite"
    if figure < 100 * found.low or figure > 100 * found.high:
        return "excluded"
    return "not seen"


def weakest(verdicts: Sequence[str]) -> str:
    """What several rules of selection support together."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "excluded" if set(verdicts) == {"excluded", "opposite"} else "not seen"


def outcomes(claims: Sequence[Claim], backbone: str) -> list[Outcome]:
    """Each claim's outcome on a backbone, in the order of the claims."""
    compared = [_compared(claim, backbone) for claim in claims]
    deciding = [_deciding(of) for of in compared]
    adjusted: list[dict[str, float]] = [{} for _ in claims]
    for family in dict.fromkeys(claim.family for claim in claims):
        for rule in (LAST, HELD_OUT, BEST):
            members = [i for i, c in enumerate(claims) if c.family == family and rule in deciding[i]]
            p_values = holm([found.p if (found := compared[i][rule].interval) else np.nan for i in members])
            for i, p in zip(members, p_values, strict=True):
                adjusted[i][rule] = p
    return [_outcome(c, backbone, compared[i], adjusted[i]) for i, c in enumerate(claims)]


@cache
def all_claims() -> tuple[Claim, ...]:
    """The claims of docs/claims.toml, with the paper's figures out of paper.csv."""
    given = tomllib.loads((RESULTS.parent / "claims.toml").read_text(encoding="utf-8"))
    return tuple(_claim(entry, given["places"]) for entry in given["claims"])


def claim_table(claims: Sequence[Claim] | None = None) -> pd.DataFrame:
    """One row for each claim: the paper's figure and how we know it; on each backbone ours and a verdict."""
    claims = all_claims() if claims is None else claims
    table = pd.DataFrame({"claim": [c.text for c in claims], "paper": [_points(c.figure) for c in claims]})
    table["status"] = [c.status for c in claims]
    for backbone in BACKBONES:
        found = outcomes(claims, backbone)
        table[f"{backbone} backbone"] = [ours_in_words(one) for one in found]
        table[f"verdict ({backbone})"] = [one.verdict + ", in part void" * one.in_part_void for one in found]
    table["what would make it stronger"] = [c.stronger for c in claims]
    return table.set_index("claim")


def ours_in_words(outcome: Outcome) -> str:
    """Our differences with their intervals, rule by rule, and what has to be known about them."""
    parts, notes = [], []
    for rule, one in outcome.comparisons.items():
        if one.interval and not np.isnan(one.interval.examples_sd):
            low, high = _points(100 * one.interval.low), _points(100 * one.interval.high)
            void = f", void on {', '.join(one.void)}" if one.void else ""
            parts.append(f"{_points(100 * one.interval.mean)} ({low} … {high}) by the {rule}{void}")
            notes += [*one.notes, f"{one.seeds} seeds"]
    if parts and not np.isnan(outcome.figure):
        notes.append(f"held against {_points(outcome.figure)}")
    return "; ".join(parts + list(dict.fromkeys(notes))) or "no runs"


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, for a notebook's cell: one decimal, two digits of what is small, a dash where none is."""

    def shown(value) -> str:
        if isinstance(value, float):
            return "–" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 0.05 or value == 0 else f"{value:.2g}"
        return str(value).replace("|", "\\|")

    table = table.reset_index() if table.index.names != [None] else table
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[shown(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _points(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:+.1f}".replace("-", "−")


def _compared(claim: Claim, backbone: str) -> dict[str, Comparison]:
    places = claim.places.get(backbone, ())
    return {rule: compare(places, claim.method, claim.other, rule) for rule in (LAST, HELD_OUT, BEST) if places}


def _deciding(compared: Mapping[str, Comparison]) -> list[str]:
    """The rules that decide: the last evaluation if its predictions were kept, else both others."""
    kept = [r for r, one in compared.items() if one.interval and not np.isnan(one.interval.examples_sd)]
    return [LAST] if LAST in kept else kept


def _outcome(claim: Claim, backbone: str, compared, adjusted: Mapping[str, float]) -> Outcome:
    figure = claim.tasks.get(backbone, claim.figure)
    if not adjusted:
        return Outcome(UNTESTED, {}, figure)
    if all(len(compared[rule].void) == len(claim.places[backbone]) for rule in adjusted):
        return Outcome("void", compared, figure)
    verdicts = [verdict_on(figure, compared[rule].interval, p) for rule, p in adjusted.items()]
    return Outcome(weakest(verdicts), compared, figure)


def _claim(entry: dict, places: dict) -> Claim:
    where = {b: _first_with_runs(places[b][entry["on"]], entry) for b in BACKBONES} if "on" in entry else {}
    figure, status = _figure(entry)
    average = entry.get("paper", "").endswith("_average")
    tasks = {b: _on_tasks(entry, [p.task for p in of]) for b, of in where.items() if average and of}
    kept = {key: entry[key] for key in ("text", "method", "other", "stronger")}
    return Claim(**kept, figure=figure, status=status, places=where, family=entry.get("family", ""), tasks=tasks)


def _first_with_runs(alternatives: list[list[str]], entry: dict) -> list[Place]:
    """The first list of places with runs to compare; else none."""
    for names in alternatives:
        parts = [name.split("/") for name in names]
        found = [Place(recorded(recording), task, setting, split) for recording, task, setting, split in parts]
        if any(compare(found, entry["method"], entry["other"], rule).interval for rule in (LAST, HELD_OUT)):
            return found
    return []


def _figure(entry: dict) -> tuple[float, str]:
    """The paper's difference in points, and how we know it; where the paper is quoted on the difference, the quote."""
    if "paper" not in entry:
        return float("nan"), entry.get("status", "recalled, a figure without numbers")
    backbone, setting, task = entry["paper"].split("/")
    scores, (ours, theirs) = paper_scores(setting, backbone), _paper_methods(entry)
    if (entry["method"], entry["other"], backbone, task) in QUOTED:
        quote = paper_scores("gain", backbone).loc[task]
        return quote[LABELS["apt"]], quote["status"]
    return round(scores.loc[task, ours] - scores.loc[task, theirs], 1), scores.loc[task, "status"]


def _on_tasks(entry: dict, tasks: Sequence[str]) -> float:
    """An average's figure on these tasks alone; NaN unless the paper's table has all of their cells."""
    backbone, setting, _ = entry["paper"].split("/")
    scores, (ours, theirs) = paper_scores(setting, backbone), _paper_methods(entry)
    gains = (scores[ours] - scores[theirs]).reindex(tasks).to_numpy()
    return round(float(gains.mean()), 1)  # one NaN among them makes NaN


def _paper_methods(entry: dict) -> tuple[str, str]:
    """The two methods' names in the paper's table."""
    return LABELS[entry.get("paper_method", entry["method"])], LABELS[entry["other"]]
