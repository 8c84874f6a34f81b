"""What the notebooks and experiments need around the core: tasks, baselines, a training loop, plots."""

from apt_minimal.lab.data.sources import embedded_backbone
from apt_minimal.lab.data.tasks import Task, load_task

__all__ = ["Task", "embedded_backbone", "load_task"]
