"""What precision and padding are worth: our loop beside peft's prefix tuning under transformers' Trainer, in turn.

    python -m apt_minimal.lab.experiments.speed --data-dir DATA     # without DATA: the shipped sample's short sentences

Two tables, in processor time on one thread: a few training steps of CoNLL-2004 on the small backbone, data handling
included, and one step of APT on the base backbone, where it has been fetched. Each round runs all of them in turn, so
that other work on the machine meets all alike; a ratio is the median of the rounds'.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from apt_minimal.lab.data.backbones import embedded_backbone
from apt_minimal.lab.data.tasks import Task, load_task
from apt_minimal.lab.experiments.cost import made_task
from apt_minimal.lab.methods import load_model, prepare
from apt_minimal.lab.train.batches import forward
from apt_minimal.lab.train.loop import TrainConfig, train
from apt_minimal.lab.train.precision import FrozenInBf16, computes_in_bf16

STEPS = 12


def our_loop(task: Task, bf16: bool) -> Callable[[], object]:
    """Ready to train APT for some steps by our own loop, which pads to a batch's longest, similar lengths together."""
    model = prepare(load_model(task, embedded_backbone()), "apt")
    config = TrainConfig(1e-2, max_steps=STEPS, evaluations=1, hardware_bf16=bf16)
    return partial(train, model, replace(task, validation=task.validation[:1]), config, progress=False)


def peft_trainer(task: Task, to_longest: bool) -> Callable[[], object]:
    """Ready to train peft's prefix tuning under `Trainer` in float32, padded to 128 tokens or to a batch's longest."""
    import transformers
    from peft import PrefixTuningConfig, get_peft_model

    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_backbone())
    model = get_peft_model(
        load_model(task, embedded_backbone()), PrefixTuningConfig(task_type="TOKEN_CLS", num_virtual_tokens=16)
    )
    padding: dict = {"padding": "longest"} if to_longest else {"padding": "max_length", "max_length": 128}
    examples: Any = [dict(example.inputs[0]) for example in task.train]
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            tempfile.mkdtemp(),
            max_steps=STEPS,
            per_device_train_batch_size=16,
            learning_rate=1e-2,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        transformers.DataCollatorForTokenClassification(tokenizer, **padding),
        examples,
    )
    return trainer.train


def base_step(precision: str) -> Callable[[], None]:
    """One training step of APT on the base backbone, 16 inputs of up to 32 tokens, ready to be run again and again."""
    task = made_task(32)
    model = prepare(load_model(task, embedded_backbone("base")), "apt").train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    batch = {name: tensor for name, tensor in task.collate(task.train).items() if name != "token_type_ids"}
    held = FrozenInBf16(model) if precision == "held" else torch.enable_grad()

    def step() -> None:
        with held:
            forward(model, batch, bf16=precision != "float32").loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def in_turn(subjects: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each subject in each round, after one that doesn't count."""
    seconds = {name: [] for name in subjects}
    for _ in range(rounds + 1):
        for name, subject in subjects.items():
            started = time.process_time()
            subject()
            seconds[name].append(time.process_time() - started)
    return {name: times[1:] for name, times in seconds.items()}


def show(title: str, seconds: dict[str, list[float]]) -> None:
    """Print medians, and ratios to each of the subjects that come first, up to where a ratio is 1."""
    print(f"\n{title}\n{'':44} seconds    × first  × second")
    first, second = list(seconds.values())[:2]
    for name, times in seconds.items():
        ratios = [statistics.median(a / b for a, b in zip(times, other, strict=True)) for other in (first, second)]
        print(f"{name:44} {statistics.median(times):7.2f}    {ratios[0]:7.2f}  {ratios[1]:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what precision and padding are worth.")
    parser.add_argument("--data-dir", help="a folder with conll2004/<split>.jsonl (default: the shipped sample)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, source = AutoTokenizer.from_pretrained(embedded_backbone()), "folder" if arguments.data_dir else "sample"
    task = load_task("conll2004", tokenizer, source=source, data_dir=arguments.data_dir)
    print(f"bfloat16 in hardware: {'yes' if computes_in_bf16(torch.device('cpu')) else 'no, ours stays in float32'}")
    subjects = {
        "peft + Trainer, padded to 128, float32": peft_trainer(task, to_longest=False),
        "peft + Trainer, padded to longest, float32": peft_trainer(task, to_longest=True),
        "our loop, APT, float32": our_loop(task, bf16=False),
        "our loop, APT, bfloat16": our_loop(task, bf16=True),
    }
    show(f"{STEPS} steps of CoNLL-2004 ({task.source}), small backbone", in_turn(subjects, arguments.rounds))
    try:
        steps = {name: base_step(name) for name in ("float32", "autocast", "held")}
    except FileNotFoundError as error:
        print(error)
        return
    show("one step of APT, base backbone, 16 × 32 tokens", in_turn(steps, arguments.rounds))


if __name__ == "__main__":
    main()
