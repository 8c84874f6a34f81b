"""Tables and intervals, computed from the lines of finished runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from apt_minimal.lab.experiments import read_results
from apt_minimal.lab.lines import main_score

LABELS = {
    "majority": "majority label",
    "bag_of_words": "words alone",
    "head_only": "head only",
    "full": "full fine-tuning",
    "lora": "LoRA",
    "p_tuning_v2": "P-tuning v2",
    "p_tuning_v2_shifted": "P-tuning v2, positions shifted",
    "p_tuning_v2_plus": "P-tuning v2, as many parameters as APT",
    "p_tuning_v2_star": "P-tuning v2, length by layer",
    "apt": "APT",
    "apt_no_token_gate": "APT without token gate",
    "apt_no_layer_gate": "APT without layer gate",
    "apt_no_hidden_state": "APT without hidden state",
    "apt_mean_gate": "APT, mean gate",
}
# Recorded runs lie in the repository, beside the package; a copy installed without it has none.
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def final_lines(name: str) -> list[dict]:
    """The lines of a recorded grid that count (its searches left out), from docs/results/<name>/.

    Raises:
        FileNotFoundError: no such recording.
    """
    lines = read_results(RESULTS / name)
    if not lines:
        raise FileNotFoundError(
            f"there are no lines in {RESULTS / name}; recordings lie in the repository's docs/results"
        )
    return [line for line in lines if line["run"]["purpose"] == "final" and "failed" not in line]


def scores(lines: list[dict], method: str, split: str = "test") -> dict[int, float]:
    """A method's score for each seed (seed None: a method without training)."""
    return {line["run"].get("seed"): main_score(line, split) for line in lines if line["run"]["method"] == method}


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval for the mean of a few independent values, by Student's t: mean ± t(n − 1) · s / √n.

    With five values a percentile bootstrap would cover only some 83 %; this covers 95 % of normal ones.

    Raises:
        ValueError: fewer than two values.
    """
    from scipy.stats import t

    if len(values) < 2:
        raise ValueError(f"{len(values)} values; an interval needs at least two")
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def summary(lines: list[dict], split: str = "test") -> pd.DataFrame:
    """One row for each method: mean score, standard deviation and 95 % interval over seeds, in percent."""
    rows = []
    for method, label in LABELS.items():
        of_method = [line for line in lines if line["run"]["method"] == method]
        if not of_method:
            continue
        values = 100 * np.array([main_score(line, split) for line in of_method])
        low, high = t_interval(values) if len(values) > 1 else (np.nan, np.nan)
        rows.append(
            {
                "method": label,
                "mean": values.mean(),
                "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                "low": low,
                "high": high,
                "seeds": len(values) if "seed" in of_method[0]["run"] else 0,
                "learning rate": of_method[0]["run"].get("train", {}).get("learning_rate", np.nan),
                "trained": of_method[0].get("trained_parameters", 0),
                "minutes": np.mean([line["minutes"] for line in of_method]),
            }
        )
    return pd.DataFrame(rows).set_index("method")


def paired_difference(lines: list[dict], method: str, other: str, split: str = "test") -> dict[str, float]:
    """How much a method scores above another, paired by seed, in percent points.

    Returns:
        "mean" difference; "low" and "high" of its 95 % t interval over seeds; "detectable", the interval's half
        width: a mean difference smaller than that would not have been told from 0 by these seeds.

    Raises:
        ValueError: the two have fewer than two seeds in common.
    """
    ours, theirs = scores(lines, method, split), scores(lines, other, split)
    differences = [100 * (ours[seed] - theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    low, high = t_interval(differences)
    return {"mean": float(np.mean(differences)), "low": low, "high": high, "detectable": (high - low) / 2}
