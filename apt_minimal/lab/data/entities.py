"""Named entities in IOB2 tags, and the score over them."""

from collections.abc import Sequence


def entities(tags: Sequence[str], lenient: bool = False) -> list[tuple[str, int, int]]:
    """The entities that a sequence of IOB2 tags spells: (type, start, end), end exclusive.

    An entity begins with B- and goes on with I- of the same type. An I- that continues nothing begins nothing; read
    leniently, it begins an entity.
    """
    found, start = [], None
    for i, tag in enumerate([*tags, "O"]):
        if start is not None and tag != "I-" + tags[start][2:]:
            found.append((tags[start][2:], start, i))
            start = None
        if tag.startswith("B-") or lenient and start is None and tag != "O":
            start = i
    return found


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], lenient: bool = False
) -> dict[str, float]:
    """Micro-averaged precision, recall and F1: an entity counts if type, start and end all agree.

    Strict, it equals seqeval's mode="strict", scheme=IOB2; lenient, seqeval's default, which gives other numbers.

    Args:
        gold, predicted: one sequence of IOB2 tags for each sentence, of equal lengths.
        lenient: how both are read; see `entities`.

    Returns:
        "f1", "precision" and "recall", each between 0 and 1; 0 where nothing was predicted or nothing is there.

    Raises:
        ValueError: a sentence has another number of predicted tags than of words.
    """
    for i, (sentence, tags) in enumerate(zip(gold, predicted, strict=True)):
        if len(sentence) != len(tags):
            raise ValueError(f"sentence {i} has {len(sentence)} words but {len(tags)} predicted tags")
    right = {(i, *entity) for i, tags in enumerate(gold) for entity in entities(tags, lenient)}
    guessed = {(i, *entity) for i, tags in enumerate(predicted) for entity in entities(tags, lenient)}
    hits = len(right & guessed)
    precision, recall = hits / max(len(guessed), 1), hits / max(len(right), 1)
    return {"f1": 2 * hits / max(len(right) + len(guessed), 1), "precision": precision, "recall": recall}


def check_iob2(tags: Sequence[str]) -> None:
    """Raise ValueError, naming the word's number and the tag, unless the tags are well-formed IOB2."""
    previous = "O"
    for i, tag in enumerate(tags, start=1):
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            raise ValueError(f"word {i} has the tag {tag!r}; tags are O, B-<type> or I-<type>")
        if tag.startswith("I-") and previous[1:] != tag[1:]:
            raise ValueError(f"word {i} has the tag {tag!r} after {previous!r}; in IOB2 every entity begins with B-")
        previous = tag
