"""Packed rows: the numbers that each row gets alone, with no padding and no neighbour."""

import numpy as np
import pytest
import tiny
import torch

from itlib.batching import micro_batches
from itlib.errors import RunError
from itlib.microworld.tokenizer import MAX_LENGTH as WORLD_CONTEXT
from itlib.packing import (
    APART,
    KERNEL,
    TRIMMED,
    half_precision,
    is_packed,
    is_trimmed,
    keeps_rows_apart,
    kernel_for,
    packed,
    register_kernel,
)
from itlib.registry import methods
from itlib.spec import MethodSpec, TrainSpec
from itlib.train import response_logits, train


def packing(kernel=KERNEL, **changes):
    return tiny.with_kernel(kernel, **changes)


both = pytest.mark.parametrize("kernel", [KERNEL, TRIMMED])


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_every_row_gets_the_logits_it_gets_alone(n_groups):
    """Queries may share keys and values; no row may see another."""
    model, plain = packing(num_key_value_heads=n_groups), tiny.llama(num_key_value_heads=n_groups)
    rows = [row.input_ids for row in tiny.rows(9)]
    with torch.no_grad():
        together = model(**packed(rows, "cpu")).logits[0]
        alone = [plain(input_ids=torch.as_tensor(row[None].astype(np.int64))).logits[0] for row in rows]
    assert torch.allclose(together, torch.cat(alone), atol=2e-5)


@both
def test_changing_one_row_changes_no_other(kernel):
    model, rows = packing(kernel), [row.input_ids for row in tiny.rows(5)]
    changed = [rows[0], (rows[1] + 1) % tiny.VOCABULARY, *rows[2:]]
    with torch.no_grad():
        first, second = (model(**packed(some, "cpu")).logits[0] for some in (rows, changed))
    other = np.repeat(np.arange(5), [len(row) for row in rows]) != 1
    assert torch.equal(first[other], second[other]) and not torch.equal(first[~other], second[~other])


@both
def test_supervised_logits_equal_those_of_padded_rows(kernel):
    rows = tiny.rows(12)
    with torch.no_grad():
        logits, targets, row_of = response_logits(packing(kernel), rows, pad_id=0)
        wanted, wanted_targets, wanted_row_of = response_logits(tiny.llama(), rows, pad_id=0)
    assert torch.allclose(logits, wanted, atol=2e-5)
    assert torch.equal(targets, wanted_targets) and np.array_equal(row_of, wanted_row_of)


@both
def test_training_agrees_with_padded_training_and_sees_no_padding(kernel):
    rows, spec = tiny.rows(24), TrainSpec(budget=5, batch_size=8, learning_rate=1e-2)
    ends = []
    for model in (packing(kernel), tiny.llama()):
        train(model, rows, spec, seed=0, pad_id=0, dtype="float32")
        ends.append(model.state_dict())
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 2e-4


@both
def test_training_does_not_depend_on_how_a_step_is_cut(kernel):
    rows = tiny.rows(24)
    ends = []
    for tokens in (10_000, 40):
        model = packing(kernel)
        train(model, rows, TrainSpec(budget=5, micro_batch_tokens=tokens), seed=0, pad_id=0, dtype="float32")
        ends.append(model.state_dict())
    assert len(micro_batches([len(row.input_ids) for row in rows], 40)) > 5
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 1e-4


@both
def test_a_padded_batch_goes_through_the_library_and_generation_agrees(kernel):
    ids, mask = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]]), torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    how = {"attention_mask": mask, "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    answers = [model.generate(input_ids=ids, **how) for model in (packing(kernel), tiny.llama())]
    assert torch.equal(*answers)


@both
def test_adapters_are_packed_and_soft_prompts_are_not(kernel):
    from peft import PromptTuningConfig, get_peft_model

    assert is_packed(packing(kernel)) and not is_packed(tiny.llama())
    assert is_packed(methods.get("lora").attach(packing(kernel), MethodSpec(method="lora", rank=2)))
    assert not is_packed(
        get_peft_model(packing(kernel), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    )


def test_the_last_layer_goes_on_with_the_tokens_that_are_read_alone():
    model, rows, seen = packing(TRIMMED, num_hidden_layers=3), tiny.rows(6), []
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    response_logits(model, rows, pad_id=0)
    n_tokens, n_read = sum(len(row.input_ids) for row in rows), sum(int(row.response_mask[1:].sum()) for row in rows)
    assert seen == [n_tokens, n_tokens, n_read] and n_read < n_tokens


def test_a_copy_and_an_adapter_are_trimmed_like_their_original():
    import copy

    model, rows = packing(TRIMMED), tiny.rows(6)
    adapter = methods.get("lora").attach(copy.deepcopy(model), MethodSpec(method="lora", rank=2))
    assert is_trimmed(adapter) and not is_trimmed(packing())
    with torch.no_grad():
        first = response_logits(model, rows, pad_id=0)[0]
        for other in (copy.deepcopy(model), adapter):
            assert torch.allclose(response_logits(other, rows, pad_id=0)[0], first, atol=1e-6)
    assert model.state_dict().keys() == tiny.llama().state_dict().keys()


def test_tuning_an_adapter_agrees_with_padded_tuning():
    rows, spec = tiny.rows(24), TrainSpec(budget=5, batch_size=8, learning_rate=1e-2)
    ends = []
    for model in (packing(TRIMMED), tiny.llama()):
        torch.manual_seed(0)
        adapter = methods.get("lora").attach(model, MethodSpec(method="lora", rank=2))
        train(adapter, rows, spec, seed=0, pad_id=0, dtype="float32")
        ends.append(adapter.state_dict())
    assert max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0]) < 2e-4


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


@both
@pytest.mark.parametrize("block", [1, 3, 8])
def test_rows_longer_than_a_block_get_the_same_logits_and_the_same_training(kernel, block, monkeypatch):
    rows, spec = tiny.rows(24), TrainSpec(budget=3, batch_size=8, learning_rate=1e-2)
    ends = []
    for size in (10_000, block):
        monkeypatch.setattr("itlib.packing.BLOCK", size)
        monkeypatch.setattr("itlib.packing.PIECE", 8 * size)
        model = packing(kernel, max_position_embeddings=512)
        with torch.no_grad():
            before = response_logits(model, rows, pad_id=0)[0]
        trace = train(model, rows, spec, seed=0, pad_id=0, dtype="float32")
        ends.append((before, trace.curve[-1]["loss"], [p.detach().clone() for p in model.parameters()]))
    (whole, whole_loss, whole_weights), (cut, cut_loss, cut_weights) = ends
    assert max(len(row.input_ids) for row in rows) > block
    assert torch.allclose(whole, cut, atol=2e-5) and cut_loss == pytest.approx(whole_loss, rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole_weights, cut_weights, strict=True))


def test_rows_of_like_length_share_a_rectangle_and_no_row_is_cut(monkeypatch):
    monkeypatch.setattr("itlib.packing.PIECE", 20)
    rows = [np.arange(length) for length in (25, 9, 9, 4, 4, 4, 4, 4, 2)]
    whole = packed(rows, "cpu")["rectangle"]
    shapes = [(piece.n_rows, piece.longest) for _, _, piece in whole.pieces]
    assert shapes == [(1, 25), (2, 9), (5, 4), (1, 2)]
    ends = [(first, end) for first, end, _ in whole.pieces]
    assert ends == [(0, 25), (25, 43), (43, 63), (63, 65)]


def test_rows_of_the_embedded_models_are_taken_whole(monkeypatch):
    """Their stored numbers do not depend on how rows of others are cut."""
    from itlib.packing import WHOLE

    rows, found = tiny.rows(12), []
    for size in (1, 10_000):
        monkeypatch.setattr("itlib.packing.BLOCK", size)
        monkeypatch.setattr("itlib.packing.PIECE", size)
        with torch.no_grad():
            found.append(response_logits(packing(max_position_embeddings=WHOLE), rows, pad_id=0)[0])
    assert torch.equal(*found)
    assert WORLD_CONTEXT <= WHOLE


def by_rows(query, key, value, ends, ends_of_keys, longest, _, *, scale, window_size, enable_gqa):
    """What the library's kernel for a GPU promises, a row at a time: shapes (tokens, heads, size)."""
    assert ends.dtype == torch.int32 and torch.equal(ends, ends_of_keys) and window_size == (-1, 0)
    assert int((ends[1:] - ends[:-1]).max()) == longest and int(ends[-1]) == len(query)
    found = []
    for first, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        row = [x[first:end].transpose(0, 1)[None] for x in (query, key, value)]
        mixed = torch.nn.functional.scaled_dot_product_attention(
            *row, is_causal=True, scale=scale, enable_gqa=enable_gqa
        )
        found.append(mixed[0].transpose(0, 1))
    return torch.cat(found)


@both
@pytest.mark.parametrize("n_groups", [1, 4])
def test_rows_are_handed_to_the_kernel_of_a_gpu_as_it_wants_them(kernel, n_groups, monkeypatch):
    """With a stand-in for the kernel, which runs on GPUs alone: same logits, same training."""
    rows, spec = tiny.rows(24), TrainSpec(budget=3, batch_size=8, learning_rate=1e-2)
    asked, ends = [], []
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", lambda *a, **k: asked.append(1) or by_rows(*a, **k))
    for precision in (None, torch.float32):
        monkeypatch.setattr("itlib.packing.half_precision", lambda query, found=precision: found)
        model = packing(kernel, num_key_value_heads=n_groups)
        with torch.no_grad():
            before = response_logits(model, rows, pad_id=0)[0]
        train(model, rows, spec, seed=0, pad_id=0, dtype="float32")
        ends.append((before, [p.detach().clone() for p in model.parameters()]))
        assert bool(asked) == (precision is not None)
    assert torch.allclose(ends[0][0], ends[1][0], atol=2e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ends[0][1], ends[1][1], strict=True))


def test_on_a_processor_no_half_precision_is_asked_for():
    assert half_precision(torch.zeros(1, 1, 1, 1)) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert half_precision(torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16)) is None


def model_of_type(kind, **changes):
    from transformers import AutoConfig, AutoModelForCausalLM

    register_kernel()
    settings = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
                "pad_token_id": 0, "head_dim": 8}  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(settings | changes))
    return AutoModelForCausalLM.from_config(config, attn_implementation=KERNEL).eval()


@pytest.mark.parametrize("kind", APART)
def test_architectures_that_a_gpu_packs_unasked_keep_rows_apart(kind):
    assert kernel_for(kind) in (KERNEL, TRIMMED) and keeps_rows_apart(model_of_type(kind))


def test_rows_longer_than_a_sliding_window_are_refused():
    """A token would see more than the model lets it; shorter rows are right."""
    model = model_of_type("mistral", sliding_window=8)
    assert kernel_for("mistral") == "sdpa" and keeps_rows_apart(model)
    with torch.no_grad(), pytest.raises(RunError, match="packed rows of 9 tokens look back 8 at most; use sdpa"):
        model(**packed([np.arange(3, 12), np.arange(3, 8)], "cpu"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_long_rows_of_grouped_queries_are_tuned_as_padded_ones_are(dtype):
    """Blocks of queries that share keys, in half precision too: the scores themselves are in full."""
    rows, spec = tiny.rows(24), TrainSpec(budget=3, batch_size=8, learning_rate=1e-2)
    shape = {"max_position_embeddings": 512, "num_key_value_heads": 1}
    ends = []
    for model in (packing(TRIMMED, **shape), tiny.llama(**shape)):
        trace = train(model, rows, spec, seed=0, pad_id=0, dtype=dtype)
        ends.append((trace.curve[-1]["loss"], [p.detach() for p in model.parameters()]))
    (packed_loss, packed_weights), (padded_loss, padded_weights) = ends
    near = 1e-5 if dtype == "float32" else 1e-2
    assert packed_loss == pytest.approx(padded_loss, rel=near)
    assert all(torch.allclose(a, b, atol=10 * near) for a, b in zip(packed_weights, padded_weights, strict=True))
