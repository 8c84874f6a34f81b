"""What the lab's tests make: rows that can be learned, and APT with another prefix."""

import random
from dataclasses import replace

from apt_minimal.lab.experiments.records import RunRecord, RunSpec
from apt_minimal.lab.methods import METHODS, Method
from apt_minimal.prefix import AptConfig

NAMES, CITIES, COLOURS = ["anna", "bob", "clara jones", "dan"], ["paris", "london", "oslo"], ["red", "blue"]
WORDS = ["anna", "bob", "jones", "paris", "london", "likes", "very", "the", "red", "blue", "is", "."]


def with_prefix(config: AptConfig) -> Method:
    """APT's method with another prefix."""
    return replace(METHODS["apt"], config=config)


def made_row(kind: str, number: int) -> dict:
    """A row that can be learned: names and cities are entities; red is the right answer."""
    rng = random.Random(f"{kind} {number}")
    name, colour, very = rng.choice(NAMES), rng.choice(COLOURS), ["very"] * rng.randrange(5)
    if kind == "token":
        tags = ["O"] * len(very) + ["B-PER", "I-PER"][: len(name.split())] + ["O", "B-LOC", "O"]
        return {"tokens": [*very, *name.split(), "likes", rng.choice(CITIES), "."], "ner_tags": tags}
    if kind == "text":
        return {"text": " ".join(["the", *very, colour]), "label": "yes" if colour == "red" else "no"}
    if kind == "pair":
        return {"text": " ".join(["the", *very]), "text_pair": colour, "label": int(colour == "red")}
    choices = rng.sample(["blue", "paris is", " ".join(["red", *very])], 3)
    return {"text": f"{name} is", "choices": choices, "label": [choice[:3] for choice in choices].index("red")}


def record(rate=1e-3, held_out=0.5, seed=0, test=0.5, **more):
    """The record of a search run."""
    spec = RunSpec("mine", "full", "apt", "search", seed, train={"learning_rate": rate})
    scores = {"held_out": {"f1": held_out, "recall": 1 - held_out}, "test": {"f1": test}}
    return RunRecord(spec, "1", metric="f1", scores=scores, **more)
