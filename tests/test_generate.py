"""Greedy generation: batches change no answer, a model's own settings change none, and it stops where it should."""

import numpy as np
import pytest
import small
import tiny
import torch

from itlib import generate
from itlib.example import Example, Turn
from itlib.generate import greedy, responses
from itlib.microworld import lexicon
from itlib.registry import methods, models
from itlib.spec import MethodSpec
from itlib.template import encode, stop_token_id

PLAIN = {"pad_id": 0, "dtype": "float32", "context_length": 64}


def prompts(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, tiny.VOCABULARY, int(rng.integers(2, 25))).astype(np.int32) for _ in range(n)]


def one_at_a_time(model, prompt, n_new, stop=()):
    """The oracle: no padding, no cache, the most likely token appended again and again."""
    ids = prompt.astype(np.int64).tolist()
    for _ in range(n_new):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in stop:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_a_batch_gives_what_each_prompt_gives_alone(monkeypatch):
    model, rows = tiny.llama(), prompts(12)
    monkeypatch.setattr(generate, "MAX_NEW_TOKENS", 8)
    wanted = [one_at_a_time(model, row, 8) for row in rows]
    assert greedy(model, rows, stop_ids=[], **PLAIN) == wanted
    monkeypatch.setattr(generate, "BATCH_TOKENS", 60)
    assert greedy(model, rows, stop_ids=[], **PLAIN) == wanted
    assert len({tuple(answer) for answer in wanted}) > 6


def test_generation_ends_at_the_first_stop_token():
    model, rows = tiny.llama(), prompts(12)
    free = [one_at_a_time(model, row, 32) for row in rows]
    stop = [free[0][3], free[1][5]]
    stopped = greedy(model, rows, stop_ids=stop, **PLAIN)
    assert stopped == [one_at_a_time(model, row, 32, stop) for row in rows]
    assert len(stopped[0]) <= 3 and any(len(answer) == 32 for answer in free)


def test_an_answer_ends_with_the_context_and_no_other_prompt_notices():
    """A model with learned positions cannot even take a step beyond its context."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    settings = {"n_positions": 30, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tiny.VOCABULARY, bos_token_id=None, eos_token_id=None, **settings))
    rows = [np.arange(3, 3 + length) for length in (2, 10, 20, 28, 30)]
    answers = greedy(model.eval(), rows, stop_ids=[], pad_id=0, dtype="float32", context_length=30)
    assert [len(answer) for answer in answers] == [28, 20, 10, 2, 0]
    assert answers == [one_at_a_time(model, row, 30 - len(row)) for row in rows]


def test_settings_of_the_model_are_set_aside_and_come_back():
    model, rows = tiny.llama(), prompts(6)
    wanted = greedy(model, rows, stop_ids=[], **PLAIN)
    own = model.generation_config
    own.do_sample, own.temperature, own.repetition_penalty, own.min_new_tokens = True, 5.0, 3.0, 2
    own.suppress_tokens = [answer[0] for answer in wanted]
    assert greedy(model, rows, stop_ids=[], **PLAIN) == wanted
    assert model.generation_config is own and own.repetition_penalty == 3.0


def test_adapters_take_part():
    model, rows = tiny.llama(), prompts(6)
    before = greedy(model, rows, stop_ids=[], **PLAIN)
    wrapped = methods.get("lora").attach(model, MethodSpec(method="lora", rank=4)).eval()
    assert greedy(wrapped, rows, stop_ids=[], **PLAIN) == before
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    after = greedy(wrapped, rows, stop_ids=[], **PLAIN)
    assert after != before and after[0] == one_at_a_time(wrapped, rows[0], 32)


@pytest.fixture(scope="module")
def shipped():
    return models.get("micro-1m").load(small.spec().base)


def test_a_prompt_is_what_training_saw_before_the_answer(shipped, monkeypatch):
    model, tokenizer = shipped
    seen = []

    def spy(model, prompts, **how):
        seen.append((prompts, how))
        return [[] for _ in prompts]

    monkeypatch.setattr(generate, "greedy", spy)
    example = Example("a", (Turn("user", "name three animals"), Turn("assistant", "wolf , bear , fox")))
    assert responses(model, tokenizer, [example], **PLAIN) == [""]
    row = encode([example], tokenizer, max_length=64)[0][0]
    (prompt,), how = seen[0]
    assert prompt.tolist() == row.input_ids[: int(row.response_mask.argmax())].tolist()
    assert how["stop_ids"] == sorted({stop_token_id(tokenizer), tokenizer.eos_token_id})


def test_the_text_is_that_of_the_response(shipped, monkeypatch):
    """Decoding the tokens of a response gives it back, so that a right answer is graded right."""
    model, tokenizer = shipped
    words = " , ".join(lexicon.NOUNS[:3])
    example = Example("a", (Turn("user", "name three"), Turn("assistant", words)))
    row = encode([example], tokenizer, max_length=64)[0][0]
    answer = row.input_ids[row.response_mask].tolist()[:-1]
    monkeypatch.setattr(generate, "greedy", lambda model, prompts, **how: [answer])
    assert responses(model, tokenizer, [example], **PLAIN) == [words]


def test_nothing_to_generate_is_nothing(shipped):
    assert responses(*shipped, [], **PLAIN) == []
