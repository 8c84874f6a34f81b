"""The attention of hosts that write it out, once more with a place for the prefix: MPNet and DeBERTa, three kinds.

Each function computes what its host computes and differs in what stands in front of the keys and values. A term that
depends on positions exists between input tokens only: on the prefix's columns it is 0, and the scale stays the host's.
Without a prefix the host's own code runs: `forward` sees to that.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from apt_minimal.attention import masked_softmax, split_heads
from apt_minimal.hosts import HostModule, PrefixPair


def forward(
    layer: HostModule, attend: Callable[..., Any], *args: Any, prefix: PrefixPair | None = None, **kwargs: Any
) -> Any:
    """A self-attention's forward: with a prefix `attend`, one of the functions below; without one the host's own."""
    if prefix is None:
        return type(layer).forward(layer, *args, **kwargs)
    return attend(layer, *args, prefix=prefix, **kwargs)


def mpnet(
    layer: HostModule,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    *,
    prefix: PrefixPair,
    **kwargs: Any,
) -> tuple[Tensor, ...]:
    """MPNet: softmax(q [P_k; K]ᵀ / √d_h + [0; bias]) [P_v; V], with a bias by relative position, [b, h, n, n]."""
    heads = layer.num_attention_heads
    query, key, value = (split_heads(w(hidden_states), heads) for w in (layer.q, layer.k, layer.v))  # [b, h, n, d_h]
    added = attention_mask if position_bias is None else position_bias
    if position_bias is not None and attention_mask is not None:
        added = position_bias + attention_mask
    key, value, mask = prefix.in_front(key, value, added)  # [b, h, l + n, d_h]
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # [b, h, n, l + n]
    weights = masked_softmax(scores, mask)
    attended = _attended(prefix, query, layer.dropout(weights), weights, value)  # [b, n, d]
    output = layer.o(attended)
    return (output, weights) if kwargs.get("output_attentions") else (output,)


def deberta(
    layer: HostModule,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
    *,
    prefix: PrefixPair,
) -> tuple[Tensor, Tensor | None]:
    """DeBERTa (He et al. 2021): content scores over all keys, relative terms over the input's, both by 1 / √(c d_h).

    c is 1 and one for each kind of relative term (content to position, position to content).
    """
    projected = layer.transpose_for_scores(layer.in_proj(hidden_states))
    query, key, value = projected.chunk(3, dim=-1)  # [b, h, n, d_h]
    query = query + layer.transpose_for_scores(layer.q_bias[None, None])
    value = value + layer.transpose_for_scores(layer.v_bias[None, None])
    factor = 1 + len(layer.pos_att_type)
    scaled, relative = query / _scale(query, factor), None
    if layer.relative_attention and rel_embeddings is not None:
        embeddings = layer.pos_dropout(rel_embeddings)
        relative = layer.disentangled_att_bias(scaled, key, relative_pos, embeddings, factor)  # [b, h, n, n]
    key, value, mask = prefix.in_front(key, value, attention_mask.bool())
    scores = _with_relative(scaled @ key.mT, relative, prefix)  # [b, h, n, l + n]
    if layer.head_logits_proj is not None:  # "talking heads"
        scores = layer.head_logits_proj(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    weights = masked_softmax(scores, mask)
    dropped = layer.dropout(weights)
    if layer.head_weights_proj is not None:
        dropped = layer.head_weights_proj(dropped.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    attended = _attended(prefix, query, dropped, weights, value)
    return attended, weights if output_attentions else None


def deberta_v2(
    layer: HostModule,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
    *,
    prefix: PrefixPair,
) -> tuple[Tensor, Tensor | None]:
    """DeBERTa-v2 and v3: as `deberta`, with a projection each and relative terms made for heads in the batch."""
    heads = layer.num_attention_heads
    asking = hidden_states if query_states is None else query_states
    states = ((layer.query_proj, asking), (layer.key_proj, hidden_states), (layer.value_proj, hidden_states))
    flat = [layer.transpose_for_scores(project(x), heads) for project, x in states]  # [b · h, n, d_h]
    factor, relative = 1 + ("c2p" in layer.pos_att_type) + ("p2c" in layer.pos_att_type), None
    if layer.relative_attention:
        embeddings = layer.pos_dropout(rel_embeddings)
        relative = layer.disentangled_attention_bias(flat[0], flat[1], relative_pos, embeddings, factor)
        relative = rearrange(relative, "(b h) n m -> b h n m", h=heads)
    query, key, value = (rearrange(x, "(b h) n d_h -> b h n d_h", h=heads) for x in flat)
    key, value, mask = prefix.in_front(key, value, attention_mask.bool())
    scores = _with_relative(query @ (key.mT / _scale(query, factor)), relative, prefix)
    weights = masked_softmax(scores, mask)  # [b, h, n, l + n]
    attended = _attended(prefix, query, layer.dropout(weights), weights, value)
    return attended, weights if output_attentions else None


def _scale(query: Tensor, factor: int) -> Tensor:
    """√(c d_h), rounded to float32 as DeBERTa rounds it in every precision."""
    return (torch.tensor(query.shape[-1], dtype=torch.float) * factor).sqrt().to(query.dtype)


def _with_relative(scores: Tensor, relative: Tensor | None, prefix: PrefixPair) -> Tensor:
    """Add relative terms [b, h, n, n] to scores [b, h, n, l + n]; a prefix slot has no position, so it gets 0."""
    return scores if relative is None else scores + F.pad(relative, (prefix.key.shape[1], 0))


def _attended(prefix: PrefixPair, query: Tensor, dropped: Tensor, weights: Tensor, value: Tensor) -> Tensor:
    """Σ weight · value, heads side by side, [b, n, d]; who records sees the weights before dropout."""
    if prefix.observer is not None:
        prefix.observer(weights)
    attended = rearrange(dropped @ value, "b h n d_h -> b n h d_h")
    return rearrange(prefix.output(query, attended), "b n h d_h -> b n (h d_h)")
