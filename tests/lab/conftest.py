"""What the lab's tests share: a tiny BERT with a real WordPiece tokenizer, and made tasks of every kind."""

import json
import string
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from made import WORDS, made_row
from torch.nn.functional import one_hot
from transformers import BertConfig, BertModel, BertTokenizerFast

from apt_minimal.lab.data.tasks import Task, load_task
from apt_minimal.lab.methods import load_model, prepare
from apt_minimal.lab.train.loop import TrainConfig, train


def pytest_configure(config):
    # Most made tasks are a handful of rows, again and again.
    config.addinivalue_line("filterwarnings", "ignore:.*are training rows too")


@pytest.fixture(scope="session")
def tokenizer():
    """WordPiece with a few whole words; all others are spelt letter by letter."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [start + letter for start in ("", "##") for letter in string.ascii_lowercase + string.digits]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate([*special, *letters, *WORDS])})


@pytest.fixture(scope="session")
def backbone(tokenizer, tmp_path_factory):
    """Folder of a tiny BERT with its tokenizer; weights are large enough for inputs to look different."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.dim() == 2 else 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def write(tmp_path):
    """Write a task's rows as `<name>/<split>.jsonl` below tmp_path; returns the task's folder."""

    def to_folder(name, **splits):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for split, rows in splits.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        return folder

    return to_folder


@pytest.fixture
def make_task(write, tmp_path, tokenizer):
    """Load a made task of 24, 10 and 8 examples, or a task from rows that are given for train and validation."""

    def make(kind="token", rows=None, name=None, **options):
        rows = rows or [made_row(kind, i) for i in range(42)]
        name = name or f"my_{kind}"
        write(name, train=rows[:24], validation=rows[24:34] or rows, test=rows[34:42] or rows)
        return load_task(name, tokenizer, source="folder", data_dir=tmp_path, **options)

    return make


@pytest.fixture(params=["token", "text", "pair", "choice"])
def any_task(request, make_task):
    """One made task of each kind; sequence classification with one text and with two."""
    return make_task(request.param)


@pytest.fixture
def make_model(backbone):
    """The tiny backbone with a fresh head for a task, made ready for a method."""

    def make(task, method="apt", seed=0):
        torch.manual_seed(seed)
        return prepare(load_model(task, backbone), method)

    return make


@pytest.fixture
def trained():
    """Copies of what a model trains, by name."""
    return lambda model: {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def same():
    """Whether two nested structures of tensors, numbers and texts are the same to the last bit."""

    def compare(a, b):
        if isinstance(a, torch.Tensor):
            return torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(compare(a[key], b[key]) for key in a)
        if isinstance(a, list | tuple):
            return len(a) == len(b) and all(map(compare, a, b))
        return a == b

    return compare


@pytest.fixture
def scripted(monkeypatch):
    """Let a task's scores follow a list, and collect what `look` returns at each evaluation."""

    def script(scores, look=lambda: None):
        seen, coming = [], iter(scores)

        def score(task, predictions, examples):
            seen.append(look())
            return {task.metric: next(coming)}

        monkeypatch.setattr(Task, "score", score)
        return seen

    return script


@pytest.fixture
def gold():
    """Predictions of a model that is always right: one-hot logits from `collate`, through `decode`."""

    def predict(task, examples):
        labels = task.collate(examples)["labels"].clamp(min=0)
        return task.decode(one_hot(labels, len(task.labels)).float(), examples)

    return predict


@pytest.fixture
def interrupt(monkeypatch):
    """Raise after so many batches, training's and evaluation's counted together; `.off()` lets them pass again."""

    def after(batches, error=KeyboardInterrupt):
        collate, count = Task.collate, iter(range(batches))

        def wrapper(task, examples):
            if next(count, None) is None:
                raise error
            return collate(task, examples)

        monkeypatch.setattr(Task, "collate", wrapper)
        return SimpleNamespace(off=lambda: monkeypatch.setattr(Task, "collate", collate))

    return after


@pytest.fixture
def file(tmp_path):
    """Where a checkpoint goes: in a folder that does not exist yet."""
    return tmp_path / "checkpoints" / "run.pt"


@pytest.fixture
def fit(make_task, make_model, trained):
    """Train 12 steps, with an evaluation after every third; returns the history and what was trained."""

    def run(checkpoint=None, model=None, task=None, **changes):
        task = task or make_task()
        model = model or make_model(task)
        config = TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=12, evaluations=4)
        history = train(model, task, replace(config, **changes), checkpoint, progress=False)
        return vars(history), trained(model)

    return run
