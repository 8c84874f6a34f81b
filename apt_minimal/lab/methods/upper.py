"""Prefixes only in the upper layers: what lies below is frozen, so it is computed once and reused.

A prefix in layer i changes nothing below i. The backward pass stops there by itself, for nothing below requires
gradients; the forward pass below is saved too if the hidden states that enter layer i are kept:

    upper = UpperLayers(model, layer)      # shares every parameter with the model
    train(upper, cache_below(model, task, layer), config)
    save_adapter(model, folder)            # the model is trained

Kept states are those of eval mode: the lower layers run without dropout, where APT here and P-tuning v2 have it on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from apt_minimal.attach import is_attached, prefixes
from apt_minimal.hosts import HOSTS
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.train.batches import evaluating, forward


@dataclass(frozen=True)
class CachedTask(Task):
    """A task whose examples also hold their states: what enters `layer`, [n, d] for each of their inputs.

    Attributes:
        layer: counted from 0; L means what leaves the last layer.
    """

    layer: int = 0

    @property
    def nbytes(self) -> int:
        """Memory of the states: tokens of all inputs · d · bytes of a number (BERT-base in fp32: 3 KiB a token)."""
        examples = [*self.train, *self.validation, *self.test]
        return sum(states.nbytes for example in examples for states in example.states or ())

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`Task.collate`'s mask and labels, with hidden_states, [b, n, d] or [b, choices, n, d], and layer, []."""
        batch = super().collate(examples)
        states = pad_sequence([states for example in examples for states in example.states or ()], batch_first=True)
        states = states.view(*batch["attention_mask"].shape, -1)
        kept = {name: batch[name] for name in ("attention_mask", "labels")}
        return kept | {"hidden_states": states, "layer": torch.tensor(self.layer)}


class UpperLayers(nn.Module):
    """A model from some layer on: encoder layers [layer:], pooler and head, on states that `cache_below` kept.

    A view: modules and parameters are the model's own, and what runs is the host's code, its embeddings passed over and
    its encoder cut. In eval mode the logits equal the model's.

    Args:
        model: a transformers encoder of one of `HOSTS`, with a head; attached or not.
        layer: the first layer to run, counted from 0; L: the head (and pooler) only.

    Raises:
        TypeError: it is no such model.
        ValueError: no such layer, or something below it has a prefix or requires gradients.
    """

    def __init__(self, model: Any, layer: int):
        super().__init__()
        if getattr(model, "base_model", None) is model:
            raise TypeError(f"{type(model).__name__} has no head, so it has no logits")
        base = _checked(model, layer)
        passed: dict[str, nn.Module] = {"embeddings": _PassOver()}
        if hasattr(base, "embeddings_project"):  # ELECTRA's, which lies below layer 0
            passed["embeddings_project"] = nn.Identity()
        upper = _exchanged(base, **passed, encoder=_exchanged(base.encoder, layer=base.encoder.layer[layer:]))
        self.host, self.layer = _exchanged(model, **{model.base_model_prefix: upper}), layer

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def forward(self, hidden_states: Tensor, attention_mask=None, labels=None, layer: Tensor | None = None):
        """Run a batch of a `CachedTask` and return the host's own output; ValueError if it is another layer's."""
        if layer is not None and int(layer) != self.layer:
            raise ValueError(f"these states enter layer {int(layer)}, and this module begins with layer {self.layer}")
        return self.host(inputs_embeds=hidden_states, attention_mask=attention_mask, labels=labels)


@torch.no_grad()
def cache_below(model: nn.Module, task: Task, layer: int, batch_size: int = 64) -> CachedTask:
    """Run all of a task up to a layer, in eval mode, and keep on the CPU what enters it (memory: `CachedTask.nbytes`).

    Args and errors as in `UpperLayers`; a model without a head will do. `batch_size` examples run at a time.
    """
    base = _checked(model, layer)
    lower = _exchanged(base, encoder=_exchanged(base.encoder, layer=base.encoder.layer[:layer]), pooler=None)

    def with_states(examples: Sequence[Example]) -> list[Example]:
        # A choice is an input like any other to the backbone.
        batch = {name: tensor.flatten(0, -2) for name, tensor in task.collate(examples).items() if name != "labels"}
        states = iter(forward(lower, batch, bf16=False).last_hidden_state.cpu())
        # Cloned, for a slice would keep its padding in memory.
        own = [[next(states)[: len(one["input_ids"])].clone() for one in example.inputs] for example in examples]
        return [replace(example, states=states) for example, states in zip(examples, own, strict=True)]

    kept = {field.name: getattr(task, field.name) for field in fields(Task)}
    with evaluating(model):
        for split in ("train", "validation", "test"):
            parts = [kept[split][start : start + batch_size] for start in range(0, len(kept[split]), batch_size)]
            kept[split] = [example for part in parts for example in with_states(part)]
    return CachedTask(**kept, layer=layer)


@contextmanager
def on_kept_states(model: nn.Module, task: Task, method=None) -> Iterator[tuple[UpperLayers, CachedTask]]:
    """An attached model from its lowest prefix on, and a task's states there; without a prefix, its head only."""
    with_prefix = [prefix is not None for prefix in prefixes(model)]
    layer = [*with_prefix, True].index(True)
    yield UpperLayers(model, layer), cache_below(model, task, layer)


class _PassOver(nn.Module):
    """In the place of embeddings: what comes in as such goes on as it is."""

    def forward(self, input_ids=None, inputs_embeds=None, **_):
        return inputs_embeds


def _exchanged(module: nn.Module, **children: nn.Module | None) -> nn.Module:
    """The same module with other children; it shares all else, hooks included, with the one given, which stays."""
    twin = copy(module)
    twin._modules = module._modules | children
    return twin


def _checked(model: nn.Module, layer: int) -> Any:
    """The backbone of a model, nothing of which trains below a layer; see `UpperLayers` for the errors."""
    base: Any = getattr(model, "base_model", None)
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in HOSTS or not hasattr(getattr(base, "encoder", None), "layer"):
        raise TypeError(f"{type(model).__name__} cannot be cut: only hosts whose layers are a list, encoder.layer, can")
    if getattr(base.encoder, "conv", None) is not None:
        raise TypeError(f"{type(model).__name__} cannot be cut: its first layer has a convolution beside it")
    count = len(base.encoder.layer)
    if type(layer) is not int or not 0 <= layer <= count:
        raise ValueError(f"layer is {layer!r}; this model has layers 0 to {count - 1}, and {count} means its head only")
    below = base.encoder.layer[:layer]
    there = prefixes(model)[:layer] if is_attached(model) else []
    if prefixed := [i for i, prefix in enumerate(there) if prefix is not None]:
        raise ValueError(f"layers {prefixed} below layer {layer} have prefixes, so what enters it changes in training")
    if trained := [name for part in (base.embeddings, below) for name, p in part.named_parameters() if p.requires_grad]:
        raise ValueError(f"{trained[0]} below layer {layer} requires gradients; call attach(model, ...) or freeze it")
    return base
