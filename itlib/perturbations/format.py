"""Format noise: letter case, punctuation, blanks, quotes, a tag.

Two of them are exact controls in the micro-world: its tokenizer lowers every letter and splits at any blank, so
``upper_case`` and ``extra_blanks`` do not change one token, and an effect of theirs would be a fault of the harness.
Quotes and brackets are the reverse: tokens of the micro-world that no document contains, so their embeddings are
untrained and a drop measures that as well. Extra punctuation uses only marks that its documents contain.
"""

from __future__ import annotations

import numpy as np

from itlib.perturbations._words import chosen, edit_words, free_words, is_kept, pick, spared, split, unkept, without
from itlib.registry import perturbations

MARKS = ".,;:!?"
EXTRA_MARKS = (",", ";", ":", ".")
EXTRA_BLANKS = (" ", "   ", "\n", "\n\n", "\t")
QUOTES = '" {} "'
TAG = "[ task ] {} [ / task ]"


@perturbations.register("upper_case")
def upper_case(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Write a share of the words in capitals: of those that are not so already."""
    return edit_words(text, severity, rng, keep, lambda word: [word.upper()] if word != word.upper() else [])


@perturbations.register("punctuation_lost")
def punctuation_lost(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Lose a share of the punctuation: marks that stand alone, and those at the end of a word, kept words included.

    Several marks in a row are one unit. The first one stays where nothing else would be left.
    """
    pieces = split(text)
    bare = [word.rstrip(MARKS) for word in pieces]
    marked = [i for i, word in enumerate(pieces) if bare[i] != word and is_kept(bare[i], keep) == is_kept(word, keep)]
    alone = spared([i for i in marked if not bare[i]], pieces)
    lost = chosen([i for i in marked if bare[i] or i in alone], severity, rng)
    for i in lost:
        pieces[i] = bare[i]
    return without(pieces, [i for i in lost if not bare[i]])


@perturbations.register("punctuation_extra")
def punctuation_extra(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put a punctuation mark, set off by a blank, after a share of the words that are not kept."""
    pieces, marks = split(text), unkept(EXTRA_MARKS, keep)
    for i in chosen(free_words(pieces, keep) if marks else [], severity, rng):
        pieces[i] = f"{pieces[i]} {pick(marks, rng)}"
    return "".join(pieces)


@perturbations.register("extra_blanks")
def extra_blanks(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Add blanks, tabs or line breaks to a share of the blanks between words and marks."""
    pieces = split(text)
    between = [i for i in range(1, len(pieces), 2) if pieces[i - 1] and pieces[i + 1]]
    for i in chosen(between, severity, rng):
        pieces[i] += pick(EXTRA_BLANKS, rng)
    return "".join(pieces)


@perturbations.register("quotes")
def quotes(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put the whole text, which is one unit, in quotes."""
    return _wrapped(text, QUOTES, severity, keep)


@perturbations.register("tag")
def tag(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put the whole text, which is one unit, between an opening and a closing tag in brackets."""
    return _wrapped(text, TAG, severity, keep)


def _wrapped(text: str, frame: str, severity: float, keep: frozenset[str]) -> str:
    if not text.strip() or not unkept([frame], keep) or round(severity) < 1:
        return text
    return frame.replace("{}", text)
