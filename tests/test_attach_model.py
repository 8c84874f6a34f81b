"""What `attach` and `detach` do to a model, when they refuse, and whether the result lives like any other model."""

import copy

import pytest
import torch
from transformers import (
    BertForSequenceClassification,
    DynamicCache,
    EsmConfig,
    EsmModel,
    RobertaConfig,
    RobertaForTokenClassification,
    SplinterConfig,
    SplinterModel,
)
from transformers.models.bert.modeling_bert import BertSelfAttention

from apt_minimal import AdaptivePrefix, AptConfig, attach, detach, prefixes, record
from apt_minimal.attach import is_attached


def test_attach_freezes_the_backbone_with_its_pooler_and_nothing_else(attached):
    model = attached(BertForSequenceClassification)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    wanted = {"classifier.weight", "classifier.bias"}
    for i in range(3):
        parts = ("key", "value", "token_gate.weight", "layer_gate.scale")
        wanted |= {f"bert.encoder.layer.{i}.attention.self.prefix.{part}" for part in parts}
    assert trained == wanted


def test_the_number_of_trained_parameters(tiny):
    model = attach(tiny(BertForSequenceClassification, num_labels=2), AptConfig(16))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == 3 * 3 * 32 * 16 + 3 + (2 * 32 + 2)  # 3 · L · d · l + L, and the head


def test_attach_returns_the_model_it_was_given(tiny):
    model = tiny()
    assert attach(model, AptConfig(4)) is model and detach(model) is model


def test_prefixes_are_drawn_as_the_config_says(tiny):
    for prefix in prefixes(attach(tiny(), AptConfig(400, init_std=0.1))):
        for tensor in (prefix.key, prefix.value, prefix.token_gate.weight):
            assert abs(tensor.std().item() / 0.1 - 1) < 0.05
        assert prefix.layer_gate.scale.item() == 1


@pytest.mark.parametrize("training", [True, False])
def test_prefixes_take_over_dtype_and_mode(training, dtype, tiny):
    for prefix in prefixes(attach(tiny(dtype=dtype).train(training), AptConfig(4))):
        assert isinstance(prefix, AdaptivePrefix) and prefix.training is training
        assert {parameter.dtype for parameter in prefix.parameters()} == {dtype}


def test_prefixes_are_made_on_the_models_device(tiny):
    model = attach(tiny().to("meta"), AptConfig(4))  # the one device besides the CPU that every machine has
    assert {parameter.device.type for prefix in prefixes(model) for parameter in prefix.parameters()} == {"meta"}


def test_prefixes_in_a_bfloat16_model_are_float32_so_that_a_small_step_moves_the_layer_gate(tiny, right_padded):
    model = attach(tiny(dtype=torch.bfloat16), AptConfig(4))
    assert prefixes(model)[0].key.dtype == torch.float32
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    model(**right_padded).last_hidden_state.float().square().sum().backward()
    optimizer.step()
    assert all(prefix.layer_gate().item() != 1.0 for prefix in prefixes(model))


def test_prefixes_in_half_precision_when_asked_for(tiny, right_padded):
    model = attach(tiny(dtype=torch.bfloat16), AptConfig(4), dtype=torch.bfloat16)
    assert prefixes(model)[0].key.dtype == torch.bfloat16
    assert model(**right_padded).last_hidden_state.isfinite().all()


def test_lengths_of_zero_leave_the_plain_model(tiny, right_padded):
    model = tiny()
    before = model(**right_padded).last_hidden_state
    attach(model, AptConfig(0))
    assert prefixes(model) == [None] * 3 and torch.equal(model(**right_padded).last_hidden_state, before)


# detach


def test_detach_gives_back_logits_and_flags(tiny, right_padded, state):
    model = tiny(BertForSequenceClassification)
    model.bert.embeddings.requires_grad_(False)  # frozen before, so frozen after
    model.bert.pooler.dense.bias.requires_grad_(False)
    before, logits = state(model), model(**right_padded).logits
    attach(model, AptConfig(4, init_std=1.0))
    assert not torch.allclose(model(**right_padded).logits, logits)
    detach(model)
    assert torch.equal(model(**right_padded).logits, logits) and state.same(before, state(model))


def test_detach_and_attach_again(attached, tiny, right_padded):
    model = tiny()
    first = attached(model=model)(**right_padded).last_hidden_state
    again = attached(model=detach(model))(**right_padded).last_hidden_state
    assert torch.equal(first, again)


# Errors


def enter(context):
    with context:
        pass


@pytest.mark.parametrize("use", [detach, prefixes, lambda model: enter(record(model))])
def test_without_attach_there_is_nothing_to_use(use, tiny):
    with pytest.raises(ValueError, match="no prefixes attached"):
        use(tiny())
    with pytest.raises(ValueError, match="no prefixes attached"):
        use(detach(attach(tiny(), AptConfig(4))))


@pytest.mark.parametrize("length", [(4, 4), (4, 4, 4, 4)])
def test_lengths_that_do_not_fit_leave_the_model_alone(length, tiny, state):
    model = tiny()
    before = state(model)
    with pytest.raises(ValueError, match=f"{len(length)} layers.*3"):
        attach(model, AptConfig(length))
    assert state.same(before, state(model))


def test_attaching_twice_is_an_error_and_leaves_the_first(attached, state):
    model = attached()
    before = state(model)
    with pytest.raises(ValueError, match="already"):
        attach(model, AptConfig(4))
    assert state.same(before, state(model))


def esm(tiny):
    return EsmModel(
        EsmConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0)
    )


@pytest.mark.parametrize("make", [esm, lambda tiny: tiny(is_decoder=True)], ids=["ESM", "decoder"])
def test_another_build_is_a_type_error_and_left_alone(make, tiny, state):
    model = make(tiny)
    before = state(model)
    with pytest.raises(TypeError, match=type(model).__name__):
        attach(model, AptConfig(4))
    assert state.same(before, state(model)) and not is_attached(model)


def test_something_that_is_no_transformers_model_is_a_type_error():
    with pytest.raises(TypeError, match="Linear"):
        attach(torch.nn.Linear(2, 2), AptConfig(4))


def test_past_key_values_have_no_place_beside_a_prefix(attached, right_padded):
    del right_padded["attention_mask"]
    with pytest.raises(ValueError, match="past_key_values"):
        attached()(**right_padded, past_key_values=DynamicCache())


def test_a_mask_that_is_not_of_four_dimensions_is_refused(attached):
    attention = attached().encoder.layer[0].attention.self  # flash attention's masks are [b, n]
    with pytest.raises(ValueError, match=r"\[3, 9\].*attn_implementation"):
        attention(torch.randn(3, 9, 32), attention_mask=torch.ones(3, 9))


def test_a_mask_that_is_no_tensor_is_refused(attached):
    with pytest.raises(ValueError, match="attn_implementation"):
        attached().encoder.layer[0].attention.self(torch.randn(3, 9, 32), attention_mask=object())


def test_attaching_to_a_backbone_and_then_to_its_model_is_an_error(tiny):
    model = tiny(BertForSequenceClassification)
    attach(model.bert, AptConfig(4))
    with pytest.raises(ValueError, match="already"):
        attach(model, AptConfig(4))


def test_a_relative_whose_attention_takes_no_prefix_is_a_type_error():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = SplinterModel(SplinterConfig(**sizes))  # has BERT's module names, but its attention would ignore a cache
    with pytest.raises(TypeError, match="Splinter"):
        attach(model, AptConfig(4))
    assert all(parameter.requires_grad for parameter in model.parameters())


# Living with an attached model


def test_a_deep_copy_is_independent(attached, right_padded):
    model = attached()
    before, twin = model(**right_padded).last_hidden_state, copy.deepcopy(model)
    assert torch.equal(twin(**right_padded).last_hidden_state, before)
    with torch.no_grad():
        prefixes(twin)[1].value.add_(1)
    assert not torch.allclose(twin(**right_padded).last_hidden_state, before)
    detach(twin)
    assert torch.equal(model(**right_padded).last_hidden_state, before) and is_attached(model)
    detach(model)
    assert torch.equal(twin(**right_padded).last_hidden_state, model(**right_padded).last_hidden_state)


def test_a_head_with_another_backbone_name(attached, right_padded):
    model = attached(RobertaForTokenClassification, config_class=RobertaConfig, type_vocab_size=2, num_labels=5)
    assert model(**right_padded).logits.shape == (3, 9, 5)
    assert not any(p.requires_grad for n, p in model.roberta.named_parameters() if ".prefix." not in n)


class _Deaf(BertSelfAttention):
    """A self-attention of somebody's own, which takes any argument and no prefix."""

    def forward(self, hidden_states, *_, **__):
        return hidden_states, None


@pytest.mark.parametrize("padded", [True, False])
def test_an_attention_that_ignores_its_prefix_is_an_error_and_not_silence(tiny, right_padded, padded):
    model = tiny()
    for layer in model.encoder.layer:
        layer.attention.self = _Deaf(model.config)
    attach(model, AptConfig(4))
    if not padded:
        del right_padded["attention_mask"]
    with pytest.raises(RuntimeError, match="_Deaf ignored the prefix"):
        model(**right_padded)


def test_an_attention_that_takes_no_further_arguments_is_refused_at_once(tiny, state):
    class Strict(BertSelfAttention):
        def forward(self, hidden_states, attention_mask=None):
            return hidden_states, None

    model = tiny()
    model.encoder.layer[1].attention.self = Strict(model.config)
    before = state(model)
    with pytest.raises(TypeError, match="Strict.*no way to take a prefix"):
        attach(model, AptConfig(4))
    assert state.same(before, state(model))
