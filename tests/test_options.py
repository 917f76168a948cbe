"""Choices among options: likelihoods known by hand, a loop over single options, rows of files that bring options."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import small
import tiny
import torch

from itlib import evaluate
from itlib.errors import InputError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.execute import execute
from itlib.frame import run_frame
from itlib.microworld import lexicon
from itlib.options import TIE, Choice, choose, chosen, option_rows
from itlib.registry import models, sources
from itlib.result import ITEM_COLUMNS
from itlib.sources.local import read_file
from itlib.spec import DataSpec, digest
from itlib.template import Encoded, encode, encode_prompt

HOW = {"pad_id": 0, "dtype": "float32"}
# Rows: after token 0, 1, 2, 3. Token 3 ends an answer.
TABLE = np.array([[0.1, 0.5, 0.2, 0.2], [0.1, 0.5, 0.2, 0.2], [0.05, 0.05, 0.1, 0.8], [0.25, 0.25, 0.25, 0.25]])


class Markov(torch.nn.Module):
    """A causal model in which the next token depends on the last one only."""

    config = SimpleNamespace()

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.log(torch.tensor(TABLE, dtype=torch.float32)))

    def forward(self, input_ids, use_cache=False):
        return SimpleNamespace(logits=self.table[input_ids])


def item(options, gold, before=()):
    turns = (*before, Turn("user", "q"), Turn("assistant", gold))
    return Example("e", turns, gold=gold, options=tuple(options))


def row(prompt, answer):
    mask = [False] * len(prompt) + [True] * len(answer)
    return Encoded(0, np.array([*prompt, *answer], dtype=np.int32), np.array(mask), 1)


def test_likelihoods_by_hand_decide():
    """log p(1 1 3 | 0) = log(.5 .5 .2) = -3.0 and log p(2 3 | 0) = log(.2 .8) = -1.83; per token -1.0 and -0.92."""
    rows = {0: [row([3, 0], [1, 1, 3]), row([3, 0], [2, 3])], 1: [row([3, 0], [1, 1, 1, 1, 3]), row([0], [2, 2, 3])]}
    items = [item(["a", "b"], "b"), item(["a", "b"], "a")]
    found = choose(Markov(), rows, items, score="sum", **HOW)
    assert found == {0: Choice("b", True), 1: Choice("b", False)}
    scores = [-nll.sum() for nll, _ in evaluate.token_scores(Markov(), [*rows[0], *rows[1]], **HOW)]
    wanted = [math.log(p) for p in (0.5 * 0.5 * 0.2, 0.2 * 0.8, 0.5**4 * 0.2, 0.2 * 0.1 * 0.8)]
    assert scores == pytest.approx(wanted, abs=1e-6)


def test_the_mean_forgives_length_and_the_sum_does_not():
    rows = {0: [row([0], [1, 1, 1, 1, 1]), row([0], [1, 3])]}  # 5 log .5 = -3.47 and log .1 = -2.30; means -.69, -1.15
    long = [item(["long", "short"], "long")]
    assert choose(Markov(), rows, long, score="sum", **HOW) == {0: Choice("short", False)}
    assert choose(Markov(), rows, long, score="mean", **HOW) == {0: Choice("long", True)}


def test_many_at_once_are_one_at_a_time(monkeypatch):
    model, rng = tiny.llama(), np.random.default_rng(0)
    rows, items = {}, []
    for index in range(10):
        prompt = rng.integers(3, tiny.VOCABULARY, int(rng.integers(2, 20))).tolist()
        answers = [rng.integers(3, tiny.VOCABULARY, int(rng.integers(1, 6))).tolist() for _ in range(4)]
        rows[index] = [row(prompt, answer) for answer in answers]
        items.append(item("abcd", "abcd"[index % 4]))
    found = {score: choose(model, rows, items, score=score, **HOW) for score in ("sum", "mean")}
    for index, offered in rows.items():
        totals, means = [], []
        for encoded in offered:
            with torch.no_grad():
                logits = model(input_ids=torch.as_tensor(encoded.input_ids[None].astype(np.int64))).logits[0]
            at = np.flatnonzero(encoded.response_mask)
            tokens = torch.log_softmax(logits, -1)[at - 1, torch.as_tensor(encoded.input_ids[at].astype(np.int64))]
            totals.append(float(tokens.sum()))
            means.append(float(tokens.mean()))
        for score, values in (("sum", totals), ("mean", means)):
            best = "abcd"[int(np.argmax(values))]
            assert found[score][index] == Choice(best, best == items[index].gold)
    assert 0 < sum(choice.right for choice in found["sum"].values()) < 10 and found["sum"] != found["mean"]
    monkeypatch.setitem(evaluate.BATCH_TOKENS, "cpu", 1)
    assert choose(model, rows, items, score="sum", **HOW) == found["sum"]


def test_a_tie_is_not_right_wherever_the_right_answer_stands():
    for order in ("ab", "ba"):
        assert not chosen(item(order, "a"), [-1.0, -1.0]).right
    assert not chosen(item("ab", "a"), [-1.0, -1.0 - TIE / 2]).right
    assert chosen(item("ab", "a"), [-1.0, -1.0 - 2 * TIE]) == Choice("a", True)


@pytest.fixture(scope="module")
def shipped():
    return models.get("micro-1m").load(small.spec().base)


def test_only_the_last_answer_and_its_stop_token_count(shipped):
    tokenizer = shipped[1]
    first, second = lexicon.NOUNS[:2]
    before = (Turn("user", first), Turn("assistant", second))
    asked = item([first, f"{first} {second}"], first, before)
    rows = option_rows(asked, tokenizer)
    prompt = encode_prompt(asked, tokenizer)
    for option, encoded in zip(asked.options, rows, strict=True):
        assert encoded.input_ids[: len(prompt)].tolist() == prompt.tolist()
        turns = (Turn("user", "q"), Turn("assistant", option))
        alone = encode([Example("x", turns)], tokenizer, max_length=64)[0][0]
        wanted = alone.input_ids[alone.response_mask].tolist()
        assert encoded.input_ids[encoded.response_mask].tolist() == wanted
        assert encoded.response_mask.sum() == len(encoded.input_ids) - len(prompt)


def test_the_choice_is_the_exact_match_of_an_item(shipped):
    model, tokenizer = shipped
    plain = Example("p", (Turn("user", "q"), Turn("assistant", "wolf")), gold="wolf")
    choice = item(["wolf", "bear"], "bear")
    encoded, _ = encode([plain, choice], tokenizer, max_length=64)
    picks = {1: Choice("bear", True)}
    scores = score_items(model, [plain, choice], encoded, exact_match=False, chosen=picks, **HOW)
    found = {name: [line[i] for line in scores] for i, name in enumerate(ITEM_COLUMNS)}
    assert found["exact_match"] == [None, 1.0] and found["exact_match_lenient"] == [None, None]
    assert found["generated"] == ["", "bear"] and found["graded"] == [None, None]


# Rows of files.
def rows_of(n, **more):
    words = lexicon.NOUNS
    return [{"question": f"{words[i]} {words[i + 1]}", "answer": words[i]} | more for i in range(n)]


def with_options(n, key="options"):
    words = lexicon.NOUNS
    return [line | {key: [words[i + 1], words[i], words[i + 2]]} for i, line in enumerate(rows_of(n))]


def write(path, rows):
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return path


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"options": []}, "'options' is a list of 0, not a list of two or more texts"),
        ({"options": ["one"]}, "'options' is a list of 1, not"),
        ({"choices": {"A": "one"}}, "'choices' is an object, not a list of two or more texts"),
        ({"options": "one, two"}, "'options' is text, not a list"),
        ({"options": ["one", "two", " one "]}, "'options' names 'one' twice"),
        ({"options": ["two", "three"]}, "the answer 'one' is not among the 2 'options'"),
        ({"options": ["one", 2]}, "'options' 'entry 2' is a number (2), not text"),
        ({"options": ["one", " "]}, "'options' 'entry 2' is empty"),
        ({"options": ["one", None]}, "'options' 'entry 2' is null, not text"),
        ({"options": ["one", "two"], "choices": ["one", "two"]}, "both 'options' and 'choices'; leave one out"),
    ],
)
def test_malformed_options_are_bad_rows_with_their_line(tmp_path, extra, reason):
    rows = rows_of(20)
    rows[4] = {"question": "which?", "answer": "one"} | extra
    path = write(tmp_path / "a.jsonl", rows)
    asked = DataSpec(source="local", data_path=str(path), n_train=2)
    with pytest.raises(InputError) as caught:
        sources.get("local").resolve(asked)
    assert f"a.jsonl:5: {reason}" in str(caught.value) and "\n" not in str(caught.value)
    kept = DataSpec(source="local", data_path=str(path), n_train=2, on_bad_rows="quarantine")
    ((line, told),) = sources.get("local").bad_rows(kept)
    assert line == 5 and told.startswith(reason)


def test_options_come_with_every_format_of_one_answer_and_from_every_container(tmp_path):
    table = {
        "alpaca": [{"instruction": f"q {i}", "output": "one", "choices": ["two", " one"]} for i in range(12)],
        "prompt-completion": [{"prompt": f"q {i}", "completion": "one", "options": ["two", "one"]} for i in range(12)],
        "question-answer": [{"question": f"q {i}", "answer": "one ", "options": ["two", "one"]} for i in range(12)],
    }
    for layout, rows in table.items():
        parsed = read_file(write(tmp_path / f"{layout}.jsonl", rows)).parsed
        assert parsed.format == layout and not parsed.bad and parsed.notes["rows with options"] == 12
        assert {(example.options, example.gold) for example in parsed.examples} == {(("two", "one"), "one")}
    frame = pandas.DataFrame(table["question-answer"])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(options=[*frame["options"][:-1].map(json.dumps), ""]).to_csv(tmp_path / "a.csv", index=False)
    assert {e.options for e in read_file(tmp_path / "a.parquet").parsed.examples} == {("two", "one")}
    assert [e.options for e in read_file(tmp_path / "a.csv").parsed.examples] == [("two", "one")] * 11 + [()]
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "options": 5}
    assert not read_file(write(tmp_path / "chat.jsonl", [chat])).parsed.examples[0].options


def test_local_rows_with_options_have_an_accuracy(tmp_path):
    rows = with_options(50)
    del rows[7]["options"]
    how = {"source": "local", "data_path": str(write(tmp_path / "a.jsonl", rows)), "n_train": 0, "n_eval": 50}
    spec = small.resolved(**how)
    assert "options 1" in spec.components
    result = execute(spec)
    frame = run_frame([result]).set_index("metric")
    items = [dict(zip(ITEM_COLUMNS, line, strict=True)) for line in result.items]
    items = [entry for entry in items if entry["item"] != "row-8"]  # without options there is nothing to choose
    right = [entry["exact_match"] for entry in items]
    assert set(right) <= {0.0, 1.0} and frame.loc["exact_match", "value"] == pytest.approx(np.mean(right))
    offered = {f"row-{i + 1}": line["options"] for i, line in enumerate(rows) if "options" in line}
    gold = {f"row-{i + 1}": line["answer"] for i, line in enumerate(rows)}
    for entry in items:
        assert entry["generated"] in offered[entry["item"]]
        assert (entry["generated"] == gold[entry["item"]]) == bool(entry["exact_match"])
    mean = small.resolved(**how, option_score="mean")
    assert digest(mean) != digest(spec) and execute(mean).items[0][:4] == result.items[0][:4]


def test_data_without_options_knows_nothing_of_them(tmp_path):
    how = {"source": "local", "data_path": str(write(tmp_path / "a.jsonl", rows_of(50))), "n_train": 0}
    plain, asked = small.resolved(**how), small.resolved(**how, option_score="mean")
    assert digest(plain) == digest(asked) and not any(c.startswith("options") for c in plain.components)
    assert digest(small.resolved(option_score="mean")) == digest(small.resolved())
    with pytest.raises(InputError, match="option_score: 'meen' is not one of sum, mean"):
        small.resolved(option_score="meen")


def test_an_item_with_an_option_beyond_the_context_is_counted_as_too_long(tmp_path):
    rows = with_options(50)
    context = models.get("micro-1m").context_length(small.spec().base)
    for line in rows[::2]:
        line["options"][0] = " ".join(lexicon.NOUNS[:3] * context)
    how = {"source": "local", "data_path": str(write(tmp_path / "a.jsonl", rows)), "n_train": 0, "n_eval": 50}
    result = execute(small.resolved(**how))
    n_items = len(sources.get("local").held_out(result.spec.data, result.spec.evaluate))
    assert 0 < result.totals["n_eval_too_long"] < n_items
    assert len(result.items) == n_items - result.totals["n_eval_too_long"]
