"""What LMentry varies, read off the items of the world: where the right answer stands, and how hard a pair is."""

from __future__ import annotations

import functools

from itlib.microworld import facts
from itlib.microworld.operations import answer
from itlib.registry import families

# the largest difference that still makes a pair hard: of sizes, of first letters in the alphabet, of numbers of letters
HARDEST = {"bigger": 1, "alphabetical": 5, "longer": 2}


@functools.lru_cache(maxsize=4096)
def traits(family: str, item: str) -> tuple[str, str, str]:
    """Return the kind of operand of an item, where its right answer stands and how hard it is.

    Args:
        family: A registered family.
        item: Operands as an item's id holds them, joined by "_".

    Returns:
        Kind of operand, "first" or "second", "easy" or "hard"; the last two are empty for families that do not compare
        a pair.
    """
    kind = families.get(family).operand
    if family not in HARDEST:
        return kind, "", ""
    first, second = item.split("_")
    place = "first" if answer(family, (first, second)) == first else "second"
    return kind, place, "hard" if difference(family, first, second) <= HARDEST[family] else "easy"


def difference(family: str, first: str, second: str) -> int:
    """Return how far two words are apart in what a family compares."""
    if family == "bigger":
        return abs(facts.SIZE_RANK[first] - facts.SIZE_RANK[second])
    return abs(ord(first[0]) - ord(second[0])) if family == "alphabetical" else abs(len(first) - len(second))
