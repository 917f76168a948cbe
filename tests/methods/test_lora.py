"""Low-rank adapters against full fine-tuning, against linear algebra, and with a factor held."""

import pytest
import tiny
import torch
import tuned
from peft.tuners.lora.intruders import reduce_intruder_dimension

from itlib.dense import dense, matrices
from itlib.errors import InputError
from itlib.spec import TrainSpec

ONE_WIDTH = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj")  # all take 32 inputs
ADAM = (None, 1e-3)
SGD = (lambda weights: torch.optim.SGD(weights, lr=1.0), 0.3)  # the loop sets the rate


def ten_steps(model, optimizer, rate):
    found = [weight for weight in model.parameters() if weight.requires_grad]
    how = {"optimizer": lambda n: optimizer(found)} if optimizer else {}
    settings = TrainSpec(budget=10, batch_size=4, learning_rate=rate)
    return dense(tuned.trained(model, tuned.spec("lora"), settings, **how))


def rank_of(change):
    """Rank up to the rounding of weights in single precision."""
    return int(torch.linalg.matrix_rank(change.double(), atol=1e-5))


@pytest.mark.parametrize(("optimizer", "rate"), [ADAM, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_with_the_identity_inside_it_trains_as_the_matrices_themselves(optimizer, rate, precision, tolerance):
    targets = ",".join(ONE_WIDTH)
    tuning = tuned.spec("lora", "inner=identity", rank=32, alpha=32.0, targets=targets)
    adapted = ten_steps(tuned.attached(tuning, tiny.llama().to(precision)), optimizer, rate)
    full = tiny.llama().to(precision).requires_grad_(False)
    for name, weight in matrices(full):
        weight.requires_grad_(name.split(".")[-1] in ONE_WIDTH)
    base = tiny.llama().to(precision)
    left, right = tuned.changes(adapted, base), tuned.changes(ten_steps(full, optimizer, rate), base)
    assert tuned.apart(left, right) <= tolerance
    assert min(right[name].abs().max() for name in right if name.split(".")[-2] in ONE_WIDTH) >= 1e-3
    assert max(right[name].abs().max() for name in right if name.split(".")[-2] not in ONE_WIDTH) == 0


def test_with_the_identity_inside_the_scale_is_a_rate():
    """Under plain gradient descent twice the alpha is a change twice as large after one step."""
    found = []
    for alpha in (32.0, 64.0):
        tuning = tuned.spec("lora", "inner=identity", rank=32, alpha=alpha, targets="q_proj")
        model = tuned.attached(tuning)
        outer = [weight for weight in model.parameters() if weight.requires_grad]
        settings = TrainSpec(budget=1, batch_size=8, learning_rate=0.1, gradient_clip=1e9)
        tuned.trained(model, tuning, settings, optimizer=lambda n, outer=outer: torch.optim.SGD(outer, lr=0.1))
        found.append(tuned.changes(dense(model))["model.layers.0.self_attn.q_proj.weight"])
    assert torch.allclose(4 * found[0], found[1], rtol=1e-3, atol=1e-6) and found[0].abs().max() > 1e-3


@pytest.mark.parametrize("inner", ["trained", "orthonormal"])
@pytest.mark.parametrize("rank", [1, 3])
def test_the_change_has_the_rank_it_is_given(inner, rank):
    change = tuned.changes(tuned.tuned(tuned.spec("lora", f"inner={inner}", rank=rank)))
    assert {rank_of(matrix) for matrix in change.values()} == {rank}


def test_full_fine_tuning_has_no_low_rank():
    assert all(rank_of(matrix) > 8 for matrix in tuned.changes(tuned.tuned(tuned.spec("full"))).values())


def test_an_orthonormal_factor_has_singular_values_of_one_and_stays():
    tuning = tuned.spec("lora", "inner=orthonormal", rank=16)
    model = tuned.attached(tuning)
    inner = {name: weight.detach().clone() for name, weight in model.named_parameters() if ".lora_A." in name}
    assert len(inner) == 14
    for factor in inner.values():
        assert torch.allclose(factor @ factor.T, torch.eye(16), atol=1e-5)
    after = dict(tuned.trained(model, tuning).named_parameters())
    assert all(torch.equal(after[name], factor) for name, factor in inner.items())
    outer = [weight for name, weight in after.items() if ".lora_B." in name]
    assert len(outer) == 14 and all(weight.requires_grad and weight.any() for weight in outer)


def test_a_trained_factor_is_not_orthonormal():
    model = tuned.attached(tuned.spec("lora", rank=16))
    factors = [weight for name, weight in model.named_parameters() if ".lora_A." in name]
    assert all((factor @ factor.T - torch.eye(16)).abs().max() > 0.1 and factor.requires_grad for factor in factors)


def test_orthonormal_factors_are_drawn_anew_for_another_seed():
    def first(seed):
        model = tuned.attached(tuned.spec("lora", "inner=orthonormal"), seed=seed)
        return next(weight for name, weight in model.named_parameters() if ".lora_A." in name)

    assert torch.equal(first(0), first(0)) and not torch.allclose(first(0), first(1), atol=0.1)


@pytest.mark.parametrize("targets", ["q_proj", "v_proj,down_proj"])
def test_targets_are_the_matrices_that_move(targets):
    moved = {name for name, change in tuned.changes(tuned.tuned(tuned.spec("lora", targets=targets))).items()
             if change.any()}  # fmt: skip
    wanted = {f"{name}.weight" for name, _ in matrices(tiny.llama()) if name.split(".")[-1] in targets.split(",")}
    assert moved == wanted


@pytest.mark.parametrize(("options", "rank", "message"), [
    (("inner=identity",), 16, "rank: 16 is not the 32 inputs of .*; inner=identity needs it"),
    (("inner=identity",), 32, "rank: 32 is not the 64 inputs of .*down_proj; inner=identity needs it"),
    (("inner=orthonormal",), 33, "rank: 33 is not at most the 32 inputs of .*; inner=orthonormal needs it"),
])  # fmt: skip
def test_a_rank_that_a_held_factor_cannot_have_is_refused(options, rank, message):
    with pytest.raises(InputError, match=message) as caught:
        tuned.attached(tuned.spec("lora", *options, rank=rank))
    assert "\n" not in str(caught.value)


def with_an_intruder():
    """An adapter that adds 3 u v^T to one matrix, u with equal cosines to all left singular vectors; and u."""
    model = tuned.attached(tuned.spec("lora", rank=4, alpha=4.0, targets="q_proj"))
    layers = [model.get_submodule(f"base_model.model.model.layers.{i}.self_attn.q_proj") for i in (0, 1)]
    with torch.no_grad():
        left, _, right = torch.linalg.svd(layers[0].base_layer.weight)
        u, v = left.sum(1) / 32**0.5, right.sum(0) / 32**0.5
        layers[0].lora_A["default"].weight.zero_()[0] = v
        layers[0].lora_B["default"].weight.zero_()[:, 0] = 3 * u
        layers[1].lora_B["default"].weight.zero_()[:, 0] = 1e-3
    return model, layers[0], layers[1]


@pytest.mark.parametrize(("share", "left"), [(1.0, 1.0), (0.75, 0.75), (0.0, 0.0)])
def test_in_the_library_the_share_of_mitigation_is_what_is_kept(share, left):
    """A trap: its documentation says that the share is subtracted, but 1 changes nothing and 0 takes all away."""
    model, layer, other = with_an_intruder()
    base = layer.base_layer.weight.detach()
    before, untouched = base + layer.get_delta_weight("default").detach(), other.get_delta_weight("default").detach()
    vectors, values, rows = torch.linalg.svd(before)
    assert (vectors[:, 0] @ torch.linalg.svd(base)[0]).abs().max() < 0.5  # an intruder
    reduce_intruder_dimension(model, top_k=1, threshold_epsilon=0.5, mitigation_lambda=share, logging_sink=None)
    after = base + layer.get_delta_weight("intruder_reduced").detach()
    wanted = before - (1 - left) * values[0] * torch.outer(vectors[:, 0], rows[0])
    assert torch.allclose(after, wanted, atol=1e-5)
    assert float(vectors[:, 0] @ after @ rows[0]) == pytest.approx(left * float(values[0]), abs=1e-5)
    assert torch.equal(other.get_delta_weight("intruder_reduced"), untouched)
    assert list(model.active_adapters) == ["intruder_reduced"]


def test_the_edit_of_an_intruder_and_the_library_agree():
    """Scaling the first intruder of the plain weights is what the library does to the adapter."""
    from itlib import spectra

    model, layer, _ = with_an_intruder()
    base = layer.base_layer.weight.detach().double().numpy()
    matrix = base + layer.get_delta_weight("default").detach().double().numpy()
    index = spectra.top_intruder(spectra.decompose(base), spectra.decompose(matrix), 0.5)
    assert index == 0
    reduce_intruder_dimension(model, top_k=1, threshold_epsilon=0.5, mitigation_lambda=0.3, logging_sink=None)
    found = base + layer.get_delta_weight("intruder_reduced").detach().double().numpy()
    wanted = spectra.scaled(matrix, spectra.decompose(matrix), index, 0.3)
    assert abs(found - wanted).max() < 1e-5 < abs(found - matrix).max()
