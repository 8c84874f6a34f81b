"""Checkers for the exercises, one module a lesson: where an answer is wrong, they say what is wrong with it.

Each takes the reader's function and tries it on inputs of which each is built to uncover one usual mistake. It prints
one line and returns whether the function is right.
"""

from apt_minimal.lab.exercises.attention import *  # noqa: F403
from apt_minimal.lab.exercises.bert import *  # noqa: F403
from apt_minimal.lab.exercises.encoder import *  # noqa: F403
from apt_minimal.lab.exercises.layer_gate import *  # noqa: F403
from apt_minimal.lab.exercises.ner import *  # noqa: F403
from apt_minimal.lab.exercises.planted_gates import *  # noqa: F403
from apt_minimal.lab.exercises.prefix import *  # noqa: F403
from apt_minimal.lab.exercises.token_gate import *  # noqa: F403
