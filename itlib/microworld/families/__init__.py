"""Task families: what an instruction can ask for. One file per category registers its families by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from itlib.microworld.dice import Dice

CATEGORIES = ("latent", "weak", "composed", "flat")
Arguments = tuple[str, ...]


@dataclass(frozen=True)
class Phrases:
    """Noun phrases that name a family's answer, with ``{0}``, ``{1}`` or ``{all}`` where operands go.

    The three sets are disjoint: "observed" may be trained on, "unobserved" is only ever tested, "dev" serves choices.
    """

    observed: tuple[str, ...]
    unobserved: tuple[str, ...]
    dev: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One task family.

    Attributes:
        name: Registered name; also the operation the interpreter answers.
        category: "latent" (the base knows it but not the instruction format), "weak" (known, poorly elicited),
            "composed" (of known parts, never seen whole), "flat" (control that tuning is not expected to teach).
        skill: What the family asks of a model, in one sentence.
        phrases: Its noun phrases.
        every: ``every(split)`` lists all argument tuples of a split, where they are few enough to list.
        draw: ``draw(dice, split)`` draws one argument tuple, where they are not.
        count: ``count(split)`` is the number of different argument tuples.
    """

    name: str
    category: str
    skill: str
    phrases: Phrases
    every: Callable[[str], list[Arguments]] | None = None
    draw: Callable[[Dice, str], Arguments] | None = None
    count: Callable[[str], int] | None = None

    def size(self, split: str) -> int:
        """Return how many different argument tuples the split holds."""
        return len(self.every(split)) if self.every else self.count(split)

    def sample(self, dice: Dice, split: str) -> tuple[str, Arguments]:
        """Return ``(operation, arguments)`` with operands of one split only."""
        return self.name, dice.pick(self.every(split)) if self.every else self.draw(dice, split)
