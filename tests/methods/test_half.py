"""Half of a model: how much of it, which half, and what stays."""

import re
from collections import Counter

import pytest
import small
import tiny
import torch
import transformers
import tuned

from itlib.dense import matrices
from itlib.errors import InputError
from itlib.methods._peft import ATTENTION, FEEDFORWARD

LEVELS = ("category", "layer", "model")
EMBEDDINGS = "model.embed_tokens.weight"
ONE_WIDTH = {"num_key_value_heads": 4}  # all matrices of attention have 1024 entries, all others 2048


def half(level="category", model=None, seed=0, round=0, **fields):
    """Names of the tensors that move in a round."""
    given = tuned.setting(seed=seed, round=round)
    model = tuned.attached(tuned.spec("half", f"level={level}", **fields), model, given=given)
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def entries(names, model):
    """How many entries of matrices are among these tensors."""
    return sum(weight.numel() for name, weight in matrices(model) if f"{name}.weight" in names)


def kinds(names, layer):
    return Counter(
        "attention" if name.split(".")[-2] in ATTENTION else "feedforward"
        for name in names
        if name.startswith(f"model.layers.{layer}.") and name.split(".")[-2] in ATTENTION + FEEDFORWARD
    )


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_not_drawn_keeps_its_bits_and_all_that_is_drawn_moves(level):
    plain = tuned.tuned(tuned.spec("half", f"level={level}"))
    assert tuned.moved(tuned.weights(tiny.llama()), tuned.weights(plain)) == half(level)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_layers", [2, 4, 5])
def test_two_of_four_and_two_or_one_of_three_in_every_block(n_layers, seed):
    names = half(model=tiny.llama(num_hidden_layers=n_layers), seed=seed)
    found = [kinds(names, layer) for layer in range(n_layers)]
    assert [kind["attention"] for kind in found] == [2] * n_layers
    assert Counter(kind["feedforward"] for kind in found) == {2: n_layers // 2, 1: n_layers - n_layers // 2}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", ["category", "model"])
@pytest.mark.parametrize(("n_layers", "most_off"), [(2, 0), (4, 0), (5, 1024)])
def test_half_of_the_entries_move_to_within_half_a_matrix(n_layers, most_off, level, seed):
    """By category: two of four alike, and 3 of 6, 6 of 12 or 7 of 15 that are twice as large."""
    model = tiny.llama(num_hidden_layers=n_layers, **ONE_WIDTH)
    off = entries(half(level, model, seed), model) - n_layers * 10240 / 2
    if level == "category":
        assert off == -most_off
    else:
        assert abs(off) <= 1024


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_layers", [2, 3])
@pytest.mark.parametrize("level", ["category", "model"])
def test_with_matrices_of_many_sizes_the_share_is_half_to_within_what_they_differ_by(level, n_layers, seed):
    """Queries and outputs are twice as large as keys and values, so that two of the four are not always one half."""
    model = tiny.llama(num_hidden_layers=n_layers)
    off = entries(half(level, model, seed), model) - n_layers * 9216 / 2
    assert abs(off) <= (1024 if level == "model" else n_layers * 512 + 1024 * (n_layers % 2))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_layers", "kept"), [(2, 1), (4, 2), (5, 2), (12, 6)])
def test_whole_blocks_are_drawn_rounded_down(n_layers, kept, seed):
    model = tiny.llama(num_hidden_layers=n_layers)
    names = half("layer", model, seed)
    blocks = Counter(int(re.search(r"layers\.(\d+)\.", name)[1]) for name in names)
    assert len(blocks) == kept and set(blocks.values()) == {9}
    assert entries(names, model) == kept * 9216 and "model.norm.weight" not in names


@pytest.mark.parametrize("level", ["category", "model"])
@pytest.mark.parametrize(("n_layers", "kept"), [(2, 2), (4, 4), (5, 5)])
def test_half_of_the_norms_move(level, n_layers, kept):
    """Of two for each block and one at the end."""
    names = half(level, tiny.llama(num_hidden_layers=n_layers))
    assert sum("norm" in name for name in names) == kept == (2 * n_layers + 1) // 2


@pytest.mark.parametrize("level", LEVELS)
def test_the_draw_follows_from_seed_and_round(level):
    def model():
        return tiny.llama(num_hidden_layers=5)

    torch.manual_seed(7)
    first = half(level, model(), seed=3, round=1)
    torch.manual_seed(8)
    assert half(level, model(), seed=3, round=1) == first
    assert half(level, model(), seed=3, round=2) != first != half(level, model(), seed=4, round=1)


def test_over_many_rounds_every_matrix_has_its_turn():
    drawn = Counter(name for round in range(40) for name in half(round=round) if "norm" not in name)
    assert set(drawn) == {f"{name}.weight" for name, _ in matrices(tiny.llama())}
    assert all(8 <= count <= 32 for count in drawn.values())  # each about 20 times


@pytest.mark.parametrize("level", LEVELS)
def test_embeddings_move_where_full_fine_tuning_moves_them(level):
    assert half(level, train_embeddings=True) == half(level) | {EMBEDDINGS} != half(level)
    untied = tiny.llama(tie_word_embeddings=False)
    assert half(level, untied, train_embeddings=True) == half(level) | {EMBEDDINGS, "lm_head.weight"}


def gpt2():
    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=1))


def test_a_model_without_these_categories_is_refused_in_one_line():
    with pytest.raises(InputError, match="level=category needs q_proj, k_proj.*take level=layer or") as caught:
        half("category", gpt2())
    assert "\n" not in str(caught.value)


def test_a_model_with_other_names_can_be_halved_by_block():
    names = half("layer", gpt2())
    assert len({name.split(".")[2] for name in names}) == 1 and all(".h." in name for name in names)


@pytest.mark.parametrize(("given", "message"), [
    ("level=block", "level 'block' is not one of category, layer, model"),
    ("level=modell", "did you mean 'model'"),
    ("levels=model", "'half' has no option 'levels'"),
])  # fmt: skip
def test_what_is_no_level_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        small.resolved(method="half", method_options=[given])
