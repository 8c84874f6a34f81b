"""Single runs of a grid and their lines: what the seed draws, what the data's hash covers, which rate is chosen."""

import pytest
from conftest import made_row

from apt_minimal.lab import experiments
from apt_minimal.lab.experiments import best_rate, main_score, read_lines
from apt_minimal.lab.training import History


def line(method, purpose, rate, validation, test=0.0):
    scores = {"validation": {"f1": validation, "recall": 1 - validation}, "test": {"f1": test}}
    return {"run": {"method": method, "purpose": purpose, "train": {"learning_rate": rate}}, "metric": "f1", **scores}


CHOICES = {
    "the best on validation": ([line("apt", "search", 1e-3, 0.1, 0.9), line("apt", "search", 1e-2, 0.2, 0.1)], 1e-2),
    "the lower of equals": ([line("apt", "search", rate, 0.5) for rate in (1e-2, 1e-3, 3e-3)], 1e-3),
    "not another method's": ([line("apt", "search", 1e-3, 0.1), line("lora", "search", 1e-2, 0.9)], 1e-3),
    "not a final run's": ([line("apt", "search", 1e-3, 0.1), line("apt", "final", 1e-2, 0.9)], 1e-3),
}


@pytest.mark.parametrize("case", CHOICES)
def test_the_learning_rate_that_is_chosen(case):
    lines, rate = CHOICES[case]
    assert best_rate(lines, "apt") == rate


def test_the_main_score_is_the_metrics():
    assert main_score(line("apt", "search", 1e-3, 0.3), "validation") == 0.3


def test_no_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "none.jsonl") == []


@pytest.fixture
def spec(backbone, monkeypatch):
    """A run's settings; its training is left out."""
    monkeypatch.setattr(experiments, "train", lambda *_, **__: History())

    def make(seed=1, purpose="final"):
        train = {"learning_rate": 1e-2, "max_steps": 10}
        settings = {"task": "mine", "method": "head_only", "purpose": purpose, "seed": seed}
        return {**settings, "backbone": backbone, "train": train}

    return make


def test_the_seed_draws_the_head(spec, make_task):
    first, again, other = (experiments.run(spec(seed), make_task())[1] for seed in (1, 1, 2))
    assert first == again != other


def test_the_backbone_of_a_line_is_the_same_for_every_seed(spec, make_task):
    first, other = (experiments.run(spec(seed), make_task())[0]["backbone_sha256"] for seed in (1, 2))
    assert first == other


@pytest.mark.parametrize("changed", ["train", "validation", "test"])
def test_the_hash_of_the_data_covers_every_split(changed, spec, write, tmp_path):
    splits = {split: [made_row("token", i) for i in range(3)] for split in ("train", "validation", "test")}
    hashes = []
    for rows in (splits, splits, {**splits, changed: splits[changed][:2]}):
        write("mine", **rows)
        hashes.append(experiments._one_line(spec(), str(tmp_path), "cpu")[0]["data_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]
