"""Repeating, ordering and picking words of a list."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import permutations
from math import perm

from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import words
from itlib.registry import families

COPIED_WORDS = 3
LIST_LENGTH = 4


@cache
def _ordered_pairs(split: str) -> list[Arguments]:
    return list(permutations(words("noun", split), 2))


def _nouns(count: int) -> dict[str, Callable]:
    return {
        "draw": lambda dice, split: tuple(dice.sample(words("noun", split), count)),
        "count": lambda split: perm(len(words("noun", split)), count),
    }


families.register("copy")(
    Family(
        "copy",
        "lists",
        "weak",
        "Repeat three words.",
        Phrases(
            ("a copy of {all}", "again {all}", "the same words as {all}", "the words {all} once more"),
            ("a repetition of {all}", "the echo of {all}"),
            ("a duplicate of {all}",),
        ),
        operand="three nouns",
        **_nouns(COPIED_WORDS),
    )
)
families.register("last_word")(
    Family(
        "last_word",
        "lists",
        "composed",
        "Name the last word of a list.",
        Phrases(
            (
                "the last word of {all}",
                "the last word in the list {all}",
                "the word at the end of {all}",
                "the last of the words {all}",
            ),
            ("the final item of {all}", "the closing element in {all}"),
            ("the rightmost entry from {all}",),
        ),
        operand="four nouns",
        **_nouns(LIST_LENGTH),
    )
)
families.register("swap")(
    Family(
        "swap",
        "lists",
        "composed",
        "Give two words in swapped order.",
        Phrases(
            (
                "the words {0} {1} swapped",
                "the pair {0} {1} in swapped order",
                "{0} {1} with places changed",
                "{0} {1} the other way round",
            ),
            ("{0} {1} exchanged", "the flipped sequence of {0} {1}"),
            ("{0} {1} after switching",),
        ),
        operand="two nouns",
        every=_ordered_pairs,
    )
)
