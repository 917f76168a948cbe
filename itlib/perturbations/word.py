"""Word noise: synonyms, function words lost, words said twice, neighbours swapped."""

from __future__ import annotations

import numpy as np

from itlib.perturbations._words import chosen, core, edit_words, free_words, is_kept, spared, split, without
from itlib.registry import perturbations

# For words of the micro-world's wrappers ("please state {} ."), by words that its vocabulary holds. Left out is what
# also stands in noun phrases with another meaning ("state", "what"), so wrappers made of such words alone stay as they
# are. Other text may use a word in another sense ("the name of the rose"): keep it there, or expect odd sentences.
SYNONYMS = {
    "please": ("kindly",),
    "kindly": ("please",),
    "give": ("provide", "show"),
    "provide": ("give", "show"),
    "tell": ("show",),
    "show": ("tell", "give"),
    "write": ("give", "provide"),
    "name": ("state", "report"),
    "report": ("state", "name"),
    "determine": ("name", "state"),
    "say": ("state", "report"),
    "could": ("can",),
    "can": ("could",),
    "task": ("work", "job"),
    "thanks": ("cheers",),
}
# Words whose loss leaves the meaning: articles, pronouns, auxiliaries, prepositions that only link. Negations, and
# words that say where or in which order, are not among them.
FUNCTION_WORDS = frozenset(
    "a an the this that these those is are was were be been am do does did has have had would could can will shall "
    "i you he she it we they me him her us them my your his its our their of to for with by at".split()
)


@perturbations.register("synonym")
def synonym(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Replace a share of the words that ``SYNONYMS`` knows by one of their synonyms.

    Text without such a word stays as it is: report over how many items an effect is taken.
    """
    return edit_words(text, severity, rng, keep, _synonyms)


def _synonyms(word: str) -> list[str]:
    found = SYNONYMS.get(word.lower(), ())
    return [other.capitalize() if word[0].isupper() else other for other in found]


@perturbations.register("word_drop")
def drop(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Lose a share of the function words, as in a telegram. The first one stays where nothing else would be left."""
    pieces = split(text)
    places = [i for i in free_words(pieces, keep) if pieces[i].lower() in FUNCTION_WORDS]
    return without(pieces, chosen(spared(places, pieces), severity, rng))


@perturbations.register("word_repeat")
def repeat(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Say a share of the words twice, the second time right after the first."""
    pieces = split(text)
    for i in chosen(free_words(pieces, keep), severity, rng):
        pieces[i] = f"{pieces[i]} {pieces[i]}"
    return "".join(pieces)


@perturbations.register("word_order")
def order(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Swap the words of a share of the neighbouring pairs.

    Pairs are formed from left to right and share no word; two kept words, two equal words, and a word and a punctuation
    mark are no pair. A kept word may change places with another word, so that it keeps its order among kept ones.
    """
    pieces = split(text)
    for i in chosen(_pairs(pieces, keep), severity, rng):
        pieces[i], pieces[i + 2] = pieces[i + 2], pieces[i]
    return "".join(pieces)


def _pairs(pieces: list[str], keep: frozenset[str]) -> list[int]:
    """Return the place of the first word of every pair."""
    places, i = [], 0
    while i + 2 < len(pieces):
        first, second = pieces[i], pieces[i + 2]
        movable = not (is_kept(first, keep) and is_kept(second, keep))
        if core(first) and core(second) and first != second and movable:
            places.append(i)
            i += 2
        i += 2
    return places
