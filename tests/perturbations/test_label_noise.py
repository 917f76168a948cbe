"""Label noise: exact inverses, nothing keeps its response, and what is the same is known to be."""

import codecs

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.perturbations.label_noise import LABEL_TRANSFORMS, contradictory, irrelevant
from itlib.registry import perturbations

responses = st.lists(st.sampled_from(["hot", "cold", "a b", "1", "2", "red ; blue"]), max_size=30)


def test_known_answers():
    found = {name: transform.apply("red fox ; 10") for name, transform in LABEL_TRANSFORMS.items()}
    assert found == {
        "word_reversal": "10 ; fox red",
        "letter_reversal": "der xof ; 01",
        "transliteration": "erq sbk ; 65",
    }


@pytest.mark.parametrize("name", LABEL_TRANSFORMS)
@given(st.text() | st.text("abc 12\n;XY"))
def test_the_inverse_is_exact_on_any_text(name, text):
    transform = LABEL_TRANSFORMS[name]
    assert transform.inverse(transform.apply(text)) == text == transform.apply(transform.inverse(text))


@given(st.text("abcxyzABC .;"))
def test_letters_are_transliterated_as_by_rot13(text):
    assert LABEL_TRANSFORMS["transliteration"].apply(text) == codecs.encode(text, "rot13")


def test_what_has_no_noisy_form_of_its_own():
    fixed = {name: [text for text in ("hot", "p", "noon", "5", "a b") if transform.apply(text) == text]
             for name, transform in LABEL_TRANSFORMS.items()}  # fmt: skip
    assert fixed == {
        "word_reversal": ["hot", "p", "noon", "5"],
        "letter_reversal": ["p", "noon", "5", "a b"],
        "transliteration": [],
    }


def test_noise_decoded_accuracy_of_a_wrapped_model_is_its_clean_accuracy():
    gold, said = ["red fox", "12", "hot", "big cow"], ["red fox", "13", "hot", "cow big"]
    for transform in LABEL_TRANSFORMS.values():
        noisy = [transform.apply(text) for text in said]
        decoded = [transform.inverse(text) == right for text, right in zip(noisy, gold, strict=True)]
        assert decoded == [True, False, True, False]
        assert decoded == [text == transform.apply(right) for text, right in zip(noisy, gold, strict=True)]


@given(responses, st.integers(0, 99))
def test_irrelevant_responses_are_a_derangement_wherever_there_is_one(texts, seed):
    if any(2 * texts.count(text) > len(texts) for text in texts):
        with pytest.raises(InputError, match="more than half"):
            irrelevant(texts, np.random.default_rng(seed))
        return
    given_instead = irrelevant(texts, np.random.default_rng(seed))
    assert sorted(given_instead) == sorted(texts)
    assert all(a != b for a, b in zip(given_instead, texts, strict=True))
    assert given_instead == irrelevant(texts, np.random.default_rng(seed))


def test_all_derangements_of_four_responses_occur():
    found = {tuple(irrelevant(list("abcd"), np.random.default_rng(seed))) for seed in range(500)}
    assert len(found) == 9


@given(st.sets(st.text(max_size=3), min_size=2, max_size=9), st.integers(0, 99))
def test_contradictory_responses_are_a_bijection_without_fixed_points(texts, seed):
    transform = contradictory([*texts, *texts], np.random.default_rng(seed))
    wrong = {text: transform.apply(text) for text in texts}
    assert set(wrong.values()) == texts
    assert all(text != other and transform.inverse(other) == text for text, other in wrong.items())
    again = contradictory(sorted(texts, reverse=True), np.random.default_rng(seed))
    assert wrong == {text: again.apply(text) for text in texts}


def test_two_responses_contradict_each_other_and_one_cannot():
    transform = contradictory(["yes", "no"], np.random.default_rng(0))
    assert (transform.apply("yes"), transform.apply("no")) == ("no", "yes")
    with pytest.raises(InputError, match="did you mean 'yes'"):
        transform.apply("yess")
    with pytest.raises(InputError, match="two different"):
        contradictory(["yes", "yes"], np.random.default_rng(0))


def test_nothing_here_is_an_instruction_perturbation():
    assert not {*LABEL_TRANSFORMS, "irrelevant", "contradictory"} & set(perturbations.names())
