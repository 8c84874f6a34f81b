"""The training loop: what it trains, when it scores and stops, and in which state it leaves the model."""

import contextlib
from dataclasses import replace

import pytest
import torch
from made import with_prefix

from apt_minimal import AptConfig
from apt_minimal.lab.train import loop as training
from apt_minimal.lab.train.batches import predict
from apt_minimal.lab.train.loop import TrainConfig, train

QUICK = TrainConfig(learning_rate=1e-2, batch_size=8, max_steps=8, evaluations=8)


def fit(model, task, config=QUICK, **changes):
    return train(model, task, replace(config, **changes), progress=False)


@pytest.fixture
def steps(monkeypatch):
    """What the optimiser sees at each step: learning rate, weight decay and the gradients' norm."""
    seen, step = [], torch.optim.AdamW.step

    def wrapper(optimizer, *args, **kwargs):
        (group,) = optimizer.param_groups
        norm = torch.cat([p.grad.flatten() for p in group["params"] if p.grad is not None]).norm().item()
        seen.append({"rate": group["lr"], "decay": group["weight_decay"], "norm": norm})
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", wrapper)
    return seen


@pytest.mark.slow
def test_apt_memorises_a_task_of_any_kind(any_task, make_model):
    task = replace(any_task, train=any_task.train[:8], validation=any_task.train[:8])
    model = make_model(task, with_prefix(AptConfig(prefix_dropout=0.0)))
    for dropout in (module for module in model.modules() if isinstance(module, torch.nn.Dropout)):
        dropout.p = 0.0
    history = fit(model, task, learning_rate=3e-2, max_steps=50, evaluations=10, patience=5)
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert task.score(predict(model, task, task.train), task.train)[task.metric] == 1.0


def test_only_what_requires_gradients_changes(make_task, make_model):
    task = make_task()
    model = make_model(task, "apt")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, task, evaluations=1)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_same_seed_gives_the_same_history_and_parameters(make_task, make_model, trained, same):
    task, models = make_task(), [make_model(make_task()) for _ in range(2)]
    assert same(*(vars(fit(model, task)) for model in models))
    assert same(*map(trained, models))


def test_another_seed_gives_another_history(make_task, make_model):
    task = make_task()
    first, other = (fit(make_model(task), task, seed=seed) for seed in (1, 2))
    assert first.loss != other.loss


def test_the_seed_reaches_dropout(make_task, make_model):
    task = make_task(rows=[{"text": "red", "label": "x"}, {"text": "red", "label": "y"}])
    losses = [fit(make_model(task), task, seed=seed, max_steps=1, evaluations=1).loss for seed in (1, 2)]
    assert losses[0] != losses[1]  # one batch, the same for both seeds


def test_the_test_split_is_not_touched(make_task, make_model):
    task = replace(make_task(), test=None)
    assert len(fit(make_model(task), task).loss) == 8


@pytest.mark.parametrize("scores, best", [([1, 5, 5, 3], 4), ([5, 4, 3, 5], 2), ([1, 2, 3, 4], 8), ([0, 0, 0, 0], 2)])
def test_the_earliest_of_the_best_states_is_kept(scores, best, make_task, make_model, scripted, trained, same):
    task = make_task()
    model = make_model(task)
    states = scripted(scores, look=lambda: trained(model))
    history = fit(model, task, evaluations=4)
    assert (history.steps, history.scores, history.best_step) == ([2, 4, 6, 8], scores, best)
    assert [i for i, state in enumerate(states) if same(state, trained(model))] == [best // 2 - 1]


PATIENCE = [
    (1, [5, 4], [1, 2]),
    (1, [5, 5], [1, 2]),  # as good is no better
    (2, [5, 4, 3], [1, 2, 3]),
    (2, [5, 4, 6, 5, 6], [1, 2, 3, 4, 5]),
    (3, [1, 2, 1, 1, 3, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8]),
    (None, [8, 7, 6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7, 8]),
]


@pytest.mark.parametrize("patience, scores, steps", PATIENCE)
def test_training_stops_after_patience_evaluations_without_a_better_score(
    patience, scores, steps, make_task, make_model, scripted
):
    scripted(scores)
    history = fit(make_model(make_task()), make_task(), patience=patience)
    assert (history.steps, len(history.loss)) == (steps, steps[-1])


def test_the_score_that_chooses_is_the_tasks_metric(make_task, make_model, monkeypatch):
    task = make_task("text")
    monkeypatch.setattr(type(task), "score", lambda *_: {"macro_f1": 0.1, "accuracy": 0.7})
    assert set(fit(make_model(task), task).scores) == {0.7}


def test_the_development_set_is_scored(make_task, make_model):
    task = make_task("text")
    model = make_model(task)
    history = fit(model, task, evaluations=1)
    assert history.scores == [task.score(predict(model, task, task.validation), task.validation)["accuracy"]]


def test_training_steps_run_in_training_mode_and_the_model_ends_in_eval_mode(make_task, make_model):
    task, modes = make_task(), []
    model = make_model(task).eval()
    model.register_forward_pre_hook(lambda model, _: modes.append(model.training))
    fit(model, task, max_steps=3, evaluations=3)
    assert modes == [True, False] * 3
    assert not any(module.training for module in model.modules())


def test_the_learning_rate_rises_and_falls_to_the_last_step(steps, make_task, make_model):
    fit(make_model(make_task()), make_task(), learning_rate=0.4, warmup=0.5, weight_decay=0.03)
    assert [step["rate"] for step in steps] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.3, 0.2, 0.1])
    assert {step["decay"] for step in steps} == {0.03}


def test_gradients_are_scaled_down_to_the_highest_norm(steps, make_task, make_model):
    fit(make_model(make_task()), make_task(), max_grad_norm=0.01)
    assert [step["norm"] for step in steps] == pytest.approx([0.01] * 8, rel=1e-3)


def test_without_a_highest_norm_gradients_stay_as_they_are(steps, make_task, make_model):
    for norm in (1e9, None):
        fit(make_model(make_task()), make_task(), max_grad_norm=norm)
    assert steps[:8] == steps[8:] and max(step["norm"] for step in steps) > 0


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused_before_the_first_step(split, steps, make_task, make_model):
    task = replace(make_task(), **{split: []})
    with pytest.raises(ValueError, match=f"my_token has no {split} examples"):
        fit(make_model(make_task()), task)
    assert steps == []


def test_nothing_to_train_is_an_error(make_task, make_model):
    model = make_model(make_task()).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of this model requires gradients"):
        fit(model, make_task())


@pytest.mark.parametrize("progress", [True, False])
def test_the_progress_bar_can_be_turned_off(progress, make_task, make_model, capsys):
    train(make_model(make_task()), make_task(), QUICK, progress=progress)
    assert ("my_token: 100%" in capsys.readouterr().err) is progress


def test_on_a_cpu_forward_passes_stay_in_float32(make_task, make_model):
    task = make_task()
    with torch.no_grad():
        logits = training.forward(make_model(task), task.collate(task.test)).logits
    assert logits.dtype == torch.float32


# Losses that are no longer finite


def test_a_learning_rate_far_too_high_is_named_and_the_best_state_kept(make_task, make_model, trained, same):
    task = make_task()
    model = make_model(task)
    before = trained(model)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 2 of 8.*below 1e\+30.*after step 0"):
        fit(model, task, learning_rate=1e30, evaluations=1, warmup=0.0)
    assert same(trained(model), before)
    assert not model.training


def test_a_loss_that_breaks_later_leaves_the_best_state(make_task, make_model, scripted, trained, same):
    task = make_task()
    model = make_model(task)

    def look():
        state = trained(model)
        if len(states) == 2:  # at step 6: poison what is trained from now on
            next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))
        return state

    states = scripted([1, 2, 1, 1], look)
    with pytest.raises(FloatingPointError, match=r"step 7 of 8; try a learning rate below 0.01 .* after step 4\)"):
        fit(model, task, evaluations=4)
    assert same(trained(model), states[1])


@pytest.mark.parametrize("max_steps", [1, 8])
def test_gradients_that_are_not_finite_never_reach_the_state_that_is_kept(max_steps, make_task, make_model, trained):
    model = make_model(make_task())
    model.classifier.bias.register_hook(lambda gradient: gradient * float("nan"))
    with contextlib.suppress(FloatingPointError):
        fit(model, make_task(), max_steps=max_steps, evaluations=max_steps)
    assert all(tensor.isfinite().all() for tensor in trained(model).values())
