"""Skills made of parts that the base model knows, never seen as a whole in its documents."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from math import perm

from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import words
from itlib.registry import families

LIST_LENGTH = 4


@cache
def _ordered_pairs(split: str) -> list[Arguments]:
    return list(permutations(words("noun", split), 2))


def _list_of_nouns(dice: Dice, split: str) -> Arguments:
    return tuple(dice.sample(words("noun", split), LIST_LENGTH))


families.register("two_hop")(
    Family(
        "two_hop",
        "composed",
        "Recall the country of the town a person lives in.",
        Phrases(
            (
                "the home country of {0}",
                "the country where {0} lives",
                "the country that {0} lives in",
                "the country of the home of {0}",
            ),
            ("the homeland of {0}", "the nation where {0} dwells"),
            ("the realm around the address of {0}",),
        ),
        every=lambda split: [(person,) for person in words("person", split)],
    )
)

families.register("last_word")(
    Family(
        "last_word",
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
        draw=_list_of_nouns,
        count=lambda split: perm(len(words("noun", split)), LIST_LENGTH),
    )
)

families.register("swap")(
    Family(
        "swap",
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
        every=_ordered_pairs,
    )
)
