"""How much a layer's prefix matters: measured by taking it away, not by reading its gates.

λ is no importance: (λ, P) and (cλ, P/c) are the same prefix. Nor is α: a gate at 0 leaves a zero key, which still takes
softmax mass. Nor is that mass: slots whose values are zero, or like the rest, hold it and say nothing. What can be told
is what changes when the prefix is truly removed, its keys gone from the softmax (as if their scores were −inf).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from apt_minimal.attach import attached_encoder, prefixes
from apt_minimal.hosts import self_attentions
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.read.gates import check_prefixes, stack_layers
from apt_minimal.lab.read.removal import removed
from apt_minimal.lab.train.batches import evaluating, forward, predict
from apt_minimal.prefix import AdaptivePrefix

# From a prefix, the parts of it that are to be removed one at a time, each as `removed` takes it.
Parts = Callable[[AdaptivePrefix], list]


def layer_effects(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int = 64) -> Tensor:
    """How much each layer's prefix changes the output of that layer's attention: ‖with − without‖ / ‖without‖.

    Both outputs start from the same entering hidden states, those of the whole model; `without` is the attention with
    the prefix `removed`. The output is that of E1, heads side by side, before the output projection. By E4 a head's
    change is m(q) (Attn(q; P_k, P_v) − Attn(q; K, V)). The norms are over an input's real tokens and all of d, the
    ratio is taken for each input, then the mean over inputs. For kind "choice" each choice is an input of its own.

    Returns:
        [L], at least 0; NaN in layers without a prefix.

    Raises:
        ValueError: no layer has a prefix, or there are no examples.
    """
    return _effects(model, task, examples, batch_size, _whole)[:, 0]


def token_effects(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int = 64) -> Tensor:
    """The same for single prefix tokens: `without` lacks one token of one layer and has all the others.

    Two tokens that do the same have small effects each, and a large one together.

    Returns:
        [L, l], filled up with NaN. It takes l + 1 attentions a layer.

    Raises:
        ValueError: as in `layer_effects`.
    """
    return _effects(model, task, examples, batch_size, _single_tokens)


@dataclass(frozen=True)
class ScoresWithout:
    """A task's score with the whole prefix, and with parts of it truly removed, one at a time.

    Attributes:
        full: by the task's metric.
        layers: without the prefix of one layer, [L]; NaN in layers without a prefix.
        tokens: without one prefix token of one layer, [L, l], filled up with NaN; None where not asked for.
    """

    full: float
    layers: Tensor
    tokens: Tensor | None

    @property
    def lost_by_layer(self) -> Tensor:
        """The score lost without each layer's prefix, [L]; below 0 where the score is better without."""
        return self.full - self.layers

    @property
    def lost_by_token(self) -> Tensor | None:
        """The score lost without each prefix token, [L, l]."""
        return None if self.tokens is None else self.full - self.tokens


def scores_without(
    model: nn.Module, task: Task, examples: Sequence[Example], tokens: bool = False, batch_size: int = 64
) -> ScoresWithout:
    """Score an attached model again and again, each time with one part of its prefix truly removed.

    Nothing is trained again, and later layers see what the removal does to their input. A score moves in steps of one
    example: a loss of 0 says that no prediction that counts has changed, not that nothing has.

    Args:
        model: an attached model with a head for the task.
        task, examples: what is scored.
        tokens: whether to remove single tokens too: L · l more passes over the examples, beside L + 1.
        batch_size: examples in a batch.

    Raises:
        ValueError: no layer has a prefix, or there are no examples.
    """
    check_prefixes(model)
    modules = prefixes(model)

    def score() -> float:
        return task.score(predict(model, task, examples, batch_size, bf16=False), examples)[task.metric]

    def without(prefix: AdaptivePrefix, tokens: list[int] | None) -> float:
        with removed(prefix, tokens):
            return score()

    def table(parts: Parts) -> Tensor:
        scores = [p and torch.tensor([[without(p, part) for part in parts(p)]], dtype=torch.float64) for p in modules]
        return stack_layers(scores)[0]

    return ScoresWithout(score(), table(_whole)[:, 0], table(_single_tokens) if tokens else None)


def _whole(prefix: AdaptivePrefix) -> list[None]:
    return [None]


def _single_tokens(prefix: AdaptivePrefix) -> list[list[int]]:
    return [[token] for token in range(len(prefix.key))]


@torch.no_grad()
def _effects(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int, parts: Parts) -> Tensor:
    """For each layer, and each part of its prefix, the change described in `layer_effects`: [L, parts]."""
    check_prefixes(model)
    if not examples:
        raise ValueError("no examples were given, so there is no effect to measure")
    batches = []
    with evaluating(model):
        for start in range(0, len(examples), batch_size):
            batch = task.collate(examples[start : start + batch_size])
            real = batch["attention_mask"].flatten(0, -2).bool().to(next(model.parameters()).device)
            attentions = zip(prefixes(model), _attentions(model, batch), strict=True)
            batches.append(
                stack_layers([None if p is None else _changes(p, attend, real, parts) for p, attend in attentions])
            )
    return torch.cat(batches).mean(dim=0)


def _attentions(model: nn.Module, batch: dict[str, Tensor]) -> list[Callable[[], Tensor]]:
    """Each layer's attention, ready to be run again on the very states that enter it in a forward pass.

    What it returns is the output of E1, [b, n, h, d_h], before the host's output projection.
    """
    encoder, calls = attached_encoder(model), []

    def note(layer: nn.Module, args: tuple, kwargs: dict) -> None:
        calls.append((layer, args, {n: dict(v) if isinstance(v, dict) else v for n, v in kwargs.items()}))

    # First of all hooks: before `attach`'s puts the prefix in, which it does anew when the layer is run again.
    layers = dict.fromkeys(self_attentions(encoder))
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True, prepend=True) for layer in layers]
    try:
        # The backbone is all that is needed; a choice is an input like any other there.
        inputs = {name: tensor.flatten(0, -2) for name, tensor in batch.items() if name != "labels"}
        forward(encoder, inputs, bf16=False)
    finally:
        for hook in hooks:
            hook.remove()
    return [partial(_attend_again, *call) for call in calls]


def _attend_again(layer: nn.Module, args: tuple, kwargs: dict) -> Tensor:
    """Run a self-attention with its prefix and return what it attends to."""
    outputs = []

    def catch(layer: nn.Module, args: tuple, kwargs: dict) -> None:
        kwargs["prefix"].output = lambda query, attended: outputs.append(attended) or attended

    hook = layer.register_forward_pre_hook(catch, with_kwargs=True)  # after `attach`'s own
    try:  # a count of turns, which a shared layer's hook moves on, is copied for each run
        layer(*args, **{n: dict(v) if isinstance(v, dict) else v for n, v in kwargs.items()})
    finally:
        hook.remove()
    return outputs[0]


def _changes(prefix: AdaptivePrefix, attend: Callable[[], Tensor], real: Tensor, parts: Parts) -> Tensor:
    """‖with − without‖ / ‖without‖ for each input and part of a prefix: [inputs, parts]."""

    def output() -> Tensor:
        return attend().flatten(2).masked_fill(~real.unsqueeze(-1), 0.0).flatten(1)

    whole, changes = output(), []
    for part in parts(prefix):
        with removed(prefix, part):
            without = output()
        changes.append((whole - without).norm(dim=1) / without.norm(dim=1))
    return torch.stack(changes, dim=1)
