"""Generated answers: where one wording is right they agree with teacher forcing, and rows of a file get an accuracy."""

import json

import pytest
import seq2seq
import small

from itlib.errors import InputError
from itlib.execute import execute
from itlib.frame import run_frame
from itlib.generate import MAX_NEW_TOKENS, room_for
from itlib.result import ITEM_COLUMNS
from itlib.spec import digest


def column(result, name):
    return [line[ITEM_COLUMNS.index(name)] for line in result.items]


def write(path, rows):
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return str(path)


def test_generation_agrees_with_teacher_forcing_where_one_response_is_right():
    how = {"eval_families": ["opposite", "copy"], "families": ["opposite", "copy"], "n_train": 60, "budget": 40}
    forced, said = (
        execute(small.resolved(**how, n_eval=5, learning_rate=3e-3, n_reference=3, **more))
        for more in ({}, {"answers": "generated"})
    )
    assert column(said, "exact_match") == column(forced, "exact_match") and 1.0 in column(forced, "exact_match")
    assert column(said, "nll") == column(forced, "nll")
    assert column(said, "exact_match_lenient") == [None] * len(said.items)
    assert all(column(said, "generated")[:10]) and not any(column(forced, "generated"))
    assert column(said, "generated")[10:] == [""] * 3, "a document asks nothing"
    assert digest(said.spec) != digest(forced.spec)


@pytest.fixture
def fields(tmp_path):
    """A T5 that can learn to repeat the first word, and rows that ask for it with white space of all kinds."""
    seq2seq.write(tmp_path / "t5")
    words = seq2seq.WORDS
    rows = [{"question": f"{a} {b}", "answer": f"{a} \n {b}"} for a in words[:10] for b in words if a != b]
    return {
        "model": "local", "model_path": str(tmp_path / "t5"), "source": "local", "answers": "generated",
        "data_path": write(tmp_path / "a.jsonl", rows), "n_train": 100, "n_eval": 20, "n_reference": 0,
    }  # fmt: skip


def test_rows_of_a_file_are_matched_when_asked_for_and_only_then(fields):
    learned = {**fields, "budget": 150, "batch_size": 16, "learning_rate": 5e-3}
    result = execute(small.resolved(**learned))
    said, right = column(result, "generated"), column(result, "exact_match")
    rows = [json.loads(line) for line in open(fields["data_path"])]
    gold = {f"row-{number}": " ".join(row["answer"].split()) for number, row in enumerate(rows, start=1)}
    assert right == [float(text == gold[item]) for text, item in zip(said, column(result, "item"), strict=True)]
    assert 0 < sum(right)
    assert set(run_frame([result])["metric"]) == {"exact_match", "response_nll", "bits_per_byte"}
    unasked = execute(small.resolved(**(learned | {"answers": "teacher_forced", "n_train": 0})))
    assert set(column(unasked, "exact_match")) == {None} and not any(column(unasked, "generated"))


def test_items_with_options_are_still_chosen(fields, tmp_path):
    words = seq2seq.WORDS
    rows = [{"question": f"{a} {b}", "answer": a, "options": [a, b]} for a in words[:8] for b in words[8:]]
    path = write(tmp_path / "b.jsonl", rows)
    asked, plain = (
        execute(small.resolved(**(fields | {"data_path": path, "n_train": 0, "answers": answers})))
        for answers in ("generated", "teacher_forced")
    )
    assert asked.items == plain.items
    assert set(column(asked, "generated")) <= set(words)


def test_a_long_right_answer_has_room():
    """The limit follows from the item, so that a right answer of any length can be given whole."""
    assert [room_for(n) for n in (1, 32, 33, 64, 65)] == [MAX_NEW_TOKENS * k for k in (1, 1, 2, 2, 3)]


def test_limits_are_those_of_each_prompt():
    import numpy as np
    import tiny

    from itlib.generate import greedy

    model, how = tiny.llama(), {"stop_ids": [], "pad_id": 0, "dtype": "float32", "context_length": 200}
    prompts = [np.arange(3, 3 + n).astype(np.int32) for n in (2, 5, 9)]
    answers = greedy(model, prompts, most_new=[40, 3, 40], **how)
    assert [len(answer) for answer in answers] == [40, 3, 40]
    alone = [greedy(model, [prompt], most_new=[40], **how)[0] for prompt in prompts]
    assert answers == [alone[0], alone[1][:3], alone[2]]


def test_what_cannot_be_asked_is_refused(fields, tmp_path):
    with pytest.raises(InputError, match="answers: 'generate' is not one of teacher_forced, generated"):
        small.resolved(answers="generate")
    path = write(tmp_path / "text.jsonl", [{"text": f"red {number}"} for number in range(40)])
    with pytest.raises(InputError, match="holds plain documents, which ask nothing"):
        small.resolved(source="local", data_path=path, answers="generated", n_train=0)
    assert digest(small.resolved(answers="teacher_forced")) == digest(small.resolved())
