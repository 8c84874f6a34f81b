"""Lesson 01, exercise 4: inputs on which faulty attentions show, and why others hide them."""

import math

import torch
from torch import Tensor

from apt_minimal.course.check import exercise


def softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """The right one: hidden scores count 0, and where all are hidden all weights are 0."""
    return scores.masked_fill(~mask, -math.inf).softmax(dim).masked_fill(~mask, 0.0)


# query, key, value [b, h, n, d_h] and mask [b, 1, 1, n] → [b, h, n, d_h]
FAULTY = {
    "softmax_over_queries": lambda q, k, v, m: softmax(q @ k.mT / q.shape[-1] ** 0.5, m, -2) @ v,
    "keys_ask": lambda q, k, v, m: softmax(k @ q.mT / q.shape[-1] ** 0.5, m) @ v,
    "scaled_by_keys": lambda q, k, v, m: softmax(q @ k.mT / k.shape[-2] ** 0.5, m) @ v,
    "masks_queries": lambda q, k, v, m: softmax(q @ k.mT / q.shape[-1] ** 0.5, m.mT) @ v,
}


def verdict(inputs) -> str:
    """Which faults hide on these inputs; or what is wrong with their form; empty if nothing is."""
    if fault := form_fault(inputs):
        return fault
    query, key, value, mask = (x.detach().double() if x.is_floating_point() else x for x in inputs)
    right = softmax(query @ key.mT / query.shape[-1] ** 0.5, mask) @ value
    hidden = [name for name, faulty in FAULTY.items() if (faulty(query, key, value, mask) - right).abs().max() <= 0.01]
    if not hidden:
        return ""
    others = f" (hidden too: {', '.join(hidden[1:])})" if hidden[1:] else ""
    return f"on these inputs {hidden[0]} gives the right result: {why(hidden[0], query, key, value, mask)}{others}"


def form_fault(inputs) -> str:
    """What is wrong with the form of the inputs, in words; empty where nothing is."""
    if not isinstance(inputs, list | tuple) or len(inputs) != 4 or not all(isinstance(x, Tensor) for x in inputs):
        return "return four tensors: query, key, value, mask"
    *floats, mask = inputs
    n, d_h = floats[0].shape[-2:] if floats[0].dim() == 4 else (0, 0)
    if not (1 <= n <= 4 and 1 <= d_h <= 4) or not all(x.shape == (1, 1, n, d_h) for x in floats):
        return "query, key and value must have one and the same shape [1, 1, n, d_h], with n and d_h from 1 to 4"
    if not all(x.is_floating_point() and ((x == x.round()) & (x.abs() <= 3)).all() for x in floats):
        return "query, key and value must hold whole numbers from −3 to 3, in a floating-point dtype"
    if mask.shape != (1, 1, 1, n) or mask.dtype != torch.bool:
        return f"the mask must be boolean and have the shape [1, 1, 1, n], here [1, 1, 1, {n}]"
    return ""


def why(fault: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> str:
    """Why a faulty attention gives the right result on these inputs, as far as their look tells."""
    scores, seen = query @ key.mT, mask[0, 0, 0]
    values, mean = value[:, :, seen], fault in ("keys_ask", "scaled_by_keys")  # weights over seen keys that sum to 1
    reasons = {
        "no query may look anywhere, so every result is 0": not seen.any(),
        "the mask is True everywhere, so it doesn't matter what it is applied to": fault[0] == "m" and seen.all(),
        "only one key may be looked at: its weight is 1, whatever its score": mean and seen.sum() == 1,
        "all values are equal, so any weights that sum to 1 give the same": mean and (values == values[:, :, :1]).all(),
        "the number of keys is d_h": fault == "scaled_by_keys" and query.shape[-2] == query.shape[-1],
        "all scores are equal, and so are all weights": mean and (scores == scores[..., :1, :1]).all(),
        "the scores are symmetric (queries equal to keys make them so), so it doesn't matter who asks": (
            fault == "keys_ask" and torch.equal(scores, scores.mT)
        ),
        "the scores lie so far apart that one key takes nearly all the weight of each query, in both": (
            mean and (softmax(scores / query.shape[-1] ** 0.5, mask).amax(-1) > 0.98).all()
        ),
    }
    return next((reason for reason, applies in reasons.items() if applies), "nowhere do they differ by more than 0.01")


def telling_inputs():
    """Query, key, value [1, 1, 3, 2] and mask [1, 1, 1, 3] on which every faulty attention shows its fault."""
    query = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    key = torch.tensor([[2.0, 1.0], [0.0, -1.0], [1.0, 3.0]])
    value = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    mask = torch.tensor([True, True, False])
    return query[None, None], key[None, None], value[None, None], mask[None, None, None]


@exercise(telling_inputs, look=verdict)
def check_telling_inputs(draw):
    """
    ? What would hide each of the four faults? Note one property of the inputs for each.
    ? Avoid symmetric scores, a coincidence of two sizes, and a mask that hides nothing or leaves too little.
    ? Take n = 3 and d_h = 2, queries other than keys, and a mask that hides one key of three.
    """
    yield ("four faulty attentions",)
