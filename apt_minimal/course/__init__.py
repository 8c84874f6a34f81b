"""The course's exercises: `check_<name>(your_function)` says what is wrong with it, and returns whether it is right.

An exercise (`check.py`) stands in the module of its lesson: a solution, what to try an answer on, hints, and the usual
slips, each written as the wrong line. `judge.py` compares results, `report.py` prints. A lesson is imported when one of
its names is first used.
"""

from importlib import import_module
from typing import Any

_NAMES = (
    "attention masked_attention multi_head_attention telling_inputs look_back",
    "layer_norm embed layer pack position_ids",
    "prefix_attention prefix_mass undo_prefix can_a_prefix",
    "token_gate gate_prefix half_closed remove_tokens masked_mean reads_padding",
    "gated_prefix count_parameters unfold apt_attention plain_rate dead",
    "relative_error match_tokens canonical recoverable",
    "equal_sizes widen_mask gate_input",
    "macro_f1 choice_accuracy pick_scores detectable paired_counts",
    "align_labels entities strict_f1",
    "disjoint_draw expected_best curse seeds_needed",
    "attention_without effect rank_correlation lengths moved",
    "log_gated_attention chances upper_cost winner",
)
# number, such as "1.1" → name, such as "check_attention"
EXERCISES = {
    f"{lesson}.{place}": f"check_{name}"
    for lesson, names in enumerate(_NAMES, start=1)
    for place, name in enumerate(names.split(), start=1)
}

_OPTIONAL = {"check_plain_rate": "05b", "check_dead": "05b"}  # exercises of an optional half, whose numbers go on


def hint(number: str) -> None:
    """Print the next hint to an exercise, such as "1.1"."""
    if number not in EXERCISES:
        raise ValueError(f"there is no exercise {number!r}; there are {', '.join(EXERCISES)}")
    __getattr__(EXERCISES[number]).hint()


def progress() -> None:
    """Print a line for each lesson: which exercises are solved (✓) and which are not (○)."""
    from apt_minimal.course.state import all_solved

    for lesson in range(1, len(_NAMES) + 1):
        numbers = [number for number in EXERCISES if number.startswith(f"{lesson}.")]
        print(f"Lesson {lesson:02}  " + "  ".join(f"{'✓' if n in all_solved() else '○'} {n}" for n in numbers))


def __getattr__(name: str) -> Any:
    if name == "slide":
        from apt_minimal.course.moving import slide

        return slide
    for number, check in EXERCISES.items():
        if name == check:
            lesson = _OPTIONAL.get(name, f"{int(number.split('.')[0]):02}")
            return getattr(import_module(f"{__name__}.lesson_{lesson}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*EXERCISES.values(), "hint", "progress", "slide"]
