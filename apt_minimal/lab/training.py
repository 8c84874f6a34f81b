"""A training loop to be read: batch, step, evaluate, stop, resume."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from apt_minimal.lab.checkpoint import Checkpoint, copy, restore
from apt_minimal.lab.tasks import Task


@dataclass(frozen=True)
class TrainConfig:
    """How to train: AdamW, the learning rate rising over the warm-up and then falling linearly to 0.

    Args:
        learning_rate: the highest.
        batch_size: examples in a step.
        max_steps: optimiser steps.
        evaluations: how often the development set is scored, at equal distances.
        patience: stop after so many evaluations in a row without a better score; None: never.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: AdamW's.
        max_grad_norm: gradients are scaled down to this norm.
        seed: of the order of examples and of dropout.
        bf16: on a GPU, forward passes run in bfloat16; weights, gradients and the optimiser stay float32.

    Raises:
        ValueError: no step, an empty batch, or more evaluations than steps.
    """

    learning_rate: float
    batch_size: int = 16
    max_steps: int = 600
    evaluations: int = 10
    patience: int | None = None
    warmup: float = 0.06
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 11
    bf16: bool = True

    def __post_init__(self):
        if self.batch_size < 1 or not 1 <= self.evaluations <= self.max_steps:
            raise ValueError(
                f"batch_size is {self.batch_size}, evaluations {self.evaluations} and max_steps {self.max_steps}; "
                "each must be at least 1, and evaluations at most max_steps"
            )

    def learning_rate_factor(self, step: int) -> float:
        """The share of the highest learning rate that is used after `step` steps."""
        warmup = round(self.warmup * self.max_steps)
        if step < warmup:
            return (step + 1) / warmup
        return (self.max_steps - step) / max(self.max_steps - warmup, 1)

    def evaluation_steps(self) -> list[int]:
        """The steps after which the development set is scored; the last step is one of them."""
        return [round(self.max_steps * i / self.evaluations) for i in range(1, self.evaluations + 1)]


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: the training loss of each step.
        steps: the steps after which the development set was scored …
        scores: … and its scores there, by the task's metric.
        best_step: the step whose state was kept: the earliest of those with the best score (0: none was scored).
    """

    loss: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_step: int = 0

    def add_score(self, step: int, score: float) -> bool:
        """Note a score; returns whether it is the best so far."""
        better = not self.scores or score > max(self.scores)
        self.steps.append(step)
        self.scores.append(score)
        self.best_step = step if better else self.best_step
        return better

    def evaluations_since_best(self) -> int:
        """How many evaluations in a row brought no better score."""
        return sum(step > self.best_step for step in self.steps)


def train(
    model: nn.Module, task: Task, config: TrainConfig, checkpoint: str | Path | None = None, progress: bool = True
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

    Raises:
        FloatingPointError: the loss is no longer finite.
        ValueError: nothing requires gradients, or the checkpoint belongs to another run.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("no parameter of this model requires gradients, so there is nothing to train")
    optimizer = torch.optim.AdamW(trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.learning_rate_factor)
    history, best = History(), copy(trained)
    torch.manual_seed(config.seed)
    run = {
        "task": task.name,
        "source": task.source,
        **asdict(config),
        "parameters": {n: list(p.shape) for n, p in trained.items()},
    }
    saved = Checkpoint(checkpoint, run, trained, optimizer, schedule)
    if saved.exists():
        progressed, best = saved.load()
        history = History(**progressed)
    done = len(history.loss)
    bar = tqdm(total=config.max_steps, initial=done, desc=task.name, disable=not progress)
    batches = shuffled_batches(task.train, config.batch_size, config.seed, skip=done)
    model.train()
    try:
        for step in range(done + 1, config.max_steps + 1):
            loss = forward(model, task.collate(next(batches)), config.bf16).loss
            if not loss.isfinite():
                raise _diverged(f"the loss is {loss.item()}", step, config, history)
            loss.backward()
            nn.utils.clip_grad_norm_(trained.values(), config.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            history.loss.append(loss.item())
            bar.update()
            if step in config.evaluation_steps():
                if not all(p.isfinite().all() for p in trained.values()):
                    raise _diverged("a trained parameter is not finite", step, config, history)
                score = task.score(predict(model, task, task.validation, bf16=config.bf16), task.validation)
                if history.add_score(step, score[task.metric]):
                    best = copy(trained)
                bar.set_postfix_str(f"loss {history.loss[-1]:.3f}, development {task.metric} {score[task.metric]:.3f}")
                if config.patience is not None and history.evaluations_since_best() >= config.patience:
                    break
                saved.write(asdict(history), best)
    finally:
        bar.close()
        restore(trained, best)
        model.eval()
    saved.remove()
    return history


def _diverged(what: str, step: int, config: TrainConfig, history: History) -> FloatingPointError:
    return FloatingPointError(
        f"{what} at step {step} of {config.max_steps}; try a learning rate below {config.learning_rate:g} "
        f"(the model keeps its state after step {history.best_step})"
    )


def forward(model: nn.Module, batch: dict[str, Tensor], bf16: bool = True):
    """Run a batch where the model is; on a GPU in bfloat16, unless told otherwise. Returns the model's output."""
    device = model.device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16 and device.type == "cuda"):
        return model(**batch)


@torch.no_grad()
def predict(model: nn.Module, task: Task, examples: Sequence[dict], batch_size: int = 64, bf16: bool = True) -> list:
    """Predict examples in eval mode, similar lengths together; predictions come in the examples' order."""
    was_training = model.training
    model.eval()
    predictions = [None] * len(examples)
    order = sorted(range(len(examples)), key=lambda i: _length(examples[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [examples[i] for i in chosen]
        logits = forward(model, task.collate(batch), bf16).logits
        for i, prediction in zip(chosen, task.decode(logits, batch), strict=True):
            predictions[i] = prediction
    model.train(was_training)
    return predictions


def shuffled_batches(examples: Sequence[dict], batch_size: int, seed: int, skip: int = 0) -> Iterator[list[dict]]:
    """Batches for ever, epoch after epoch, each epoch in another order; the first `skip` are passed over.

    Examples of similar length come together, which saves padding: shuffled, sorted by length within stretches of
    sixteen batches, and the batches shuffled again.
    """
    rng = random.Random(seed)
    while True:
        order = rng.sample(range(len(examples)), len(examples))
        stretch = 16 * batch_size
        order = [
            i
            for start in range(0, len(order), stretch)
            for i in sorted(order[start : start + stretch], key=lambda i: _length(examples[i]))
        ]
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        rng.shuffle(batches)
        for batch in batches[skip:]:
            yield [examples[i] for i in batch]
        skip = max(skip - len(batches), 0)


def _length(example: dict) -> int:
    return max(len(one["input_ids"]) for one in example["inputs"])
