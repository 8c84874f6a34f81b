"""How a task is cut for an experiment: who trains, who chooses the epoch, and whose score is reported."""

import random
from dataclasses import replace

from apt_minimal.lab.data.tasks import Example, Task

DRAWS = 1000  # how often `few_shot` draws before it says that k is too small


def num_shots(setting: str) -> int:
    """How many training examples a setting draws: 16 for "16-shot"; 0 where all of the training data is used.

    Raises:
        ValueError: no such setting.
    """
    number = setting.removesuffix("-shot")
    if setting in ("full", "plain") or (number != setting and number.isdecimal() and int(number) > 0):
        return 0 if setting in ("full", "plain") else int(number)
    raise ValueError(f'the setting is {setting!r}; it must be "full", "plain" or a number of shots such as "16-shot"')


def selection_split(setting: str) -> str:
    """The split that chooses learning rate and epoch in a setting."""
    return "dev_best" if setting == "plain" else "held_out"


def reported_split(setting: str) -> str:
    """The split whose score is reported in a setting."""
    return "test" if setting == "plain" else "dev"


def apply_setting(task: Task, setting: str, seed: int) -> tuple[Task, dict[str, list[Example]]]:
    """Cut a task as a setting wants it: say who trains, who chooses and whose score is reported.

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
    if k := num_shots(setting):
        drawn = few_shot(task, k, seed)
        return drawn, {"held_out": drawn.validation, "dev": task.validation}
    held = hold_out(task, seed)
    return held, {"held_out": held.validation, "dev": task.validation} | test


def few_shot(task: Task, k: int, seed: int) -> Task:
    """Draw k training and k other development examples from a task's training data.

    The draw is plainly random, not stratified: k examples in all, not k for each label. Only where a label is missing
    from one of the two sets it is drawn again, as nothing can be learned about a label that is not there. For kind
    "token" nothing is asked for: 16 sentences can't hold every type of entity.

    Args:
        task: any task; its own splits stay as they are.
        k: number of examples in each of the two sets.
        seed: decides the draw; another seed gives another training set and another development set.

    Returns:
        The same task with the two sets as train and validation, and the whole validation split as test. (A test split
        of the task's own is not used; it stays in `task.test`.)

    Raises:
        ValueError: there are fewer than 2 k training examples, or k is too small to hold every label.
    """
    if not 0 < 2 * k <= len(task.train):
        there = f"{task.name} has {len(task.train)} training examples"
        raise ValueError(f"k is {k}; {there}, of which 2 k are drawn: k may be 1 to {len(task.train) // 2}")
    rng = random.Random(seed)
    for _ in range(DRAWS):
        drawn = rng.sample(task.train, 2 * k)
        train, validation = drawn[:k], drawn[k:]
        if task.kind == "token" or _labels(train) == _labels(validation) == _labels(task.train):
            where = f"{task.source}; {k} training and {k} development examples, drawn with seed {seed}"
            return replace(task, train=train, validation=validation, test=task.validation, source=where)
    raise ValueError(
        f"k is {k}; in {DRAWS} draws one of {task.name}'s {len(_labels(task.train))} labels was missing: draw more"
    )


def hold_out(task: Task, seed: int) -> Task:
    """Hold back a tenth of the training data, so that what chooses the epoch is not what is reported.

    Args:
        task: any task; its own splits stay as they are.
        seed: decides which tenth.

    Returns:
        The same task with nine tenths as train, the drawn tenth as validation, and the whole validation split as test.
        (A test split of the task's own stays in `task.test`.)

    Raises:
        ValueError: there are fewer than 10 training examples.
    """
    tenth = len(task.train) // 10
    if tenth == 0:
        raise ValueError(f"{task.name} has {len(task.train)} training examples; a tenth can be held back from 10 on")
    drawn = random.Random(seed).sample(task.train, len(task.train))
    where = f"{task.source}; a tenth of the training data held back, drawn with seed {seed}"
    return replace(task, train=drawn[tenth:], validation=drawn[:tenth], test=task.validation, source=where)


def _labels(examples: list[Example]) -> set[int | None]:
    return {example.label for example in examples}
