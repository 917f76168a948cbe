"""Typing errors: at the asked rate, pure, and always a real change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from itlib.registry import perturbations

words = st.lists(st.text("abcdefgh", min_size=1, max_size=8), min_size=1, max_size=12).map(" ".join)


@given(words, st.floats(0, 1), st.integers(0, 99))
def test_typos_edit_the_asked_share_of_words(text, severity, seed):
    typo = perturbations.get("typo")
    changed = typo(text, severity, np.random.default_rng(seed))
    pairs = list(zip(text.split(" "), changed.split(" "), strict=True))
    candidates = sum(len(word) >= 3 for word, _ in pairs)
    assert sum(a != b for a, b in pairs) == round(severity * candidates)
    assert changed == typo(text, severity, np.random.default_rng(seed))


@given(words)
def test_no_severity_and_the_clean_condition_are_the_identity(text):
    for name, severity in (("typo", 0.0), ("none", 1.0)):
        assert perturbations.get(name)(text, severity, np.random.default_rng(0)) == text
