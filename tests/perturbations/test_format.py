"""Format noise, by hand, and what of it reaches a model of the world at all."""

import numpy as np
import pytest

from itlib.microworld.corpus import reference_text
from itlib.microworld.tokenizer import load
from itlib.perturbations.format import EXTRA_MARKS, QUOTES, TAG
from itlib.registry import perturbations

TEXT = "what is the opposite of hot ?"


def outcomes(name, text, severity=1.0, keep=frozenset()):
    perturb = perturbations.get(name)
    return {perturb(text, severity, np.random.default_rng(seed), keep) for seed in range(60)}


def test_upper_case():
    assert outcomes("upper_case", TEXT, keep=frozenset({"hot"})) == {"WHAT IS THE OPPOSITE OF hot ?"}
    assert outcomes("upper_case", "NO 12 go", 0.5) == {"NO 12 go"}


def test_punctuation_is_lost():
    assert outcomes("punctuation_lost", "now , tell me : x .") == {"now tell me x"}
    assert outcomes("punctuation_lost", "Is it hot?!", keep=frozenset({"hot"})) == {"Is it hot"}
    assert outcomes("punctuation_lost", "a , b .", 0.5) == {"a , b", "a b ."}
    assert outcomes("punctuation_lost", "3.5 + 2 .", keep=frozenset({"."})) == {"3.5 + 2 ."}
    assert outcomes("punctuation_lost", ". ?") == {"."}
    assert outcomes("punctuation_lost", "+. x", keep=frozenset({"+"})) == {"+. x"}  # would make one more "+"


def test_extra_punctuation():
    assert outcomes("punctuation_extra", "the hot ?", keep=frozenset({"hot"})) == {
        f"the {mark} hot ?" for mark in EXTRA_MARKS
    }


def test_extra_blanks_leave_every_word():
    assert all(text.split() == TEXT.split() and text != TEXT for text in outcomes("extra_blanks", TEXT, 0.2))
    assert outcomes("extra_blanks", "word") == {"word"}
    assert outcomes("extra_blanks", " word\n") == {" word\n"}  # nothing stands between words


def test_quotes_and_tag():
    assert outcomes("quotes", TEXT) == {f'" {TEXT} "'}
    assert outcomes("tag", TEXT) == {f"[ task ] {TEXT} [ / task ]"}
    assert outcomes("tag", TEXT, keep=frozenset({"task"})) == outcomes("tag", TEXT, 0.5) == {TEXT}


@pytest.mark.parametrize("name", ["upper_case", "extra_blanks"])
def test_two_controls_do_not_change_a_token_of_the_world(name):
    tokenizer = load()
    changed = outcomes(name, TEXT, 0.7)
    assert len(changed) > 1
    assert {tuple(tokenizer(text)["input_ids"]) for text in changed} == {tuple(tokenizer(TEXT)["input_ids"])}


def test_documents_hold_the_extra_marks_and_no_quotes_or_brackets():
    seen = {word for document in reference_text(1000) for word in document.split()}
    assert set(EXTRA_MARKS) <= seen
    assert not {'"', "[", "]"} & seen and {'"', "[", "]"} <= {*QUOTES, *TAG}
