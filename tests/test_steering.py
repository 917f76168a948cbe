"""Attention steering: its closed form, and that it does nothing where there is nothing to steer."""

import dataclasses
import math

import numpy as np
import pytest
import small
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.execute import execute
from itlib.generate import greedy
from itlib.packing import KERNEL, register_kernel
from itlib.registry import methods, models
from itlib.result import ITEM_COLUMNS
from itlib.spec import MethodSpec
from itlib.steering import Steering, instruction_span, steered
from itlib.template import encode
from itlib.train import response_logits

PLAIN = {"pad_id": 0, "dtype": "float32"}
shares = st.floats(0.001, 0.999)


def test_two_keys_by_hand():
    """Mass .1 on the span, target .3: weights .3 and .9 are normalised to .25 and .75."""
    weights, span = torch.tensor([[0.1, 0.9]]), torch.tensor([True, False])
    assert torch.allclose(steered(weights, span, 0.3), torch.tensor([[0.25, 0.75]]))
    assert torch.equal(steered(weights, span, 0.1), weights) and torch.equal(steered(weights, span, 0.05), weights)


@given(shares, shares, st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(1, 5))
def test_the_new_mass_is_the_closed_form_and_proportions_stay(mass, target, parts, n_span):
    n_span = min(n_span, len(parts) - 1)
    span = torch.arange(len(parts)) < n_span
    weights = torch.tensor(parts, dtype=torch.float64)
    weights = torch.where(span, mass * weights / weights[span].sum(), (1 - mass) * weights / weights[~span].sum())
    after = steered(weights, span, target)
    wanted = mass if mass >= target else target / (1 - mass + target)
    assert float(after.sum()) == pytest.approx(1) and float(after[span].sum()) == pytest.approx(wanted)
    for side in (span, ~span):
        assert torch.allclose(after[side] / after[side].sum(), weights[side] / weights[side].sum())


def test_it_is_the_bonus_of_the_paper_on_scores():
    scores = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    span = torch.tensor([True, True, False, False, True, False, False])
    weights = scores.softmax(-1)
    mass = weights[..., span].sum(-1, keepdim=True)
    bonus = torch.where(mass < 0.5, torch.log(0.5 / mass), torch.zeros_like(mass)) * span
    assert torch.allclose(steered(weights, span, 0.5), (scores + bonus).softmax(-1))


def test_no_mass_on_the_span_is_left_alone_and_a_little_stays_finite():
    span = torch.tensor([True, False])
    for little in (0.0, 1e-45, 1e-38):
        after = steered(torch.tensor([[little, 1.0]]), span, 0.5)
        assert torch.isfinite(after).all() and float(after.sum()) == pytest.approx(1)
    assert steered(torch.tensor([[0.0, 1.0]]), span, 0.5).tolist() == [[0.0, 1.0]]
    assert steered(torch.tensor([[1e-30, 1.0]]), span, 0.5)[0, 0] == pytest.approx(1 / 3)  # target / (1 + target)


def loaded(attention):
    register_kernel()
    return tiny.llama(attn_implementation=attention)


def spans(rows, seed=0):
    """A few tokens of every prompt."""
    rng, found = np.random.default_rng(seed), {}
    for row in rows:
        span = np.zeros(len(row.input_ids), dtype=bool)
        prompt = int(np.flatnonzero(row.response_mask)[0])
        span[rng.integers(prompt, size=2)] = True
        found[row.example_index] = span
    return found


def logits(model, rows, decoding):
    with decoding.on(model), torch.inference_mode():
        return decoding.logits(model, rows, 0)[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager", KERNEL])
def test_without_a_span_or_a_target_it_is_plain_attention(attention):
    model, rows = loaded(attention), tiny.rows(12)
    plain = response_logits(model, rows, 0)[0]
    empty = {row.example_index: np.zeros(len(row.input_ids), dtype=bool) for row in rows}
    assert torch.allclose(logits(model, rows, Steering(empty, 0.4)), plain, atol=2e-5)
    assert torch.allclose(logits(model, rows, Steering(spans(rows), 0.0)), plain, atol=2e-5)
    assert not torch.allclose(logits(model, rows, Steering(spans(rows), 0.4)), plain, atol=1e-2)
    assert torch.equal(response_logits(model, rows, 0)[0], plain)
    assert model.config._attn_implementation == attention


def test_kernels_and_batches_agree():
    rows = tiny.rows(12)
    steering = Steering(spans(rows), 0.4)
    found = [logits(loaded(attention), rows, steering) for attention in ("sdpa", "eager", KERNEL)]
    alone = torch.cat([logits(loaded("sdpa"), [row], steering) for row in rows])
    assert all(torch.allclose(one, alone, atol=2e-5) for one in found)


def test_the_mass_at_every_layer_is_the_closed_form():
    """One layer, so that its own input is that of plain attention; the masses are read off its weights."""
    model, row = tiny.llama(num_hidden_layers=1, attn_implementation="eager"), tiny.rows(1)[0]
    ids = torch.as_tensor(row.input_ids[None].astype(np.int64))
    span = spans([row])[0]
    before = model(input_ids=ids, output_attentions=True).attentions[0][0]
    steering = Steering({0: span}, 0.6)
    with steering.on(model), torch.inference_mode():
        steering._aim(span[None], "cpu")
        after = model(input_ids=ids, output_attentions=True).attentions[0][0]
    at = torch.as_tensor(span)
    mass, new = before[..., at].sum(-1), after[..., at].sum(-1)
    closed = torch.where((mass > 0) & (mass < 0.6), 0.6 / (1 - mass + 0.6), mass)
    assert torch.allclose(new, closed, atol=1e-5) and bool((new > mass + 0.01).any())


def test_generation_steers_like_one_token_at_a_time(monkeypatch):
    from itlib import generate

    monkeypatch.setattr(generate, "MAX_NEW_TOKENS", 6)
    model, rows = tiny.llama(), tiny.rows(10)
    prompts = [row.input_ids[: int(np.flatnonzero(row.response_mask)[0])] for row in rows]
    steering = Steering(spans(rows), 0.5)
    how = {"stop_ids": [], "context_length": 64, **PLAIN}
    plain = greedy(model, prompts, **how)
    with steering.on(model):
        batched = greedy(model, prompts, decoding=steering, **how)
        wanted = []
        for i, prompt in enumerate(prompts):
            ids = [*map(int, prompt)]
            for _ in range(6):
                steering._aim(np.pad(steering.spans[i][: len(prompt)], (0, len(ids) - len(prompt)))[None], "cpu")
                with torch.no_grad():
                    ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            wanted.append(ids[len(prompt) :])
    assert batched == wanted and batched != plain


def test_an_error_while_steering_gives_the_attention_back():
    model = tiny.llama()
    with pytest.raises(RuntimeError), Steering({}, 0.4).on(model):
        raise RuntimeError
    assert model.config._attn_implementation == "sdpa"


def test_adapters_are_steered_and_soft_prompts_are_refused():
    from peft import PromptTuningConfig, get_peft_model

    rows = tiny.rows(6)
    wrapped = methods.get("lora").attach(tiny.llama(), MethodSpec(method="lora", rank=2)).eval()
    steering = Steering(spans(rows), 0.4)
    assert torch.allclose(logits(wrapped, rows, steering), logits(tiny.llama(), rows, steering), atol=2e-5)
    soft = get_peft_model(tiny.llama(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(InputError, match="^steering: a soft prompt"), steering.on(soft):
        pass


def test_a_model_whose_attention_is_another_one_is_refused(monkeypatch):
    from itlib import steering as module

    monkeypatch.setattr(module, "_agree", lambda left, right: False)
    model = tiny.llama()
    with pytest.raises(InputError, match="^steering: the attention of LlamaForCausalLM"), Steering({}, 0.4).on(model):
        pass
    assert model.config._attn_implementation == "sdpa"


@pytest.fixture(scope="module")
def tokenizer():
    return models.get("micro-1m").load(small.spec().base)[1]


def words(example, clean, tokenizer):
    row = encode([example], tokenizer, max_length=512)[0][0]
    span = instruction_span(example, clean, tokenizer, len(row.input_ids))
    return tokenizer.convert_ids_to_tokens(row.input_ids[span].tolist())


def asked(text, entities=("hot",)):
    return Example("e", (Turn("user", text), Turn("assistant", "cold")), entities=entities)


def test_the_span_are_the_words_that_ask(tokenizer):
    clean = asked("what is the opposite of hot ?")
    assert words(clean, clean, tokenizer) == ["what", "is", "the", "opposite", "of"]
    assert words(asked("add 5 and 7", ("5+7",)), asked("add 5 and 7", ("5+7",)), tokenizer)[-1] == "and"


@pytest.mark.parametrize("shown", ["the red fox walked . {}", "{} the red fox walked ."])
def test_a_distractor_is_no_part_of_the_span(tokenizer, shown):
    clean = asked("what is the opposite of hot ?")
    disturbed = dataclasses.replace(clean, turns=(Turn("user", shown.format(clean.instruction)), clean.turns[1]))
    assert words(disturbed, clean, tokenizer) == ["what", "is", "the", "opposite", "of"]


def test_an_edited_instruction_counts_as_a_whole(tokenizer):
    clean = asked("what is the opposite of hot ?")
    edited = asked("tell the opposite of hot ?")
    assert words(edited, clean, tokenizer) == ["tell", "the", "opposite", "of"]


def test_spans_of_words_in_pieces(tokenizer):
    """A word that the vocabulary lacks comes in several tokens, all of which belong to it."""
    clean = asked("zqxj hot")
    row = encode([clean], tokenizer, max_length=64)[0][0]
    span = instruction_span(clean, clean, tokenizer, len(row.input_ids))
    assert span.sum() >= 2 and not span[row.response_mask].any()


def column(result, name):
    return [row[ITEM_COLUMNS.index(name)] for row in result.items]


@pytest.mark.parametrize("attention", ["sdpa", "packed"])
def test_a_steered_run_differs_on_items_and_not_on_documents(attention):
    plain, high = (execute(small.resolved(n_train=0, attention=attention, steering=share)) for share in (0.0, 0.5))
    assert column(plain, "item") == column(high, "item")
    assert column(plain, "nll")[:-5] != column(high, "nll")[:-5]
    assert column(plain, "nll")[-5:] == column(high, "nll")[-5:]


def test_scores_do_not_depend_on_the_batch(monkeypatch):
    from itlib import evaluate

    model, rows = tiny.llama(), tiny.rows(12)
    steering = Steering(spans(rows), 0.4)
    items = [Example(f"e{i}", (Turn("user", "q"), Turn("assistant", "a"))) for i in range(12)]
    found = []
    for tokens in (2048, 1):
        monkeypatch.setitem(evaluate.BATCH_TOKENS, "cpu", tokens)
        with steering.on(model):
            scores = score_items(model, items, rows, exact_match=True, decoding=steering, **PLAIN)
        found.append([row[ITEM_COLUMNS.index("nll")] for row in scores])
    assert found[0] == pytest.approx(found[1], abs=1e-4) and not any(map(math.isnan, found[0]))
