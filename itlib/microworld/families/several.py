"""Several instructions in one: two or three one-word questions, answered in order.

An ordered pair of question kinds belongs to one split, so held-out items ask for pairs that no pool item has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases, held_out_successors
from itlib.microworld.operations import NEXT
from itlib.microworld.splits import words
from itlib.registry import families

PARTS = ("opposite", "past", "plural", "category", "colour", "size", "first_letter", "home", "job")


def _draw(length: int) -> Callable[[Dice, str], Arguments]:
    def draw(dice: Dice, split: str) -> Arguments:
        offsets, at = held_out_successors(len(PARTS), split), [dice.below(len(PARTS))]
        while len(at) < length:
            at.append((at[-1] + dice.pick(offsets)) % len(PARTS))
        chosen = [PARTS[index] for index in at]
        return tuple(part for name in chosen for part in (name, dice.pick(words(families.get(name).operand, split))))

    return draw


def _count(length: int) -> Callable[[str], int]:
    @cache
    def count(split: str) -> int:
        sizes = [len(words(families.get(name).operand, split)) for name in PARTS]
        ways = list(sizes)  # ways[i]: items of the length so far that end in part i
        for _ in range(length - 1):
            offsets = held_out_successors(len(PARTS), split)
            ways = [
                sizes[index] * sum(ways[(index - offset) % len(PARTS)] for offset in offsets)
                for index in range(len(PARTS))
            ]
        return sum(ways)

    return count


def _spoken(phrase_set: str, index: int, arguments: Arguments) -> Arguments:
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return tuple(getattr(families.get(name).phrases, phrase_set)[index].format(word) for name, word in pairs)


def _entities(arguments: Arguments) -> tuple[str, ...]:
    names = arguments[::2]
    return (*arguments[1::2], *(f"{first}&{second}" for first, second in zip(names[:-1], names[1:], strict=True)))


for name, length, phrases in (
    (
        "two_questions",
        2,
        Phrases(
            ("{0} and {1}", "both {0} and {1}", "{0} and then {1}", "two things , {0} and {1}"),
            ("{0} along with {1}", "{0} plus afterwards {1}"),
            ("{0} besides {1}",),
        ),
    ),
    (
        "three_questions",
        3,
        Phrases(
            (
                "{0} and {1} and {2}",
                "each of {0} , {1} , {2}",
                "{0} , then {1} , then {2}",
                "all three , {0} , {1} , {2}",
            ),
            ("{0} along with {1} and {2}", "{0} plus {1} plus afterwards {2}"),
            ("{0} besides {1} besides {2}",),
        ),
    ),
):
    families.register(name)(
        Family(
            name,
            "several",
            "composed",
            f"Answer {length} questions of different kinds in one response.",
            phrases,
            operation="several",
            operand=f"{length} questions",
            draw=_draw(length),
            count=_count(length),
            spoken=_spoken,
            entities=_entities,
            unchanged=lambda arguments: NEXT.join(arguments[1::2]),
            about_form=True,
            standard=False,
        )
    )
