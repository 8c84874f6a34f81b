"""How long one training step takes: APT, a separate plain P-tuning v2, and peft's prefix tuning, interleaved.

    .venv/bin/python tests/step_time.py [rounds]

Not a test: a time only means something on an idle machine. One thread on CPU; prints medians and ratios to APT.
"""

import statistics
import sys
import time

import torch
from peft import PrefixTuningConfig, get_peft_model
from torch import nn
from transformers import BertForSequenceClassification

from apt_minimal import AptConfig, attach
from apt_minimal.lab.data.backbones import embedded_backbone

BATCH, TOKENS, LENGTH = 16, 128, 16


class PlainPrefixAttention(nn.Module):
    """P-tuning v2 in its plainest form: a module of its own in place of BERT's self-attention."""

    def __init__(self, attention):
        super().__init__()
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        self.heads, d = attention.num_attention_heads, attention.query.in_features
        self.prefix = nn.Parameter(torch.randn(2, LENGTH, d) * 0.02)

    def forward(self, hidden_states, attention_mask=None, **_):
        b, n, d = hidden_states.shape
        prefix = nn.functional.dropout(self.prefix.unsqueeze(1).expand(2, b, LENGTH, d), 0.1, self.training)
        key = torch.cat([prefix[0], self.key(hidden_states)], dim=1)
        value = torch.cat([prefix[1], self.value(hidden_states)], dim=1)
        query, key, value = (
            x.view(b, -1, self.heads, d // self.heads).transpose(1, 2) for x in (self.query(hidden_states), key, value)
        )
        if attention_mask is not None:
            attention_mask = nn.functional.pad(attention_mask, (LENGTH, 0), value=True)
        dropout = 0.1 if self.training else 0.0
        out = nn.functional.scaled_dot_product_attention(query, key, value, attention_mask, dropout)
        return out.transpose(1, 2).reshape(b, n, d), None


def models() -> dict[str, nn.Module]:
    """The three, each on its own copy of the frozen backbone with a fresh head."""

    def backbone():
        torch.manual_seed(0)
        return BertForSequenceClassification.from_pretrained(embedded_backbone())

    plain = backbone()
    plain.bert.requires_grad_(False)
    for layer in plain.bert.encoder.layer:
        layer.attention.self = PlainPrefixAttention(layer.attention.self)
    peft = get_peft_model(backbone(), PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH))
    return {"APT": attach(backbone(), AptConfig(LENGTH)), "plain P-tuning v2": plain, "peft prefix tuning": peft}


def main(rounds: int) -> None:
    """Time steps in turn on one batch with padding, and print."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    batch = {
        "input_ids": torch.randint(1000, 20000, (BATCH, TOKENS), device=device),
        "attention_mask": (torch.arange(TOKENS) < torch.linspace(TOKENS // 2, TOKENS, BATCH)[:, None])
        .long()
        .to(device),
        "labels": torch.zeros(BATCH, dtype=torch.long, device=device),
    }
    runs = {name: (model.to(device).train(), []) for name, model in models().items()}
    optimizers = {
        name: torch.optim.AdamW(p for p in m.parameters() if p.requires_grad) for name, (m, _) in runs.items()
    }
    for i in range(rounds + 2):
        for name, (model, times) in runs.items():
            started = time.perf_counter()
            model(**batch).loss.backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            if i >= 2:  # the first two are warm-up
                times.append(time.perf_counter() - started)
    apt = runs["APT"][1]
    for name, (_, times) in runs.items():
        ratio = statistics.median(a / t for a, t in zip(apt, times, strict=True))
        print(f"{name:20} {1000 * statistics.median(times):8.1f} ms   APT takes {ratio:.3f} times as long")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
