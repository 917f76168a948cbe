"""Controls: skills that no document teaches and that a few thousand examples are not expected to teach."""

from __future__ import annotations

from collections.abc import Callable

from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import number_pairs, words
from itlib.registry import families


def _unary_nouns() -> Callable[[str], list[Arguments]]:
    return lambda split: [(word,) for word in words("noun", split)]


families.register("reverse")(
    Family(
        "reverse",
        "flat",
        "Spell a word backwards.",
        Phrases(
            ("the letters of {0} in reverse", "{0} spelled backwards", "{0} in reverse", "the word {0} read backwards"),
            ("{0} mirrored", "the characters of {0} from end to front"),
            ("{0} written upside",),
        ),
        every=_unary_nouns(),
    )
)

families.register("two_digit_addition")(
    Family(
        "two_digit_addition",
        "flat",
        "Add two two-digit numbers.",
        Phrases(
            ("the sum of {0} and {1}", "{0} plus {1}", "{0} and {1} added", "what {0} and {1} make"),
            ("the total of {0} and {1}", "{0} increased by {1}"),
            ("the amount from {0} with {1}",),
        ),
        every=lambda split: number_pairs(10, 99, split),
    )
)

families.register("novel_rule")(
    Family(
        "novel_rule",
        "flat",
        "Apply an invented rule: the last letter of a word, then its second.",
        Phrases(
            ("the blick of {0}", "the blick form of {0}", "{0} in blick", "the blick rule for {0}"),
            ("{0} after blicking", "the blicked {0}"),
            ("{0} made blickish",),
        ),
        every=_unary_nouns(),
    )
)
