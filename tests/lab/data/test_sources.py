"""Sources: which rows are read, from where, in which order, and what is said when they can't be."""

import json

import pytest

from apt_minimal.lab.data.sources import load_rows
from apt_minimal.lab.data.tasks import load_task

ROWS = [{"text": f"row {i}", "label": "yes"} for i in range(25)]


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch, tmp_path):
    """No $APT_DATA, and a working folder of its own."""
    monkeypatch.delenv("APT_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def text_file(tmp_path):
    def make(name, text, encoding="utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return make


def three(tag):
    return {split: [{"text": f"{tag} {split}", "label": "a"}] for split in ("train", "validation", "test")}


@pytest.mark.parametrize("source", ["auto", "folder"])
def test_a_folder_below_data_dir_gives_its_splits(source, write, tmp_path):
    write("mine", **three("m"))
    rows, where = load_rows("mine", source, tmp_path)
    assert rows == three("m")
    assert where == f"folder {tmp_path / 'mine'}"


def test_the_environment_names_the_data_folder(write, tmp_path, monkeypatch):
    write("mine", **three("m"))
    monkeypatch.setenv("APT_DATA", str(tmp_path))
    assert load_rows("mine")[0] == three("m")


def test_data_dir_goes_before_the_environment(write, tmp_path, monkeypatch):
    write("mine", **three("m"))
    monkeypatch.setenv("APT_DATA", str(tmp_path / "here"))
    assert load_rows("mine", data_dir=tmp_path)[0] == three("m")


def test_a_folder_may_be_named_by_its_path(write):
    folder = write("mine", **three("m"))
    assert load_rows(str(folder))[0] == three("m")


def test_a_folder_may_have_csv_files_and_no_test_split(write, tmp_path, text_file):
    write("mine", train=ROWS[:2])
    text_file("mine/validation.csv", "text,label\nhello,yes\n")
    rows, _ = load_rows("mine", "folder", tmp_path)
    assert rows == {"train": ROWS[:2], "validation": [{"text": "hello", "label": "yes"}], "test": []}


def test_auto_takes_a_folder_before_the_sample(write, tmp_path):
    write("rte", **three("own"))
    assert load_rows("rte", "auto", tmp_path)[0] == three("own")


def test_auto_takes_the_sample_where_the_folder_lacks_the_task(tmp_path):
    assert load_rows("rte", "auto", tmp_path) == load_rows("rte", "sample")


def test_the_sample_is_taken_when_asked_for_whatever_folder_there_is(write, tmp_path):
    write("rte", **three("own"))
    rows, where = load_rows("rte", "sample", tmp_path)
    assert len(rows["train"]) == 180
    assert "sample" in where and "not rte itself" in where


def test_folder_does_not_fall_back_on_the_sample(tmp_path):
    with pytest.raises(FileNotFoundError, match="no rows for 'rte'"):
        load_rows("rte", "folder", tmp_path)


def test_auto_says_which_it_took_and_others_say_nothing(write, tmp_path, tokenizer, capsys):
    write("rte", train=[{"premise": "a", "hypothesis": "b", "label": 0}] * 2, validation=[])
    (tmp_path / "rte/train.jsonl").replace(tmp_path / "rte/validation.jsonl")
    write("rte", train=[{"premise": "a", "hypothesis": "b", "label": 0}])
    task = load_task("rte", tokenizer, data_dir=tmp_path)
    assert capsys.readouterr().out == f"rte: from the folder {tmp_path / 'rte'}\n"
    assert task.source == f"folder {tmp_path / 'rte'}"
    load_task("rte", tokenizer, data_dir=tmp_path / "here")
    why, which = capsys.readouterr().out.splitlines()
    assert why.startswith("rte: the hub gives no aps/super_glue") and which.startswith("rte: from the sample")
    load_task("rte", tokenizer, source="sample")
    assert capsys.readouterr().out == ""


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        load_rows("rte", "auto", tmp_path / "nowhere")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_split_is_named(split, write, tmp_path):
    (write("mine", **three("m")) / f"{split}.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=rf"mine has no {split}\.jsonl"):
        load_rows("mine", "folder", tmp_path)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_is_named(split, write, tmp_path):
    write("mine", **{**three("m"), split: []})
    with pytest.raises(ValueError, match=rf"{split}\.jsonl is empty"):
        load_rows("mine", "folder", tmp_path)


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="source is 'web'.*auto.*folder.*hub.*sample"):
        load_rows("rte", "web")


@pytest.mark.parametrize("name", ["rte2", "no/such/file.jsonl"])
def test_an_unknown_name_lists_names_shapes_and_where_was_looked(name, tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_task(name, tokenizer, data_dir=tmp_path)
    parts = [
        "boolq",
        "wnut17",
        "tokens, ner_tags",
        "choices, label",
        str(tmp_path / name),
        "the hub",
        "the shipped sample",
    ]
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize("count", [10, 19, 25, 30])
def test_a_single_file_is_cut_without_loss_or_overlap(count, tmp_path):
    file = tmp_path / "own.jsonl"
    rows = [{"text": str(i), "label": "yes"} for i in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut, where = load_rows(str(file))
    assert sorted(int(row["text"]) for split in cut.values() for row in split) == list(range(count))
    assert len(cut["validation"]) == len(cut["test"]) == count // 10
    assert cut == load_rows(str(file))[0]
    assert where == f"file {file}, cut 8:1:1"


def test_a_single_file_is_shuffled_before_it_is_cut(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"text": str(i)}) + "\n" for i in range(100)))
    validation = [int(row["text"]) for row in load_rows(str(file))[0]["validation"]]
    assert max(validation) - min(validation) > 30


CONLL = "Anna I-PER\n\nRome I-LOC\n\nhe O\n\n"


def test_a_folder_may_have_files_in_conlls_columns(text_file, tmp_path):
    (tmp_path / "mine").mkdir()
    text_file("mine/train.txt", CONLL)
    text_file("mine/validation.conll", CONLL.replace("I-", "B-"))
    rows, where = load_rows("mine", "folder", tmp_path)
    assert (
        rows["train"]
        == rows["validation"]
        == [
            {"tokens": ["Anna"], "ner_tags": ["B-PER"]},
            {"tokens": ["Rome"], "ner_tags": ["B-LOC"]},
            {"tokens": ["he"], "ner_tags": ["O"]},
        ]
    )
    assert where == f"folder {tmp_path / 'mine'}; train.txt from IOB1 to IOB2"


@pytest.mark.parametrize("ending", ["csv", "conll", "json"])
def test_two_files_for_one_split_are_refused(ending, write, text_file, tmp_path):
    write("mine", **three("m"))
    text_file(f"mine/train.{ending}", "")
    with pytest.raises(ValueError, match=rf"mine has train\.jsonl and train\.{ending}; a split is one file"):
        load_rows("mine", "folder", tmp_path)


def test_a_name_too_long_for_a_path_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="no rows for 'xxx.*too long"):
        load_rows("x" * 5000, "auto", tmp_path)


@pytest.mark.parametrize("name", ["own.conll", "own.txt"])
def test_a_single_file_in_conlls_columns_is_cut(name, text_file):
    rows, where = load_rows(str(text_file(name, CONLL * 10)))
    assert [len(split) for split in rows.values()] == [24, 3, 3]
    assert where.endswith(f"{name}, cut 8:1:1; {name} from IOB1 to IOB2")


def test_a_single_file_too_small_to_cut_is_refused(text_file):
    file = text_file("own.csv", "text,label\n" + "a,b\n" * 9)
    with pytest.raises(ValueError, match=r"own\.csv has 9 rows, too few"):
        load_rows(str(file))


def test_data_dir_goes_before_a_folder_that_happens_to_have_the_tasks_name(write, tmp_path):
    write("mine", **three("m"))
    (tmp_path / "here" / "mine").mkdir()
    assert load_rows("mine", "folder", tmp_path)[0] == three("m")


def test_the_sample_needs_no_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("APT_DATA", str(tmp_path / "nowhere"))
    assert len(load_rows("rte", "sample")[0]["train"]) == 180


def test_a_folder_of_ones_own_is_not_called_a_sample(write):
    with pytest.raises(FileNotFoundError):
        load_rows(str(write("mine", **three("m"))), "sample")
