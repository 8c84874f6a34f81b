"""E1 and E4: attention written out, its fused twin, and a prefix in front of it."""

import pytest
import reference
import torch
from jaxtyping import TypeCheckError

from apt_minimal.attention import (
    attention_weights,
    merge_heads,
    prefix_attention,
    prefix_mass,
    prepend_prefix,
    scaled_dot_product_attention,
    split_heads,
)

B, N, H, D, L = 3, 7, 4, 32, 5
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]]).bool()


def tensors(dtype):
    """Query, key, value [b, n, d] and a prefix pair [b, l, d]."""
    return [torch.randn(B, n, D, dtype=dtype) for n in (N, N, N, L, L)]


def heads(*xs):
    return [split_heads(x, H) for x in xs]


def one_head(x, b, h):
    return reference.array(x[b, :, h * D // H : (h + 1) * D // H])


def test_heads_are_neighbouring_columns_of_the_hidden_size():
    x = torch.arange(D, dtype=torch.float).expand(1, 1, D)
    assert split_heads(x, H)[0, 1, 0].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]


def test_merging_heads_undoes_splitting():
    x = torch.randn(B, N, D)
    assert torch.equal(merge_heads(split_heads(x, H)), x)


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_attention_equals_the_reference(mask, dtype, close):
    q, k, v, *_ = tensors(dtype)
    out, weights = scaled_dot_product_attention(*heads(q, k, v), None if mask is None else mask[:, None, None])
    for b in range(B):
        for h in range(H):
            seen = None if mask is None else mask[b]
            expected = reference.attention(one_head(q, b, h), one_head(k, b, h), one_head(v, b, h), seen)
            close(out[b, h], expected[0])
            close(weights[b, h], expected[1])


def test_weight_on_a_masked_token_is_exactly_zero():
    q, k, v = heads(*tensors(torch.float32)[:3])
    _, weights = scaled_dot_product_attention(q, k, v, MASK[:, None, None])
    assert torch.equal(weights.eq(0), ~MASK[:, None, None].expand_as(weights))


def test_a_query_that_may_look_nowhere_gives_zero():
    q, k, v = heads(*tensors(torch.float32)[:3])
    mask = torch.ones(N, N, dtype=torch.bool)
    mask[2] = False
    out, _ = scaled_dot_product_attention(q, k, v, mask)
    assert out[:, :, 2].eq(0).all() and out.ne(0).any(dim=-1).sum() == B * H * (N - 1)


def test_the_prefix_stands_in_front_and_every_query_sees_it():
    _, k, v, p_k, p_v = tensors(torch.float32)
    key, value, mask = prepend_prefix(*heads(k, v), MASK[:, None, None], p_k, p_v)
    assert torch.equal(merge_heads(key), torch.cat([p_k, k], dim=1))
    assert torch.equal(merge_heads(value), torch.cat([p_v, v], dim=1))
    assert torch.equal(mask[:, 0, 0], torch.cat([torch.ones(B, L, dtype=torch.bool), MASK], dim=1))


def test_without_a_mask_the_prefix_needs_none():
    _, k, v, p_k, p_v = tensors(torch.float32)
    assert prepend_prefix(*heads(k, v), None, p_k, p_v)[2] is None


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_prefix_attention_and_its_mass_equal_the_reference(mask, dtype, close):
    q, k, v, p_k, p_v = tensors(dtype)
    mask4 = None if mask is None else mask[:, None, None]
    out, weights = prefix_attention(*heads(q, k, v), p_k, p_v, mask4)
    key, _, wide = prepend_prefix(*heads(k, v), mask4, p_k, p_v)
    mass = prefix_mass(split_heads(q, H), key, L, wide)
    for b in range(B):
        for h in range(H):
            parts = [one_head(x, b, h) for x in (q, k, v, p_k, p_v)]
            expected, expected_mass = reference.prefix_attention(*parts, None if mask is None else mask[b])
            close(out[b, h], expected)
            close(mass[b, h], expected_mass)
            close(weights[b, h, :, :L].sum(dim=-1), expected_mass)


def test_a_shape_that_is_not_the_annotated_one_is_refused_in_the_test_run():
    query, key = torch.zeros(2, 4, 3, 8), torch.zeros(2, 4, 7, 8)
    assert attention_weights(query, key).shape == (2, 4, 3, 7)
    with pytest.raises(TypeCheckError, match="key"):  # heads of another size would broadcast
        attention_weights(query, key[:, :1])
