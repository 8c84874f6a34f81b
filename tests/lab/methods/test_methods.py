"""Methods: what each one trains, and that all start from the same backbone and head."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache

from apt_minimal import prefixes
from apt_minimal.lab.experiments.recordings import RESULTS
from apt_minimal.lab.experiments.records import RunRecord
from apt_minimal.lab.methods import (
    COLORS,
    LABELS,
    MARKERS,
    METHODS,
    TRAINED,
    UNTRAINED,
    load_model,
    method_named,
    method_recorded,
    prepare,
)

PEFT_WARNING = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def count(tensors, *parts):
    """Numbers in the tensors whose name holds one of these parts."""
    return sum(tensor.numel() for name, tensor in tensors.items() if any(part in name for part in parts))


def test_head_only_trains_the_head_only(any_task, make_model, trained):
    assert set(trained(make_model(any_task, "head_only"))) == {"classifier.weight", "classifier.bias"}


def test_full_trains_everything(any_task, make_model):
    assert all(parameter.requires_grad for parameter in make_model(any_task, "full").parameters())


@pytest.mark.parametrize("method", ["apt", "p_tuning_v2"])
def test_a_prefix_method_trains_prefix_gates_and_head(method, any_task, make_model, trained):
    parts = {"apt": (".key", ".value", ".token_gate.weight", ".layer_gate.scale"), "p_tuning_v2": (".key", ".value")}
    expected = [f"bert.encoder.layer.{i}.attention.self.prefix{part}" for i in range(3) for part in parts[method]]
    assert sorted(trained(make_model(any_task, method))) == sorted([*expected, "classifier.bias", "classifier.weight"])


def test_p_tuning_v2_is_apt_with_both_gates_off(make_task, make_model):
    for prefix, apt in zip(*(prefixes(make_model(make_task(), m)) for m in ("p_tuning_v2", "apt")), strict=True):
        assert prefix.token_gate is None and prefix.layer_gate is None
        assert prefix.key.shape == apt.key.shape == (16, 32)


def test_lora_trains_queries_values_and_the_head(any_task, make_model, trained):
    names = [name.split("base_model.model.")[1] for name in trained(make_model(any_task, "lora"))]
    places = [f"bert.encoder.layer.{i}.attention.self.{x}" for i in range(3) for x in ("query", "value")]
    expected = [f"{place}.lora_{side}.default.weight" for place in places for side in "AB"]
    head = ["classifier.modules_to_save.default.bias", "classifier.modules_to_save.default.weight"]
    assert sorted(names) == sorted(expected + head)


def test_lora_trains_as_much_as_apt_but_for_the_layer_gates(make_task, make_model, trained):
    task = make_task()
    lora, apt = (trained(make_model(task, method)) for method in ("lora", "apt"))
    assert count(lora, "lora_") == count(apt, ".key", ".value", ".token_gate") == 3 * 3 * 16 * 32
    assert count(lora, "") == count(apt, "") - 3


@pytest.mark.parametrize("length", [8, 16, 128])
def test_methods_are_sized_to_match_apt(length, make_task, make_model, trained):
    sizes = {}
    for name in ("apt", "p_tuning_v2_plus", "lora"):
        sizes[name] = count(trained(make_model(make_task(), method_named(name, length))), "")
    assert sizes["apt"] - 3 == sizes["p_tuning_v2_plus"] == sizes["lora"]


def test_every_length_can_be_matched_nearly():
    for length in range(1, 200):
        lora, plus = method_named("lora", length), method_named("p_tuning_v2_plus", length)
        assert abs(lora.options["lora_rank"] * 4 - 3 * length) <= 3
        assert abs(plus.config.prefix_length * 2 - 3 * length) <= 1


VARIANTS = {
    "apt_no_token_gate": (None, 1, "first_token"),
    "apt_no_layer_gate": ([16, 32], None, "first_token"),
    "apt_no_hidden_state": ([16], 1, "none"),
    "apt_mean_gate": ([16, 32], 1, "mean"),
}


@pytest.mark.parametrize("method", VARIANTS)
def test_an_ablation_takes_out_what_it_says(method, make_task, make_model):
    weight, scale, reads = VARIANTS[method]
    for prefix in prefixes(make_model(make_task(), method)):
        assert (prefix.token_gate and list(prefix.token_gate.weight.shape)) == weight
        assert (prefix.layer_gate and prefix.layer_gate.scale.item()) == scale
        assert prefix.token_gate is None or prefix.token_gate.gate_input == reads


@pytest.mark.parametrize("kind", ["token", "pair", "choice"])
def test_shifted_p_tuning_v2_is_past_key_values_with_the_hosts_own_positions(kind, make_task, backbone, close):
    task = make_task(kind)
    batch = task.collate(task.validation)
    plain = load_model(task, backbone).eval()
    shifted, unshifted = (
        prepare(copy.deepcopy(plain), method).eval() for method in ("p_tuning_v2_shifted", "p_tuning_v2")
    )
    ids = batch["input_ids"].flatten(0, -2)
    cache = DynamicCache()
    for layer, (prefix, other) in enumerate(zip(*map(prefixes, (shifted, unshifted)), strict=True)):
        with torch.no_grad():
            for parameter, same in ((prefix.key, other.key), (prefix.value, other.value)):
                parameter.mul_(30)
                same.copy_(parameter)
        pair = (
            p.detach().view(1, 16, 4, 8).transpose(1, 2).repeat(len(ids), 1, 1, 1) for p in (prefix.key, prefix.value)
        )
        cache.update(*pair, layer)
    mask = torch.cat([torch.ones(len(ids), 16, dtype=torch.long), batch["attention_mask"].flatten(0, -2)], dim=1)
    types = batch["token_type_ids"].flatten(0, -2)
    theirs = plain.bert(ids, attention_mask=mask, token_type_ids=types, past_key_values=cache)
    head = plain.classifier(theirs.last_hidden_state if kind == "token" else theirs.pooler_output)
    logits = shifted(**batch).logits
    real = batch["attention_mask"].bool() if kind == "token" else slice(None)
    close(logits[real], head.view(logits.shape)[real])
    assert not torch.allclose(unshifted(**batch).logits[real], logits[real], atol=1e-3)


def test_the_same_holds_on_the_real_backbone(minilm, make_task, trained):
    task = make_task()
    lora, apt = (trained(prepare(load_model(task, minilm), method)) for method in ("lora", "apt"))
    assert count(lora, "lora_") == count(apt, ".key", ".value", ".token_gate") == 6 * 3 * 16 * 384
    assert count(apt, ".scale") == 6


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_starts_from_the_same_backbone_and_head(method, make_task, make_model, backbone):
    task = make_task()
    torch.manual_seed(0)
    plain = load_model(task, backbone).state_dict()
    model = make_model(task, method)
    state = {name.removeprefix("base_model.model."): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in plain.items():
        for other in (".modules_to_save.default.", ".original_module.", ".base_layer.", "."):
            start, end = name.rsplit(".", 1)
            if start + other + end in state:
                assert torch.equal(state[start + other + end], tensor)
                break
        else:
            pytest.fail(f"{name} is nowhere to be found")


@pytest.mark.parametrize("method", ["full", "head_only", "lora"])
def test_a_method_without_prefix_starts_with_the_plain_models_logits(method, make_task, make_model, backbone, close):
    task = make_task("pair")
    torch.manual_seed(0)
    batch = task.collate(task.validation)
    expected = load_model(task, backbone).eval()(**batch).logits
    close(make_model(task, method).eval()(**batch).logits, expected)


def test_an_unknown_method_lists_those_there_are(make_task, make_model):
    with pytest.raises(ValueError, match="no such method: adapter; there are head_only, full, lora, .*apt_mean_gate"):
        make_model(make_task(), "adapter")


# Names with lengths, and what goes beyond the paper


def test_a_name_may_carry_prefix_lengths():
    assert method_named("apt", 8) == method_named("apt@8")
    assert method_named("apt@4", 8) == method_named("apt", 4)
    assert method_named("apt_upper@0-0-24").config.prefix_length == (0, 0, 24)
    assert method_named("apt_upper@0-0-24").settings["beyond"] == "cached"


WRONG_NAMES = {
    "no such method: majority; there are": "majority",
    "no such method: p_tuning_v2_star": "p_tuning_v2_star",
    "no such method: adapter@4": "adapter@4",
    "lora@4: lora has no prefix": "lora@4",
    "apt@: behind": "apt@",
    "apt@4-: behind": "apt@4-",
    "apt@-1: behind": "apt@-1",
    "apt@4.5: behind": "apt@4.5",
    "prefix_beside@0-8: prefix_beside takes one length": "prefix_beside@0-8",
    "p_tuning_v2_shifted takes one length": "p_tuning_v2_shifted@0-8",
}


@pytest.mark.parametrize("message", WRONG_NAMES)
def test_a_name_that_is_none_is_refused(message):
    with pytest.raises(ValueError, match=message):
        method_named(WRONG_NAMES[message])


BEYOND = {  # what each trains in a layer beside the head, l = 16 and d = 32
    "apt_mean_gate": 3 * 16 * 32 + 1,
    "apt_query_gate": 3 * 16 * 32 + 1 + 32,
    "apt_log_gate": 3 * 16 * 32 + 1,
    "prefix_beside": 2 * 16 * 32 + 1,
    "apt_pruned": 3 * 16 * 32 + 1 + 16,
    "apt_upper": 3 * 16 * 32 + 1,
}


@pytest.mark.parametrize("method", BEYOND)
def test_what_goes_beyond_the_paper_trains_what_it_says(method, make_task, make_model, trained):
    task = make_task()
    head = count(trained(make_model(task, "head_only")), "")
    assert count(trained(make_model(task, method)), "") == head + 3 * BEYOND[method]


def test_every_piece_beyond_the_paper_is_another_function_than_apt(make_task, make_model):
    """All but the two that are APT until training ends, or begins."""
    task, found = make_task(), {}
    batch = task.collate(task.validation)
    for method in ("apt", "apt_mean_gate", *BEYOND):
        model = make_model(task, method).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and "prune" not in name:
                    parameter.copy_(torch.linspace(-2, 2, parameter.numel()).view_as(parameter))
            found[method] = model(**batch).logits
    same_as = {a: [b for b in found if torch.allclose(found[a], found[b], atol=1e-4)] for a in found}
    assert (
        same_as.pop("apt")
        == same_as.pop("apt_pruned")
        == same_as.pop("apt_upper")
        == ["apt", "apt_pruned", "apt_upper"]
    )
    assert same_as == {method: [method] for method in same_as}


def test_every_method_has_a_label_a_colour_and_a_marker_of_its_own():
    assert [len(set(looks.values())) for looks in (LABELS, COLORS, MARKERS)] == [len(METHODS)] * 3


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/*.jsonl")), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_table_gives_every_recorded_run_the_key_that_its_predictions_carry(file):
    for text in file.read_text().splitlines():
        record = RunRecord.from_json(json.loads(text))
        assert record.to_json() == json.loads(text)
        spec = record.spec
        if spec.method not in UNTRAINED:
            spec = replace(spec, settings=method_recorded(spec.method, spec.settings).settings)
        assert record.predictions == f"{file.stem}/{spec.method}-{spec.key}.json.gz"


@pytest.mark.parametrize("name", [*TRAINED, "apt@4", "apt_upper@0-8-16", "lora"])
def test_a_method_comes_back_from_what_a_run_records_of_it(name):
    method = method_named(name, 32)
    assert method_recorded(name, json.loads(json.dumps(method.settings))) == method
