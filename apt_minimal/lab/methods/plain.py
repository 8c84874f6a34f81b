"""A backbone with a fresh head, and how it is made ready for the methods that need no file of their own."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from apt_minimal.attach import attach
from apt_minimal.lab.data.tasks import Task
from apt_minimal.prefix import AptConfig


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
        # float32 whatever the file holds: half precision is too coarse for small steps
        model, info = auto_model.from_pretrained(backbone, **names, dtype=torch.float32, output_loading_info=True)
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


def attached(model: nn.Module, method) -> nn.Module:
    """Freeze the backbone and attach the method's prefix, if it has one."""
    return attach(model, method.config or AptConfig(prefix_length=0))


def attached_with(change: Callable[[nn.Module], nn.Module]) -> Callable:
    """The same, followed by a change of the attached model."""
    return lambda model, method: change(attached(model, method))


def unchanged(model: nn.Module, method) -> nn.Module:
    """Full fine-tuning: all of the model trains."""
    return model


def shifted(model: nn.Module, method) -> nn.Module:
    """Attach, and number positions from l on: what `past_key_values` of that length does to a transformers model.

    So the first token has position l, as in P-tuning v2's own code, and not 0. It belongs to the prepared model:
    `detach` doesn't undo it, and an adapter doesn't hold it.
    """

    backbone: Any = attached(model, method).base_model
    embeddings = backbone.embeddings
    known = inspect.signature(embeddings.forward).parameters
    (length,) = {"past_key_values_length", "cache_length"} & known.keys()  # the second from transformers 5.24 on

    def shift(embeddings, args, kwargs):
        return args, kwargs | {length: method.config.prefix_length}

    embeddings.register_forward_pre_hook(shift, with_kwargs=True)
    return model


# Names of the projections to queries and values, host by host; where one projection makes all three, it is that one.
QUERIES_AND_VALUES = [["query", "value"], ["q", "v"], ["q_lin", "v_lin"], ["query_proj", "value_proj"]]
QUERIES_AND_VALUES += [["q_proj", "v_proj"], ["Wqkv"], ["in_proj"]]


def with_lora(model: nn.Module, method) -> nn.Module:
    """LoRA on queries and values, of rank `method.options["lora_rank"]`."""
    from peft import LoraConfig, get_peft_model

    backbone, rank = model.base_model_prefix, method.options["lora_rank"]
    base: Any = model.base_model
    names = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    targets = next((pair for pair in QUERIES_AND_VALUES if names.issuperset(pair)), None)
    if targets is None:
        raise ValueError(f"LoRA knows no queries and values in a {type(model).__name__}; add their names")
    heads = [name for name, _ in model.named_children() if name not in (backbone, "dropout")]
    # α = 2 r and dropout 0.1 are the usual choices; peft freezes everything but its own weights and the head.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.1, target_modules=targets, modules_to_save=heads)
    return get_peft_model(model, config)


def as_it_is(model: nn.Module, task: Task, method) -> AbstractContextManager[tuple[nn.Module, Task]]:
    """Train the model itself on the task itself."""
    return nullcontext((model, task))
