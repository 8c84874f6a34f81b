"""Interrupted training goes on from its checkpoint as if nothing had happened, dropout and all."""

import copy

import pytest
import torch


@pytest.fixture
def checkpoints(monkeypatch):
    """Everything that is ever saved, in order."""
    saved, save = [], torch.save

    def wrapper(state, *args, **kwargs):
        saved.append(copy.deepcopy(state))
        return save(state, *args, **kwargs)

    monkeypatch.setattr(torch, "save", wrapper)
    return saved


# batches so far: three in training, then one in an evaluation, and so on
MOMENTS = {
    "first step": 0,
    "third step": 2,
    "first evaluation": 3,
    "step 4": 4,
    "step 6": 6,
    "step 12": 14,
}


@pytest.mark.parametrize(("moment", "error"), zip(MOMENTS, 3 * [KeyboardInterrupt, RuntimeError], strict=True))
def test_interrupted_training_ends_as_if_it_had_not_been(moment, error, fit, file, interrupt, same, checkpoints):
    expected = fit(file)
    last = checkpoints[-1]
    stop = interrupt(MOMENTS[moment], error)
    with pytest.raises(error):
        fit(file)
    stop.off()
    assert same(fit(file), expected)
    assert same(checkpoints[-1], last)  # weights, optimiser, learning rate and random state at the end


def test_training_may_be_interrupted_again_and_again(fit, file, interrupt, same):
    expected = fit()
    for batches in (5, 4, 5):
        stop = interrupt(batches)
        with pytest.raises(KeyboardInterrupt):
            fit(file)
        stop.off()
    assert same(fit(file), expected)


def test_what_is_done_is_not_done_again(fit, file, interrupt, make_task, make_model):
    stop = interrupt(9)  # after two evaluations and one more step
    with pytest.raises(KeyboardInterrupt):
        fit(file)
    stop.off()
    task, modes = make_task(), []
    model = make_model(task)
    model.register_forward_pre_hook(lambda model, _: modes.append(model.training))
    history, _ = fit(file, model)
    assert modes == [True, True, True, False] * 2
    assert (len(history["loss"]), history["steps"]) == (12, [3, 6, 9, 12])


def test_the_random_state_elsewhere_does_not_matter(fit, file, interrupt, same):
    expected = fit()
    stop = interrupt(6)
    with pytest.raises(KeyboardInterrupt):
        fit(file)
    stop.off()
    torch.manual_seed(12345)
    assert same(fit(file), expected)


def test_the_best_state_before_the_interruption_is_not_forgotten(fit, file, interrupt, scripted, same):
    scripted([9, 1, 1, 1])
    expected = fit()
    scripted([9, 1])
    stop = interrupt(9)
    with pytest.raises(KeyboardInterrupt):
        fit(file)
    stop.off()
    scripted([1, 1])
    assert same(fit(file), expected)
    assert expected[0]["best_step"] == 3


def test_an_interrupted_model_is_in_its_best_state_and_in_eval_mode(
    fit, make_task, make_model, interrupt, scripted, trained, same
):
    model = make_model(make_task())
    states = scripted([5, 3], look=lambda: trained(model))
    interrupt(10)
    with pytest.raises(KeyboardInterrupt):
        fit(model=model)
    assert same(trained(model), states[0])
    assert not model.training


@pytest.mark.parametrize("method", ["full", "head_only"])
def test_other_methods_go_on_too(method, fit, file, make_task, make_model, interrupt, same):
    expected = fit(model=make_model(make_task(), method))
    stop = interrupt(6)
    with pytest.raises(KeyboardInterrupt):
        fit(file, make_model(make_task(), method))
    stop.off()
    assert same(fit(file, make_model(make_task(), method, seed=5)), expected)


def test_no_checkpoint_is_written_without_a_file(fit, checkpoints):
    fit()
    assert checkpoints == []
