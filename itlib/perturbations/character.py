"""Character noise: one edit in each of a fixed share of the words.

All of them edit words of at least three letters and nothing else, so that a word always stays a word. In the
micro-world an edited word falls to its letters; its documents contain misspellings, so these pieces are trained.

Source: four edits of DeepWordBug, Gao et al. (2018), arXiv:1801.04354; at random words here, not at the words that
matter most to a model.
"""

from __future__ import annotations

import string

import numpy as np

from itlib.perturbations._words import edit_words
from itlib.registry import perturbations

SHORTEST = 3
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@perturbations.register("typo", version=2)
def typo(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put a typing error into a share of the words: two neighbours swapped, a letter lost, or a letter doubled.

    Args:
        text: Any text; words are what stands between blanks.
        severity: Share of the words with at least three letters, and letters alone, that are edited.
        rng: Decides which words and which errors.
        keep: Words that stay.

    Returns:
        Text with as many words as before. Every edited word differs from the original.
    """
    return edit_words(text, severity, rng, keep, lambda word: [*_swapped(word), *_deleted(word), *_doubled(word)])


@perturbations.register("character_swap")
def swap(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Swap two neighbouring letters in a share of the words: those in which some two neighbours differ."""
    return edit_words(text, severity, rng, keep, _swapped)


@perturbations.register("character_delete")
def delete(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Lose one letter in a share of the words."""
    return edit_words(text, severity, rng, keep, _deleted)


@perturbations.register("character_insert")
def insert(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put one more letter, any of a to z, at any place into a share of the words."""
    return edit_words(text, severity, rng, keep, _inserted)


@perturbations.register("character_substitute")
def substitute(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put the letter of a neighbouring key, left or right on a keyboard, for one letter of a share of the words."""
    return edit_words(text, severity, rng, keep, _substituted)


def _is_editable(word: str) -> bool:
    return len(word) >= SHORTEST and word.isalpha()


def _different(word: str, forms: list[str]) -> list[str]:
    """Forms that are not the word, each once, in order: a set would be ordered otherwise in every process."""
    return [form for form in dict.fromkeys(forms) if form != word] if _is_editable(word) else []


def _swapped(word: str) -> list[str]:
    return _different(word, [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)])


def _deleted(word: str) -> list[str]:
    return _different(word, [word[:i] + word[i + 1 :] for i in range(len(word))])


def _doubled(word: str) -> list[str]:
    return _different(word, [word[: i + 1] + word[i:] for i in range(len(word))])


def _inserted(word: str) -> list[str]:
    letters = string.ascii_lowercase
    return _different(word, [word[:i] + letter + word[i:] for i in range(len(word) + 1) for letter in letters])


def _substituted(word: str) -> list[str]:
    return _different(
        word, [word[:i] + near + word[i + 1 :] for i, letter in enumerate(word) for near in _near(letter)]
    )


def _near(letter: str) -> str:
    """Return the letters left and right of a letter on a keyboard, in its case; none for other alphabets."""
    row = next((row for row in _ROWS if letter.lower() in row), "")
    at = row.find(letter.lower())
    near = row[max(0, at - 1) : at] + row[at + 1 : at + 2] if row else ""
    return near.upper() if letter.isupper() else near
