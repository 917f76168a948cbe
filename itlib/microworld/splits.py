"""Which words and operands belong to the pool, to dev and to test: disjoint, fixed, decided by hash."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement, permutations

from itlib.errors import InputError, did_you_mean
from itlib.microworld import lexicon, track
from itlib.microworld.dice import ranked

SPLITS = ("pool", "dev", "test")
_SHARES = (0.60, 0.15, 0.25)
WORDS = {
    "adjective": lexicon.OPPOSITE_PAIRS,
    "noun": lexicon.NOUNS,
    "verb": lexicon.VERBS,
    "person": lexicon.PEOPLE,
    "rare_person": lexicon.RARE_PEOPLE,
    "town": lexicon.TOWNS,
}


def check(split: str) -> str:
    """Return ``split``, or raise ``InputError`` when there is none of that name."""
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'{did_you_mean(split, SPLITS)}; known: {', '.join(SPLITS)}")
    return split


def _cut(units: list, split: str) -> list:
    """Return the part of hash-ordered ``units`` that belongs to ``split``."""
    first = round(_SHARES[0] * len(units))
    second = first + round(_SHARES[1] * len(units))
    return {"pool": units[:first], "dev": units[first:second], "test": units[second:]}[check(split)]


@cache
def words(kind: str, split: str) -> tuple[str, ...]:
    """Return the words of one kind in one split; both words of an opposite pair are always together.

    Two kinds are not split, by their nature: new people are what a pool teaches and a test asks back, so every split
    holds all of them; people that nothing ever tells about are in dev and in test and never in a pool.
    """
    if kind == "new_person":
        return lexicon.NEW_PEOPLE
    if kind == "never_person":
        return () if check(split) == "pool" else lexicon.NEVER_PEOPLE
    chosen = _cut(ranked(WORDS[kind], "split", kind), split)
    return tuple(word for pair in chosen for word in pair) if kind == "adjective" else tuple(chosen)


@cache
def number_pairs(lowest: int, highest: int, split: str) -> tuple[tuple[str, str], ...]:
    """Return ordered pairs of numbers in one split; (3, 6) and (6, 3) have one sum and are always together."""
    unordered = list(combinations_with_replacement(range(lowest, highest + 1), 2))
    chosen = _cut(ranked(unordered, "split", "sum", lowest, highest), split)
    ordered = [(str(a), str(b)) for first, second in chosen for a, b in {(first, second), (second, first)}]
    return tuple(sorted(ordered))


@cache
def number_triples(split: str) -> tuple[tuple[str, str, str], ...]:
    """Return ordered triples of digits in one split; all orders of three digits are always together."""
    unordered = list(combinations_with_replacement(range(10), 3))
    chosen = _cut(ranked(unordered, "split", "triple"), split)
    return tuple(sorted({tuple(map(str, order)) for triple in chosen for order in permutations(triple)}))


@cache
def requests(kind: str, every: tuple[tuple[str, ...], ...], split: str) -> tuple[tuple[str, ...], ...]:
    """Return the open-ended requests of one kind, such as ("animal", "three"), that belong to a split."""
    return tuple(_cut(ranked(every, "split", "request", kind), split))


@cache
def track_positions(split: str) -> tuple[tuple[str, str, str], ...]:
    """Return the positions of the track game that belong to a split."""
    return tuple(_cut(ranked(track.positions(), "split", "track"), split))
