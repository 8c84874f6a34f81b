"""Attention over a sentence with a prefix in front (E1, E4).

Letters used throughout the package:

    b  examples in a batch      h    attention heads         d  hidden size (d = h · d_h)
    n  tokens of the input      d_h  size of one head        L  layers
    k  keys attended to         l    prefix length
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

# True where a query may look, or numbers that are added to the scores; a # marks an axis that may be 1.
Mask = Bool[Tensor, "... #n #k"] | Float[Tensor, "... #n #k"]
Longer = Bool[Tensor, "... l+n"] | Float[Tensor, "... l+n"]  # the same with the prefix's keys in front


def split_heads(x: Float[Tensor, "b n d"], num_heads: int) -> Float[Tensor, "b h n d_h"]:
    """Cut the hidden size into heads: [b, n, d] -> [b, h, n, d_h]."""
    return rearrange(x, "b n (h d_h) -> b h n d_h", h=num_heads)


def merge_heads(x: Float[Tensor, "b h n d_h"]) -> Float[Tensor, "b n d"]:
    """Put the heads side by side again: [b, h, n, d_h] -> [b, n, d]."""
    return rearrange(x, "b h n d_h -> b n (h d_h)")


def masked_softmax(scores: Float[Tensor, "b h n k"], mask: Mask | None = None) -> Float[Tensor, "b h n k"]:
    """Softmax over the keys a query may look at, [b, h, n, k].

    Args:
        scores: [b, h, n, k].
        mask: boolean, broadcastable to the scores; True where a query may look. A query that may look nowhere has
            weights of 0. Or numbers that are added to the scores, −inf where a query may not look.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    if mask.dtype != torch.bool:
        return (scores + mask).softmax(dim=-1)
    # −inf before the softmax is a weight of exactly 0 after it; a row of nothing but −inf would be 0/0.
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1).masked_fill(~mask, 0.0)


def attention_weights(
    query: Float[Tensor, "b h n d_h"], key: Float[Tensor, "b h k d_h"], mask: Mask | None = None
) -> Float[Tensor, "b h n k"]:
    """softmax(q Kᵀ / √d_h): how much each query looks at each key, [b, h, n, k]; see `scaled_dot_product_attention`."""
    scores = query @ rearrange(key, "b h k d_h -> b h d_h k") / math.sqrt(query.shape[-1])
    return masked_softmax(scores, mask)


def scaled_dot_product_attention(
    query: Float[Tensor, "b h n d_h"],
    key: Float[Tensor, "b h k d_h"],
    value: Float[Tensor, "b h k d_h"],
    mask: Mask | None = None,
) -> tuple[Float[Tensor, "b h n d_h"], Float[Tensor, "b h n k"]]:
    """Attention written out: softmax(q Kᵀ / √d_h) V  (Vaswani et al. 2017, eq. 1).

    Args:
        query: [b, h, n, d_h].
        key, value: [b, h, k, d_h].
        mask: boolean, broadcastable to [b, h, n, k]; True where a query may look.
            A query that may look nowhere attends to nothing: its output is zero.
            Or numbers that are added to the scores, −inf where a query may not look.

    Returns:
        The attended values [b, h, n, d_h] and the attention weights [b, h, n, k].
    """
    weights = attention_weights(query, key, mask)
    return weights @ value, weights


def prepend_prefix(
    key: Float[Tensor, "b h n d_h"],
    value: Float[Tensor, "b h n d_h"],
    mask: Mask | None,
    prefix_key: Float[Tensor, "b l d"],
    prefix_value: Float[Tensor, "b l d"],
) -> tuple[Float[Tensor, "b h l+n d_h"], Float[Tensor, "b h l+n d_h"], Longer | None]:
    """Put a prefix in front of the keys and values, as E1 asks: [P_k; K] and [P_v; V].

    Args:
        key, value: [b, h, n, d_h].
        mask: [b, 1 or h, 1 or n, n] or None, boolean or added to the scores; the prefix is visible to every query.
        prefix_key, prefix_value: one layer's prefix for each example, [b, l, d].

    Returns:
        Keys and values [b, h, l + n, d_h] and the mask [b, 1 or h, 1 or n, l + n] (or None).
    """
    num_heads, prefix_length = key.shape[1], prefix_key.shape[1]
    key = torch.cat([split_heads(prefix_key, num_heads), key], dim=2)
    value = torch.cat([split_heads(prefix_value, num_heads), value], dim=2)
    if mask is not None:
        mask = F.pad(mask, (prefix_length, 0), value=mask.dtype == torch.bool)  # "may look" is True, or 0 to add
    return key, value, mask


def prefix_attention(
    query: Float[Tensor, "b h n d_h"],
    key: Float[Tensor, "b h n d_h"],
    value: Float[Tensor, "b h n d_h"],
    prefix_key: Float[Tensor, "b l d"],
    prefix_value: Float[Tensor, "b l d"],
    mask: Mask | None = None,
) -> tuple[Float[Tensor, "b h n d_h"], Float[Tensor, "b h n l+n"]]:
    """E1, prefix attention: softmax(q [P_k; K]ᵀ / √d_h) [P_v; V]  (Li & Liang 2021; Zhang et al. 2023).

    Args:
        query, key, value: [b, h, n, d_h].
        prefix_key, prefix_value: [b, l, d].
        mask: boolean, [b, 1 or h, 1 or n, n]; it covers the input tokens only.

    Returns:
        The attended values [b, h, n, d_h] and the weights [b, h, n, l + n], prefix first.
    """
    return scaled_dot_product_attention(query, *prepend_prefix(key, value, mask, prefix_key, prefix_value))


def prefix_mass(
    query: Float[Tensor, "b h n d_h"], key: Float[Tensor, "b h k d_h"], prefix_length: int, mask: Mask | None = None
) -> Float[Tensor, "b h n"]:
    """m(q) of E4, the share of the softmax that falls on the prefix.

    E4, interpolation (He et al. 2022): prefix attention = (1 − m(q)) Attn(q; K, V) + m(q) Attn(q; P_k, P_v).

    Args:
        query: [b, h, n, d_h].
        key: [b, h, l + n, d_h], the prefix's keys first.
        prefix_length: l.
        mask: broadcastable to [b, h, n, l + n], as in `scaled_dot_product_attention`.

    Returns:
        The mass of each head and query, [b, h, n], between 0 and 1.
    """
    return attention_weights(query, key, mask)[..., :prefix_length].sum(dim=-1)
