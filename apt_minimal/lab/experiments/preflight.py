"""A look at backbone and data before a grid's first run, so that what is wrong with them is said at once."""

from collections.abc import Sequence

from apt_minimal.lab.data.backbones import BASE, find_backbone
from apt_minimal.lab.data.sources import SPLITS, real_source
from apt_minimal.lab.data.splits import apply_setting
from apt_minimal.lab.data.tasks import Example, Task, load_reshaped
from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.train.checkpoint import rows_sha256


def check_backbone(backbone: str) -> None:
    """See whether there is such a backbone.

    Raises:
        ValueError: there is none.
        ModuleNotFoundError: the embedded one is not installed.
    """
    from transformers import AutoConfig

    found = find_backbone(backbone)
    try:
        AutoConfig.from_pretrained(found)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no backbone {backbone!r}: it must be a folder with a config.json, or a name that the hub knows "
            f"({str(error).splitlines()[0]})"
            + (f"; `make backbone-base` fetches {BASE} without a hub" if backbone == BASE else "")
        ) from None


def unrunnable(
    specs: Sequence[RunSpec], records: Sequence[RunRecord], data_dir: str | None
) -> dict[tuple[str, str], Exception]:
    """Say which tasks and settings can't be run on the data, and why.

    Args:
        specs: the open runs.
        records: of the finished runs, which must have been made with the same data.
        data_dir: as in `load_task`.
    """
    found = {}
    for name in dict.fromkeys(spec.task for spec in specs):
        seeds = {}
        for spec in specs:
            if spec.task == name:
                seeds.setdefault(spec.setting, set()).add(spec.seed)
        try:
            task = _without_inputs(name, data_dir)
            _check_same(task, [record for record in records if record.spec.task == name])
        except (ValueError, OSError) as error:
            found |= {(name, setting): error for setting in seeds}
            continue
        for setting, drawn_with in seeds.items():
            try:
                for seed in drawn_with:
                    apply_setting(task, setting, seed)
            except ValueError as error:
                found[name, setting] = error
    return found


def _without_inputs(name: str, data_dir: str | None) -> Task:
    """A task that can be cut, but not trained on: nothing is encoded."""
    name, rows, where = load_reshaped(name, real_source(data_dir), data_dir)
    train, validation, test = ([Example(row, [], row.get("label")) for row in rows[split]] for split in SPLITS)
    return Task(name, rows["train"][0]["kind"], [], train, validation, test, source=where, metric="")


def _check_same(task: Task, records: Sequence[RunRecord]) -> None:
    """See whether finished runs were made with these rows."""
    now = rows_sha256(task.train, task.validation, task.test)
    if others := [record for record in records if record.data_sha256 != now]:
        raise ValueError(
            f"{task.source} is not what {len(others)} finished runs of {task.name} were made with: its rows have the "
            f"SHA-256 {now[:12]}…, theirs had {others[0].data_sha256[:12]}…. Bring the rows back, give the grid "
            f"another name, or delete its {task.name}.jsonl to begin anew"
        )
