"""Batches: the order of examples in training, and predictions that come back in the order of the examples."""

from itertools import islice

import pytest
import torch

from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.train.batches import predict, shuffled_batches


def examples(count):
    """Examples that know their number, with lengths that vary."""
    return [Example({"number": i}, [{"input_ids": [1] * (3 + i * 7 % 23)}]) for i in range(count)]


def numbers(batches, count):
    return [[example.row["number"] for example in batch] for batch in islice(batches, count)]


@pytest.mark.parametrize("count, size, in_epoch", [(12, 4, 3), (13, 4, 4), (3, 8, 1), (200, 5, 40)])
def test_each_epoch_has_every_example_once_in_another_order(count, size, in_epoch):
    batches = numbers(shuffled_batches(examples(count), size, seed=3), 3 * in_epoch)
    epochs = [sum(batches[i : i + in_epoch], []) for i in range(0, 3 * in_epoch, in_epoch)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert max(map(len, batches)) <= size
    if count > size:
        assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


@pytest.mark.parametrize("skip", [0, 1, 3, 4, 5, 8, 11])
def test_skipping_is_dropping(skip):
    whole = numbers(shuffled_batches(examples(13), 4, seed=3), 20)
    assert numbers(shuffled_batches(examples(13), 4, seed=3, skip=skip), 20 - skip) == whole[skip:]


def test_no_examples_are_refused_where_batches_would_never_come():
    with pytest.raises(ValueError, match="no examples"):
        next(shuffled_batches([], 4, seed=3))


def test_the_seed_decides_the_order():
    first, again, other = (numbers(shuffled_batches(examples(40), 4, seed=seed), 10) for seed in (1, 1, 2))
    assert first == again != other


def test_torchs_seed_does_not():
    first = numbers(shuffled_batches(examples(40), 4, seed=1), 10)
    torch.manual_seed(99)
    assert numbers(shuffled_batches(examples(40), 4, seed=1), 10) == first


def test_similar_lengths_come_together():
    def padding(batches):
        lengths = [[len(example.inputs[0]["input_ids"]) for example in batch] for batch in batches]
        return sum(max(batch) * len(batch) - sum(batch) for batch in lengths)

    batches = list(islice(shuffled_batches(examples(64), 4, seed=1), 16))
    in_order = [examples(64)[i : i + 4] for i in range(0, 64, 4)]
    assert padding(batches) < 0.2 * padding(in_order)


def test_batches_are_not_sorted_by_length():
    batches = islice(shuffled_batches(examples(64), 4, seed=1), 16)
    lengths = [len(batch[0].inputs[0]["input_ids"]) for batch in batches]
    assert lengths != sorted(lengths) and lengths != sorted(lengths, reverse=True)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_predictions_come_in_the_order_of_the_examples(size, make_task, make_model, monkeypatch):
    task = make_task("text")
    monkeypatch.setattr(Task, "decode", lambda task, logits, batch: [example.row["text"] for example in batch])
    model = make_model(task, "head_only")
    assert predict(model, task, task.train, size) == [example.row["text"] for example in task.train]


def test_logits_in_batches_equal_those_one_by_one(any_task, make_model, monkeypatch, close):
    monkeypatch.setattr(Task, "decode", lambda task, logits, batch: list(logits))
    model = make_model(any_task, "apt")
    together = predict(model, any_task, any_task.train, batch_size=7)
    for example, logits in zip(any_task.train, together, strict=True):
        (alone,) = predict(model, any_task, [example])
        close(logits[: len(alone)], alone)  # [n, labels] of tokens go on over the padding


def test_predictions_are_the_highest_logits(any_task, make_model):
    model = make_model(any_task, "apt")
    with torch.no_grad():
        logits = model(**any_task.collate(any_task.test)).logits
    assert predict(model, any_task, any_task.test) == any_task.decode(logits, any_task.test)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_is_in_eval_mode_and_leaves_the_mode_as_it_was(training, make_task, make_model, monkeypatch):
    task, modes = make_task("text"), []
    model = make_model(task).train(training)
    model.register_forward_pre_hook(lambda model, _: modes.append((model.training, torch.is_grad_enabled())))
    predict(model, task, task.test)
    assert modes == [(False, False)]
    assert model.training is training


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_it_was_after_an_error_too(training, make_task, make_model):
    def fail(*_):
        raise MemoryError

    task = make_task("text")
    model = make_model(task).train(training)
    model.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        predict(model, task, task.test)
    assert model.training is training


def test_no_examples_give_no_predictions(make_task, make_model):
    assert predict(make_model(make_task()), make_task(), []) == []
