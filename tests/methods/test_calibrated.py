"""Adapters that start from what a model reads: against the decompositions that they stand for."""

from dataclasses import replace

import numpy as np
import pytest
import small
import tiny
import torch
import tuned

from itlib.errors import InputError
from itlib.methods import N_CALIBRATION
from itlib.methods.calibrated import _together, calibration
from itlib.packing import KERNEL, register_kernel
from itlib.registry import methods
from itlib.template import Encoded

KEEPS = ("knowledge", "instruction")
MANY = tuned.setting(examples=tiny.rows(60, seed=3), documents=lambda: tiny.rows(60, seed=4))
LAYERS = ("layers.0.self_attn.k_proj", "layers.1.mlp.down_proj")


def corda(keep, **fields):
    return tuned.spec("corda", f"keep={keep}", **fields)


def inputs(rows, name):
    """What a layer of the base reads on each of some rows."""
    model, found = tiny.llama(), []
    model.get_submodule(f"model.{name}").register_forward_hook(lambda layer, given, out: found.append(given[0][0]))
    with torch.no_grad():
        for row in rows:
            model(input_ids=torch.as_tensor(row.input_ids.astype(np.int64))[None])
    return found


# ---- context-oriented decomposition -------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("keep", KEEPS)
def test_the_start_is_the_base_whatever_the_lengths_of_texts(keep, rank, attention):
    register_kernel()
    assert len({len(row.input_ids) for row in MANY.examples}) > 5
    model = tuned.attached(corda(keep, rank=rank), tiny.llama(attn_implementation=attention), given=MANY)
    assert (tuned.logits(model) - tuned.logits(tiny.llama())).abs().max() <= 1e-4


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("keep", "rows", "directions"), [
    ("knowledge", tiny.rows(60, seed=4), slice(-3, None)), ("instruction", tiny.rows(60, seed=3), slice(3)),
])  # fmt: skip
def test_what_is_taken_out_are_the_directions_of_weight_times_moments(keep, rows, directions, name):
    """W C = U S V^T; the adapter starts as the last or first parts of U S (V^T C^-1). The library scales each text."""
    model = tuned.attached(corda(keep, rank=3, alpha=3.0), given=MANY)
    taken = model.get_submodule(f"base_model.model.model.{name}").get_delta_weight("default").double()
    weight = tiny.llama().model.get_submodule(name).weight.double()
    read = [x.double() / x.max().abs() for x in inputs(rows, name)]
    moments = sum(x.T @ x for x in read) / len(read)
    moments += 0.01 * moments.diagonal().mean() * torch.eye(len(moments))
    left, values, right = torch.linalg.svd(weight @ moments, full_matrices=False)
    wanted = left[:, directions] @ torch.diag(values[directions]) @ right[directions] @ torch.linalg.inv(moments)
    assert torch.allclose(taken, wanted, atol=2e-3 * float(wanted.abs().max()))
    others = {KEEPS[0]: slice(3), KEEPS[1]: slice(-3, None)}[keep]
    other = left[:, others] @ torch.diag(values[others]) @ right[others] @ torch.linalg.inv(moments)
    assert not torch.allclose(taken, other, atol=0.1 * float(wanted.abs().max()))


def test_knowledge_reads_documents_and_instruction_reads_examples():
    def start(keep, given):
        return tuned.weights(tuned.attached(corda(keep), given=given))

    other = replace(MANY, documents=lambda: tiny.rows(60, seed=7))
    assert tuned.moved(start("knowledge", MANY), start("knowledge", other)) != set()
    assert tuned.moved(start("instruction", MANY), start("instruction", other)) == set()
    other = replace(MANY, examples=tiny.rows(60, seed=8))
    assert tuned.moved(start("knowledge", MANY), start("knowledge", other)) == set()
    assert tuned.moved(start("instruction", MANY), start("instruction", other)) != set()


def test_knowledge_without_documents_is_refused():
    with pytest.raises(InputError, match="'corda' calibrates on pretraining documents, and the source has none") as one:
        tuned.attached(corda("knowledge"), given=tuned.setting(documents=lambda: ()))
    assert "\n" not in str(one.value)
    tuned.attached(corda("instruction"), given=tuned.setting(documents=lambda: ()))


@pytest.mark.parametrize(("name", "options"), [("corda", ("keep=instruction",)), ("eva", ())])
def test_without_examples_it_is_refused(name, options):
    with pytest.raises(InputError, match=f"'{name}' calibrates on the examples of a run"):
        tuned.attached(tuned.spec(name, *options), given=tuned.setting(examples=()))


def test_what_is_kept_is_one_of_two():
    with pytest.raises(InputError, match="keep 'instructions' is not one of knowledge, instruction .did you mean"):
        small.resolved(method="corda", method_options=["keep=instructions"])


def test_reading_leaves_nothing_on_the_layers():
    model = tuned.attached(corda("instruction"))
    for module in model.modules():
        assert not module._forward_hooks and not hasattr(module, "covariance_matrix")


# ---- explained variance -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_the_inner_factor_holds_the_principal_directions_of_what_a_layer_reads(name):
    model = tuned.attached(tuned.spec("eva", rank=3), given=MANY)
    inner = model.get_submodule(f"base_model.model.model.{name}").lora_A["default"].weight.double()
    read = torch.cat(inputs(MANY.examples, name)).double()
    wanted = torch.linalg.svd(read - read.mean(0))[2][:3]
    assert torch.allclose(inner @ inner.T, torch.eye(3, dtype=torch.float64), atol=1e-3)
    assert (inner @ wanted.T).diagonal().abs().min() > 0.97  # the library draws on the way; by chance it is near 0.2


def test_all_layers_have_the_rank_and_none_of_them_a_change():
    model = tuned.attached(tuned.spec("eva", rank=3), given=MANY)
    factors = {name: weight for name, weight in model.named_parameters() if ".lora_" in name}
    assert {weight.shape[0] for name, weight in factors.items() if ".lora_A." in name} == {3}
    assert not any(weight.any() for name, weight in factors.items() if ".lora_B." in name) and len(factors) == 28
    assert all(weight.requires_grad for weight in factors.values())


def test_rows_shorter_than_the_rank_are_read_like_all_others(capsys):
    """The library alone leaves them out, and goes round for ever when there are no others."""
    rows = tiny.rows(30, longest=9)
    model = tuned.attached(tuned.spec("eva", rank=12), given=tuned.setting(examples=rows))
    inner = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj").lora_A["default"].weight.double()
    read = torch.cat(inputs(rows, "layers.0.self_attn.q_proj")).double()
    wanted = torch.linalg.svd(read - read.mean(0))[2][:4]
    assert (inner @ wanted.T).norm(dim=0).min() > 0.99
    assert "skipping" not in capsys.readouterr().out


def test_fewer_tokens_than_directions_are_refused():
    rows = tiny.rows(1)
    with pytest.raises(InputError, match=r"rank: 'eva' reads \d+ tokens and cannot find 20 directions"):
        tuned.attached(tuned.spec("eva", rank=20), given=tuned.setting(examples=rows))


@pytest.mark.parametrize(("n_tokens", "wanted"), [
    (1, [4, 4, 9, 4, 5]), (8, [8, 9, 9]), (9, [17, 9]), (10, [26]), (100, [26]),
])  # fmt: skip
def test_texts_are_put_together_in_order_with_no_small_rest(n_tokens, wanted):
    rows = [Encoded(i, np.full(n, 3, np.int32), np.ones(n, bool), 1) for i, n in enumerate((4, 4, 9, 4, 5))]
    groups = _together(rows, n_tokens)
    assert [row for group in groups for row in group] == rows
    assert [sum(len(row.input_ids) for row in group) for group in groups] == wanted


# ---- what is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options", "rows"), [
    ("eva", (), MANY.examples), ("corda", ("keep=instruction",), MANY.examples), ("corda", (), MANY.documents()),
])  # fmt: skip
def test_tokens_that_are_read_are_noted(name, options, rows):
    given = replace(MANY, notes={})
    tuned.attached(tuned.spec(name, *options), given=given)
    assert given.notes == {"calibration_n_tokens": sum(len(row.input_ids) for row in rows)}
    tuned.attached(tuned.spec(name, *options), given=replace(given, round=1))
    assert given.notes["calibration_n_tokens"] == 2 * sum(len(row.input_ids) for row in rows)


def test_of_many_texts_a_random_part_is_read():
    rows = tiny.rows(N_CALIBRATION + 40)

    def read(seed):
        return [row.example_index for row in calibration(tuned.setting(examples=rows, seed=seed), tuned.spec("eva"))]

    assert len(set(read(0))) == N_CALIBRATION == len(read(0))
    assert read(0) == read(0) != read(1)


def test_methods_that_read_documents_say_so():
    assert [name for name in methods.names() if methods.get(name).documents] == ["corda"]
