"""Methods that are a configuration of the library: what each of them is, by hand."""

import math

import pytest
import tiny
import torch
import tuned

from itlib.dense import dense
from itlib.methods import method_of

TAKEN_OUT = ("corda", "olora", "pissa")


def layer(model, name="self_attn.q_proj", block=0):
    return model.get_submodule(f"base_model.model.model.layers.{block}.{name}")


@pytest.mark.parametrize(("name", "most"), [
    ("lora", 1), ("rslora", 1), ("eva", 1), ("pissa", 2), ("olora", 2), ("corda", 2),
])  # fmt: skip
def test_the_change_has_a_low_rank(name, most):
    """Where the start takes out a part of the base, what is put back has a second set of directions."""
    for rank in (1, 3):
        change = tuned.changes(tuned.tuned(tuned.spec(name, rank=rank)))
        found = {int(torch.linalg.matrix_rank(matrix.double(), atol=1e-5)) for matrix in change.values()}
        assert rank <= max(found) <= most * rank and min(found) >= 1


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_rank_stabilised_scale_is_alpha_over_the_root_of_the_rank(rank):
    stabilised = tuned.attached(tuned.spec("rslora", rank=rank, alpha=6.0))
    assert layer(stabilised).scaling["default"] == pytest.approx(6.0 / math.sqrt(rank))
    assert layer(tuned.attached(tuned.spec("lora", rank=rank, alpha=6.0))).scaling["default"] == 6.0 / rank


def test_rank_stabilised_adapters_are_adapters_of_another_alpha():
    stabilised = tuned.tuned(tuned.spec("rslora", rank=4, alpha=6.0))
    plain = tuned.tuned(tuned.spec("lora", rank=4, alpha=12.0))
    assert tuned.apart(tuned.weights(stabilised), tuned.weights(plain)) == 0.0
    other = tuned.tuned(tuned.spec("lora", rank=4, alpha=6.0))
    assert tuned.apart(tuned.weights(stabilised), tuned.weights(other)) > 1e-3


def test_lengths_and_directions_are_apart():
    """Each row of a tuned matrix has the trained length, and the direction of base plus low-rank change."""
    tuning = tuned.spec("dora")
    model = tuned.trained(tuned.attached(tuning), tuning)
    part = layer(model)
    lengths = part.lora_magnitude_vector["default"].weight.detach().clone()
    raw = (part.base_layer.weight + 2.0 * part.lora_B["default"].weight @ part.lora_A["default"].weight).detach()
    start = tiny.llama().model.layers[0].self_attn.q_proj.weight.norm(dim=1)
    matrix = dense(model).model.layers[0].self_attn.q_proj.weight
    assert torch.allclose(matrix.norm(dim=1), lengths, atol=1e-5) and (lengths - start).abs().max() > 1e-3
    assert torch.allclose(matrix, raw / raw.norm(dim=1, keepdim=True) * lengths[:, None], atol=1e-5)


def test_the_first_directions_are_those_of_the_singular_values():
    """PiSSA: what is taken out of the base is its best approximation of that rank."""
    part = layer(tuned.attached(tuned.spec("pissa", rank=3)))
    left, values, right = torch.linalg.svd(tiny.llama().model.layers[0].self_attn.q_proj.weight)
    wanted = left[:, :3] @ torch.diag(values[:3]) @ right[:3]
    assert torch.allclose(part.get_delta_weight("default"), wanted, atol=1e-5)
    assert torch.allclose(part.base_layer.weight, left[:, 3:] @ torch.diag(values[3:]) @ right[3:], atol=1e-5)


def test_the_outer_factor_starts_orthonormal():
    """OLoRA: the first columns of Q of the base's own QR decomposition, and the rows of R that belong to them."""
    part = layer(tuned.attached(tuned.spec("olora", rank=3, alpha=3.0)))
    outer, inner = part.lora_B["default"].weight, part.lora_A["default"].weight
    q, r = torch.linalg.qr(tiny.llama().model.layers[0].self_attn.q_proj.weight)
    assert torch.allclose(outer.T @ outer, torch.eye(3), atol=1e-5)
    assert torch.allclose(outer @ inner, q[:, :3] @ r[:3], atol=1e-5)


@pytest.mark.parametrize("name", TAKEN_OUT)
def test_switching_such_an_adapter_off_does_not_give_the_base(name):
    """A trap: its start took a part of the base away, so that what is left is no reference."""
    tuning = tuned.spec(name)
    model = tuned.attached(tuning)
    base = tuned.logits(tiny.llama())
    with model.disable_adapter():
        assert (tuned.logits(model) - base).abs().max() > 0.1
    assert (tuned.logits(model) - base).abs().max() < 1e-4
    plain = tuned.tuned(tuning)
    assert tuned.moved(tuned.weights(tiny.llama()), tuned.weights(plain)) == set(tuned.changes(plain))


@pytest.mark.parametrize("name", ["dora", "eva", "ia3", "lora", "norms", "rslora", "vera"])
def test_switching_any_other_adapter_off_gives_the_base(name):
    tuning = tuned.spec(name)
    model = tuned.trained(tuned.attached(tuning), tuning)
    with model.disable_adapter():
        assert (tuned.logits(model) - tuned.logits(tiny.llama())).abs().max() < 1e-5
    assert (tuned.logits(model) - tuned.logits(tiny.llama())).abs().max() > 1e-3


def test_rows_and_columns_are_rescaled():
    """IA3: rows of keys and values, columns of the feed-forward output, each times one number."""
    plain, base = tuned.tuned(tuned.spec("ia3")), tiny.llama()
    for part, dim in (("self_attn.k_proj", 1), ("self_attn.v_proj", 1), ("mlp.down_proj", 0)):
        name = f"model.layers.1.{part}.weight"
        ratio = plain.state_dict()[name] / base.state_dict()[name]
        usual = ratio.median(dim=dim, keepdim=True).values
        assert torch.allclose(ratio, usual.expand_as(ratio), rtol=1e-4) and (usual - 1).abs().max() > 1e-2


def test_random_matrices_are_shared_and_held():
    """VeRA: one pair of them for all layers, cut to size; trained are two vectors of each."""
    tuning = tuned.spec("vera", rank=3)
    model = tuned.trained(tuned.attached(tuning), tuning)
    parts = [layer(model, name, block) for name in ("self_attn.q_proj", "mlp.down_proj") for block in (0, 1)]
    assert len({part.vera_A["default"].data_ptr() for part in parts}) == 1
    for part in parts:
        n_out, n_in = part.base_layer.weight.shape
        inner, outer = part.vera_A["default"][:, :n_in], part.vera_B["default"][:n_out]
        scaled = part.vera_lambda_d["default"][:, None] * inner
        wanted = part.vera_lambda_b["default"][:, None] * (outer @ scaled)
        assert torch.allclose(part.get_delta_weight("default"), wanted, atol=1e-6) and wanted.any()


def test_a_prefix_is_a_key_and_a_value_in_every_block_for_each_token():
    for n in (1, 7):
        model = tuned.attached(tuned.spec("prefix", n_virtual_tokens=n))
        assert method_of(tuned.spec("prefix")).n_trained(model) == n * 2 * 2 * 16


@pytest.mark.parametrize("name", ["lora", "dora", "rslora", "prefix", "prompt", "mixture"])
def test_another_seed_draws_another_start(name):
    tuning = tuned.spec(name)
    first, again, other = (tuned.weights(tuned.attached(tuning, seed=seed)) for seed in (0, 0, 1))
    assert tuned.moved(first, again) == set() != tuned.moved(first, other)


def test_the_random_matrices_of_vera_are_those_of_the_library_whatever_the_seed():
    """Its seeds differ in examples and order alone."""
    first, other = (tuned.weights(tuned.attached(tuned.spec("vera"), seed=seed)) for seed in (0, 1))
    assert tuned.moved(first, other) == set()
