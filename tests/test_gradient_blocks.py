"""Gradients in blocks: the same numbers as one backward pass per example."""

import numpy as np
import pytest
import tiny
import torch
from test_gradients import distance, loop, tuned

from itlib import gradient_blocks as module
from itlib.gradient_blocks import distinct, gradient_blocks
from itlib.gradients import trainable
from itlib.packing import KERNEL, register_kernel
from itlib.template import Encoded


def packing(method="full", train_embeddings=False):
    register_kernel()
    model = tuned(method, train_embeddings)
    (model.get_base_model() if hasattr(model, "get_base_model") else model).config._attn_implementation = KERNEL
    return model


def collected(model, rows):
    names = trainable(model)
    found = [dict.fromkeys(names) for _ in rows]
    for positions, name, block in gradient_blocks(model, rows, pad_id=0):
        for place, position in enumerate(positions):
            assert found[position][name] is None
            found[position][name] = block[place].clone()
    return found


@pytest.mark.parametrize(("method", "embeddings"), [("full", False), ("full", True), ("lora", False)])
def test_blocks_equal_a_loop_of_backward_passes(method, embeddings, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_TOKENS", 60)
    monkeypatch.setattr(module, "BLOCK_NUMBERS", 3000)
    model, rows = packing(method, embeddings), tiny.rows(11)
    found = collected(model, rows)
    wanted = loop(model, rows, trainable(model))
    assert distance(found, wanted) < 2e-5


def test_the_fast_way_is_taken_where_it_can_be():
    assert module._owners(packing(), trainable(packing()))
    assert module._owners(packing("lora"), trainable(packing("lora")))
    assert module._owners(packing(train_embeddings=True), trainable(packing(train_embeddings=True))) is None


def test_the_model_is_left_as_it_was():
    model, rows = packing(), tiny.rows(4)
    before = {name: (p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()}
    collected(model, rows)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == before[name][0] and parameter.grad is None
        assert torch.equal(parameter, before[name][1])
    assert not any(layer._forward_hooks for layer in model.modules())


def test_rows_that_repeat_are_found():
    a, b = tiny.rows(2)
    masked = Encoded(2, a.input_ids, np.roll(a.response_mask, 1), 5)  # the same tokens, supervised elsewhere
    different, copy_of = distinct([a, b, a, masked, b])
    assert [row is one for row, one in zip(different, [a, b, masked], strict=True)] == [True] * 3
    assert copy_of.tolist() == [0, 1, 0, 2, 1]
