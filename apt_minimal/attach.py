"""The same adaptive prefix inside a transformers model, whose own attention does the rest.

`attach` freezes the backbone and gives every self-attention an `AdaptivePrefix` and a hook. In a forward pass the hook
builds the layer's prefix from the hidden states that enter the attention and hands it over; the attention puts it in
front of its keys and values (`hosts.py` says how). No module is replaced, and no position is shifted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from apt_minimal.hooks import Attachment, made_for, put_in
from apt_minimal.hosts import HOSTS, HostModule, check_host, divert, hosts_in, key_size, restore, self_attentions
from apt_minimal.prefix import AdaptivePrefix, AptConfig
from apt_minimal.tuners import spare_prefixes, tuner_parameters

M = TypeVar("M", bound=nn.Module)


def attach(model: M, config: AptConfig, dtype: torch.dtype | None = None) -> M:
    """Freeze a transformers encoder and put an `AdaptivePrefix` into every layer, in place.

        x ──┬──────────────────────────► query, key, value     (the host's, frozen)
            └─► hook ─► P̂ = λ · α(x) ⊙ P                        (trained)
                          └────────────► softmax(q [P̂_k; K]ᵀ / √d_h) [P̂_v; V] ─► the host's output projection

    The backbone is frozen whole, pooler included; a head on top of it is left as it is (but for weights that it
    shares with the backbone). What then requires gradients is the prefixes, the gates and the head: an ordinary model
    for any training loop.

        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
        >>> model = attach(BertForSequenceClassification(config), AptConfig(prefix_length=8))
        >>> model(torch.tensor([[2, 7, 9]])).logits.shape
        torch.Size([1, 2])

    Args:
        model: a transformers encoder of one of `HOSTS`, with or without a head, or any module that holds one.
        config: what to attach.
        dtype: of the prefixes and gates; None: the model's, or float32 where that is half precision, in whose steps λ
            could not move away from 1.

    Returns:
        The same model.

    Raises:
        ValueError: it has prefixes already, holds several encoders, runs an attention that takes no prefix, or the
            config's lengths don't fit its layers.
        TypeError: there is no encoder that can take prefixes. Nothing has been changed in any case.
    """
    if not isinstance(config, AptConfig):
        raise TypeError(f"config is {config!r}; give an AptConfig, such as AptConfig(prefix_length=16)")
    if is_attached(model):
        raise ValueError("this model already has prefixes attached; call detach(model) first")
    encoder = host_encoder(model)
    reference = next(encoder.parameters())
    kind: torch.dtype = dtype or (reference.dtype if reference.dtype == torch.float64 else torch.float32)
    modules = _fresh(encoder, config, reference.device, kind)
    attachment = Attachment(config, [name for name, p in encoder.named_parameters() if p.requires_grad])
    _freeze(encoder)
    spare_prefixes()
    divert(encoder)
    encoder.apt_attachment = attachment
    encoder.config.apt_minimal = asdict(config)  # so that a checkpoint says what its prefixes are
    put_in(encoder, modules)
    return model


def _fresh(
    encoder: HostModule, config: AptConfig, device: torch.device, dtype: torch.dtype
) -> list[AdaptivePrefix | None]:
    """A new prefix for every layer, None where the config gives it no length."""
    layers, size = self_attentions(encoder), encoder.config.hidden_size
    return [
        made_for(layer, AdaptivePrefix(config, size, i, key_size(layer, encoder.config)), device, dtype)
        if length
        else None
        for i, (layer, length) in enumerate(zip(layers, config.lengths(len(layers)), strict=True))
    ]


def _freeze(encoder: HostModule) -> None:
    """Freeze a backbone, but for what a tuner of peft has put into it."""
    spared = tuner_parameters(encoder)
    for parameter in encoder.parameters():
        if id(parameter) not in spared:
            parameter.requires_grad_(False)


def detach(model: M) -> M:
    """Take the prefixes out again and unfreeze what `attach` froze; a trained head stays as it is.

    Raises:
        ValueError: nothing is attached.
    """
    encoder = attached_encoder(model)
    attachment = encoder.apt_attachment
    for hook in attachment.hooks:
        hook.remove()
    for layer in set(self_attentions(encoder)):
        if hasattr(layer, "prefix"):
            del layer.prefix
    restore(encoder)
    del encoder.config.apt_minimal
    for name in attachment.trainable_before:
        encoder.get_parameter(name).requires_grad_(True)
    del encoder.apt_attachment
    return model


@contextmanager
def without_prefix(model: nn.Module) -> Iterator[None]:
    """Run the bare backbone while the context is open: its own numbers, bit by bit; afterwards the prefix is back.

        with without_prefix(model):
            plain = model(**batch)

    Raises:
        ValueError: nothing is attached.
    """
    attachment = attached_encoder(model).apt_attachment
    before, attachment.active = attachment.active, False
    try:
        yield
    finally:
        attachment.active = before


def is_attached(model: nn.Module) -> bool:
    """Whether `attach` has been called on this model, or on an encoder inside it (and `detach` has not)."""
    return any("apt_attachment" in vars(module) for module in model.modules())


def prefixes(model: nn.Module) -> list[AdaptivePrefix | None]:
    """The attached prefixes in layer order; None where a layer has none.

    Raises:
        ValueError: nothing is attached.
    """
    encoder = attached_encoder(model)
    layers = self_attentions(encoder)
    if HOSTS[encoder.config.model_type].shared:
        turns = [layers[:i].count(layer) for i, layer in enumerate(layers)]
        return [layer.prefix[turn] or None for layer, turn in zip(layers, turns, strict=True)]
    return [getattr(layer, "prefix", None) for layer in layers]


def replace_prefixes(model: nn.Module, make: Callable[[AdaptivePrefix], AdaptivePrefix]) -> None:
    """Put what `make` makes of each attached prefix into its place, for methods that change the paper's prefix."""
    for layer in dict.fromkeys(self_attentions(attached_encoder(model))):
        prefix = getattr(layer, "prefix", None)
        if isinstance(prefix, nn.ModuleList):
            own: list[Any] = list(prefix)
            layer.prefix = nn.ModuleList([one and make(one) for one in own])
        elif prefix is not None:
            layer.prefix = make(prefix)


def prefix_shapes(model: nn.Module, encoder: HostModule, config: AptConfig) -> dict[str, Tensor]:
    """Names and shapes (on the device "meta") of what `attach` would put into a backbone inside a model."""
    names = {module: name for name, module in model.named_modules()}
    layers, shared, found = self_attentions(encoder), HOSTS[encoder.config.model_type].shared, {}
    with torch.device("meta"):
        modules = _fresh(encoder, config, torch.device("meta"), torch.float32)
    for i, (layer, prefix) in enumerate(zip(layers, modules, strict=True)):
        turn = f".{layers[:i].count(layer)}" if shared else ""
        own = {} if prefix is None else prefix.state_dict()
        found |= {f"{names[layer]}.prefix{turn}.{name}": tensor for name, tensor in own.items()}
    return found


def attached_encoder(model: nn.Module) -> HostModule:
    """The one attached backbone inside a model; ValueError where there is none, or more than one."""
    found = [(name, module) for name, module in model.named_modules() if "apt_attachment" in vars(module)]
    if not found:
        raise ValueError("this model has no prefixes attached; call attach(model, AptConfig(...)) first")
    return _only(model, found)


def host_encoder(model: nn.Module) -> HostModule:
    """The one backbone inside a model that can take prefixes; a clear error where there is none."""
    found = list(hosts_in(model))
    if not found:
        kind = getattr(getattr(model, "config", None), "model_type", None)
        raise TypeError(
            f"{type(model).__name__}{f' (model_type {kind!r})' if kind else ''} cannot take prefixes; "
            f"models of type {', '.join(HOSTS)} can, and modules that hold one"
        )
    encoder = _only(model, found)
    check_host(encoder)
    return encoder


def _only(model: nn.Module, found: list[tuple[str, HostModule]]) -> HostModule:
    if len(found) > 1:
        names = ", ".join(f"model.{name}" for name, _ in found)
        raise ValueError(f"this {type(model).__name__} holds {len(found)} encoders: give one of {names}")
    return found[0][1]
