"""APT inside transformers' models: the same numbers as the reference, and nothing else changed."""

import copy

import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
)

from apt_minimal import AptConfig, Encoder, attach, prefixes, record
from apt_minimal.gates import GATE_INPUTS

IMPLEMENTATIONS = ["eager", "sdpa"]


def agrees(model, inputs, expected, close, gate_input="first_token"):
    close(model(**inputs).last_hidden_state, expected(model, inputs, gate_input).hidden[-1], real_of=inputs)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("gate_input", GATE_INPUTS)
def test_an_attached_bert_equals_the_reference(gate_input, implementation, inputs, dtype, attached, expected, close):
    apt = AptConfig(5, gate_input=gate_input, prefix_dropout=0.0)
    model = attached(dtype=dtype, apt=apt, attn_implementation=implementation)
    agrees(model, inputs, expected, close, gate_input)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("token_gate", "layer_gate"), [(True, False), (False, True), (False, False)])
def test_without_gates_it_equals_the_reference(
    token_gate, layer_gate, implementation, dtype, attached, right_padded, expected, close
):
    apt = AptConfig(5, token_gate=token_gate, layer_gate=layer_gate, prefix_dropout=0.0)
    agrees(attached(dtype=dtype, apt=apt, attn_implementation=implementation), right_padded, expected, close)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_length_per_layer_equals_the_reference(implementation, dtype, attached, left_padded, expected, close):
    model = attached(dtype=dtype, apt=AptConfig((4, 0, 7), prefix_dropout=0.0), attn_implementation=implementation)
    assert [prefix and len(prefix.key) for prefix in prefixes(model)] == [4, None, 7]
    agrees(model, left_padded, expected, close)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU found")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_on_a_gpu_it_equals_the_reference(implementation, attached, left_padded, expected, close):
    model = attached(dtype=torch.float64, attn_implementation=implementation)
    on_gpu = copy.deepcopy(model).cuda()
    actual = on_gpu(**{name: tensor.cuda() for name, tensor in left_padded.items()}).last_hidden_state.cpu()
    close(actual, expected(model, left_padded).hidden[-1], within=1e-10, real_of=left_padded)


@torch.no_grad()
def test_a_real_pretrained_bert_equals_the_encoder_with_the_same_prefixes(minilm, close):
    model = attach(AutoModel.from_pretrained(minilm), AptConfig(16, init_std=0.5)).eval()
    inputs = AutoTokenizer.from_pretrained(minilm)(
        ["One.", "Two, and some padding."], padding=True, return_tensors="pt"
    )
    ours = Encoder.from_pretrained(minilm)(**inputs, prefixes=prefixes(model))
    close(ours, model(**inputs).last_hidden_state, real_of=inputs)


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_mask_may_be_of_any_dtype(implementation, kind, attached, left_padded):
    model = attached(attn_implementation=implementation)
    mask = left_padded.pop("attention_mask")
    whole, other = (model(**left_padded, attention_mask=m).last_hidden_state for m in (mask, mask.to(kind)))
    assert torch.equal(whole, other)


@pytest.mark.parametrize("part", ["key", "value", "token_gate.weight", "layer_gate.scale"])
@pytest.mark.parametrize("layer", [0, 2])
def test_every_part_of_a_prefix_moves_the_logits(layer, part, attached, right_padded):
    model = attached(BertForSequenceClassification)
    before = model(**right_padded).logits
    with torch.no_grad():
        prefixes(model)[layer].get_parameter(part).mul_(-1)
    # all of them, so a gate that is applied to a part of the batch only is noticed as well
    assert (model(**right_padded).logits - before).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("family", [(RobertaConfig, RobertaModel), (ElectraConfig, ElectraModel)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_relatives_of_bert_use_their_prefixes_as_the_reference_does(
    family, implementation, attached, right_padded, expected, close, monkeypatch
):
    config_class, cls = family
    changes = {"type_vocab_size": 2, "attn_implementation": implementation}
    changes |= {"embedding_size": 32} if cls is ElectraModel else {}
    model = attached(cls, config_class=config_class, **changes)
    # what these families embed differently is no matter of prefixes: the reference starts from their embeddings
    states = model(**right_padded, output_hidden_states=True).hidden_states
    monkeypatch.setattr("reference.embeddings", lambda *_: states[0].detach().double().numpy())
    close(states[-1], expected(model, right_padded).hidden[-1], real_of=right_padded)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_output_attentions_have_the_prefix_in_front(implementation, attached, right_padded, close):
    model = attached(attn_implementation=implementation)
    if implementation == "sdpa":
        model.set_attn_implementation("eager")  # switched after attach, as readers do
    with record(model) as seen:
        weights = model(**right_padded, output_attentions=True).attentions
    for layer, mass in zip(weights, seen.mass, strict=True):
        assert layer.shape == (3, 4, 9, 5 + 9)
        close(layer[..., :5].sum(dim=-1), mass)


def test_no_position_is_lost_to_the_prefix(attached, expected, close):
    inputs = {"input_ids": torch.randint(1, 60, (1, 64))}  # as many tokens as positions
    agrees(attached(), inputs, expected, close)


def test_a_real_bert_keeps_its_512_positions(minilm):
    model = attach(AutoModel.from_pretrained(minilm), AptConfig(16)).eval()
    with torch.no_grad():
        assert model(torch.randint(1000, 2000, (1, 512))).last_hidden_state.isfinite().all()
