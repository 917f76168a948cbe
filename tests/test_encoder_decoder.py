"""Sequence-to-sequence models: what either side reads; scores agree with the library's own loss and decoding."""

import dataclasses
import json

import numpy as np
import pytest
import seq2seq
import torch

from itlib import evaluate, generate
from itlib.encoder_decoder import answer_logits, cut, start_token_id
from itlib.errors import InputError
from itlib.evaluate import score_items, token_scores
from itlib.example import Example, Turn
from itlib.execute import execute, run_one
from itlib.generate import responses
from itlib.models import is_encoder_decoder
from itlib.options import choose, option_rows
from itlib.registry import models
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS
from itlib.spec import ModelSpec, RunSpec, TrainSpec, with_fields
from itlib.store import Store
from itlib.template import encode, encode_prompt
from itlib.train import train

HOW = {"pad_id": 0, "dtype": "float32"}
PAIRS = [
    ("name the cat", "red"),
    ("say two", "blue dog"),
    ("what is one", "green wolf bear"),
    ("the dog of three", "x"),
]


def example(user, answer, **fields):
    return Example(user, (Turn("user", user), Turn("assistant", answer)), gold=answer, **fields)


@pytest.fixture
def loaded(tmp_path):
    seq2seq.write(tmp_path / "t5")
    return models.get("local").load(ModelSpec(model="local", model_path=str(tmp_path / "t5")))


def test_the_encoder_reads_the_instruction_as_the_tokenizer_gives_it(loaded):
    """Both sides are texts of their own, as in T5's training: ended, and begun with the dummy space."""
    _, tokenizer = loaded
    rows, audit = encode([example(*pair) for pair in PAIRS], tokenizer, max_length=64)
    for row, (user, answer) in zip(rows, PAIRS, strict=True):
        prompt, target = cut(row)
        assert prompt.tolist() == tokenizer(user)["input_ids"] and target.tolist() == tokenizer(answer)["input_ids"]
        assert encode_prompt(example(user, answer), tokenizer).tolist() == prompt.tolist()
    assert audit.stop_token_supervised and audit.n_zero_supervision == 0


def test_only_the_last_answer_of_a_conversation_is_asked_for(loaded):
    _, tokenizer = loaded
    turns = [("system", "the cat"), ("user", "say two"), ("assistant", "red"), ("user", "one"), ("assistant", "blue")]
    row = encode([Example("c", tuple(Turn(*turn) for turn in turns))], tokenizer, max_length=64)[0][0]
    prompt, target = cut(row)
    assert prompt.tolist() == tokenizer("the cat\n\nsay two\n\nred\n\none")["input_ids"]
    assert target.tolist() == tokenizer("blue")["input_ids"] and row.n_response_bytes == 4
    forged = encode([example("say </s> red", "blue")], tokenizer, max_length=64)[0][0]
    assert cut(forged)[0].tolist().count(tokenizer.eos_token_id) == 1


def test_losses_are_the_librarys_own_whatever_the_batch(loaded, monkeypatch):
    model, tokenizer = loaded
    rows, _ = encode([example(*pair) for pair in PAIRS], tokenizer, max_length=64)
    together = [nll.sum() for nll, _ in token_scores(model, rows, **HOW)]
    monkeypatch.setitem(evaluate.BATCH_TOKENS, "cpu", 1)
    assert together == pytest.approx([nll.sum() for nll, _ in token_scores(model, rows, **HOW)], abs=1e-4)
    for (user, answer), found in zip(PAIRS, together, strict=True):
        labels = tokenizer(answer, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model(input_ids=tokenizer(user, return_tensors="pt")["input_ids"], labels=labels).loss
        assert found == pytest.approx(float(loss) * labels.numel(), abs=1e-4)


def test_exact_match_is_what_greedy_generation_gives(loaded, monkeypatch):
    model, tokenizer = loaded
    overfit(model, tokenizer, PAIRS[:2], 60)
    asked = [example(*pair) for pair in PAIRS] + [example("name the cat", "red red")]
    encoded, _ = encode(asked, tokenizer, max_length=64)
    scores = score_items(model, asked, encoded, exact_match=True, **HOW)
    matched = [bool(line[ITEM_COLUMNS.index("exact_match")]) for line in scores]
    said = responses(model, tokenizer, asked, context_length=64, **HOW)
    assert matched == [text == e.response for text, e in zip(said, asked, strict=True)]
    assert matched == [True, True, False, False, False]
    monkeypatch.setattr(generate, "BATCH_TOKENS", 1)
    assert responses(model, tokenizer, asked, context_length=64, **HOW) == said
    ids = tokenizer("say two", return_tensors="pt")["input_ids"]
    own = model.generate(input_ids=ids, do_sample=False, max_new_tokens=8)
    assert tokenizer.decode(own[0], skip_special_tokens=True) == said[1] == "blue dog"


def overfit(model, tokenizer, pairs, steps):
    rows, _ = encode([example(*pair) for pair in pairs], tokenizer, max_length=64)
    spec = TrainSpec(learning_rate=1e-2, budget=steps, batch_size=len(rows), schedule="constant", curve_points=5)
    return train(model, rows, spec, seed=0, **HOW)


def test_a_random_t5_overfits_four_examples(loaded):
    model, tokenizer = loaded
    trace = overfit(model, tokenizer, PAIRS, 100)
    assert not trace.diverged and trace.curve[-1]["loss"] < 0.05 < 1.0 < trace.curve[0]["loss"]
    asked = [example(*pair) for pair in PAIRS]
    assert responses(model, tokenizer, asked, context_length=64, **HOW) == [answer for _, answer in PAIRS]


def test_gradients_do_not_depend_on_how_a_batch_is_cut(loaded):
    model, tokenizer = loaded
    rows, _ = encode([example(*pair) for pair in PAIRS], tokenizer, max_length=64)
    weights = []
    for tokens in (1, 1000):
        twin = type(model)(model.config).eval()
        twin.load_state_dict(model.state_dict())
        train(twin, rows, TrainSpec(budget=2, batch_size=4, micro_batch_tokens=tokens), seed=0, **HOW)
        weights.append(torch.cat([p.detach().flatten() for p in twin.parameters()]))
    assert torch.allclose(*weights, atol=1e-4) and not torch.allclose(weights[0], torch.cat(
        [p.detach().flatten() for p in model.parameters()]), atol=1e-4)  # fmt: skip


def test_options_are_scored_as_one_at_a_time(loaded):
    model, tokenizer = loaded
    items = [example("say two", "dog", options=("red cat", "dog", "wolf bear one")), example("name", "x", options="yx")]
    rows = {index: option_rows(item, tokenizer) for index, item in enumerate(items)}
    found = choose(model, rows, items, score="sum", **HOW)
    for index, item in enumerate(items):
        prompt = tokenizer(item.instruction, return_tensors="pt")["input_ids"]
        totals = []
        for option in item.options:
            labels = tokenizer(option, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                totals.append(-float(model(input_ids=prompt, labels=labels).loss) * labels.numel())
        assert found[index].option == item.options[int(np.argmax(totals))]


# Folders.
def test_folders_are_recognised_counted_and_checked(tmp_path):
    local = models.get("local")
    for number, changes in enumerate([{}, {"tie_word_embeddings": False}]):
        folder = tmp_path / str(number)
        expected = seq2seq.write(folder, **changes)
        spec = ModelSpec(model="local", model_path=str(folder))
        network, _ = local.load(local.resolve(spec))
        assert is_encoder_decoder(spec) and type(network) is type(expected) and network.dtype == torch.float32
        assert local.parameters(spec) == sum(p.numel() for p in network.parameters())
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))
    with pytest.raises(InputError, match="attention: 'packed' is for causal models"):
        local.load(dataclasses.replace(spec, attention="packed"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(InputError, match="chat template of its own"):
        local.load(spec)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bart"}))
    with pytest.raises(InputError, match="encoder-decoders of type 'bart' are not read here, only mt5, t5, umt5"):
        local.resolve(spec)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle weights"):
        local.resolve(spec)
    assert not is_encoder_decoder(RunSpec().base)


@pytest.mark.parametrize("kind", ["mt5", "umt5"])
def test_relatives_of_t5_score_alike_alone_and_in_a_batch(kind):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    tokenizer = seq2seq.tokenizer()
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0
    )
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    from itlib.segments import ENCODER_DECODER_TEMPLATE

    tokenizer.chat_template = ENCODER_DECODER_TEMPLATE
    rows, _ = encode([example(*pair) for pair in PAIRS], tokenizer, max_length=64)
    with torch.no_grad():
        together, _, row_of = answer_logits(model, rows, 0)
        alone = torch.cat([answer_logits(model, [row], 0)[0] for row in rows])
    assert start_token_id(model) == 0 and torch.allclose(together, alone, atol=1e-5)
    assert np.bincount(row_of).tolist() == [len(cut(row)[1]) for row in rows]


# Whole runs.
@pytest.fixture
def fields(tmp_path):
    seq2seq.write(tmp_path / "t5")
    words = seq2seq.WORDS
    rows = [{"question": f"{a} {b}", "answer": a} for a in words[:8] for b in words if a != b]
    for line in rows[::2]:
        line["options"] = [line["answer"], "bear" if line["answer"] != "bear" else "dog"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    return {
        "model": "local", "model_path": str(tmp_path / "t5"), "source": "local", "learning_rate": 1e-2,
        "data_path": str(tmp_path / "a.jsonl"), "n_train": 24, "n_eval": 20, "budget": 40, "batch_size": 8,
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"method": "lora", "rank": 4}, {"selector": "longest"}, {"selector": "bm25"}])
def test_a_run_tunes_scores_and_is_found_again(fields, tmp_path, changes):
    spec = resolve(with_fields(RunSpec(), **(fields | changes), keep_weights=True))
    assert spec.train.trainer == "loop"
    store = Store(tmp_path / "store")
    result, untuned = run_one(spec, store), execute(resolve(with_fields(RunSpec(), **(fields | {"n_train": 0}))))
    assert result.status == "done", result.error
    nll = [sum(line[ITEM_COLUMNS.index("nll")] for line in each.items) for each in (untuned, result)]
    assert nll[1] < 0.8 * nll[0]
    matches = {line[ITEM_COLUMNS.index("exact_match")] for line in result.items}
    assert None in matches and matches & {0.0, 1.0}
    again = execute(spec, store)  # from the kept weights
    assert again.items == result.items and run_one(spec, store) == result
    if changes.get("method") == "lora":
        settings = json.loads((store.weights(spec) / "adapter_config.json").read_text())
        assert settings["task_type"] == "SEQ_2_SEQ_LM"
        merged = {"model_path": str(store.weights(spec)), "n_train": 0}
        scored = execute(resolve(with_fields(RunSpec(), **(fields | merged))))
        wanted = [line[ITEM_COLUMNS.index("nll")] for line in result.items]
        assert [line[ITEM_COLUMNS.index("nll")] for line in scored.items] == pytest.approx(wanted, rel=1e-3)


def test_a_hub_model_is_recognised_by_its_snapshot(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    seq2seq.write(tmp_path / commit)
    monkeypatch.setattr("itlib.models.hub.snapshot", lambda *_, **__: (tmp_path / commit, commit))
    spec = models.get("hub").resolve(ModelSpec(model="hub", model_path="org/name"))
    assert is_encoder_decoder(spec) and type(models.get("hub").load(spec)[0]).__name__ == "T5ForConditionalGeneration"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"selector": "ifd_loss"}, "selector: 'ifd_loss' scores with a causal model; use one of random, "),
        ({"augmentation": "mosaic"}, "augmentation: 'mosaic' needs a causal model"),
        ({"trainer": "transformers"}, "trainer: 'transformers' tunes causal models only"),
        ({"source": "microworld", "data_path": ""}, "n_reference: reference texts have no prompt; set it to 0"),
        ({"source": "microworld", "data_path": "", "n_reference": 0, "n_probes": 2}, "n_probes: probes are for causal"),
        ({"source": "microworld", "data_path": "", "pretraining_share": 0.5}, "pretraining_share: documents have no"),
    ],
)
def test_what_needs_a_causal_model_is_refused_in_one_line(fields, changes, told):
    with pytest.raises(InputError) as caught:
        resolve(with_fields(RunSpec(), **(fields | changes)))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_plain_documents_and_encoder_decoders_as_scorers_are_refused(fields, tmp_path):
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": f"red {i}"}) + "\n" for i in range(40)))
    with pytest.raises(InputError, match="holds plain documents; give prompts with answers"):
        resolve(with_fields(RunSpec(), **(fields | {"data_path": str(tmp_path / "text.jsonl"), "n_train": 4})))
    causal = fields | {"model": "micro-1m", "model_path": "", "selector": "ifd_loss", "scorer": fields["model_path"]}
    with pytest.raises(InputError, match="is an encoder-decoder, which scores no example"):
        resolve(with_fields(RunSpec(), **causal))
