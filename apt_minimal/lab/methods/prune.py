"""Gates that end at exactly zero, and the shorter prefix that is left: learned removal of prefix tokens.

With a gate z per prefix token, E1 gives token t the weight z_t · exp(q · P_k,t / √d_h), up to the softmax's sum: log z
is added to its score. z = 0 is a score of −∞: the token is out, as if it had never been there. (α = 0 is not: a zero
key still takes mass.) z stands beside α, or, with token_gate=False, in its place.

    use_prune_gates(model)                 # attached already
    with penalised(model, weight=0.01):
        train(model, task, config)
    prune(model)                           # the same outputs, fewer prefix tokens
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from apt_minimal.attach import attach, attached_encoder, detach, prefixes
from apt_minimal.hosts import self_attentions
from apt_minimal.lab.data.tasks import Task
from apt_minimal.prefix import AdaptivePrefix

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1  # temperature, and what (0, 1) is stretched to: the paper's values


class HardConcrete(nn.Module):
    """A gate z in [0, 1] for each prefix token, exactly 0 or 1 with some probability (Louizos et al. 2018, L0).

    In training z = clip(LOW + (HIGH − LOW) · σ((logit(u) + a) / β), 0, 1), u uniform for each example and token (their
    eq. 10, 11). In eval mode z is 1 where a > 0 and else 0, their noise-free z (eq. 13) rounded: so what is scored
    during training is the prefix that `prune` will leave.

    Attributes:
        location: a, [l] (their log α, which is no α of ours); at 1, where it starts, z is 0 with probability 0.07 and
            1 with 0.35.
    """

    def __init__(self, length: int, start: float = 1.0):
        super().__init__()
        self.location = nn.Parameter(torch.full((length,), float(start)))

    def forward(self, batch_size: int) -> Tensor:
        """Return z, [b, l]."""
        a = self.location.expand(batch_size, -1)
        if not self.training:
            return (a > 0).to(a.dtype)
        return (LOW + (HIGH - LOW) * ((torch.rand_like(a).logit() + a) / BETA).sigmoid()).clamp(0, 1)

    def open_probability(self) -> Tensor:
        """P(z ≠ 0) in training, [l]: σ(a − β log(−LOW / HIGH)) (their eq. 12)."""
        return (self.location - BETA * math.log(-LOW / HIGH)).sigmoid()


def use_prune_gates(model: nn.Module, start: float = 1.0) -> nn.Module:
    """Give every prefix token of an attached model a `HardConcrete` gate, in place; `detach` takes them out again.

    They train with the rest; `prune` before `save_adapter`. ValueError: no prefix to gate, or gates already.
    """
    if not any(prefixes(model)):
        raise ValueError("no layer of this model has a prefix, so there is nothing to prune")
    if any(hasattr(prefix, "prune_gate") for prefix in prefixes(model)):
        raise ValueError("this model has prune gates already")
    for prefix in filter(None, prefixes(model)):
        prefix.prune_gate = HardConcrete(len(prefix.key), start).to(prefix.key).train(prefix.training)
    encoder: Any = attached_encoder(model)
    for layer in dict.fromkeys(self_attentions(encoder)):
        # After attach's own hook, which has handed the prefix over.
        hook = layer.register_forward_pre_hook(partial(_add_log_gate, prefixes(model)), with_kwargs=True)
        encoder.apt_attachment.hooks.append(hook)
    return model


def prune_gates(model: nn.Module) -> list[HardConcrete | None]:
    """The gates in layer order, None where a layer has no prefix; ValueError where there are none at all."""
    found = [getattr(prefix, "prune_gate", None) for prefix in prefixes(model)]
    if not any(found):
        raise ValueError("this model has no prune gates; call use_prune_gates(model) first")
    return found


def penalty(model: nn.Module) -> Tensor:
    """The expected number of open gates, [], over all layers and tokens; raises as `prune_gates`."""
    first, *others = (gate.open_probability().sum() for gate in prune_gates(model) if gate)
    return sum(others, first)


@contextmanager
def penalised(model: nn.Module, weight: float) -> Iterator[None]:
    """While open, the loss that `model` returns in training mode holds weight · `penalty`, whatever loop trains it.

    Under Adam even a small weight closes a token without any use; the weight decides how much use is enough.
    """
    prune_gates(model)

    def add(model: nn.Module, args: tuple, output) -> None:
        if model.training and output.loss is not None:
            output.loss = output.loss + weight * penalty(model)

    hook = model.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def pruned_after(model: nn.Module, task: Task, method) -> Iterator[tuple[nn.Module, Task]]:
    """Train with a penalty of weight `method.options["prune_weight"]`; when the context closes, prune."""
    with penalised(model, method.options["prune_weight"]):
        yield model, task
    prune(model)


def prune(model: nn.Module) -> nn.Module:
    """Drop the gates, and with them the tokens that are 0 in eval mode: an ordinary attached model, in place.

    In eval mode its outputs stay the same. P, α and λ of the other tokens are kept; a log z between −∞ and 0 could not
    be folded into them (no key adds the same to its score with every query), which is why eval mode rounds z.
    Its config then names a length per layer. ValueError, with nothing changed: no gates, or not a prefix of `attach`'s.
    """
    kept = [[] if gate is None else (gate.location > 0).nonzero()[:, 0].tolist() for gate in prune_gates(model)]
    survivors = [
        prefix
        and {name: w if "scale" in name else w[keep] for name, w in prefix.state_dict().items() if "prune" not in name}
        for prefix, keep in zip(prefixes(model), kept, strict=True)
    ]
    encoder: Any = attached_encoder(model)
    config = encoder.apt_attachment.config
    plain = AdaptivePrefix(replace(config, prefix_length=1), hidden_size=1).state_dict().keys()
    if other := [name for weights in filter(None, survivors) for name in plain ^ weights.keys()]:
        raise ValueError(f"only prefixes as attach makes them can be pruned; these differ in {other[0]}")
    trained = [name for name, p in encoder.named_parameters() if p.requires_grad and ".prefix." not in name]
    attach(detach(model), replace(config, prefix_length=tuple(map(len, kept))))
    for prefix, weights in zip(prefixes(model), survivors, strict=True):
        if prefix is not None and weights is not None:
            prefix.load_state_dict(weights)
    for name in trained:  # an unfrozen pooler, say
        encoder.get_parameter(name).requires_grad_(True)
    return model


def _add_log_gate(modules: list, layer: nn.Module, args: tuple, kwargs: dict) -> None:
    """Before a self-attention runs: add log z to the scores of the prefix that it was handed."""
    pair = kwargs.get("prefix")
    if pair is None or pair.key.shape[1] == 0:  # a hook has removed the whole prefix
        return
    b, given, _ = pair.key.shape
    z = modules[pair.layer].prune_gate(b)  # [b, l]
    if given != z.shape[1]:
        raise ValueError(f"{given} of {z.shape[1]} prefix tokens are left, and a gate can't tell which; prune first")
    # log 0 = −∞ is meant, but not its gradient, which would be NaN where the clipping does not stop it.
    pair.bias = z.where(z > 0, 1.0).log().masked_fill(z == 0, -math.inf)
