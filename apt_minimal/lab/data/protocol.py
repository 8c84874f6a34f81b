"""Who trains, who chooses and who counts: the settings in which a method is judged."""

from apt_minimal.lab.data.splits import few_shot, hold_out
from apt_minimal.lab.data.tasks import Example, Task


def shots(setting: str) -> int:
    """How many training examples a setting draws: 16 for "16-shot"; 0 where all of the training data is used.

    Raises:
        ValueError: no such setting.
    """
    number = setting.removesuffix("-shot")
    if setting in ("full", "plain") or (number != setting and number.isdecimal() and int(number) > 0):
        return 0 if setting in ("full", "plain") else int(number)
    raise ValueError(f'the setting is {setting!r}; it must be "full", "plain" or a number of shots such as "16-shot"')


def chooser(setting: str) -> str:
    """The split that chooses learning rate and epoch in a setting."""
    return "dev_best" if setting == "plain" else "held_out"


def counted(setting: str) -> str:
    """The split whose score counts in a setting."""
    return "test" if setting == "plain" else "dev"


def cut(task: Task, setting: str, seed: int) -> tuple[Task, dict[str, list[Example]]]:
    """Say who trains, who chooses and who counts.

    "full": nine tenths of the training data train, a tenth drawn by the seed ("held_out") chooses the epoch; the
    development split ("dev") is scored at that epoch, and where there is a "test" split, it too. "16-shot": 16 drawn
    examples train, 16 others ("held_out") choose, "dev" counts. "plain": all training data trains, the development
    split chooses and so is optimistic ("dev_best"), "test" counts.

    Args:
        task: as it was loaded.
        setting: one of these.
        seed: decides what is held out or drawn.

    Returns:
        The task to train on, whose validation split chooses, and the examples to score in the chosen state, by split.

    Raises:
        ValueError: "plain" without a test split, or too few examples to draw from.
    """
    test = {"test": task.test} if task.test else {}
    if setting == "plain":
        if not task.test:
            raise ValueError(f'"plain" reports the test split, and {task.name} has none; use "full"')
        return task, {"dev_best": task.validation} | test
    if k := shots(setting):
        drawn = few_shot(task, k, seed)
        return drawn, {"held_out": drawn.validation, "dev": task.validation}
    held = hold_out(task, seed)
    return held, {"held_out": held.validation, "dev": task.validation} | test
