"""Demonstrations before test items: from the pool's operands, the same in every arm, and never scored."""

import numpy as np
import pytest
import small
import worldly

from itlib.errors import InputError
from itlib.execute import execute, load_base, scored_items
from itlib.microworld import tokenizer, world
from itlib.microworld.splits import words
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS
from itlib.spec import digest, with_fields
from itlib.store import Store
from itlib.template import encode, encode_prompt, in_form, stop_token_id

FAMILIES = ("colour", "plural", "bigger", "swap", "new_home")


def asked(n_shots=3, **fields):
    return small.spec(eval_families=FAMILIES, n_eval=4, n_reference=0, n_shots=n_shots, **fields)


def test_items_follow_their_demonstrations_as_turns_of_one_chat():
    plain, shown = (scored_items(resolve(asked(n))) for n in (0, 3))
    for before, after in zip(plain, shown, strict=True):
        assert [turn.role for turn in after.turns] == ["user", "assistant"] * 4
        assert after.turns[-2:] == before.turns and after.id == before.id and after.gold == before.gold


def test_fewer_demonstrations_are_the_first_of_more():
    two, five = (scored_items(resolve(asked(n))) for n in (2, 5))
    for few, many in zip(two, five, strict=True):
        assert many.turns[:4] == few.turns[:4]


def test_demonstrations_are_right_and_share_no_operand_with_the_item():
    for item in scored_items(resolve(asked(0))):
        shown = world.demonstrations(item, 8, seed=3)
        assert all(example.family == item.family and example.response == example.gold for example in shown)
        assert len({example.id for example in shown}) == 8
        assert not {entity for example in shown for entity in example.entities} & set(item.entities)


def test_demonstrations_come_from_the_pool_and_so_never_from_a_test():
    shown = world.demonstrations(world.held_out("test", 1, families=("colour",))[0], 8, seed=0)
    assert {entity for example in shown for entity in example.entities} <= set(words("noun", "pool"))


def test_a_person_that_pools_teach_is_not_demonstrated_before_being_asked():
    """Every split holds the new people, so here alone an item could meet its own answer."""
    items = world.held_out("test", 8, families=("new_home",))
    shown = [{e.entities for e in world.demonstrations(item, 6, seed=0)} for item in items]
    assert any(item.entities in other for item in items for other in shown), "the streams do meet"
    assert not any(item.entities in own for item, own in zip(items, shown, strict=True))


def test_arms_share_their_demonstrations_and_seeds_do_not():
    arms = ({}, {"n_train": 0}, {"n_train": 40, "families": ("copy",)}, {"phrasing_set": "unobserved_phrase"})
    turns = [tuple(item.turns for item in scored_items(resolve(asked(**arm)))) for arm in arms]
    assert len(set(turns)) == 1
    np.random.seed(5)
    assert tuple(item.turns for item in scored_items(resolve(asked()))) == turns[0]
    other = scored_items(resolve(asked(seed=1)))
    assert any(item.turns != turn for item, turn in zip(other, turns[0], strict=True))


def test_items_in_many_phrasings_and_perturbed_ones_keep_their_demonstrations():
    crossed = {"n_eval_phrasings": 2, "eval_phrasing_set": "observed+negated"}
    by_operands: dict = {}
    for item in scored_items(resolve(asked(2, **crossed))):
        by_operands.setdefault((item.family, item.entities), set()).add(item.turns[:4])
    assert {len(turns) for turns in by_operands.values()} == {1}
    clean, noisy = (scored_items(resolve(asked(2, **how))) for how in ({}, {"perturbation": "typo", "severity": 0.5}))
    assert [item.turns[:4] for item in clean] == [item.turns[:4] for item in noisy]
    assert [item.turns[4:] for item in clean] != [item.turns[4:] for item in noisy]


@pytest.mark.parametrize("n_shots", [0, 1, 4])
def test_the_mask_covers_the_last_answer_only(n_shots):
    words_of_world = tokenizer.build()
    items = scored_items(resolve(asked(n_shots)))
    rows, audit = encode(items, words_of_world, max_length=256, last_only=True)
    alone, _ = encode(scored_items(resolve(asked(0))), words_of_world, max_length=256)
    assert audit.stop_token_supervised
    for row, item, plain in zip(rows, items, alone, strict=True):
        start = len(encode_prompt(item, words_of_world))
        assert row.response_mask.tolist() == [i >= start for i in range(len(row.input_ids))]
        assert row.input_ids[row.response_mask].tolist() == plain.input_ids[plain.response_mask].tolist()
        assert row.n_response_bytes == plain.n_response_bytes == len(item.response.encode())


def test_training_rows_still_supervise_every_answer():
    item = scored_items(resolve(asked(2)))[:1]
    every, last = (encode(item, tokenizer.build(), max_length=256, last_only=only)[0][0] for only in (False, True))
    assert every.response_mask.sum() > last.response_mask.sum()
    assert (every.input_ids == last.input_ids).all()


def columns(result):
    return {name: [row[i] for row in result.items] for i, name in enumerate(ITEM_COLUMNS)}


@pytest.mark.parametrize("n_shots", [0, 1, 4])
def test_a_list_of_questions_with_their_answers(n_shots):
    """What a base reads is exactly the text that its documents hold, and the end of the entry is part of the answer."""
    words_of_world = tokenizer.build()
    items = scored_items(resolve(asked(n_shots)))
    listing = in_form(words_of_world, "list")
    rows, _ = encode(items, listing, max_length=256, last_only=True)
    for row, item in zip(rows, items, strict=True):
        entries = [f"{item.turns[i].content} = {item.turns[i + 1].content} ;" for i in range(0, len(item.turns), 2)]
        assert row.input_ids.tolist() == words_of_world(" ".join(entries), add_special_tokens=False)["input_ids"]
        told = words_of_world.decode(row.input_ids[row.response_mask])
        assert told == f"{item.response} ;" and row.n_response_bytes == len(item.response.encode())
        prompt = encode_prompt(item, listing)
        assert row.response_mask.tolist() == [i >= len(prompt) for i in range(len(row.input_ids))]
    assert in_form(words_of_world, "turns") is words_of_world
    assert encode(items, words_of_world, max_length=256)[0][0].input_ids.tolist() != rows[0].input_ids.tolist()


def test_an_entry_ends_in_one_token_where_generation_stops():
    words_of_world = tokenizer.build()
    items = scored_items(resolve(asked(2)))[:3]
    stop = stop_token_id(in_form(words_of_world, "list"))
    assert words_of_world.decode([stop]) == ";" != words_of_world.decode([stop_token_id(words_of_world)])
    answers = [encode([item], in_form(words_of_world, "list"), max_length=256)[0][0].input_ids[-1] for item in items]
    assert set(answers) == {stop}


def test_the_same_base_asked_in_a_list_is_another_run_with_other_scores():
    chat, listed = (resolve(asked(2, n_train=0, **how)) for how in ({}, {"shot_form": "list"}))
    assert digest(chat) != digest(listed) and digest(chat) == digest(resolve(asked(2, n_train=0, shot_form="turns")))
    assert columns(execute(chat))["nll"] != columns(execute(listed))["nll"]
    with pytest.raises(InputError, match="shot_form: 'lists' is not one of turns, list"):
        resolve(asked(2, shot_form="lists"))


def test_scores_are_those_of_the_last_answer_alone():
    """The loss of an item after demonstrations, against a plain forward pass over its row."""
    import torch

    spec = resolve(asked(2, n_train=0))
    scores = columns(execute(spec))
    model, words_of_world = load_base(spec)
    row = encode(scored_items(spec)[:1], words_of_world, max_length=256, last_only=True)[0][0]
    with torch.inference_mode():
        logits = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0].float()
    places = np.flatnonzero(row.response_mask)
    losses = logits.log_softmax(-1)[places - 1, row.input_ids[places].astype(np.int64)]
    assert scores["nll"][0] == pytest.approx(-float(losses.sum()), rel=1e-4)
    plain = columns(execute(resolve(asked(0, n_train=0))))
    assert scores["n_tokens"] == plain["n_tokens"] and scores["nll"] != plain["nll"]


def test_open_ended_items_are_answered_after_their_demonstrations():
    result = execute(resolve(small.spec(eval_families=("some_members",), n_eval=2, n_shots=2, n_train=0)))
    assert all(graded is not None for graded in columns(result)["graded"][:2])


def test_one_training_serves_every_number_of_demonstrations(tmp_path):
    store = Store(tmp_path)
    first = execute(resolve(asked(0, keep_weights=True)), store)
    again = execute(resolve(asked(2, keep_weights=True)), store)
    assert len(list((tmp_path / "weights").iterdir())) == 1
    assert first.curve == again.curve and first.items != again.items


def test_no_demonstrations_is_the_spec_there_was():
    assert digest(resolve(small.spec(n_shots=0))) == digest(resolve(small.spec()))
    assert digest(resolve(small.spec(n_shots=1))) != digest(resolve(small.spec()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_shots": -1}, "n_shots: must not be negative"),
        ({"n_shots": 600}, "family 'colour' has"),
        ({"eval_families": ("never_home",)}, "family 'never_home' has 0 operands in pools"),
        ({"eval_families": ("colour",), "eval_language": "second"}, "first language only"),
    ],
)
def test_demonstrations_that_cannot_be_are_refused_in_one_line(changes, said):
    with pytest.raises(InputError, match=said) as caught:
        resolve(with_fields(asked(), **changes))
    assert "\n" not in str(caught.value)


def test_a_source_without_families_is_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"instruction": "say {i}", "output": "{i}"}}\n' for i in range(40)))
    spec = small.spec(source="local", data_path=str(file), n_shots=2, eval_phrasing_set="observed", n_eval=4)
    with pytest.raises(InputError, match="n_shots: source 'local' has no task families to demonstrate"):
        resolve(spec)


def test_demonstrations_that_leave_no_room_are_refused_before_training(tmp_path, monkeypatch):
    def no_training(*arguments):
        raise AssertionError("a run that cannot be scored is not trained")

    monkeypatch.setattr("itlib.execute.tune", no_training)
    spec = worldly.resolved(worldly.folder(tmp_path), eval_families=("longer",), n_shots=30, n_reference=0)
    with pytest.raises(InputError, match=r"with 30 demonstrations the longest row has \d+ tokens; .* 256 positions"):
        execute(spec)
