"""transformers' own checkpoints of an attached model: the way back, and a callback that writes adapters."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback

from apt_minimal.adapter import save_adapter
from apt_minimal.attach import M, attach, host_encoder, is_attached, prefix_shapes
from apt_minimal.prefix import AptConfig


def load_checkpoint(model: M, folder: str | Path) -> M:
    """Attach prefixes to a model and load a checkpoint that `save_pretrained` or a `Trainer` wrote of an attached one.

        folder = "run/checkpoint-500"
        model = load_checkpoint(AutoModelForSequenceClassification.from_pretrained(folder), folder)

    Such a checkpoint holds the whole model, prefixes too, and its config.json says how they are made; a plain
    `from_pretrained` leaves the prefixes out.

    Args:
        model: of the checkpoint's class, not attached.
        folder: the checkpoint.

    Raises:
        FileNotFoundError: the folder holds no config.json or no weights.
        ValueError: the model is attached, or the checkpoint is not of an attached model, or of another one.
    """
    folder = Path(folder)
    if is_attached(model):
        raise ValueError("this model already has prefixes attached; call detach(model) first")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no config.json; give the folder of a checkpoint")
    made_with = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("apt_minimal")
    if made_with is None:
        raise ValueError(f"{folder} is the checkpoint of a model without prefixes: from_pretrained is all it needs")
    weights, config = _weights(folder), AptConfig(**made_with)
    wanted = prefix_shapes(model, host_encoder(model), config)
    if other := [n for n, t in wanted.items() if n not in weights or weights[n].shape != t.shape]:
        raise ValueError(f"{folder} lacks {other[0]} of this shape, so it is the checkpoint of another model")
    attach(model, config).load_state_dict(weights, strict=False)
    return model


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no model.safetensors; give the folder of a checkpoint")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


class AdapterCallback(TrainerCallback):
    """For transformers' `Trainer`: an adapter beside each checkpoint, or in the place of its weights.

        Trainer(..., callbacks=[AdapterCallback()])          # run/checkpoint-500/adapter
        Trainer(..., callbacks=[AdapterCallback(only=True)])  # without run/checkpoint-500/model.safetensors

    Args:
        only: whether the checkpoint's own weights are deleted. Training can't be resumed from it then, and
            load_best_model_at_end can't find it.
    """

    def __init__(self, only: bool = False):
        self.only = only

    def on_save(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """After each checkpoint, on the process that writes it."""
        if model is None or not state.is_world_process_zero or not is_attached(model):
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        save_adapter(model, folder / "adapter")
        if self.only:
            for file in folder.glob("model*.safetensors*"):
                file.unlink()
