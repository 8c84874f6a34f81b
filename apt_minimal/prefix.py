"""One layer's adaptive prefix: P, its gates, and the pair of tensors that attention sees (E3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from apt_minimal.gates import GATE_INPUTS, LayerGate, TokenGate, TokenMask


@dataclass(frozen=True)
class AptConfig:
    """Configuration of an adaptive prefix. With both gates off: P-tuning v2, without its shifted positions.

        >>> AptConfig(prefix_length=16, gate_input="mean").lengths(3)
        (16, 16, 16)
        >>> AptConfig(prefix_length=(0, 8, 16), token_gate=False).lengths(3)
        (0, 8, 16)

    Args:
        prefix_length: l for every layer, or a tuple with one length per layer (0 = no prefix there).
        token_gate: whether each prefix token is scaled by α (E2).
        layer_gate: whether the layer's prefix is scaled by λ.
        gate_input: what α looks at: "first_token", "mean" (over real tokens) or "none" (a free vector).
        init_std: standard deviation of the initial prefix and of the initial gate weights.
        prefix_dropout: probability of dropping an element of P in training, as in P-tuning v2.

    Raises:
        ValueError: a field has an invalid value; the message says which.
    """

    prefix_length: int | tuple[int, ...] = 16
    token_gate: bool = True
    layer_gate: bool = True
    gate_input: str = "first_token"
    init_std: float = 0.02
    prefix_dropout: float = 0.1

    def __post_init__(self):
        if isinstance(self.prefix_length, list):  # JSON knows no tuples
            object.__setattr__(self, "prefix_length", tuple(self.prefix_length))
        _check(self)

    def lengths(self, num_layers: int) -> tuple[int, ...]:
        """One prefix length per layer; raises ValueError where a tuple has another number of entries."""
        if isinstance(self.prefix_length, int):
            return (self.prefix_length,) * num_layers
        if len(self.prefix_length) != num_layers:
            raise ValueError(
                f"prefix_length names {len(self.prefix_length)} layers, the model has {num_layers}; "
                "give one length per layer (0 = no prefix), or a single integer"
            )
        return self.prefix_length


class AdaptivePrefix(nn.Module):
    """E3, the gated prefix of one layer: P̂ = λ · α ⊙ P, for keys and values alike (Zhang et al. 2023).

    P is drawn from N(0, init_std²), as in P-tuning v2. α multiplies whole prefix tokens, all heads alike.

        >>> prefix = AdaptivePrefix(AptConfig(prefix_length=4), hidden_size=32)
        >>> key, value = prefix(torch.randn(2, 9, 32))  # the states that enter the layer, [b, n, d]
        >>> key.shape  # [b, l, d]
        torch.Size([2, 4, 32])

    Args:
        config: lengths, gates, initialisation and dropout.
        hidden_size: d.
        layer: which of the config's lengths is meant, where it names one per layer (counted from 0).
        key_size: the width of the keys and values, where it is not d (a host with grouped queries).

    Attributes:
        key, value: P_k and P_v, [l, d].
        token_gate: the `TokenGate`, or None when off.
        layer_gate: the `LayerGate`, or None when off.

    Raises:
        ValueError: the config gives this layer no prefix.
    """

    def __init__(self, config: AptConfig, hidden_size: int, layer: int = 0, key_size: int | None = None):
        super().__init__()
        lengths = config.prefix_length
        length = lengths if isinstance(lengths, int) else lengths[layer]
        if length == 0:
            raise ValueError(f"prefix_length is 0 in layer {layer}; a layer without a prefix has None instead")
        width = key_size or hidden_size
        self.key = nn.Parameter(torch.randn(length, width) * config.init_std)
        self.value = nn.Parameter(torch.randn(length, width) * config.init_std)
        self.token_gate = (
            TokenGate(length, hidden_size, config.gate_input, config.init_std) if config.token_gate else None
        )
        self.layer_gate = LayerGate() if config.layer_gate else None
        self.dropout = config.prefix_dropout

    def extra_repr(self) -> str:
        """Lengths, gates and the number of parameters, for `print(model)`."""
        gate = f"α of {self.token_gate.gate_input}" if self.token_gate is not None else "no α"
        trained = sum(p.numel() for p in self.parameters() if p.requires_grad)
        l, d = self.key.shape
        return f"{l} tokens of width {d}, {gate}, {'λ' if self.layer_gate is not None else 'no λ'}, {trained:,} trained"

    def gates(
        self, hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None
    ) -> tuple[Float[Tensor, "b l"], Float[Tensor, ""]]:
        """Return α [b, l] and λ [] for one batch; a gate that is off is 1."""
        alpha, scale = self.key.new_ones(hidden_states.shape[0], self.key.shape[0]), self.key.new_ones(())
        if self.token_gate is not None:
            alpha = self.token_gate(hidden_states, attention_mask)
        if self.layer_gate is not None:
            scale = self.layer_gate()
        return alpha, scale

    def forward(
        self, hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None
    ) -> tuple[Float[Tensor, "b l d_k"], Float[Tensor, "b l d_k"]]:
        """Build the gated prefix for the hidden states that enter the layer.

        Args:
            hidden_states: [b, n, d].
            attention_mask: [b, n], 1 (or True) for real tokens and 0 for padding; None: all are real.

        Returns:
            P̂_k and P̂_v, [b, l, d] each.
        """
        alpha, scale = self.gates(hidden_states, attention_mask)
        gate = (scale * alpha).unsqueeze(-1)  # [b, l, 1]
        b = gate.shape[0]  # not len(gate), which tracing would take for a constant
        return gate * self._drop(self.key, b), gate * self._drop(self.value, b)  # [b, l, d] each

    def _drop(self, prefix: Float[Tensor, "l d_k"], batch_size: int) -> Float[Tensor, "b l d_k"]:
        """Dropout on P before the gates, element by element, drawn anew for every example."""
        return F.dropout(prefix.expand(batch_size, -1, -1), self.dropout, self.training)


LONGEST = 2**40  # tokens of a prefix: beyond any use, and small enough to count with


def _check(config: AptConfig) -> None:
    """Raise ValueError where no prefix can be built from a config; the message names the value."""
    lengths = config.prefix_length if isinstance(config.prefix_length, tuple) else (config.prefix_length,)
    if not lengths or not all(type(length) is int and 0 <= length <= LONGEST for length in lengths):
        raise ValueError(
            f"prefix_length is {_short(config.prefix_length)}; it must be an integer from 0 to 2**40, "
            "or a tuple of them"
        )
    for switch in ("token_gate", "layer_gate"):
        if not isinstance(getattr(config, switch), bool):
            raise ValueError(f"{switch} is {_short(getattr(config, switch))}; it must be True or False")
    if config.gate_input not in GATE_INPUTS:
        raise ValueError(f"gate_input is {_short(config.gate_input)}; it must be one of {', '.join(GATE_INPUTS)}")
    if not (type(config.init_std) in (int, float) and 0 <= config.init_std <= 1e6):
        raise ValueError(f"init_std is {_short(config.init_std)}; it must be a finite number from 0 to a million")
    if not (type(config.prefix_dropout) in (int, float) and 0 <= config.prefix_dropout < 1):
        raise ValueError(f"prefix_dropout is {_short(config.prefix_dropout)}; it must be in [0, 1)")


def _short(value: object) -> str:
    """A value as it goes into an error message."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 80 else text[:80] + "…"
