"""What APT is compared with, each prepared from the same fresh backbone."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from apt_minimal.attach import attach
from apt_minimal.lab.tasks import Task
from apt_minimal.prefix import AptConfig


def majority(task: Task, examples: list[dict]) -> list:
    """Predict the training set's most frequent label for every example (kind "token": its most frequent tag)."""
    if task.kind == "token":
        counts = Counter(tag for example in task.train for tag in example["row"]["ner_tags"])
        tag = task.labels.index(counts.most_common(1)[0][0])
        return [[tag] * len(example["row"]["tokens"]) for example in examples]
    label = Counter(example["label"] for example in task.train).most_common(1)[0][0]
    return [label] * len(examples)


def bag_of_words(task: Task, examples: list[dict]) -> list:
    """Predict from words alone, with no neural network and no pretraining.

    Kind "token": each word gets the tag it had most often in training, "O" if it was never seen. "sequence":
    logistic regression on the counts of words and word pairs of both texts, kept apart. "choice": the same,
    trained to tell right choices from wrong ones; the choice with the highest probability is taken.
    """
    if task.kind == "token":
        return _most_frequent_tag(task, examples)
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"), LogisticRegression(max_iter=1000))
    texts = [text for example in task.train for text in _texts(example["row"])]
    if task.kind == "sequence":
        model.fit(texts, [example["label"] for example in task.train])
        return [int(label) for label in model.predict([_texts(example["row"])[0] for example in examples])]
    right = [i == example["label"] for example in task.train for i in range(len(example["row"]["choices"]))]
    model.fit(texts, right)
    return [int(model.predict_proba(_texts(example["row"]))[:, 1].argmax()) for example in examples]


def _texts(row: dict) -> list[str]:
    """A row as text for counting: one for kind "sequence", one for each choice for kind "choice"."""
    seconds = row["choices"] if row["kind"] == "choice" else [row["text_pair"] or ""]
    # Words of the second text are marked, so that the same word in the first text is another feature.
    return [" ".join([row["text"] or "", *("2:" + word for word in second.split())]) for second in seconds]


def _most_frequent_tag(task: Task, examples: list[dict]) -> list:
    counts = defaultdict(Counter)
    for example in task.train:
        for word, tag in zip(example["row"]["tokens"], example["row"]["ner_tags"], strict=True):
            counts[word][task.labels.index(tag)] += 1
    tag_of = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return [[tag_of.get(word, 0) for word in example["row"]["tokens"]] for example in examples]


UNTRAINED = {"majority": majority, "bag_of_words": bag_of_words}


@dataclass(frozen=True)
class Method:
    """How a backbone with a fresh head is made ready for training: see `METHODS`.

    Attributes:
        config: what is attached; None for methods without a prefix.
        lora_rank: r of LoRA on queries and values; 0 for methods without LoRA.
        train_backbone: full fine-tuning.
    """

    config: AptConfig | None = None
    lora_rank: int = 0
    train_backbone: bool = False


METHODS = {
    "head_only": Method(),
    "full": Method(train_backbone=True),
    # 4 · d · r weights a layer against APT's 3 · l · d (+ 1): equal for r = 3/4 · l, so 12 for l = 16.
    "lora": Method(lora_rank=12),
    "p_tuning_v2": Method(AptConfig(token_gate=False, layer_gate=False)),
    "apt": Method(AptConfig()),
}


def load_model(task: Task, backbone: str | Path) -> nn.Module:
    """A pretrained backbone with a fresh head for the task, drawn from torch's current seed.

    Args:
        task: gives the kind of head and its labels.
        backbone: a hub name or a local folder.

    Raises:
        FileNotFoundError: the backbone looks like a local path and is none.
        ValueError: the checkpoint lacks weights of the backbone itself.
    """
    import transformers
    from transformers.utils import logging

    # Otherwise transformers takes a missing folder for a hub name and complains about its characters.
    if str(backbone).startswith("~"):
        backbone = Path(backbone).expanduser()
    if (Path(backbone).is_absolute() or str(backbone).startswith(".")) and not Path(backbone).is_dir():
        raise FileNotFoundError(f"there is no folder {backbone}; give an existing one or a hub name")
    heads = {"sequence": "SequenceClassification", "token": "TokenClassification", "choice": "MultipleChoice"}
    auto_model = getattr(transformers, f"AutoModelFor{heads[task.kind]}")
    names = {} if task.kind == "choice" else {"id2label": dict(enumerate(task.labels))}
    # transformers reports at length that the head is new; what matters is that nothing else is.
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, info = auto_model.from_pretrained(backbone, **names, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    missing = [key for key in info["missing_keys"] if key.startswith(model.base_model_prefix + ".")]
    if missing:
        raise ValueError(f"{backbone} lacks weights of the backbone: {', '.join(sorted(missing)[:3])} …")
    if names:
        model.config.label2id = {label: i for i, label in enumerate(task.labels)}
    return model


def prepare(model: nn.Module, method: str | Method, train_pooler: bool = False) -> nn.Module:
    """Make a model ready for a method: freeze, attach, wrap. Change it in place where possible, and return it.

    Args:
        model: as `load_model` gives it.
        method: a name in `METHODS`, or a `Method`.
        train_pooler: whether BERT's pooler trains; means the same for each method (full fine-tuning always does).

    Raises:
        ValueError: no such method.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
        method = METHODS[method]
    if method.train_backbone:
        return model
    if method.lora_rank:
        model = _add_lora(model, method.lora_rank)
    else:
        attach(model, method.config or AptConfig(prefix_length=0))
    if train_pooler:
        for name, parameter in model.named_parameters():
            if ".pooler." in name:
                parameter.requires_grad_(True)
    return model


def _add_lora(model: nn.Module, rank: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    backbone = model.base_model_prefix
    heads = [name for name, _ in model.named_children() if name not in (backbone, "dropout")]
    # α = 2 r and dropout 0.1 are the usual choices; peft freezes everything but its own weights and the head.
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.1, target_modules=["query", "value"], modules_to_save=heads
    )
    return get_peft_model(model, config)
