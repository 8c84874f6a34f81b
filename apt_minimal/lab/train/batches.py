"""Batches of examples through a model: in training shuffled, in evaluation in an order that saves padding."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from apt_minimal.hosts import HostModule
from apt_minimal.lab.data.tasks import Example, Task


def forward(model: HostModule, batch: dict[str, Tensor], bf16: bool | None = None):
    """Run a batch where the model is, in bfloat16 or not; None: on a GPU only. Returns the model's output."""
    device = model.device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    lower: bool = device.type == "cuda" if bf16 is None else bf16
    with torch.autocast(device.type, torch.bfloat16, enabled=lower):
        return model(**batch)


@torch.no_grad()
def predict(
    model: nn.Module, task: Task, examples: Sequence[Example], batch_size: int = 64, bf16: bool | None = None
) -> list:
    """Predict examples in eval mode, similar lengths together; predictions come in the examples' order."""
    predictions = [None] * len(examples)
    order = sorted(range(len(examples)), key=lambda i: _length(examples[i]))
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = [examples[i] for i in chosen]
            logits = forward(model, task.collate(batch), bf16).logits
            for i, prediction in zip(chosen, task.decode(logits, batch), strict=True):
                predictions[i] = prediction
    return predictions


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode while the context is open, and back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def shuffled_batches(examples: Sequence[Example], batch_size: int, seed: int, skip: int = 0) -> Iterator[list[Example]]:
    """Batches for ever, epoch after epoch, each epoch in another order; the first `skip` are passed over.

    Examples of similar length come together, which saves padding: shuffled, sorted by length within stretches of
    sixteen batches, and the batches shuffled again.

    Raises:
        ValueError: there are no examples; else this would look for ever for a first batch.
    """
    if not examples:
        raise ValueError("there are no examples to make batches of")
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


def _length(example: Example) -> int:
    return max(len(one["input_ids"]) for one in example.inputs)
