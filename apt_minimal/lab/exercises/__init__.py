"""Checkers for the exercises, one module a lesson: where an answer is wrong, they say what is wrong with it.

Each takes the reader's function and tries it on inputs of which each is built to uncover one usual mistake. It prints
one line and returns whether the function is right.
"""

from apt_minimal.lab.exercises.bert import check_equal_sizes, check_gate_input, check_widen_mask
from apt_minimal.lab.exercises.ner import check_align_labels, check_entities, check_strict_f1

__all__ = [
    "check_align_labels",
    "check_entities",
    "check_equal_sizes",
    "check_gate_input",
    "check_strict_f1",
    "check_widen_mask",
]
