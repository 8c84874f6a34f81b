"""Checkers for the exercises, one module a lesson: where an answer is wrong, they say what is wrong with it.

Each takes the reader's function, tries it on inputs that are built to uncover mistakes, and where it fails compares it
with the usual ones. It prints one line and returns whether the function is right.

Begin with `checking.py`, which judges. The other modules are long, since what they hold is lists: of inputs to try, and
of usual mistakes with what to say about each.
"""

from apt_minimal.course.lesson_01 import *  # noqa: F403
from apt_minimal.course.lesson_02 import *  # noqa: F403
from apt_minimal.course.lesson_03 import *  # noqa: F403
from apt_minimal.course.lesson_04 import *  # noqa: F403
from apt_minimal.course.lesson_05 import *  # noqa: F403
from apt_minimal.course.lesson_06 import *  # noqa: F403
from apt_minimal.course.lesson_07 import *  # noqa: F403
from apt_minimal.course.lesson_08 import *  # noqa: F403
from apt_minimal.course.lesson_09 import *  # noqa: F403
from apt_minimal.course.lesson_10 import *  # noqa: F403
from apt_minimal.course.lesson_11 import *  # noqa: F403
from apt_minimal.course.lesson_12 import *  # noqa: F403
