"""Instructive Decoding: the oracles of its identity with the library's classifier-free guidance."""

import dataclasses

import numpy as np
import pytest
import small
import tiny
import torch

from itlib.contrast import Contrast
from itlib.decoding import Decoding
from itlib.errors import RunError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.execute import execute, run_one
from itlib.generate import greedy
from itlib.packing import KERNEL, register_kernel
from itlib.registry import models, sources
from itlib.result import ITEM_COLUMNS
from itlib.store import Store
from itlib.template import Encoded, encode, encode_prompt, stop_token_id

PLAIN = {"pad_id": 0, "dtype": "float32"}
WEIGHTS = (-0.5, -0.3, 0.4)


def column(scores, name):
    return [row[ITEM_COLUMNS.index(name)] for row in scores]


def examples(n):
    return [Example(f"e{i}", (Turn("user", "q"), Turn("assistant", "a")), family="f") for i in range(n)]


def noisy_rows(rows, seed=1):
    """Other prompts of other lengths before the same answers."""
    rng, found = np.random.default_rng(seed), {}
    for row in rows:
        answer = row.input_ids[row.response_mask]
        prompt = rng.integers(3, tiny.VOCABULARY, int(rng.integers(2, 14))).astype(np.int32)
        ids = np.concatenate([prompt, answer])
        found[row.example_index] = Encoded(row.example_index, ids, np.arange(len(ids)) >= len(prompt), 1)
    return found


def scored(model, rows, decoding):
    return score_items(model, examples(len(rows)), rows, exact_match=True, decoding=decoding, **PLAIN)


def test_weight_zero_is_the_base_to_the_last_bit():
    model, rows = tiny.llama(), tiny.rows(20)
    assert scored(model, rows, Contrast(noisy_rows(rows), 0.0)) == scored(model, rows, Decoding())


@pytest.mark.parametrize("weight", [-0.9, -0.5, -0.1, 0.3, 1.0])
def test_a_contrast_with_itself_leaves_the_best_token(weight):
    model, rows = tiny.llama(), tiny.rows(20)
    same = Contrast({row.example_index: row for row in rows}, weight)
    own, targets, _ = Decoding().logits(model, rows, 0)
    mixed, _, _ = same.logits(model, rows, 0)
    assert torch.equal(own.argmax(-1), mixed.argmax(-1))
    assert torch.allclose(mixed, (1 + weight) * own, atol=1e-4)


def test_the_logits_are_the_sum_by_hand():
    model, rows = tiny.llama(), tiny.rows(8)
    noisy = noisy_rows(rows)
    mixed, targets, row_of = Contrast(noisy, -0.3).logits(model, rows, 0)
    for row in range(8):
        parts = []
        for encoded in (rows[row], noisy[row]):
            ids = torch.as_tensor(encoded.input_ids[None].astype(np.int64))
            with torch.no_grad():
                parts.append(model(input_ids=ids).logits[0, np.flatnonzero(encoded.response_mask) - 1])
        assert torch.allclose(mixed[row_of == row], parts[0] - 0.3 * parts[1], atol=1e-4)


def one_at_a_time(model, prompt, noisy, weight, n_new):
    """The oracle of greedy decoding: two contexts, no padding, no cache, no library."""
    answer = []
    for _ in range(n_new):
        with torch.no_grad():
            z, z_noisy = (
                model(input_ids=torch.tensor([[*map(int, ids), *answer]]), use_cache=False).logits[0, -1]
                for ids in (prompt, noisy)
            )
        answer.append(int((z + weight * z_noisy).argmax()))
    return answer


def prompts(n, seed=0, longest=20):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, tiny.VOCABULARY, int(rng.integers(2, longest))).astype(np.int32) for _ in range(n)]


def against(own, others, weight, answers=None):
    """A contrast for generation; what its rows answer plays no part."""
    rows = {}
    for i, other in enumerate(others):
        ids = np.concatenate([other, [3] if answers is None else answers[i]]).astype(np.int32)
        rows[i] = Encoded(i, ids, np.arange(len(ids)) >= len(other), 1)
    return Contrast(rows, weight)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_generation_by_guidance_is_the_contrast_token_by_token(weight, monkeypatch):
    """Prompts of different lengths share a batch; noisy ones do only with their own length."""
    from itlib import generate

    monkeypatch.setattr(generate, "MAX_NEW_TOKENS", 8)
    model, own, others = tiny.llama(), prompts(8), prompts(8, seed=1, longest=5)
    wanted = [one_at_a_time(model, *pair, weight, 8) for pair in zip(own, others, strict=True)]
    how = {"stop_ids": [], "context_length": 64, **PLAIN}
    assert greedy(model, own, decoding=against(own, others, weight), **how) == wanted
    assert wanted != greedy(model, own, **how)


def test_guidance_is_exact_for_learned_positions_too():
    """The library gives padded noisy prompts no positions of their own, so none of ours is padded."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings = {"n_positions": 60, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tiny.VOCABULARY, bos_token_id=None, eos_token_id=None, **settings))
    model.eval()
    own, others = prompts(5), prompts(5, seed=1)
    wanted = [one_at_a_time(model, *pair, -0.5, 32) for pair in zip(own, others, strict=True)]
    how = {"stop_ids": [], "context_length": 60, **PLAIN}
    assert greedy(model, own, decoding=against(own, others, -0.5), **how) == wanted


def test_exact_match_is_what_guidance_generates():
    """Half of the rows get what the contrast says as gold, the other half something else."""
    model, own, others = tiny.llama(), prompts(20), prompts(20, seed=1)
    said = greedy(model, own, stop_ids=[], context_length=64, decoding=against(own, others, -0.3), **PLAIN)
    rng, rows, noisy, wanted = np.random.default_rng(0), [], {}, []
    for i, answer in enumerate(said):
        gold = np.array(answer[: int(rng.integers(1, 5))], dtype=np.int32)
        if i % 2:
            gold[int(rng.integers(len(gold)))] = int(rng.integers(3, tiny.VOCABULARY))
        wanted.append(float(gold.tolist() == answer[: len(gold)]))
        pair = [np.concatenate([prompt, gold]).astype(np.int32) for prompt in (own[i], others[i])]
        masks = [np.arange(len(ids)) >= len(ids) - len(gold) for ids in pair]
        rows.append(Encoded(i, pair[0], masks[0], 1))
        noisy[i] = Encoded(i, pair[1], masks[1], 1)
    assert column(scored(model, rows, Contrast(noisy, -0.3)), "exact_match") == wanted
    assert 0 < sum(wanted) < 20
    register_kernel()
    packed = tiny.llama(attn_implementation=KERNEL)
    assert column(scored(packed, rows, Contrast(noisy, -0.3)), "exact_match") == wanted


def test_a_noisy_row_with_another_answer_is_refused():
    model, rows = tiny.llama(), tiny.rows(4)
    noisy = noisy_rows(rows)
    wrong = dataclasses.replace(noisy[0], input_ids=(noisy[0].input_ids + 1) % tiny.VOCABULARY)
    with pytest.raises(RunError, match="changed the tokens of an answer"):
        Contrast(noisy | {0: wrong}, -0.3).logits(model, rows, 0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A shipped model after a short tuning: the store that keeps its weights, and its spec."""
    store = Store(tmp_path_factory.mktemp("store"))
    spec = small.resolved(
        n_train=200, pool_size=400, budget=60, batch_size=16, learning_rate=4e-3, n_eval=4, n_reference=5
    )
    run_one(dataclasses.replace(spec, keep_weights=True), store)
    return store, spec


def variant(spec, **fields):
    return small.resolve(small.with_fields(spec, **fields))


@pytest.mark.parametrize("kind", ["opposite", "null"])
def test_exact_match_of_a_tuned_model_is_that_of_guided_generation(tuned, kind):
    """Item by item, on the items of a run, against one call of the library per item."""
    store, spec = tuned
    run = execute(variant(spec, contrast=kind, contrast_weight=-0.3), store)
    assert run.totals["n_steps"] == 60
    source, evaluation = sources.get("microworld"), run.spec.evaluate
    own, noisy = source.held_out(run.spec.data, evaluation), source.noisy(run.spec.data, evaluation, kind, seed=0)
    from itlib.registry import methods

    base, tokenizer = models.get("micro-1m").load(spec.base)
    model = methods.get("full").load(base, spec.tuning, store.weights(spec)).eval()
    stop = stop_token_id(tokenizer)
    found = dict(zip(column(run.items, "item"), column(run.items, "exact_match"), strict=True))
    rows, _ = encode(own, tokenizer, max_length=512)
    for example, other, row in list(zip(own, noisy, rows, strict=True))[::6]:
        prompt, negative = (
            torch.as_tensor(encode_prompt(e, tokenizer)[None].astype(np.int64)) for e in (example, other)
        )
        gold = row.input_ids[row.response_mask].tolist()
        said = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), guidance_scale=1 / 0.7,
            negative_prompt_ids=negative, negative_prompt_attention_mask=torch.ones_like(negative),
            do_sample=False, max_new_tokens=len(gold), eos_token_id=stop, pad_token_id=0,
        )[0, prompt.shape[1] :].tolist()  # fmt: skip
        assert found[example.id] == float(said == gold), example.id
    assert 0 < np.nanmean([value for value in found.values() if value is not None]) < 1


def test_a_run_with_a_contrast_differs_on_items_and_not_on_documents(tuned):
    store, spec = tuned
    plain, contrasted, noisy = (
        execute(variant(spec, **fields), store)
        for fields in ({}, {"contrast": "opposite", "contrast_weight": -0.5}, {"noisy_prompt": "null"})
    )
    for other in (contrasted, noisy):
        assert column(other.items, "item") == column(plain.items, "item")
        assert column(other.items, "n_tokens") == column(plain.items, "n_tokens")
        assert column(other.items, "nll")[:-5] != column(plain.items, "nll")[:-5]
        assert column(other.items, "nll")[-5:] == column(plain.items, "nll")[-5:]


def test_open_ended_items_are_generated_under_the_contrast(tuned):
    store, spec = tuned
    families = {"eval_families": ("some_members",), "n_eval": 4, "n_reference": 0}
    plain, contrasted = (
        execute(variant(spec, **families, **fields), store)
        for fields in ({}, {"contrast": "null", "contrast_weight": -0.9})
    )
    assert column(contrasted.items, "graded") and None not in column(contrasted.items, "graded")
    assert column(plain.items, "generated") != column(contrasted.items, "generated")


def test_without_weight_there_is_no_contrast():
    plain = small.resolved()
    assert small.resolved(contrast="opposite") == plain == small.resolved(contrast_weight=-0.3)
    assert small.resolved(contrast="opposite", contrast_weight=-0.3) != plain
