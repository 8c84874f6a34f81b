"""The hub: the real client loads every benchmark from a stand-in that serves its documented fields."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from standin import hub
from transformers import AutoTokenizer, BertConfig, BertModel

from apt_minimal.course.run import run_notebook
from apt_minimal.lab.data.hub import HUB, ONTONOTES5_TAGS, load_hub_rows
from apt_minimal.lab.data.shapes import ENTITY_TYPES, LABELS, reshape
from apt_minimal.lab.data.sources import load_rows

pytestmark = pytest.mark.slow  # imports datasets and waits for a hub that is not there

SPLITS = ("train", "validation", "test")
TEXT, NUMBER = Value("string"), Value("int32")
BOOLEAN, CHOICE = ClassLabel(names=["False", "True"]), ClassLabel(names=["choice1", "choice2"])
NLI = {"premise": TEXT, "hypothesis": TEXT, "idx": NUMBER}
SPAN = [{"end": Value("int64"), "start": Value("int64"), "type": TEXT}]
RELATION = [{"head": Value("int64"), "tail": Value("int64"), "type": TEXT}]


def bio(*types):
    return List(ClassLabel(names=["O", *(f"{place}-{type}" for type in types for place in "BI")]))


# Each benchmark's features as its owner documents them (see docs/data.md), where its files lie, a row, and what that
# row is to be read as. Numbers stand for labels.
SUPER_GLUE = {
    "boolq": (
        {"question": TEXT, "passage": TEXT, "idx": NUMBER, "label": BOOLEAN},
        {"question": "is it", "passage": "It is.", "idx": 0, "label": 1},
        {"text": "is it", "text_pair": "It is.", "label": "True"},
    ),
    "cb": (
        {**NLI, "label": ClassLabel(names=["entailment", "contradiction", "neutral"])},
        {"premise": "p", "hypothesis": "h", "idx": 0, "label": 2},
        {"text": "p", "text_pair": "h", "label": "neutral"},
    ),
    "copa": (
        {"premise": TEXT, "choice1": TEXT, "choice2": TEXT, "question": TEXT, "idx": NUMBER, "label": CHOICE},
        {
            "premise": "It fell.",
            "choice1": "It broke.",
            "choice2": "It rose.",
            "question": "effect",
            "idx": 0,
            "label": 1,
        },
        {"text": "It fell so", "choices": ["it broke.", "it rose."], "label": 1},
    ),
    "rte": (
        {**NLI, "label": ClassLabel(names=["entailment", "not_entailment"])},
        {"premise": "p", "hypothesis": "h", "idx": 0, "label": 1},
        {"text": "p", "text_pair": "h", "label": "not_entailment"},
    ),
    "wic": (
        {"word": TEXT, "sentence1": TEXT, "sentence2": TEXT}
        | dict.fromkeys(("start1", "start2", "end1", "end2", "idx"), NUMBER)
        | {"label": BOOLEAN},
        {"word": "bank", "sentence1": "a bank", "sentence2": "the bank", "start1": 2, "start2": 4, "end1": 6, "end2": 8}
        | {"idx": 0, "label": 0},
        {"text": "bank: a bank", "text_pair": "the bank", "label": "False"},
    ),
    "wsc": (
        {"text": TEXT, "span1_index": NUMBER, "span2_index": NUMBER, "span1_text": TEXT, "span2_text": TEXT}
        | {"idx": NUMBER, "label": BOOLEAN},
        {"text": "Al saw Bo when he sat.", "span1_index": 0, "span2_index": 4, "span1_text": "Al", "span2_text": "he"}
        | {"idx": 0, "label": 1},
        {"text": "Al", "text_pair": "he: Al saw Bo when he sat.", "label": "True"},
    ),
}
WORDS = ["Anna", "Bo", "left", "Rome"]
ENTITIES = {
    "conll2003": (
        {"id": TEXT, "tokens": List(TEXT), "pos_tags": List(NUMBER), "chunk_tags": List(NUMBER)}
        | {"ner_tags": bio("PER", "ORG", "LOC", "MISC")},
        {"id": "0", "tokens": WORDS, "pos_tags": [0] * 4, "chunk_tags": [0] * 4, "ner_tags": [1, 2, 0, 5]},
        ["B-PER", "I-PER", "O", "B-LOC"],
    ),
    "conll2004": (
        {"entities": SPAN, "tokens": List(TEXT), "relations": RELATION, "orig_id": Value("int64")},
        {
            "entities": [{"end": 4, "start": 3, "type": "Loc"}, {"end": 2, "start": 0, "type": "Peop"}],
            "tokens": WORDS,
            "relations": [{"head": 1, "tail": 0, "type": "Live_In"}],
            "orig_id": 7,
        },
        ["B-Peop", "I-Peop", "O", "B-Loc"],
    ),
    "ontonotes5": (
        {"tokens": List(TEXT), "tags": List(NUMBER)},
        {"tokens": WORDS, "tags": [4, 5, 0, 7]},
        ["B-PERSON", "I-PERSON", "O", "B-GPE"],
    ),
    "wnut17": (
        {"id": TEXT, "tokens": List(TEXT)}
        | {"ner_tags": bio("corporation", "creative-work", "group", "location", "person", "product")},
        {"id": "0", "tokens": WORDS, "ner_tags": [9, 10, 0, 7]},
        ["B-person", "I-person", "O", "B-location"],
    ),
}


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch):
    monkeypatch.delenv("APT_DATA", raising=False)


def to_parquet(file, features, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(file)


def write_all(root, copies=2):
    """Every benchmark's files where its owner has them: in each split so many copies of a row of the table above."""
    for name, (features, row, _) in SUPER_GLUE.items():
        for split in SPLITS:
            rows = [{**row, "label": -1}] * copies if split == "test" else [row] * copies
            to_parquet(root / f"aps/super_glue/{name}/{split}-00000-of-00001.parquet", features, rows)
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {name}/{split}-*\n" for split in SPLITS)
        for name in SUPER_GLUE
    )
    (root / "aps/super_glue/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for name, (features, row, _) in ENTITIES.items():
        place = "ontonotes5/{}/0000.parquet" if name == "ontonotes5" else "data/{}-00000-of-00001.parquet"
        for split in SPLITS:
            to_parquet(root / HUB[name][0] / place.format(split), features, [row] * copies)


def client(home, code, endpoint="http://127.0.0.1:9", offline="0"):
    """Run code in a process whose client knows no other hub and no other cache; gives all that it says."""
    places = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    program = f"import json\nfrom apt_minimal.lab.data.sources import HUB, load_rows\n{code}"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


MISSING = """
HUB["rte"] = ("no/such", "rte", None)
try:
    load_rows("rte", "hub")
except FileNotFoundError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """All that `load_rows` gives from the stand-in, in one process; then two of them offline, from the cache."""
    datasets.disable_progress_bars()
    root, home = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home")
    write_all(root)
    with hub(root) as (endpoint, asked):
        code = "print(json.dumps({name: load_rows(name, 'hub') for name in HUB}))"
        online, missing = client(home, code + MISSING, endpoint)
        count = len(asked)
        offline = client(home, code.replace("in HUB", "in ('cb', 'ontonotes5')"), endpoint, offline="1")[-1]
        assert len(asked) == count
    return json.loads(online), json.loads(offline), json.loads(missing)


@pytest.mark.parametrize("name", SUPER_GLUE)
def test_a_superglue_task_is_read_without_its_unlabelled_test_split(name, served):
    rows, where = served[0][name]
    assert {split: len(rows[split]) for split in SPLITS} == {"train": 2, "validation": 2, "test": 0}
    kind = "choice" if name == "copa" else "sequence"
    assert reshape(name, rows["train"][0]) == {"kind": kind, **SUPER_GLUE[name][2]}
    assert where == f"hub, aps/super_glue, {name}"


@pytest.mark.parametrize("name", ENTITIES)
def test_entities_are_read_in_iob2_with_names(name, served):
    rows, where = served[0][name]
    assert {split: len(rows[split]) for split in SPLITS} == dict.fromkeys(SPLITS, 2)
    expected = {"kind": "token", "tokens": WORDS, "ner_tags": ENTITIES[name][2]}
    assert [reshape(name, row) for row in rows["test"]] == [expected] * 2
    assert where.startswith(f"hub, {HUB[name][0]}")


def test_offline_the_clients_cache_serves(served):
    online, offline, _ = served
    assert offline == {name: online[name] for name in ("cb", "ontonotes5")}


def test_a_missing_data_set_is_named(served):
    assert served[2].startswith("no rows for 'rte'; looked at the hub gives no no/such (")


def test_without_a_hub_there_is_one_short_try_and_auto_takes_the_sample(tmp_path):
    said, where = client(tmp_path, "print(load_rows('rte')[1])")
    assert where.startswith("sample in rte's form")
    assert said.startswith("rte: the hub gives no aps/super_glue (") and "refused" in said


def test_offline_without_a_cache_says_so_at_once():
    with pytest.raises(FileNotFoundError, match="the hub gives no DFKI-SLT/conll04 .HF_HUB_OFFLINE is set"):
        load_rows("conll2004", "hub")


def test_a_task_that_no_hub_has_is_refused_with_those_it_has():
    with pytest.raises(FileNotFoundError, match="looked at the hub .known there are boolq, .*wnut17"):
        load_rows("mine", "hub")


@pytest.fixture
def given(monkeypatch):
    """Let the client give these features and rows for every split."""

    def give(features, rows):
        data = Dataset.from_list(rows, features=Features(features))
        monkeypatch.setattr(datasets, "load_dataset", lambda *place, **options: dict.fromkeys(SPLITS, data))

    return give


@pytest.mark.parametrize("name", ["rte", "conll2004"])
def test_auto_takes_the_hub_before_the_sample(name, given):
    features, row, _ = {**SUPER_GLUE, **ENTITIES}[name]
    given(features, [row])
    assert load_rows(name)[1].startswith("hub, ")


def test_auto_takes_a_folder_before_the_hub(given, write, tmp_path):
    features, row, _ = SUPER_GLUE["rte"]
    given(features, [row])
    folder = write("rte", train=[{"premise": "a"}], validation=[{"premise": "b"}])
    assert load_rows("rte", data_dir=tmp_path)[1] == f"folder {folder}"


def test_other_label_names_are_refused(given):
    features, row, _ = SUPER_GLUE["rte"]
    given({**features, "label": ClassLabel(names=["not_entailment", "entailment"])}, [row])
    with pytest.raises(ValueError, match="rte's labels are .'not_entailment', 'entailment'. on the hub, not"):
        load_hub_rows("rte")


BROKEN = {
    "conll2003": ({"tokens": List(TEXT), "ner_tags": List(NUMBER)}, {"tokens": WORDS, "ner_tags": [0] * 4}),
    "ontonotes5": ({"tokens": List(TEXT), "tags": List(NUMBER)}, {"tokens": WORDS, "tags": [0, 0, 0, 37]}),
    "conll2004": ({"words": List(TEXT), "entities": SPAN}, {"words": WORDS, "entities": []}),
    "cb": (NLI, {"premise": "p", "hypothesis": "h", "idx": 0}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_other_fields_are_refused(name, given):
    given(BROKEN[name][0], [BROKEN[name][1]])
    with pytest.raises(ValueError, match=f"{HUB[name][0]} is not as documented"):
        load_hub_rows(name)


@pytest.mark.parametrize("start, end", [(1, 1), (3, 5), (-1, 2)])
def test_a_span_that_cannot_be_is_refused(start, end, given):
    features, row, _ = ENTITIES["conll2004"]
    given(features, [{**row, "entities": [{"start": start, "end": end, "type": "Loc"}]}])
    with pytest.raises(ValueError, match="does not fit 4 tokens; its end should be exclusive"):
        load_hub_rows("conll2004")


def test_an_empty_sentence_is_left_out(given):
    features, row, _ = ENTITIES["wnut17"]
    given(features, [row, {"id": "1", "tokens": [], "ner_tags": []}])
    assert len(load_hub_rows("wnut17")[0]["test"]) == 1


def test_ontonotes_tags_are_every_types_b_and_i_once():
    expected = {"O", *(f"{place}-{type}" for type in ENTITY_TYPES["ontonotes5"] for place in "BI")}
    assert set(ONTONOTES5_TAGS) == expected and len(ONTONOTES5_TAGS) == 37


def test_ontonotes_tags_spell_the_example_of_the_data_sets_card():
    tags = " ".join(ONTONOTES5_TAGS[number] for number in [4, 5, 0, 11, 12, 12, 12, 12, 0, 7])
    # Phil Rosen … Fleet & Leasing Management Inc. … Boston
    assert tags == "B-PERSON I-PERSON O B-ORG I-ORG I-ORG I-ORG I-ORG O B-GPE"


@pytest.mark.parametrize("number", ["00", "07", "08", "09", "10"])
def test_a_lesson_runs_on_the_hubs_benchmark_with_another_backbone(number, tmp_path, monkeypatch, minilm):
    AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(**sizes)).save_pretrained(tmp_path / "bert")
    write_all(tmp_path, copies=40)
    (lesson,) = (Path(__file__).parents[3] / "notebooks").glob(f"{number}_*.ipynb")
    with hub(tmp_path) as (endpoint, _):
        places = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        chosen = {"BACKBONE": str(tmp_path / "bert"), "SOURCE": "hub", "STEPS": "20", "DEVICE": "cpu"}
        for name, value in (places | {f"APT_{name}": value for name, value in chosen.items()}).items():
            monkeypatch.setenv(name, value)
        assert run_notebook(lesson, tmp_path) is None
    shown = (tmp_path / lesson.name).read_text(encoding="utf-8")
    if number == "10":  # whose task is made of the benchmark's names
        assert "['person', 'place'] 160 to draw from" in shown
    else:
        assert ("hub, aps/super_glue, rte" if number == "08" else "hub, DFKI-SLT/conll04") in shown


def test_every_known_task_is_on_the_hub():
    assert list(HUB) == [*LABELS, *ENTITY_TYPES]
