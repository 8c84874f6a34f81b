"""Checkers for the exercises, one module a lesson: where an answer is wrong, they say what is wrong with it.

Each takes the reader's function, tries it on inputs that are built to uncover mistakes, and where it fails compares it
with the usual ones. It prints one line and returns whether the function is right.

Begin with `checking.py`, which judges. The other modules are long, since what they hold is lists: of inputs to try, and
of usual mistakes with what to say about each.
"""

from apt_minimal.lab.exercises.attention import *  # noqa: F403
from apt_minimal.lab.exercises.bert import *  # noqa: F403
from apt_minimal.lab.exercises.beyond import *  # noqa: F403
from apt_minimal.lab.exercises.encoder import *  # noqa: F403
from apt_minimal.lab.exercises.few_shot import *  # noqa: F403
from apt_minimal.lab.exercises.layer_gate import *  # noqa: F403
from apt_minimal.lab.exercises.ner import *  # noqa: F403
from apt_minimal.lab.exercises.planted_gates import *  # noqa: F403
from apt_minimal.lab.exercises.prefix import *  # noqa: F403
from apt_minimal.lab.exercises.reading_gates import *  # noqa: F403
from apt_minimal.lab.exercises.superglue import *  # noqa: F403
from apt_minimal.lab.exercises.token_gate import *  # noqa: F403
