"""Tables from lines and prediction files: against hand computation, with missing and diverged runs said."""

import numpy as np
import pytest

from apt_minimal.lab.intervals import difference_interval, score_interval
from apt_minimal.lab.lines import write_line
from apt_minimal.lab.results import difference_table, load_recording, score_table

GRID = """
backbone = "b"
seeds = [1, 2, 3]
settings = ["full"]
[train]
[search]
seeds = [0]
max_steps = 20
[methods]
majority = []
lora = [1e-3, 1e-2]
p_tuning_v2 = [1e-2]
apt = [1e-2, 2e-2, 3e-2]
[tasks.mine]
[tasks.other]
"""
RIGHT = {"majority": 0.5, "lora": 0.5, "apt": 0.8}


@pytest.fixture
def file(tmp_path):
    """A recording: on "mine" all of majority and APT, LoRA with one seed diverged; nothing else."""
    rng = np.random.default_rng(1)
    file = tmp_path / "grid.toml"
    file.write_text(GRID)
    for method, chance in RIGHT.items():
        for seed in (1, 2, 3):
            run = {"task": "mine", "setting": "full", "method": method, "purpose": "final", "seed": seed}
            line = {"run": run | {"train": {"learning_rate": 2e-2 if method == "apt" else 1e-2}}, "metric": "accuracy"}
            counts = {split: [[int(r), 1] for r in rng.random(200) < chance] for split in ("dev", "dev_best")}
            line |= {split: {"accuracy": sum(r for r, _ in counts[split]) / 200} for split in counts}
            line |= {"minutes": 2.0, "trained_parameters": 7, "gates": {"alpha_spread": [[0.1, 0.2], [0.0, seed / 10]]}}
            if (method, seed) == ("lora", 3):
                line, counts = {"run": line["run"], "metric": "accuracy", "failed": "nan", "minutes": 1.0}, {}
            write_line(tmp_path / "grid" / "mine.jsonl", line, {"predictions": {}, "counts": counts})
    return file


def test_scores_are_those_of_the_predictions_with_their_interval(file):
    recording = load_recording(file)
    table = score_table(recording)
    expected = score_interval(recording.counts("mine", "full", "apt", "dev"))
    assert sorted(recording.counts("mine", "full", "apt", "dev")) == [1, 2, 3]
    row = table.loc["mine", "APT"]
    assert list(row[["dev", "low", "high"]]) == pytest.approx(
        [100 * expected.mean, 100 * expected.low, 100 * expected.high]
    )
    assert row["dev_best"] == pytest.approx(
        np.mean([100 * line["dev_best"]["accuracy"] for line in recording.of("mine", "full", "apt")])
    )
    assert np.isnan(row["test"]) and row["alpha spread"] == pytest.approx((0.2 + 0.2 + 0.3) / 3)
    assert (row["rate"], row["edge"], row["seeds"]) == (2e-2, "", "3 of 3")


def test_majority_stands_beside_every_score_and_missing_runs_are_said(file):
    table = score_table(load_recording(file))
    assert list(table.index) == [
        (t, m) for t in ("mine", "other") for m in ("majority label", "LoRA", "P-tuning v2", "APT")
    ]
    assert table.loc["mine"]["majority"].nunique() == 1 and table.loc["mine"]["majority"].notna().all()
    assert table.loc[("mine", "LoRA"), "seeds"] == "2 of 3, 1 diverged"
    assert table.loc[("mine", "LoRA"), "edge"] == "highest"
    assert table.loc[("mine", "P-tuning v2"), "seeds"] == "0 of 3: missing"
    assert set(table.loc["other"]["seeds"]) == {"0 of 3: missing"}


def test_differences_are_paired_and_say_what_they_can(file):
    recording = load_recording(file)
    table = difference_table(recording)
    assert table.loc[("mine", "majority label"), "verdict"] == "higher"
    assert table.loc[("mine", "LoRA"), "seeds"] == 2
    assert table.loc[("mine", "P-tuning v2"), "verdict"].startswith("missing: 0 seeds in common")
    found = difference_interval(*(recording.counts("mine", "full", m, "dev") for m in ("lora", "majority")))
    row = difference_table(recording, method="lora").loc["mine", "majority label"]
    assert row["difference"] == pytest.approx(100 * found.mean)
    assert row["verdict"] == f"no difference seen; {100 * found.detectable:.1f} points would have been"


def test_a_line_that_its_predictions_contradict_is_named(file):
    results = file.with_suffix("") / "mine.jsonl"
    results.write_text(results.read_text().replace('"accuracy": 0.', '"accuracy": 0.0', 1))
    with pytest.raises(ValueError, match=r"majority-\w+\.json\.gz gives a dev score of .*, the line says 0\.0"):
        load_recording(file)


def test_a_missing_grid_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.toml"):
        load_recording("nowhere")
