"""A soft prompt: the only thing that moves, in front of a model that stays what it was."""

from dataclasses import replace

import numpy as np
import pytest
import small
import tiny
import torch

from itlib.errors import InputError
from itlib.execute import execute, run_one
from itlib.generate import greedy
from itlib.models._adapter import recorded_base
from itlib.packing import KERNEL, register_kernel, virtual_tokens
from itlib.registry import methods
from itlib.resolve import resolve
from itlib.spec import MethodSpec, ModelSpec, TrainSpec, with_fields
from itlib.store import Store
from itlib.train import response_logits, train

PLAIN = {"pad_id": 0, "dtype": "float32"}
SPEC = MethodSpec(method="prompt", n_virtual_tokens=5)


def prompted(seed=0, spread=0.5, **changes):
    """A tiny model behind a prompt that differs from its start."""
    torch.manual_seed(seed)
    model = methods.get("prompt").attach(tiny.llama(**changes), SPEC).eval()
    with torch.no_grad():
        prompt = model.prompt_encoder["default"].embedding.weight
        prompt += spread * torch.randn(prompt.shape, generator=torch.Generator().manual_seed(seed))
    return model


def test_only_the_prompt_moves():
    before = {name: weight.clone() for name, weight in tiny.llama().state_dict().items()}
    torch.manual_seed(0)
    model = methods.get("prompt").attach(tiny.llama(), SPEC)
    start = model.prompt_encoder["default"].embedding.weight.detach().clone()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 5 * 32
    train(model, tiny.rows(8), TrainSpec(budget=4, batch_size=8, learning_rate=0.1), seed=0, **PLAIN)
    assert (model.prompt_encoder["default"].embedding.weight - start).abs().max() > 0.05
    assert all(torch.equal(weight, before[name]) for name, weight in model.get_base_model().state_dict().items())


def test_a_prompt_starts_as_words_of_the_vocabulary():
    model, other = tiny.llama(), tiny.llama()
    torch.manual_seed(3)
    model = methods.get("prompt").attach(model, SPEC)
    words = model.get_base_model().get_input_embeddings().weight
    prompt = model.prompt_encoder["default"].embedding.weight
    assert all((words == vector).all(dim=1).any() for vector in prompt)
    torch.manual_seed(4)
    other = methods.get("prompt").attach(other, SPEC).prompt_encoder["default"].embedding.weight
    assert not torch.equal(prompt, other)


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
def test_without_its_prompt_the_base_is_unchanged(attention):
    register_kernel()
    rows, model = tiny.rows(6), prompted(attn_implementation=attention)
    with torch.no_grad():
        wanted = response_logits(tiny.llama(), rows, pad_id=0)[0]
        alone = torch.as_tensor(rows[0].input_ids[None].astype(np.int64))
        with model.disable_adapter():
            assert torch.allclose(model(input_ids=alone).logits, tiny.llama()(input_ids=alone).logits, atol=1e-5)
        assert not torch.allclose(response_logits(model, rows, pad_id=0)[0], wanted, atol=0.1)


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
def test_logits_are_those_of_the_whole_row_behind_the_prompt(attention):
    register_kernel()
    rows, model = tiny.rows(6), prompted(attn_implementation=attention)
    with torch.no_grad():
        logits, targets, row_of = response_logits(model, rows, pad_id=0)
        for i, row in enumerate(rows):
            whole = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
            assert len(whole) == 5 + len(row.input_ids)
            wanted = whole[5 + np.flatnonzero(row.response_mask[1:])]
            assert torch.allclose(logits[row_of == i], wanted, atol=2e-5)
            assert targets[row_of == i].tolist() == row.input_ids[1:][row.response_mask[1:]].tolist()


def test_greedy_decoding_sees_the_prompt_whatever_the_batch():
    """Against an argmax loop over whole rows, prompts of many lengths in one call."""
    model = prompted()
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, tiny.VOCABULARY, int(rng.integers(3, 14))).astype(np.int32) for _ in range(8)]
    answers = greedy(model, prompts, stop_ids=[], context_length=30, **PLAIN)
    assert answers != greedy(tiny.llama(), prompts, stop_ids=[], context_length=30, **PLAIN)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = prompt.tolist()
        for _ in range(min(32, 30 - len(prompt))):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.as_tensor([ids])).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


def test_a_saved_prompt_comes_back(tmp_path):
    model, rows = prompted(), tiny.rows(6)
    methods.get("prompt").save(model, tmp_path, ModelSpec(model_fingerprint="abc"))
    assert (tmp_path / "adapter_model.safetensors").is_file() and recorded_base(tmp_path) == "abc"
    loaded = methods.get("prompt").load(tiny.llama(), SPEC, tmp_path)
    assert virtual_tokens(loaded) == 5 and not loaded.training
    with torch.no_grad():
        assert torch.equal(response_logits(loaded, rows, 0)[0], response_logits(model, rows, 0)[0])


RUN = {"method": "prompt", "n_virtual_tokens": 4, "learning_rate": 0.1, "families": ["plural", "past"]}


def test_a_run_is_found_again_and_scored_from_its_weights(tmp_path):
    store, spec = Store(tmp_path), replace(small.resolved(**RUN), keep_weights=True)
    first = run_one(spec, store)
    assert first.status == "done", first.error
    assert first.totals["n_trainable_parameters"] == 4 * 128
    assert execute(spec).items == first.items
    perturbed = resolve(with_fields(spec, perturbation="typo", severity=1.0))
    again = run_one(perturbed, store)
    assert again.totals["n_steps"] == first.totals["n_steps"] and again.items != first.items


def test_exact_match_is_what_generation_gives(tmp_path):
    """Teacher-forced scores of a prompt-tuned run against its greedy answers, item by item."""
    from itlib.evaluate import score_items
    from itlib.execute import load_base
    from itlib.generate import finished_responses
    from itlib.registry import sources
    from itlib.template import encode, pad_id

    spec = replace(small.resolved(**RUN | {"budget": 30, "n_train": 60, "n_eval": 6}), keep_weights=True)
    store = Store(tmp_path)
    run_one(spec, store)
    base, tokenizer = load_base(spec)
    model = methods.get("prompt").load(base, spec.tuning, store.weights(spec))
    items = sources.get("microworld").held_out(spec.data, spec.evaluate)
    encoded, _ = encode(items, tokenizer, max_length=128)
    how = {"pad_id": pad_id(tokenizer), "dtype": "float32"}
    scored = score_items(model, items, encoded, exact_match=True, **how)
    said = finished_responses(model, tokenizer, items, context_length=256, **how)
    right = [text == item.response and ended for item, (text, ended) in zip(items, said, strict=True)]
    assert [bool(row[5]) for row in scored] == right


@pytest.mark.parametrize(("changes", "message"), [
    ({"n_virtual_tokens": 0}, "n_virtual_tokens: must be greater than 0"),
    ({"n_virtual_tokens": 1001}, "n_virtual_tokens: must be at most 1000"),
    ({"n_virtual_tokens": 1000}, "n_virtual_tokens: max_length 128 and 1000 virtual tokens are above the"),
])  # fmt: skip
def test_prompts_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        small.resolved(method="prompt", **changes)


def test_fields_of_other_methods_make_no_second_run():
    plain = small.resolved(method="prompt")
    assert small.resolved(method="prompt", rank=4, alpha=1.0, targets="q_proj", train_embeddings=True) == plain
    assert small.resolved(method="prompt", n_virtual_tokens=3) != plain
    assert small.resolved(method="lora", n_virtual_tokens=3) == small.resolved(method="lora")
    assert small.resolved(n_virtual_tokens=3) == small.resolved()
