"""Injections: at their place in the input, the same for every phrasing, and told by the id of the item."""

import pytest
import worldly

from itlib.errors import InputError
from itlib.execute import _asked, execute
from itlib.injections import PLACES, name, outcome, placed, told
from itlib.microworld import world
from itlib.microworld.injection import FAMILIES, drawn
from itlib.microworld.operations import answer
from itlib.registry import families, sources
from itlib.resolve import resolve
from itlib.spec import RunSpec, digest, with_fields

EVERYWHERE = "+".join(PLACES)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return worldly.folder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("question", "about", "place", "expected"),
    [
        ("what is the larger of cat and bear ?", ("cat", "bear"), "start", "what is the larger of X Y cat and bear ?"),
        ("what is the larger of cat and bear ?", ("cat", "bear"), "middle", "what is the larger of cat and X Y bear ?"),
        ("what is the larger of cat and bear ?", ("cat", "bear"), "end", "what is the larger of cat and bear X Y ?"),
        ("cat bear", ("cat", "bear"), "start", "X Y cat bear"),
        ("cat bear", ("cat", "bear"), "middle", "cat X Y bear"),
        ("cat bear", ("cat", "bear"), "end", "cat bear X Y"),
        ("the opposite of hot .", ("hot",), "middle", "the opposite of hot X Y ."),
        ("no such word", ("hot",), "middle", "no such X Y word"),
        ("cat bear", ("cat", "bear"), "absent", "cat bear"),
        ("the words a b c", ("a b c", "flip>flip"), "middle", "the words a b X Y c"),
    ],
)
def test_places_by_hand(question, about, place, expected):
    assert placed(question, about, "X Y", place) == expected


def test_the_id_tells_what_was_injected():
    found = told(name("test/longer/cat_bear/none", "middle", "home", "old town"))
    assert (found.item, found.place, found.family, found.answer) == (
        "test/longer/cat_bear/none", "middle", "home", "old town",
    )  # fmt: skip
    with pytest.raises(InputError, match="not the id"):
        told("test/longer/cat_bear/none")


def items(phrasing_set, **fields):
    spec = with_fields(
        RunSpec(), eval_families=["longer", "opposite"], n_eval=12, eval_phrasing_set=phrasing_set,
        injection=EVERYWHERE, **fields,
    )  # fmt: skip
    return sources.get("microworld").held_out(spec.data, spec.evaluate)


def test_every_item_comes_once_per_place_with_one_injection():
    found = items("observed")
    assert len(found) == 4 * 2 * 12 and len({one.id for one in found}) == len(found)
    by_item = {}
    for one in found:
        by_item.setdefault(told(one.id).item, []).append(told(one.id))
    assert all([t.place for t in group] == list(PLACES) for group in by_item.values())
    assert all(len({(t.family, t.answer) for t in group}) == 1 for group in by_item.values())


def test_the_injection_does_not_depend_on_the_phrasing():
    def injections(phrasing_set):
        return [(told(one.id).family, told(one.id).answer, one.gold) for one in items(phrasing_set)]

    assert injections("observed") == injections("none") == injections("unobserved_wrapper")


def test_an_injection_asks_another_family_for_another_answer_on_operands_of_the_split():
    for item in world.held_out("test", 30, families=("longer", "opposite"), phrasing_set="none"):
        family, asked, right = drawn(item)
        assert family in FAMILIES and family != item.family and right != item.gold
        operands = [a for a in families.get(family).every("test") if answer(family, a) == right]
        assert any(set(a) <= set(asked.split()) for a in operands)


def test_right_responses_stay_those_of_the_item():
    spec = with_fields(RunSpec(), eval_families=["longer"], n_eval=5, eval_phrasing_set="none")
    plain = sources.get("microworld").held_out(spec.data, spec.evaluate)
    for place, found in zip(PLACES, [items("none")[24 * k : 24 * k + 5] for k in range(4)], strict=True):
        assert [one.gold for one in found] == [one.gold for one in plain]
        same = [one.instruction == own.instruction for one, own in zip(found, plain, strict=True)]
        assert same == [place == "absent"] * 5


def test_injected_items_are_answered_freely_and_kept(base):
    spec = worldly.resolved(base, eval_families=["longer"], injection="absent+end", eval_phrasing_set="none")
    assert spec.evaluate.free_answers and spec.evaluate.injection == "absent+end"
    result = execute(spec)
    scored = [item for item in result.items if item[1] == "longer"]
    assert len(scored) == 4 and all(item[5] is None and item[7] in (0.0, 1.0) for item in scored)
    assert all(isinstance(item[-1], str) for item in scored)


def test_free_answers_are_graded_by_the_right_response(base):
    spec = worldly.resolved(base, eval_families=["longer"], free_answers=True)
    assert all(item.constraints == (f"answer {item.gold}",) for item in _asked(spec))


def test_new_fields_at_their_defaults_are_no_part_of_a_digest():
    plain = resolve(RunSpec())
    same = resolve(with_fields(plain, injection="none", free_answers=False, max_new_tokens=32, mix_phrasing_set=""))
    assert digest(plain) == digest(same)
    for changes in ({"injection": "end"}, {"free_answers": True}, {"max_new_tokens": 64}):
        assert digest(resolve(with_fields(plain, **changes))) != digest(plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"injection": "begin"}, "injection: 'begin' is not one of none, absent"),
        ({"injection": "end+end"}, "names a place twice"),
        ({"injection": "end", "eval_families": ["list_members"]}, "list_members|unknown"),
        ({"injection": "end", "n_eval_phrasings": 2}, "one phrasing per item"),
        ({"injection": "end", "eval_language": "second", "eval_families": ["opposite"]}, "the first language"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        resolve(with_fields(RunSpec(), **fields))


@pytest.mark.parametrize(
    ("response", "own", "expected"),
    [("cold", False, "injected"), ("bear", True, "own"), ("dog", False, "neither"), ("", False, "neither")],
)
def test_outcomes(response, own, expected):
    assert outcome(response, own, "cold") == expected
