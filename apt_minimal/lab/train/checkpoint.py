"""One file from which an interrupted training goes on as if nothing had happened."""

import hashlib
import json
import os
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from apt_minimal.attach import attached_encoder, is_attached
from apt_minimal.lab.data.tasks import Example, Task

STATE = {"run", "history", "kept", "trained", "optimizer", "schedule", "random", "random_cuda"}
SHA256 = 32  # bytes of a checksum; a checkpoint begins with that of the rest


class DamagedCheckpoint(ValueError):
    """A checkpoint whose file was changed since it was written, by a power loss or a copy, say."""


def copy(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of named parameters, as they are now."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


@torch.no_grad()
def restore(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
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
        self, path: str | Path | None, run: dict, trained: Mapping[str, Tensor], optimizer, schedule, seconds: float = 0
    ):
        self.path = None if path is None else Path(path)
        self.seconds, self.written = seconds, time.monotonic()
        self.run, self.trained, self.optimizer, self.schedule = run, trained, optimizer, schedule

    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.path is not None and self.path.exists()

    def write(self, history: dict, kept: dict[str, dict[str, Tensor]]) -> None:
        """Write the present state, the history so far and the parameters that are kept of earlier states.

        Raises:
            OSError: there is no room, or no leave, to write; the checkpoint before it stays.
        """
        if self.path is None or time.monotonic() - self.written < self.seconds:
            return
        state = {
            "run": self.run,
            "history": history,
            "kept": kept,
            "trained": copy(self.trained),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }
        self._replace_file(self.path, state)
        self.written = time.monotonic()

    def _replace_file(self, path: Path, state: dict) -> None:
        """Write the state into a file of its own, its checksum before it, and put that in the last one's place."""
        scratch = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scratch.open("w+b") as file:
                file.write(bytes(SHA256))
                torch.save(state, file)
                file.seek(SHA256)
                checksum = hashlib.file_digest(file, "sha256").digest()
                file.seek(0)
                file.write(checksum)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)  # at every moment there is one complete checkpoint
        except (OSError, RuntimeError) as error:
            scratch.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else error.__context__  # torch hides a full disk in its own
            raise OSError(
                f"the checkpoint {path} could not be written: {cause or error}; the last one, if any, is whole"
            ) from error

    def load(self) -> tuple[dict, dict[str, dict[str, Tensor]]]:
        """Put everything back, when all of it has been looked at; returns the history and the kept parameters.

        Raises:
            DamagedCheckpoint: the file is not what was written; nothing was put back.
            ValueError: the checkpoint is of another run; the message names what differs.
        """
        assert self.path is not None, "this checkpoint is nowhere"
        state = self._read_file(self.path)
        if different := [key for key in self.run if self.run[key] != state["run"].get(key)]:
            raise ValueError(
                f"the checkpoint {self.path} is of another run ({', '.join(different)} differ); "
                "delete it, or give another file"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"].cpu())
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["random_cuda"]])
        restore(self.trained, state["trained"])
        return state["history"], state["kept"]

    def _read_file(self, path: Path) -> dict:
        """What the file holds, if it is what was once written, and has all that is to be put back."""
        with path.open("rb") as file:
            if file.read(SHA256) != hashlib.file_digest(file, "sha256").digest():
                raise self._damaged("its checksum is not that of its contents")
            file.seek(SHA256)
            try:
                state = torch.load(file, map_location=next(iter(self.trained.values())).device, weights_only=True)
            except pickle.UnpicklingError:
                raise self._damaged("it holds more than tensors and numbers") from None
        if not isinstance(state, dict) or state.keys() != STATE:
            raise self._damaged("its parts are not those of a checkpoint")
        return state

    def _damaged(self, how: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(f"the checkpoint {self.path} is damaged, {how}; delete it to train from the beginning")

    def remove(self) -> None:
        """Training has ended: the file is no longer needed."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
