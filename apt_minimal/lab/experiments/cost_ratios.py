"""Ratios of a benchmark's lines, with intervals, and the goals that they are held against.

A ratio is the median of the rounds' ratios. Its interval holds the median of all rounds that could have been with a
probability of at least 95 %, whatever their distribution: it reaches from the k-th smallest round to the k-th largest,
with the largest k that allows this. With less than six rounds it is all that was seen.
"""

from dataclasses import dataclass
from math import comb
from statistics import median


@dataclass(frozen=True)
class Goal:
    """A ratio that was to be reached; of inputs with so many tokens, or as many as at the centre."""

    text: str
    measure: str
    method: str
    other: str
    most: float
    tokens: int | None = None


GOALS = [
    Goal("step: APT / floor", "step", "apt", "floor", 1.03),
    Goal("step: APT / peft's prefix tuning", "step", "apt", "peft_prefix", 0.97),
    Goal("inference: APT / plain model", "inference", "apt", "floor", 1.05),
    Goal("peak memory above the loaded model: APT / full fine-tuning", "memory", "apt", "full", 0.5),
    Goal("the same, activations computed again", "memory", "apt_recomputed", "full", 0.5),
    Goal("step: APT in bfloat16 / in float32", "step", "apt_bf16", "apt", 0.35, tokens=32),
    Goal("epoch: APT in bfloat16 / peft, padded to 128", "epoch", "apt_bf16", "peft_128", 0.12),
    Goal("epoch: APT in bfloat16 / peft, padded to the longest", "epoch", "apt_bf16", "peft_longest", 0.22),
]


@dataclass(frozen=True)
class Ratio:
    """A ratio's median, and its interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        between = "" if self.low == self.high else f" ({self.low:.3f} … {self.high:.3f})"
        return f"{self.middle:.3f}{between}"

    def verdict(self, most: float) -> str:
        """Whether it is at most `most`: said only where the whole interval says the same."""
        if self.high <= most:
            return "reached"
        return "not reached" if self.low > most else "undecided"


def ratio(row: dict | None, method: str, other: str) -> Ratio | None:
    """One method's values over another's, round by round; None where one is missing."""
    if row is None or not {method, other} <= row["values"].keys():
        return None
    pairs = zip(rounds_of(row["values"][method]), rounds_of(row["values"][other]), strict=True)
    found = sorted(a / b for a, b in pairs)
    below, k = 0.0, 0  # below: the probability that less than k + 1 of the rounds lie under the median
    while k < len(found) // 2 and (below := below + comb(len(found), k) / 2 ** len(found)) <= 0.025:
        k += 1
    k = max(k, 1)
    return Ratio(median(found), found[k - 1], found[-k])


def rounds_of(values: list | float) -> list:
    """A method's values, one for each round; peak memory is measured once."""
    return values if isinstance(values, list) else [values]
