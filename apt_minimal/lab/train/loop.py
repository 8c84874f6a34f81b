"""A training loop to be read: batch, step, evaluate, stop, resume."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from apt_minimal.hosts import HostModule
from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.train.batches import forward, predict, shuffled_batches
from apt_minimal.lab.train.checkpoint import Checkpoint, copy, identity, restore
from apt_minimal.lab.train.config import TrainConfig
from apt_minimal.lab.train.precision import FrozenInBf16
from apt_minimal.optimizer import parameter_groups

__all__ = ["History", "TrainConfig", "forward", "predict", "train"]


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: the training loss of each step.
        steps: the steps after which the development set was scored …
        scores: … and its scores there, by the task's metric.
        best_step: the step whose state was kept: the earliest of those with the best score (0: none was scored).
        watched_scores: the scores of the watched examples at the same steps, where there are any …
        watched_predictions: … and what was predicted for them at the earliest of their own best steps.
        notes: what was noted at the same steps (see `train`).
        states: after training, what was trained, by parameter's name, as it was in three states: the "best", which the
            model is left in, the "last", and where there are watched examples their "watched_best".
    """

    loss: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_step: int = 0
    watched_scores: list[float] = field(default_factory=list)
    watched_predictions: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    states: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def add_score(self, step: int, score: float) -> bool:
        """Note a score; returns whether it is the best so far."""
        better = not self.scores or score > max(self.scores)
        self.steps.append(step)
        self.scores.append(score)
        self.best_step = step if better else self.best_step
        return better

    def add_watched(self, score: float, predictions: list) -> bool:
        """Note the watched examples' score, and keep what was predicted if it is their best so far, and say so."""
        better = not self.watched_scores or score > max(self.watched_scores)
        if better:
            self.watched_predictions = predictions
        self.watched_scores.append(score)
        return better

    def evaluations_since_best(self) -> int:
        """How many evaluations in a row brought no better score."""
        return sum(step > self.best_step for step in self.steps)


def train(
    model: HostModule,
    task: Task,
    config: TrainConfig,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    watch: Sequence[Example] = (),
    checkpoint_seconds: float = 0,
    at_evaluation: Callable[[], list] | None = None,
) -> History:
    """Train whatever requires gradients, and leave the model in the state that scored best on the development set.

    The model is trained where it is: move it to a GPU first to train there. It ends in eval mode and in its best
    state however training ends: at the last step, early, by an error or by an interrupt.

    Args:
        model: a transformers model with a head for the task.
        task: `train` trains, `validation` chooses; `test` is not touched.
        config: how.
        checkpoint: a file, written after each evaluation and continued from if it exists, with the same result as
            without the interruption; removed at the end.
        progress: whether to show a progress bar.
        watch: further examples that are scored at each evaluation, with no say in what is kept or when to stop.
        checkpoint_seconds: write the checkpoint only where so much time has passed since the last one.
        at_evaluation: called after each evaluation, to look at the model as it is then; the history keeps what it
            returns, numbers in nested lists.

    Raises:
        FloatingPointError: the loss is no longer finite.
        ValueError: nothing requires gradients, a split is empty, or the checkpoint belongs to another run.
    """
    for split in ("train", "validation"):
        if not getattr(task, split):
            raise ValueError(
                f"{task.name} has no {split} examples; training needs some, and some to choose the state by"
            )
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("no parameter of this model requires gradients, so there is nothing to train")
    optimizer = torch.optim.AdamW(_groups(model, trained, config), weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.learning_rate_factor)
    history = History()
    kept = {"best": copy(trained)}
    torch.manual_seed(config.seed)
    run = {} if checkpoint is None else identity(model, task, watch) | asdict(config)
    saved = Checkpoint(checkpoint, run, trained, optimizer, schedule, checkpoint_seconds)
    if saved.exists():
        progressed, kept = saved.load()
        history = History(**progressed)
    bar = tqdm(total=config.max_steps, initial=len(history.loss), desc=task.name, disable=not progress)
    model.train()
    try:
        for step in _steps(model, task, config, trained, optimizer, schedule, history, bar):
            kept |= {state: copy(trained) for state in _evaluate(model, task, watch, config, step, history)}
            if at_evaluation is not None:
                history.notes.append(at_evaluation())
                model.train()  # whatever mode it was left in
            bar.set_postfix_str(f"loss {history.loss[-1]:.3f}, development {task.metric} {history.scores[-1]:.3f}")
            if config.patience is not None and history.evaluations_since_best() >= config.patience:
                break
            saved.write(asdict(history), kept)
    finally:
        bar.close()
        history.states = kept | {"last": copy(trained)}
        restore(trained, kept["best"])
        model.eval()
    saved.remove()
    return history


def _steps(
    model: HostModule, task: Task, config: TrainConfig, trained: dict, optimizer, schedule, history: History, bar: tqdm
) -> Iterator[int]:
    """Go on training from where the history ends; stop and yield the step wherever an evaluation is due."""
    done, bf16 = len(history.loss), config.in_bf16(model.device)
    numbers = FrozenInBf16(model) if bf16 and config.hardware_bf16 else nullcontext()
    batches = shuffled_batches(task.train, config.batch_size, config.seed, skip=done)
    for step in range(done + 1, config.max_steps + 1):
        with numbers:
            loss = forward(model, task.collate(next(batches)), bf16).loss
            if not loss.isfinite():
                raise _diverged(f"the loss is {loss.item()}", step, config, history)
            loss.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(trained.values(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        history.loss.append(loss.item())
        bar.update()
        if step in config.evaluation_steps():
            if not all(p.isfinite().all() for p in trained.values()):
                raise _diverged("a trained parameter is not finite", step, config, history)
            yield step


def _groups(model: nn.Module, trained: dict, config: TrainConfig) -> list:
    """What the optimiser is given: all that is trained, or the token gates apart, with a learning rate of their own."""
    if config.gate_learning_rate is None:
        return [{"params": list(trained.values()), "lr": config.learning_rate}]
    return parameter_groups(model, config.learning_rate, gate_lr=config.gate_learning_rate)


def _evaluate(
    model: HostModule, task: Task, watch: Sequence[Example], config: TrainConfig, step: int, history: History
) -> list[str]:
    """Score the development set and what is watched; returns which of their best states the model is in now."""
    bf16, best = config.in_bf16(model.device), []
    score = task.score(predict(model, task, task.validation, bf16=bf16), task.validation)
    if history.add_score(step, score[task.metric]):
        best.append("best")
    if watch:
        predictions = predict(model, task, watch, bf16=bf16)
        if history.add_watched(task.score(predictions, watch)[task.metric], predictions):
            best.append("watched_best")
    return best


def _diverged(what: str, step: int, config: TrainConfig, history: History) -> FloatingPointError:
    return FloatingPointError(
        f"{what} at step {step} of {config.max_steps}; try a learning rate below {config.learning_rate:g} "
        f"(the model keeps its state after step {history.best_step})"
    )
