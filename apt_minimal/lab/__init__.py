"""What the notebooks and experiments need around the core: tasks, baselines, a training loop, plots."""

from apt_minimal.lab.data.tasks import Task, load_task

__all__ = ["Task", "embedded_backbone", "load_task"]


def __getattr__(name: str):
    # Not imported above, as `python -m apt_minimal.lab.data.backbones` would then run a module that is loaded already.
    if name == "embedded_backbone":
        from apt_minimal.lab.data.backbones import embedded_backbone

        return embedded_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
