"""What to use when: three sentences, computed from the longest recordings of the small backbone (README holds them)."""

from collections.abc import Sequence

from apt_minimal.lab.experiments.comparisons import HELD_OUT, Place, compare
from apt_minimal.lab.experiments.intervals import Interval
from apt_minimal.lab.experiments.recordings import recorded

ENTITIES = ("conll2004", "wnut17")


def recommendation() -> tuple[str, str, str]:
    """Three sentences with their intervals, for entity recognition; `evidence` is what they say."""
    found = {name: _points(one) for name, one in evidence().items()}
    return (
        f"For named entities, start with LoRA: averaged over the test sentences of CoNLL-2004 and WNUT-17, it scored "
        f"{found['LoRA − APT']} points above APT and {found['LoRA − P-tuning v2']} above P-tuning v2, with about "
        f"as many trained numbers as APT.",
        f"Training the whole model was not shown to bring more: full fine-tuning − LoRA was "
        f"{found['full fine-tuning − LoRA']} points.",
        f"If it has to be a prefix, put it beside the attention (lesson 12): there it scored "
        f"{found['prefix beside attention − P-tuning v2']} points above P-tuning v2 after 240 steps, which is "
        f"optimistic, as this variant was chosen on CoNLL-2004; APT's gates were not shown to bring anything after "
        f"about 1,000 ({found['APT − P-tuning v2']}).",
    )


def evidence() -> dict[str, Interval]:
    """What the three sentences rest on: averages over two entity tasks (test, at the epoch a held-out tenth chose)."""
    longest, beside = (
        [Place(recorded(name), task, split="test") for task in ENTITIES] for name in ("minilm_gpu", "beyond")
    )
    return {
        "LoRA − APT": _interval(longest, "lora", "apt"),
        "LoRA − P-tuning v2": _interval(longest, "lora", "p_tuning_v2"),
        "full fine-tuning − LoRA": _interval(longest, "full", "lora"),
        "APT − P-tuning v2": _interval(longest, "apt", "p_tuning_v2"),
        "prefix beside attention − P-tuning v2": _interval(beside, "prefix_beside", "p_tuning_v2"),
    }


def _interval(places: Sequence[Place], method: str, other: str) -> Interval:
    found = compare(places, method, other, HELD_OUT).interval
    if found is None:
        raise ValueError(f"there are no runs to compare {method} with {other}")
    return found


def _points(found: Interval) -> str:
    mean, low, high = (f"{100 * x:+.1f}".replace("-", "−") for x in (found.mean, found.low, found.high))
    return f"{mean} ({low} … {high})"
