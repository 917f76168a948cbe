"""Skills that the base model shows in document form and that tuning elicits poorly: a lesson of their own."""

from __future__ import annotations

from math import perm

from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import number_pairs, words
from itlib.registry import families

COPIED_WORDS = 3


def _three_nouns(dice: Dice, split: str) -> Arguments:
    return tuple(dice.sample(words("noun", split), COPIED_WORDS))


families.register("addition")(
    Family(
        "addition",
        "weak",
        "Add two one-digit numbers.",
        Phrases(
            ("the sum of {0} and {1}", "{0} plus {1}", "{0} and {1} added", "what {0} and {1} make"),
            ("the total of {0} and {1}", "{0} increased by {1}"),
            ("the amount from {0} with {1}",),
        ),
        every=lambda split: number_pairs(0, 9, split),
    )
)

families.register("copy")(
    Family(
        "copy",
        "weak",
        "Repeat three words.",
        Phrases(
            ("a copy of {all}", "again {all}", "the same words as {all}", "the words {all} once more"),
            ("a repetition of {all}", "the echo of {all}"),
            ("a duplicate of {all}",),
        ),
        draw=_three_nouns,
        count=lambda split: perm(len(words("noun", split)), COPIED_WORDS),
    )
)
