"""Task families: what an instruction can ask for. One file per category registers its families by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from itlib.microworld import splits
from itlib.microworld.dice import Dice
from itlib.microworld.operations import answer

CATEGORIES = (
    "words", "things", "people", "comparisons", "lists", "arithmetic", "letters",
    "open_ended", "chains", "several", "game",
)  # fmt: skip
FAMILIARITIES = ("latent", "rare", "weak", "composed", "flat", "unknown")
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
        name: Registered name.
        category: What the family is about, one of ``CATEGORIES``: a level at which families can be held out.
        familiarity: What the base knows of it: "latent" (the skill, not the instruction format), "rare" (its facts
            were seldom met), "weak" (known and poorly elicited), "composed" (of known parts, never seen whole), "flat"
            (a skill that no document shows), "unknown" (facts that no document tells).
        skill: What the family asks of a model, in one sentence.
        phrases: Its noun phrases.
        operation: What the interpreter computes; the family's name where it is empty.
        operand: Kind of the operand ("noun"), where there is one; families of equal kind can swap instructions.
        every: ``every(split)`` lists all argument tuples of a split, where they are few enough to list.
        draw: ``draw(dice, split)`` draws one argument tuple, where they are not.
        count: ``count(split)`` is the number of different argument tuples.
        spoken: ``spoken(phrase_set, index, arguments)`` gives the operands as the instruction names them, where they
            are not just the arguments.
        entities: ``entities(arguments)`` is what an item is about, where it is not just the arguments.
        constraints: ``constraints(arguments)`` is what any right response satisfies, where there are many.
        respond: ``respond(dice, arguments, split)`` gives one of the many right responses.
        unchanged: ``unchanged(arguments)`` is the operands as one text, where it is not just the arguments joined.
        about_form: Whether the answer rests on letters or inflection, which do not carry over to the second language.
        standard: Whether the family is part of a pool that names no families.
    """

    name: str
    category: str
    familiarity: str
    skill: str
    phrases: Phrases
    operation: str = ""
    operand: str = ""
    every: Callable[[str], list[Arguments]] | None = None
    draw: Callable[[Dice, str], Arguments] | None = None
    count: Callable[[str], int] | None = None
    spoken: Callable[[str, int, Arguments], Arguments] | None = None
    entities: Callable[[Arguments], tuple[str, ...]] | None = None
    constraints: Callable[[Arguments], tuple[str, ...]] | None = None
    respond: Callable[[Dice, Arguments, str], str] | None = None
    unchanged: Callable[[Arguments], str] | None = None
    about_form: bool = False
    standard: bool = True

    def size(self, split: str) -> int:
        """Return how many different argument tuples the split holds."""
        return len(self.every(split)) if self.every else self.count(split)

    def sample(self, dice: Dice, split: str) -> Arguments:
        """Return operands of one split only."""
        return dice.pick(self.every(split)) if self.every else self.draw(dice, split)

    def response(self, arguments: Arguments, split: str, dice: Dice | None = None) -> str:
        """Return the right response, or one of many, chosen by ``dice`` (needed by open-ended families only)."""
        if self.respond:
            return self.respond(dice or Dice("response", self.name, *arguments), arguments, split)
        return answer(self.operation or self.name, arguments)

    def echo(self, arguments: Arguments) -> str:
        """Return the operands unchanged, as one text."""
        return self.unchanged(arguments) if self.unchanged else " ".join(arguments)

    def about(self, arguments: Arguments) -> tuple[str, ...]:
        """Return the entities that splits keep apart."""
        return self.entities(arguments) if self.entities else arguments


def unary(kind: str) -> Callable[[str], list[Arguments]]:
    """Return an ``every`` that lists the words of one kind, one per item."""
    return lambda split: [(word,) for word in splits.words(kind, split)]


def held_out_successors(size: int, split: str) -> tuple[int, ...]:
    """Return the offsets d such that "part i, then part (i + d) mod size" belongs to ``split``.

    Every ordered pair of parts belongs to one split, and every part has a successor in each: compositions of any
    length can be held out by their pairs. Dev has one offset, test two (one where there are fewer than five parts).
    """
    n_test = 2 if size >= 5 else 1
    offsets = {"dev": (1,), "test": tuple(range(2, 2 + n_test))}
    return offsets.get(split) or (0, *range(2 + n_test, size))
