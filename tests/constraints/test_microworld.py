"""Constraints that ask the world: by hand, against the raw lexicon, in both languages, and refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_oracle import KIND, moves

from itlib.constraints import check, graded, validate
from itlib.errors import InputError
from itlib.microworld import facts, language, lexicon, responses, track

NOUNS = st.sampled_from(lexicon.NOUNS)
TABLE = language.counterparts()


def holds(constraint, response):
    return check([constraint], response)[constraint]


@given(st.lists(NOUNS, min_size=1, max_size=4), st.sampled_from(lexicon.CATEGORIES))
def test_members_are_those_of_the_lexicon(nouns, kind):
    right = all(KIND[noun] == kind for noun in nouns)
    assert holds(f"member {kind}", " , ".join(nouns)) == right
    assert holds(f"member {TABLE[kind]}", " , ".join(TABLE[noun] for noun in nouns)) == right


@given(st.lists(NOUNS, min_size=1, max_size=4), st.sampled_from(lexicon.COLOURS))
def test_coloured_things_are_those_of_the_facts(nouns, colour):
    right = all(facts.COLOUR[noun] == colour for noun in nouns)
    assert holds(f"coloured {colour}", " , ".join(nouns)) == right
    assert holds(f"coloured {TABLE[colour]}", " , ".join(TABLE[noun] for noun in nouns)) == right


@pytest.mark.parametrize("response", ["", "wolf bear", "wolf ,", ", wolf", "wolves", "wolf , , bear", "wolf ."])
def test_what_is_no_list_of_members_is_refused(response):
    assert not holds("member animal", response)


def test_the_languages_are_not_mixed_within_a_pair():
    assert not holds("member animal", TABLE["wolf"]) and not holds(f"member {TABLE['animal']}", "wolf")
    assert not holds("member animal", f"wolf , {TABLE['bear']}")


@pytest.mark.parametrize("position", track.positions()[::5])
def test_a_legal_move_is_one_that_the_rules_allow_in_either_language(position):
    for move in ("step", "leap", "back", "stuck"):
        allowed = move in moves(*position)
        assert holds(f"legal_move {' '.join(position)}", move) == allowed
        assert holds(f"legal_move {' '.join(position)}", TABLE[move]) == allowed
    assert not holds(f"legal_move {' '.join(position)}", "jump")


def test_content_is_accepted_in_every_frame_and_nothing_else_is():
    for frame in responses.frames():
        assert holds("content wolf bear", frame.replace("{}", "wolf bear"))
        for other in ("bear wolf", "wolf", "wolf bear wolf", "wolves bear", ""):
            assert not holds("content wolf bear", frame.replace("{}", other))


@given(st.sampled_from(responses.frames()), st.sampled_from(responses.frames()))
def test_content_framed_twice_is_wrong_unless_that_is_a_frame(outer, inner):
    said = outer.replace("{}", inner)
    assert holds("content wolf", said.replace("{}", "wolf")) == (said in responses.frames())


def test_only_the_content_is_graded_and_not_the_wording():
    assert graded(("content cold",), "it is cold") == 1.0
    assert graded(("content cold",), "it was cold") == 0.0
    assert graded(("content it is cold",), "it is cold") == 1.0


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ("member animals", "constraint 'member animals': the world has no 'animals'"),
        ("member red", "the world has no 'red'"),
        ("member", "the world has no ''"),
        ("coloured animal", "constraint 'coloured animal': the world has no 'animal'"),
        ("legal_move 1 2", "needs the cells of a piece and of two walls, lower wall first, not '1 2'"),
        ("legal_move 1 3 2", "lower wall first, not '1 3 2'"),
        ("legal_move 1 1 2", "not '1 1 2'"),
        ("legal_move 1 2 10", "not '1 2 10'"),
        ("legal_move a b c", "not 'a b c'"),
        ("legal_mov 1 2 3", "unknown constraint 'legal_mov' .did you mean 'legal_move'"),
        ("content", "constraint 'content'"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(constraint, told):
    for use in (validate, lambda texts: check(texts, "wolf , bear")):
        with pytest.raises(InputError, match=told) as caught:
            use([constraint])
        assert "\n" not in str(caught.value)
