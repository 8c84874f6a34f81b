"""Tables from lines and prediction files: against hand computation, with missing and diverged runs said."""

import hashlib

import numpy as np
import pytest

from apt_minimal.lab.experiments.comparisons import excluded
from apt_minimal.lab.experiments.grid import all_runs, read_grid
from apt_minimal.lab.experiments.intervals import difference_interval, score_interval
from apt_minimal.lab.experiments.plots import plot_scores
from apt_minimal.lab.experiments.recordings import RESULTS, load_recording
from apt_minimal.lab.experiments.records import RunRecord
from apt_minimal.lab.experiments.results import read_results, write_record
from apt_minimal.lab.experiments.tables import (
    difference_table,
    finished_table,
    paper_scores,
    run_table,
    score_table,
    search_table,
)
from apt_minimal.lab.methods import LABELS

GRID = """
backbone = "b"
seeds = [1, 2, 3]
settings = ["full"]
[train]
[search]
seeds = [0]
max_steps = 20
[methods]
majority = []
lora = [1e-3, 3e-3, 1e-2]
p_tuning_v2 = [1e-2]
apt = [1e-2, 2e-2, 3e-2]
[tasks.mine]
[tasks.other]
"""
RIGHT, CHOSEN = {"majority": 0.5, "lora": 0.5, "apt": 0.8}, {"lora": 1e-2, "apt": 2e-2}


@pytest.fixture
def file(tmp_path):
    """A recording: on "mine" all of majority and APT, LoRA with one seed diverged; nothing else."""
    rng = np.random.default_rng(1)
    file = tmp_path / "grid.toml"
    file.write_text(GRID)
    grid, records = read_grid(file), []
    for purpose in ("search", "final"):  # the searches, then what they allow
        for spec in all_runs(grid, records)[0]:
            if (spec.task, spec.purpose) != ("mine", purpose) or spec.method not in RIGHT:
                continue
            gates = {"alpha_spread": [[0.1, 0.2], [0.0, spec.seed / 10], [None, None]]}
            splits = {"search": ("held_out",), "final": ("dev", "dev_best")}[purpose]
            counts = {split: [[int(r), 1] for r in rng.random(200) < RIGHT[spec.method]] for split in splits}
            if purpose == "search":
                counts = {"held_out": [[int(spec.learning_rate == CHOSEN[spec.method]), 1]]}
            scores = {split: {"accuracy": sum(r for r, _ in of) / len(of)} for split, of in counts.items()}
            record = RunRecord(spec, "1", 2.0, scores=scores, trained_parameters=7, gates=gates)
            if (purpose, spec.method, spec.seed) == ("final", "lora", 3):
                record, counts = RunRecord(spec, "1", 1.0, failed="nan"), {}
            records.append(record)
            write_record(tmp_path / "grid" / "mine.jsonl", record, {"predictions": {}, "counts": counts})
    return file


def test_scores_are_those_of_the_predictions_with_their_interval(file):
    recording = load_recording(file)
    table = score_table(recording)
    expected = score_interval(recording.counts("mine", "full", "apt", "dev"))
    assert sorted(recording.counts("mine", "full", "apt", "dev")) == [1, 2, 3]
    row = table.loc["mine", "APT"]
    assert list(row[["dev", "low", "high"]]) == pytest.approx(
        [100 * expected.mean, 100 * expected.low, 100 * expected.high]
    )
    assert row["dev_best"] == pytest.approx(
        np.mean([100 * line.scores["dev_best"]["accuracy"] for line in recording.of("mine", "full", "apt")])
    )
    assert np.isnan(row["test"]) and row["gates vary"] == pytest.approx(100 * 3 / 4)
    assert (row["rate"], row["edge"], row["seeds"]) == (2e-2, "", "3 of 3")


def test_majority_stands_beside_every_score_and_missing_runs_are_said(file):
    table = score_table(load_recording(file))
    assert list(table.index) == [
        (t, m) for t in ("mine", "other") for m in ("majority label", "LoRA", "P-tuning v2", "APT")
    ]
    assert table.loc["mine"]["majority"].nunique() == 1 and table.loc["mine"]["majority"].notna().all()
    assert table.loc[("mine", "LoRA"), "seeds"] == "2 of 3, 1 diverged"
    assert table.loc[("mine", "LoRA"), "edge"] == "highest"
    assert table.loc[("mine", "P-tuning v2"), "seeds"] == "0 of 3: missing"
    assert set(table.loc["other"]["seeds"]) == {"0 of 3: missing"}


def test_differences_are_paired_and_say_what_they_can(file):
    recording = load_recording(file)
    table = difference_table(recording)
    assert table.loc[("mine", "majority label"), "verdict"] == "higher"
    assert table.loc[("mine", "LoRA"), "seeds"] == 2
    assert table.loc[("mine", "P-tuning v2"), "verdict"].startswith("missing: 0 seeds in common")
    found = difference_interval(*(recording.counts("mine", "full", m, "dev") for m in ("lora", "majority")))
    row = difference_table(recording, method="lora").loc["mine", "majority label"]
    assert row["difference"] == pytest.approx(100 * found.mean)
    assert row["verdict"] == excluded(found) and row["verdict"].startswith("no difference shown; a gain above")


def test_finished_runs_are_counted_by_setting_task_and_method(file):
    table = finished_table(load_recording(file))
    assert list(table.index) == [("full", "mine"), ("full", "other")]
    assert table.loc[("full", "mine")].to_dict() == {"majority label": 3, "LoRA": 2, "P-tuning v2": 0, "APT": 3}
    assert (table.loc[("full", "other")] == 0).all()


def few_shot_recording(folder):
    """Two rates for the head, each searched with two seeds, and a final run; APT's search is half done."""
    file = folder / "few.toml"
    file.write_text(
        'backbone = "b"\nseeds = [1, 2]\nsettings = ["16-shot"]\n[train]\nepochs = 3\n[search]\nseeds = [7, 8]\n'
        "[methods]\nhead_only = [0.1, 0.3]\napt = [0.1, 0.3]\n[tasks.mine]\n"
    )
    grid = read_grid(file)
    scores = {0.1: [0.5, 0.75, 0.5], 0.3: [0.25, 1.0, 0.0]}
    records = []
    for _ in range(2):  # the searches, then what they allow
        for spec in all_runs(grid, records)[0]:
            history = scores[spec.learning_rate]
            if spec.key in [record.spec.key for record in records] or spec.method == "apt" and spec.seed == 8:
                continue
            found = {"held_out": {"accuracy": max(history)}}
            counts = {"held_out": [[round(4 * max(history)), 4]]}
            if spec.purpose == "final":
                found["dev"], counts["dev"] = {"accuracy": 0.5}, [[1, 1], [0, 1]]
            how = {"history": {"scores": history}, "trained_parameters": 3}
            records.append(RunRecord(spec, "1", 1.0, scores=found, **how))
            write_record(folder / "few" / "mine.jsonl", records[-1], {"predictions": {}, "counts": counts})
    return load_recording(file)


def test_a_run_has_the_score_that_chose_and_the_score_that_counts(tmp_path):
    table = run_table(few_shot_recording(tmp_path), "16-shot")
    assert table.values.tolist() == [["mine", "head_only", seed, 100.0, 50.0] for seed in (1, 2)]


def test_a_search_says_what_it_promised_and_how_its_scores_swung(tmp_path):
    table = search_table(few_shot_recording(tmp_path), "16-shot")
    assert list(table.index) == [("mine", "head only")]  # APT's search is not complete
    assert table.iloc[0].tolist() == [0.3, "highest", 100.0, (75 + 100) / 2, 25.0]


def test_a_line_that_its_predictions_contradict_is_named(file):
    results = file.with_suffix("") / "mine.jsonl"
    results.write_text(results.read_text().replace('"dev": {"accuracy": 0.', '"dev": {"accuracy": 0.0', 1))
    with pytest.raises(ValueError, match=r"majority-\w+\.json\.gz gives a dev score of .*, the line says 0\.0"):
        load_recording(file)


def test_lines_that_were_made_with_different_data_are_no_recording(file):
    results = file.with_suffix("") / "mine.jsonl"
    results.write_text(results.read_text().replace('"data_sha256": "1"', '"data_sha256": "2"', 1))
    with pytest.raises(ValueError, match=r"mine.jsonl were made with different data \(SHA-256: 1 with 2…, \d+ with 1…"):
        load_recording(file)


@pytest.mark.parametrize(
    "table, arguments, message",
    [
        (score_table, {"setting": "16-shot"}, "no setting '16-shot' here; there are full"),
        (difference_table, {"setting": "fulll"}, "no setting 'fulll'"),
        (difference_table, {"method": "aptt"}, "no method 'aptt' here; there are majority, lora, p_tuning_v2, apt"),
        (
            difference_table,
            {"split": "devv"},
            "no split 'devv' here; there are held_out, dev, test, dev_best, dev_best_test, last, last_test",
        ),
    ],
)
def test_what_the_grid_has_not_is_no_missing_run(table, arguments, message, file):
    with pytest.raises(ValueError, match=message):
        table(load_recording(file), **arguments)


def test_methods_that_score_alike_everywhere_are_not_called_a_precise_comparison(file):
    counts = load_recording(file).counts("mine", "full", "apt", "dev")
    assert (
        excluded(difference_interval(counts, counts)) == "no difference at all: every example scores the same in both"
    )


def test_a_missing_grid_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.toml"):
        load_recording("nowhere")


def test_in_the_plain_setting_the_test_split_counts():
    recording = load_recording("sample_entities")
    table = score_table(recording, "plain").loc["conll2004"]
    expected = score_interval(recording.counts("conll2004", "plain", "apt", "test"))
    assert table.loc["APT", "test"] == pytest.approx(100 * expected.mean)
    assert list(table.loc["APT", ["low", "high"]]) == pytest.approx([100 * expected.low, 100 * expected.high])
    assert table["dev"].isna().all() and table["dev_best"].notna().all()
    assert set(table["majority"]) == {table.loc["majority label", "test"]}
    found = difference_interval(*(recording.counts("conll2004", "plain", m, "test") for m in ("apt", "p_tuning_v2")))
    row = difference_table(recording, "plain").loc["conll2004", "P-tuning v2"]
    assert list(row[["difference", "low", "high"]]) == pytest.approx(
        [100 * found.mean, 100 * found.low, 100 * found.high]
    )


def test_the_majority_beside_a_score_is_that_of_the_split_that_counts(file):
    recording = load_recording(file)
    scores = [100 * line.score("dev") for line in recording.of("mine", "full", "majority")]
    assert list(score_table(recording).loc["mine"]["majority"]) == pytest.approx([np.mean(scores)] * 4)


def test_runs_that_the_grid_no_longer_asks_for_are_left_out(file):
    before = load_recording(file)
    file.write_text(GRID.replace("apt = [1e-2, 2e-2, 3e-2]", "apt = [3e-2]").replace("[1, 2, 3]", "[1, 3]"))
    after = load_recording(file)
    assert len(before.of("mine", "full", "apt")) == 3 and len(before.of("mine", "full", "apt", "search")) == 3
    assert after.of("mine", "full", "apt") == after.of("mine", "full", "apt", "search") == []
    assert [line.spec.seed for line in after.of("mine", "full", "majority")] == [1, 3]


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.toml")), ids=lambda file: file.stem)
def test_recorded_lines_are_their_grids_and_complete(file):
    recording = load_recording(file)  # which scores every prediction file again
    assert len(recording.records) == len(read_results(recording.folder))  # all are runs that the grid asks for
    assert all(record.versions and record.commit and record.device for record in recording.records)


def test_the_papers_figures_say_how_sure_we_are_of_each():
    assert set(paper_scores()["status"]) == {"recalled"}
    gain = paper_scores("gain").loc["ner_average"]
    assert (gain["APT"], gain["status"]) == (0.7, "second-hand")


def test_the_recordings_of_the_lessons_are_whole():
    for name in ("conll2004", "sample_entities"):
        assert set(score_table(load_recording(name), "plain")["seeds"]) == {"5 of 5"}


# Of the tables of a finished recording, rounded to four decimals: the same numbers whatever is rebuilt.
TABLES = {"conll2004": "7fd36eecb03a404e", "sample_entities": "845315910276dddf"}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_finished_recordings_keep_their_numbers(name):
    tables = [table(load_recording(name), "plain") for table in (score_table, difference_table, run_table)]
    text = "".join(table.round(4).to_csv() for table in tables)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == TABLES[name]


def test_the_score_plot_shows_seeds_and_the_interval_over_seeds_and_examples(file):
    recording = load_recording(file)
    (axis,) = plot_scores(recording, "mine", split="dev_best").axes
    names = [tick.get_text() for tick in axis.get_yticklabels()]
    assert names == [LABELS[method] for method in ("apt", "p_tuning_v2", "lora", "majority")]
    marks = {names[int(line.get_ydata()[0])]: line for line in axis.lines if line.get_linestyle() == "None"}
    bars = {names[round(line.get_ydata()[0])]: line for line in axis.lines if line.get_linestyle() == "-"}
    assert marks.keys() == bars.keys() == set(names) - {"P-tuning v2"}
    assert [(text.get_text(), text.get_position()[1]) for text in axis.texts] == [("missing", 1)]
    lines = recording.of("mine", "full", "apt")
    assert list(marks["APT"].get_xdata()) == pytest.approx([100 * line.score("dev_best") for line in lines])
    found = score_interval(recording.counts("mine", "full", "apt", "dev_best"))
    assert list(bars["APT"].get_xdata()) == pytest.approx([100 * found.low, 100 * found.high])
    assert plot_scores(recording, "mine").axes[0].get_xlabel() == "dev accuracy, per cent"
