"""Which words and operands belong to the pool, to dev and to test: disjoint, fixed, decided by hash."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

from itlib.errors import InputError, did_you_mean
from itlib.microworld import lexicon
from itlib.microworld.dice import ranked

SPLITS = ("pool", "dev", "test")
_SHARES = (0.60, 0.15, 0.25)


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
    """Return the words of one kind in one split; both words of an opposite pair are always together."""
    if kind == "adjective":
        pairs = _cut(ranked(lexicon.OPPOSITE_PAIRS, "split", kind), split)
        return tuple(word for pair in pairs for word in pair)
    options = {"noun": lexicon.NOUNS, "verb": lexicon.VERBS, "person": lexicon.PEOPLE, "town": lexicon.TOWNS}
    return tuple(_cut(ranked(options[kind], "split", kind), split))


@cache
def number_pairs(lowest: int, highest: int, split: str) -> tuple[tuple[str, str], ...]:
    """Return ordered pairs of numbers in one split; (3, 6) and (6, 3) have one sum and are always together."""
    unordered = list(combinations_with_replacement(range(lowest, highest + 1), 2))
    chosen = _cut(ranked(unordered, "split", "sum", lowest, highest), split)
    ordered = [(str(a), str(b)) for first, second in chosen for a, b in {(first, second), (second, first)}]
    return tuple(sorted(ordered))
