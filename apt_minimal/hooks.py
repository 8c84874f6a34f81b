"""What an attached model does in a forward pass: a hook builds each layer's prefix and hands it over.

The prefix is built from the hidden states that enter the self-attention. A second hook, after the attention has run,
sees that it was used.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from apt_minimal.hosts import HOSTS, HostModule, PrefixPair, register, self_attentions
from apt_minimal.prefix import AdaptivePrefix, AptConfig
from apt_minimal.tuners import has_tuner

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a module's call, as torch's hooks see them


@dataclass
class Attachment:
    """What `attach` did to a backbone, for `detach` to undo and `save_adapter` to write down."""

    config: AptConfig
    trainable_before: list[str]
    hooks: list[RemovableHandle] = field(default_factory=list)
    active: bool = True
    fingerprint: str = ""  # of the backbone, where `load_adapter` has taken it

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        register()  # a model that was unpickled in a new process has not been through `attach` there


def entering(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """What a self-attention was called with: hidden states [b, n, d], and which tokens are real, [b, n] (None: all)."""
    hidden_states = args[0] if args else kwargs["hidden_states"]
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    if mask is None:
        return hidden_states, None
    if not (isinstance(mask, Tensor) and mask.dim() == 4):
        found = f"shape {list(mask.shape)}" if isinstance(mask, Tensor) else f"type {type(mask).__name__}"
        raise ValueError(
            f'a mask of {found} reached the attention; prefixes need attn_implementation "sdpa" or "eager"'
        )
    if mask.dtype != torch.bool:
        # Added to the scores, so that 0 is "may look"; DeBERTa's is 1 there.
        mask = mask.bool() if type(layer).__name__ == "DisentangledSelfAttention" else mask == 0
    # A token is real if any query may look at it: in a sliding window the first query sees only its neighbours.
    return hidden_states, mask.any(dim=2)[:, 0]


def made_for(layer: HostModule, prefix: AdaptivePrefix, device: torch.device, dtype: torch.dtype) -> AdaptivePrefix:
    """A fresh prefix where its layer is, and in the layer's mode."""
    if prefix.layer_gate is not None:  # torch's FSDP shards no scalars
        prefix.layer_gate.scale = nn.Parameter(prefix.layer_gate.scale.detach().reshape(1))
    return prefix.to(device, dtype).train(layer.training)


def put_in(encoder: HostModule, modules: list[AdaptivePrefix | None]) -> None:
    """Give every layer its prefix and the two hooks that hand it over and see that it was used."""
    attachment, layers = encoder.apt_attachment, self_attentions(encoder)
    shared = HOSTS[encoder.config.model_type].shared
    for layer in dict.fromkeys(layers):
        places = [i for i, one in enumerate(layers) if one is layer]
        own: list[Any] = [modules[i] for i in places]
        if not any(own):
            continue
        layer.add_module("prefix", nn.ModuleList(own) if shared else own[0])
        attachment.hooks += [
            layer.register_forward_pre_hook(partial(_hand_over, attachment, places), with_kwargs=True),
            layer.register_forward_hook(_check_taken, with_kwargs=True),
        ]
    if shared:
        hook = encoder.encoder.register_forward_pre_hook(_count_turns, with_kwargs=True)
        attachment.hooks.append(hook)


def _hand_over(
    attachment: Attachment, places: list[int], layer: HostModule, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Arguments:
    """Before a self-attention runs: build its prefix from the states that enter it, and hand it over."""
    prefix, place = layer.prefix, places[0]
    turns = kwargs.get("prefix_turns")
    if turns is not None:  # a module that is applied again and again: which time is it?
        kwargs = {name: value for name, value in kwargs.items() if name != "prefix_turns"}
        turn = turns.get(place, 0)
        turns[place] = turn + 1
        prefix, place = prefix[turn], places[turn]
    if kwargs.get("past_key_values") is not None or kwargs.get("cache") is not None:
        raise ValueError("an attached model takes no past_key_values: the prefix takes their place")
    if not attachment.active or prefix is None:
        return args, kwargs
    if layer.training and not prefix.key.requires_grad and torch.is_grad_enabled() and has_tuner(layer):
        raise RuntimeError(
            "a tuner of peft has frozen the prefixes; import peft before attach is called, or give its config "
            'modules_to_save=["prefix"], and make the optimizer after that'
        )
    return args, kwargs | {"prefix": PrefixPair(place, *prefix(*entering(layer, args, kwargs)))}


def _count_turns(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    return args, kwargs | {"prefix_turns": {}}


def _check_taken(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
    """After a self-attention has run: a prefix that it did not use would be missing from the output, unseen."""
    if "prefix" in kwargs and not kwargs["prefix"].taken:
        raise RuntimeError(
            f"{type(layer).__name__} ignored the prefix that it was handed, so its output is the bare backbone's; "
            "this version of transformers, or a replaced self-attention, does not take one"
        )
