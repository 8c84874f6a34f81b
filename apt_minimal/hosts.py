"""Which transformers models can take prefixes, where each keeps its attention, and how a prefix gets into it.

Most models ask a function for their attention, and transformers lets anybody register one (`AttentionInterface`). Ours
puts the prefix in front of the keys and values and hands all of it to the function that the model would have called:

    layer(hidden_states, attention_mask)
      ├─ hook of `attach`   builds [P̂_k, P̂_v] from the entering states     → layer(…, prefix=PrefixPair)
      ├─ the host           query, key, value, as it always does
      └─ `_attend`          [P̂_k; K], [P̂_v; V], a wider mask               → the host's own eager or sdpa attention (E1)

MPNet and DeBERTa write their attention out instead of asking; `relatives.py` holds it with a place for the prefix.

A prefix slot has no position. The relative term of a prefix key's score is 0, and its scale is the host's. A rotary
host turns queries and keys by their position before the prefix is put in front, and a prefix key is not turned: padding
on the left needs position_ids, as it does in BERT. Where a host looks through a sliding window (ModernBERT), every
query sees the whole prefix.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apt_minimal.attention import masked_softmax, split_heads

IMPLEMENTATIONS = ("eager", "sdpa")
HostModule = Any  # a module of transformers', whose attributes no type tells: a backbone, or a self-attention in it


@dataclass(frozen=True)
class Host:
    """How one kind of model (a config's `model_type`) takes prefixes.

    Attributes:
        attention: where a layer's self-attention is below the backbone; "{}" stands for the layer's number. Its forward
            takes the states that enter it as hidden_states, and (but for `written_out`) passes other arguments on to
            the attention function.
        written_out: "module.function" of an attention with a place for the prefix, for a host that asks no function.
        shared: the layers are one module, applied again and again; each application has a prefix of its own.
    """

    attention: str
    written_out: str = ""
    shared: bool = False


_BERT = Host("encoder.layer.{}.attention.self")
_ROTARY = Host("layers.{}.self_attn")

# One entry serves every model of its kind: "modernbert" is mmBERT and Ettin too, "deberta-v2" DeBERTa-v3.
# To add a kind, add an entry: HOSTS["esm"] = Host("encoder.layer.{}.attention.self").
HOSTS: dict[str, Host] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "ernie": _BERT,
    "data2vec-text": _BERT,
    "layoutlm": _BERT,
    # These two normalise before the attention: the gates read what the attention reads, the normalised states.
    "xlm-roberta-xl": _BERT,
    "roberta-prelayernorm": _BERT,
    "distilbert": Host("transformer.layer.{}.attention"),
    "albert": Host("encoder.albert_layer_groups.{}.albert_layers", shared=True),
    # Normalises before the attention, too.
    "modernbert": Host("layers.{}.attn"),
    "eurobert": _ROTARY,
    "nomic_bert": _ROTARY,
    "jina_embeddings_v3": _ROTARY,
    "mpnet": Host("encoder.layer.{}.attention.attn", "mpnet"),
    "deberta": Host("encoder.layer.{}.attention.self", "deberta"),
    "deberta-v2": Host("encoder.layer.{}.attention.self", "deberta_v2"),
}


@dataclass
class PrefixPair:
    """One layer's gated prefix on its way into the attention.

    Attributes:
        layer: whose it is, counted from 0.
        key, value: P̂_k and P̂_v, [b, l, d].
        bias: what is added to the prefix's scores, [b, l]; None for nothing, as in the paper.
        taken: whether an attention has used it: a host that ignores it is an error, not a silence.
        observer: called with the attention's weights, [b, h, n, l + n], while `record` is open.
    """

    layer: int
    key: Tensor
    value: Tensor
    bias: Tensor | None = None
    taken: bool = False
    observer: Callable[[Tensor], None] | None = None

    def in_front(self, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """[P̂_k; K] and [P̂_v; V], [b, h, l + n, d_h], and the mask, [b, 1 or h, 1 or n, l + n]."""
        self.taken = True
        heads = key.shape[1]
        # Under autocast P̂ is float32 where K is bfloat16.
        key = torch.cat([split_heads(self.key, heads).to(key.dtype), key], dim=2)
        value = torch.cat([split_heads(self.value, heads).to(value.dtype), value], dim=2)
        return key, value, self._wider(mask, key)

    def output(self, query: Tensor, attended: Tensor) -> Tensor:
        """What the attention returns, [b, n, h, d_h]: for a prefix in front of the keys nothing is left to add."""
        return attended

    def _wider(self, mask: Tensor | None, key: Tensor) -> Tensor | None:
        """A mask with l more columns. "May look" is True in sdpa's boolean masks, and 0 in eager's, which are added."""
        if self.bias is None:
            return None if mask is None else F.pad(mask, (self.key.shape[1], 0), value=mask.dtype == torch.bool)
        bias = self.bias.to(key.dtype)[:, None, None]  # [b, 1, 1, l]
        if mask is None:
            return F.pad(bias, (0, key.shape[2] - bias.shape[-1]))
        if mask.dtype == torch.bool:  # the lowest number, as in eager's masks: −∞ in every column would give NaN
            mask = torch.zeros_like(mask, dtype=key.dtype).masked_fill(~mask, torch.finfo(key.dtype).min)
        return torch.cat([bias.expand(-1, *mask.shape[1:3], -1), mask.expand(len(bias), -1, -1, -1)], dim=-1)


def _attend(
    layer: HostModule,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    prefix: PrefixPair | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The registered attention function: the prefix in front, then the function that the host's config names."""
    inner = _own_attention(layer)
    if prefix is None:
        return inner(layer, query, key, value, mask, **kwargs)
    key, value, mask = prefix.in_front(key, value, mask)  # [b, h, l + n, d_h]; h may be fewer than the query's heads
    if prefix.observer is not None:
        every = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
        prefix.observer(masked_softmax(query @ every.mT * scaling, mask))
    if layer.host_config._attn_implementation == "sdpa":
        kwargs["is_causal"] = False  # transformers takes a module that doesn't say for a decoder's
    attended, weights = inner(layer, query, key, value, mask, **kwargs)
    return prefix.output(query, attended), weights


def _own_attention(layer: HostModule) -> Callable[..., Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    # Each model's file has an eager function of its own, which is what "eager" means there.
    files = (sys.modules[base.__module__] for base in type(layer).__mro__)
    eager: Any = next(
        (file.eager_attention_forward for file in files if hasattr(file, "eager_attention_forward")), None
    )
    return ALL_ATTENTION_FUNCTIONS.get_interface(layer.host_config._attn_implementation, eager)


@cache
def register() -> None:
    """Tell transformers of our attention function, once per process."""
    from transformers import AttentionInterface

    AttentionInterface.register("apt", _attend)


def divert(encoder: HostModule) -> None:
    """Make every self-attention of a host ask for `_attend`, or run its written-out twin.

    Only the attention modules are told: the model's own config, and so its masks and what it says of itself, stay as
    they are, and a later `set_attn_implementation` is followed.
    """
    host = HOSTS[encoder.config.model_type]
    register()
    for layer in set(self_attentions(encoder)):
        if host.written_out:
            from apt_minimal import relatives

            layer.forward = partial(relatives.forward, layer, getattr(relatives, host.written_out))
        else:
            layer.host_config, layer.config = layer.config, copy(layer.config)
            layer.config._attn_implementation = "apt"


def restore(encoder: HostModule) -> None:
    """Undo `divert`."""
    for layer in set(self_attentions(encoder)):
        if "forward" in vars(layer):
            del layer.forward
        else:
            layer.config = layer.host_config
            del layer.host_config


def self_attentions(encoder: HostModule) -> list[HostModule]:
    """The self-attention of each layer of a host's backbone, in order; a shared one as often as it is applied."""
    config = encoder.config
    host = HOSTS[config.model_type]
    if host.shared:
        groups, count = encoder.encoder.albert_layer_groups, config.num_hidden_layers
        chosen = [groups[int(i / (count / len(groups)))] for i in range(count)]
        return [layer.attention for group in chosen for layer in group.albert_layers]
    path, _, rest = host.attention.partition(".{}.")
    return [layer.get_submodule(rest) for layer in encoder.get_submodule(path)]


def key_size(layer: HostModule, config: Any) -> int:
    """The width of a layer's keys and values, all heads together: the hidden size, or less with grouped queries."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(layer, "head_dim", None) or getattr(layer, "attention_head_size", None)
    return heads * (size or config.hidden_size // config.num_attention_heads)


def hosts_in(model: nn.Module) -> Iterator[tuple[str, HostModule]]:
    """Names and backbones of all models inside a module that can take prefixes."""
    for name, module in model.named_modules():
        kind = getattr(getattr(module, "config", None), "model_type", None)
        if kind in HOSTS and getattr(module, "base_model", None) is module:
            yield name, module


def check_host(encoder: HostModule) -> None:
    """Raise where a model of a known kind can't take prefixes after all; the message says why."""
    config, name = encoder.config, type(encoder).__name__
    if getattr(config, "is_decoder", False):
        raise TypeError(f"this {name} is a decoder; prefixes are for encoders only")
    if not HOSTS[config.model_type].written_out and config._attn_implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"this {name} runs attn_implementation {config._attn_implementation!r}; prefixes need one of "
            f'{", ".join(IMPLEMENTATIONS)}: model.set_attn_implementation("sdpa")'
        )
    for layer in self_attentions(encoder):
        forward = type(layer).forward
        if HOSTS[config.model_type].written_out:
            known = forward.__module__.startswith("transformers.")
        else:
            known = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(forward).parameters.values())
        if not known:
            raise TypeError(f"{type(layer).__name__}, a self-attention of this {name}, has no way to take a prefix")
