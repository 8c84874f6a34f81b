"""Lesson 09: named entities."""

from collections.abc import Callable, Sequence

from apt_minimal.course.checking import check
from apt_minimal.lab.data.entities import entities, entity_scores

__all__ = ["check_align_labels", "check_entities", "check_strict_f1"]


def check_align_labels(answer: Callable[[Sequence[int | None], Sequence[int]], list[int]]) -> bool:
    """Exercise 9.1: answer(word_ids, tags) puts each word's tag on its first sub-token, -100 everywhere else."""

    def align(word_ids: Sequence[int | None], tags: Sequence[int]) -> list[int]:
        firsts = [word is not None and word not in word_ids[:i] for i, word in enumerate(word_ids)]
        return [tags[word] if first else -100 for word, first in zip(word_ids, firsts, strict=True)]

    trials = [
        ("special tokens (word None) are no words: they get -100", ([None, 0, 1, None], [5, 3])),
        ("only a word's first sub-token has its tag, the others -100", ([None, 0, 0, 0, 1, None], [5, 3])),
        ("padding (word None) gets -100 too", ([None, 0, 1, 1, None, None, None], [4, 4])),
        ("a word may have no sub-token at all: use the word's number, don't count", ([None, 1, 1, 2, None], [4, 1, 2])),
    ]
    return check(answer, align, trials)


def check_entities(answer: Callable[[Sequence[str]], set[tuple[str, int, int]]]) -> bool:
    """Exercise 9.2: answer(tags) is the set of strict IOB2 entities, (type, start, end), end exclusive."""
    trials = [
        ("an entity is (type, start, end), and its end is exclusive", "O B-Loc I-Loc O"),
        ("an entity may last to the end of the sentence", "O O B-Peop I-Peop"),
        ("B- begins a new entity, also right after another one of its type", "B-Loc B-Loc I-Loc O"),
        ("I- goes on only with an entity of its own type", "B-Loc I-Org O"),
        ("read strictly, an I- that continues nothing begins nothing", "O I-Peop I-Peop O B-Org"),
        ("there may be no entity", "O O"),
        ("there may be several", "B-Peop I-Peop O B-Loc O B-Org I-Org I-Org"),
    ]
    return check(
        lambda tags: set(answer(tags)), lambda tags: set(entities(tags)), [(h, (tags.split(),)) for h, tags in trials]
    )


def check_strict_f1(answer: Callable[[list[list[str]], list[list[str]]], float]) -> bool:
    """Exercise 9.3: answer(gold, predicted) is the strict micro F1 over all sentences."""
    cases = [
        ("an entity with the wrong end is a miss and a false alarm", ["B-Loc I-Loc O"], ["B-Loc O O"]),
        ("the type must agree as well", ["B-Loc O B-Org"], ["B-Org O B-Org"]),
        ("F1 is over entities; right O tags earn nothing", ["O O O O B-Loc"], ["O O O O O"]),
        ("entities of different sentences must not be mixed up", ["B-Loc O", "O O"], ["O O", "B-Loc O"]),
        (
            "micro: count over all sentences first, then divide (macro averages the sentences' F1s)",
            ["B-Loc B-Loc B-Loc", "B-Org O O"],
            ["B-Loc B-Loc B-Loc", "O O B-Org"],
        ),
        ("precision and recall differ; F1 is their harmonic mean", ["B-Loc B-Org B-Loc O"], ["B-Loc O O O"]),
        ("where nothing was predicted and nothing is there, say 0", ["O O"], ["O O"]),
    ]
    trials = [(hint, ([s.split() for s in gold], [s.split() for s in predicted])) for hint, gold, predicted in cases]
    return check(answer, lambda gold, predicted: entity_scores(gold, predicted)["f1"], trials)
