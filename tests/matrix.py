"""Every host in every situation, beside peft's prefix tuning: python tests/matrix.py docs/hosts.md writes the page.

Each cell is a small program on a tiny random model that either agrees with what it should be, or says why not.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

import torch
import transformers
from test_hosts import CONFIG, HOSTS, host, padded
from torch import nn
from two_processes import torchrun

from apt_minimal import attach, detach, load_adapter, record, save_adapter

HEADS = {"sequence": "SequenceClassification", "token": "TokenClassification", "choice": "MultipleChoice"}
SEQUENCE = transformers.AutoModelForSequenceClassification


class NotThere(Exception):
    """The library has no such thing for this host."""


def prepared(kind, method, auto=SEQUENCE, **changes):
    """A tiny host with a prefix of ours or of peft's, without dropout."""
    try:
        model = host(kind, auto, **changes)
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):
            raise NotThere from None
        raise
    return with_prefix(model, method)


def with_prefix(model, method):
    if method == "apt":
        torch.manual_seed(0)
        return attach(model, CONFIG)
    import peft

    kinds = {"ForSequence": "SEQ_CLS", "ForToken": "TOKEN_CLS"}
    task = next((t for part, t in kinds.items() if part in type(model).__name__), None)
    if task is None:
        raise ValueError("no task type for it")
    torch.manual_seed(0)
    return peft.get_peft_model(model, peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=5)).double()


def trained(model):
    return [p for name, p in model.named_parameters() if p.requires_grad and ("prefix" in name or "prompt" in name)]


def learns(model, inputs, **labels):
    """A forward and a backward pass in which every trained part of the prefix takes part."""
    found = model(**inputs, **labels)
    found.logits.square().sum().backward()
    assert trained(model) and all(p.grad is not None and p.grad.abs().max() > 0 for p in trained(model))
    return found


def head(name):
    def column(kind, method):
        inputs = padded()
        if name == "choice":
            inputs = {key: x.unsqueeze(1).repeat(1, 2, 1) for key, x in inputs.items()}
        learns(prepared(kind, method, getattr(transformers, f"AutoModelFor{HEADS[name]}")), inputs)

    return column


def checkpointing(kind, method):
    """Both kinds, before and after attaching: the gradients of a model without it."""

    def gradients(steps):
        model = host(kind, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        for step in steps:
            model = step(model) or model
        for module in model.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        learns(model, padded())
        return [p.grad for p in trained(model)]

    def enable(reentrant):
        def step(model):
            try:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
            except ValueError as error:
                if "does not support" in str(error):
                    raise NotThere from None
                raise
            model.enable_input_require_grads()

        return step

    put = lambda model: with_prefix(model, method)  # noqa: E731
    plain = gradients([put])
    for reentrant in (True, False):
        for steps in ([put, enable(reentrant)], [enable(reentrant), put]):
            assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(plain, gradients(steps), strict=True))


def longest(kind, method):
    """As many tokens as the plain model takes."""
    n = 64 - 2 if "roberta" in kind or kind in ("camembert", "data2vec-text", "mpnet") else 64  # two are reserved
    inputs = {"input_ids": torch.randint(4, 60, (2, n)), "attention_mask": torch.ones(2, n, dtype=torch.long)}
    learns(prepared(kind, method), inputs)


def padding(side):
    def column(kind, method):
        model, inputs = prepared(kind, method, transformers.AutoModelForTokenClassification), padded(side)
        counts = "roberta" in kind or kind in ("camembert", "data2vec-text")
        if side == "left" and not counts:
            first = 2 if kind == "mpnet" else 0
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0) + first
        together = model(**inputs).logits
        for i, n in enumerate((20, 12, 5)):
            part = slice(0, n) if side == "right" else slice(20 - n, 20)
            alone = {name: x[i : i + 1, part] for name, x in inputs.items()}
            assert torch.allclose(model(**alone).logits[0], together[i, part], atol=1e-5)

    return column


def agreement(kind, method):
    if HOSTS[kind].written_out:
        raise NotThere  # one attention only
    results = []
    for implementation in ("eager", "sdpa"):
        model = host(kind)
        model.set_attn_implementation(implementation)
        results.append(with_prefix(model, method)(**padded()).logits)
    assert torch.allclose(*results, atol=1e-5)


def attentions(kind, method):
    model = host(kind)
    if not HOSTS[kind].written_out:
        model.set_attn_implementation("eager")
    found = with_prefix(model, method)(**padded(), output_attentions=True).attentions
    assert all(w.shape[-1] == 25 and torch.allclose(w[0].sum(-1), w.new_ones(())) for w in found)


def recorded(kind, method):
    if method != "apt":
        raise NotThere
    model = prepared(kind, method)
    with record(model) as seen:
        model(**padded())
    assert all(m is not None for m in seen.mass) and len(seen.alpha) == 3


def detached(kind, method):
    """The plain model's logits come back bit by bit."""
    plain = host(kind)
    expected = plain(**padded()).logits
    model = with_prefix(plain, method)
    if method == "apt":
        found = detach(model)(**padded()).logits
    else:
        with model.disable_adapter():
            found = model(**padded()).logits
    assert torch.equal(found, expected)


def half(kind, method):
    model = prepared(kind, method, dtype=torch.float32).float()
    with torch.autocast("cpu", torch.bfloat16):
        learns(model, padded())
    model = with_prefix(host(kind, dtype=torch.float32).bfloat16(), method)
    learns(model.bfloat16() if method == "peft" else model, padded())


def compiled(kind, method):
    model = prepared(kind, method, dtype=torch.float32).float()
    torch._dynamo.reset()
    found = learns(torch.compile(model, fullgraph=True, backend="eager"), padded())
    assert torch.allclose(found.logits, model(**padded()).logits, atol=1e-5)


def saved(kind, method, folder):
    """Save a model with its prefix, and what it says, for another process to find."""
    model = prepared(kind, method)
    save_adapter(model, folder) if method == "apt" else model.save_pretrained(folder)
    torch.save(model(**padded()).logits, Path(folder, "logits"))


def reloaded(kind, method, folder):
    """What was saved, loaded in this process: the same bits."""
    if method == "apt":
        model = load_adapter(host(kind), folder)
    else:
        import peft

        model = peft.PeftModel.from_pretrained(host(kind), folder).double()
    assert torch.equal(model(**padded()).logits, torch.load(Path(folder, "logits"), weights_only=True))


def elsewhere(method, folder):
    """The column "another process" for every host: all are saved here, and loaded in one other process."""
    there = {kind: cell(partial(saved, folder=folder / kind), kind, method) for kind in HOSTS}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    command = [sys.executable, "-W", "ignore", __file__, "--reload", method, str(folder)]
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    return {kind: found[kind] if word == "✓" else word for kind, word in there.items()}


def two_processes(method, folder):
    """The column "two processes": torchrun's two have the gradients of one process on the whole batch."""
    torchrun(__file__, "--parallel", method, folder)
    return json.loads(Path(folder, "parallel").read_text())


def parallel(kind, method):
    """One half of the batch here, the other half in the other process."""
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    inputs = {name: torch.cat([x, x])[:4] for name, x in padded().items()}
    labels = torch.tensor([0, 1, 1, 0])
    half = slice(2 * distributed.get_rank(), 2 * distributed.get_rank() + 2)
    alone, model = prepared(kind, method), prepared(kind, method)
    both = DistributedDataParallel(model)
    both(**{name: x[half] for name, x in inputs.items()}, labels=labels[half]).loss.backward()
    alone(**inputs, labels=labels).loss.backward()
    pairs = zip(trained(model), trained(alone), strict=True)
    assert trained(model) and all(torch.allclose(a.grad, b.grad, atol=1e-9) for a, b in pairs)


COLUMNS = {
    "sequence": head("sequence"), "token": head("token"), "choice": head("choice"), 
    "checkpointing": checkpointing, "longest input": longest, "padding right": padding("right"),
    "padding left": padding("left"), "eager = sdpa": agreement, "attentions": attentions, "record": recorded,
    "off again": detached, "bf16": half, "one graph": compiled,
}  # fmt: skip


def cell(column, kind, method):
    """✓, – (there is no such thing), or what went wrong."""
    try:
        column(kind, method)
    except NotThere:
        return "–"
    except Exception as error:
        if "Unrecognized configuration class" in str(error):
            return "–"
        refused = isinstance(error, ValueError) and (
            "does not support past key" in str(error) or "no task" in str(error)
        )
        return "refused" if refused else type(error).__name__
    return "✓"


PAGE = """# Hosts

Which encoders take prefixes, and what works in each. This page is written by `python tests/matrix.py docs/hosts.md`
(transformers {transformers}, torch {torch}{peft}), from tiny random models of each kind.

✓ works and agrees with what it should be · – is not in the library for this host · another word names the error.

## apt-minimal

{apt}

- **Which tokens are real** is read from the attention's own mask: a token is real if any query may look at it. So a
  sliding window (ModernBERT) and padding on either side are understood.
- **A prefix has no position.** Relative terms (MPNet, DeBERTa) are 0 on its columns, and the scale stays the
  host's. Rotary embeddings turn the input's queries and keys, not the prefix.
- **ModernBERT's local layers** see the whole prefix. **ALBERT** applies one layer again and again: each application
  has a prefix of its own.
- **Hosts that normalise before the attention** (ModernBERT, EuroBERT, XLM-R-XL, RoBERTa-PreLayerNorm): the gates
  read what the attention reads, the normalised states.
- **With padding on the left** give `position_ids`, as for the plain model; RoBERTa's family counts them itself.
- "two processes" is `DistributedDataParallel` under torchrun: the gradients of one process on the whole batch.
- "checkpointing" is both kinds of gradient checkpointing, switched on before and after `attach`.
- A model of another kind is refused with an error that lists these. To add one:

```python
from apt_minimal.hosts import HOSTS, Host

HOSTS["esm"] = Host("encoder.layer.{{}}.attention.self")  # where a layer's self-attention is below the backbone
```

It works where the self-attention asks transformers' `AttentionInterface` for its function and passes further
arguments on; the first forward pass raises an error where the prefix was not used.

## peft's prefix tuning, for comparison

{other}
"""


def table(method):
    with tempfile.TemporaryDirectory() as folder:
        again, together = elsewhere(method, Path(folder)), two_processes(method, folder)
    names = [*COLUMNS, "another process", "two processes"]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for kind in HOSTS:
        cells = [*(cell(column, kind, method) for column in COLUMNS.values()), again[kind], together[kind]]
        print(method, kind, *cells, flush=True)
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    import peft

    warnings.filterwarnings("ignore")
    page = PAGE.format(
        transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0],
        peft=f", peft {peft.__version__}",
        apt=table("apt"),
        other=table("peft"),
    )
    Path(sys.argv[1]).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    if sys.argv[1] == "--reload":
        method, folder = sys.argv[2], Path(sys.argv[3])
        print(json.dumps({kind: cell(partial(reloaded, folder=folder / kind), kind, method) for kind in HOSTS}))
    elif sys.argv[1] == "--parallel":
        torch.distributed.init_process_group("gloo")
        found = {kind: cell(parallel, kind, sys.argv[2]) for kind in HOSTS}
        if torch.distributed.get_rank() == 0:
            Path(sys.argv[3], "parallel").write_text(json.dumps(found))
    else:
        main()
