"""Rewording that keeps the meaning: a politeness, a question for a command and back, another wrapper.

Evaluation only: the two that exchange wrappers also speak in those of the sets "unobserved" and "dev", which a model
must not have seen in training. Negated wrappers are never recognised, so a negation is neither lost nor added.

The whole text is one unit: at a severity above 0.5 it is reworded, else it stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from itlib.microworld.phrasings import WRAPPERS
from itlib.perturbations._words import core, pick, unkept
from itlib.registry import perturbations

POLITE_WORDS = frozenset({"please", "kindly", "thanks", "thank"})
POLITE_FRAMES = ("please , {}", "kindly , {}", "{} thanks .", "{} many thanks .", "{} thanks , my friend .")
_RECOGNISED = {
    wrapper: (which, re.compile(re.escape(wrapper).replace(r"\{\}", "(.+)"), re.DOTALL))
    for which in ("observed", "unobserved", "dev")
    for wrapper in WRAPPERS[which]
}


@perturbations.register("politeness")
def politeness(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put a politeness before or after the text. Text that is polite already stays as it is."""
    if not text.strip() or any(core(word).lower() in POLITE_WORDS for word in text.split()):
        return text
    return _framed(text, POLITE_FRAMES, severity, rng, keep) or text


@perturbations.register("mood")
def mood(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Make a command or a wish of a question, and a question of anything else, where the wrapper is recognised."""
    own, content = _unwrapped(text, keep)
    others = [other for other in _RECOGNISED if own and other.endswith("?") != own.endswith("?")]
    return _framed(content, others, severity, rng, keep) or text


@perturbations.register("wrapper")
def wrapper(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put the content into a wrapper of another set ("observed", "unobserved", "dev"), where its own is recognised."""
    own, content = _unwrapped(text, keep)
    others = [other for other, (which, _) in _RECOGNISED.items() if own and which != _RECOGNISED[own][0]]
    return _framed(content, others, severity, rng, keep) or text


def _unwrapped(text: str, keep: frozenset[str]) -> tuple[str, str]:
    """Return the wrapper of a text and what it wraps; two empty strings for others and where it has a kept word."""
    for known in unkept(_RECOGNISED, keep):
        match = _RECOGNISED[known][1].fullmatch(text)
        if match:
            return known, match[1]
    return "", ""


def _framed(
    content: str, frames: Sequence[str], severity: float, rng: np.random.Generator, keep: frozenset[str]
) -> str:
    """Return the content in one of the frames without a kept word; empty where there is none or severity is low."""
    usable = unkept(frames, keep)
    return pick(usable, rng).replace("{}", content, 1) if usable and round(severity) == 1 else ""
