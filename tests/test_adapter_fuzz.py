"""Thousands of damaged and hostile adapters: each loads as exactly what was saved, or is refused in one clear sentence.

A few seconds of it run with the other tests; FUZZ_CASES=10000 (and another FUZZ_SEED) runs more.
"""

import hashlib
import json
import os
import random
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from apt_minimal import load_adapter, save_adapter
from apt_minimal.attach import is_attached

CASES, SEED = int(os.environ.get("FUZZ_CASES", 150)), int(os.environ.get("FUZZ_SEED", 0))
JSON, TENSORS = "adapter.json", "adapter.safetensors"
ODD = [
    None,
    True,
    -1,
    0,
    1,
    3,
    1e400,
    10**400,
    10**30,
    1.5,
    "",
    "a",
    "é" * 5000,
    [],
    ["a", "a"],
    [["a"]],
    {},
    {"a": []},
]
ODD += [[5] * 100_000, "../../elsewhere", "/etc/passwd", float("nan"), [None], [1, 2.5]]


def read(folder):
    return json.loads((folder / JSON).read_text())


def write(folder, found, whole=True):
    """Write a description, its own checksum made to fit if `whole`."""
    if whole and isinstance(found, dict):
        rest = {key: value for key, value in found.items() if key != "sha256"}
        found["sha256"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (folder / JSON).write_text(json.dumps(found))


def set_tensors(folder, tensors):
    """Other tensors, with all checksums made to fit."""
    save_file(tensors, folder / TENSORS)
    fit(folder)


def fit(folder):
    found = read(folder)
    write(folder, found | {"tensors_sha256": hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()})


def flip(rng, folder, file):
    data = bytearray((folder / file).read_bytes())
    for _ in range(rng.choice([1, 1, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (folder / file).write_bytes(data)


def cut(rng, folder, file):
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: rng.randrange(len(data))] + rng.randbytes(rng.choice([0, 0, 20])))


def odd_value(rng, folder):
    found = read(folder)
    place = rng.choice([found, found["config"], found["backbone"], found["versions"]])
    key = rng.choice([*place, "another"])
    if rng.random() < 0.3:
        place.pop(key, None)
    else:
        place[key] = rng.choice(ODD)
    write(folder, found, rng.random() < 0.9)


def odd_tensor(rng, folder):
    """One tensor gone, renamed, of another shape or type, or not finite; or one too many, of the backbone perhaps."""
    tensors = load_file(folder / TENSORS)
    name, change = rng.choice([*tensors]), rng.randrange(7)
    t = tensors[name]
    if change < 5:
        del tensors[name]
    other = rng.choice([torch.int8, torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn])
    shapes = [t.unsqueeze(0), t.flatten(), torch.zeros(0), torch.zeros(7, 3), torch.cat([t, t])]
    part = rng.choice(["bert.embeddings.word_embeddings.weight", "bert.pooler.dense.bias"])
    tensors |= [
        {},
        {rng.choice([name + "s", name.upper(), "../x", ""]): t},
        {name: rng.choice(shapes)},
        {name: t.to(other)},
        {name: torch.full_like(t, rng.choice([float("nan"), float("inf")]))},
        {"bert.pooler.more": torch.zeros(3)},
        {part: torch.zeros(60, 32)},
    ][change]
    set_tensors(folder, tensors)
    if change == 6 and rng.random() < 0.7:
        write(folder, read(folder) | {"backbone_tensors": [part]})


def header(rng, folder):
    """A hostile safetensors header, with a checksum that fits."""
    data = (folder / TENSORS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    kinds = [
        (2**63).to_bytes(8, "little") + data[8:],
        size.to_bytes(8, "little") + data[8 : 8 + size].replace(b'"F32"', b'"F99"') + data[8 + size :],
        size.to_bytes(8, "little") + data[8 : 8 + size].replace(b"[0,", b"[9,") + data[8 + size :],
        b"\x02\0\0\0\0\0\0\0{}",
        (12).to_bytes(8, "little") + b"[" * 12,
        rng.randbytes(rng.randrange(200)),
    ]
    (folder / TENSORS).write_bytes(rng.choice(kinds))
    fit(folder)


def text(rng, folder):
    kinds = ["", "null", "5", "[" * 100_000, '{"a":' * 50_000, "\ufeff{}", '{"format": 2, "format": 2}', "9" * 5000]
    (folder / JSON).write_text(rng.choice(kinds))


def place(rng, folder):
    """Something else in the place of a file."""
    file = folder / rng.choice([JSON, TENSORS])
    file.unlink(missing_ok=True)
    kind = rng.choice(["gone", "folder", "pipe", "loop", "device", "endless", "sparse", "dangling"])
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "sparse":
        with file.open("wb") as sparse:
            sparse.truncate(3 * 2**30)
    elif kind != "gone":
        targets = {"loop": file, "device": "/dev/zero", "endless": "/proc/kmsg", "dangling": folder / "nowhere"}
        file.symlink_to(targets[kind])


def swap(rng, folder):
    a, b = folder / JSON, folder / TENSORS
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)


DAMAGES = [odd_value, odd_value, odd_tensor, odd_tensor, header, text, swap]
DAMAGES += [lambda r, f, d=d, n=n: d(r, f, n) for d in (flip, cut) for n in (JSON, TENSORS)]


@pytest.fixture
def saved(attached, tmp_path):
    save_adapter(attached(BertForSequenceClassification), tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.skipif(os.name == "nt", reason="pipes and links")
def test_every_damaged_adapter_loads_as_saved_or_is_refused_and_nothing_else_happens(saved, tiny, state, tmp_path):
    model = tiny(BertForSequenceClassification)
    before, good = state(model), load_file(saved / TENSORS)
    for number in range(CASES):
        rng, folder = random.Random(f"{SEED} {number}"), tmp_path / "case"
        shutil.copytree(saved, folder)
        for _ in range(rng.choice([1, 1, 1, 2])):
            with suppress(Exception):  # a second damage may find nothing left to damage
                rng.choice(DAMAGES)(rng, folder)
        if rng.random() < 0.1:
            place(rng, folder)  # last, for the other damages would read what is in place now
        there = sorted(os.listdir(tmp_path))
        try:
            load_adapter(model, folder)
        except (ValueError, FileNotFoundError) as error:
            message = str(error)
            assert type(error) in (ValueError, FileNotFoundError) and str(folder) in message, (number, error)
            assert len(message) < 2000, (number, len(message))
        else:
            found, tensors = read(folder), load_file(folder / TENSORS)
            ours = model.state_dict()
            assert all(torch.equal(ours[name], tensor) for name, tensor in tensors.items()), number
            assert tensors.keys() == good.keys() and found["backbone_tensors"] == [], number
            model = tiny(BertForSequenceClassification)
            assert not is_attached(model)
        assert state.same(before, state(model)), number
        assert sorted(os.listdir(tmp_path)) == there
        shutil.rmtree(folder)
