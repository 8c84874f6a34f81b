"""Lesson 01, exercise 5: a head built by hand, which looks at the previous token."""

import torch
from torch import Tensor

from apt_minimal.course.check import exercise

ENOUGH = 0.9


def verdict(found, n: int) -> str:
    """The first token that doesn't look where it should; or what is wrong with the form; empty if nothing is."""
    if fault := form_fault(found, n):
        return fault
    query, key = (x.detach().double() for x in found)
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
    for token, row in enumerate(weights):
        wanted, best = max(token - 1, 0), int(row.argmax())
        if row[wanted] >= ENOUGH:
            continue
        if best == wanted or row[wanted] == row[best]:
            return (
                f"token {token + 1} of {n} looks at token {wanted + 1} with a weight of {row[wanted]:.2f}, not {ENOUGH}"
            )
        return f"token {token + 1} of {n} looks most at token {best + 1}; it should be token {wanted + 1}"
    return ""


def form_fault(found, n: int) -> str:
    """What is wrong with the form of a query and key for n tokens, in words; empty where nothing is."""
    if not isinstance(found, list | tuple) or len(found) != 2 or not all(isinstance(x, Tensor) for x in found):
        return "return two tensors: query and key"
    if not all(x.dim() == 2 and len(x) == n and x.is_floating_point() for x in found):
        return f"query and key must be [{n}, d_h] for {n} tokens, of floating-point numbers"
    if found[0].shape != found[1].shape:
        return f"query and key must have one d_h; yours have {found[0].shape[1]} and {found[1].shape[1]}"
    return "" if all(x.isfinite().all() for x in found) else "all numbers must be finite"


def look_back(n):
    """Query and key, [n, n] each, of a head in which every token looks at the one before it."""
    key = torch.eye(n)
    looked_at = (torch.arange(n) - 1).clamp(min=0)
    query = 10 * n**0.5 * key[looked_at]
    return query, key


@exercise(look_back, look=verdict, pairs=False)
def check_look_back(draw):
    """
    ? A key says where a token is. What would a query have to say, to ask for the place before its own?
    ? Give each place one row of torch.eye(n) as key. The query of token i is the key of token i − 1, made long.
    ? query = 10 * n**0.5 * key[(torch.arange(n) - 1).clamp(min=0)]
    each token looks at itself; it should look at the one before it → looked_at = torch.arange(n)
    each token looks at the next one; it should look at the one before it →
        looked_at = (torch.arange(n) + 1).clamp(max=n - 1)
    the first token looks at the last one (torch counts −1 from the end); it should look at itself →
        looked_at = torch.arange(n) - 1
    each token looks at the right place, but far too softly: make the queries (or the keys) longer →
        query = key[looked_at]
    query and key have changed places: each token is looked at by the one before it → return key, query
    """
    for n in (3, 1, 2, 8, 40):
        yield "one token" if n == 1 else f"{n} tokens", n
