"""Constraints: each by hand, empty responses fulfil none, and what cannot be checked is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.constraints import check, graded, validate
from itlib.errors import InputError
from itlib.registry import constraints as registry

WORDS = st.text("abcde", min_size=1, max_size=4)


@pytest.mark.parametrize(
    "constraint,right,wrong",
    [
        ("count 3", "wolf , brown bear , fox", "wolf , bear"),
        ("count 2", "wolf , bear", "wolf , bear ,"),
        ("count 1", "wolf", "wolf , bear"),
        ("distinct", "wolf , bear", "wolf , bear , wolf"),
        ("distinct", "red wolf , red bear", "wolf , ,"),
        ("sorted", "bear , fox , wolf", "fox , bear , wolf"),
        ("sorted", "bear , bear", "bear , ant ,"),
        ("include wolf", "a wolf , a bear", "wolves"),
        ("exclude wolf", "wolves , bears", "bears and a wolf"),
        ("starts_with b", "bear , brown fox", "bear , fox"),
        ("starts_with b", "bear", "bear , , bat"),
        ("first_word the", "the wolf", "wolf the"),
        ("last_word wolf", "the wolf .", "wolf the ."),
        ("at_least 3", "one , two three", "one , two ."),
        ("at_most 2", "one , two .", "one two three"),
    ],
)
def test_by_hand(constraint, right, wrong):
    validate([constraint])
    assert check([constraint], right) == {constraint: True}
    assert check([constraint], wrong) == {constraint: False}


def test_every_generic_constraint_is_tried_above():
    names = {"count", "distinct", "sorted", "include", "exclude", "starts_with", "first_word", "last_word"}
    assert names | {"at_least", "at_most"} <= set(registry.names())


@pytest.mark.parametrize("response", ["", "   ", "\n"])
def test_an_empty_response_fulfils_nothing(response):
    constraints = ("exclude wolf", "at_most 5", "sorted", "distinct", "starts_with w")
    assert graded(constraints, response) == 0.0 and not any(check(constraints, response).values())


def test_the_grade_is_the_share():
    constraints = ("count 3", "distinct", "include wolf", "starts_with b")
    assert graded(constraints, "wolf , bear , bear") == 0.5
    assert graded(constraints[:3], "wolf , bear") == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="without constraints"):
        graded((), "wolf")


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_a_list_fulfils_what_it_was_made_for(items):
    response = " , ".join(items)
    constraints = [f"count {len(items)}", f"include {items[0]}", f"first_word {items[0]}", f"last_word {items[-1]}"]
    constraints += [f"at_least {len(items)}", f"at_most {len(items)}", "exclude zebra"]
    validate(constraints)
    assert graded(constraints, response) == 1.0
    assert check(["distinct"], response)["distinct"] == (len(set(items)) == len(items))
    assert check(["sorted"], response)["sorted"] == (sorted(items) == items)
    assert graded([f"count {len(items) + 1}", f"at_least {len(items) + 1}"], response) == 0.0


@pytest.mark.parametrize(
    "constraint,message",
    [
        ("cuont 3", "constraint 'cuont 3': unknown constraint 'cuont' .did you mean 'count'"),
        ("count", "constraint 'count': needs a whole number of at least 1, not ''"),
        ("count 0", "at least 1, not '0'"),
        ("count 2.5", "at least 1, not '2.5'"),
        ("count ²", "at least 1"),
        ("at_most many", "whole number"),
        ("distinct 3", "takes no argument, got '3'"),
        ("include", "needs one word, not ''"),
        ("include two words", "needs one word, not 'two words'"),
        ("starts_with be", "needs one letter, not 'be'"),
        ("starts_with 3", "needs one letter"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(constraint, message):
    for use in (validate, lambda texts: check(texts, "wolf , bear")):
        with pytest.raises(InputError, match=message) as caught:
            use([constraint])
        assert "\n" not in str(caught.value)


def test_a_constraint_is_given_once():
    with pytest.raises(InputError, match="name one twice"):
        validate(["count 3", "distinct", "count 3"])
