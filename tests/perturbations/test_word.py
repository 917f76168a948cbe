"""Word edits, by hand: synonyms of the world, words lost, said twice, swapped."""

import numpy as np

from itlib.microworld.phrasings import WRAPPERS
from itlib.microworld.tokenizer import vocabulary
from itlib.perturbations.word import FUNCTION_WORDS, SYNONYMS
from itlib.registry import families, perturbations

TEXT = "please state the opposite of hot ."


def outcomes(name, text, severity=1.0, keep=frozenset()):
    perturb = perturbations.get(name)
    return {perturb(text, severity, np.random.default_rng(seed), keep) for seed in range(40)}


def test_synonyms_are_words_of_wrappers_by_words_of_the_vocabulary():
    wrapper_words = {word for wrappers in WRAPPERS.values() for wrapper in wrappers for word in wrapper.split()}
    assert set(SYNONYMS) <= wrapper_words
    assert {word for found in SYNONYMS.values() for word in found} <= set(vocabulary())


def test_noun_phrases_hold_no_word_that_has_a_synonym_of_another_meaning():
    phrases = (families.get(name).phrases for name in families.names())
    told = {word for p in phrases for text in (*p.observed, *p.unobserved, *p.dev) for word in text.split()}
    assert told & set(SYNONYMS) == {"can"}  # "what piece 3 can do": "could" does as well


def test_synonyms():
    assert outcomes("synonym", TEXT) == {"kindly state the opposite of hot ."}
    assert outcomes("synonym", "Give it, please.") == {"Provide it, kindly.", "Show it, kindly."}
    assert outcomes("synonym", "what is it ?") == {"what is it ?"}
    assert outcomes("synonym", "please give", 0.5) == {"kindly give", "please provide", "please show"}


def test_function_words_are_lost_and_negations_are_not():
    assert outcomes("word_drop", TEXT) == {"please state opposite hot ."}
    assert outcomes("word_drop", TEXT, 0.5) == {"please state opposite of hot .", "please state the opposite hot ."}
    assert outcomes("word_drop", TEXT, keep=frozenset({"of"})) == {"please state opposite of hot ."}
    assert outcomes("word_drop", "The end\nof  it") == {"end"}
    assert outcomes("word_drop", "of the") == {"of"}
    assert not FUNCTION_WORDS & {"not", "never", "no", "before", "after", "and", "or"}


def test_a_word_is_said_twice():
    assert outcomes("word_repeat", "the hot ?") == {"the the hot hot ?"}
    assert outcomes("word_repeat", "the hot ?", keep=frozenset({"hot"})) == {"the the hot ?"}
    assert outcomes("word_repeat", "the hot ?", 0.5) == {"the hot hot ?", "the the hot ?"}


def test_neighbours_are_swapped():
    assert outcomes("word_order", "a b c d e") == {"b a d c e"}
    assert outcomes("word_order", "a b . c d") == {"b a . d c"}
    assert outcomes("word_order", "a a b") == {"a b a"}
    assert outcomes("word_order", "x fox owl y", keep=frozenset({"fox", "owl"})) == {"fox x y owl"}
    assert outcomes("word_order", "fox owl y", keep=frozenset({"fox", "owl"})) == {"fox y owl"}
