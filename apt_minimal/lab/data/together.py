"""What is asked of all rows of a task together, when each by itself is right."""

import json
import warnings

from apt_minimal.lab.data.rows import Row
from apt_minimal.lab.data.shapes import LABELS, labels_in


def check_together(name: str, rows: dict[str, list[Row]], where: str) -> None:
    """See whether rows, reshaped, make one task that can be learned.

    Raises:
        ValueError: rows of two kinds or with another number of choices, no entity to train on, or a single label.
    """
    every = [row for of_split in rows.values() for row in of_split]
    first = every[0]
    for row in every:
        if row["kind"] != first["kind"]:
            raise ValueError(
                f"{row.place}: of kind {row['kind']}, but {first.place} is of kind {first['kind']}; a task has one kind"
            )
        if first["kind"] == "choice" and len(row["choices"]) != len(first["choices"]):
            raise ValueError(
                f"{row.place}: {len(row['choices'])} choices, but {first.place} has {len(first['choices'])}; "
                "every row needs as many"
            )
    if first["kind"] == "token" and not labels_in(rows["train"]):
        raise ValueError(f"{where}: no training row has an entity, every tag is O")
    if first["kind"] == "sequence" and name not in LABELS and len(labels_in(every)) < 2:
        raise ValueError(f"{where}: every row has the label {first['label']!r}; a task needs at least two labels")


def warn_of(name: str, rows: dict[str, list[Row]]) -> None:
    """Warn of what is often a slip: a label that no training row has, and rows that are in training too."""
    train, others = rows["train"], rows["validation"] + rows["test"]
    if train[0]["kind"] != "choice" and (new := sorted(labels_in(others) - labels_in(train))):
        more = f" or {len(new) - 5} more" if len(new) > 5 else ""
        warnings.warn(
            f"{name}: no training row has the label {' or '.join(new[:5])}{more}; others do",
            stacklevel=4,
        )
    trained = {json.dumps(row) for row in train}
    again = {split: sum(json.dumps(row) in trained for row in rows[split]) for split in ("validation", "test")}
    if any(again.values()):
        counts = " and ".join(f"{count} of {len(rows[split])} {split} rows" for split, count in again.items() if count)
        warnings.warn(f"{name}: {counts} are training rows too, which makes their score too good", stacklevel=4)
