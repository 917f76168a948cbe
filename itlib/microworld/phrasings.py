"""Instruction templates: a wrapper ("what is ... ?") around a family's noun phrase ("the opposite of hot")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from itlib.errors import InputError, did_you_mean
from itlib.registry import families

WRAPPERS = {
    "observed": (
        "what is {} ?",
        "tell me {} .",
        "give {} .",
        "write {} .",
        "please state {} .",
        "i would like {} .",
        "name {} .",
        "now answer with {} .",
    ),
    "unobserved": (
        "could you provide {} ?",
        "kindly report {} .",
        "show us {} , thanks .",
        "determine {} , my friend .",
    ),
    "dev": ("let him have {} .", "can someone say {} ?", "we are looking for {} .", "your task , {} ."),
}
# which wrappers and which noun phrases a set combines; the two mixed sets isolate one kind of novelty each
SETS = {
    "observed": ("observed", "observed"),
    "unobserved": ("unobserved", "unobserved"),
    "unobserved_wrapper": ("unobserved", "observed"),
    "unobserved_phrase": ("observed", "unobserved"),
    "dev": ("dev", "dev"),
}


@dataclass(frozen=True)
class Phrasing:
    """One instruction template. ``id`` names its wrapper and phrase ("observed3+observed1")."""

    id: str
    template: str

    def render(self, arguments: tuple[str, ...]) -> str:
        """Return the instruction for these operands."""
        return self.template.format(*arguments, all=" ".join(arguments))


@cache
def phrasings(family: str, which: str) -> tuple[Phrasing, ...]:
    """Return a family's templates of one set, wrapper by wrapper.

    Args:
        family: A registered family.
        which: A key of ``SETS``: "observed" (32 templates), "unobserved" (8), "dev" (4), "unobserved_wrapper" (16),
            "unobserved_phrase" (16).

    Raises:
        InputError: Unknown family or set.
    """
    if which not in SETS:
        raise InputError(f"unknown phrasing set '{which}'{did_you_mean(which, SETS)}; known: {', '.join(SETS)}")
    wrapper_set, phrase_set = SETS[which]
    phrases = getattr(families.get(family).phrases, phrase_set)
    return tuple(
        Phrasing(f"{wrapper_set}{i}+{phrase_set}{j}", wrapper.format(phrase))
        for i, wrapper in enumerate(WRAPPERS[wrapper_set])
        for j, phrase in enumerate(phrases)
    )


def template_words() -> set[str]:
    """Return every word of every template of every family, operands left out."""
    return {
        word
        for family in families.names()
        for which in ("observed", "unobserved", "dev")
        for phrasing in phrasings(family, which)
        for word in phrasing.template.split()
        if not word.startswith("{")
    }
