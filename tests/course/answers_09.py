"""Lesson 09: right answers in another style, and wrong ones that no slip names."""

import re

from apt_minimal import course
from apt_minimal.lab.data.entities import entities, entity_scores

# 9.1


def align_by_memory(word_ids, tags):
    seen = {None}
    return tuple(-100 if word in seen or seen.add(word) else tags[word] for word in word_ids)


def align_by_index(word_ids, tags):
    labels = [-100] * len(word_ids)
    for word, tag in enumerate(tags):
        if word in word_ids:
            labels[word_ids.index(word)] = tag
    return labels


def growing(word_ids, tags, labels=[]):  # noqa: B006
    for i, word in enumerate(word_ids):
        labels.append(-100 if word is None or word in word_ids[:i] else tags[word])
    return labels


# 9.2


def entities_by_scan(tags):
    found, i = [], 0
    while i < len(tags):
        j = i + 1
        if tags[i][0] == "B":
            while j < len(tags) and tags[j] == "I" + tags[i][1:]:
                j += 1
            found.append((tags[i][2:], i, j))
        i = j
    return found


def entities_by_pattern(tags):
    text = " ".join(tags) + " "
    return {
        (match[1], text[: match.start()].count(" "), text[: match.end()].count(" "))
        for match in re.finditer(r"B-(\S+) (?:I-\1 )*", text)
    }


# 9.3


def f1_by_loop(gold, predicted):
    hits = true = guessed = 0
    for right, guess in zip(gold, predicted, strict=True):
        hits += len(set(entities(right)) & set(entities(guess)))
        true += len(entities(right))
        guessed += len(entities(guess))
    return 0 if hits == 0 else 2 / (guessed / hits + true / hits)


def any_inside_goes_on(gold, predicted):
    def mended(tags):
        kinds = []
        for tag in tags:
            kinds.append(kinds[-1] if tag[0] == "I" and kinds and kinds[-1] != "O" else tag[2:] or "O")
        return [tag[:2] + kind if tag != "O" else tag for tag, kind in zip(tags, kinds, strict=True)]

    return f1_by_loop(list(map(mended, gold)), list(map(mended, predicted)))


CHECKS = [
    (
        course.check_align_labels,
        {"memory": align_by_memory, "index": align_by_index},
        {
            "a growing default list": growing,
            "the first tag for every word": lambda words, tags: [
                -100 if label == -100 else tags[0] for label in align_by_memory(words, tags)
            ],
            "a tag and its word": lambda words, tags: list(zip(align_by_memory(words, tags), words, strict=True)),
        },
    ),
    (
        course.check_entities,
        {"scan": entities_by_scan, "pattern": entities_by_pattern},
        {
            "every entity twice": lambda tags: entities_by_scan(tags) * 2,
            "a dictionary": lambda tags: dict.fromkeys(entities_by_scan(tags), 1),
            "lists in a list": lambda tags: [list(entity) for entity in entities_by_scan(tags)],
            "only entities of several words": lambda tags: {e for e in entities_by_scan(tags) if e[2] > e[1] + 1},
        },
    ),
    (
        course.check_strict_f1,
        {"loop": f1_by_loop, "precision and recall": lambda gold, predicted: entity_scores(gold, predicted)["f1"]},
        {
            "any I- goes on": any_inside_goes_on,
            "every entity in one list": lambda gold, predicted: (
                f1_by_loop([sum(gold, [])], [sum(predicted, [])]) / 1.01
            ),
            "the first sentence alone": lambda gold, predicted: f1_by_loop(gold[:1], predicted[:1]),
        },
    ),
]
