"""The same adaptive prefix inside a transformers model, whose own attention does the rest.

A transformers BERT asks a cache, where it is given one, to put earlier keys and values in front of its own.
That is all a prefix needs: before each self-attention runs, a hook builds the layer's prefix from the hidden
states that enter it and hands it over in the part of such a cache. No module is replaced, the attention code
(eager or sdpa) is the host's, and, the cache being unknown to the model, no position is shifted.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apt_minimal.attention import prefix_mass, prepend_prefix, split_heads
from apt_minimal.prefix import AdaptivePrefix, AptConfig

# Models whose layers are BERT's: encoder.layer[i].attention.self, which takes keys and values from a cache.
HOSTS = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def attach(model: nn.Module, config: AptConfig) -> nn.Module:
    """Freeze a BERT-like model and put an `AdaptivePrefix` into every layer, in place.

    The backbone is frozen whole, pooler included; a head on top of it is left as it is (but for weights that it
    shares with the backbone). What then requires gradients is the prefixes, the gates and the head: an ordinary model
    for any training loop. It takes attention masks of shape [b, n]. The prefixes have the model's dtype: to train in
    bfloat16, keep the model in float32 and use autocast.

    Args:
        model: a transformers encoder whose model_type is one of `HOSTS`, with or without a head.
        config: what to attach.

    Returns:
        The same model.

    Raises:
        ValueError: it already has prefixes, or the config's lengths don't fit its layers.
        TypeError: it is no such encoder. Nothing has been changed in either case.
    """
    if is_attached(model):
        raise ValueError("this model already has prefixes attached; call detach(model) first")
    layers = self_attentions(model)
    lengths = config.lengths(len(layers))
    hidden_size = model.config.hidden_size
    modules = [AdaptivePrefix(config, hidden_size, i) if length else None for i, length in enumerate(lengths)]

    frozen = [name for name, parameter in model.base_model.named_parameters() if parameter.requires_grad]
    model.base_model.requires_grad_(False)
    hooks = []
    for layer, prefix in zip(layers, modules, strict=True):
        if prefix is not None:
            layer.add_module("prefix", prefix.to(layer.query.weight.device, model.dtype).train(layer.training))
            hooks.append(layer.register_forward_pre_hook(_hand_over_prefix, with_kwargs=True))
            hooks.append(layer.register_forward_hook(_check_taken, with_kwargs=True))
    # On the backbone, so that a head put on top of it, or taken off, makes no difference.
    model.base_model.apt_attachment = _Attachment(config, frozen, hooks)
    return model


def detach(model: nn.Module) -> nn.Module:
    """Take the prefixes out again and unfreeze what `attach` froze; a trained head stays as it is.

    Raises:
        ValueError: nothing is attached.
    """
    attachment = _attachment(model)
    for hook in attachment.hooks:
        hook.remove()
    for layer in self_attentions(model):
        if hasattr(layer, "prefix"):
            del layer.prefix
    for name in attachment.frozen:
        model.base_model.get_parameter(name).requires_grad_(True)
    del model.base_model.apt_attachment
    return model


def is_attached(model: nn.Module) -> bool:
    """Whether `attach` has been called on this model (and `detach` has not)."""
    return hasattr(getattr(model, "base_model", None), "apt_attachment")


def prefixes(model: nn.Module) -> list[AdaptivePrefix | None]:
    """The attached prefixes in layer order; None where a layer has none.

    Raises:
        ValueError: nothing is attached.
    """
    _attachment(model)
    return [getattr(layer, "prefix", None) for layer in self_attentions(model)]


@dataclass
class Record:
    """What the gates and prefixes of an attached model did in its last forward pass; see `record`.

    One entry a layer in each list, None where a layer has no prefix.

    Attributes:
        alpha: α of E2, [b, l] each (1 where the token gate is off).
        scale: λ of E3, [] each (1 where the layer gate is off).
        mass: m(q) of E4, the share of the softmax on the prefix for each head and query, [b, h, n] each.
    """

    alpha: list[Tensor | None] = field(default_factory=list)
    scale: list[Tensor | None] = field(default_factory=list)
    mass: list[Tensor | None] = field(default_factory=list)


@contextmanager
def record(model: nn.Module) -> Iterator[Record]:
    """Record α, λ and the prefix's mass while the context is open; each forward pass replaces the last.

        with record(model) as seen:
            model(**batch)
        seen.alpha[3]  # layer 4's α, [b, l]

    The values are detached and recomputed beside the forward pass, so they cost about one more attention a layer.

    Raises:
        ValueError: nothing is attached.
    """
    _attachment(model)
    layers, seen = self_attentions(model), Record()
    for values in (seen.alpha, seen.scale, seen.mass):
        values.extend([None] * len(layers))

    def recorder(index: int):
        @torch.no_grad()
        def note(layer, args, kwargs, output):
            hidden_states = args[0]
            cache = kwargs[cache_argument(layer)]
            alpha, scale = layer.prefix.gates(hidden_states, cache.attention_mask)
            query = split_heads(layer.query(hidden_states), layer.num_attention_heads)
            key = split_heads(layer.key(hidden_states), layer.num_attention_heads)
            key, _ = cache.update(key, key)
            length = key.shape[2] - hidden_states.shape[1]  # as handed over: a hook may have shortened the prefix
            seen.alpha[index], seen.scale[index] = alpha.clone(), scale.clone()
            seen.mass[index] = prefix_mass(query, key, length, kwargs["attention_mask"])

        return note

    hooks = [
        layer.register_forward_hook(recorder(i), with_kwargs=True)
        for i, layer in enumerate(layers)
        if hasattr(layer, "prefix")
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class _Attachment:
    """What `attach` did to a model, for `detach` to undo and `save_adapter` to write down."""

    config: AptConfig
    frozen: list[str]
    hooks: list


@dataclass
class _PrefixAsCache:
    """One layer's prefix in the part of a cache: `update` returns [P_k; K] and [P_v; V]."""

    prefix_key: Tensor  # [b, l, d]
    prefix_value: Tensor
    attention_mask: Tensor | None  # [b, n], what the gates saw
    taken: bool = False

    def update(self, key: Tensor, value: Tensor, *_, **__) -> tuple[Tensor, Tensor]:
        self.taken = True
        # Under autocast P̂ is float32 where K is bfloat16.
        prefix = self.prefix_key.to(key.dtype), self.prefix_value.to(key.dtype)
        return prepend_prefix(key, value, None, *prefix)[:2]


def _hand_over_prefix(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Before a self-attention runs: build its prefix and widen its mask by as many columns."""
    name = cache_argument(layer)
    if kwargs.get(name) is not None:
        raise ValueError("an attached model takes no past_key_values: its prefix has their place")
    (hidden_states,), mask = args, kwargs.get("attention_mask")
    if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 4):
        found = f"shape {list(mask.shape)}" if isinstance(mask, Tensor) else f"type {type(mask).__name__}"
        raise ValueError(
            f'a mask of {found} reached the attention; prefixes need attn_implementation "sdpa" or "eager"'
        )
    # Made from a mask [b, n], the host's [b, 1, n, n] is the same for every query: one row tells which tokens are real.
    attention_mask = None if mask is None else _boolean(mask)[:, 0, 0]
    prefix_key, prefix_value = layer.prefix(hidden_states, attention_mask)
    if mask is not None:
        # sdpa's masks are boolean and eager's are added to the scores: "may look" is True or 0.
        mask = F.pad(mask, (prefix_key.shape[1], 0), value=mask.dtype == torch.bool)
    cache = _PrefixAsCache(prefix_key, prefix_value, attention_mask)
    return args, {**kwargs, "attention_mask": mask, name: cache}


def _check_taken(layer: nn.Module, args: tuple, kwargs: dict, output) -> None:
    """After a self-attention has run: a prefix that it did not ask for would be missing from the output, unseen."""
    if not kwargs[cache_argument(layer)].taken:
        raise RuntimeError(
            f"{type(layer).__name__} ignored the prefix that it was handed, so its output is the bare backbone's; "
            "this version of transformers, or a replaced self-attention, does not take one"
        )


def cache_argument(layer: nn.Module) -> str:
    """What this version of transformers calls the argument for earlier keys and values: it was renamed in 5.24."""
    return "cache" if "cache" in inspect.signature(type(layer).forward).parameters else "past_key_values"


def _boolean(mask: Tensor | None) -> Tensor | None:
    """A mask that says True where a query may look, from a boolean one or one that is added to scores."""
    return mask if mask is None or mask.dtype == torch.bool else mask == 0


def _attachment(model: nn.Module) -> _Attachment:
    if not is_attached(model):
        raise ValueError("this model has no prefixes attached; call attach(model, AptConfig(...)) first")
    return model.base_model.apt_attachment


def self_attentions(model: nn.Module) -> list[nn.Module]:
    """The self-attention module of each layer, in order; TypeError where the model is no host for prefixes."""
    config = getattr(model, "config", None)
    if getattr(config, "model_type", None) not in HOSTS:
        raise TypeError(f"{type(model).__name__} cannot take prefixes; models of type {', '.join(HOSTS)} can")
    if config.is_decoder:
        raise TypeError(f"this {type(model).__name__} is a decoder; prefixes are for encoders only")
    return [layer.attention.self for layer in model.base_model.encoder.layer]
