"""The training loop: right loss, no contamination, invariant to how a batch is cut, equal to the library's Trainer."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from itlib.ordering import Traits
from itlib.packing import KERNEL, TRIMMED
from itlib.registry import methods
from itlib.spec import MethodSpec, TrainSpec
from itlib.train import learning_rate_factor, response_logits, train
from itlib.trainer import rows_per_device, train_with_transformers

HOW = {"seed": 0, "pad_id": 0, "dtype": "float32"}
KERNELS = pytest.mark.parametrize("kernel", ["sdpa", KERNEL, TRIMMED])


def tuned(rows, spec, fit=train, seed=0, model=None):
    model = methods.get("full").attach(model or tiny.llama(), MethodSpec(train_embeddings=True))
    trace = fit(model, rows, spec, seed=seed, pad_id=0, dtype="float32")
    return trace, {name: value.detach().clone() for name, value in model.state_dict().items()}


def distance(left, right):
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_batched_logits_equal_logits_of_each_row_alone():
    """Padding and neighbours must not reach a token: the guard against contamination."""
    model, rows = tiny.llama(), tiny.rows(12)
    with torch.no_grad():
        logits, targets, row_of = response_logits(model, rows, pad_id=0)
        for i, row in enumerate(rows):
            alone = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
            wanted = alone[np.flatnonzero(row.response_mask[1:])]
            assert torch.allclose(logits[row_of == i], wanted, atol=2e-5)
            assert targets[row_of == i].tolist() == row.input_ids[1:][row.response_mask[1:]].tolist()


def test_padding_value_and_neighbours_change_nothing():
    model, rows = tiny.llama(), tiny.rows(6)
    with torch.no_grad():
        first = response_logits(model, rows, pad_id=0)[0]
        other = response_logits(model, rows, pad_id=63)[0]
    assert torch.equal(first, other)


def test_first_loss_is_the_token_mean_of_the_effective_batch():
    rows = tiny.rows(8)
    trace, _ = tuned(rows, TrainSpec(budget=1, batch_size=8, curve_points=1))
    total, count = 0.0, 0
    for row in rows:
        logits = tiny.llama()(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
        at = np.flatnonzero(row.response_mask)
        targets = torch.as_tensor(row.input_ids[at].astype(np.int64))
        total += torch.nn.functional.cross_entropy(logits[at - 1], targets, reduction="sum").item()
        count += len(at)
    assert trace.curve[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert trace.totals["n_response_tokens"] == count


def test_cutting_a_batch_into_micro_batches_changes_no_weight():
    rows = tiny.rows(24)
    whole = tuned(rows, TrainSpec(budget=5, batch_size=12, micro_batch_tokens=10_000))[1]
    # SGD-like comparison would hide nothing: Adam's first steps amplify differences, and they still stay at rounding.
    for tokens in (1, 40, 100):
        cut = tuned(rows, TrainSpec(budget=5, batch_size=12, micro_batch_tokens=tokens))[1]
        assert distance(whole, cut) < 2e-5
    other = tuned(rows, TrainSpec(budget=5, batch_size=6, micro_batch_tokens=10_000))[1]
    assert distance(whole, other) > 1e-4


def test_equal_seeds_agree_bit_for_bit_and_different_seeds_differ():
    rows, spec = tiny.rows(24), TrainSpec(budget=4, batch_size=6)
    first = tuned(rows, spec)[1]
    torch.manual_seed(99), np.random.seed(99)
    again = tuned(rows, spec)[1]
    assert distance(first, again) == 0.0
    assert distance(first, tuned(rows, spec, seed=1)[1]) > 1e-4


def test_our_loop_and_the_library_trainer_agree():
    rows = tiny.rows(24)
    spec = TrainSpec(budget=2, budget_unit="epochs", batch_size=6, micro_batch_tokens=60, schedule="cosine")
    ours, library = tuned(rows, spec), tuned(rows, spec, fit=train_with_transformers)
    assert distance(ours[1], library[1]) < 1e-4 < distance(ours[1], tiny.llama().state_dict())
    for mine, theirs in zip(ours[0].curve, library[0].curve, strict=True):
        assert mine["step"] == theirs["step"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    different = ("n_padded_tokens",)
    assert {k: v for k, v in ours[0].totals.items() if k not in different} == {
        k: v for k, v in library[0].totals.items() if k not in different
    }


@pytest.mark.parametrize("order", ["reverse", "dual_stage"])
def test_an_order_is_the_same_for_both_trainers_and_however_batches_are_cut(order):
    rows = tiny.rows(24)
    traits = [Traits(f"{i:02}", 1 + (i > 15), "family", "latent") for i in range(24)]
    spec = TrainSpec(budget=2, budget_unit="epochs", batch_size=6, order=order, kept_fraction=0.5)

    def weights(fit=train, **changes):
        model = methods.get("full").attach(tiny.llama(), MethodSpec(train_embeddings=True))
        fit(model, rows, replace(spec, **changes), seed=0, pad_id=0, dtype="float32", traits=traits)
        return model.state_dict()

    ours = weights()
    assert distance(ours, weights(train_with_transformers)) < 1e-4
    assert distance(ours, weights(micro_batch_tokens=30)) < 2e-5
    assert distance(ours, weights(order="mixed")) > 1e-3


@pytest.mark.parametrize("fit", [train, train_with_transformers])
@pytest.mark.fault(22)
def test_divergence_stops_training_and_is_said(fit):
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    trace, _ = tuned(tiny.rows(8), TrainSpec(budget=4, batch_size=4), fit=fit, model=model)
    assert trace.diverged and trace.totals["n_steps"] < 4


def test_frozen_embeddings_do_not_move_and_the_rest_does():
    model = methods.get("full").attach(tiny.llama(), MethodSpec(train_embeddings=False))
    before = copy.deepcopy(model.state_dict())
    train(model, tiny.rows(8), TrainSpec(budget=3, batch_size=4), seed=0, pad_id=0, dtype="float32")
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == set(before) - {"model.embed_tokens.weight", "lm_head.weight"}


def test_schedules_by_hand():
    factors = [learning_rate_factor(step, 10, "linear", 0.2) for step in range(10)]
    assert factors[:2] == pytest.approx([1 / 3, 2 / 3]) and factors[2] == 1.0
    assert factors[-1] == pytest.approx(1 / 8) and sorted(factors[2:], reverse=True) == factors[2:]
    assert learning_rate_factor(5, 10, "cosine", 0.0) == pytest.approx(0.5)
    assert {learning_rate_factor(step, 10, "constant", 0.0) for step in range(10)} == {1.0}


def test_rows_per_device_divide_the_batch():
    assert rows_per_device(32, 100, 4096) == 32
    assert rows_per_device(32, 500, 4096) == 8
    assert rows_per_device(6, 60, 200) == 3
    assert rows_per_device(7, 5000, 4096) == 1


@pytest.mark.parametrize("fit", [train, train_with_transformers])
def test_a_last_step_that_breaks_the_weights_is_divergence(fit):
    """The loss of the only step is finite; what it does to the weights is not."""
    trace, weights = tuned(tiny.rows(8), TrainSpec(budget=1, batch_size=4, learning_rate=1e38), fit=fit)
    assert trace.diverged and not all(torch.isfinite(value).all() for value in weights.values())


def test_no_number_that_json_cannot_hold_reaches_the_curve():
    trace, _ = tuned(tiny.rows(8), TrainSpec(budget=6, batch_size=4, learning_rate=1e30, gradient_clip=1e30))
    assert trace.diverged
    assert all(np.isfinite(list(point.values())).all() for point in trace.curve)


def test_the_library_trainer_leaves_the_global_generators_alone():
    np.random.seed(5)
    wanted = np.random.random(3)
    np.random.seed(5)
    tuned(tiny.rows(8), TrainSpec(budget=1, batch_size=4), fit=train_with_transformers, seed=2**31 - 1)
    assert np.array_equal(np.random.random(3), wanted)


class Syncs(TorchDispatchMode):
    """Counts what makes a processor wait for a GPU: values that leave it, and shapes that depend on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        name = function.__name__.split(".")[0]
        self.counts.update([name] if name in self.WAITS else [])
        return function(*arguments, **(settings or {}))


@KERNELS
def test_nothing_waits_for_the_device_but_the_curve(kernel):
    """Two values per point of the curve and one per tensor at the end, whatever the number of steps.

    The library looks at the positions of padded rows in every forward pass, which packed rows spare it.
    """
    counts = []
    for budget in (4, 12):
        model = tiny.with_kernel(kernel)
        with Syncs() as syncs:
            train(model, tiny.rows(24), TrainSpec(budget=budget, batch_size=6, curve_points=2), **HOW)
        counts.append(syncs.counts.total() - (budget if kernel == "sdpa" else 0))
    assert counts[0] == counts[1] and 4 < counts[0] <= 2 * 2 + 2 + len(list(model.parameters()))


@KERNELS
def test_a_compiled_model_is_tuned_alike_and_given_back_as_it_was(kernel, monkeypatch):
    """With the tracing part of the compiler alone: it sees what a GPU's would, and takes seconds."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: whole(self, **how, backend="aot_eager"))
    ends, traces = [], []
    for compile_after in (0, 6):
        model = tiny.with_kernel(kernel)
        spec = TrainSpec(budget=6, batch_size=6, learning_rate=1e-2, compile_after=compile_after)
        torch._dynamo.utils.counters.clear()
        traces.append(train(model, tiny.rows(24), spec, **HOW))
        assert bool(torch._dynamo.utils.counters["stats"]) == bool(compile_after)
        assert model._compiled_call_impl is None
        ends.append(dict(model.named_parameters()))
    assert "compiled" not in traces[0].totals and traces[1].totals["compiled"] == 1
    assert distance(*ends) < 2e-4


def test_a_short_run_is_not_compiled(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: pytest.fail("compiled"))
    trace = train(tiny.llama(), tiny.rows(24), TrainSpec(budget=5, batch_size=6, compile_after=6), **HOW)
    assert "compiled" not in trace.totals


def test_a_run_that_diverges_is_given_back_uncompiled(monkeypatch):
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", self._call_impl)
    )
    model = tiny.llama()
    spec = TrainSpec(budget=4, batch_size=6, learning_rate=1e30, warmup_fraction=0.0, compile_after=1, curve_points=4)
    trace = train(model, tiny.rows(24), spec, **HOW)
    assert trace.diverged and trace.totals["compiled"] == 1 and model._compiled_call_impl is None
