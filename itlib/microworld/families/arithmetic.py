"""Sums: of two digits, of two-digit numbers, and of several digits with and without the steps."""

from __future__ import annotations

from collections.abc import Callable

from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import number_pairs, number_triples
from itlib.registry import families

SUM = Phrases(
    ("the sum of {0} and {1}", "{0} plus {1}", "{0} and {1} added", "what {0} and {1} make"),
    ("the total of {0} and {1}", "{0} increased by {1}"),
    ("the amount from {0} with {1}",),
)


def _one_entity(arguments: Arguments) -> tuple[str, ...]:
    """Numbers are about their unordered combination: 3 + 6 and 6 + 3 are one thing to know."""
    return ("+".join(sorted(arguments, key=int)),)


def _pairs(lowest: int, highest: int) -> Callable[[str], list[Arguments]]:
    return lambda split: list(number_pairs(lowest, highest, split))


def _triples(split: str) -> list[Arguments]:
    return list(number_triples(split))


for name, familiarity, skill, operand, lowest, highest in (
    ("addition", "weak", "Add two one-digit numbers.", "digit pair", 0, 9),
    ("two_digit_addition", "flat", "Add two two-digit numbers.", "number pair", 10, 99),
):
    families.register(name)(
        Family(
            name,
            "arithmetic",
            familiarity,
            skill,
            SUM,
            operand=operand,
            every=_pairs(lowest, highest),
            entities=_one_entity,
        )
    )
families.register("long_sum")(
    Family(
        "long_sum",
        "arithmetic",
        "composed",
        "Add three one-digit numbers and give the total only.",
        Phrases(
            (
                "the sum of {0} and {1} and {2}",
                "{0} plus {1} plus {2}",
                "{0} and {1} and {2} added",
                "what {0} and {1} and {2} make",
            ),
            ("the total of {0} and {1} and {2}", "{0} increased by {1} and by {2}"),
            ("the amount from {0} with {1} with {2}",),
        ),
        operand="digit triple",
        every=_triples,
        entities=_one_entity,
        standard=False,
    )
)
families.register("worked_sum")(
    Family(
        "worked_sum",
        "arithmetic",
        "latent",
        "Add three one-digit numbers and show both steps.",
        Phrases(
            (
                "the steps of {0} + {1} + {2}",
                "{0} + {1} + {2} in steps",
                "the sum {0} + {1} + {2} step by step",
                "how {0} + {1} + {2} is worked out",
            ),
            ("the stages of {0} + {1} + {2}", "{0} + {1} + {2} , stage by stage"),
            ("the path to {0} + {1} + {2}",),
        ),
        operand="digit triple",
        every=_triples,
        entities=_one_entity,
        standard=False,
    )
)
