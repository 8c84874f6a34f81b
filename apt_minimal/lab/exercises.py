"""Checkers for the exercises: where an answer is wrong, they say what is wrong with it.

Each takes the reader's function and tries it on inputs of which each is built to uncover one usual mistake. It prints
one line and returns whether the function is right.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from apt_minimal.gates import first_token
from apt_minimal.lab.entities import entities, entity_scores


def check_equal_sizes(answer: Callable[[int], tuple[int, int]]) -> bool:
    """Exercise 7.1: answer(l) is the prefix length of P-tuning v2, and the rank of LoRA on queries and values, that
    have as many parameters as APT with prefix length l (λ left out)."""
    mistakes = {
        "the other way round: first P-tuning v2's length, then LoRA's rank": lambda l: (3 * l // 4, 3 * l // 2),
        "P-tuning v2 has no W, so it needs a longer prefix for as many parameters": lambda l: (l, 3 * l // 4),
        "P-tuning v2 has two prefixes in a layer too, for keys and for values": lambda l: (3 * l, 3 * l // 4),
        "LoRA adapts two weights, of two matrices each: four blocks of d · r": lambda l: (3 * l // 2, 3 * l // 2),
        "LoRA has four blocks of d · r in a layer, not one": lambda l: (3 * l // 2, 3 * l),
        "for APT's gate a layer has W too: three blocks of l · d, not two": lambda l: (l, l // 2),
    }
    lengths = [(16,), (8,), (40,)]
    for mistake, formula in mistakes.items():
        if _agrees(answer, formula, lengths):
            return _say(False, mistake)
    hint = "count one layer: APT has P_k, P_v and W, each of l · d"
    return _check(answer, lambda l: (3 * l // 2, 3 * l // 4), [(hint, length) for length in lengths])


def check_widen_mask(answer: Callable[[Tensor, int], Tensor]) -> bool:
    """Exercise 7.2: answer(mask, l) adds l columns in front of a mask, into which every query may look."""
    real = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()[:, None, None, :]
    added = torch.zeros(real.shape).masked_fill(~real, torch.finfo(torch.float32).min)
    boolean = "in a boolean mask True means that a query may look, and the prefix stands in front of the input's keys"
    additive = "an additive mask is added to the scores: 0 is neutral, 1 lifts the prefix, a very low number hides it"
    every = "the mask's other sizes and its dtype must stay as they are"
    trials = [(boolean, (real, 3)), (boolean, (real, 1)), (additive, (added, 3)), (additive, (added, 1))]
    trials += [(every, (added.double().expand(2, 1, 4, 4), 2)), (every, (real.expand(2, 1, 4, 4), 2))]
    return _check(answer, lambda mask, l: F.pad(mask, (l, 0), value=mask.dtype == torch.bool), trials)


def check_gate_input(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 7.3: answer(hidden_states, attention_mask) is each example's first real token, [b, d]."""
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    none, right, left = [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]
    trials = [
        ("without padding it is position 0", (states, torch.tensor([none, none]))),
        ("padding on the right changes nothing: it is still position 0", (states, torch.tensor([right, none]))),
        (
            "with padding on the left it is the first 1 of the mask, not position 0",
            (states, torch.tensor([left, none])),
        ),
        ("both sides may be padded: counting the 0s doesn't help", (states, torch.tensor([[0, 1, 1, 0, 0], left]))),
        ("the mask may be boolean", (states, torch.tensor([left, right]).bool())),
    ]
    return _check(answer, first_token, trials)


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
    return _check(answer, align, trials)


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
    return _check(
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
    return _check(answer, lambda gold, predicted: entity_scores(gold, predicted)["f1"], trials)


def _check(answer: Callable, right: Callable, trials: list[tuple[str, tuple]]) -> bool:
    """Try an answer; the first trial on which it differs from the right function gives the diagnosis."""
    for hint, inputs in trials:
        try:
            # On a copy: an answer that changes its input must not spoil the comparison.
            given = answer(*deepcopy(inputs))
        except NotImplementedError:
            print("… not solved yet")
            return False
        except Exception as error:
            return _say(False, f"{type(error).__name__}: {error} (hint: {hint})")
        expected = right(*inputs)
        if fault := _difference(given, expected):
            return _say(False, f"{hint} ({fault})")
    return _say(True, "right")


def _difference(given, expected) -> str:
    """How a given value differs from the expected one; empty if it doesn't."""
    if given is None:
        return "your function returns None"
    if isinstance(expected, Tensor):
        if not isinstance(given, Tensor):
            return f"a tensor is expected, not {type(given).__name__}"
        if given.shape != expected.shape:
            return f"the shape is {list(given.shape)}, expected {list(expected.shape)}"
        if given.dtype != expected.dtype:
            return f"the dtype is {given.dtype}, expected {expected.dtype}"
        return "" if torch.allclose(given, expected) else "the values differ"
    if isinstance(expected, list | tuple) and isinstance(given, list | tuple | Tensor):
        given = type(expected)(given.tolist() if isinstance(given, Tensor) else given)
    if isinstance(expected, float):
        same = isinstance(given, int | float) and abs(given - expected) < 1e-9
    else:
        same = given == expected
    return "" if same else f"got {given}, expected {expected}"


def _agrees(answer: Callable, formula: Callable, inputs: list[tuple]) -> bool:
    try:
        return all(tuple(answer(*one)) == formula(*one) for one in inputs)
    except Exception:
        return False  # reported by the checks that follow


def _say(right: bool, message: str) -> bool:
    print(("✓ " if right else "✗ ") + message)
    return right
