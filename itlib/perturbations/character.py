"""Character noise: typing errors at a fixed rate of words."""

from __future__ import annotations

import numpy as np

from itlib.registry import perturbations


@perturbations.register("typo")
def typo(text: str, severity: float, rng: np.random.Generator) -> str:
    """Put one typing error into a share of the words: two neighbours swapped, a letter lost, or a letter doubled.

    Args:
        text: Words separated by single spaces.
        severity: Share of the words with at least three letters that are edited, in [0, 1], rounded to a whole word.
        rng: Decides which words and which errors.

    Returns:
        Text with as many words as before. Every edited word differs from the original.
    """
    words = text.split(" ")
    candidates = [i for i, word in enumerate(words) if len(word) >= 3 and word.isalpha()]
    for i in rng.permutation(candidates)[: round(severity * len(candidates))]:
        words[i] = _misspell(words[i], rng)
    return " ".join(words)


def _misspell(word: str, rng: np.random.Generator) -> str:
    position = int(rng.integers(len(word) - 1))
    kind = int(rng.integers(3))
    if kind == 0 and word[position] != word[position + 1]:
        return word[:position] + word[position + 1] + word[position] + word[position + 2 :]
    if kind == 1:
        return word[:position] + word[position + 1 :]
    return word[:position] + word[position] + word[position:]
