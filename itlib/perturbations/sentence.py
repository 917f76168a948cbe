"""Sentence noise: something irrelevant before or after the instruction."""

from __future__ import annotations

import string

import numpy as np

from itlib.microworld import lexicon
from itlib.perturbations._words import core, count_words, pick, unkept
from itlib.registry import perturbations

STRING_LENGTH = 10
WORDS_PER_STRING = 10
# a sentence is the end of "... and the red fox walked and the tall oak sang ."
_CLAUSE = (("and",), ("the",), lexicon.ADJECTIVES, lexicon.NOUNS, tuple(lexicon.PAST.values()))
MOST_SENTENCES = 3


@perturbations.register("distractor")
def distractor(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Put an irrelevant sentence before or after the text.

    Args:
        text: Any text.
        severity: Words of the sentence relative to the words of the text; the number of words is rounded.
        rng: Decides the side and the words: adjectives, nouns and past tenses of the micro-world that the text does not
            contain.
        keep: Words that the sentence does not contain either.
    """
    nouns, *slots = _unsaid(text, keep)
    before = rng.random() < 0.5
    length = round(severity * count_words(text))
    words = [pick(slots[-1 - back % len(slots)] or nouns, rng) for back in range(length)]
    if not words:
        return text
    sentence = " ".join((*reversed(words), *unkept(["."], keep)))
    return f"{sentence} {text}" if before else f"{text} {sentence}"


@perturbations.register("irrelevant_sentences")
def irrelevant_sentences(
    text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()
) -> str:
    """Put whole irrelevant sentences ("the red fox walked .") before or after the text, all on one side.

    Args:
        text: Any text; it stays in one piece.
        severity: Number of sentences over ``MOST_SENTENCES``, rounded: the dose does not depend on the text.
        rng: Decides the side and the words, as for ``distractor``.
        keep: Words that the sentences do not contain.
    """
    nouns, _, *slots = _unsaid(text, keep)
    before = rng.random() < 0.5
    sentences = [
        " ".join((*(pick(slot or nouns, rng) for slot in slots), *unkept(["."], keep)))
        for _ in range(round(severity * MOST_SENTENCES) if text.strip() else 0)
    ]
    return " ".join((*sentences, text) if before else (text, *sentences))


def _unsaid(text: str, keep: frozenset[str]) -> list[list[str]]:
    """Return the nouns, and the words of each place of a clause, that are neither kept nor in the text."""
    said = {core(word).lower() for word in text.split()} - {"and", "the"}
    return [[word for word in words if word not in keep and word not in said] for words in (lexicon.NOUNS, *_CLAUSE)]


@perturbations.register("random_string")
def random_string(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Append random strings of ten lower-case letters and digits.

    One string for any severity above 0, and ``round(severity * words / 10)`` where that is more: one per ten words of
    the text at severity 1.

    Source: the sentence-level attack of PromptBench, Zhu et al. (2023), arXiv:2306.04528, after CheckList.
    """
    if not severity or not text.strip():
        return text
    count = max(1, round(severity * count_words(text) / WORDS_PER_STRING))
    added = []
    while len(added) < count:
        drawn = "".join(pick(string.ascii_lowercase + string.digits, rng) for _ in range(STRING_LENGTH))
        added += unkept([drawn], keep)
    return " ".join((text, *added))
