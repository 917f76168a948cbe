"""Packed rows: the numbers that each row gets alone, with no padding and no neighbour."""

import numpy as np
import pytest
import tiny
import torch

from itlib.batching import micro_batches
from itlib.packing import KERNEL, is_packed, keeps_rows_apart, packed, register_kernel
from itlib.registry import methods
from itlib.spec import MethodSpec, TrainSpec
from itlib.train import response_logits, train


def packing(**changes):
    register_kernel()
    return tiny.llama(attn_implementation=KERNEL, **changes)


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_every_row_gets_the_logits_it_gets_alone(n_groups):
    """Queries may share keys and values; no row may see another."""
    model, plain = packing(num_key_value_heads=n_groups), tiny.llama(num_key_value_heads=n_groups)
    rows = [row.input_ids for row in tiny.rows(9)]
    with torch.no_grad():
        together = model(**packed(rows, "cpu")).logits[0]
        alone = [plain(input_ids=torch.as_tensor(row[None].astype(np.int64))).logits[0] for row in rows]
    assert torch.allclose(together, torch.cat(alone), atol=2e-5)


def test_changing_one_row_changes_no_other():
    model, rows = packing(), [row.input_ids for row in tiny.rows(5)]
    changed = [rows[0], (rows[1] + 1) % tiny.VOCABULARY, *rows[2:]]
    with torch.no_grad():
        first, second = (model(**packed(some, "cpu")).logits[0] for some in (rows, changed))
    other = np.repeat(np.arange(5), [len(row) for row in rows]) != 1
    assert torch.equal(first[other], second[other]) and not torch.equal(first[~other], second[~other])


def test_supervised_logits_equal_those_of_padded_rows():
    rows = tiny.rows(12)
    with torch.no_grad():
        logits, targets, row_of = response_logits(packing(), rows, pad_id=0)
        wanted, wanted_targets, wanted_row_of = response_logits(tiny.llama(), rows, pad_id=0)
    assert torch.allclose(logits, wanted, atol=2e-5)
    assert torch.equal(targets, wanted_targets) and np.array_equal(row_of, wanted_row_of)


def test_training_agrees_with_padded_training_and_sees_no_padding():
    rows, spec = tiny.rows(24), TrainSpec(budget=5, batch_size=8, learning_rate=1e-2)
    ends = []
    for model in (packing(), tiny.llama()):
        train(model, rows, spec, seed=0, pad_id=0, dtype="float32")
        ends.append(model.state_dict())
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 2e-4


def test_training_does_not_depend_on_how_a_step_is_cut():
    rows = tiny.rows(24)
    ends = []
    for tokens in (10_000, 40):
        model = packing()
        train(model, rows, TrainSpec(budget=5, micro_batch_tokens=tokens), seed=0, pad_id=0, dtype="float32")
        ends.append(model.state_dict())
    assert len(micro_batches([len(row.input_ids) for row in rows], 40)) > 5
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 1e-4


def test_a_padded_batch_goes_through_the_library_and_generation_agrees():
    ids, mask = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]]), torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    how = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    answers = [model.generate(input_ids=ids, **how) for model in (packing(), tiny.llama())]
    assert torch.equal(*answers)


def test_adapters_are_packed_and_soft_prompts_are_not():
    from peft import PromptTuningConfig, get_peft_model

    assert is_packed(packing()) and not is_packed(tiny.llama())
    assert is_packed(methods.get("lora").attach(packing(), MethodSpec(method="lora", rank=2)))
    assert not is_packed(get_peft_model(packing(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)))


def test_the_check_of_an_architecture_can_fail(monkeypatch):
    """A model that drops what it is given attends across rows; the check must see that."""
    model = packing()
    assert keeps_rows_apart(model)
    forward = model.forward

    def forgetful(*arguments, rectangle=None, position_ids=None, **settings):
        settings.pop("attention_mask", None)
        return forward(*arguments, **settings)

    monkeypatch.setattr(model, "forward", forgetful)
    assert not keeps_rows_apart(model)
