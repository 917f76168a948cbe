"""Word forms and meanings that the base model has from its documents and only has to be shown how to be asked for."""

from __future__ import annotations

from itlib.microworld.families import Family, Phrases, unary
from itlib.registry import families

for name, kind, skill, phrases in (
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
):
    families.register(name)(
        Family(
            name,
            "words",
            "latent",
            skill,
            phrases,
            operand=kind,
            every=unary(kind),
            about_form=name != "opposite",
        )
    )
