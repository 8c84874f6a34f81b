"""Records of runs: as they stand in a line, and back."""

import json

from made import record

from apt_minimal.lab.experiments.records import RunRecord


def test_the_main_score_is_the_metrics():
    assert record(1e-3, 0.3).score("held_out") == 0.3


def test_a_record_comes_back_from_its_line():
    one = record(1e-3, 0.3)
    assert RunRecord.from_json(json.loads(json.dumps(one.to_json()))) == one
