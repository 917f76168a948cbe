"""Comparisons of two words or things."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from itlib.microworld import facts
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import words
from itlib.registry import families


def _noun_pairs(comparable: Callable[[str, str], bool]) -> Callable[[str], list[Arguments]]:
    @cache
    def every(split: str) -> list[Arguments]:
        nouns = words("noun", split)
        return [(a, b) for a in nouns for b in nouns if comparable(a, b)]

    return every


for name, comparable, skill, phrases in (
    (
        "longer",
        lambda a, b: abs(len(a) - len(b)) >= 2,
        "Compare two words by their number of letters.",
        Phrases(
            (
                "the longer word of {0} and {1}",
                "the longer of {0} and {1}",
                "which of {0} and {1} is the longer word",
                "the word with more letters , {0} or {1}",
            ),
            ("the lengthier among {0} and {1}", "{0} or {1} , by greater length"),
            ("the most stretched from {0} and {1}",),
        ),
    ),
    (
        "bigger",
        lambda a, b: facts.SIZE[a] != facts.SIZE[b],
        "Compare the sizes of two things.",
        Phrases(
            (
                "the bigger of {0} and {1}",
                "the bigger thing of {0} and {1}",
                "which of {0} and {1} is bigger",
                "the bigger one , {0} or {1}",
            ),
            ("the larger among {0} and {1}", "{0} or {1} , by greater volume"),
            ("the giant from {0} and {1}",),
        ),
    ),
    (
        "alphabetical",
        lambda a, b: a[0] != b[0],
        "Tell which of two words comes first in a dictionary.",
        Phrases(
            (
                "the earlier word of {0} and {1}",
                "which of {0} and {1} comes earlier in the dictionary",
                "the word that comes before , {0} or {1}",
                "the dictionary order winner of {0} and {1}",
            ),
            ("the alphabetical leader among {0} and {1}", "{0} or {1} , by alphabet"),
            ("the foremost from {0} and {1}",),
        ),
    ),
):
    families.register(name)(
        Family(
            name,
            "comparisons",
            "latent",
            skill,
            phrases,
            operand=f"{name} pair",
            every=_noun_pairs(comparable),
            about_form=name != "bigger",
        )
    )
