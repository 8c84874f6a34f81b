"""Records of runs: written whole whatever else is written, read once, and claims held by one process at a time."""

import subprocess
import sys

import pytest
from made import record

from apt_minimal.lab.experiments.records import claim, read_records, write_record


def test_the_main_score_is_the_metrics():
    assert record(1e-3, 0.3).score("held_out") == 0.3


def test_no_file_has_no_lines(tmp_path):
    assert read_records(tmp_path / "none.jsonl") == []


@pytest.mark.slow
def test_lines_that_processes_write_at_once_are_all_whole(tmp_path):
    script = """
import sys; from pathlib import Path; from apt_minimal.lab.experiments.records import RunRecord, RunSpec, write_record
print("ready", flush=True), input()
for i in range(100):
    spec = RunSpec("task", "full", sys.argv[2], "final", i)
    write_record(Path(sys.argv[1]), RunRecord(spec, "x" * 50_000), {})
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


def test_a_line_that_stands_twice_is_read_once(tmp_path):
    file = tmp_path / "task.jsonl"
    for held_out in (0.1, 0.2):
        write_record(file, record(1e-3, held_out), {})
    assert [found.score("held_out") for found in read_records(file)] == [0.1]


def test_a_claim_is_held_once_and_given_back(tmp_path):
    file = tmp_path / "folder" / "run.lock"
    with claim(file) as first, claim(file) as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyError), claim(file):
        raise KeyError
    assert not file.exists()
