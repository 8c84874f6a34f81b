"""What APT is compared with, each prepared from the same fresh backbone."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from apt_minimal.attach import attach
from apt_minimal.lab.data.tasks import Task
from apt_minimal.lab.methods import attach_beside, use_log_gates, use_prune_gates, use_query_gates
from apt_minimal.lab.methods.untrained import UNTRAINED
from apt_minimal.prefix import AptConfig

__all__ = ["METHODS", "UNTRAINED", "Method", "load_model", "method_named", "prepare", "sized"]


@dataclass(frozen=True)
class Method:
    """How a backbone with a fresh head is made ready for training: see `sized`.

    Attributes:
        config: what is attached; None for methods without a prefix.
        lora_rank: r of LoRA on queries and values; 0 for methods without LoRA.
        train_backbone: full fine-tuning.
        shift_positions: whether the first token has position l, as in P-tuning v2's own code, and not 0. Belongs to
            the prepared model: `detach` doesn't undo it and an adapter doesn't hold it.
        beyond: what changes or extends the paper's method (see `lab.beyond`): "query_gate", "log_gate", "beside",
            "cached" (layers below the first prefix run once); "" for none.
        prune_weight: of the penalty on open prefix tokens, which are pruned after training; 0 for no pruning.
    """

    config: AptConfig | None = None
    lora_rank: int = 0
    train_backbone: bool = False
    shift_positions: bool = False
    beyond: str = ""
    prune_weight: float = 0.0


def sized(prefix_length: int = 16) -> dict[str, Method]:
    """Every trained method by name, for APT and P-tuning v2 with l prefix tokens and the others to match.

    In a layer APT has 3 · l · d parameters (and λ), P-tuning v2 2 · l · d, LoRA 4 · d · r: as many as APT have P-tuning
    v2 with 3/2 · l tokens ("PT-2+") and LoRA of rank 3/4 · l, as nearly as whole numbers allow.
    """
    without = {"prefix_length": prefix_length, "token_gate": False, "layer_gate": False}
    return {
        "head_only": Method(),
        "full": Method(train_backbone=True),
        "lora": Method(lora_rank=max(1, round(prefix_length * 3 / 4))),
        "p_tuning_v2": Method(AptConfig(**without)),
        "p_tuning_v2_shifted": Method(AptConfig(**without), shift_positions=True),
        "p_tuning_v2_plus": Method(AptConfig(**without | {"prefix_length": round(prefix_length * 3 / 2)})),
        "apt": Method(AptConfig(prefix_length)),
        "apt_no_token_gate": Method(AptConfig(prefix_length, token_gate=False)),
        "apt_no_layer_gate": Method(AptConfig(prefix_length, layer_gate=False)),
        "apt_no_hidden_state": Method(AptConfig(prefix_length, gate_input="none")),
        "apt_mean_gate": Method(AptConfig(prefix_length, gate_input="mean")),
        # Beyond the paper
        "apt_query_gate": Method(AptConfig(prefix_length, gate_input="mean"), beyond="query_gate"),
        "apt_log_gate": Method(AptConfig(prefix_length), beyond="log_gate"),
        "prefix_beside": Method(AptConfig(**without), beyond="beside"),
        "apt_pruned": Method(AptConfig(prefix_length), prune_weight=0.002),
        "apt_upper": Method(AptConfig(prefix_length), beyond="cached"),
    }


METHODS = sized()


def method_named(name: str, prefix_length: int = 16) -> Method:
    """A trained method by its name in a grid: one of `sized`, or one with prefix lengths of its own behind an "@".

        method_named("apt@4")                           # 4 prefix tokens in every layer
        method_named("p_tuning_v2@0-0-8-16-32-40")      # so many in each of six layers

    Raises:
        ValueError: no such method, or it has no prefix that could be of some length.
    """
    base, at, lengths = name.partition("@")
    methods = sized(prefix_length)
    if base not in methods:
        raise ValueError(f"no such method: {name}; there are {', '.join(methods)}")
    if not at:
        return methods[base]
    if methods[base].config is None:
        raise ValueError(f"{name}: {base} has no prefix, so it has no lengths")
    if not all(length.isdecimal() for length in lengths.split("-")):
        raise ValueError(f'{name}: behind the "@" stand prefix lengths, one (apt@4) or one for each layer (apt@0-8-16)')
    numbers = tuple(map(int, lengths.split("-")))
    if len(numbers) > 1 and (methods[base].shift_positions or methods[base].beyond == "beside"):
        raise ValueError(f"{name}: {base} takes one length for all layers")
    config = replace(methods[base].config, prefix_length=numbers if len(numbers) > 1 else numbers[0])
    return replace(methods[base], config=config)


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


def prepare(model: nn.Module, method: str | Method) -> nn.Module:
    """Make a model ready for a method: freeze, attach, wrap. Change it in place where possible, and return it.

    Args:
        model: as `load_model` gives it.
        method: a name as in `method_named`, or a `Method`.

    Raises:
        ValueError: no such method.
    """
    if isinstance(method, str):
        method = method_named(method)
    if method.train_backbone:
        return model
    if method.lora_rank:
        model = _add_lora(model, method.lora_rank)
    elif method.beyond == "beside":
        config = method.config
        attach_beside(model, config.prefix_length, config.init_std, config.prefix_dropout)
    else:
        attach(model, method.config or AptConfig(prefix_length=0))
    if method.beyond == "query_gate":
        use_query_gates(model)
    if method.beyond == "log_gate":
        use_log_gates(model)
    if method.prune_weight:
        use_prune_gates(model)
    if method.shift_positions:
        _shift_positions(model, method.config.prefix_length)
    return model


def _shift_positions(model: nn.Module, by: int) -> None:
    """Number positions from `by` on: what `past_key_values` of that length does to a transformers model."""

    def shift(embeddings, args, kwargs):
        return args, kwargs | {"past_key_values_length": by}

    model.base_model.embeddings.register_forward_pre_hook(shift, with_kwargs=True)


def _add_lora(model: nn.Module, rank: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    backbone = model.base_model_prefix
    heads = [name for name, _ in model.named_children() if name not in (backbone, "dropout")]
    # α = 2 r and dropout 0.1 are the usual choices; peft freezes everything but its own weights and the head.
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.1, target_modules=["query", "value"], modules_to_save=heads
    )
    return get_peft_model(model, config)
