"""Cuts of a task: few-shot draws and the held-out tenth, from the training data alone and by seed."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from apt_minimal.lab.data.splits import apply_setting, few_shot, hold_out, num_shots

CUTS = {"few_shot": lambda task, seed: few_shot(task, 4, seed), "hold_out": hold_out}
SIZES = {"few_shot": (4, 4), "hold_out": (22, 2)}  # of 24 training examples


def ids(examples):
    """Which examples these are: the very objects, as rows may be equal."""
    return [id(example) for example in examples]


@pytest.fixture(params=CUTS)
def name(request):
    return request.param


def labelled(make_task, **counts):
    """A task whose training split has so many examples of each label."""
    task = make_task(rows=[{"text": label, "label": label} for label in counts])
    one = dict(zip(task.labels, task.train, strict=True))
    return replace(task, train=[replace(one[label]) for label, count in counts.items() for _ in range(count)])


def test_sizes_and_that_all_comes_from_the_training_data_once(name, any_task):
    cut = CUTS[name](any_task, 1)
    drawn = ids(cut.train) + ids(cut.validation)
    assert (len(cut.train), len(cut.validation)) == SIZES[name]
    assert len(set(drawn)) == len(drawn) and set(drawn) <= set(ids(any_task.train))


def test_held_out_and_kept_are_the_whole_training_data(any_task):
    cut = hold_out(any_task, 1)
    assert sorted(ids(cut.train) + ids(cut.validation)) == sorted(ids(any_task.train))


def test_the_development_split_is_whole_and_is_the_test(name, any_task):
    before = [ids(split) for split in (any_task.train, any_task.validation, any_task.test)]
    assert ids(CUTS[name](any_task, 1).test) == before[1]
    assert [ids(split) for split in (any_task.train, any_task.validation, any_task.test)] == before


def test_the_seed_decides_and_is_named(name, make_task):
    task = make_task("text")
    one, again, other = (CUTS[name](task, seed) for seed in (1, 1, 2))
    assert ids(one.train) == ids(again.train) and ids(one.validation) == ids(again.validation)
    assert set(ids(one.train)) != set(ids(other.train)) and set(ids(one.validation)) != set(ids(other.validation))
    assert one.source.startswith(task.source) and one.source.endswith("seed 1")


def test_a_rare_label_is_in_both_sets_of_every_draw(make_task):
    task = labelled(make_task, common=60, rare=3)
    for seed in range(50):
        cut = few_shot(task, 4, seed)
        assert {e.label for e in cut.train} == {e.label for e in cut.validation} == {0, 1}


def test_draws_are_not_stratified(make_task):
    task = labelled(make_task, common=90, rare=30)
    counts = Counter(Counter(e.label for e in few_shot(task, 16, seed).train)[1] for seed in range(300))
    mean = sum(count * times for count, times in counts.items()) / 300
    assert 3.6 < mean < 4.4 and len(counts) > 5  # 16 · 30 / 120 = 4, hypergeometric: sd 1.6


def test_every_example_is_equally_likely_to_be_held_out(make_task):
    task = make_task("text")
    held = Counter(i for seed in range(600) for i in ids(hold_out(task, seed).validation))
    assert len(held) == 24 and max(held.values()) < 85 and min(held.values()) > 25  # 50 each, sd 6.8


@pytest.mark.parametrize("k", [0, -1, 13])
def test_a_k_that_cannot_be_drawn_is_refused(k, make_task):
    with pytest.raises(ValueError, match=f"k is {k}; my_text has 24 training examples"):
        few_shot(make_task("text"), k, 0)


def test_a_k_too_small_for_the_labels_is_refused(make_task):
    with pytest.raises(ValueError, match="k is 2; in 1000 draws one of my_token's 3 labels was missing"):
        few_shot(replace(labelled(make_task, a=9, b=9, c=9), name="my_token"), 2, 0)


def test_too_few_to_hold_out(make_task):
    with pytest.raises(ValueError, match="9 training examples"):
        hold_out(labelled(make_task, a=5, b=4), 0)


def test_the_plain_setting_needs_a_test_split(make_task):
    with pytest.raises(ValueError, match='"plain" reports the test split, and my_token has none'):
        apply_setting(replace(make_task(), test=[]), "plain", 1)


# Who trains, who chooses, who counts


def rows(examples):
    return [json.dumps(example.row) for example in examples]


@pytest.mark.parametrize("kind", ["token", "pair"])
def test_with_full_data_a_tenth_chooses_and_development_and_test_count(kind, make_task):
    task = make_task(kind)
    trained, splits = apply_setting(task, "full", seed=1)
    assert sorted(rows(trained.train) + rows(trained.validation)) == sorted(rows(task.train))
    assert len(trained.validation) == 2 and splits["held_out"] == trained.validation
    assert (splits["dev"], splits["test"]) == (task.validation, task.test)


def test_with_few_shots_disjoint_examples_train_and_choose(make_task):
    task = make_task("pair")
    trained, splits = apply_setting(task, "8-shot", seed=1)
    assert len(trained.train) == len(trained.validation) == 8
    assert splits == {"held_out": trained.validation, "dev": task.validation}


def test_plainly_all_data_trains_and_development_chooses(make_task):
    task = make_task()
    assert apply_setting(task, "plain", seed=1) == (task, {"dev_best": task.validation, "test": task.test})


@pytest.mark.parametrize("setting", ["", "-shot", "0-shot", "few", "16", "1.5-shot"])
def test_a_setting_that_is_none_is_named(setting):
    with pytest.raises(ValueError, match=f"the setting is '{setting}'"):
        num_shots(setting)
