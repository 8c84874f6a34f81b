"""Every kind of host: the prefix is used, padding has no part in it, both attentions agree, and it comes out again."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, EsmConfig, EsmModel

from apt_minimal import AptConfig, attach, detach, prefixes, record, without_prefix
from apt_minimal.attach import attached_encoder
from apt_minimal.hosts import HOSTS, Host, self_attentions

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
SIZES |= {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
OWN = {
    "albert": {"embedding_size": 16, "num_hidden_groups": 2},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
    "eurobert": {"num_key_value_heads": 2, "head_dim": 8, "mask_token_id": 3},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "talking_head": True},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
    },
}


def host(kind, auto=AutoModelForSequenceClassification, dtype=torch.float64, seed=0, **changes):
    """A tiny random model of a kind, in eval mode, its weights large enough for every part to matter."""
    model = auto.from_config(AutoConfig.for_model(kind, **SIZES | OWN.get(kind, {}) | changes)).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def padded(side="right"):
    ids = torch.randint(4, 60, (3, 20), generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([20, 12, 5])[:, None]
    places = torch.arange(20)[None]
    mask = (places < lengths if side == "right" else places >= 20 - lengths).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


CONFIG = AptConfig(5, prefix_dropout=0.0, init_std=0.5)


@pytest.mark.parametrize("kind", HOSTS)
def test_every_prefix_and_gate_of_every_layer_takes_part(kind):
    model = host(kind)
    plain = model(**padded()).logits
    attach(model, CONFIG)
    logits = model(**padded()).logits
    assert not torch.allclose(logits, plain, atol=0.1)
    logits.square().sum().backward()
    grads = {name: p.grad for prefix in prefixes(model) for name, p in prefix.named_parameters()}
    assert len(prefixes(model)) == 3 and all(grad.abs().max() > 0 for grad in grads.values())


@pytest.mark.parametrize("kind", HOSTS)
def test_the_bare_backbone_comes_back_bit_by_bit(kind):
    model, inputs = host(kind), padded()
    plain = model(**inputs).logits
    attached = attach(model, CONFIG)(**inputs).logits
    with pytest.raises(KeyError), without_prefix(model):
        assert torch.equal(model(**inputs).logits, plain)
        raise KeyError
    assert torch.equal(model(**inputs).logits, attached)
    assert torch.equal(detach(model)(**inputs).logits, plain)
    assert all(p.requires_grad for p in model.parameters())


# These count positions by padding tokens; the others from the first place on, unless position_ids say otherwise.
COUNTS_BY_TOKENS = {kind for kind in HOSTS if "roberta" in kind} | {"camembert", "data2vec-text"}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", HOSTS)
def test_padding_changes_nothing(kind, side):
    model, inputs = attach(host(kind, AutoModel), CONFIG), padded(side)
    if side == "left" and kind not in COUNTS_BY_TOKENS:
        first = 2 if kind == "mpnet" else 0
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0) + first
    together = model(**inputs).last_hidden_state
    for i, n in enumerate((20, 12, 5)):
        part = slice(0, n) if side == "right" else slice(20 - n, 20)
        alone = model(input_ids=inputs["input_ids"][i : i + 1, part]).last_hidden_state
        assert torch.allclose(alone[0], together[i, part], atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind, entry in HOSTS.items() if not entry.written_out])
def test_eager_and_sdpa_agree_and_eager_tells_its_weights(kind):
    if not host(kind, AutoModel)._supports_sdpa:
        pytest.skip("this version of transformers has no sdpa for it")
    results, inputs = {}, padded()
    real = inputs["attention_mask"].bool()
    for implementation in ("eager", "sdpa"):
        model = attach(_with(host(kind, AutoModel), implementation), _seeded())
        found = model(**inputs, output_attentions=implementation == "eager")
        results[implementation] = found.last_hidden_state[real]
        if implementation == "eager":
            weights = [w[real.unsqueeze(1).expand(-1, w.shape[1], -1)] for w in found.attentions]
            assert all(w.shape[-1] == 25 and torch.allclose(w.sum(-1), torch.ones((), dtype=w.dtype)) for w in weights)
    assert torch.allclose(results["eager"], results["sdpa"], atol=1e-5)


def _with(model, implementation):
    model.set_attn_implementation(implementation)
    return model


def _seeded():
    torch.manual_seed(0)
    return CONFIG


@pytest.mark.parametrize("kind", HOSTS)
def test_the_recorded_gates_are_those_of_the_states_that_enter(kind):
    model, inputs = attach(host(kind, AutoModel), CONFIG), padded()
    with record(model) as seen:
        found = model(**inputs, output_hidden_states=True)
    real = inputs["attention_mask"].bool()[:, None].expand(-1, 4, -1)
    assert all(((mass > 0) & (mass < 1))[real].all() for mass in seen.mass)
    if kind in PRE_NORM:
        return
    for states, alpha, prefix in zip(found.hidden_states, seen.alpha, prefixes(model), strict=False):
        assert torch.allclose(alpha, (states[:, 0] @ prefix.token_gate.weight.T).sigmoid())


PRE_NORM = {"modernbert", "eurobert", "xlm-roberta-xl", "roberta-prelayernorm"}  # the gate reads the normalised states


@pytest.mark.parametrize("kind", ["mpnet", "deberta", "deberta-v2"])
def test_a_written_out_attention_without_prefix_tokens_is_the_hosts(kind):
    """All tokens of each prefix are removed, so that only the written-out attention is left."""
    plain = host(kind, AutoModel)
    expected = plain(**padded()).last_hidden_state
    model = attach(plain, CONFIG)
    for prefix in prefixes(model):
        prefix.register_forward_hook(lambda prefix, args, pair: (pair[0][:, :0], pair[1][:, :0]))
    real = padded()["attention_mask"].bool()
    assert torch.allclose(model(**padded()).last_hidden_state[real], expected[real], atol=1e-12)


def test_a_new_kind_of_host_is_one_entry(monkeypatch):
    config = EsmConfig(**SIZES, mask_token_id=3, position_embedding_type="rotary")
    model = EsmModel(config).double().eval()
    with pytest.raises(TypeError, match="esm.*cannot take prefixes; models of type bert"):
        attach(model, CONFIG)
    monkeypatch.setitem(HOSTS, "esm", Host("encoder.layer.{}.attention.self"))
    plain = model(**padded()).last_hidden_state
    attached = attach(model, CONFIG)(**padded()).last_hidden_state
    attached.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for prefix in prefixes(model) for p in prefix.parameters())
    assert torch.equal(detach(model)(**padded()).last_hidden_state, plain) and not torch.equal(attached, plain)


def test_an_attention_implementation_that_takes_no_prefix_is_refused():
    model = host("bert")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match='flash_attention_2.*set_attn_implementation\\("sdpa"\\)'):
        attach(model, CONFIG)


def test_the_page_of_hosts_has_a_row_for_every_kind_and_no_error_in_ours():
    page = (Path(__file__).parents[1] / "docs" / "hosts.md").read_text(encoding="utf-8")
    ours = page[: page.index("## peft")]
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in ours.splitlines() if line.startswith("| ")}
    rows.pop("", None)
    assert rows.keys() == HOSTS.keys()
    assert {cell.strip() for row in rows.values() for cell in row} == {"✓", "–"}


@pytest.mark.parametrize("kind", HOSTS)
def test_the_first_layer_meets_e4_with_an_attention_to_the_prefix_written_here(kind):
    """(1 − m) Attn(q; K, V) + m Attn(q; P_k, P_v), the last from the queries alone, at the host's own scale."""
    plain = {"talking_head": False} if kind == "deberta" else {}  # mixed heads are no interpolation
    model, inputs = attach(host(kind, AutoModel, **plain), CONFIG), padded()
    caught = []

    def catch(layer, args, kwargs):
        if kwargs["prefix"].layer == 0:
            kwargs["prefix"].output = lambda query, attended: caught.append((query, attended)) or attended

    self_attentions(attached_encoder(model))[0].register_forward_pre_hook(catch, with_kwargs=True)
    with record(model) as seen:
        model(**inputs)
    prefix = prefixes(model)[0]
    gate = prefix.layer_gate() * seen.alpha[0].unsqueeze(-1)
    gated_key, gated_value = gate * prefix.key, gate * prefix.value
    gone = prefix.register_forward_hook(lambda prefix, args, pair: (pair[0][:, :0], pair[1][:, :0]))
    model(**inputs)
    gone.remove()
    (query, whole), (_, without) = caught  # [b, h, n, d_h], [b, n, h, d_h]
    b, h, n, d_h = query.shape
    key, value = (x.reshape(b, 5, -1, d_h).transpose(1, 2) for x in (gated_key, gated_value))
    key, value = (x.repeat_interleave(h // x.shape[1], dim=1) for x in (key, value))
    scale = 3**-0.5 if kind in ("deberta", "deberta-v2") else 1.0  # two kinds of relative terms beside the content
    on_prefix = (query @ key.mT / d_h**0.5 * scale).softmax(dim=-1) @ value
    m = seen.mass[0].transpose(1, 2).unsqueeze(-1)
    expected = (1 - m) * without + m * on_prefix.transpose(1, 2)
    real = inputs["attention_mask"].bool()
    assert torch.allclose(whole[real], expected[real], atol=1e-6) and m[real].min() > 0
