"""Logits in pieces: the loss and the gradients of all of them at once."""

import copy

import peft
import pytest
import tiny
import torch

from itlib import wide_head
from itlib.objectives.response import summed_loss
from itlib.packing import KERNEL, TRIMMED
from itlib.registry import methods
from itlib.spec import MethodSpec, TrainSpec
from itlib.train import train


@pytest.fixture
def in_pieces(monkeypatch):
    asked = []
    whole = torch.nn.functional.linear_cross_entropy
    monkeypatch.setattr(
        "torch.nn.functional.linear_cross_entropy", lambda *a, **k: asked.append(a[0].shape) or whole(*a, **k)
    )
    monkeypatch.setattr(wide_head, "LARGE", {"cpu": 1})
    return asked


def loss_and_gradients(model, rows, dtype="float32"):
    loss = summed_loss(model, rows, pad_id=0, dtype=dtype)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["sdpa", KERNEL, TRIMMED])
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_loss_and_gradients_are_those_of_all_logits(kind, dtype, near, in_pieces, monkeypatch):
    rows = tiny.rows(12)
    model = tiny.with_kernel(kind)
    loss, gradients = loss_and_gradients(copy.deepcopy(model), rows, dtype)
    assert in_pieces == [(sum(int(row.response_mask.sum()) for row in rows), model.config.hidden_size)]
    monkeypatch.setattr(wide_head, "LARGE", {})
    wanted, wanted_gradients = loss_and_gradients(model, rows, dtype)
    assert len(in_pieces) == 1 and gradients.keys() == wanted_gradients.keys()
    assert float(loss) == pytest.approx(float(wanted), rel=near)
    for name, wanted_gradient in wanted_gradients.items():
        assert float((gradients[name] - wanted_gradient).norm() / wanted_gradient.norm()) < near, name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_agrees(method, in_pieces, monkeypatch):
    rows, ends = tiny.rows(24), []
    for large in ({"cpu": 1}, {}):
        monkeypatch.setattr(wide_head, "LARGE", large)
        torch.manual_seed(0)
        model = methods.get(method).attach(tiny.with_kernel(KERNEL), MethodSpec(method=method, rank=2))
        train(model, rows, TrainSpec(budget=5, batch_size=8, learning_rate=1e-2), seed=0, pad_id=0, dtype="float32")
        ends.append(model.state_dict())
    assert len(in_pieces) >= 5
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 2e-4


def test_what_is_left_alone(monkeypatch):
    """Processors, a small batch, a head with an adapter, and an architecture that does more to its logits."""
    assert wide_head.LARGE.keys() == {"cuda"}
    rows = tiny.rows(12)
    n_logits = sum(int(row.response_mask[1:].sum()) for row in rows) * tiny.VOCABULARY
    monkeypatch.setattr(wide_head, "LARGE", {"cpu": n_logits})
    assert wide_head.is_wide(tiny.llama(), rows) and not wide_head.is_wide(tiny.llama(), rows[1:])
    model = tiny.llama()
    model.config.model_type = "granite"
    assert not wide_head.is_wide(model, rows)
    adapted = peft.get_peft_model(tiny.llama(tie_word_embeddings=False), peft.LoraConfig(target_modules=["lm_head"]))
    assert not wide_head.is_wide(adapted, rows)


def test_the_head_comes_back_after_an_error(in_pieces):
    model = tiny.llama()
    with pytest.raises(AttributeError):
        wide_head.summed_cross_entropy(model, [object()], 0)
    ids = torch.ones(1, 3, dtype=torch.long)
    assert model(input_ids=ids).logits.shape[-1] == tiny.VOCABULARY
