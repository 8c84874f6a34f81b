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

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from apt_minimal.attach import attach, self_attentions
from apt_minimal.attention import fused_attention, merge_heads, split_heads
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
        """What is added to the attention's output: [b, h, n, d_h] -> [b, n, d]."""
        b, h = query.shape[:2]
        key, value = (
            split_heads(F.dropout(part.expand(b, -1, -1), self.dropout, self.training), h)
            for part in (self.key, self.value)
        )
        return self.gate.tanh() * merge_heads(fused_attention(query, key, value))


def attach_beside(
    model: nn.Module, prefix_length: int = 16, init_std: float = 0.02, prefix_dropout: float = 0.1
) -> nn.Module:
    """Freeze a BERT-like model as `attach` does, and put a `BesidePrefix` beside every self-attention, in place.

    It is added to the self-attention's output, heads side by side, before the output projection. Nothing goes through
    masks, so any attn_implementation will do. The queries are computed a second time. It adds 2 l d + 1 trained
    parameters a layer. `detach` takes it out again. For `prefixes` and `record` the model has no prefix in any layer,
    and what `save_adapter` writes `load_adapter` refuses.

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
    for layer in self_attentions(model):
        beside = BesidePrefix(prefix_length, model.config.hidden_size, init_std, prefix_dropout)
        layer.add_module("beside", beside.to(layer.query.weight.device, model.dtype).train(layer.training))
        hook = layer.register_forward_hook(_add_beside, with_kwargs=True)
        model.base_model.apt_attachment.hooks.append(_Beside(layer, hook))
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


def _add_beside(layer: nn.Module, args: tuple, kwargs: dict, output: tuple) -> tuple:
    """After a self-attention has run: add what the prefix beside it says to the same queries."""
    query = split_heads(layer.query(args[0]), layer.num_attention_heads)
    return output[0] + layer.beside(query), *output[1:]
