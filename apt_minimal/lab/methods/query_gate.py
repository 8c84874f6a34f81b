"""A token gate that reads the sentence through a learned query, so that its input varies from the first layer on."""

import math

import torch
from torch import Tensor, nn

from apt_minimal.attach import prefixes
from apt_minimal.gates import TokenGate


class QueryGate(TokenGate):
    """E2 with another h: α = σ(pool(h) W), pool(h) = Σ_i softmax_i(q · h_i / √d) h_i, i over the real tokens.

    The paper's gate reads [CLS], which is the same for every input in layer 1 and hardly varies in the layers above
    it. Here a query q, trained with the task, decides which tokens are read: single-query attention, without
    projections (as in Yang et al. 2016's attention over words). At the start q = 0: every token has the same share, so
    α is that of `TokenGate` with gate_input="mean".

    Args:
        prefix_length: l.
        hidden_size: d.
        init_std: standard deviation of the initial W.

    Attributes:
        weight: Wᵀ, [l, d].
        query: q, [d].
    """

    def __init__(self, prefix_length: int, hidden_size: int, init_std: float = 0.02):
        super().__init__(prefix_length, hidden_size, "mean", init_std)
        self.query = nn.Parameter(torch.zeros(hidden_size))

    def pool(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What is read of each example: [b, n, d] -> [b, d]. Padding has no part in it; all padding gives 0."""
        states = hidden_states.to(self.query.dtype)
        if attention_mask is None:
            attention_mask = states.new_ones(states.shape[:2])
        padding = attention_mask.eq(0).unsqueeze(-1)  # [b, n, 1]
        # Filled, not multiplied: whatever stands under the padding, NaN included, must not come through.
        states = states.masked_fill(padding, 0.0)
        scores = states @ self.query.unsqueeze(-1) / math.sqrt(len(self.query))  # [b, n, 1]
        # The lowest number and not −∞, of which a sentence of nothing but padding would make NaN.
        shares = scores.masked_fill(padding, torch.finfo(scores.dtype).min).softmax(dim=1)
        return (shares * states).sum(dim=1)


def use_query_gates(model: nn.Module) -> nn.Module:
    """Put a `QueryGate` in the place of every token gate of an attached model; each keeps its W, the very parameter.

    It adds d trained parameters a layer. `record`, `removed` and `detach` work as before. `save_adapter` writes q too,
    and `load_adapter` then refuses: it would make the paper's gates.

    Args:
        model: attached with token gates that read "first_token" or "mean" (of "mean" it is the same function at first).

    Returns:
        The same model.

    Raises:
        ValueError: nothing is attached, or a prefix has another gate or none. Nothing has been changed then.
    """
    there = [prefix for prefix in prefixes(model) if prefix is not None]
    for gate in (prefix.token_gate for prefix in there):
        if type(gate) is not TokenGate or gate.gate_input == "none":
            found = "none" if gate is None else f"a {type(gate).__name__} with gate_input={gate.gate_input!r}"
            raise ValueError(
                f"a prefix's token gate is {found}; a query gate takes the place of a TokenGate that reads hidden "
                'states, by gate_input "first_token" or "mean"'
            )
    for prefix in there:
        assert prefix.token_gate is not None
        weight = prefix.token_gate.weight
        prefix.token_gate = QueryGate(*weight.shape).to(weight.device, weight.dtype).train(prefix.training)
        prefix.token_gate.weight = weight
    return model
