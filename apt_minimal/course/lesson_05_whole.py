"""Lesson 05, exercise 4: APT whole."""

import torch
import torch.nn.functional as F
from einops import rearrange

from apt_minimal.course.check import exercise


def apt_attention(x, mask, projections, prefix, heads):
    """5.4: an attention layer with an adaptive prefix, [b, n, d]."""
    h, l = heads, len(prefix["key"])
    real = torch.ones(x.shape[:2]).bool() if mask is None else mask.bool()
    place = real.int().argmax(dim=1)
    first = x[torch.arange(len(x)), place]  # [b, d]
    alpha = (first @ prefix["weight"].T).sigmoid()  # E2, [b, l]
    gate = (prefix["scale"] * alpha).unsqueeze(-1)  # E3, [b, l, 1]
    query, key, value = (x @ projection for projection in projections)
    keys = torch.cat([gate * prefix["key"], key], dim=1)  # E1, [b, l + n, d]
    values = torch.cat([gate * prefix["value"], value], dim=1)
    query, keys, values = (rearrange(y, "b n (h e) -> b h n e", h=h) for y in (query, keys, values))
    scores = query @ keys.mT / query.shape[-1] ** 0.5  # [b, h, n, l + n]
    look = F.pad(real, (l, 0), value=True)[:, None, None]  # everyone may look at the prefix
    seen = scores.masked_fill(~look, -torch.inf)
    weights = seen.softmax(dim=-1)
    return rearrange(weights @ values, "b h n e -> b n (h e)")


def real_only(found, x, mask, *given):
    """What stands at padded positions is not looked at."""
    return found if mask is None or found.shape != x.shape else found.masked_fill(~mask.bool().unsqueeze(-1), 0.0)


@exercise(apt_attention, look=real_only)
def check_apt_attention(draw):
    """
    ? Which token does the gate read if padding stands on the left? Is the prefix projected? How wide is the mask?
    ? First real token; gated prefix, not projected; prefix in front, and the mask l columns wider; heads.
    ? gate = prefix["scale"] * α, then torch.cat([gate * prefix["key"], key], 1), F.pad(real, (l, 0), value=True)
    position 0 is padding where a sentence is padded on the left → first = x[:, 0]
    the gate reads the first real token, not the mean → first = (x * real[..., None]).sum(1) / real.sum(1, True)
    counting padding finds the first token only if all is on the left → place = (~real).sum(dim=1) % x.shape[1]
    each example has its own first token → first = x[:, place[0]]
    a mask of None means that all are real → real = mask.bool()
    the mask is not used: padding is attended to → seen = scores
    1 means a real token → look = F.pad(real ^ (mask is not None), (l, 0), value=True)[:, None, None]
    the mask's new columns stand in front, as the prefix → look = F.pad(real, (0, l), value=True)[:, None, None]
    the mask hides the prefix: every query may look at it → look = F.pad(real, (l, 0))[:, None, None]
    weights set to 0 after the softmax don't add up to 1 → seen = scores; weights = scores.softmax(-1) * look
    the softmax runs over the keys → weights = scores.masked_fill(~look, -1e9).softmax(dim=-2)
    scores are divided by √(d/h), not by √d → scores = query @ keys.mT / x.shape[-1] ** 0.5
    scores are divided by √(d/h): that is missing → scores = query @ keys.mT
    the prefix is not projected: it stands beside projected keys and values →
        keys = torch.cat([gate * prefix["key"] @ projections[1], key], dim=1)
        values = torch.cat([gate * prefix["value"] @ projections[2], value], dim=1)
    λ is missing → gate = alpha.unsqueeze(-1)
    λ is outside the sigmoid → gate = (first @ prefix["weight"].T * prefix["scale"]).sigmoid().unsqueeze(-1)
    α is missing → gate = prefix["scale"] * torch.ones(len(x), l, 1)
    α is ½ only where W = 0 → alpha = torch.full((len(x), l), 0.5)
    the values are gated too → values = torch.cat([prefix["value"].expand(len(x), -1, -1), value], dim=1)
    P_k belongs to the keys, P_v to the values →
        keys = torch.cat([gate * prefix["value"], key], 1); values = torch.cat([gate * prefix["key"], value], 1)
    the heads are missing → h, l = 1, len(prefix["key"])
    head 1 has the first d/h columns, not every h-th →
        query, keys, values = (rearrange(y, "b n (e h) -> b h n e", h=h) for y in (query, keys, values))
        return rearrange(weights @ values, "b h n e -> b n (e h)")
    put the heads side by side: a reshape alone mixes them → return (weights @ values).reshape(x.shape)
    queries are x @ projections[0], not transposed → query, key, value = (x @ p.T for p in projections)
    """
    eye, one = torch.eye(2), torch.tensor([[1.0, 0.0]])
    prefix = {"key": 0 * one, "value": 4 * one, "weight": one, "scale": torch.tensor(2.0)}
    yield "one token, scores of 0", torch.tensor([[[0.0, 2.0]]]), None, [eye, 0 * eye, eye], prefix, 1
    left, both = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]), torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]])
    for tests, b, l, d, heads, mask, scale in (
        ("one head, no mask", 2, 3, 4, 1, None, 1.7),
        ("two heads", 2, 3, 8, 2, None, 1.7),
        ("four heads of three columns, a negative λ", 2, 3, 12, 4, torch.ones(2, 4).long(), -1.5),
        ("padding on the right", 3, 2, 8, 4, left.flip(1), 1.7),
        ("padding on the left", 3, 2, 8, 4, left, 1.7),
        ("a boolean mask, padding on both sides", 2, 5, 6, 3, both.bool(), 1.7),
        ("b = l = n = d", 4, 4, 4, 1, torch.ones(4, 4).long(), 1.7),
        ("l = d", 2, 6, 6, 2, None, 1.7),
    ):
        x = draw(b, 4, d)
        if mask is not None:
            x = x + 30 * (~mask.bool()).unsqueeze(-1)  # what stands under the padding must not come through
        parts = {"key": draw(l, d), "value": draw(l, d), "weight": draw(l, d) * 2 / d**0.5}
        yield tests, x, mask, [draw(d, d) / d**0.5 for _ in range(3)], parts | {"scale": torch.tensor(scale)}, heads
