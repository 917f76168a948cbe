"""One end of the model alone, and full fine-tuning."""

import pytest
import tiny
import torch
import transformers
import tuned

from itlib.errors import InputError
from itlib.methods._subset import blocks, tables
from itlib.methods.parts import untied
from itlib.registry import methods

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def moved(name, model=None, base=None, **fields):
    plain = tuned.tuned(tuned.spec(name, **fields), model)
    return plain, tuned.moved(tuned.weights(base or tiny.llama()), tuned.weights(plain))


def test_a_tied_head_is_cut_loose_and_the_embeddings_stay():
    plain, names = moved("head")
    assert names == {HEAD}
    assert torch.equal(plain.get_input_embeddings().weight, tiny.llama().get_input_embeddings().weight)
    assert plain.get_output_embeddings().weight is not plain.get_input_embeddings().weight
    assert not plain.config.tie_word_embeddings


def test_a_head_of_its_own_moves_alone():
    model, base = (tiny.llama(tie_word_embeddings=False) for _ in range(2))
    assert moved("head", model, base)[1] == {HEAD}


def test_cutting_a_head_loose_changes_no_logit_and_is_done_once():
    model = untied(tiny.llama())
    head = model.get_output_embeddings().weight
    assert torch.equal(tuned.logits(model), tuned.logits(tiny.llama()))
    assert untied(model).get_output_embeddings().weight is head


def test_a_saved_head_comes_back_on_a_tied_base(tmp_path):
    """Embeddings stay those of the base, also where the saved head would have been tied to them."""
    from itlib.spec import ModelSpec

    plain, _ = moved("head")
    methods.get("head").save(plain, tmp_path, ModelSpec())
    loaded = methods.get("head").load(tiny.llama(), tuned.spec("head"), tmp_path)
    assert tuned.moved(tuned.weights(plain), tuned.weights(loaded)) == set()
    assert torch.equal(loaded.get_input_embeddings().weight, tiny.llama().get_input_embeddings().weight)


def test_embeddings_and_head_are_one_table_where_they_are_tied():
    plain, names = moved("embedding_head")
    assert names == {EMBEDDINGS, HEAD}
    assert plain.get_output_embeddings().weight is plain.get_input_embeddings().weight
    model, base = (tiny.llama(tie_word_embeddings=False) for _ in range(2))
    plain, names = moved("embedding_head", model, base)
    assert names == {EMBEDDINGS, HEAD}
    assert not torch.equal(plain.get_output_embeddings().weight, plain.get_input_embeddings().weight)


@pytest.mark.parametrize("n_layers", [1, 2, 12])
def test_the_last_block_moves_alone(n_layers):
    """Of twelve it is block 11, and not block 1 as well."""
    model, base = (tiny.llama(num_hidden_layers=n_layers) for _ in range(2))
    _, names = moved("last_layer", model, base)
    assert names == {name for name in base.state_dict() if name.startswith(f"model.layers.{n_layers - 1}.")}
    assert len(names) == 9


@pytest.mark.parametrize("train_embeddings", [True, False])
def test_full_fine_tuning_moves_everything_and_embeddings_where_asked(train_embeddings):
    _, names = moved("full", train_embeddings=train_embeddings)
    assert names == set(tiny.llama().state_dict()) - (set() if train_embeddings else {EMBEDDINGS, HEAD})


def test_blocks_and_tables_of_another_architecture():
    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=1))
    assert blocks(model) == [f"transformer.h.{i}" for i in range(3)]
    assert tables(model) == ("transformer.wte.weight", "transformer.wte.weight")
    assert tables(tiny.llama(tie_word_embeddings=False)) == (EMBEDDINGS, HEAD)


def test_a_model_without_blocks_is_refused_in_one_line():
    model = tiny.llama()
    model.config.num_hidden_layers = 7
    with pytest.raises(InputError, match="no list of 7 blocks was found in a LlamaForCausalLM") as caught:
        tuned.attached(tuned.spec("last_layer"), model)
    assert "\n" not in str(caught.value)


def test_saved_tensors_of_another_base_are_refused(tmp_path):
    from itlib.errors import RunError
    from itlib.spec import ModelSpec

    plain, _ = moved("last_layer")
    methods.get("last_layer").save(plain, tmp_path, ModelSpec())
    for other in ({"num_hidden_layers": 1}, {"hidden_size": 16}):
        with pytest.raises(RunError, match="which the base does not have"):
            methods.get("last_layer").load(tiny.llama(**other), tuned.spec("last_layer"), tmp_path)
