"""The samples that are shipped: fields, sizes, balance, splits that share nothing, nothing that gives labels away."""

from collections import Counter, defaultdict

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from apt_minimal.lab.data.shapes import LABELS, reshape
from apt_minimal.lab.data.sources import SPLITS, load_rows

FIELDS = {
    "boolq": {"question", "passage", "label"},
    "cb": {"premise", "hypothesis", "label"},
    "copa": {"premise", "choice1", "choice2", "question", "label"},
    "rte": {"premise", "hypothesis", "label"},
    "wic": {"word", "sentence1", "sentence2", "start1", "start2", "end1", "end2", "label"},
    "wsc": {"text", "target", "label"},
}
# What no two splits may share, as one text or several.
SHARED = {
    "boolq": lambda row: [row["passage"], row["question"]],
    "cb": lambda row: [row["premise"], row["hypothesis"]],
    "copa": lambda row: [row["premise"], row["choice1"], row["choice2"]],
    "rte": lambda row: [row["premise"]],
    "wic": lambda row: [row["word"], row["sentence1"], row["sentence2"]],
    "wsc": lambda row: [row["text"]],
}
# What tells nothing about the label: each of these is there equally often with every label.
EVEN = {
    "boolq": [lambda row: row["passage"]],
    "cb": [lambda row: row["hypothesis"]],
    "copa": [lambda row: (row["choice1"], row["choice2"])],
    "wic": [lambda row: row["word"]],
    "wsc": [lambda row: row["text"], lambda row: (row["target"]["span1_text"], row["text"].split()[:4])],
}


@pytest.fixture(params=FIELDS)
def name(request):
    return request.param


@pytest.fixture
def sample(name):
    return load_rows(name, "sample")[0]


def named(name, row):
    shaped = reshape(name, row)
    return LABELS[name][shaped["label"]] if shaped["kind"] == "choice" else shaped["label"]


def test_fields_are_the_benchmarks(name, sample):
    assert {frozenset(row) for split in SPLITS for row in sample[split]} == {frozenset(FIELDS[name])}


def test_labels_are_balanced_in_every_split(name, sample):
    for split in SPLITS:
        counts = Counter(named(name, row) for row in sample[split])
        assert set(counts) == set(LABELS[name]) and max(counts.values()) <= 1.2 * min(counts.values())


def test_no_row_stands_twice_and_splits_share_no_text(name, sample):
    rows = [str(reshape(name, row)) for split in SPLITS for row in sample[split]]
    assert len(set(rows)) == len(rows)
    texts = [{text.lower() for row in sample[split] for text in SHARED[name](row)} for split in SPLITS]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])


@pytest.mark.parametrize("name", EVEN)
def test_a_part_of_the_input_tells_nothing(name, sample):
    for part in EVEN[name]:
        for split in SPLITS:
            seen = defaultdict(Counter)
            for row in sample[split]:
                seen[str(part(row))][named(name, row)] += 1
            assert all(len(counts) == len(LABELS[name]) for counts in seen.values())
            assert all(len(set(counts.values())) == 1 for counts in seen.values())


@pytest.mark.parametrize("name", ["wic"])
def test_wics_spans_are_the_word(name, sample):
    for row in (row for split in SPLITS for row in sample[split]):
        for sentence, start, end in (("sentence1", "start1", "end1"), ("sentence2", "start2", "end2")):
            assert row[sentence][row[start] : row[end]] == row["word"]


@pytest.mark.parametrize("name", ["wsc"])
def test_wscs_spans_begin_at_their_words(name, sample):
    for row in (row for split in SPLITS for row in sample[split]):
        for span in ("span1", "span2"):
            words = row["text"].split()[row["target"][f"{span}_index"] :]
            assert " ".join(words).startswith(row["target"][f"{span}_text"])


def as_text(name, row):
    """A row as text for counting words; those of the second text are marked."""
    shaped = reshape(name, row)
    return [
        " ".join([shaped["text"], *("2:" + word for word in second.split())])
        for second in (shaped["choices"] if shaped["kind"] == "choice" else [shaped["text_pair"]])
    ]


@pytest.mark.parametrize("longest", [1, 2])
def test_words_alone_hardly_beat_chance(longest, name, sample):
    model = make_pipeline(
        CountVectorizer(ngram_range=(1, longest), token_pattern=r"\S+"), LogisticRegression(max_iter=1000)
    )
    train, test = sample["train"], sample["test"]
    texts = [text for row in train for text in as_text(name, row)]
    if name == "copa":
        model.fit(texts, [i == row["label"] for row in train for i in range(2)])
        guessed = [LABELS[name][model.predict_proba(as_text(name, row))[:, 1].argmax()] for row in test]
    else:
        model.fit(texts, [named(name, row) for row in train])
        guessed = model.predict([as_text(name, row)[0] for row in test])
    accuracy = sum(guess == named(name, row) for guess, row in zip(guessed, test, strict=True)) / len(test)
    assert accuracy < 1 / len(LABELS[name]) + 0.2  # three standard errors at 60 rows
