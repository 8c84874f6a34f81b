"""Training an attached model: what learns, what stays, and under which of the usual conditions."""

import copy

import pytest
import torch
from transformers import (
    BertForMultipleChoice,
    BertForSequenceClassification,
    BertForTokenClassification,
    Trainer,
    TrainingArguments,
)

from apt_minimal import AptConfig, attach, prefixes

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
HEADS = [BertForSequenceClassification, BertForTokenClassification, BertForMultipleChoice]


def with_labels(cls, inputs):
    """A batch for a model with this head."""
    if cls is BertForMultipleChoice:
        return {name: x.unsqueeze(1).repeat(1, 2, 1) for name, x in inputs.items()} | {
            "input_ids": torch.stack([inputs["input_ids"], inputs["input_ids"].flip(0)], dim=1),
            "labels": torch.tensor([0, 1, 1]),
        }
    labels = inputs["input_ids"] % 2
    return inputs | {"labels": labels if cls is BertForTokenClassification else torch.tensor([0, 1, 1])}


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def fit(model, inputs, steps=15):
    """Train with AdamW; return the first and the last loss."""
    optimiser = torch.optim.AdamW(trained(model).values(), lr=2e-2)
    losses = []
    for _ in range(steps):
        loss = model(**inputs).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses[0], losses[-1]


@pytest.mark.parametrize("cls", HEADS)
def test_the_loss_falls(cls, tiny, right_padded):
    model = attach(tiny(cls, **NO_DROPOUT).train(), AptConfig(8, prefix_dropout=0.0))
    first, last = fit(model, with_labels(cls, right_padded))
    assert last < 0.6 * first


@pytest.mark.parametrize("cls", HEADS)
def test_every_trained_tensor_gets_a_gradient_and_nothing_else_does(cls, tiny, right_padded):
    model = attach(tiny(cls).train(), AptConfig(8))
    model(**with_labels(cls, right_padded)).loss.backward()
    for name, parameter in model.named_parameters():
        # a multiple-choice head has one bias for all choices, which the softmax takes out again
        if parameter.requires_grad and (cls, name) != (BertForMultipleChoice, "classifier.bias"):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        elif not parameter.requires_grad:
            assert parameter.grad is None, name


def test_training_changes_prefixes_gates_and_head_and_not_one_bit_of_the_backbone(tiny, right_padded):
    model = attach(tiny(BertForSequenceClassification).train(), AptConfig(8))
    names = trained(model).keys()
    before = copy.deepcopy(model.state_dict())
    fit(model, with_labels(BertForSequenceClassification, right_padded), steps=3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) is (name not in names), name


def gradients(model, inputs):
    loss = model(**inputs).loss
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in trained(model).items()}


def same_gradients(one, other, close, within=None):
    close(one[0], other[0].detach(), within)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        close(gradient, other[1][name], within)


def test_eager_and_sdpa_agree_in_outputs_and_gradients(attached, dtype, left_padded, close):
    inputs = with_labels(BertForTokenClassification, left_padded)
    models = [attached(BertForTokenClassification, dtype, attn_implementation=i) for i in ("eager", "sdpa")]
    within = {torch.float32: 1e-4, torch.float64: 1e-11}[dtype]  # gradients here are of the order of 10
    same_gradients(*(gradients(model, inputs) for model in models), close, within)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")  # its heir is too new to rely on
@pytest.mark.parametrize("options", [None, {"use_reentrant": False}, {"use_reentrant": True}])
@pytest.mark.parametrize("masked", [True, False])
def test_gradient_checkpointing_changes_nothing(options, masked, attached, right_padded, close):
    inputs = with_labels(BertForSequenceClassification, right_padded)
    if not masked:
        del inputs["attention_mask"]
    plain, thrifty = (attached(BertForSequenceClassification, torch.float64, **NO_DROPOUT).train() for _ in range(2))
    thrifty.gradient_checkpointing_enable(options)
    if options and options["use_reentrant"]:
        thrifty.enable_input_require_grads()  # torch's reentrant kind needs it below the first trained layer
    calls = []
    prefixes(thrifty)[1].register_forward_hook(lambda *_: calls.append(1))
    same_gradients(gradients(thrifty, inputs), gradients(plain, inputs), close)
    assert len(calls) == 2  # it did checkpoint: the layer ran again in the backward pass


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_autocast_to_bfloat16_stays_near(implementation, tiny, right_padded):
    model = tiny(BertForSequenceClassification, attn_implementation=implementation)
    attach(model, AptConfig(8, init_std=0.3))
    wanted = model(**right_padded).logits
    with torch.autocast("cpu", torch.bfloat16):
        actual = model(**right_padded).logits
    assert actual.dtype == torch.bfloat16
    assert 0 < (actual.float() - wanted).abs().max() < 0.1 * wanted.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**with_labels(BertForSequenceClassification, right_padded)).loss
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in trained(model).values())


def test_prefix_dropout_is_active_in_training_and_off_in_eval(tiny, right_padded):
    model = attach(tiny(BertForSequenceClassification, **NO_DROPOUT), AptConfig(8, init_std=1.0, prefix_dropout=0.5))
    logits = [model.train()(**right_padded).logits for _ in range(2)] + [
        model.eval()(**right_padded).logits for _ in range(2)
    ]
    assert not torch.allclose(logits[0], logits[1]) and torch.equal(logits[2], logits[3])


def test_the_dropout_of_the_frozen_backbone_is_on_in_training(tiny, right_padded):
    model = attach(tiny(BertForSequenceClassification), AptConfig(8, prefix_dropout=0.0)).train()
    assert not torch.allclose(model(**right_padded).logits, model(**right_padded).logits)


def test_transformers_trainer_trains_an_attached_model(tiny, right_padded, tmp_path):
    model = attach(tiny(BertForSequenceClassification, **NO_DROPOUT), AptConfig(8, prefix_dropout=0.0))
    backbone = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    inputs = with_labels(BertForSequenceClassification, right_padded)
    rows = [{name: tensor[i] for name, tensor in inputs.items()} for i in range(3)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=12,
        per_device_train_batch_size=3,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.6 * losses[0]
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in backbone.items())
