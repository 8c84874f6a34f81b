"""What holds for every input, tried on many made ones; HYPOTHESIS_PROFILE=long tries many more."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apt_minimal.lab.data.conll import read_conll
from apt_minimal.lab.data.entities import check_iob2, entities
from apt_minimal.lab.data.hub import _tags
from apt_minimal.lab.data.tasks import Example
from apt_minimal.lab.read.rankings import lengths_from
from apt_minimal.lab.train.batches import shuffled_batches
from apt_minimal.lab.train.config import TrainConfig

TAGS = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "B-c-d", "I-c-d"]), max_size=12)
WORDS = st.text(st.characters(exclude_characters=" \t\r\n", exclude_categories=["Cs"]), min_size=1, max_size=4)
WORDS = WORDS.filter(lambda word: word not in ("-DOCSTART-",) and word[0] != "\ufeff")


@st.composite
def spans(draw):
    """A number of words and entities in them, in order: (type, start, end)."""
    found, end = [], 0
    for outside, length in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=5)):
        found.append((draw(st.sampled_from(["A", "B"])), end + outside, end + outside + length))
        end = found[-1][2]
    return end + draw(st.integers(not found, 2)), found


def tagged(count, found):
    return _tags(["w"] * count, [{"type": type, "start": start, "end": end} for type, start, end in found])


@given(spans())
def test_entities_come_back_from_their_tags(made):
    count, found = made
    check_iob2(tags := tagged(count, found))
    assert entities(tags) == found


@given(TAGS, st.booleans())
def test_entities_of_any_tags_are_disjoint_and_tags_in_iob2_come_back(tags, lenient):
    found = entities(tags, lenient)
    assert all(start < end <= after for (_, start, end), (_, after, _) in pairwise([*found, ("", len(tags), 0)]))
    again = tagged(len(tags), found)
    check_iob2(again)
    try:
        check_iob2(tags)
    except ValueError:
        return
    assert again == tags


def iob1(tags):
    """IOB2 tags in IOB1, where B- stands only after a neighbour of the same type."""
    return [
        "I" + tag[1:] if tag[:2] == "B-" and before[2:] != tag[2:] else tag for before, tag in pairwise(["O", *tags])
    ]


@given(st.lists(spans(), max_size=4), st.data(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_sentences_come_back_from_conlls_columns(made, data, to_iob1, end):
    rows, text, line = [], "", 1
    for count, found in made:
        words, tags = data.draw(st.lists(WORDS, min_size=count, max_size=count)), tagged(count, found)
        rows.append((line, {"tokens": words, "ner_tags": tags}))
        columns = zip(words, iob1(tags) if to_iob1 else tags, strict=True)
        text += "".join(f"{word} x {tag}{end}" for word, tag in columns) + end
        line += count + 1
    scheme = "IOB1" if to_iob1 and any(found for _, found in made) else "IOB2"
    assert read_conll(text) == (rows, scheme)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 99), st.integers(0, 40))
def test_batches_go_through_all_examples_in_each_epoch_and_skipping_drops(lengths, size, seed, skip):
    examples = [Example({"number": i}, [{"input_ids": [1] * length}]) for i, length in enumerate(lengths)]

    def numbers(count, skip=0):
        batches = islice(shuffled_batches(examples, size, seed, skip), count)
        return [[example.row["number"] for example in batch] for batch in batches]

    in_epoch = -(-len(examples) // size)
    assert sorted(sum(numbers(in_epoch), [])) == list(range(len(examples)))
    assert numbers(5, skip) == numbers(skip + 5)[skip:]


READINGS = st.floats(allow_nan=True, allow_infinity=False)


@given(st.lists(READINGS, min_size=1, max_size=12).filter(lambda r: any(x > 0 for x in r)), st.integers(1, 200))
def test_lengths_add_up_to_the_budget_and_follow_the_readings(reading, budget):
    lengths = lengths_from(reading, budget)
    assert sum(lengths) == budget and min(lengths) >= 0
    for one, length in zip(reading, lengths, strict=True):
        assert length == 0 or one > 0
        assert all(length >= other for smaller, other in zip(reading, lengths, strict=True) if one > smaller)


@given(st.integers(1, 3000), st.data(), st.floats(0, 1, exclude_max=True))
def test_evaluations_are_spread_evenly_and_the_learning_rate_rises_then_falls(max_steps, data, warmup):
    evaluations = data.draw(st.integers(1, max_steps))
    config = TrainConfig(1.0, max_steps=max_steps, evaluations=evaluations, warmup=warmup)
    steps = config.evaluation_steps()
    gaps = {after - before for before, after in pairwise([0, *steps])}
    assert len(steps) == evaluations and steps[-1] == max_steps
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1
    rates = [config.learning_rate_factor(step) for step in range(max_steps)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)


ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers()))


@given(st.dictionaries(st.sampled_from(list(TrainConfig.__dataclass_fields__)), ODD))
def test_settings_of_any_kind_are_taken_or_refused_by_name(settings):
    try:
        config = TrainConfig(**{"learning_rate": 1e-3} | settings)
    except ValueError as error:
        assert any(str(error).startswith(f"{name} is ") for name in [*settings, "evaluations"])
    else:
        assert config.learning_rate > 0 and pytest.approx(0) == config.learning_rate_factor(config.max_steps)
