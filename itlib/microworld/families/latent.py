"""Skills the base model has from its documents and only has to be shown how to be asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from itlib.microworld import facts
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import words
from itlib.registry import families


def _unary(kind: str) -> Callable[[str], list[Arguments]]:
    return lambda split: [(word,) for word in words(kind, split)]


def _noun_pairs(comparable: Callable[[str, str], bool]) -> Callable[[str], list[Arguments]]:
    @cache
    def every(split: str) -> list[Arguments]:
        nouns = words("noun", split)
        return [(a, b) for a in nouns for b in nouns if comparable(a, b)]

    return every


UNARY = (
    (
        "opposite",
        "adjective",
        "Name the adjective that means the opposite.",
        Phrases(
            (
                "the opposite of {0}",
                "the word opposite to {0}",
                "the contrary of {0}",
                "a word that contrasts with {0}",
            ),
            ("the antonym of {0}", "the inverse of {0}"),
            ("the reversed meaning of {0}",),
        ),
    ),
    (
        "past",
        "verb",
        "Give the past tense of a verb.",
        Phrases(
            ("the past of {0}", "the past tense of {0}", "the past form of {0}", "how {0} looks in the past"),
            ("the preterite of {0}", "{0} as it was said yesterday"),
            ("{0} put into history",),
        ),
    ),
    (
        "plural",
        "noun",
        "Give the plural of a noun.",
        Phrases(
            ("the plural of {0}", "the plural form of {0}", "the word for many of {0}", "more than one {0}"),
            ("{0} in several copies", "the multiple of {0}"),
            ("{0} counted twice",),
        ),
    ),
    (
        "home",
        "person",
        "Recall the town a person lives in.",
        Phrases(
            ("the home of {0}", "the home town of {0}", "the town where {0} lives", "the place {0} lives in"),
            ("the residence of {0}", "where {0} dwells"),
            ("the address of {0}",),
        ),
    ),
    (
        "job",
        "person",
        "Recall what a person works as.",
        Phrases(
            ("the job of {0}", "the work of {0}", "what {0} works as", "the job that {0} does"),
            ("the profession of {0}", "how {0} earns money"),
            ("the occupation of {0}",),
        ),
    ),
    (
        "country",
        "town",
        "Recall the country a town lies in.",
        Phrases(
            ("the country of {0}", "the country where {0} lies", "the country around {0}", "the land that {0} lies in"),
            ("the nation of {0}", "which state {0} belongs to"),
            ("the realm of {0}",),
        ),
    ),
    (
        "colour",
        "noun",
        "Recall the colour a thing has in this world.",
        Phrases(
            ("the colour of {0}", "the colour of the {0}", "the colour that {0} has", "what colour the {0} is"),
            ("the hue of {0}", "how the {0} is tinted"),
            ("the shade of {0}",),
        ),
    ),
    (
        "size",
        "noun",
        "Recall the size a thing has in this world.",
        Phrases(
            ("the size of {0}", "the size of the {0}", "the size that {0} has", "what size the {0} is"),
            ("the extent of {0}", "the dimension of {0}"),
            ("the bulk of {0}",),
        ),
    ),
    (
        "category",
        "noun",
        "Name the category a thing belongs to.",
        Phrases(
            ("the category of {0}", "the group of {0}", "what kind of thing {0} is", "the kind of {0}"),
            ("the class of {0}", "the type that {0} falls under"),
            ("the sort of {0}",),
        ),
    ),
    (
        "first_letter",
        "noun",
        "Name the first letter of a word.",
        Phrases(
            (
                "the first letter of {0}",
                "the letter at the start of {0}",
                "the letter {0} starts with",
                "the letter in front of {0}",
            ),
            ("the initial of {0}", "the opening character of {0}"),
            ("the leading symbol of {0}",),
        ),
    ),
)
PAIRED = (
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
)

for name, kind, skill, phrases in UNARY:
    families.register(name)(Family(name, "latent", skill, phrases, every=_unary(kind)))
for name, comparable, skill, phrases in PAIRED:
    families.register(name)(Family(name, "latent", skill, phrases, every=_noun_pairs(comparable)))
