"""The words of the world, read once from ``assets/lexicon.json``.

Nouns, adjectives and verbs are real words, so that an item reads naturally; people, towns and countries are
invented. No word plays two parts: a word tells what it is, and splits by word cannot leak across parts.

People come in four groups. Documents speak often of ``PEOPLE``, seldom of ``RARE_PEOPLE``, and mention ``NEW_PEOPLE``
and ``NEVER_PEOPLE`` without any fact about them: tuning may teach the facts of new people, nothing ever teaches those
of the last group.
"""

from __future__ import annotations

import json
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
_raw = json.loads((ASSETS / "lexicon.json").read_text(encoding="utf-8"))


def _pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(pair.split("/")) for pair in text.split()]


PLURAL: dict[str, str] = {}
CATEGORY: dict[str, str] = {}
for _category, _text in _raw["nouns"].items():
    for _singular, _plural in _pairs(_text):
        PLURAL[_singular] = _plural
        CATEGORY[_singular] = _category

NOUNS: tuple[str, ...] = tuple(PLURAL)
CATEGORIES: tuple[str, ...] = tuple(_raw["nouns"])
OPPOSITE_PAIRS: tuple[tuple[str, str], ...] = tuple(_pairs(_raw["opposites"]))
OPPOSITE: dict[str, str] = {a: b for pair in OPPOSITE_PAIRS for a, b in (pair, pair[::-1])}
ADJECTIVES: tuple[str, ...] = tuple(OPPOSITE)
PAST: dict[str, str] = dict(_pairs(_raw["verbs"]))
VERBS: tuple[str, ...] = tuple(PAST)
COLOURS: tuple[str, ...] = tuple(_raw["colours"].split())
SIZES: tuple[str, ...] = tuple(_raw["sizes"].split())
JOBS: tuple[str, ...] = tuple(_raw["jobs"].split())
PEOPLE: tuple[str, ...] = tuple(_raw["people"].split())  # met often in the documents
RARE_PEOPLE: tuple[str, ...] = tuple(_raw["rare_people"].split())
NEW_PEOPLE: tuple[str, ...] = tuple(_raw["new_people"].split())
NEVER_PEOPLE: tuple[str, ...] = tuple(_raw["never_people"].split())
TOWNS: tuple[str, ...] = tuple(_raw["towns"].split())
COUNTRIES: tuple[str, ...] = tuple(_raw["countries"].split())
NAMES = (PEOPLE, RARE_PEOPLE, NEW_PEOPLE, NEVER_PEOPLE, TOWNS, COUNTRIES)
LETTERS: tuple[str, ...] = tuple("abcdefghijklmnopqrstuvwxyz")
DIGITS: tuple[str, ...] = tuple("0123456789")


def all_words() -> list[str]:
    """Return every lexicon word, each once, in a fixed order."""
    parts = (NOUNS, PLURAL.values(), CATEGORIES, ADJECTIVES, VERBS, PAST.values(), COLOURS, SIZES, JOBS)
    return [word for part in (*parts, *NAMES) for word in part]
