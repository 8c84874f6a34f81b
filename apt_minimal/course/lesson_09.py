"""Lesson 09: named entities."""

from statistics import fmean  # noqa: F401  slips use it, and entities

from apt_minimal.course.check import exercise
from apt_minimal.lab.data.entities import entities  # noqa: F401  a slip reads leniently with it


def align_labels(word_ids, tags):
    """Return each word's tag at its first sub-word, -100 everywhere else."""
    labels = []
    previous = None
    for word in word_ids:
        first = word is not None and word != previous
        label = tags[word] if first else -100
        labels.append(label)
        previous = word
    return labels


@exercise(align_labels)
def check_align_labels(draw):
    """
    ? How can you see, at a sub-word, that it is the first of its word?
    ? Remember the previous sub-word's word. If the word is another one and not None, its tag is tags[word].
    ? tags[word] if word is not None and word != previous else -100
    every sub-word gets its word's tag: only the first one has it, the others -100 → first = word is not None
    the tag belongs on the first sub-word, not the last →
        first = word is not None and word not in word_ids[len(labels) + 1 :]
    word 0 is a word, but `if word` is false for it → first = word and word != previous
    neighbours may have the same tag: compare words →
        first = word is not None and (previous is None or tags[word] != tags[previous])
    special tokens and padding have no word (None): they get -100, too → first = word != previous
    words are numbered from 0, as places in a list are: tags[word] → label = tags[word - 1] if first else -100
    words are numbered from 0: tags[word + 1] is the next word's → label = tags[word + 1] if first else -100
    words are counted, but one may have no sub-word → label = tags[sum(x != -100 for x in labels)] if first else -100
    what is not a first sub-word gets -100: 0 is a tag → label = tags[word] if first else 0
    it is -100 that the losses ignore, not 100 → label = tags[word] if first else 100
    these are the words' numbers: their tags are asked for → label = word if first else -100
    every sub-word needs a label, -100 where it isn't a first one → return [label for label in labels if label != -100]
    later sub-words need a label too, -100 →
        return [label for word, label in zip(word_ids, labels) if word is None or label != -100]
    special tokens and padding get -100, too: 0 is a tag → label = tags[word] if first else -100 * (word is not None)
    special tokens need a label too, -100 → return [label for word, label in zip(word_ids, labels) if word is not None]
    """
    short = [None, 0, 1, None], [5, 3]
    yield "one sub-word per word", *short
    yield "the same sentence again (nothing left over)", *short
    yield "words of several sub-words", [None, 0, 0, 0, 1, None], [5, 3]
    yield "padding", [None, 0, 1, 1, None, None, None], [4, 2]
    yield "neighbours with the same tag", [None, 0, 1, 1, 2, None], [6, 6, 6]
    yield "tag number 0", [None, 0, 0, 1, 2, None], [0, 7, 0]
    yield "a word without a sub-word", [None, 1, 1, 2, None], [4, 1, 2]


def find_entities(tags):
    """Return the set of strict IOB2 entities, (type, start, end), end exclusive."""
    found, kind, start = set(), None, None
    for i, tag in enumerate([*tags, "O"]):
        closes = kind is not None and tag != "I-" + str(kind)
        begins = tag.startswith("B-")
        if closes:
            entity = (kind, start, i)
            found.add(entity)
            kind = None
        if begins:
            kind, start = tag[2:], i
    return found


def _distinct(found, tags):
    """A list will do for a set, if no entity is in it twice."""
    return set(found) if isinstance(found, list | tuple) and len(set(found)) == len(found) else found


@exercise(find_entities, look=_distinct)
def check_entities(draw):
    """
    ? Walk over the tags: when is an entity open, and what closes it?
    ? Keep the open entity's type and start; whatever is no I- of this type closes it. An O behind the sentence helps.
    ? if start is not None and tag != "I-" + kind: add (kind, start, i), and nothing is open any more
    the end is exclusive: it is the place behind the entity's last word → entity = (kind, start, i - 1)
    an entity may last to the end of the sentence: yours is never closed there → for i, tag in enumerate(tags):
    B- begins a new entity, also behind one of its type →
        closes = kind is not None and tag[1:] != "-" + kind; begins = tag.startswith("B-") and tag[2:] != kind
    an I- goes on only with its own type → closes = kind is not None and tag[0] != "I"
    read strictly, an I- that continues nothing begins nothing → begins = tag not in ("O", f"I-{kind}")
    read strictly, an I- behind O begins nothing →
        begins = tag[0] == "B" or tag[0] == "I" and (i == 0 or tags[i - 1] == "O")
    read strictly, an I- of another type only closes → begins = tag[0] == "B" or tag[0] == "I" and closes
    an O closes the open entity →
        closes = kind is not None and tag not in ("O", "I-" + kind) or i == len(tags) and kind is not None
    an O closes the open entity: no I- goes on after the gap →
        closes = kind is not None and tag not in ("O", "I-" + kind) or i == len(tags) and kind is not None
        entity = (kind, start, max(j for j in range(start, i) if tags[j][1:] == tags[start][1:]) + 1)
    an I- of another type closes the entity for good →
        closes = kind is not None and not tag.startswith("I-")
        entity = (kind, start, max(j for j in range(start, i) if tags[j][1:] == tags[start][1:]) + 1)
    whatever is no I- of its type closes an entity for good: forget it there →
        closes = kind is not None and (tag[0] == "B" or i == len(tags))
        entity = (kind, start, max(j for j in range(start, i) if tags[j][1:] == tags[start][1:]) + 1)
    yours is open until the next B-: whatever is no I- of its type closes it →
        closes = kind is not None and (tag[0] == "B" or i == len(tags))
    an entity stays open after it was closed: reset what you remember of it → kind = kind  # not reset
    an I- belongs to the entity in front of it → closes = kind is not None
    a type may hold a hyphen (creative-work) →
        closes = kind is not None and (tag[:2] != "I-" or tag.split("-")[1] != kind); kind, start = tag.split("-")[1], i
    the type stands behind the B-: without these two characters → entity = ("B-" + kind, start, i)
    the order is (type, start, end) → entity = (start, i, kind)
    the type comes first, then start and end → entity = (start, i)
    words are counted from 0 → entity = (kind, start + 1, i + 1)
    """
    for tests, tags in {
        "an entity of two words": "O B-Loc I-Loc O",
        "an entity at the end": "O O B-Peop I-Peop",
        "an entity of one word at the end": "O B-Peop",
        "two neighbours of one type": "B-Loc B-Loc I-Loc O",
        "two neighbours of different types": "B-Loc I-Loc B-Org I-Org O",
        "an I- of another type": "B-Loc I-Org O",
        "an I- that continues nothing": "O I-Peop I-Peop O B-Org",
        "an I- after a gap": "B-Loc O I-Loc O",
        "an I- after one of another type": "B-Loc I-Org I-Loc",
        "no entity (none left over from other sentences)": "O O",
        "several entities": "B-Peop I-Peop O B-Loc O B-Org I-Org I-Org",
        "a type with a hyphen": "O B-creative-work I-creative-work B-work",
    }.items():
        yield tests, tags.split()


def strict_f1(gold, predicted):
    """Return the strict micro F1 over all sentences."""
    true = {(i, *entity) for i, tags in enumerate(gold) for entity in find_entities(tags)}
    guessed = {(i, *entity) for i, tags in enumerate(predicted) for entity in find_entities(tags)}
    hits = len(true & guessed)
    size = len(true) + len(guessed)
    return 2 * hits / max(size, 1)


def f1(gold, predicted, each):
    """F1 over what `each(i, tags)` finds in every sentence."""
    true, guessed = ({x for i, tags in enumerate(side) for x in each(i, tags)} for side in (gold, predicted))
    return 2 * len(true & guessed) / max(len(true) + len(guessed), 1)


def over_types(gold, predicted):
    """Gold and predicted tags for each type, with all other types' tags replaced by O."""
    kinds = {tag[2:] for tags in gold + predicted for tag in tags if tag != "O"}
    return [
        [[[t if t[2:] == kind else "O" for t in tags] for tags in side] for side in (gold, predicted)] for kind in kinds
    ]


@exercise(strict_f1)
def check_strict_f1(draw):
    """
    ? What must two entities of two lists have in common to be a hit?
    ? Make one set of all true entities and one of all predicted ones, with the sentence's number in each element.
    ? 2 * len(true & guessed) / (len(true) + len(guessed)), and 0 where both sets are empty
    this is lenient: read strictly, an I- that continues nothing begins nothing →
        return f1(gold, predicted, lambda i, tags: {(i, *entity) for entity in entities(tags, lenient=True)})
    an entity ends with its sentence: yours run on → return strict_f1([sum(gold, [])], [sum(predicted, [])])
    the same place in another sentence is another place: yours mixes the sentences up →
        return f1(gold, predicted, lambda i, tags: find_entities(tags))
    the type must agree as well → return f1(gold, predicted, lambda i, tags: {(i, *e[1:]) for e in find_entities(tags)})
    the end must agree as well → return f1(gold, predicted, lambda i, tags: {(i, *e[:2]) for e in find_entities(tags)})
    the start must agree as well →
        return f1(gold, predicted, lambda i, tags: {(i, e[0], e[2]) for e in find_entities(tags)})
    the place must agree as well, not only the type →
        return f1(gold, predicted, lambda i, tags: {(i, e[0]) for e in find_entities(tags)})
    this is macro over sentences: micro counts over all of them first, and then divides →
        return fmean(strict_f1([one], [other]) for one, other in zip(gold, predicted))
    this is macro over types: micro counts over all of them first, and then divides →
        return fmean([strict_f1(*sides) for sides in over_types(gold, predicted)] or [0.0])
    this is the accuracy over words: F1 is over entities, and right O tags earn nothing →
        return fmean(one == other for g, p in zip(gold, predicted) for one, other in zip(g, p))
    this is F1 over words: an entity with one wrong word is no hit →
        return f1(gold, predicted, lambda i, tags: {(i, j, tag) for j, tag in enumerate(tags) if tag != "O"})
    that is the Jaccard index: F1 is 2 · hits / (true + predicted) → size = 2 * len(true | guessed)
    F1 is 2 · hits / (true + predicted): yours is half of it → return hits / max(size, 1)
    that is the precision: F1 asks for what was missed too → return hits / max(len(guessed), 1)
    that is the recall: F1 asks for false alarms too → return hits / max(len(true), 1)
    F1 is the harmonic mean, not the plain one → return (hits / max(len(guessed), 1) + hits / max(len(true), 1)) / 2
    where nothing was predicted and nothing is there, the result is 0 → return 2 * hits / size if size else 1.0
    where nothing was predicted and nothing is there, you divide by 0 → return 2 * hits / size
    these are the hits: F1 is a share → return hits
    """
    for tests, gold, predicted in (
        ("a wrong end", ["B-Loc I-Loc O"], ["B-Loc O O"]),
        ("one of three entities found", ["B-Loc B-Org B-Loc O"], ["B-Loc O O O"]),
        ("one entity and two false alarms", ["B-Loc O O O"], ["B-Loc O B-Org B-Loc"]),
        ("a wrong type", ["B-Loc O B-Org B-Org"], ["B-Org O B-Org B-Org"]),
        ("a wrong start", ["O B-Loc I-Loc B-Org"], ["B-Loc I-Loc I-Loc B-Org"]),
        ("a sentence of O tags that are all right", ["O O O O B-Loc"], ["O O O O O"]),
        ("equal entities in different sentences", ["B-Loc O", "O B-Org"], ["O O", "B-Loc B-Org"]),
        ("sentences of different size", ["B-Loc B-Loc B-Loc", "B-Org O O"], ["B-Loc B-Loc B-Loc", "O O B-Org"]),
        ("types of different size", ["B-Loc B-Loc B-Loc O", "B-Org O O"], ["B-Loc B-Loc B-Loc B-Org", "O O O"]),
        ("an I- that continues nothing (strict)", ["O B-Loc", "B-Loc O"], ["O B-Loc", "I-Loc O"]),
        ("an I- of another type (strict)", ["B-Loc O", "B-Org O"], ["B-Loc I-Org", "B-Loc O"]),
        ("an I- at the beginning of a sentence", ["O B-Loc", "O B-Org"], ["O B-Loc", "I-Loc B-Org"]),
        ("nothing predicted and nothing there", ["O O"], ["O O"]),
    ):
        yield tests, *([tags.split() for tags in side] for side in (gold, predicted))
