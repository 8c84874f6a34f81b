"""What a run records about its prefix: its gates, their course over training, and its measured effects."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from apt_minimal.attach import is_attached, prefixes
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.methods.beside import BesidePrefix
from apt_minimal.lab.read.gates import read_gates
from apt_minimal.lab.read.importance import layer_effects, scores_without

READ, READ_OFTEN = 256, 64  # the first examples that are read in the end, and at each evaluation
OVER_TIME = ("alpha_mean", "alpha_spread", "scale")


class Readings:
    """Readings of one model before, during and after its training, always over the same examples.

        readings = Readings(model, task, examples)                  # of fresh prefixes
        history = train(model, task, config, at_evaluation=readings.at_evaluation)
        found = readings.of_record(history.notes)                   # of the state that was kept

    Args:
        model: prepared for training; a model without prefixes has nothing to read, and `of_record` gives nothing.
        task, examples: what is read, the first 256 of them.
        effects: whether to measure, beside the gates, what the prefixes do, which takes longer.
    """

    def __init__(self, model: nn.Module, task: Task, examples: Sequence[Example], effects: bool = True):
        self.model, self.task, self.examples = model, task, examples[:READ]
        self.effects = effects and self._has_prefix()
        self.fresh = layer_effects(model, task, self.examples) if self.effects else None

    def at_evaluation(self) -> list:
        """The gates as they are now, by layer: the mean of α, its largest spread over the inputs, and λ."""
        if not self._has_prefix():
            return []
        gates = read_gates(self.model, self.task, self.examples[:READ_OFTEN])
        spread = gates.spread.nan_to_num().amax(dim=1)
        return rounded([gates.mean.nanmean(dim=1).tolist(), spread.tolist(), gates.scale.tolist()])

    def of_record(self, notes: list) -> dict:
        """What goes into the run's record: lists by layer, for α and its spread by prefix token in each layer.

        "prefix_lengths". "gates": mean of α and its spread over the inputs, λ, the mass,
        and "over_time" what `at_evaluation` noted at the history's steps. "effects": `layer_effects` of
        "fresh" and "trained" prefixes and the score "lost" without each layer's, over so many "examples". "beside":
        tanh(g), for prefixes beside the attention.
        """
        if beside := [m.gate.tanh().item() for m in self.model.modules() if isinstance(m, BesidePrefix)]:
            return {"beside": rounded(beside)}
        if not is_attached(self.model):
            return {}
        found: dict[str, Any] = {
            "prefix_lengths": [0 if prefix is None else len(prefix.key) for prefix in prefixes(self.model)]
        }
        if not self._has_prefix():
            return found
        gates = read_gates(self.model, self.task, self.examples)
        found["gates"] = {
            "alpha_mean": rounded(gates.mean.tolist()),
            "alpha_spread": rounded(gates.spread.tolist()),
            "scale": rounded(gates.scale.tolist()),
            "mass": rounded(gates.mass.mean(dim=0).tolist()),
            "over_time": {name: [note[i] for note in notes] for i, name in enumerate(OVER_TIME)},
        }
        if self.fresh is None:
            return found
        effects = {
            "fresh": self.fresh,
            "trained": layer_effects(self.model, self.task, self.examples),
            "lost": scores_without(self.model, self.task, self.examples).lost_by_layer,
        }
        found["effects"] = {name: rounded(values.tolist(), 6) for name, values in effects.items()}
        found["effects"]["examples"] = len(self.examples)
        return found

    def _has_prefix(self) -> bool:
        return is_attached(self.model) and any(prefixes(self.model))


def rounded(values, digits: int = 4) -> Any:
    """Numbers in nested lists rounded; NaN becomes None, which JSON can say."""
    if isinstance(values, list):
        return [rounded(value, digits) for value in values]
    return None if values != values else round(values, digits)
