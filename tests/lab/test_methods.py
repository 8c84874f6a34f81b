"""Methods: what each one trains, and that all start from the same backbone and head."""

import pytest
import torch

from apt_minimal import prefixes
from apt_minimal.lab.baselines import METHODS, load_model, prepare

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


def test_the_same_holds_on_the_real_backbone(minilm, make_task, trained):
    task = make_task()
    lora, apt = (trained(prepare(load_model(task, minilm), method)) for method in ("lora", "apt"))
    assert count(lora, "lora_") == count(apt, ".key", ".value", ".token_gate") == 6 * 3 * 16 * 384
    assert count(apt, ".scale") == 6


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"full"}))
@pytest.mark.parametrize("kind", ["text", "choice"])
def test_the_pooler_trains_when_told_and_changes_nothing_else(method, kind, make_task, make_model, trained):
    task = make_task(kind)
    without, with_pooler = (trained(make_model(task, method, train_pooler=on)) for on in (False, True))
    more = {name.removeprefix("base_model.model.") for name in with_pooler.keys() - without.keys()}
    assert more == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert without.keys() <= with_pooler.keys()


@pytest.mark.parametrize("on", [False, True])
def test_full_trains_the_pooler_either_way(on, make_task, make_model, trained):
    assert "bert.pooler.dense.weight" in trained(make_model(make_task("text"), "full", train_pooler=on))


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"apt", "p_tuning_v2"}))
def test_a_method_without_prefix_starts_with_the_plain_models_logits(method, make_task, make_model, backbone, close):
    task = make_task("pair")
    torch.manual_seed(0)
    batch = task.collate(task.validation)
    expected = load_model(task, backbone).eval()(**batch).logits
    close(make_model(task, method).eval()(**batch).logits, expected)


def test_an_unknown_method_lists_those_there_are(make_task, make_model):
    with pytest.raises(
        ValueError, match="method is 'adapter'; it must be one of head_only, full, lora, p_tuning_v2, apt"
    ):
        make_model(make_task(), "adapter")
