"""The checkpoint's file: whole at every moment, refused where it belongs to another run, gone at the end."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import with_prefix

from apt_minimal import AptConfig
from apt_minimal.lab.train import checkpoint
from apt_minimal.lab.train.loop import TrainConfig, train


def test_the_checkpoint_is_gone_at_the_end(fit, file):
    fit(file)
    assert list(file.parent.iterdir()) == []


def test_the_checkpoint_is_gone_after_an_early_stop(fit, file, scripted):
    scripted([2, 1])
    assert len(fit(file, patience=1)[0]["loss"]) == 6
    assert list(file.parent.iterdir()) == []


@pytest.fixture
def interrupted(fit, file, interrupt):
    """A run that was stopped after its first evaluation."""
    stop = interrupt(6)
    with pytest.raises(KeyboardInterrupt):
        fit(file)
    stop.off()
    return file


OTHERS = [("learning_rate", 2e-2), ("batch_size", 4), ("max_steps", 15), ("seed", 12), ("warmup", 0.5), ("patience", 3)]


@pytest.mark.parametrize("name, value", OTHERS)
def test_a_checkpoint_of_other_settings_is_refused(name, value, fit, interrupted):
    before = interrupted.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.pt is of another run \({name} differ\)"):
        fit(interrupted, **{name: value})
    assert interrupted.read_bytes() == before


def test_a_checkpoint_of_another_method_or_task_is_refused(fit, interrupted, make_task, make_model):
    with pytest.raises(ValueError, match="another run .*parameters differ"):
        fit(interrupted, make_model(make_task(), "p_tuning_v2"))
    with pytest.raises(ValueError, match=r"another run \(prefix differ\)"):  # the same parameters, used otherwise
        fit(interrupted, make_model(make_task(), "apt_mean_gate"))
    with pytest.raises(ValueError, match="another run .*task, source"):
        fit(interrupted, task=make_task("text"))


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one_whole(fit, file, monkeypatch, same):
    expected, save, count = fit(), torch.save, iter(range(2))

    def failing(state, path):
        if next(count, None) is not None:
            return save(state, path)
        save(state, path)
        path.write_bytes(path.read_bytes()[:1000])
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(OSError, match="disk is full"):
        fit(file)
    assert len(torch.load(file)["history"]["loss"]) == 6
    monkeypatch.setattr(torch, "save", save)
    assert same(fit(file), expected)


def killed(number, monkeypatch, fit, file, **changes):
    """The file as a kill right after the n-th checkpoint was written leaves it."""
    save, contents = torch.save, []

    def wrapper(state, path):
        save(state, path)
        contents.append(path.read_bytes())

    monkeypatch.setattr(torch, "save", wrapper)
    expected = fit(file, **changes)
    monkeypatch.setattr(torch, "save", save)
    file.write_bytes(contents[number])
    return expected


@pytest.mark.parametrize("checkpoint", range(4))
def test_training_goes_on_from_each_of_its_checkpoints(checkpoint, monkeypatch, fit, file, same):
    expected = killed(checkpoint, monkeypatch, fit, file)
    assert same(fit(file), expected)


def test_a_run_killed_after_its_last_checkpoint_still_stops_early(monkeypatch, fit, file, scripted, same):
    scripted([2, 1, 1, 1, 1, 1])
    expected = killed(0, monkeypatch, fit, file, patience=1)
    assert same(fit(file, patience=1), expected)


@pytest.mark.parametrize("length", [1, 8])
def test_a_checkpoint_of_another_prefix_length_is_refused(length, fit, file, make_task, make_model, interrupt):
    stop = interrupt(6)
    with pytest.raises(KeyboardInterrupt):
        fit(file, make_model(make_task(), with_prefix(AptConfig(length))))
    stop.off()
    with pytest.raises(ValueError, match="another run"):
        fit(file, make_model(make_task(), with_prefix(AptConfig(16))))


def test_a_checkpoint_on_another_backbone_is_refused(fit, interrupted, make_task, make_model):
    model = make_model(make_task())
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0, 0] += 1e-3  # frozen, so no checkpoint holds it
    with pytest.raises(ValueError, match=r"another run \(backbone differ\)"):
        fit(interrupted, model)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_checkpoint_of_other_rows_is_refused(split, fit, interrupted, make_task):
    task = make_task()
    with pytest.raises(ValueError, match=r"another run \(rows differ\)"):
        fit(interrupted, task=replace(task, **{split: getattr(task, split)[:-1]}))


def test_a_checkpoint_is_written_only_when_its_time_has_come(fit, file, make_task, make_model, monkeypatch):
    times, saved, save = iter(range(0, 1000, 40)), [], torch.save  # each look at the clock is 40 seconds later
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(
        torch, "save", lambda state, path: (saved.append(len(state["history"]["loss"])), save(state, path))
    )
    config = TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=6, evaluations=6)
    train(make_model(make_task()), make_task(), config, file, progress=False, checkpoint_seconds=120)
    assert saved == [3, 6]
