"""The methods that are compared: one table, with each method's name, its look, and what makes a model ready for it.

A new method is one entry of `METHODS`, and a file beside this one if it changes the model in a way of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace

from torch import nn

from apt_minimal.lab.data.tasks import Example, Task
from apt_minimal.lab.methods import plain, untrained
from apt_minimal.lab.methods.beside import with_prefix_beside
from apt_minimal.lab.methods.log_gate import use_log_gates
from apt_minimal.lab.methods.plain import attached, attached_with
from apt_minimal.lab.methods.plain import load_model as load_model
from apt_minimal.lab.methods.prune import pruned_after, use_prune_gates
from apt_minimal.lab.methods.query_gate import use_query_gates
from apt_minimal.lab.methods.standardised import standardised
from apt_minimal.lab.methods.upper import on_kept_states
from apt_minimal.prefix import AptConfig

# Every run's settings name these, also where its method has no such thing; run keys depend on it.
ALWAYS_RECORDED = {"lora_rank": 0, "train_backbone": False, "shift_positions": False}


@dataclass(frozen=True)
class Method:
    """How a method is shown, and how a backbone with a fresh head is made ready for it.

    Attributes:
        label: its name in tables and figures.
        color, marker: its look in every figure.
        config: the prefix; None for methods without one.
        options: its other numbers and switches, under the names by which a run's settings record them.
        modify: changes the model; by default it attaches the prefix. None: the method trains nothing.
        training: a context that is open during training and gives the model and task to train.
        predict: the predictions of a method that trains nothing.
        one_length: whether its prefix must have the same length in all layers.
    """

    label: str
    color: str
    marker: str
    config: AptConfig | None = None
    options: dict = field(default_factory=dict)
    modify: Callable[[nn.Module, "Method"], nn.Module] | None = attached
    training: Callable[[nn.Module, Task, "Method"], AbstractContextManager] = plain.as_it_is
    predict: Callable[[Task, Sequence[Example]], list] | None = None
    one_length: bool = False

    @property
    def settings(self) -> dict:
        """What a run records of its method, in a form that JSON gives back unchanged; see `method_recorded`."""
        config = self.config and asdict(self.config)
        if config and isinstance(config["prefix_length"], tuple):
            config["prefix_length"] = list(config["prefix_length"])
        return {"config": config} | ALWAYS_RECORDED | self.options


# Per layer APT has 3 · l · d parameters (and λ), P-tuning v2 has 2 · l · d and LoRA 4 · d · r. So P-tuning v2 with 24
# tokens ("p_tuning_v2_plus") and LoRA of rank 12 have as many as APT with l = 16. `method_named` scales them together.
LENGTH = 16
APT, PLAIN = AptConfig(LENGTH), AptConfig(LENGTH, token_gate=False, layer_gate=False)
PLUS, MEAN = replace(PLAIN, prefix_length=24), replace(APT, gate_input="mean")
# Okabe and Ito's colours for the main methods, which colour-blind readers can tell apart; markers differ as well.
METHODS = {
    "majority": Method("majority label", "#999999", "x", modify=None, predict=untrained.majority),
    "bag_of_words": Method("words alone", "#000000", "+", modify=None, predict=untrained.bag_of_words),
    "head_only": Method("head only", "#56B4E9", "^"),
    "full": Method("full fine-tuning", "#009E73", "s", None, {"train_backbone": True}, plain.unchanged),
    "lora": Method("LoRA", "#CC79A7", "D", None, {"lora_rank": 12}, plain.with_lora),
    "p_tuning_v2": Method("P-tuning v2", "#E69F00", "v", PLAIN),
    "p_tuning_v2_shifted": Method(
        "P-tuning v2, positions shifted",
        "#B37A00",
        "<",
        PLAIN,
        {"shift_positions": True},
        plain.shifted,
        one_length=True,
    ),
    "p_tuning_v2_plus": Method("P-tuning v2, as many parameters as APT", "#F5C75D", ">", PLUS),
    # For the paper's figures alone; ours names its lengths, see `label`.
    "p_tuning_v2_star": Method("P-tuning v2, length by layer", "#A6761D", "*", modify=None),
    "apt": Method("APT", "#0072B2", "o", APT),
    "apt_no_token_gate": Method("APT without token gate", "#D55E00", "1", replace(APT, token_gate=False)),
    "apt_no_layer_gate": Method("APT without layer gate", "#7A1E6C", "p", replace(APT, layer_gate=False)),
    "apt_no_hidden_state": Method("APT without hidden state", "#8C6D46", "P", replace(APT, gate_input="none")),
    "apt_mean_gate": Method("APT, mean gate", "#332288", "h", MEAN),
    # Beyond the paper
    "apt_query_gate": Method(
        "APT, query gate", "#44AA99", "2", MEAN, {"beyond": "query_gate"}, attached_with(use_query_gates)
    ),
    "apt_log_gate": Method("APT, log gate", "#882255", "3", APT, {"beyond": "log_gate"}, attached_with(use_log_gates)),
    # The token gates' W learns at a tenth of the rate: a few steps at P's own can move α from one end to the other.
    "apt_slow_gate": Method("APT, slower gate", "#6699CC", "X", APT, {"gate_rate": 0.1}),
    "apt_standardised": Method(
        "APT, standardised gate", "#AA4499", "4", APT, {"beyond": "standardised"}, training=standardised
    ),
    "apt_standardised_slow": Method(
        "APT, standardised slower gate",
        "#DDCC77",
        "|",
        APT,
        {"beyond": "standardised", "gate_rate": 0.1},
        training=standardised,
    ),
    "prefix_beside": Method(
        "prefix beside attention", "#117733", "8", PLAIN, {"beyond": "beside"}, with_prefix_beside, one_length=True
    ),
    "apt_pruned": Method(
        "APT, pruned", "#999933", "H", APT, {"prune_weight": 0.002}, attached_with(use_prune_gates), pruned_after
    ),
    "apt_upper": Method("APT on kept states", "#661100", "d", APT, {"beyond": "cached"}, training=on_kept_states),
}
TRAINED = {name: method for name, method in METHODS.items() if method.modify}
UNTRAINED = {name: method.predict for name, method in METHODS.items() if method.predict}
LABELS = {name: method.label for name, method in METHODS.items()}
COLORS = {name: method.color for name, method in METHODS.items()}
MARKERS = {name: method.marker for name, method in METHODS.items()}


def label(name: str) -> str:
    """What tables and figures call a method of a grid: "apt@4~0.01" is "APT, 4 tokens, rate 0.01"."""
    (base, _, lengths), rate = name.partition("~")[0].partition("@"), name.partition("~")[2]
    return LABELS[base] + (f", {lengths} tokens" if lengths else "") + (f", rate {rate}" if rate else "")


def base_of(name: str) -> str:
    """A method's name without the prefix lengths behind an "@" and the learning rate behind a "~"."""
    return name.partition("~")[0].partition("@")[0]


def color(name: str) -> str:
    """A method's colour, whatever lengths and rate its name has."""
    return COLORS[base_of(name)]


def marker(name: str) -> str:
    """A method's marker, likewise."""
    return MARKERS[base_of(name)]


def method_named(name: str, prefix_length: int = LENGTH) -> Method:
    """A trained method by its name in a grid, which may have prefix lengths of its own behind an "@".

    A learning rate behind a "~" makes the name another one, and no other method.

        method_named("apt@4")                           # 4 prefix tokens in every layer
        method_named("p_tuning_v2@0-0-8-16-32-40")      # so many in each of six layers

    Args:
        name: one of `TRAINED`, with or without lengths.
        prefix_length: APT's; what is sized to match it follows, as nearly as whole numbers allow.

    Raises:
        ValueError: no such method, or it has no prefix that could be of some length.
    """
    base, at, lengths = name.partition("~")[0].partition("@")
    if base not in TRAINED:
        raise ValueError(f"no such method: {name}; there are {', '.join(TRAINED)}")
    method = _sized(TRAINED[base], prefix_length)
    if not at:
        return method
    if method.config is None:
        raise ValueError(f"{name}: {base} has no prefix, so it has no lengths")
    if not all(length.isdecimal() for length in lengths.split("-")):
        raise ValueError(f'{name}: behind the "@" stand prefix lengths, one (apt@4) or one for each layer (apt@0-8-16)')
    numbers = [int(length) for length in lengths.split("-")]
    if len(numbers) > 1 and method.one_length:
        raise ValueError(f"{name}: {base} takes one length for all layers")
    config = replace(method.config, prefix_length=tuple(numbers) if len(numbers) > 1 else numbers[0])
    return replace(method, config=config)


def method_recorded(name: str, settings: dict) -> Method:
    """The method of a recorded run, from its name and its settings."""
    method = TRAINED[base_of(name)]
    config = settings["config"] and AptConfig(**settings["config"])
    return replace(method, config=config, options={key: settings[key] for key in method.options})


def prepare(model: nn.Module, method: str | Method) -> nn.Module:
    """Make a model ready for a method: freeze, attach, wrap. Change it in place where possible, and return it.

    Args:
        model: as `load_model` gives it.
        method: a name as in `method_named`, or a `Method` that trains something.

    Raises:
        ValueError: no such method, or it trains nothing.
    """
    method = method_named(method) if isinstance(method, str) else method
    if method.modify is None:
        raise ValueError(f"{method.label} trains no model, so there is nothing to prepare")
    return method.modify(model, method)


def _sized(method: Method, prefix_length: int) -> Method:
    """A method of the table, where the lengths are for l = 16, for another l."""
    config, options = method.config, dict(method.options)
    if config and isinstance(config.prefix_length, int):
        config = replace(config, prefix_length=round(prefix_length * config.prefix_length / LENGTH))
    if rank := options.get("lora_rank"):
        options["lora_rank"] = max(1, round(prefix_length * rank / LENGTH))
    return replace(method, config=config, options=options)
