"""What perturbations share: text as words and blanks, what is kept, and how many units are edited."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def split(text: str) -> list[str]:
    """Return words at even places and the blanks between them at odd ones; joined they are the text.

    The first or last word is empty where the text starts or ends with a blank.
    """
    return re.split(r"(\s+)", text)


def core(word: str) -> str:
    """Return the word without the punctuation around it; empty for a punctuation mark."""
    return word.strip(string.punctuation)


def is_kept(word: str, keep: frozenset[str]) -> bool:
    """Return whether a word carries the content."""
    return word in keep or core(word) in keep


def free_words(pieces: Sequence[str], keep: frozenset[str]) -> list[int]:
    """Return the places of the words that are neither kept nor punctuation."""
    return [i for i in range(0, len(pieces), 2) if core(pieces[i]) and not is_kept(pieces[i], keep)]


def count_words(text: str) -> int:
    """Return the number of words, kept ones included and punctuation marks left out."""
    return len(free_words(split(text), frozenset()))


def chosen(units: Sequence[T], severity: float, rng: np.random.Generator) -> list[T]:
    """Return ``round(severity * len(units))`` of the units in random order; a smaller severity gives a prefix."""
    # doubles are the one stream that numpy keeps fixed between releases; permutation() is not
    order = np.argsort(rng.random(len(units)), kind="stable")
    return [units[i] for i in order[: round(severity * len(units))]]


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def unkept(texts: Iterable[str], keep: frozenset[str]) -> list[str]:
    """Return the texts that contain no kept word."""
    return [text for text in texts if not any(is_kept(word, keep) for word in text.split())]


def edit_words(
    text: str,
    severity: float,
    rng: np.random.Generator,
    keep: frozenset[str],
    forms: Callable[[str], Sequence[str]],
) -> str:
    """Return the text with a share of its words replaced by another form; punctuation around a word stays.

    Args:
        text: Any text.
        severity: Share of the editable words: those not kept that have a form which is no kept word.
        rng: Decides which words and which forms.
        keep: Words that stay.
        forms: ``forms(word)`` lists what may stand for a word, the word itself left out.
    """
    pieces, options = split(text), {}
    for i in free_words(pieces, keep):
        lead, word, tail = pieces[i].partition(core(pieces[i]))
        options[i] = unkept((f"{lead}{form}{tail}" for form in forms(word)), keep)
    for i in chosen([i for i, found in options.items() if found], severity, rng):
        pieces[i] = pick(options[i], rng)
    return "".join(pieces)


def without(pieces: Sequence[str], places: Iterable[int]) -> str:
    """Return the text without the words at these places, each gone with the blank before it."""
    left = list(pieces)
    for i in sorted(places, reverse=True):
        del left[max(0, i - 1) : i + 1 if i else 2]
    return "".join(left)


def spared(places: list[int], pieces: Sequence[str]) -> list[int]:
    """Return the places that may be emptied: all, or all but the first where nothing else would be left."""
    return places[1:] if len(places) == sum(bool(word) for word in pieces[::2]) else places
