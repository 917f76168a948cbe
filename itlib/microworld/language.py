"""The second language: a bijection of words, met much less often in the documents than the first.

Every word but names, numbers, letters and punctuation has exactly one counterpart, invented; word order is the same.
Facts are the same in both languages. What depends on the form of words (letters, length, inflection) does not carry
over and is not said in the second language.
"""

from __future__ import annotations

from functools import cache

from itlib.errors import InputError
from itlib.microworld import lexicon, responses, writers
from itlib.microworld.dice import digest
from itlib.microworld.phrasings import template_words

LANGUAGES = ("first", "second")
_ONSETS = tuple("b ch d dj f g h j k kh l m n p q r s sh t th v w x y z".split())
_VOWELS = tuple("a e i o u aa oo ei ua io".split())


def check(language: str, key: str = "language") -> str:
    """Return ``language``, or raise ``InputError`` when there is none of that name."""
    if language not in LANGUAGES:
        raise InputError(f"{key} is '{language}'; known: {', '.join(LANGUAGES)}")
    return language


@cache
def counterparts() -> dict[str, str]:
    """Return the word of the second language for each word of the first that has one."""
    known = set(lexicon.all_words()) | writers.static_words() | template_words()
    meant = {*lexicon.NOUNS, *lexicon.CATEGORIES, *lexicon.ADJECTIVES, *lexicon.COLOURS, *lexicon.SIZES, *lexicon.JOBS}
    meant |= {"instruction", "response", *responses.style_words(), *responses.wording_words()}
    meant |= {word for word in writers.static_words() | template_words() if word.isalpha()}
    taken, table = set(known), {}
    for word in sorted(meant - _shared()):
        table[word] = _invented(word, taken)
        taken.add(table[word])
    return table


def _invented(word: str, taken: set[str]) -> str:
    for attempt in range(1000):
        bits, parts = digest("second language", attempt, word), []
        for _ in range(2 + bits % 2):
            bits, onset = divmod(bits >> 1, len(_ONSETS))
            bits, vowel = divmod(bits, len(_VOWELS))
            parts.append(_ONSETS[onset] + _VOWELS[vowel])
        if "".join(parts) not in taken:
            return "".join(parts)
    raise InputError(f"no free word of the second language for '{word}'")


def _shared() -> frozenset[str]:
    """Return the words that both languages have in common: names of people, towns and countries."""
    return frozenset(word for names in lexicon.NAMES for word in names)


def translate(text: str) -> str:
    """Return a text of the first language in the second.

    Raises:
        InputError: A word has no counterpart (an inflected form, for instance).
    """
    table, shared = counterparts(), _shared()
    words = []
    for word in text.split():
        if word in table:
            words.append(table[word])
        elif word in shared or not word.isalpha():
            words.append(word)
        else:
            raise InputError(f"'{word}' has no counterpart in the second language")
    return " ".join(words)


def is_second(text: str) -> bool:
    """Return whether a text holds at least one word of the second language."""
    return not _second_words().isdisjoint(text.split())


@cache
def _second_words() -> frozenset[str]:
    return frozenset(counterparts().values())
