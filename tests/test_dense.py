"""What is a matrix of a model, and a tuned change written into it."""

import pytest
import tiny
import torch
import tuned

from itlib.dense import dense, matrices
from itlib.errors import InputError, RunError
from itlib.registry import methods
from itlib.resolve import resolve

PARTS = {
    "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32), "mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32), "mlp.down_proj": (32, 64),
}  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_are_the_linear_layers_of_the_blocks_and_no_table_of_words(tied):
    model = tiny.llama(num_hidden_layers=3, tie_word_embeddings=tied)
    found = {name: tuple(weight.shape) for name, weight in matrices(model)}
    assert found == {f"model.layers.{i}.{part}": shape for i in range(3) for part, shape in PARTS.items()}


def test_matrices_are_the_weights_themselves():
    model = tiny.llama()
    with torch.no_grad():
        for _, weight in matrices(model):
            weight.zero_()
    assert {name for name, weight in model.named_parameters() if not weight.any()} == {
        f"{name}.weight" for name, _ in matrices(model)
    }


def test_a_plain_model_comes_back_as_it_is():
    model = tiny.llama()
    before = tuned.weights(model)
    assert dense(model) is model and tuned.moved(before, tuned.weights(model)) == set()


def test_a_low_rank_change_is_written_into_the_weights_by_hand():
    model = tuned.trained(tuned.attached(tuned.spec("lora")), tuned.spec("lora"))
    factors = {name: weight.detach().double() for name, weight in model.named_parameters()}
    plain = dense(model)
    for name, change in tuned.changes(plain).items():
        inner, outer = (factors[f"base_model.model.{name[:-7]}.lora_{side}.default.weight"] for side in "AB")
        assert torch.allclose(change.double(), 8.0 / 4 * outer @ inner, atol=1e-7) and change.abs().max() > 1e-3
    assert type(plain) is type(tiny.llama()) and not any("lora" in name for name in plain.state_dict())


@pytest.mark.parametrize("name", ["prompt", "prefix", "mixture"])
def test_a_change_that_is_none_of_weights_is_refused(name):
    with pytest.raises(RunError, match="cannot be written into the weights") as caught:
        dense(tuned.attached(tuned.spec(name)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lora", "dora", "vera", "ia3"])
def test_a_broken_change_is_refused(name):
    model = tuned.attached(tuned.spec(name))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.fill_(float("nan"))
    with pytest.raises(RunError, match="cannot be written into the weights"):
        dense(model)


@pytest.mark.parametrize("name", methods.names())
def test_what_reads_or_changes_weights_is_refused_for_methods_that_tune_none(name):
    import small

    for asked in ({"measures": ["spectra"]}, {"edit": "intruder"}):
        spec = small.spec(method=name, rank=4, n_virtual_tokens=5, **asked)
        if methods.get(name).mergeable:
            assert resolve(spec).tuning.method == name
        else:
            with pytest.raises(InputError, match=f"method '{name}' (changes|tunes) none"):
                resolve(spec)
