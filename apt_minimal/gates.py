"""APT's two gates: α decides for each token of the prefix (E2), λ for a whole layer (part of E3)."""

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

TokenMask = Num[Tensor, "b n"] | Bool[Tensor, "b n"]  # 1 (or True) for real tokens, 0 for padding

GATE_INPUTS = ("first_token", "mean", "none")


def first_token(hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None) -> Float[Tensor, "b d"]:
    """The hidden state of each example's first real token: [b, n, d] -> [b, d].

    In BERT that is [CLS]. With padding on the left it is not at position 0. An example that is all padding gives
    position 0.
    """
    if attention_mask is None:
        return hidden_states[:, 0]
    # argmax finds the first of equal maxima, so the first 1 of the mask.
    position = attention_mask.ne(0).int().argmax(dim=1)
    return hidden_states[torch.arange(position.shape[0], device=position.device), position]


def mean_token(hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None) -> Float[Tensor, "b d"]:
    """The mean over each example's real tokens: [b, n, d] -> [b, d]. An example that is all padding gives zeros."""
    if attention_mask is None:
        return hidden_states.mean(dim=1)
    real = attention_mask.ne(0).unsqueeze(-1)  # [b, n, 1]
    # Filled, not multiplied: whatever stands under the padding, NaN included, must not come through.
    return hidden_states.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class TokenGate(nn.Module):
    """E2, the token-level gate: α = σ(h W), one number in (0, 1) for each prefix token and example.

    h is the hidden state of the first real token that enters the layer (Zhang et al. 2023). There are two variants:
    the mean over the real tokens (ours), and no h at all, α = σ(w) (the paper's ablation). What is said of the paper is
    recalled, not checked against its PDF. W is drawn from N(0, init_std²) and has no bias, so that α starts near
    σ(0) = ½ (the paper's own initialisation is not known).

    Args:
        prefix_length: l, the number of prefix tokens.
        hidden_size: d.
        gate_input: "first_token", "mean" or "none".
        init_std: standard deviation of the initial weights.

    Attributes:
        weight: Wᵀ, [l, d]; w, [l], with gate_input="none".
    """

    def __init__(self, prefix_length: int, hidden_size: int, gate_input: str = "first_token", init_std: float = 0.02):
        super().__init__()
        if gate_input not in GATE_INPUTS:
            raise ValueError(f"gate_input is {gate_input!r}; it must be one of {', '.join(GATE_INPUTS)}")
        self.gate_input = gate_input
        shape = (prefix_length,) if gate_input == "none" else (prefix_length, hidden_size)
        self.weight = nn.Parameter(torch.randn(shape) * init_std)

    def forward(
        self, hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None
    ) -> Float[Tensor, "b l"]:
        """Return α [b, l] for hidden_states [b, n, d] and attention_mask [b, n] (1 = real token) or None."""
        return self.logits(hidden_states, attention_mask).sigmoid()

    def logits(
        self, hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None
    ) -> Float[Tensor, "b l"]:
        """Return h W (or w), the gate before the sigmoid, [b, l]."""
        if self.gate_input == "none":
            return self.weight.expand(hidden_states.shape[0], -1)
        # Autocast would round α to bfloat16's steps of 1/256. Between inputs it often differs by less.
        with torch.autocast(hidden_states.device.type, enabled=False):
            return self.pool(hidden_states, attention_mask).to(self.weight.dtype) @ self.weight.T

    def pool(
        self, hidden_states: Float[Tensor, "b n d"], attention_mask: TokenMask | None = None
    ) -> Float[Tensor, "b d"]:
        """Return h, the state that the gate reads, [b, d]."""
        read = first_token if self.gate_input == "first_token" else mean_token
        return read(hidden_states, attention_mask)


class LayerGate(nn.Module):
    """The layer-level gate λ of E3: one free scalar that weighs a layer's prefix, starting at 1.

    It is not squashed: it may exceed 1 or turn negative (how the paper does it is not known). P reaches the attention
    only multiplied by λ, so λ alone says nothing about how much a layer uses its prefix.

    Attributes:
        scale: λ, [] (inside a transformers model [1], as torch's FSDP shards no scalars).
    """

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self) -> Float[Tensor, ""]:
        """Return λ, []."""
        return self.scale.reshape(())
