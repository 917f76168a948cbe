"""Injections of the world: observed instructions of families that a base knows, on operands of the item's own split."""

from __future__ import annotations

from dataclasses import replace

from itlib.example import Example, Turn
from itlib.injections import name, placed
from itlib.microworld.dice import Dice
from itlib.microworld.phrasings import phrasings
from itlib.registry import families

# one word in, one word out, known to every base and told apart by their answers
FAMILIES = ("opposite", "past", "plural", "category", "colour", "size", "home", "job")


def drawn(example: Example) -> tuple[str, str, str]:
    """Return family, instruction and right answer of the injection of a held-out item.

    It depends on what the item asks about, not on how: all places and all phrasings of an item get the same one. Its
    family is another one than the item's, and its answer is another one too, so that a response can be told.
    """
    split, family, about = example.id.split("/")[:3]
    dice = Dice("injection", split, family, about)
    others = [other for other in FAMILIES if other != family]
    while True:
        chosen = families.get(dice.pick(others))
        arguments = chosen.sample(dice, split)
        answer = chosen.response(arguments, split)
        asked = dice.pick(phrasings(chosen.name, "observed")).render(chosen.name, arguments)
        if answer != example.gold and not set(arguments) & set(example.entities):
            return chosen.name, asked, answer


def injected(example: Example, place: str) -> Example:
    """Return a held-out item with its injection at a place; its right response stays that of its own task."""
    family, asked, answer = drawn(example)
    question = placed(example.instruction, example.entities, asked, place)
    turns = tuple(Turn(turn.role, question) if turn.role == "user" else turn for turn in example.turns)
    return replace(
        example, id=name(example.id, place, family, answer), turns=turns, phrasing=f"{place}/{example.phrasing}"
    )
