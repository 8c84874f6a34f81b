"""Predictions without a neural network and without pretraining: what every other score must be held against."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from apt_minimal.lab.data.tasks import Example, Task


def majority(task: Task, examples: Sequence[Example]) -> list:
    """Predict the training set's most frequent label for every example (kind "token": its most frequent tag)."""
    if task.kind == "token":
        counts = Counter(tag for example in task.train for tag in example.row["ner_tags"])
        tag = task.labels.index(counts.most_common(1)[0][0])
        return [[tag] * len(example.row["tokens"]) for example in examples]
    label = Counter(example.label for example in task.train).most_common(1)[0][0]
    return [label] * len(examples)


def bag_of_words(task: Task, examples: Sequence[Example]) -> list:
    """Predict from words alone, with no neural network and no pretraining.

    Kind "token": each word gets the tag it had most often in training, "O" if it was never seen. "sequence":
    logistic regression on the counts of words and word pairs of both texts, kept apart. "choice": the same,
    trained to tell right choices from wrong ones; the choice with the highest probability is taken.
    """
    if task.kind == "token":
        return _most_frequent_tag(task, examples)
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"), LogisticRegression(max_iter=1000))
    texts = [text for example in task.train for text in _texts(example.row)]
    if task.kind == "sequence":
        model.fit(texts, [example.label for example in task.train])
        return [int(label) for label in model.predict([_texts(example.row)[0] for example in examples])]
    right = [i == example.label for example in task.train for i in range(len(example.row["choices"]))]
    model.fit(texts, right)
    return [int(model.predict_proba(_texts(example.row))[:, 1].argmax()) for example in examples]


def _texts(row: dict) -> list[str]:
    """A row as text for counting: one for kind "sequence", one for each choice for kind "choice"."""
    seconds = row["choices"] if row["kind"] == "choice" else [row["text_pair"] or ""]
    # Words of the second text are marked, so that the same word in the first text is another feature.
    return [" ".join([row["text"] or "", *("2:" + word for word in second.split())]) for second in seconds]


def _most_frequent_tag(task: Task, examples: Sequence[Example]) -> list:
    counts = defaultdict(Counter)
    for example in task.train:
        for word, tag in zip(example.row["tokens"], example.row["ner_tags"], strict=True):
            counts[word][task.labels.index(tag)] += 1
    tag_of = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return [[tag_of.get(word, 0) for word in example.row["tokens"]] for example in examples]


UNTRAINED = {"majority": majority, "bag_of_words": bag_of_words}
