"""A prefix beside the attention, not inside its softmax: a start that changes nothing.

    out = Attn(q; K, V) + tanh(g) · Attn(q; P_k, P_v),   g = 0 at the start

By E4 a prefix inside the softmax takes mass m(q) from the input, from the first step on. Beside it, the input keeps all
of its mass, and at the start the model is the pretrained one, bit by bit. Learning starts all the same: P is random, so
g has a gradient. P itself has none in the first step, as tanh(0) = 0 multiplies it, but from the second on.

The idea is LLaMA-Adapter's (Zhang, Han et al. 2023, "zero-init attention"). Different here: P_k and P_v are free
parameters in every layer, as in P-tuning v2, where LLaMA-Adapter sends one prompt through the layer's own projections
in the upper layers only.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from apt_minimal.attach import attach, attached_encoder, detach
from apt_minimal.attention import split_heads
from apt_minimal.hooks import Attachment
from apt_minimal.hosts import PrefixPair, key_size, self_attentions
from apt_minimal.prefix import AptConfig


class BesidePrefix(nn.Module):
    """One layer's tanh(g) · Attn(q; P_k, P_v). One g for all heads, the counterpart of λ; no α.

    Args:
        prefix_length: l.
        hidden_size: d.
        init_std: standard deviation of the initial P.
        dropout: probability of dropping an element of P in training, for each example anew.

    Attributes:
        key, value: P_k and P_v, [l, d].
        gate: g, [], 0 at the start.
    """

    def __init__(self, prefix_length: int, hidden_size: int, init_std: float = 0.02, dropout: float = 0.1):
        super().__init__()
        self.key = nn.Parameter(torch.randn(prefix_length, hidden_size) * init_std)
        self.value = nn.Parameter(torch.randn(prefix_length, hidden_size) * init_std)
        self.gate = nn.Parameter(torch.zeros(()))
        self.dropout = dropout

    def forward(self, query: Tensor) -> Tensor:
        """What is added to the attention's output: [b, h, n, d_h] -> [b, n, h, d_h]."""
        b, h, _, d_h = query.shape
        key, value = (
            split_heads(F.dropout(part.expand(b, -1, -1), self.dropout, self.training), part.shape[1] // d_h)
            .to(query.dtype)
            .repeat_interleave(h * d_h // part.shape[1], dim=1)  # where a host's queries share their keys
            for part in (self.key, self.value)
        )
        return self.gate.tanh() * F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def attach_beside(
    model: nn.Module, prefix_length: int = 16, init_std: float = 0.02, prefix_dropout: float = 0.1
) -> nn.Module:
    """Freeze a BERT-like model as `attach` does, and put a `BesidePrefix` beside every self-attention, in place.

    It is added to the self-attention's output, heads side by side, before the output projection. It adds 2 l d + 1
    trained parameters per layer. `detach` takes it out again. For `prefixes` and `record` the model has no prefix in
    any layer, and what `save_adapter` writes `load_adapter` refuses.

    Args:
        model: as in `attach`.
        prefix_length: l, in every layer.
        init_std: standard deviation of the initial P.
        prefix_dropout: probability of dropping an element of P in training.

    Returns:
        The same model.

    Raises:
        ValueError, TypeError: as in `attach`; or prefix_length is no integer of at least 1. Nothing has been changed.
    """
    if type(prefix_length) is not int or prefix_length < 1:
        raise ValueError(f"prefix_length is {prefix_length!r}; it must be an integer of at least 1")
    AptConfig(prefix_length, init_std=init_std, prefix_dropout=prefix_dropout)  # checks the others
    attach(model, AptConfig(prefix_length=0))
    encoder: Any = attached_encoder(model)
    layers, attachment = self_attentions(encoder), encoder.apt_attachment
    if len(set(layers)) < len(layers):
        kind = encoder.config.model_type
        detach(model)
        raise TypeError(f"{kind} applies one layer again and again; a prefix beside it could not tell the times apart")
    reference = next(encoder.parameters())
    for i, layer in enumerate(layers):
        beside = BesidePrefix(prefix_length, key_size(layer, encoder.config), init_std, prefix_dropout)
        layer.add_module("beside", beside.to(reference.device, reference.dtype).train(layer.training))
        hook = layer.register_forward_pre_hook(partial(_hand_over_beside, attachment, i), with_kwargs=True)
        attachment.hooks.append(_Beside(layer, hook))
    return model


def with_prefix_beside(model: nn.Module, method) -> nn.Module:
    """`attach_beside` with a method's configuration."""
    config = method.config
    return attach_beside(model, config.prefix_length, config.init_std, config.prefix_dropout)


@dataclass
class _Beside:
    """What `detach` has to undo in one layer; it calls `remove` as it does on hooks."""

    layer: nn.Module
    hook: RemovableHandle

    def remove(self) -> None:
        self.hook.remove()
        del self.layer.beside


class _BesidePair(PrefixPair):
    """Stays out of the keys and values, and adds its own attention to the output."""

    def in_front(self, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        self.taken = True
        return key, value, mask

    def output(self, query: Tensor, attended: Tensor) -> Tensor:
        beside: Any = self.value
        return attended + beside(query).to(attended.dtype)


def _hand_over_beside(attachment: Attachment, i: int, layer: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Before a self-attention runs: hand over what is to be added to its output."""
    if not attachment.active:
        return args, kwargs
    nothing = layer.beside.key.new_empty(1, 0, 1)
    return args, kwargs | {"prefix": _BesidePair(i, nothing, layer.beside)}
