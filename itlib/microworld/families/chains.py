"""Chained instructions: a list of words and one to five operations on it, with or without the steps.

Documents show every operation alone. An ordered pair of operations belongs to one split, so a held-out chain is made
of pairs that no pool chain contains, on words that no pool item contains. Some operations come first alone in pool
chains: in a held-out one they stand in a place that they never had in training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import perm

from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases, held_out_successors
from itlib.microworld.operations import LIST_OPERATIONS, THEN, chain_parts
from itlib.microworld.splits import words
from itlib.registry import families

LENGTHS = (1, 2, 3, 4, 5)
LIST_LENGTH = 3
ONLY_FIRST = ("exchange",)  # operations that no pool chain has in second or later position
_NAMES = tuple(LIST_OPERATIONS)


@cache
def _successors(at: int, split: str) -> tuple[int, ...]:
    """Return the operations that may follow operation ``at`` in a chain of ``split``."""
    indices = [(at + offset) % len(_NAMES) for offset in held_out_successors(len(_NAMES), split)]
    return tuple(index for index in indices if split != "pool" or _NAMES[index] not in ONLY_FIRST)


@cache
def _chains(at: int, length: int, split: str) -> int:
    """Return how many chains of ``length`` operations begin with operation ``at``."""
    return 1 if length == 1 else sum(_chains(after, length - 1, split) for after in _successors(at, split))


def _draw(length: int) -> Callable[[Dice, str], Arguments]:
    def draw(dice: Dice, split: str) -> Arguments:
        at = [dice.below(len(_NAMES))]
        while len(at) < length:
            at.append(dice.pick(_successors(at[-1], split)))
        listed = dice.sample(words("adjective", split), LIST_LENGTH)
        return " ".join(listed), THEN.join(_NAMES[index] for index in at)

    return draw


def _count(length: int) -> Callable[[str], int]:
    def count(split: str) -> int:
        chains = sum(_chains(at, length, split) for at in range(len(_NAMES)))
        return chains * perm(len(words("adjective", split)), LIST_LENGTH)

    return count


def _entities(arguments: Arguments) -> tuple[str, ...]:
    listed, names = chain_parts(arguments)
    return (*listed, *(f"{first}>{second}" for first, second in zip(names[:-1], names[1:], strict=True)))


PHRASES = Phrases(
    ("{0} after {1}", "the list {0} after {1}", "the words {0} changed by {1}", "{1} on the list {0}"),
    ("the outcome of {1} with {0}", "{0} once {1} is done"),
    ("{0} treated by {1}",),
)
STEPS = Phrases(
    ("the steps of {1} on {0}", "{1} on {0} in steps", "{1} on {0} step by step", "how {1} on {0} is worked out"),
    ("the stages of {1} on {0}", "{0} by {1} , stage by stage"),
    ("the path of {1} on {0}",),
)
for length in LENGTHS:
    for operation, phrases, shown in (("chain", PHRASES, ""), ("worked_chain", STEPS, " and show every step")):
        families.register(f"{operation}_{length}")(
            Family(
                f"{operation}_{length}",
                "chains",
                "latent" if length == 1 else "composed",
                f"Change a list of three words by {length} named operations in turn{shown}.",
                phrases,
                operation=operation,
                operand="chain",
                draw=_draw(length),
                count=_count(length),
                entities=_entities,
                unchanged=lambda arguments: arguments[0],
                about_form=True,
                standard=False,
            )
        )
