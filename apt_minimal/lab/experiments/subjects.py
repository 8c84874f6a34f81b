"""What the benchmark measures: each method on one batch, the floor below them all, and an epoch end to end.

The **floor** of a step is a forward pass of the frozen model in training mode, and a backward pass through its
activations down to the keys and values of the lowest layer, where the lowest prefix gets its gradient. Nothing is
trained: there is no prefix, no gradient of a weight and no optimiser. At inference the floor is the plain model.
"""

import math
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from apt_minimal.hosts import self_attentions
from apt_minimal.lab.data.backbones import embedded_backbone
from apt_minimal.lab.data.tasks import Example, Task, load_task
from apt_minimal.lab.methods import load_model, method_named, prepare
from apt_minimal.lab.train.batches import forward
from apt_minimal.lab.train.loop import TrainConfig, train
from apt_minimal.lab.train.precision import FrozenInBf16, computes_in_bf16

LENGTH, BATCH, PADDED = 16, 16, 128  # of an epoch


@dataclass(frozen=True)
class Condition:
    """Under which conditions something is measured: backbone and its layers, l, tokens of the longest input, batch."""

    backbone: str = "small"
    layers: int = 6
    prefix_length: int = 16
    tokens: int = 128
    batch: int = 16
    precision: str = "float32"


def made_task(tokens: int, batch: int = 16) -> Task:
    """One batch of made inputs, half as long up to `tokens` long: what a step costs depends on nothing else."""
    examples = []
    for i in range(batch):
        n = tokens // 2 + (tokens - tokens // 2) * i // max(batch - 1, 1)
        ids = torch.randint(1000, 20000, (n,), generator=torch.Generator().manual_seed(i)).tolist()
        examples.append(Example({}, [{"input_ids": ids, "attention_mask": [1] * n}], i % 2))
    return Task("made", "sequence", ["a", "b"], examples, [], [], "made", "accuracy")


@dataclass
class Subject:
    """A model in training mode, the batch that it takes, an optimiser for what it trains, and its numbers."""

    model: Any
    batch: dict
    optimizer: torch.optim.Optimizer | None
    bf16: bool
    held: AbstractContextManager

    def step(self) -> None:
        """One training step; of the floor, no more than its two passes."""
        with self.held:
            forward(self.model, self.batch, self.bf16).loss.backward()
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def kept_bytes(self) -> int:
        """What a forward pass keeps for the backward pass, every tensor counted once and the model's own left out."""
        own = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        loss, sizes = forward(self.model, self.batch, self.bf16).loss, {}
        nodes: dict[Any, None] = {loss.grad_fn: None}
        for node in (queue := list(nodes)):
            for name in dir(node):
                tensor = getattr(node, name) if name.startswith("_saved_") else None
                if isinstance(tensor, torch.Tensor):
                    sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            new = [child for child, _ in node.next_functions if child is not None and child not in nodes]
            nodes |= dict.fromkeys(new)
            queue += dict.fromkeys(new)
        return sum(size for pointer, size in sizes.items() if pointer not in own)

    @torch.no_grad()
    def infer(self) -> None:
        """One forward pass."""
        with self.held:
            forward(self.model, self.batch, self.bf16)


@contextmanager
def ready(name: str, condition: Condition, device: torch.device) -> Iterator[Subject]:
    """A method of `METHODS`, or of a grid, ready to be measured."""
    if name.endswith("_bf16"):
        name, condition = name.removesuffix("_bf16"), replace(condition, precision="bf16")
    task = made_task(condition.tokens, condition.batch)
    with ExitStack() as stack:
        model: Any = cut(load_model(task, embedded_backbone(condition.backbone)), condition.layers)
        if name == "floor":
            model = as_floor(model)
        elif name == "peft_prefix":
            model = with_peft_prefix(model, condition.prefix_length, "SEQ_CLS")
        else:
            if name == "apt_recomputed":  # activations are computed again in the backward pass, instead of kept
                model.gradient_checkpointing_enable()
            method = method_named(name.removesuffix("_recomputed"), condition.prefix_length)
            model, task = stack.enter_context(method.training(prepare(model, method), task, method))
        batch = {key: tensor.to(device) for key, tensor in task.collate(task.train).items()}
        trained = [p for p in model.to(device).train().parameters() if p.requires_grad]
        bf16 = condition.precision == "bf16"
        held = FrozenInBf16(model) if bf16 else nullcontext()
        yield Subject(model, batch, torch.optim.AdamW(trained) if trained else None, bf16, held)


def cut(model: Any, layers: int) -> nn.Module:
    """The model with its lowest layers only."""
    model.base_model.encoder.layer = model.base_model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    return model


def as_floor(model: Any) -> nn.Module:
    """Freeze all of a model, and let a backward pass reach the keys and values of its lowest layer."""
    model.requires_grad_(False)
    for name, projection in self_attentions(model.base_model)[0].named_children():
        if name in ("key", "value", "k", "v"):
            projection.register_forward_hook(lambda module, inputs, output: output.requires_grad_())
    return model


def with_peft_prefix(model: Any, length: int, task_type: str) -> nn.Module:
    """peft's prefix tuning around a model."""
    from peft import PrefixTuningConfig, get_peft_model

    return get_peft_model(model, PrefixTuningConfig(task_type=task_type, num_virtual_tokens=length))


def conll2004(data_dir: str | None, examples: int | None) -> tuple[Task, Any]:
    """CoNLL-2004, or so many of its sentences drawn at random; without a folder the shipped sample. And a tokenizer."""
    from transformers import AutoTokenizer

    tokenizer, source = AutoTokenizer.from_pretrained(embedded_backbone()), "folder" if data_dir else "sample"
    task = load_task("conll2004", tokenizer, source=source, data_dir=data_dir)
    task = replace(task, train=random.Random(0).sample(task.train, examples) if examples else task.train)
    return task, tokenizer


def epochs(task: Task, tokenizer: Any, device: torch.device) -> dict[str, Callable[[], object]]:
    """An epoch from encoded sentences to trained parameters, ready to be run again and again: our loop, and peft's."""
    subjects = {"apt": our_epoch(task, False, device)}
    if computes_in_bf16(device):
        subjects["apt_bf16"] = our_epoch(task, True, device)
    subjects["peft_longest"] = peft_epoch(task, tokenizer, {"padding": "longest"}, device)
    subjects["peft_128"] = peft_epoch(task, tokenizer, {"padding": "max_length", "max_length": PADDED}, device)
    return subjects


def our_epoch(task: Task, bf16: bool, device: torch.device) -> Callable[[], object]:
    """Ready to train APT for an epoch by our loop, which pads to a batch's longest, similar lengths together."""
    model = prepare(load_model(task, embedded_backbone()), "apt").to(device)
    steps = math.ceil(len(task.train) / BATCH)
    config = TrainConfig(1e-2, max_steps=steps, evaluations=1, bf16=bf16, hardware_bf16=bf16)
    return partial(train, model, replace(task, validation=task.validation[:1]), config, progress=False)


def peft_epoch(task: Task, tokenizer: Any, padding: dict, device: torch.device) -> Callable[[], object]:
    """Ready to train peft's prefix tuning for an epoch under transformers' `Trainer`, in float32."""
    import transformers

    arguments = transformers.TrainingArguments(
        tempfile.mkdtemp(),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-2,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    model = with_peft_prefix(load_model(task, embedded_backbone()), LENGTH, "TOKEN_CLS")
    collate = transformers.DataCollatorForTokenClassification(tokenizer, **padding)
    examples: Any = [dict(example.inputs[0]) for example in task.train]
    trainer = transformers.Trainer(model, arguments, collate, examples)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer.train
