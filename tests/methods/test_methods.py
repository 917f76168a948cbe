"""What holds for every tuning method: where it starts, what it moves, what it keeps and what comes back."""

import functools
import re
from types import SimpleNamespace

import pytest
import tiny
import torch
import tuned

from itlib.dense import dense, matrices
from itlib.models._adapter import recorded_base
from itlib.registry import methods
from itlib.spec import ModelSpec

NAMES = methods.names()
IN_PLACE = ("embedding_head", "full", "grow_and_drop", "half", "head", "last_layer")  # no weights beside the base
IN_FRONT = ("prefix", "prompt")  # vectors before a row change what the model reads: no start of theirs is the base
MERGEABLE = [name for name in NAMES if methods.get(name).mergeable]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
MATRICES = {f"{name}.weight" for name, _ in matrices(tiny.llama())}
NORMS = {name for name in tiny.llama().state_dict() if "norm" in name}

# The tiny model: two blocks; q and o are 32 by 32, k and v 16 by 32, gate and up 64 by 32, down 32 by 64.
# In and out widths of the matrices of a block add up to 512, out widths alone to 256, entries to 9216.
N_TRAINED = {
    "corda": 2 * 4 * 512,
    "dora": 2 * 4 * 512 + 2 * 256,  # a length for every output
    "embedding_head": 64 * 32,  # tied
    "eva": 2 * 4 * 512,
    "full": 2 * 9216 + 5 * 32,
    "grow_and_drop": 2 * (10 + 5 + 5 + 10 + 3 * 20),  # a hundredth of 1024, 512 and 2048 entries, rounded
    "half": 9216 + 2 * 32,  # with level=layer: one block
    "head": 64 * 32,
    "ia3": 2 * (16 + 16 + 64),  # outputs of k and v, inputs of down
    "last_layer": 9216 + 2 * 32,
    "lora": 2 * 4 * 512,
    "lottery_ticket": 2 * 4 * 512,
    "mixture": 2 * (3 * 4 * 4 * (32 + 64) + 4 * (32 + 32 + 64)),  # four experts of rank 4, and routers
    "norms": 5 * 32,
    "olora": 2 * 4 * 512,
    "pissa": 2 * 4 * 512,
    "prefix": 5 * 2 * 2 * 16,  # a key and a value of 16 in both blocks
    "prompt": 5 * 32,
    "rslora": 2 * 4 * 512,
    "vera": 2 * (7 * 4 + 256),  # two vectors for each matrix
}


def of(name):
    return tuned.spec(name, *(("level=layer",) if name == "half" else ()))


@functools.cache
def outcome(name):
    """What a few steps of a method did, watched from before they began."""
    tuning, method = of(name), methods.get(name)
    model = tuned.attached(tuning)
    found = SimpleNamespace(method=method, tuning=tuning, start=tuned.logits(model), before=tuned.weights(model))
    found.asked = {key for key, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
    found.n_trained = method.n_trained(model)
    found.model = tuned.trained(model, tuning)
    found.after, found.scores = tuned.weights(found.model), tuned.logits(found.model)
    found.finished = method.finished(found.model)
    return found


def plain_name(name):
    """The name that a weight of the base has in the base, whatever is wrapped around it."""
    name = re.sub(r"^base_model\.(model\.(?=model\.|lm_head))?", "", name)
    return name.replace("proj.layer.", "proj.").replace(".base_layer", "")


def expected(name):
    """Names of the weights of the plain tuned model that a method is to move."""
    blocks = [{key for key in tiny.llama().state_dict() if key.startswith(f"model.layers.{i}.")} for i in (0, 1)]
    if name == "half":
        return next(block for block in blocks if block <= outcome(name).asked)
    return {
        "embedding_head": {EMBEDDINGS, HEAD},
        "full": MATRICES | NORMS,
        "head": {HEAD},
        "ia3": {key for key in MATRICES if key.split(".")[-2] in ("k_proj", "v_proj", "down_proj")},
        "last_layer": blocks[1],
        "norms": NORMS,
    }.get(name, MATRICES)


def test_every_method_is_counted_by_hand():
    assert set(N_TRAINED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_as_many_numbers_are_trained_as_counted_by_hand(name):
    assert outcome(name).n_trained == N_TRAINED[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_FRONT])
def test_the_start_is_the_base(name):
    assert (outcome(name).start - tuned.logits(tiny.llama())).abs().max() <= 2e-5
    assert (outcome(name).scores - tuned.logits(tiny.llama())).abs().max() > 1e-3


@pytest.mark.parametrize("name", IN_FRONT)
def test_vectors_in_front_of_a_row_are_another_start(name):
    assert (outcome(name).start - tuned.logits(tiny.llama())).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_that_are_asked_for_move_and_no_others(name):
    """Every tensor that requires a gradient, and none that does not; of factors both, of routers all."""
    assert tuned.moved(outcome(name).before, outcome(name).after) == outcome(name).asked != set()


@pytest.mark.parametrize("name", [name for name in NAMES if not getattr(methods.get(name), "moves_base", False)])
def test_what_is_frozen_has_the_bits_of_the_base(name):
    base, found = tuned.weights(tiny.llama()), outcome(name)
    frozen = {plain_name(key): weight for key, weight in found.after.items() if key not in found.asked}
    same = {key for key, weight in frozen.items() if key in base and torch.equal(weight, base[key])}
    assert same == set(base) - (expected(name) if name in IN_PLACE else set())


@pytest.mark.parametrize("name", MERGEABLE)
def test_in_plain_weights_what_should_move_moves_and_the_rest_has_the_bits_of_the_base(name):
    """Also for the methods that take something out of the base at their start."""
    plain = tuned.weights(tuned.tuned(of(name)))
    assert tuned.moved(tuned.weights(tiny.llama()), plain) == expected(name)


@pytest.mark.parametrize("name", MERGEABLE)
def test_in_plain_weights_the_logits_are_those_of_the_adapter(name):
    plain = tuned.tuned(of(name))
    assert (tuned.logits(plain) - outcome(name).scores).abs().max() <= 1e-5
    assert dense(plain) is plain


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_gives_the_same_logits_on_a_fresh_base(name, tmp_path):
    found = outcome(name)
    found.method.save(found.finished, tmp_path, ModelSpec(model_fingerprint="abc"))
    loaded = found.method.load(tiny.llama(), found.tuning, tmp_path)
    assert torch.equal(tuned.logits(loaded), tuned.logits(found.finished)) and not loaded.training
    assert (tuned.logits(loaded) - tuned.logits(tiny.llama())).abs().max() > 1e-3
    assert any(path.suffix == ".safetensors" for path in tmp_path.iterdir())
    assert not any(path.suffix in (".bin", ".pt") for path in tmp_path.iterdir())
    assert name == "full" or recorded_base(tmp_path) == "abc"


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_start_and_train_alike(name):
    model = tuned.attached(of(name))
    torch.manual_seed(99)
    assert tuned.moved(tuned.weights(tuned.trained(model, of(name))), outcome(name).after) == set()
