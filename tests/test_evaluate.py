"""Scores: teacher-forced exact match is greedy decoding; likelihoods do not depend on the batch."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from itlib import evaluate
from itlib.evaluate import batch_tokens, score_items
from itlib.example import Example, Turn
from itlib.result import ITEM_COLUMNS, item_from_text
from itlib.template import Encoded


def examples(n):
    return [Example(f"e{i}", (Turn("user", "q"), Turn("assistant", "a")), family="f") for i in range(n)]


def columns(scores):
    return {name: [row[i] for row in scores] for i, name in enumerate(ITEM_COLUMNS)}


def test_exact_match_is_what_greedy_generation_gives():
    """Half of the rows get the model's own greedy continuation as gold, the other half a disturbed one."""
    model, rng = tiny.llama(), np.random.default_rng(0)
    model.generation_config.eos_token_id = None  # so that every continuation has the length asked for
    rows, wanted = [], []
    for i in range(40):
        prompt = rng.integers(3, tiny.VOCABULARY, int(rng.integers(3, 12)))
        n_new = int(rng.integers(1, 5))
        out = model.generate(torch.as_tensor(prompt[None]), max_new_tokens=n_new, do_sample=False, pad_token_id=0)[
            0
        ].numpy()
        gold = out[len(prompt) :].copy()
        if i % 2:
            gold[int(rng.integers(len(gold)))] = int(rng.integers(3, tiny.VOCABULARY))
        again = model.generate(torch.as_tensor(prompt[None]), max_new_tokens=n_new, do_sample=False, pad_token_id=0)[
            0
        ].numpy()[len(prompt) :]
        wanted.append(float((again == gold).all()))
        mask = np.arange(len(out)) >= len(prompt)
        rows.append(Encoded(i, np.concatenate([prompt, gold]).astype(np.int32), mask, 1))
    scores = columns(score_items(model, examples(40), rows, pad_id=0, dtype="float32", exact_match=True))
    assert scores["exact_match"] == wanted
    assert 0 < sum(wanted) < 40


def test_lenient_match_ignores_only_the_stop_token():
    model, rows = tiny.llama(), tiny.rows(30)
    scores = columns(score_items(model, examples(30), rows, pad_id=0, dtype="float32", exact_match=True))
    for row, lenient in zip(rows, scores["exact_match_lenient"], strict=True):
        shorter = Encoded(row.example_index, row.input_ids[:-1], row.response_mask[:-1], 1)
        if not shorter.response_mask.any():
            assert lenient == 1.0  # nothing but the stop token was asked for
            continue
        alone = columns(score_items(model, examples(30), [shorter], pad_id=0, dtype="float32", exact_match=True))
        assert alone["exact_match"] == [lenient]


def test_nll_by_hand_and_independent_of_the_batch(monkeypatch):
    model, rows = tiny.llama(), tiny.rows(20)
    whole = columns(score_items(model, examples(20), rows, pad_id=0, dtype="float32", exact_match=False))
    monkeypatch.setitem(evaluate.BATCH_TOKENS, "cpu", 1)
    single = columns(score_items(model, examples(20), rows, pad_id=0, dtype="float32", exact_match=False))
    assert whole["nll"] == pytest.approx(single["nll"], abs=1e-4)
    assert whole["exact_match"] == [None] * 20
    for row, nll, count in zip(rows, whole["nll"], whole["n_tokens"], strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
        at = np.flatnonzero(row.response_mask)
        log_p = torch.log_softmax(logits, -1)[at - 1, torch.as_tensor(row.input_ids[at].astype(np.int64))]
        assert nll == pytest.approx(-float(log_p.sum()), abs=1e-4) and count == len(at)


def test_a_uniform_model_costs_log_vocabulary_per_token():
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).eval()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    scores = columns(score_items(model, examples(5), tiny.rows(5), pad_id=0, dtype="float32", exact_match=False))
    for nll, count in zip(scores["nll"], scores["n_tokens"], strict=True):
        assert nll == pytest.approx(count * np.log(64), rel=1e-6)


def test_an_open_ended_item_is_graded_and_never_matched():
    model, rows = tiny.llama(), tiny.rows(3)
    plain, listed, failed = examples(3)
    listed = dataclasses.replace(listed, constraints=("count 3", "distinct", "include wolf"))
    failed = dataclasses.replace(failed, constraints=("count 3",), category="lists", familiarity="weak")
    generated = {1: "wolf , bear", 2: ""}
    how = {"pad_id": 0, "dtype": "float32", "exact_match": True}
    scores = score_items(model, [plain, listed, failed], rows, generated=generated, **how)
    found = columns(scores)
    assert found["graded"] == [None, 0.666666667, 0.0] and found["generated"] == ["", "wolf , bear", ""]
    assert found["exact_match"][0] is not None and found["exact_match"][1:] == [None, None]
    assert found["exact_match_lenient"][1:] == [None, None]
    assert found["category"] == ["all", "all", "lists"] and found["familiarity"] == ["all", "all", "weak"]
    assert found["nll"] == columns(score_items(model, examples(3), rows, **how))["nll"]
    assert tuple(item_from_text(["" if cell is None else str(cell) for cell in row]) for row in scores) == scores


def test_a_wide_vocabulary_gets_smaller_batches_on_a_gpu():
    narrow, wide = tiny.llama(), tiny.llama(vocab_size=128_256)
    assert batch_tokens("cpu", narrow) == batch_tokens("cpu", wide) == 2048
    assert batch_tokens("cuda", narrow) == 65536 and batch_tokens("cuda", wide) * 128_256 <= 2**30
    assert batch_tokens("cuda", wide) > 8000
