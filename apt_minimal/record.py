"""What the gates and prefixes of an attached model do in a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from apt_minimal.attach import attached_encoder, prefixes
from apt_minimal.hooks import entering
from apt_minimal.hosts import self_attentions


@dataclass
class Record:
    """What the gates and prefixes of an attached model did in its last forward pass; see `record`.

    One entry per layer in each list, None where a layer has no prefix.

    Attributes:
        alpha: α of E2, [b, l] each (1 where the token gate is off).
        scale: λ of E3, [] each (1 where the layer gate is off).
        mass: m(q) of E4, the share of the softmax on the prefix for each head and query, [b, h, n] each.
    """

    alpha: list[Tensor | None] = field(default_factory=list)
    scale: list[Tensor | None] = field(default_factory=list)
    mass: list[Tensor | None] = field(default_factory=list)

    def __repr__(self) -> str:
        seen = [i + 1 for i, alpha in enumerate(self.alpha) if alpha is not None]
        return f"Record(layers with a prefix: {seen or 'none so far'} of {len(self.alpha)})"


@contextmanager
def record(model: nn.Module) -> Iterator[Record]:
    """Record α, λ and the prefix's mass while the context is open; each forward pass replaces the last.

        with record(model) as seen:
            model(**batch)
        seen.alpha[3]  # layer 4's α, [b, l]

    The values are detached and computed beside the forward pass, which costs about one extra attention per layer. A
    compiled model runs uncompiled while the context is open.

    Raises:
        ValueError: nothing is attached.
    """
    encoder = attached_encoder(model)
    modules, seen = prefixes(model), Record()
    for values in (seen.alpha, seen.scale, seen.mass):
        values.extend([None] * len(modules))

    @torch.no_grad()
    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pair = kwargs.get("prefix")
        if pair is None:
            return
        i, length = pair.layer, pair.key.shape[1]  # as handed over: a hook may have shortened the prefix
        alpha, scale = modules[i].gates(*entering(layer, args, kwargs))
        seen.alpha[i], seen.scale[i] = alpha.detach().clone(), scale.detach().clone()

        def observe(weights: Tensor) -> None:
            seen.mass[i] = weights.detach()[..., :length].sum(dim=-1)

        pair.observer = observe

    # After `attach`'s own hook, which has built the pair.
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in set(self_attentions(encoder))]
    try:
        # Dynamo takes compiled code past hooks that came later.
        with torch.compiler.set_stance("force_eager"):
            yield seen
    finally:
        for hook in hooks:
            hook.remove()
