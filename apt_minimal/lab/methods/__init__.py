"""Beyond the paper: small pieces that change or extend its method, each in a file of its own. None of them is APT."""

from apt_minimal.lab.methods.beside import BesidePrefix, attach_beside
from apt_minimal.lab.methods.log_gate import LogGatedPrefix, use_log_gates
from apt_minimal.lab.methods.prune import HardConcrete, penalised, penalty, prune, prune_gates, use_prune_gates
from apt_minimal.lab.methods.query_gate import QueryGate, use_query_gates
from apt_minimal.lab.methods.upper import CachedTask, UpperLayers, cache_below, on_kept_states

__all__ = [
    "BesidePrefix",
    "CachedTask",
    "HardConcrete",
    "LogGatedPrefix",
    "QueryGate",
    "UpperLayers",
    "attach_beside",
    "cache_below",
    "on_kept_states",
    "penalised",
    "penalty",
    "prune",
    "prune_gates",
    "use_log_gates",
    "use_prune_gates",
    "use_query_gates",
]
