"""BERT's encoder, written plainly (Devlin et al. 2019), with a place for a prefix in every layer."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from apt_minimal.attention import attention_weights, merge_heads, prepend_prefix, split_heads
from apt_minimal.prefix import AdaptivePrefix


class Embeddings(nn.Module):
    """Word + position + token type, normalised: input_ids [b, n] -> hidden states [b, n, d]."""

    def __init__(self, config: Any):
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Sum the three embeddings; without token_type_ids every token is of type 0."""
        n, limit = input_ids.shape[1], self.position.num_embeddings
        if n > limit:
            raise ValueError(f"the input has {n} tokens, this encoder has {limit} positions; shorten the input")
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        positions = torch.arange(n, device=input_ids.device)  # never shifted by a prefix
        x = self.word(input_ids) + self.position(positions) + self.token_type(token_type_ids)
        return self.dropout(self.norm(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention, with a prefix in front of the keys and values where one is given (E1).

    Args:
        config: see `Encoder`.
        fused: whether torch's fused kernel does the same in one step, faster and without showing its weights.
    """

    def __init__(self, config: Any, fused: bool = False):
        super().__init__()
        self.fused = fused
        d = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.output = nn.Linear(d, d)
        self.dropout = config.attention_probs_dropout_prob

    def forward(
        self, hidden_states: Tensor, mask: Tensor | None = None, prefix: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Attend: hidden_states [b, n, d], mask boolean [b, 1, 1, n], prefix two of [b, l, d] -> [b, n, d]."""
        query = split_heads(self.query(hidden_states), self.num_heads)  # [b, h, n, d_h]
        key = split_heads(self.key(hidden_states), self.num_heads)  # [b, h, n, d_h]
        value = split_heads(self.value(hidden_states), self.num_heads)  # [b, h, n, d_h]
        if prefix is not None:  # E1: [P_k; K] and [P_v; V], [b, h, l + n, d_h], and a mask with l more columns
            key, value, mask = prepend_prefix(key, value, mask, *prefix)
        dropout = self.dropout if self.training else 0.0
        if self.fused:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        else:
            weights = attention_weights(query, key, mask)  # softmax(q [P_k; K]ᵀ / √d_h), [b, h, n, l + n]
            attended = F.dropout(weights, dropout) @ value  # [b, h, n, d_h]
        return self.output(merge_heads(attended))  # [b, n, d]


class Layer(nn.Module):
    """One Transformer layer: attention, then a feed-forward network, each added to its input and normalised."""

    def __init__(self, config: Any, fused: bool = False):
        super().__init__()
        from transformers.activations import ACT2FN

        d = config.hidden_size
        self.attention = SelfAttention(config, fused)
        self.attention_norm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, config.intermediate_size),
            ACT2FN[config.hidden_act],
            nn.Linear(config.intermediate_size, d),
        )
        self.feed_forward_norm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: Tensor, mask: Tensor | None = None, prefix: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Shapes as in `SelfAttention.forward`."""
        x = hidden_states
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, prefix)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    """BERT without its pooler and heads; every layer may attend to an adaptive prefix.

    Args:
        config: a transformers `BertConfig`, or any object with its field names.
        fused: let torch's fused kernel compute E1, where the default goes through it step by step: the same numbers up
            to rounding, and faster.
    """

    def __init__(self, config: Any, fused: bool = False):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, fused) for _ in range(config.num_hidden_layers))

    @classmethod
    def from_pretrained(cls, name_or_path: str, fused: bool = False) -> "Encoder":
        """Load pretrained BERT weights from a hub name or a local folder; the encoder is in eval mode."""
        from transformers import BertModel

        return cls.from_bert(BertModel.from_pretrained(name_or_path, add_pooling_layer=False), fused)

    @classmethod
    def from_bert(cls, bert: Any, fused: bool = False) -> "Encoder":
        """Copy config, weights, dtype and device of a transformers BERT, head or none; the encoder is in eval mode.

        Raises:
            TypeError: it is another kind of model, whose weights this encoder would not compute with correctly.
        """
        bert = bert.base_model
        decoder = getattr(bert.config, "is_decoder", False)  # not every config says
        if bert.config.model_type != "bert" or decoder:
            kind = bert.config.model_type + (" decoder" if decoder else "")
            raise TypeError(f"this encoder is BERT's; it cannot take the weights of a {kind}")
        encoder = cls(bert.config, fused).to(device=bert.device, dtype=bert.dtype)
        theirs = bert.state_dict()
        encoder.load_state_dict({name: theirs[_bert_name(name)] for name in encoder.state_dict()})
        return encoder.eval()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        prefixes: Sequence[AdaptivePrefix | None] | None = None,
    ) -> Tensor:
        """Encode a batch.

        Args:
            input_ids: [b, n].
            attention_mask: [b, n], 1 for real tokens and 0 for padding; None: all are real.
            token_type_ids: [b, n], 0 or 1; None: all 0.
            prefixes: one `AdaptivePrefix` (or None) per layer.

        Returns:
            The last layer's hidden states, [b, n, d].

        Raises:
            ValueError: more tokens than positions, or another number of prefixes than layers.
        """
        prefixes = [None] * len(self.layers) if prefixes is None else prefixes
        if len(prefixes) != len(self.layers):
            raise ValueError(f"{len(prefixes)} prefixes for {len(self.layers)} layers; give one (or None) per layer")
        mask = None if attention_mask is None else rearrange(attention_mask.ne(0), "b n -> b 1 1 n")
        hidden_states = self.embeddings(input_ids, token_type_ids)  # [b, n, d]
        for layer, prefix in zip(self.layers, prefixes, strict=True):
            # APT in one line: the prefix is built from the very states that enter the layer.
            pair = None if prefix is None else prefix(hidden_states, attention_mask)  # two of [b, l, d]
            hidden_states = layer(hidden_states, mask, pair)  # [b, n, d]
        return hidden_states


# Our names for BERT's weights, in the order in which they are replaced.
_BERT_NAMES = {
    "embeddings.word.": "embeddings.word_embeddings.",
    "embeddings.position.": "embeddings.position_embeddings.",
    "embeddings.token_type.": "embeddings.token_type_embeddings.",
    "embeddings.norm.": "embeddings.LayerNorm.",
    "layers.": "encoder.layer.",
    "attention.query.": "attention.self.query.",
    "attention.key.": "attention.self.key.",
    "attention.value.": "attention.self.value.",
    "attention.output.": "attention.output.dense.",
    "attention_norm.": "attention.output.LayerNorm.",
    "feed_forward.0.": "intermediate.dense.",
    "feed_forward.2.": "output.dense.",
    "feed_forward_norm.": "output.LayerNorm.",
}


def _bert_name(name: str) -> str:
    """The name under which transformers' `BertModel` keeps one of the encoder's weights."""
    for ours, theirs in _BERT_NAMES.items():
        name = name.replace(ours, theirs)
    return name
