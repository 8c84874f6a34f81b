"""A token gate that truly removes: log α is added to the prefix's scores, and its keys and values stay whole. (Ours.)

By E3, α = 0 makes a zero key. Its score is 0, and exp(0) = 1 still takes softmax mass, now for a zero value. Here

    score(q, P_k[t]) = q · P_k[t] / √d_h + log α_t     for every query of every head,

so that prefix token t counts α_t times in the softmax: α_t = 1 is the plain prefix, and α_t → 0 takes the token away as
if it had never been there. λ scales keys and values as it does in E3.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apt_minimal.attach import attached_encoder, prefixes, replace_prefixes
from apt_minimal.gates import TokenGate
from apt_minimal.hosts import self_attentions
from apt_minimal.prefix import AdaptivePrefix


class LogGatedPrefix(AdaptivePrefix):
    """One layer's prefix that hands over λ P_k and λ P_v, unscaled by α, and log α = log σ(h W) beside them.

    Made of the parameters of a prefix that is there. Its gate has another name, so that no adapter saved with it can
    be loaded as the paper's.

    Attributes:
        key, value, layer_gate: as in `AdaptivePrefix`; token_gate is None.
        log_gate: the `TokenGate` or `QueryGate` whose W is meant.
    """

    log_gate: TokenGate

    def __init__(self, prefix: AdaptivePrefix):
        nn.Module.__init__(self)  # nothing is drawn: all parts are the other's
        self.key, self.value, self.dropout = prefix.key, prefix.value, prefix.dropout
        assert prefix.token_gate is not None  # checked by `use_log_gates`
        self.layer_gate, self.log_gate, self.token_gate = prefix.layer_gate, prefix.token_gate, None
        self.train(prefix.training)

    def log_alpha(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """log α, [b, l]; not by way of α, which rounds to 0, where its log has no gradient."""
        return F.logsigmoid(self.log_gate.logits(hidden_states, attention_mask))

    def gates(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return α [b, l] and λ [] for one batch, for those who read them; `forward` needs only λ."""
        return self.log_alpha(hidden_states, attention_mask).exp(), super().gates(hidden_states)[1]

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return [λ P_k, log α], [b, l, d + 1], and λ P_v, [b, l, d].

        One column too many for any attention that knows nothing of log α (our `Encoder`'s, say): it fails, where it
        would silently leave the gate out. Token by token, so `removed` can take tokens with their log α.
        """
        scale = super().gates(hidden_states)[1]
        key, value = (scale * self._drop(part, len(hidden_states)) for part in (self.key, self.value))
        return torch.cat([key, self.log_alpha(hidden_states, attention_mask).unsqueeze(-1)], dim=-1), value


def use_log_gates(model: nn.Module) -> nn.Module:
    """Let every token gate of an attached model remove, where it scaled: put a `LogGatedPrefix` into every layer.

    The parameters are the same ones. `prefixes(model)` then gives the new modules, `record` reads them, and `detach`
    takes them out. `save_adapter` writes the gates under their new name, which `load_adapter` refuses.

    Args:
        model: attached with token gates; `use_query_gates` may have been called on it before.

    Returns:
        The same model.

    Raises:
        ValueError: nothing is attached, or a prefix has no token gate, or a log gate already. Nothing has been changed
            then.
    """
    if any(prefix is not None and prefix.token_gate is None for prefix in prefixes(model)):
        raise ValueError("a prefix has no token gate (or a log gate already); attach with token_gate=True, once")
    encoder: Any = attached_encoder(model)
    replace_prefixes(encoder, LogGatedPrefix)
    for layer in dict.fromkeys(self_attentions(encoder)):
        # After attach's hook, and removed with it by detach.
        hook = layer.register_forward_pre_hook(_add_log_alpha, with_kwargs=True)
        encoder.apt_attachment.hooks.append(hook)
    return model


def _add_log_alpha(layer: nn.Module, args: tuple, kwargs: dict) -> None:
    """Take log α off the keys that `attach`'s hook has handed over, and add it to the prefix's scores."""
    pair = kwargs.get("prefix")
    if pair is not None:
        pair.key, pair.bias = pair.key[..., :-1], pair.key[..., -1]
