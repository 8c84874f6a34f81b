"""Adaptive Prefix Tuning (Zhang et al., ACL 2023), from scratch and inside transformers' BERT.

E1  prefix attention   softmax(q [P_k; K]ᵀ / √d_h) [P_v; V]                     attention.py
E2  token gate         α = σ(h_first W)                                         gates.py
E3  gated prefix       P̂ = λ · α ⊙ P                                            prefix.py
E4  interpolation      (1 − m(q)) Attn(q; K, V) + m(q) Attn(q; P_k, P_v)        attention.py
"""

from typing import TYPE_CHECKING, Any

from apt_minimal.adapter import load_adapter, save_adapter, switch_adapter
from apt_minimal.attach import attach, detach, is_attached, prefixes, without_prefix
from apt_minimal.encoder import Encoder
from apt_minimal.gates import LayerGate, TokenGate
from apt_minimal.hub import push_adapter
from apt_minimal.optimizer import parameter_groups
from apt_minimal.prefix import AdaptivePrefix, AptConfig
from apt_minimal.record import record
from apt_minimal.summary import summary
from apt_minimal.versions import check_transformers, own_version

if TYPE_CHECKING:  # for editors and type checkers, which can't see through __getattr__
    from apt_minimal.checkpoints import AdapterCallback as AdapterCallback
    from apt_minimal.checkpoints import load_checkpoint as load_checkpoint
    from apt_minimal.lab.data.tasks import load_task as load_task

check_transformers()
__version__ = own_version()

__all__ = [
    "AdapterCallback",
    "AdaptivePrefix",
    "AptConfig",
    "Encoder",
    "LayerGate",
    "TokenGate",
    "attach",
    "detach",
    "is_attached",
    "load_adapter",
    "load_checkpoint",
    "load_task",
    "parameter_groups",
    "prefixes",
    "push_adapter",
    "record",
    "save_adapter",
    "summary",
    "switch_adapter",
    "without_prefix",
]


def __getattr__(name: str) -> Any:
    # Imported where they are asked for: these need transformers, or the lab's packages.
    if name in ("AdapterCallback", "load_checkpoint"):
        from apt_minimal import checkpoints

        return getattr(checkpoints, name)
    if name == "load_task":
        from apt_minimal.lab.data.tasks import load_task

        return load_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
