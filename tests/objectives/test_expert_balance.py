"""The price on experts that do not share the work: hand-computed masses, and what a step adds up."""

import numpy as np
import pytest
import small
import tiny
import torch
import tuned

from itlib.errors import InputError, RunError
from itlib.execute import execute
from itlib.methods.mixture import mixture_layers
from itlib.objectives import Batch, objective_of
from itlib.objectives.expert_balance import balance, by_row
from itlib.ordering import Traits
from itlib.packing import KERNEL, is_packed, register_kernel
from itlib.spec import TrainSpec
from itlib.train import response_logits, train

FAMILIES = ["home", "plural", "job", "past", "plural", "home"]
ROWS = tiny.rows(6)


def made(*given):
    return objective_of(TrainSpec(objective="expert_balance", objective_options=given))


def mixed(spread=0.3, seed=5, **changes):
    model = tuned.attached(tuned.spec("mixture"), tiny.llama(**changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in mixture_layers(model):
            layer.outer += 0.1 * torch.randn(layer.outer.shape, generator=generator)
            layer.router.weight += spread * torch.randn(layer.router.weight.shape, generator=generator)
    return model


def loss(model, *given, families=FAMILIES):
    return made(*given).loss(model, Batch(ROWS, families=families), **tuned.PLAIN)


def price(mass, knowledge, delta):
    return float(balance(torch.tensor(mass), np.array(knowledge), delta))


# ---- the price ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knowledge", [[False, False], [True, False], [True, True]])
def test_equal_masses_cost_nothing_without_kinds(knowledge):
    assert price([[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]], knowledge, 0.0) == 0.0


def test_a_price_by_hand():
    """The own half of a row counts 1.5 times and the other 0.5 times; then variance over mean of all four.

    A task first: 4.5, 0.5, 1, 3 have mean 2.25 and variance 2.5625. Knowledge first: 1.5, 1.5, 3, 1 have mean 1.75 and
    variance 0.5625.
    """
    assert price([[3.0, 1.0], [2.0, 2.0]], [False, True], 0.5) == pytest.approx(2.5625 / 2.25)
    assert price([[3.0, 1.0], [2.0, 2.0]], [True, False], 0.5) == pytest.approx(0.5625 / 1.75)


def test_rows_that_leave_each_half_to_the_other_kind_cost_nothing_and_the_reverse_does():
    away, to = [[0.45, 0.55], [0.55, 0.45]], [[0.55, 0.45], [0.45, 0.55]]
    assert price(away, [False, True], 0.1) == pytest.approx(0.0, abs=1e-7)
    assert price(to, [False, True], 0.1) > 0.01


def test_a_price_of_four_experts_by_hand():
    """The first two experts are for tasks: (4 * 1.1, 4 * 1.1, 2 * 0.9, 2 * 0.9) has mean 3.1 and deviations of 1.3."""
    assert price([[4.0, 4.0, 2.0, 2.0]], [False], 0.1) == pytest.approx(1.3**2 / 3.1)
    assert price([[4.0, 4.0, 2.0, 2.0]], [True], 0.1) == pytest.approx(0.7**2 / 2.9)  # 3.6, 3.6, 2.2, 2.2


def test_without_kinds_it_is_the_variance_of_masses_over_their_mean():
    mass = torch.rand(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = float(np.var(mass.numpy()) / np.mean(mass.numpy()))
    for knowledge in (np.zeros(7, bool), np.arange(7) % 2 == 0):
        assert float(balance(mass, knowledge, 0.0)) == pytest.approx(wanted)


def test_masses_of_one_kind_cost_nothing_where_the_factors_even_them_out():
    """Of one row, what counts 1.1 times has to be smaller than what counts 0.9 times by as much."""
    assert price([[0.9, 1.1]], [False], 0.1) == pytest.approx(0.0, abs=1e-7)
    assert price([[1.1, 0.9]], [True], 0.1) == pytest.approx(0.0, abs=1e-7)
    assert price([[1.1, 0.9]], [False], 0.1) > 0.01


# ---- what a row gave ----------------------------------------------------------------------------------------


def test_what_rows_gave_is_the_same_packed_and_padded():
    register_kernel()
    found = []
    for model in (mixed(), mixed(attn_implementation=KERNEL)):
        with torch.no_grad():
            response_logits(model, ROWS, pad_id=0)
        found.append([by_row(layer.weights, ROWS, packed=is_packed(model)) for layer in mixture_layers(model)])
    assert [is_packed(mixed()), is_packed(mixed(attn_implementation=KERNEL))] == [False, True]
    for padded, packed in zip(*found, strict=True):
        assert padded.shape == (6, 4) and torch.allclose(padded, packed, atol=1e-4)
        assert torch.allclose(padded.sum(1), torch.ones(6), atol=1e-4)  # a token gives one in all, padding nothing


def test_padding_gives_no_expert_anything():
    weights = torch.ones(2, 5, 2)
    weights[0, 3:] = 100.0
    rows = [type(ROWS[0])(i, np.arange(n, dtype=np.int32), np.ones(n, bool), 1) for i, n in enumerate((3, 5))]
    assert by_row(weights, rows, packed=False).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    flat = torch.arange(16.0).view(1, 8, 2)
    wanted = [[2.0, 3.0], [10.0, 11.0]]
    assert by_row(flat, rows, packed=True).tolist() == wanted


# ---- the loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
@pytest.mark.parametrize(("beta", "delta", "knowledge"), [(0.5, 0.3, "home+job"), (2.0, 0.0, "past"), (0.0, 0.1, "a")])
def test_the_loss_is_that_of_responses_and_the_mean_price_for_each_supervised_token(beta, delta, knowledge, attention):
    register_kernel()
    model = mixed(attn_implementation=attention)
    with torch.no_grad():
        found = float(loss(model, f"beta={beta}", f"delta={delta}", f"knowledge={knowledge}"))
        response = float(objective_of(TrainSpec()).loss(mixed(), Batch(ROWS), **tuned.PLAIN))
        prices = []
        for layer in mixture_layers(model):  # padded or packed, taken apart here by hand
            flat = layer.weights[0] if attention == KERNEL else torch.cat(
                [layer.weights[i, : len(row.input_ids)] for i, row in enumerate(ROWS)]
            )  # fmt: skip
            ends = np.cumsum([len(row.input_ids) for row in ROWS])[:-1]
            mass = np.stack([part.mean(0) for part in np.split(flat.double().numpy(), ends)])
            kinds = np.array([family in knowledge.split("+") for family in FAMILIES])
            weighed = mass * np.where(kinds[:, None] == np.array([False, False, True, True]), 1 + delta, 1 - delta)
            prices.append(weighed.var() / weighed.mean())
    n = sum(int(row.response_mask[1:].sum()) for row in ROWS)
    assert found == pytest.approx(response + beta * n * np.mean(prices), rel=1e-4)
    assert len(prices) == 6 and min(prices) > 1e-4


def test_the_price_reaches_routers_and_what_feeds_them():
    def gradients(*given):
        model = mixed()
        loss(model, *given).backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}

    plain, priced = gradients("beta=0"), gradients("beta=1")
    assert all(not torch.allclose(plain[name], priced[name], atol=1e-4) for name in plain if "router" in name)


def test_a_step_is_one_pass():
    batch = Batch(ROWS, families=FAMILIES)
    (group,) = made().groups(batch, 1)
    assert group.tolist() == list(range(6))


def test_a_model_without_experts_is_refused():
    for name in ("full", "lora"):
        with pytest.raises(RunError, match="'expert_balance' needs a method with experts; set method: mixture") as one:
            loss(tuned.attached(tuned.spec(name)))
        assert "\n" not in str(one.value)


def test_a_high_price_evens_out_what_experts_are_given():
    def uneven(model):
        with torch.no_grad():
            response_logits(model, ROWS, pad_id=0)
        return np.mean([
            float(balance(by_row(layer.weights, ROWS, packed=False), np.zeros(6, bool), 0.0))
            for layer in mixture_layers(model)
        ])  # fmt: skip

    found = {}
    for beta in (0.0, 10.0):
        model = mixed()
        given = (f"beta={beta}", "delta=0", "knowledge=none")
        settings = TrainSpec(
            budget=30, batch_size=6, learning_rate=1e-2, objective="expert_balance", objective_options=given
        )
        traits = [Traits(str(i), 1, family, "latent") for i, family in enumerate(FAMILIES)]
        train(model, ROWS, settings, seed=0, traits=traits, **tuned.PLAIN)
        found[beta] = uneven(model)
    assert found[10.0] < 0.2 * uneven(mixed()) and found[10.0] < 0.2 * found[0.0]


# ---- a run --------------------------------------------------------------------------------------------------

RUN = {"method": "mixture", "rank": 2, "families": ["home", "job", "plural"], "learning_rate": 1e-2, "budget": 4}


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
def test_a_run_works_and_is_another_than_without_a_price(attention):
    priced = small.resolved(objective="expert_balance", objective_options=["beta=5"], attention=attention, **RUN)
    first = execute(priced)
    assert first.status == "done" and small.scores(execute(priced)) == small.scores(first)
    assert first.items != execute(small.resolved(attention=attention, **RUN)).items
    assert first.totals["n_trainable_parameters"] == 4 * 4 * (3 * 2 * (128 + 352) + 128 + 128 + 352)


def test_a_run_without_experts_fails_with_one_line(tmp_path):
    from itlib.execute import run_one
    from itlib.store import Store

    result = run_one(small.resolved(objective="expert_balance"), Store(tmp_path))
    assert result.status == "failed" and "needs a method with experts" in result.error


@pytest.mark.parametrize(("given", "message"), [
    ("beta=-1", "beta must not be negative, got -1"),
    ("delta=1", "delta must be at least 0 and below 1, got 1"),
    ("delta=-0.1", "delta must be at least 0 and below 1, got -0.1"),
    ("knowlege=home", "has no option 'knowlege'.*did you mean 'knowledge'"),
])  # fmt: skip
def test_options_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        small.resolved(method="mixture", objective="expert_balance", objective_options=[given])
