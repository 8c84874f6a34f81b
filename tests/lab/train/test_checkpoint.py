"""The checkpoint's file: whole at every moment, refused where it belongs to another run, gone at the end."""

import copy
import errno
import hashlib
import io
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from made import with_prefix

from apt_minimal import AptConfig
from apt_minimal.lab.data.tasks import Task
from apt_minimal.lab.train import checkpoint
from apt_minimal.lab.train.checkpoint import DamagedCheckpoint
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


@pytest.mark.parametrize("place", ["in torch", "at the end"])
def test_a_full_disk_is_named_and_leaves_the_last_checkpoint_whole(place, fit, file, monkeypatch, same):
    expected, save, count = fit(), torch.save, iter(range(2))
    full = OSError(errno.ENOSPC, "No space left on device")

    class Full:
        def write(self, _):
            raise full

    def failing(state, opened):
        if next(count, None) is not None:
            return save(state, opened)
        if place == "in torch":
            return save(state, Full())
        raise full

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(OSError, match=r"run\.pt could not be written: .*No space left on device.*the last one"):
        fit(file)
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"]
    monkeypatch.setattr(torch, "save", save)
    batches = iter(range(100))
    collate = Task.collate
    monkeypatch.setattr(Task, "collate", lambda *args: (next(batches), collate(*args))[1])
    assert same(fit(file), expected)
    assert next(batches) == 8  # six steps and two evaluations: it went on from step 6


def killed(number, monkeypatch, fit, file, **changes):
    """The file as a kill right after the n-th checkpoint was written leaves it."""
    replace, contents = os.replace, []

    def wrapper(scratch, path):
        replace(scratch, path)
        contents.append(path.read_bytes())

    monkeypatch.setattr(os, "replace", wrapper)
    expected = fit(file, **changes)
    monkeypatch.setattr(os, "replace", replace)
    file.write_bytes(contents[number])
    return expected


DAMAGES = {
    "nothing left": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "a byte too many": lambda whole: whole + b"0",
    "a bit flipped in its checksum": lambda whole: flipped(whole, 7),
    "a bit flipped in a number": lambda whole: flipped(whole, len(whole) // 2),
    "64 bytes zeroed": lambda whole: whole[:5000] + bytes(64) + whole[5064:],
    "another file": lambda whole: b"something else" * 100,
    "of an earlier version": lambda whole: whole[32:],
    "a part missing": lambda whole: packed({"run": {}, "trained": {}}),
    "no tensors and numbers": lambda whole: packed({"run": Hostile()}),
}


def flipped(whole, place):
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def packed(state):
    """A state with its checksum, as no power loss would write it."""
    torch.save(state, buffer := io.BytesIO())
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


class Hostile:
    """What would end the process that unpickles it."""

    def __reduce__(self):
        return sys.exit, ("a pickle ran",)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_changes_nothing(damage, fit, interrupted, make_task, make_model, same):
    interrupted.write_bytes(DAMAGES[damage](interrupted.read_bytes()))
    model = make_model(make_task())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint .*run\.pt is damaged, .*; delete it"):
        fit(interrupted, model)
    assert same(dict(model.state_dict()), dict(before))


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
