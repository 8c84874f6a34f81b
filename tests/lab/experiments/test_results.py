"""Results on disk: written whole whatever else is written, read once, odd lines named, claims held by one at a time."""

import json
import subprocess
import sys

import pytest
from made import record

from apt_minimal.lab.experiments.results import claim, read_records, write_record


def test_no_file_has_no_lines(tmp_path):
    assert read_records(tmp_path / "none.jsonl") == []


@pytest.mark.slow
def test_lines_that_processes_write_at_once_are_all_whole(tmp_path):
    script = """
import sys; from pathlib import Path; from apt_minimal.lab.experiments.results import write_record
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
print("ready", flush=True), input()
for i in range(100):
    spec = RunSpec("task", "full", sys.argv[2], "final", i)
    write_record(Path(sys.argv[1]), RunRecord(spec, "x" * 50_000, failed="nan"), {})
"""
    file = tmp_path / "grid" / "task.jsonl"
    command = [sys.executable, "-c", script, str(file)]
    writers = [subprocess.Popen([*command, who], stdin=-1, stdout=-1, text=True) for who in "ab"]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(file.read_text().splitlines()) == len(read_records(file)) == 200


def test_a_line_written_behind_a_torn_one_is_whole(tmp_path):
    file = tmp_path / "task.jsonl"
    write_record(file, record(1e-3, 0.1), {})
    file.write_text(file.read_text() + '{"run": {"meth')
    write_record(file, record(1e-2, 0.1), {})
    assert [found.spec.learning_rate for found in read_records(file)] == [1e-3, 1e-2]


GOOD = {"run": {"task": "a", "setting": "full", "method": "apt", "purpose": "final", "seed": 1}, "data_sha256": ""}
GOOD = {**GOOD, "minutes": 1, "metric": "f1", "dev": {"f1": 0.5}}
ODD = {
    "a number": b"5",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "no run": b'{"run": null}',
    "not UTF-8": b'{"run": "\xff"}',
    "deep": b"[" * 100_000,
    "cut off": json.dumps(GOOD).encode()[:-20],
    "a mark of a merge": b"<<<<<<< HEAD",
    "no seed": json.dumps(GOOD | {"run": {"task": "a"}}).encode(),
    "minutes in words": json.dumps(GOOD | {"minutes": "two"}).encode(),
    "a seed in words": json.dumps(GOOD | {"run": GOOD["run"] | {"seed": "1"}}).encode(),
    "no rate": json.dumps(GOOD | {"run": GOOD["run"] | {"train": {}}}).encode(),
    "another score": json.dumps(GOOD | {"dev": {"accuracy": 0.5}}).encode(),
    "scores no object": json.dumps(GOOD | {"dev": 0.5}).encode(),
    "no scores": json.dumps({key: value for key, value in GOOD.items() if key != "dev"}).encode(),
    "an unknown field": json.dumps(GOOD | {"colour": "red"}).encode(),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_line_that_is_no_record_is_named_and_passed_over(odd, tmp_path):
    file = tmp_path / "task.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b"\r\n\n" + ODD[odd] + b"\n")
    with pytest.warns(UserWarning, match=r"task\.jsonl: no record can be read in line 3 \(.*\); passed over") as said:
        assert [found.to_json() for found in read_records(file)] == [GOOD]
    messages = [str(one.message) for one in said if "no record" in str(one.message)]
    assert len(messages) == 1 and len(messages[0]) < 500


def test_many_odd_lines_bring_one_short_warning(tmp_path):
    (tmp_path / "task.jsonl").write_text("odd\n" * 1000)
    with pytest.warns(UserWarning, match="in line 1 .*, line 2 .*, line 3 .* and 997 more lines") as said:
        assert read_records(tmp_path / "task.jsonl") == []
    assert len(said) == 1


def test_of_two_lines_of_one_run_the_later_is_read(tmp_path):
    file = tmp_path / "task.jsonl"
    for held_out in (0.1, 0.2):
        write_record(file, record(1e-3, held_out), {})
    assert [found.score("held_out") for found in read_records(file)] == [0.2]  # its predictions are kept


def test_a_claim_is_held_once_and_given_back(tmp_path):
    file = tmp_path / "folder" / "run.lock"
    with claim(file) as first, claim(file) as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyError), claim(file):
        raise KeyError
    assert not file.exists()
