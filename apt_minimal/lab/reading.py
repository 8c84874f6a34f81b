"""What the gates and prefixes of a trained model do, measured over many inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from apt_minimal.attach import prefixes, record
from apt_minimal.lab.tasks import Task
from apt_minimal.lab.training import forward


@dataclass(frozen=True)
class GateReading:
    """The gates over a set of inputs. Layers without a prefix are NaN; shorter prefixes are filled up with NaN.

    Attributes:
        alpha: α for each input, layer and prefix token, [inputs, L, l].
        scale: λ for each layer, [L].
        mass: softmax mass on the prefix, mean over heads and real tokens, for each input and layer, [inputs, L].
    """

    alpha: Tensor
    scale: Tensor
    mass: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of α over the inputs, [L, l]."""
        return self.alpha.mean(dim=0)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of α over the inputs, [L, l]: 0 where a gate is the same for every input."""
        return self.alpha.std(dim=0)


@torch.no_grad()
def read_gates(model: nn.Module, task: Task, examples: Sequence[dict], batch_size: int = 64) -> GateReading:
    """Run examples through an attached model in eval mode and collect its gates.

    For kind "choice" each choice is an input of its own.

    Raises:
        ValueError: no layer has a prefix, or fewer than two examples (there is no spread over one).
    """
    if not any(prefixes(model)):
        raise ValueError("no layer of this model has a prefix, so there are no gates to read")
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples were given; the spread over inputs needs at least two")
    was_training = model.training
    model.eval()
    alphas, masses = [], []
    for start in range(0, len(examples), batch_size):
        batch = task.collate(examples[start : start + batch_size])
        with record(model) as seen:
            forward(model, batch, bf16=False)
        real = batch["attention_mask"].flatten(0, -2).float().to(model.device)  # [inputs, n]
        alphas.append(_stack(seen.alpha))
        masses.append(_stack([None if m is None else _mean_mass(m, real) for m in seen.mass])[..., 0])
    model.train(was_training)
    scale = [float("nan") if scale is None else scale.item() for scale in seen.scale]
    return GateReading(torch.cat(alphas), torch.tensor(scale), torch.cat(masses))


def _mean_mass(mass: Tensor, real: Tensor) -> Tensor:
    """Mean over heads and real tokens: [b, h, n] and [b, n] -> [b, 1]."""
    return ((mass.mean(dim=1) * real).sum(dim=1) / real.sum(dim=1)).unsqueeze(1)


def _stack(layers: list[Tensor | None]) -> Tensor:
    """Layers of [b, l] each, l differing and None where there is none, as one [b, L, longest l] with NaN."""
    longest = max(layer.shape[1] for layer in layers if layer is not None)
    b = next(len(layer) for layer in layers if layer is not None)
    stacked = torch.full((b, len(layers), longest), float("nan"))
    for i, layer in enumerate(layers):
        if layer is not None:
            stacked[:, i, : layer.shape[1]] = layer.float().cpu()
    return stacked
