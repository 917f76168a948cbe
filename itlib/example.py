"""The canonical record: every source yields it, everything downstream reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Turn:
    """One message of a conversation. ``role`` is one of ``ROLES``."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One instruction-tuning example.

    Attributes:
        id: Unique within its pool and stable across runs.
        turns: The conversation; every assistant turn is supervised.
        family: Task family ("opposite"), or "all" where a source has none.
        category: Content group of families ("words", "arithmetic"), or "all".
        familiarity: What the base knows of the family before tuning ("latent", "composed"), or "all" where nobody
            knows.
        phrasing: Identifier of the instruction template, empty where unknown.
        entities: What the item is about; splits are disjoint in these.
        noise: Kind of corruption, "none" for a clean example.
        gold: The right response; differs from ``response`` only when noise was added. With constraints it is one of
            many right responses.
        constraints: What a right response fulfils where there is more than one ("count 3", "distinct"); see
            ``itlib.constraints``. Such an item is graded by what the model generates.
        options: The answers to choose from, ``gold`` among them, where an item is a choice; see ``itlib.options``.
    """

    id: str
    turns: tuple[Turn, ...]
    family: str = "all"
    category: str = "all"
    familiarity: str = "all"
    phrasing: str = ""
    entities: tuple[str, ...] = ()
    noise: str = "none"
    gold: str = ""
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def instruction(self) -> str:
        """Content of the first user turn."""
        return next(turn.content for turn in self.turns if turn.role == "user")

    @property
    def response(self) -> str:
        """Content of the last assistant turn."""
        return next(turn.content for turn in reversed(self.turns) if turn.role == "assistant")

    @property
    def operands(self) -> frozenset[str]:
        """Words of the entities: what an instruction is about, as opposed to the words that ask."""
        return frozenset(word for entity in self.entities for word in re.findall(r"\w+", entity))
