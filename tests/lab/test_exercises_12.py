"""Lesson 12's checkers pass right answers in different styles, and name the usual mistakes."""

import math

import answers_12 as answers
import pytest
import torch

from apt_minimal.course import lesson_12 as exercises


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        pytest.param(check, answer, id=f"{check.__name__}-{name}")
        for check, right, _ in answers.CHECKS
        for name, answer in right.items()
    ],
)
def test_right_answers_pass(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out == "✓ right\n"


def scaled(query, key, value, prefix_key, prefix_value, alpha, mask):
    gate = alpha[:, None, :, None]
    ones = torch.ones_like(alpha)
    return answers.by_fused_kernel(query, key, value, gate * prefix_key, gate * prefix_value, ones, mask)


def without_mask(query, key, value, prefix_key, prefix_value, alpha, mask):
    return answers.by_fused_kernel(query, key, value, prefix_key, prefix_value, alpha, torch.ones_like(mask))


def both_slips(query, key, value, prefix_key, prefix_value, alpha, mask):
    return without_mask(query, key, value, prefix_key, prefix_value, alpha.exp(), mask)


def after_the_softmax(query, key, value, prefix_key, prefix_value, alpha, mask):
    scores = torch.cat([query @ prefix_key.mT, (query @ key.mT).masked_fill(~mask[:, None, None], -math.inf)], -1)
    weights = (scores / math.sqrt(query.shape[-1])).softmax(-1)
    weights[..., : alpha.shape[1]] *= alpha[:, None, None]
    return weights @ torch.cat([prefix_value, value], dim=2)


def no_padded_queries(*given):
    return answers.gated()(*given) * given[-1][:, None, :, None]


def symmetric(location, low, high, beta):
    shut = 1 - (location - beta * math.log(-low / high)).sigmoid()
    full = (location + beta * math.log(-low / high)).sigmoid()
    return shut, 1 - shut - full, full


def first_is_open(location, low, high, beta):
    shut, between, full = answers.by_tanh(location, low, high, beta)
    return 1 - shut, between, full


def own_choice(scores):
    return scores.mean(1).max(), scores.max(dim=0).values.mean()


def one_choice(scores):
    return scores.mean(1).max(), scores[scores.mean(1).argmax()].mean()


def whole_pass_again(L, k, l, d, E):
    return k * (3 * l * d + 1), (L + k) * E, (L - k) * E + 2 * k * E


def one_weight_a_token(L, k, l, d, E):
    return k * (2 * l * d + l + 1), (L + k) * E, L - k + 2 * k * E


def no_scale_all_layers(L, k, l, d, E):
    return L * 3 * l * d, (L + k) * E, L - k + 2 * k * E


@pytest.mark.parametrize(
    ("check", "answer", "named"),
    [
        (exercises.check_log_gated_attention, scaled, "as E3 does: at α = 0 the token keeps mass"),
        (exercises.check_log_gated_attention, without_mask, "masked words still get weight"),
        (exercises.check_log_gated_attention, both_slips, "α itself is added; log α"),
        (exercises.check_log_gated_attention, both_slips, "masked words still get weight"),
        (exercises.check_log_gated_attention, after_the_softmax, "(or the weights after the softmax)"),
        (exercises.check_log_gated_attention, answers.gated(root=0.0), "not divided by √d_h"),
        (exercises.check_log_gated_attention, answers.gated(pair=lambda a: a), "keys and values stay whole"),
        (exercises.check_log_gated_attention, answers.gated(add=lambda a: 0 * a), "add its logarithm to those"),
        (exercises.check_log_gated_attention, no_padded_queries, "padding attend like the others"),
        (exercises.check_chances, symmetric, "only where high − 1 = −low"),
        (exercises.check_chances, first_is_open, "yours is P(z ≠ 0)"),
        (exercises.check_chances, answers.WRONG_12_2["no_beta"][1], "β is left out"),
        (exercises.check_chances, answers.WRONG_12_2["fixed"][1], "are arguments, not −0.1"),
        (exercises.check_chances, answers.WRONG_12_2["inclusive"][1], "yours is P(z > 0)"),
        (exercises.check_chances, lambda *x: tuple(p.flatten() for p in answers.by_tanh(*x)), "location's shape"),
        (exercises.check_upper_cost, whole_pass_again, "the lower layers run once"),
        (exercises.check_upper_cost, no_scale_all_layers, "each layer has a λ; only k layers have prefixes"),
        (exercises.check_upper_cost, answers.WRONG_12_3["swapped"][1], "the order: first without"),
        (exercises.check_upper_cost, answers.WRONG_12_3["full_back"][1], "the gradient stops there"),
        (exercises.check_upper_cost, answers.WRONG_12_3["one_scale"][1], "a λ of its own"),
        (exercises.check_upper_cost, one_weight_a_token, "W of the gate has l · d numbers"),
        (exercises.check_winner, own_choice, "each seed chooses for itself"),
        (exercises.check_winner, one_choice, "the left-out seed has had a say"),
        (exercises.check_winner, lambda scores: answers.RIGHT_12_4["picked"](scores.T), "the other way round"),
        (exercises.check_winner, answers.WRONG_12_4["last"][1], "of equals the first"),
        (exercises.check_winner, answers.WRONG_12_4["swapped"][1], "the order: first the mean"),
        (exercises.check_winner, answers.WRONG_12_4["judged_by_others"][1], "the seeds that chose also judge"),
    ],
)
def test_mistakes_are_named(check, answer, named, capsys):
    assert not check(answer)
    said = capsys.readouterr().out
    assert said.startswith("✗ ") and named in said


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (exercises.check_log_gated_attention, lambda q, *_: q, "no word is masked"),
        (exercises.check_chances, lambda a, *_: (a, a, a), "0.03 and 1 with 0.60"),
        (exercises.check_upper_cost, lambda *_: (1, 2, 3), "80 and 44 passes"),
        (exercises.check_winner, lambda s: (s.sum(), s.sum()), "each seed's choice is made by the other seed"),
    ],
)
def test_other_mistakes_get_a_hint(check, answer, hint, capsys):
    assert not check(answer)
    assert hint in capsys.readouterr().out


@pytest.mark.parametrize("check", [check for check, _, _ in answers.CHECKS])
def test_unsolved_exercises_say_so(check, capsys):
    def unsolved(*_):
        raise NotImplementedError

    assert not check(unsolved)
    assert capsys.readouterr().out == "… not solved yet\n"
