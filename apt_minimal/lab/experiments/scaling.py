"""How long a grid takes on many machines: computed from the minutes that its finished runs took.

python -m apt_minimal.lab.experiments.scaling    # the table of docs/experiments.md
"""

from collections.abc import Sequence

from apt_minimal.lab.experiments.grid import all_runs
from apt_minimal.lab.experiments.recordings import load_recording
from apt_minimal.lab.experiments.runner import minutes_left

GRIDS, WORKERS = ("minilm_gpu", "minilm_cpu", "beyond"), (16, 64, 256, 1024)


def hours(work: float, longest: float, workers: int) -> float:
    """Hours that a grid takes at most on so many workers that are alike, in whatever order its runs are done.

    Searches come before the runs that wait for them, and in each of these two parts all workers are busy until its last
    run has begun: work / workers + 2 · longest (after Graham 1966).

        >>> hours(work=6000, longest=30, workers=100)
        2.0

    Args:
        work: minutes of all runs together.
        longest: minutes of the longest run.
        workers: each does one run at a time.
    """
    return (work / workers + 2 * longest) / 60


def scaling_table(grids: Sequence[str] = GRIDS) -> str:
    """Work and duration of recorded grids, in Markdown; a run that isn't recorded counts as those that are like it."""
    heads = ["grid", "runs", "recorded", "hours of work", "longest run", *(f"{count} workers" for count in WORKERS)]
    rows = [heads, ["---"] * len(heads)]
    for name in grids:
        recording = load_recording(name)
        (possible, count), done = all_runs(recording.grid, recording.records), recording.records
        pending = [spec for spec in possible if spec.key not in {record.spec.key for record in done}]
        work = sum(record.minutes for record in done) + minutes_left(done, pending, count - len(done))
        longest = max(record.minutes for record in done)
        at_most = [f"{60 * hours(work, longest, workers):.0f} min" for workers in WORKERS]
        rows.append([f"`{name}`", f"{count:,}", f"{len(done):,}", f"{work / 60:.0f}", f"{longest:.0f} min", *at_most])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(scaling_table())
