"""One file from which an interrupted training goes on as if nothing had happened."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from apt_minimal.attach import attached_encoder, is_attached
from apt_minimal.lab.data.tasks import Example, Task


def copy(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values of named parameters, as they are now."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def restore(parameters: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Put values back into named parameters, in place."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def identity(model: nn.Module, task: Task, watch: Sequence[Example] = ()) -> dict:
    """What makes two trainings the same but for their settings: the task, its rows, what is trained and what is not.

    Of trained parameters only names and shapes count, for their values come out of the checkpoint; of the frozen
    backbone the values count, for they don't.
    """
    frozen, named = hashlib.sha256(), dict(model.named_parameters())
    for name, parameter in named.items():
        if not parameter.requires_grad:
            frozen.update(name.encode())
            frozen.update(parameter.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    attached = getattr(attached_encoder(model), "apt_attachment", None) if is_attached(model) else None
    return {
        "task": task.name,
        "source": task.source,
        "rows": rows_sha256(task.train, task.validation, watch),
        "backbone": frozen.hexdigest(),
        "prefix": attached and asdict(attached.config),
        "parameters": {name: list(p.shape) for name, p in named.items() if p.requires_grad},
    }


def rows_sha256(*splits: Sequence[Example]) -> str:
    """SHA-256 of the rows of some splits of examples."""
    rows = [[example.row for example in split] for split in splits]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """Parameters, optimiser, schedule and random state of a training run, in a file (or, path None, nowhere).

    Args:
        path: the file.
        run: what identifies the run: a checkpoint of another one is refused.
        trained: the parameters that training changes, by name.
        optimizer, schedule: torch's.
        seconds: `write` does nothing until so much time has passed since the last one.
    """

    def __init__(
        self, path: str | Path | None, run: dict, trained: dict[str, Tensor], optimizer, schedule, seconds: float = 0
    ):
        self.path = None if path is None else Path(path)
        self.seconds, self.written = seconds, time.monotonic()
        self.run, self.trained, self.optimizer, self.schedule = run, trained, optimizer, schedule

    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.path is not None and self.path.exists()

    def write(self, history: dict, best: dict[str, Tensor]) -> None:
        """Write the present state, the history so far and the best parameters so far."""
        if self.path is None or time.monotonic() - self.written < self.seconds:
            return
        state = {
            "run": self.run,
            "history": history,
            "best": best,
            "trained": copy(self.trained),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_name(self.path.name + ".part")
        torch.save(state, scratch)
        os.replace(scratch, self.path)  # at every moment there is one complete checkpoint
        self.written = time.monotonic()

    def load(self) -> tuple[dict, dict[str, Tensor]]:
        """Put everything back; returns the history and the best parameters.

        Raises:
            ValueError: the checkpoint is of another run; the message names what differs.
        """
        device = next(iter(self.trained.values())).device
        state = torch.load(self.path, map_location=device, weights_only=True)
        if different := [key for key in self.run if self.run[key] != state["run"].get(key)]:
            raise ValueError(
                f"the checkpoint {self.path} is of another run ({', '.join(different)} differ); "
                "delete it, or give another file"
            )
        restore(self.trained, state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"].cpu())
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random_cuda"]])
        return state["history"], state["best"]

    def remove(self) -> None:
        """Training has ended: the file is no longer needed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
