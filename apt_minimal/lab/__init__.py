"""What the notebooks and experiments need around the core; each name's room is imported when the name is first used.

    style          the look of every figure
    data           rows, tasks, and how they are cut
    train          a training loop to be read
    methods        APT and what it is compared with, in one table
    read           what a trained model does
    experiments    grids of runs, their records, tables and figures

A room imports from those above it, never from one below. (`train`, the function, is in `apt_minimal.lab.train.loop`.)
"""

from importlib import import_module

_ROOMS = {
    "style": "attention_map heatmap smoothed use_style",
    "data.entities": "entities entity_scores",
    "data.backbones": "embedded_backbone",
    "data.splits": "few_shot hold_out",
    "data.tasks": "Example Task load_task",
    "train.batches": "predict",
    "train.loop": "History TrainConfig",
    "methods": "COLORS LABELS MARKERS METHODS TRAINED UNTRAINED Method color label load_model marker prepare",
    "methods.beside": "BesidePrefix attach_beside",
    "methods.log_gate": "LogGatedPrefix use_log_gates",
    "methods.prune": "HardConcrete penalised penalty prune prune_gates use_prune_gates",
    "methods.query_gate": "QueryGate use_query_gates",
    "methods.upper": "CachedTask UpperLayers cache_below",
    "read.gates": "GateReading gated_norms plot_gates read_gates read_sentence",
    "read.importance": "layer_effects scores_without token_effects",
    "read.rankings": "lengths_from rank_agreement",
    "read.removal": "removed",
    "read.readings": "Readings",
    "experiments.claims": "all_claims claim_table markdown outcomes",
    "experiments.comparisons": "Comparison Place compare comparison_table excluded rules_table share_varying",
    "experiments.grid": "methods_of",
    "experiments.intervals": "average_interval contrast_interval difference_interval holm score_interval",
    "experiments.records": "RunRecord RunSpec",
    "experiments.results": "read_predictions read_records",
    "experiments.plots": "plot_curves plot_forest plot_scores plot_tasks plot_training",
    "experiments.recommend": "recommendation",
    "experiments.recordings": "RESULTS Recording load_recording",
    "experiments.tables": "difference_table finished_table paper_scores run_table score_table search_table",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
