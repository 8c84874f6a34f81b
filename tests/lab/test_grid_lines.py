"""Lines of a grid: which learning rate they choose."""

import pytest

from apt_minimal.lab.experiments import best_rate, main_score, read_lines


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
