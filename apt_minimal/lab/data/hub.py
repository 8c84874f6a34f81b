"""Benchmarks from the Hugging Face hub, through the `datasets` client, in the fields that `shapes.reshape` reads.

Written from the data sets' documentation, which docs/data.md cites, and tested against a stand-in for the hub that
serves the documented fields; loading from the hub itself could not be tried.
"""

from apt_minimal.lab.data.rows import Row
from apt_minimal.lab.data.shapes import ENTITY_TYPES, LABELS

# A task's repository, configuration and revision; None is the default. Old loading scripts no longer run, so every one
# of these is a place with parquet files. WSC's spans are the benchmark's own, as in P-tuning v2, not "wsc.fixed"'s.
HUB = {
    **{name: ("aps/super_glue", name, None) for name in LABELS},
    "conll2003": ("lhoestq/conll2003", None, None),
    "conll2004": ("DFKI-SLT/conll04", None, None),
    "ontonotes5": ("tner/ontonotes5", None, "refs/convert/parquet"),
    "wnut17": ("manu/wnut_17", None, None),
}
# The tags' numbers in tner/ontonotes5, which holds them bare: in the order of its card's "Label ID".
ONTONOTES5_TAGS = """
O B-CARDINAL B-DATE I-DATE B-PERSON I-PERSON B-NORP B-GPE I-GPE B-LAW I-LAW B-ORG I-ORG B-PERCENT I-PERCENT B-ORDINAL
B-MONEY I-MONEY B-WORK_OF_ART I-WORK_OF_ART B-FAC B-TIME I-CARDINAL B-LOC B-QUANTITY I-QUANTITY I-NORP I-LOC B-PRODUCT
I-TIME B-EVENT I-EVENT I-FAC B-LANGUAGE I-PRODUCT I-ORDINAL I-LANGUAGE
""".split()  # noqa: SIM905  (as a list it would be 37 lines)
PATIENCE = 5  # seconds for the one try to reach the hub; without it the client tries for half a minute


def load_hub_rows(name: str) -> tuple[dict[str, list[Row]], str]:
    """Download a benchmark, or take it from the client's cache.

    Args:
        name: one of `HUB`.

    Returns:
        Rows by split, and a sentence that says where they come from. A test split without labels is left out.

    Raises:
        FileNotFoundError: the hub can't be reached or refuses, and nothing is cached.
        ValueError: the data set has other fields or label names than its documentation says.
    """
    repository, configuration, revision = HUB[name]
    splits = _download(repository, configuration, revision)
    try:
        rows = {split: _rows(name, splits[split]) for split in ("train", "validation", "test")}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        fields = {split: list(data.features) for split, data in splits.items()}
        raise ValueError(f"{repository} is not as documented: {error!r}; it has {fields}") from None
    if all(row.get("label") == -1 for row in rows["test"]):
        rows["test"] = []
    rows = {
        split: [Row(row, f"{repository}, {split}, row {number}") for number, row in enumerate(of_split, start=1)]
        for split, of_split in rows.items()
    }
    return rows, "hub, " + ", ".join(filter(None, (repository, configuration, revision)))


def _download(repository: str, configuration: str | None, revision: str | None):
    import datasets
    from huggingface_hub import HfApi, constants

    try:
        if not constants.HF_HUB_OFFLINE:  # offline, the client looks at once into its cache
            HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE)
        return datasets.load_dataset(repository, configuration, revision=revision)
    except Exception as error:  # which classes these are depends on the client's version
        reason = "HF_HUB_OFFLINE is set and it is not cached" if constants.HF_HUB_OFFLINE else str(error).split("\n")[0]
        raise FileNotFoundError(f"the hub gives no {repository} ({reason})") from error


def _rows(name: str, split) -> list[dict]:
    """One split's rows; labels by name where the hub has numbers, which must be the names that we know."""
    if name == "conll2004":
        return [{"tokens": row["tokens"], "ner_tags": _tags(row["tokens"], row["entities"])} for row in split]
    if name in ENTITY_TYPES:
        field = "tags" if name == "ontonotes5" else "ner_tags"
        names = ONTONOTES5_TAGS if name == "ontonotes5" else split.features[field].feature.names
        # An empty sentence, such as conversions of CoNLL files leave at their end, is none.
        return [
            {"tokens": row["tokens"], "ner_tags": [names[tag] for tag in row[field]]} for row in split if row["tokens"]
        ]
    if split.features["label"].names != LABELS[name]:
        raise ValueError(f"{name}'s labels are {split.features['label'].names} on the hub, not {LABELS[name]}")
    return split.to_list()


def _tags(tokens: list[str], spans: list[dict]) -> list[str]:
    """IOB2 tags from spans whose ends are exclusive."""
    tags = ["O"] * len(tokens)
    for span in spans:
        start, end = span["start"], span["end"]
        if not 0 <= start < end <= len(tokens):
            raise ValueError(f"the span {span} does not fit {len(tokens)} tokens; its end should be exclusive")
        tags[start:end] = [f"B-{span['type']}"] + [f"I-{span['type']}"] * (end - start - 1)
    return tags
