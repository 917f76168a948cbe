"""Character edits: exactly one per chosen word, of the kind that the name says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.registry import perturbations

words = st.lists(st.text("abcdefgh", min_size=1, max_size=8), min_size=1, max_size=12).map(" ".join)
EDITS = {
    "character_swap": {"acb", "bac"},
    "character_delete": {"ab", "ac", "bc"},
    "character_substitute": {"sbc", "avc", "anc", "abx", "abv"},  # left and right on a keyboard
    "typo": {"acb", "bac", "ab", "ac", "bc", "aabc", "abbc", "abcc"},
}


def edit(name, text, seed=0, keep=frozenset()):
    return perturbations.get(name)(text, 1.0, np.random.default_rng(seed), keep)


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_of_a_word_occurs_and_no_other(name):
    assert {edit(name, "abc", seed) for seed in range(300)} == EDITS[name]


def test_insertions_lengthen_a_word_by_one_letter():
    found = {edit("character_insert", "cat", seed) for seed in range(1000)}
    assert all(len(word) == 4 and "cat" in (word[:i] + word[i + 1 :] for i in range(4)) for word in found)
    assert len(found) == 4 * 26 - 3  # doubling a letter can be done before or behind it


def test_an_edit_that_would_make_a_kept_word_is_not_made():
    keep = frozenset({"ab", "bc"})
    assert {edit("character_delete", "abc ab", seed, keep) for seed in range(50)} == {"ac ab"}
    assert edit("character_delete", "abc", 0, keep | {"ac"}) == "abc"


def test_short_words_numbers_and_words_of_one_letter_repeated_stay():
    assert edit("typo", "is 1234 a2c to .") == "is 1234 a2c to ."
    assert edit("character_swap", "aaa bbb") == "aaa bbb"


def test_punctuation_around_a_word_stays():
    assert {edit("character_swap", '"abc?"', seed) for seed in range(20)} == {'"acb?"', '"bac?"'}


def test_capitals_get_capital_neighbours():
    assert {edit("character_substitute", "PQP", seed) for seed in range(50)} == {"OQP", "PQO", "PWP"}


@given(words, st.floats(0, 1), st.integers(0, 99))
def test_typos_edit_the_asked_share_of_words(text, severity, seed):
    typo = perturbations.get("typo")
    changed = typo(text, severity, np.random.default_rng(seed))
    pairs = list(zip(text.split(" "), changed.split(" "), strict=True))
    candidates = sum(len(word) >= 3 for word, _ in pairs)
    assert sum(a != b for a, b in pairs) == round(severity * candidates)
