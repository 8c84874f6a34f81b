"""The plain encoder against transformers' BERT, part by part, and with prefixes against the reference."""

import pytest
import reference
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from apt_minimal import AdaptivePrefix, AptConfig, Encoder
from apt_minimal.gates import GATE_INPUTS


def mask_of(inputs):
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()[:, None, None]


@pytest.fixture
def pair(tiny, dtype):
    """transformers' BERT and the encoder with its weights."""
    bert = tiny(dtype=dtype, attn_implementation="eager")
    return bert, Encoder.from_bert(bert)


def test_embeddings(pair, inputs, close):
    bert, encoder = pair
    ids, types = inputs["input_ids"], inputs["token_type_ids"]
    close(encoder.embeddings(ids, types), bert.embeddings(input_ids=ids, token_type_ids=types))


def test_self_attention(pair, inputs, close):
    bert, encoder = pair
    hidden, mask = torch.randn(3, 9, 32, dtype=bert.dtype), mask_of(inputs)
    scores = None if mask is None else torch.zeros(mask.shape, dtype=bert.dtype).masked_fill(~mask, -1e30)
    ours, theirs = encoder.layers[0].attention, bert.encoder.layer[0].attention
    close(ours(hidden, mask), theirs.output.dense(theirs.self(hidden, attention_mask=scores)[0]))


@pytest.mark.parametrize("training", [False, True])
def test_the_fused_kernel_gives_the_same_numbers(training, tiny, inputs, dtype, close):
    bert = tiny(dtype=dtype, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0)
    explicit, fused = (Encoder.from_bert(bert, fused=fused).train(training) for fused in (False, True))
    modules = [AdaptivePrefix(AptConfig(5, prefix_dropout=0.0, init_std=0.5), 32).to(dtype) for _ in range(3)]
    close(fused(**inputs, prefixes=modules), explicit(**inputs, prefixes=modules), real_of=inputs)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_weights_are_dropped_in_training_only(fused, tiny, right_padded):
    encoder = Encoder.from_bert(tiny(attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0), fused=fused)
    plain = encoder(**right_padded)
    assert torch.equal(plain, encoder(**right_padded))
    encoder.train()
    assert not torch.allclose(encoder(**right_padded), plain)


def test_whole_layer(pair, close):
    bert, encoder = pair
    hidden = torch.randn(3, 9, 32, dtype=bert.dtype)
    theirs = bert.encoder.layer[1](hidden)
    close(encoder.layers[1](hidden), theirs[0] if isinstance(theirs, tuple) else theirs)


def every_layer(encoder, inputs):
    """Embeddings, then each layer's output."""
    states = [encoder.embeddings(inputs["input_ids"], inputs.get("token_type_ids"))]
    for layer in encoder.layers:
        states.append(layer(states[-1], mask_of(inputs)))
    return states


def test_every_layers_hidden_states_and_the_whole(pair, inputs, close):
    bert, encoder = pair
    theirs = bert(**inputs, output_hidden_states=True)
    for ours, layer in zip(every_layer(encoder, inputs), theirs.hidden_states, strict=True):
        close(ours, layer, real_of=inputs)
    close(encoder(**inputs), theirs.last_hidden_state, real_of=inputs)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_another_activation(activation, tiny, dtype, right_padded, close):
    bert = tiny(dtype=dtype, hidden_act=activation)
    encoder = Encoder.from_bert(bert)
    close(encoder(**right_padded), bert(**right_padded).last_hidden_state, real_of=right_padded)


@torch.no_grad()
def test_every_layer_on_a_real_pretrained_bert(minilm, dtype, close):
    bert = AutoModel.from_pretrained(minilm, attn_implementation="eager", dtype=dtype).eval()
    sentences = ["A prefix in every layer.", "The longer of the two sentences makes padding for the other one."]
    inputs = AutoTokenizer.from_pretrained(minilm)(sentences, padding=True, return_tensors="pt")
    encoder = Encoder.from_pretrained(minilm).to(dtype)
    theirs = bert(**inputs, output_hidden_states=True).hidden_states
    for ours, layer in zip(every_layer(encoder, inputs), theirs, strict=True):
        close(ours, layer, real_of=inputs)
    close(encoder(**inputs), theirs[-1], real_of=inputs)


def test_from_pretrained_is_in_eval_mode_and_reads_a_folder(tiny, tmp_path, right_padded, close):
    bert = tiny()
    bert.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(str(tmp_path))
    assert not any(module.training for module in encoder.modules())
    close(encoder(**right_padded), bert(**right_padded).last_hidden_state, real_of=right_padded)


def test_from_pretrained_refuses_what_is_no_bert(tiny, tmp_path):
    tiny(RobertaModel, config_class=RobertaConfig).save_pretrained(tmp_path)
    with pytest.raises((TypeError, ValueError), match="roberta"):
        Encoder.from_pretrained(str(tmp_path))


def test_a_bert_may_have_a_head(tiny, right_padded, close):
    model = tiny(BertForSequenceClassification)
    expected = model.bert(**right_padded).last_hidden_state
    close(Encoder.from_bert(model)(**right_padded), expected, real_of=right_padded)


def test_from_bert_names_a_model_of_another_kind():
    config = DistilBertConfig(vocab_size=9, dim=8, n_heads=2, n_layers=1, hidden_dim=8)
    with pytest.raises(TypeError, match="cannot take the weights of a distilbert"):
        Encoder.from_bert(DistilBertModel(config))


def test_dropout_is_active_in_training(pair):
    _, encoder = pair
    ids = torch.arange(1, 10)[None]
    attention = encoder.layers[0].attention.train()
    hidden = torch.randn(1, 9, 32, dtype=attention.query.weight.dtype)
    assert not torch.allclose(attention(hidden), attention(hidden))
    for part, x in ((encoder.embeddings, ids), (encoder.layers[0], hidden)):
        assert not torch.allclose(part.train()(x), part(x))


def test_without_token_types_all_are_of_type_0(pair):
    _, encoder = pair
    ids = torch.arange(1, 10)[None]
    assert torch.equal(encoder(ids), encoder(ids, token_type_ids=torch.zeros_like(ids)))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
def test_a_mask_may_be_of_any_dtype(kind, pair, left_padded):
    _, encoder = pair
    mask = left_padded.pop("attention_mask")
    assert torch.equal(
        encoder(**left_padded, attention_mask=mask.to(kind)), encoder(**left_padded, attention_mask=mask)
    )


def test_too_long_an_input_names_both_lengths(pair):
    _, encoder = pair
    assert encoder(torch.ones(1, 64, dtype=torch.long)).shape == (1, 64, 32)
    with pytest.raises(ValueError, match="65 tokens.*64 positions"):
        encoder(torch.ones(1, 65, dtype=torch.long))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_wrong_number_of_prefixes_is_an_error(count, pair):
    _, encoder = pair
    with pytest.raises(ValueError, match=f"{count} prefixes for 3 layers"):
        encoder(torch.ones(1, 4, dtype=torch.long), prefixes=[None] * count)


# With prefixes


def random_prefixes(dtype, lengths=(5, 5, 5), **changes):
    modules = []
    for length in lengths:
        config = AptConfig(length, init_std=0.7, prefix_dropout=0.0, **changes)
        modules.append(AdaptivePrefix(config, 32).to(dtype) if length else None)
        if length and config.layer_gate:
            modules[-1].layer_gate.scale.data.fill_(1.5 - length / 4)
    return modules


def check(pair, inputs, prefixes, gate_input, close):
    bert, encoder = pair
    mask = inputs.get("attention_mask")
    arrays = [x if x is None else x.numpy() for x in (inputs["input_ids"], mask, inputs["token_type_ids"])]
    weights = [prefix and reference.numbers(prefix) for prefix in prefixes]
    expected = reference.bert(reference.numbers(bert), bert.config, *arrays, weights, gate_input)
    close(encoder(**inputs, prefixes=prefixes), torch.tensor(expected.hidden[-1]), real_of=inputs)


@pytest.mark.parametrize("gate_input", GATE_INPUTS)
def test_prefixes_equal_the_reference(gate_input, pair, inputs, dtype, close):
    check(pair, inputs, random_prefixes(dtype, gate_input=gate_input), gate_input, close)


@pytest.mark.parametrize(("token_gate", "layer_gate"), [(True, False), (False, True), (False, False)])
def test_prefixes_without_gates_equal_the_reference(token_gate, layer_gate, pair, left_padded, dtype, close):
    prefixes = random_prefixes(dtype, token_gate=token_gate, layer_gate=layer_gate)
    check(pair, left_padded, prefixes, "first_token", close)


def test_a_layer_without_prefix_is_the_plain_layer(pair, left_padded, dtype, close):
    check(pair, left_padded, random_prefixes(dtype, (4, 0, 7)), "first_token", close)


def test_all_none_is_no_prefix(pair, left_padded):
    _, encoder = pair
    assert torch.equal(encoder(**left_padded, prefixes=[None] * 3), encoder(**left_padded))
