"""What a figure of a lesson shows, in words, for those who cannot see it: read from the code that draws it.

They are the words of the figure itself: its titles, and what stands along its axes. What the figure says stands in the
lesson's text.
"""

import ast
import re

from apt_minimal import lab

PLACES = {"title": "title", "suptitle": "title", "xlabel": "across", "ylabel": "upwards"}


def functions(notebook: dict) -> dict[str, ast.AST | str]:
    """What a cell may call to draw: the lab's functions as what they say of themselves, the notebook's own as code."""
    own = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            own |= {node.name: node for node in ast.walk(_parsed(cell)) if isinstance(node, ast.FunctionDef)}
    drawing = [name for name in lab.__all__ if name.startswith("plot_") or name == "attention_map"]
    return own | {name: getattr(lab, name).__doc__.splitlines()[0] for name in drawing}


def caption(cell: dict, known: dict[str, ast.AST | str], section: str) -> str:
    """A figure's words; of one that has none, where it stands."""
    found: dict[str, list[str]] = {"title": [], "across": [], "upwards": [], "said": []}
    _collect(_parsed(cell), dict(known), found)
    parts = [" | ".join(dict.fromkeys(found["title"]))] + found["said"]
    parts += [f"{place}: {' | '.join(dict.fromkeys(found[place]))}" for place in ("across", "upwards") if found[place]]
    return "Figure. " + ("; ".join(part for part in parts if part) or f"It belongs to “{section}”.")


def _parsed(cell: dict) -> ast.AST:
    return ast.parse(re.sub(r"^(\s*)[!%].*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE))


def _collect(tree: ast.AST, known: dict[str, ast.AST | str], found: dict[str, list[str]]) -> None:
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = [(keyword.arg, keyword.value) for keyword in call.keywords]
        given += [(name.removeprefix("set_"), call.args[0])] if call.args else []
        for what, value in given:
            if what in PLACES and (text := _text(value)):
                found[PLACES[what]].append(text)
        called = known.pop(name, "")  # each function once
        if isinstance(called, str):
            found["said"] += [called] if called else []
        else:
            _collect(called, known, found)


def _text(node: ast.AST) -> str:
    """A string as it is written; what is only known when the code runs is a gap."""
    if isinstance(node, ast.Constant):
        return " ".join(str(node.value or "").split())
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""
