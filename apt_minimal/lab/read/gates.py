"""What the gates and prefixes of a trained model do, measured over many inputs.

Gates are read here as they are; what a prefix does to a layer's output and to the score is in `importance`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from apt_minimal.attach import prefixes
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.train.batches import evaluating, forward
from apt_minimal.record import Record, record


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
def read_gates(model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int = 64) -> GateReading:
    """Run examples through an attached model in eval mode and collect its gates.

    For kind "choice" each choice is an input of its own.

    Raises:
        ValueError: no layer has a prefix, or fewer than two examples (there is no spread over one).
    """
    check_prefixes(model)
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples were given; the spread over inputs needs at least two")
    readings = []
    with evaluating(model):
        for start in range(0, len(examples), batch_size):
            batch = task.collate(examples[start : start + batch_size])
            with record(model) as seen:
                forward(model, batch, bf16=False)
            readings.append(_reading(seen, batch["attention_mask"].flatten(0, -2)))
    alpha, mass = (torch.cat([getattr(reading, name) for reading in readings]) for name in ("alpha", "mass"))
    return GateReading(alpha, readings[0].scale, mass)


@torch.no_grad()
def read_sentence(
    model: nn.Module, tokenizer, text: str, text_pair: str | None = None, max_length: int = 128
) -> GateReading:
    """Read the gates for one sentence, or one pair: `.alpha[0]` is its α, [L, l], ready for a heat map.

    Only the backbone runs, so any head will do. `mean` is this one input's α; a `spread` there is not (NaN).

    Args:
        model: an attached model.
        tokenizer: the backbone's.
        text, text_pair, max_length: encoded as `load_task` encodes a row of texts.

    Returns:
        A reading of one input.

    Raises:
        ValueError: no layer has a prefix.
    """
    check_prefixes(model)
    batch = dict(tokenizer(text, text_pair, truncation=True, max_length=max_length, return_tensors="pt"))
    backbone: Any = model.base_model
    with evaluating(model), record(model) as seen:
        forward(backbone, batch, bf16=False)
    return _reading(seen, batch["attention_mask"])


@torch.no_grad()
def gated_norms(model: nn.Module, reading: GateReading) -> tuple[Tensor, Tensor]:
    """How long the gated prefix is: ‖λ α P‖ = |λ| α ‖P‖ by input, layer and prefix token (E3).

    Unlike λ or ‖P‖ alone it is the same for (λ, P) and (cλ, P/c). It is no measure of use: a long key that no query
    looks at does nothing, and a key of length 0 still takes its share of the softmax.

    Args:
        model: the model that was read, unchanged since.
        reading: its gates.

    Returns:
        ‖P̂_k‖ and ‖P̂_v‖, [inputs, L, l] each, NaN where there is no prefix token.
    """
    gate = reading.scale.abs().unsqueeze(-1) * reading.alpha

    def norms(part: str) -> Tensor:
        lengths = [None if p is None else getattr(p, part).norm(dim=-1).unsqueeze(0) for p in prefixes(model)]
        return gate * stack_layers(lengths)

    return norms("key"), norms("value")


def plot_gates(reading: GateReading):
    """α by layer and prefix token: its mean over inputs (left) and its spread across inputs (right), as a figure."""
    import matplotlib.pyplot as plt

    from apt_minimal.lab.style import STYLE  # here, for runs read gates and draw nothing

    style: dict = STYLE | {"axes.grid": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
        panels = {
            "mean of α over inputs": (reading.mean, 0.0, 1.0),
            "spread of α across inputs": (reading.spread, 0, None),
        }
        for axis, (title, (values, low, high)) in zip(axes, panels.items(), strict=True):
            image = axis.imshow(values.numpy(), aspect="auto", vmin=low, vmax=high, cmap="cividis", origin="lower")
            layers, length = values.shape
            axis.set(title=title, xlabel="prefix token", yticks=range(layers), yticklabels=range(1, layers + 1))
            axis.set_xticks(range(0, length, max(1, length // 8)), range(1, length + 1, max(1, length // 8)))
            figure.colorbar(image, ax=axis)
        axes[0].set_ylabel("layer")
    plt.close(figure)  # shown once, as a cell's value
    return figure


def check_prefixes(model: nn.Module) -> None:
    """Raise ValueError if an attached model has no prefix in any layer."""
    if not any(prefixes(model)):
        raise ValueError("no layer of this model has a prefix, so there are no gates to read")


def stack_layers(layers: list[Tensor | None]) -> Tensor:
    """Layers of [b, l] each, l differing and None where there is none, as one [b, L, longest l] with NaN.

    On the CPU, and in float32 where a model computes in less.
    """
    there = [layer for layer in layers if layer is not None]
    longest, dtype = max(layer.shape[1] for layer in there), torch.promote_types(there[0].dtype, torch.float32)
    stacked = torch.full((len(there[0]), len(layers), longest), float("nan"), dtype=dtype)
    for i, layer in enumerate(layers):
        if layer is not None:
            stacked[:, i, : layer.shape[1]] = layer.cpu()
    return stacked


def _reading(seen: Record, attention_mask: Tensor) -> GateReading:
    """What was recorded in one forward pass over inputs with this mask, [inputs, n], as a reading."""
    alpha = stack_layers(seen.alpha)
    mass = stack_layers([None if m is None else _mean_mass(m, attention_mask) for m in seen.mass])[..., 0]
    scale = [float("nan") if scale is None else scale.item() for scale in seen.scale]
    return GateReading(alpha, torch.tensor(scale, dtype=alpha.dtype), mass)


def _mean_mass(mass: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over heads and real tokens: [b, h, n] and [b, n] -> [b, 1]."""
    real = attention_mask.to(mass.device).float()
    return ((mass.mean(dim=1) * real).sum(dim=1) / real.sum(dim=1)).unsqueeze(1)
