"""The page of a benchmark's lines: every number on it is computed from them (ratios and goals: `cost_ratios`)."""

from collections.abc import Iterable
from statistics import median, quantiles

from apt_minimal.lab.experiments.cost_ratios import GOALS, ratio, rounds_of
from apt_minimal.lab.methods import LABELS, base_of, label

NAMES = {
    "floor": "the floor",
    "peft_prefix": "peft's prefix tuning",
    "apt_recomputed": "APT, activations computed again",
    "apt_bf16": "APT, bfloat16",
}
EPOCHS = {
    "apt": "APT, our loop, float32",
    "apt_bf16": "APT, our loop, bfloat16",
    "peft_longest": "peft's prefix tuning, `Trainer`, padded to the longest",
    "peft_128": "peft's prefix tuning, `Trainer`, padded to 128",
}
KINDS = {  # of torch's operations, by what their names contain; the first that fits counts
    "matrix products, fused attention": ("mm", "attention"),
    "random numbers for dropout": ("bernoulli", "native_dropout"),
    "softmax": ("softmax", "isneginf", "aten::all"),
    "putting together and copying": ("cat", "copy_", "index", "fill_", "constant_pad", "clone"),
    "element by element": (
        "aten::mul",
        "aten::add",
        "aten::div",
        "aten::where",
        "gelu",
        "sigmoid",
        "aten::sum",
        "norm",
    ),
}
TIMES = ("step", "inference")
NEEDS_BF16 = "not measured here: it needs a CPU that multiplies in bfloat16 (AMX or AVX512_BF16), or a GPU"


def page(rows: list[dict]) -> str:
    """All sections, machine by machine."""
    machines = dict.fromkeys(row["machine"] for row in rows)
    sections = [_of_machine([row for row in rows if row["machine"] == machine]) for machine in machines]
    return "\n".join([HEAD, *sections, TAIL])


def _of_machine(rows: list[dict]) -> str:
    """What one machine measured: rounds of lines that measured the same are put together; else the last line counts."""
    latest: dict[tuple, dict] = {}
    for row in rows:
        key = row["measure"], _condition(row)
        latest[key] = _together(latest.get(key, row), row)
    centre = _condition(rows[0])
    at_centre = {measure: row for (measure, condition), row in latest.items() if condition == centre}
    parts = [f"## {rows[0]['machine']}\n", _conditions(rows), _goals(latest, centre), _methods(at_centre)]
    parts += [_epoch(at_centre.get("epoch")), _varied(latest, centre)]
    parts += [_profile(at_centre[f"profile of {what}"]) for what in TIMES if f"profile of {what}" in at_centre]
    parts += [_memory(at_centre.get("profile of memory"), at_centre.get("memory"))]
    return "\n".join(part for part in parts if part)


def _together(first: dict, second: dict) -> dict:
    """The second line with the first one's rounds in front of its own, for methods that both have."""
    before, after = first["values"], second["values"]
    if first is second or not all(isinstance(values, list) for values in after.values()):
        return second
    return second | {"values": {name: before[name] + after[name] for name in after if name in before}}


def _conditions(rows: list[dict]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in rows[-1]["versions"].items())
    commits, dates = (", ".join(dict.fromkeys(row[name] for row in rows)) for name in ("commit", "date"))
    return f"{versions}; commit {commits}; {dates}. {_words(_condition(rows[0]))}, unless a table says otherwise.\n"


def _goals(latest: dict, centre: tuple) -> str:
    """Each goal at the centre, and where else it was measured with the same lengths."""
    rows = []
    for goal in GOALS:
        lengths = centre[2], goal.tokens or centre[3]
        places = [
            condition
            for (measure, condition), row in latest.items()
            if measure == goal.measure
            and condition[2:4] == lengths
            and {goal.method, goal.other} <= row["values"].keys()
        ]
        missing = NEEDS_BF16 if goal.method == "apt_bf16" else "not measured"
        for condition in places or [(*centre[:2], *lengths, *centre[4:])]:
            found = ratio(latest.get((goal.measure, condition)), goal.method, goal.other)
            where = _words(condition, centre)
            rows.append(
                [goal.text, f"≤ {goal.most}", where, found or missing, found.verdict(goal.most) if found else ""]
            )
    return "### Ratios to reach\n\n" + _table(["ratio", "goal", "where", "measured", ""], rows)


def _methods(at_centre: dict[str, dict]) -> str:
    step, inference, memory = (at_centre.get(name) for name in ("step", "inference", "memory"))
    rows = []
    for method in step["values"] if step else []:
        row = [_name(method), _ms(step, method), ratio(step, method, "floor"), _ms(inference, method)]
        rows.append([*row, ratio(inference, method, "floor"), memory and memory["values"].get(method)])
    header = ["method", "step, ms", "× floor", "inference, ms", "× plain model", "peak memory, MiB"]
    return "### Method by method\n\n" + _table(header, rows)


def _epoch(row: dict | None) -> str:
    if row is None:
        return ""
    others = [name for name in ("peft_longest", "peft_128") if name in row["values"]]
    rows = [
        [EPOCHS[name], f"{median(seconds):.1f}", *(ratio(row, name, other) for other in others)]
        for name, seconds in row["values"].items()
    ]
    header = ["", "seconds", *(f"× {EPOCHS[name].rpartition(', ')[2]}" for name in others)]
    about = (
        f"{row['examples']} sentences of CoNLL-2004 ({row['source']}), {len(rounds_of(row['values']['apt']))} rounds."
    )
    return f"### An epoch, end to end\n\n{about}\n\n" + _table(header, rows)


def _varied(latest: dict, centre: tuple) -> str:
    rows = []
    for (measure, condition), step in latest.items():
        if measure == "step":
            inference = latest.get(("inference", condition))
            memory = latest.get(("memory", condition))
            ratios = [ratio(step, "apt", other) for other in ("floor", "p_tuning_v2", "peft_prefix", "full")]
            ratios += [ratio(inference, "apt", "floor"), ratio(memory, "apt", "full")]
            rows.append([_words(condition, centre), *ratios])
    header = ["", "step / floor", "/ P-tuning v2", "/ peft", "/ full", "inference / plain", "memory / full"]
    return "### APT under other conditions\n\n" + _table(header, rows)


def _memory(row: dict | None, peaks: dict | None) -> str:
    """What the peaks of memory consist of."""
    if row is None or peaks is None:
        return ""
    methods = list(row["values"])
    rows = [[part, *(f"{row['values'][m][part]:.0f}" for m in methods)] for part in row["values"][methods[0]]]
    rows.append(["peak", *(peaks["values"].get(method) for method in methods)])
    return "### Where memory goes, MiB\n\n" + _table(["", *map(_name, methods)], rows)


def _profile(row: dict) -> str:
    """Where APT's time beyond the floor's goes, by kinds of operations."""
    sums = {method: _by_kind(operations) for method, operations in row["values"].items()}
    whole = sum(sums["floor"].values())
    rows = []
    for kind in [*KINDS, "everything else"]:
        floor, apt = sums["floor"][kind], sums["apt"][kind]
        rows.append([kind, f"{floor:.0f}", f"{apt:.0f}", f"{100 * (apt - floor) / whole:+.1f} %"])
    title = f"### Where APT's time goes: {row['measure'].removeprefix('profile of ')}\n\n"
    return title + _table(["", "floor, ms", "APT, ms", "difference, % of the floor's whole time"], rows)


def _by_kind(operations: dict[str, float]) -> dict[str, float]:
    sums = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for name, ms in operations.items():
        fitting = (kind for kind, parts in KINDS.items() if any(part in name for part in parts))
        sums[next(fitting, "everything else")] += ms
    return sums


def _condition(row: dict) -> tuple:
    return tuple(row[name] for name in ("backbone", "layers", "prefix_length", "tokens", "batch", "precision"))


def _words(condition: tuple, centre: tuple | None = None) -> str:
    """A condition in words; of one that differs from the centre, what differs."""
    names = ("{} backbone", "{} layers", "l = {}", "n = {}", "batches of {}", "{}")
    differing = [i for i in range(len(names)) if centre is None or condition[i] != centre[i]]
    return ", ".join(names[i].format(condition[i]) for i in differing) or "standard"


def _name(method: str) -> str:
    return label(method) if base_of(method) in LABELS else NAMES[method]


def _ms(row: dict | None, method: str) -> str | None:
    """Median and quartiles of a method's times."""
    if row is None:
        return None
    times = [1000 * seconds for seconds in row["values"][method]]
    low, middle, high = quantiles(times, n=4, method="inclusive")
    return f"{middle:.0f} ({low:.0f} … {high:.0f})"


def _table(header: list[str], rows: Iterable[list]) -> str:
    lines = [header, ["---"] * len(header), *([("–" if cell is None else str(cell)) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


HEAD = """# What APT costs

<!-- Written by `python -m apt_minimal.lab.experiments.cost --output docs/results/speed.jsonl --page docs/speed.md`. -->

Every measured number on this page is computed from `docs/results/speed.jsonl`; the goals were set beforehand. You can
measure on your machine:

```sh
python -m apt_minimal.lab.experiments.cost --quick                     # a look, in some minutes
python -m apt_minimal.lab.experiments.cost --data-dir DATA --profile   # all of it; a second start goes on
python -m apt_minimal.lab.experiments.cost --device cuda --profile     # on a GPU
```

```
one step     frozen forward pass  ──►  loss  ──►  back through activations  ──►  gradients  ──►  AdamW
floor        ██████████████████████████████████████████████████████████████
APT          ██████████████████████████████████████████████████████████████████████████████████████
             with l more keys and values in every layer
```

**The floor** is what no method with a prefix in the lowest layer can save. It is a forward pass of the frozen model in
training mode, with its dropout, and a backward pass through its activations down to the keys and values of the lowest
layer. Nothing is trained: there is no prefix, no gradient of a weight, and no optimiser. At inference the floor is the
plain model.

**How it is measured.** A batch holds made inputs whose lengths go from n / 2 to n. All methods take turns, round after
round, and every other round goes backwards, so that other work on the machine meets all of them alike. Times are those
of one processor thread, or wall-clock times on a GPU. A ratio is the median of the rounds' own ratios, and in brackets
stands an interval that holds the true median with a probability of at least 95 %. With fewer than six rounds, as of an
epoch, the brackets hold the lowest and the highest. The process keeps the memory that it frees, so that steps don't
wait for the operating system. (Lines of commit 8aff8df were made before it did. On the machine that has them, rows
called "standard" join its 12 rounds with 6 later ones.) Times in milliseconds are medians with quartiles. Peak memory
is that of three training steps above the loaded model, each method in a process of its own. A goal is called reached
or not reached only if the whole interval lies on one side of it.

**What the rest is.** P-tuning v2 is APT without its gates, so the column "/ P-tuning v2" tells what the gates take.
What both take above the floor is the attention to l more keys and values, with its dropout, and the prefix's own
dropout; "Where APT's time goes" shows it by kinds of torch's operations, as its profiler measures them.

**The methods** are those of the recorded runs, with l = 16 unless a table says otherwise, and LoRA with as many
parameters as APT. peft's prefix tuning needs a model that takes `past_key_values`, which MPNet, the base backbone, does
not. "APT, activations computed again" is APT with transformers' `gradient_checkpointing_enable()`. "APT, bfloat16" is
divided by the float32 floor; in rows called "bf16" both sides compute in bfloat16.

**Letters.** l is the prefix length, and n the number of tokens of the longest input. The small backbone is
all-MiniLM-L6-v2, the base one all-mpnet-base-v2. A row called "standard" has the conditions that stand above the
tables.

**An epoch** measures loop and padding as well as the method. Our loop puts sentences of similar length together and
pads each batch to its longest.
"""
TAIL = """## What needs other hardware

bfloat16 is measured on a GPU, and on a CPU that multiplies in it (AMX or AVX512_BF16; torch is asked). Any other CPU
only imitates it, which takes longer than float32, so there the command leaves those rows out. The two goals for a
bfloat16 epoch were set for a CPU with AMX. Rows of a GPU need `--device cuda`, rows of the base backbone
`make backbone-base`.

## Lessons on a busy machine

Torch shares a matrix product out to as many threads as there are cores, and each product waits for the slowest thread:
where another program holds one of the cores, all others wait for it, again and again. So every lesson that computes
with torch says `torch.set_num_threads(1)`. Then it loses only a share of its own core.
"""
