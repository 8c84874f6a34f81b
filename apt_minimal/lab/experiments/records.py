"""Runs: what specifies one, and what is recorded of it (on disk: `results`)."""

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from types import UnionType
from typing import get_args, get_origin, get_type_hints

# What may be scored: splits (see `apply_setting`), and two of them in other states of the training (see `run`).
SPLITS = ("held_out", "dev", "test", "dev_best", "dev_best_test", "last", "last_test")


@dataclass(frozen=True)
class RunSpec:
    """Everything that specifies one run.

    Attributes:
        task, setting, method: names, as in a grid.
        purpose: "search", to choose a learning rate, or "final".
        seed: of the cut of the data, the head, the prefix and the training.
        backbone: a name; None, like the next two, for methods that train nothing.
        settings: of the method, see `Method.settings`.
        train: the arguments of `TrainConfig`, "epochs" possibly in place of "max_steps".
        effects: False where only the gates are read, and not what the prefixes do; else None.
    """

    task: str
    setting: str
    method: str
    purpose: str
    seed: int
    backbone: str | None = None
    settings: dict | None = None
    train: dict | None = None
    effects: bool | None = None

    def to_json(self) -> dict:
        """Give the fields that are filled, as they stand in a line."""
        return _filled(self)

    @cached_property
    def key(self) -> str:
        """A short name: twelve hexadecimal digits that only this specification has."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    def __str__(self):
        return f"the run {', '.join(self.cell)}, seed {self.seed}"

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """What the run belongs to: its task, setting, method and purpose. Seeds and learning rates vary in a cell."""
        return self.task, self.setting, self.method, self.purpose

    @property
    def learning_rate(self) -> float:
        """The highest learning rate; KeyError for a method that trains nothing."""
        return (self.train or {})["learning_rate"]


@dataclass(frozen=True)
class RunRecord:
    """What is recorded of a finished run: all that is needed to do it again, all that was found, and what it took.

    What doesn't apply to a run is None, or empty.

    Attributes:
        spec: what was run.
        metric: the name of the score that counts.
        scores: for each of `SPLITS` that was scored, its scores by name.
        failed: why a training that diverged has no scores.
        history: of the training, with its loss in means over "loss_every" steps.
        prefix_lengths, gates, effects, beside: see `Readings`.
        backbone_sha256, data_sha256: of the weights and of the rows.
        precision: which numbers it was computed with; earlier records don't say (a GPU: bf16 autocast, a CPU: float32).
        trained_parameters, resumed, minutes, peak_mib, device, versions, commit: what it took, and where.
        predictions: the file of predictions, relative to the record's own; see `read_predictions`.
    """

    spec: RunSpec
    data_sha256: str
    minutes: float = 0.0
    metric: str = "accuracy"
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: str | None = None
    backbone_sha256: str | None = None
    precision: str | None = None
    trained_parameters: int | None = None
    resumed: bool | None = None
    history: dict = field(default_factory=dict)
    prefix_lengths: list[int] = field(default_factory=list)
    gates: dict = field(default_factory=dict)
    effects: dict = field(default_factory=dict)
    beside: list[float] = field(default_factory=list)
    peak_mib: int | None = None
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    predictions: str = ""

    def to_json(self) -> dict:
        """Give the record as it stands in a line: its scores side by side with the rest, without what is empty."""
        kept = _filled(self)
        return {"run": kept.pop("spec").to_json(), **kept.pop("scores", {}), **kept}

    @classmethod
    def from_json(cls, line: dict) -> "RunRecord":
        """Make a record of a line.

        Raises:
            ValueError: it is no record, or lacks what every record has; the message says what.
        """
        if not isinstance(line, dict) or not isinstance(line.get("run"), dict):
            raise ValueError("it is no object with a run in it")
        scores = {split: line[split] for split in SPLITS if split in line}
        rest = {name: value for name, value in line.items() if name not in ("run", *scores)}
        try:
            record = cls(RunSpec(**line["run"]), scores=scores, **rest)
        except TypeError as error:  # a field that is missing, or unknown
            raise ValueError(str(error)) from None
        _check_kinds(record.spec)
        _check_kinds(record)
        if record.spec.train is not None and "learning_rate" not in record.spec.train:
            raise ValueError("train has no learning_rate")
        numbers = [scores[split].get(record.metric) for split in scores if isinstance(scores[split], dict)]
        if len(numbers) < len(scores) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(f"a split has no number as its {record.metric}")
        if not scores and not record.failed:
            raise ValueError("it has neither scores nor a reason why there are none")
        return record

    def score(self, split: str) -> float:
        """The score of a split that counts."""
        return self.scores[split][self.metric]


def _filled(record) -> dict:
    """The fields that every record has, and those others that hold something; a number always is something."""
    found = {}
    for one in fields(record):
        needed = one.default is MISSING and one.default_factory is MISSING
        if needed or getattr(record, one.name) not in (None, "", [], {}):
            found[one.name] = getattr(record, one.name)
    return found


def _check_kinds(record) -> None:
    """Raise ValueError, naming the field, where one holds something of another kind than is declared."""
    for name, kinds in _kinds(type(record)).items():
        if not isinstance(value := getattr(record, name), kinds):
            raise ValueError(f"{name} is {str(value)[:60]!r}")


@cache
def _kinds(record: type) -> dict[str, tuple[type, ...]]:
    """The kinds of value that each field of a class of records may have; a whole number may stand for a float."""
    found = {}
    for name, hint in get_type_hints(record).items():
        kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else [hint])]
        found[name] = (*kinds, int) if float in kinds else tuple(kinds)
    return found
