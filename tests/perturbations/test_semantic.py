"""Rewording: the content stays, the wrapper changes as the name says, and a negation is never touched."""

import numpy as np
import pytest

from itlib.microworld.phrasings import WRAPPERS
from itlib.perturbations.semantic import POLITE_FRAMES
from itlib.registry import perturbations

CONTENT = "the opposite of hot , then big"
PLAIN = [(which, wrapper) for which in ("observed", "unobserved", "dev") for wrapper in WRAPPERS[which]]


def outcomes(name, text, severity=1.0, keep=frozenset()):
    perturb = perturbations.get(name)
    return {perturb(text, severity, np.random.default_rng(seed), keep) for seed in range(200)}


@pytest.mark.parametrize("which, wrapper", PLAIN)
def test_every_wrapper_is_recognised_and_changed_in_mood_or_set(which, wrapper):
    text = wrapper.format(CONTENT)
    other_mood = {other.format(CONTENT) for _, other in PLAIN if other.endswith("?") != wrapper.endswith("?")}
    other_set = {other.format(CONTENT) for another, other in PLAIN if another != which}
    assert outcomes("mood", text) == other_mood
    assert outcomes("wrapper", text) == other_set


def test_by_hand():
    assert outcomes("mood", "give the past of run .") == {
        "what is the past of run ?",
        "could you provide the past of run ?",
        "can someone say the past of run ?",
    }
    assert outcomes("politeness", "tell me it .") == {frame.format("tell me it .") for frame in POLITE_FRAMES}
    assert outcomes("politeness", "Please, tell me it .") == {"Please, tell me it ."}


@pytest.mark.parametrize("name", ["mood", "wrapper"])
@pytest.mark.parametrize("text", [*(w.format(CONTENT) for w in WRAPPERS["negated"]), "opposite : hot", "hot"])
def test_negated_and_unknown_wrappers_stay(name, text):
    assert outcomes(name, text) == {text}


def test_a_negated_instruction_can_be_polite():
    assert "please , do not give x ." in outcomes("politeness", "do not give x .")


def test_wrappers_with_a_kept_word_are_neither_left_nor_entered():
    assert outcomes("wrapper", "give x .", keep=frozenset({"give"})) == {"give x ."}
    assert outcomes("mood", "give x .", keep=frozenset({"what", "someone"})) == {"could you provide x ?"}


@pytest.mark.parametrize("name", ["mood", "wrapper", "politeness"])
def test_the_text_is_one_unit(name):
    assert outcomes(name, "give x .", 0.5) == {"give x ."}
    assert "give x ." not in outcomes(name, "give x .", 0.51)
