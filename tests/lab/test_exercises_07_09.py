"""The checkers pass right answers in different styles, and name the usual mistakes."""

import pytest
import torch
import torch.nn.functional as F

from apt_minimal import course as exercises
from apt_minimal.lab.data.entities import entities, entity_scores

LOWEST = torch.finfo(torch.float32).min


def widen_with_cat(mask, l):
    columns = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
    return torch.cat([columns(*mask.shape[:-1], l), mask], dim=-1)


def first_by_loop(hidden_states, attention_mask):
    return torch.stack([h[m.nonzero()[0, 0]] for h, m in zip(hidden_states, attention_mask, strict=True)])


def first_by_cumsum(hidden_states, attention_mask):
    first = (attention_mask.cumsum(dim=1) == 1) & attention_mask.bool()
    return hidden_states[first]


def align_by_memory(word_ids, tags):
    labels, previous = [], None
    for word in word_ids:
        labels.append(-100 if word is None or word == previous else tags[word])
        previous = word
    return tuple(labels)


def entities_by_scan(tags):
    found, i = [], 0
    while i < len(tags):
        if tags[i][0] == "B":
            j = i + 1
            while j < len(tags) and tags[j] == "I" + tags[i][1:]:
                j += 1
            found.append((tags[i][2:], i, j))
            i = j
        else:
            i += 1
    return found


def f1_by_loop(gold, predicted):
    hits = true = guessed = 0
    for right, guess in zip(gold, predicted, strict=True):
        hits += len(set(entities(right)) & set(entities(guess)))
        true += len(entities(right))
        guessed += len(entities(guess))
    return 0 if hits == 0 else 2 / (guessed / hits + true / hits)


@pytest.mark.parametrize(
    "check, answer",
    [
        (exercises.check_equal_sizes, lambda l: (3 * l // 2, 3 * l // 4)),
        (exercises.check_equal_sizes, lambda l: [1.5 * l, 0.75 * l]),
        (exercises.check_widen_mask, widen_with_cat),
        (exercises.check_widen_mask, lambda m, l: F.pad(m, (l, 0), value=m.dtype == torch.bool)),
        (exercises.check_gate_input, first_by_loop),
        (exercises.check_gate_input, first_by_cumsum),
        (exercises.check_align_labels, align_by_memory),
        (exercises.check_entities, entities_by_scan),
        (exercises.check_strict_f1, f1_by_loop),
    ],
)
def test_right_answers_pass_in_any_style(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def hides_prefix(mask, l):
    return F.pad(mask, (l, 0), value=False if mask.dtype == torch.bool else 0.0)


def adds_lowest(mask, l):
    return F.pad(mask, (l, 0), value=True if mask.dtype == torch.bool else LOWEST)


def last_sub_token(word_ids, tags):
    following = [*word_ids[1:], None]
    return [-100 if w is None or w == n else tags[w] for w, n in zip(word_ids, following, strict=True)]


def counts_words(word_ids, tags):
    labels, previous, count = [], None, -1
    for word in word_ids:
        new = word is not None and word != previous
        count += new
        labels.append(tags[count] if new else -100)
        previous = word
    return labels


def lenient(tags):
    fixed = [
        "B" + tag[1:] if tag[0] == "I" and before[1:] != tag[1:] else tag
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]
    return set(entities(fixed))


def merges_neighbours(tags):
    fixed = [
        "I" + tag[1:] if tag[0] == "B" and before[1:] == tag[1:] else tag
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]
    return set(entities(fixed))


def any_inside_goes_on(tags):
    found, start = set(), None
    for i, tag in enumerate([*tags, "O"]):
        if start is not None and tag[0] != "I":
            found.add((tags[start][2:], start, i))
            start = None
        if tag[0] == "B":
            start = i
    return found


def macro_f1(gold, predicted):
    return sum(entity_scores([g], [p])["f1"] for g, p in zip(gold, predicted, strict=True)) / len(gold)


def f1_without_sentences(gold, predicted):
    right, guess = ({entity for tags in side for entity in entities(tags)} for side in (gold, predicted))
    return 2 * len(right & guess) / max(len(right) + len(guess), 1)


def f1_without_types(gold, predicted):
    def blur(side):
        return [[tag[:2] + "X" if tag != "O" else tag for tag in tags] for tags in side]

    return entity_scores(blur(gold), blur(predicted))["f1"]


def word_accuracy(gold, predicted):
    pairs = [pair for g, p in zip(gold, predicted, strict=True) for pair in zip(g, p, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


@pytest.mark.parametrize(
    "check, answer, diagnosis",
    [
        (exercises.check_equal_sizes, lambda l: (0.75 * l, 1.5 * l), "other way round"),
        (exercises.check_equal_sizes, lambda l: (l, 0.75 * l), "longer prefix"),
        (exercises.check_equal_sizes, lambda l: (3 * l, 0.75 * l), "two prefixes"),
        (exercises.check_equal_sizes, lambda l: (1.5 * l, 1.5 * l), "four blocks"),
        (exercises.check_equal_sizes, lambda l: (1.5 * l, 3 * l), "not one"),
        (exercises.check_equal_sizes, lambda l: (l, l / 2), "W too"),
        (exercises.check_equal_sizes, lambda l: (24, 12), "count one layer"),
        (exercises.check_equal_sizes, lambda l: 1.5 * l, "count one layer"),
        (exercises.check_widen_mask, hides_prefix, "True means"),
        (exercises.check_widen_mask, adds_lowest, "hides it"),
        (exercises.check_widen_mask, lambda m, l: F.pad(m, (l, 0), value=1), "0 is neutral"),
        (exercises.check_widen_mask, lambda m, l: F.pad(m, (0, l), value=m.dtype == torch.bool), "in front"),
        (exercises.check_widen_mask, lambda m, l: widen_with_cat(m, l).float(), "dtype"),
        (exercises.check_widen_mask, lambda m, l: m, "shape"),
        (exercises.check_widen_mask, lambda m, l: widen_with_cat(m[:, :, :1], l), "must stay"),
        (exercises.check_gate_input, lambda h, m: h[:, 0], "not position 0"),
        (exercises.check_gate_input, lambda h, m: h.mean(dim=1), "position 0"),
        (exercises.check_gate_input, lambda h, m: h[torch.arange(len(h)), (m == 0).sum(dim=1)], "still position 0"),
        (exercises.check_gate_input, lambda h, m: h[torch.arange(len(h)), m.argmax(dim=1)], "boolean"),
        (exercises.check_gate_input, lambda h, m: h[:, :1], "shape"),
        (exercises.check_align_labels, lambda w, t: [-100 if i is None else t[i] for i in w], "first sub-token"),
        (exercises.check_align_labels, last_sub_token, "first sub-token"),
        (exercises.check_align_labels, counts_words, "no sub-token at all"),
        (exercises.check_align_labels, lambda w, t: [0 if i is None else t[i] for i in w], "special tokens"),
        (exercises.check_align_labels, lambda w, t: None, "returns None"),
        (exercises.check_entities, lambda tags: {(t, s, e - 1) for t, s, e in entities(tags)}, "exclusive"),
        (exercises.check_entities, lambda tags: {x for x in entities(tags) if x[2] < len(tags)}, "end of the sentence"),
        (exercises.check_entities, lenient, "own type"),
        (exercises.check_entities, merges_neighbours, "right after another"),
        (exercises.check_entities, any_inside_goes_on, "own type"),
        (exercises.check_strict_f1, macro_f1, "macro"),
        (exercises.check_strict_f1, f1_without_sentences, "different sentences"),
        (exercises.check_strict_f1, f1_without_types, "type must agree"),
        (exercises.check_strict_f1, word_accuracy, "miss and a false alarm"),
        (exercises.check_strict_f1, lambda g, p: entity_scores(g, p)["precision"], "harmonic mean"),
        (exercises.check_strict_f1, lambda g, p: entity_scores(g, p)["recall"], "harmonic mean"),
    ],
)
def test_each_usual_mistake_gets_its_own_diagnosis(check, answer, diagnosis, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and diagnosis in said


def test_lenient_reading_of_a_stray_inside_tag_is_told_apart(capsys):
    def stray_inside_begins(tags):
        fixed = [
            "B" + tag[1:] if tag[0] == "I" and before == "O" else tag
            for before, tag in zip(["O", *tags], tags, strict=False)
        ]
        return set(entities(fixed))

    assert not exercises.check_entities(stray_inside_begins)
    assert "begins nothing" in capsys.readouterr().out


def test_an_unsolved_exercise_is_no_error(capsys):
    def unsolved(tags):
        raise NotImplementedError

    assert not exercises.check_entities(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"


def test_an_answer_that_raises_is_reported_with_a_hint(capsys):
    assert not exercises.check_align_labels(lambda word_ids, tags: [tags[word] for word in word_ids])
    assert "TypeError" in capsys.readouterr().out


def test_an_answer_that_changes_its_input_is_still_judged_by_what_it_returns(capsys):
    def in_place(mask, l):
        wide = widen_with_cat(mask, l)
        mask.fill_(0)
        return wide

    assert exercises.check_widen_mask(in_place)
