"""A token gate that reads how the first token differs from the usual, not what it is. (Ours.)

    α = σ(z W),   z = (h − μ) / s

μ and s are the mean and the standard deviation of h over the training examples, for each element and each layer. They
come from one pass before the training, and stay fixed. In a small sentence encoder the first token's states differ
between inputs by a few thousandths of their length, so that h W is nearly a constant; z holds nothing but the
difference. The gate can express the same as before, and a bias: z W = h W' − μ W'.

An element that is the same for every input (s = 0) becomes 0. In BERT's first layer that is all of them, and α = ½.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from apt_minimal.attach import prefixes
from apt_minimal.gates import TokenGate
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.train.batches import evaluating, forward

CONSTANT = 1e-5  # an element that varies by less than this share of its layer's largest is rounding, no information


class StandardisedGate(TokenGate):
    """σ(z W) with z = (h − μ) / s; μ and s are parameters that never train, so that they travel with the model.

    Args:
        gate: the token gate whose W and gate input are meant.
        mean, std: μ and s, [d]; where s is 0, z is 0.

    Attributes:
        weight: Wᵀ, [l, d], the gate's own parameter.
        mean, scale: μ and 1 / s (0 where s is 0), [d].
    """

    def __init__(self, gate: TokenGate, mean: Tensor, std: Tensor):
        nn.Module.__init__(self)  # nothing is drawn
        self.gate_input, self.weight = gate.gate_input, gate.weight
        self.mean = nn.Parameter(mean.to(gate.weight), requires_grad=False)
        self.scale = nn.Parameter(torch.where(std > 0, 1 / std, 0.0).to(gate.weight), requires_grad=False)
        self.train(gate.training)

    def pool(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return z, [b, d]."""
        return (super().pool(hidden_states, attention_mask).to(self.mean.dtype) - self.mean) * self.scale


def standardise_gates(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int = 64) -> nn.Module:
    """Put a `StandardisedGate` in the place of every token gate; each keeps its W, the very parameter.

    μ and s are those of the states that enter the layers of the model as it is, its prefixes included, in eval mode.
    `save_adapter` writes them, and `load_adapter` then refuses: it would make the paper's gates.

    Args:
        model: attached with token gates that read hidden states.
        task, examples: what μ and s are taken over.
        batch_size: examples that run at a time.

    Returns:
        The same model.

    Raises:
        ValueError: nothing is attached, a prefix has another gate or none, or there are fewer than two examples.
            Nothing has been changed then.
    """
    there = [prefix for prefix in prefixes(model) if prefix is not None]
    for gate in (prefix.token_gate for prefix in there):
        if type(gate) is not TokenGate or gate.gate_input == "none":
            raise ValueError(f"a prefix's token gate is {gate}; only a TokenGate that reads states can be standardised")
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples were given; a standard deviation needs at least two")
    moments = _moments(model, task, examples, batch_size, [prefix.token_gate for prefix in there])
    for prefix, (mean, std) in zip(there, moments, strict=True):
        assert prefix.token_gate is not None
        prefix.token_gate = StandardisedGate(prefix.token_gate, mean, std)
    return model


@contextmanager
def standardised(model: nn.Module, task: Task, method) -> Iterator[tuple[nn.Module, Task]]:
    """For `Method.training`: standardise over the training examples, then train."""
    yield standardise_gates(model, task, task.train), task


@torch.no_grad()
def _moments(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int, gates: list) -> list:
    """μ and s of what each gate reads, over examples (for kind "choice", over their choices)."""
    seen = {gate: [] for gate in gates}

    def note(gate: TokenGate, args: tuple) -> None:
        seen[gate].append(gate.pool(*args).double())

    hooks = [gate.register_forward_pre_hook(note) for gate in gates]
    try:
        with evaluating(model):
            for start in range(0, len(examples), batch_size):
                forward(model, task.collate(examples[start : start + batch_size]), bf16=False)
    finally:
        for hook in hooks:
            hook.remove()
    states = [torch.cat(parts) for parts in seen.values()]  # [inputs, d]
    moments = [(one.mean(dim=0), one.std(dim=0)) for one in states]
    return [(mean, torch.where(std > CONSTANT * mean.abs().max(), std, 0.0)) for mean, std in moments]
