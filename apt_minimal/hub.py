"""Adapters on a hub: found by name, pushed with a card that says what they are. huggingface_hub does the work."""

import re
from pathlib import Path
from typing import Any

CARD = """---
library_name: apt-minimal
base_model: {base}
tags: [adaptive-prefix-tuning, prefix-tuning, peft]
---

# An adapter made with Adaptive Prefix Tuning

{what}
{scores}
It holds prefixes, gates and the head. The backbone, **{base}** ({architecture}, {layers} layers of width {width}),
is not in it and has to be loaded first:

```python
from transformers import {architecture}
from apt_minimal import load_adapter

model = {architecture}.from_pretrained("{base}"{labels})
model = load_adapter(model, "path or user/name of this adapter")
```

The method: Zhang et al., *Towards Adaptive Prefix Tuning for Parameter-Efficient Language Model Fine-tuning*, ACL 2023.
apt-minimal is an unofficial implementation of it.
"""


def model_card(description: dict[str, Any], task: str | None = None, scores: dict[str, float] | None = None) -> str:
    """A README for an adapter: what it is, on which backbone, its task and scores, how to load it."""
    config, backbone, labels = description["config"], description["backbone"], description["labels"]
    gates = [name for name in ("token_gate", "layer_gate") if config[name]]
    length = config["prefix_length"]
    tokens = (
        f"{length} prefix tokens per layer"
        if isinstance(length, int)
        else f"prefix tokens per layer: {', '.join(map(str, length))}"
    )
    lines = [f"- {tokens}; gates: {', '.join(gates) or 'none (P-tuning v2)'}"]
    lines += [f"- task: {task}"] if task else []
    lines += [f"- labels: {', '.join(labels)}"] if labels else []
    found = "".join(f"- {name}: {score:.4f}\n" for name, score in (scores or {}).items())
    return CARD.format(
        base=backbone["name"] or "unknown",
        architecture=backbone["architecture"],
        layers=backbone["num_hidden_layers"],
        width=backbone["hidden_size"],
        what="\n".join(lines),
        scores=f"\nScores, as its author gives them:\n\n{found}" if found else "",
        labels=f", num_labels={len(labels)}" if labels else "",
    )


def adapter_folder(folder: str | Path) -> Path:
    """The local folder of an adapter, downloaded (or taken from the client's cache) if it is a name on the hub.

    Raises:
        FileNotFoundError: there is no such folder, and the hub (or, offline, the cache) has no such adapter.
    """
    path = Path(folder)
    if path.exists() or not isinstance(folder, str) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", folder):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(folder, allow_patterns=["adapter.json", "adapter.safetensors", "README.md"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileNotFoundError(
            f"there is no folder {folder}, nor did the hub give such an adapter ({reason})"
        ) from None


def push_adapter(folder: str | Path, name: str, private: bool = False) -> str:
    """Upload a saved adapter to the hub, where `load_adapter(model, name)` finds it; needs a login that may write.

    Args:
        folder: what `save_adapter` wrote.
        name: "user/name"; the repository is made if it is not there.
        private: whether a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError, ValueError: the folder holds no whole adapter.
    """
    from huggingface_hub import HfApi

    from apt_minimal.adapter_files import read_description

    read_description(Path(folder))
    api = HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    files = ["adapter.json", "adapter.safetensors", "README.md"]
    return str(api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=files).commit_url)
