"""Instruction templates: a wrapper ("what is ... ?") around a family's noun phrase ("the opposite of hot").

Most sets ask for the family's own answer. The adversarial ones follow Sun et al. 2023 (arXiv:2306.11270): negated
instructions ("do not give the opposite of hot": the right response is the operands, unchanged), instructions of another
task on the same operands, and random words around the operands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from itlib.errors import InputError, did_you_mean
from itlib.microworld import splits
from itlib.microworld.dice import ranked
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
    "negated": (
        "do not give {} .",
        "never tell me {} .",
        "please do not state {} .",
        "i would not like {} .",
    ),
}
# which wrappers and which noun phrases a set combines; the two mixed sets isolate one kind of novelty each
SETS = {
    "observed": ("observed", "observed"),
    "unobserved": ("unobserved", "unobserved"),
    "unobserved_wrapper": ("unobserved", "observed"),
    "unobserved_phrase": ("observed", "unobserved"),
    "dev": ("dev", "dev"),
    "dev_wrapper": ("dev", "observed"),
    "name": ("", ""),
    "none": ("", ""),
    "negated": ("negated", "observed"),
    "wrong_task": ("observed", "observed"),
    "wrong_task_literal": ("observed", "observed"),
    "random": ("observed", "observed"),
}
# sets that only evaluations may use: their right response is not the family's, or their instruction does not ask for it
ADVERSARIAL = ("negated", "wrong_task", "wrong_task_literal", "random")
_RANDOM_TEMPLATES = 8


@dataclass(frozen=True)
class Phrasing:
    """One instruction template.

    Attributes:
        id: Names its wrapper and phrase ("observed3+observed1").
        template: The text, with ``{0}``, ``{1}`` or ``{all}`` where operands go.
        asks: The family whose answer the instruction asks for.
        phrase: Set and index of the noun phrase, by which several questions in one find their own wording.
        unchanged: Whether the right response is the operands, unchanged.
        literal: Whether the right response is what the instruction asks for, not what the item's own family does.
    """

    id: str
    template: str
    asks: str
    phrase: tuple[str, int]
    unchanged: bool = False
    literal: bool = False

    def render(self, family: str, arguments: tuple[str, ...]) -> str:
        """Return the instruction for these operands of ``family``."""
        own, asked = families.get(family), families.get(self.asks)
        if self.id in ("name", "none"):
            arguments = tuple(word for argument in arguments for word in argument.split())
        elif own.operand != asked.operand or self.id.startswith("random"):
            arguments = tuple(own.echo(arguments).split())
        elif asked.spoken:
            arguments = asked.spoken(*self.phrase, arguments)
        return self.template.format(*arguments, all=" ".join(arguments))


@cache
def phrasings(family: str, which: str) -> tuple[Phrasing, ...]:
    """Return a family's templates of one set, wrapper by wrapper.

    Args:
        family: A registered family.
        which: A key of ``SETS``: "observed" (32 templates), "unobserved" (8), "dev" (4), "unobserved_wrapper",
            "dev_wrapper" and "unobserved_phrase" (16 each), "name" (1, the family's name and the operands), "none" (1,
            the operands alone),
            "negated" (16), "wrong_task" and "wrong_task_literal" (32, equal texts, scored by the item's own family or
            by what they ask for), "random" (8).

    Raises:
        InputError: Unknown family or set.
    """
    if which not in SETS:
        raise InputError(f"unknown phrasing set '{which}'{did_you_mean(which, SETS)}; known: {', '.join(SETS)}")
    if which == "random":
        return _random(family)
    if which in ("name", "none"):
        label = f"{family.replace('_', ' ')} : " if which == "name" else ""
        return (Phrasing(which, f"{label}{{all}}", family, ("observed", 0)),)
    asks = wrong_task(family) if which.startswith("wrong_task") else family
    wrapper_set, phrase_set = SETS[which]
    label = "" if asks == family else f"{asks}:"
    return tuple(
        Phrasing(
            f"{label}{wrapper_set}{i}+{phrase_set}{j}",
            wrapper.format(phrase),
            asks,
            (phrase_set, j),
            unchanged=which == "negated",
            literal=which == "wrong_task_literal",
        )
        for i, wrapper in enumerate(WRAPPERS[wrapper_set])
        for j, phrase in enumerate(getattr(families.get(asks).phrases, phrase_set))
    )


@cache
def wrong_task(family: str) -> str:
    """Return the other family whose instruction is put to this family's operands.

    A family of the same operand kind and other phrases, where there is one; else the first letter of a single word,
    and the copy of anything longer (of what is copied anyway, the last word).
    """
    own = families.get(family)
    peers = [
        name
        for name in families.names()
        if families.get(name).operand == own.operand and families.get(name).phrases != own.phrases
    ]
    if peers:
        later = [name for name in peers if name > family]
        return (later or peers)[0]
    if own.operand in splits.WORDS:
        return "first_letter"
    return "last_word" if family == "copy" else "copy"


def _random(family: str) -> tuple[Phrasing, ...]:
    words = ranked(sorted(word for word in template_words() if word.isalpha()), "random template", family)
    picks = [words[5 * index : 5 * index + 5] for index in range(_RANDOM_TEMPLATES)]
    return tuple(
        Phrasing(f"random{index}", f"{a} {b} {c} {{all}} {d} {e} .", family, ("observed", 0))
        for index, (a, b, c, d, e) in enumerate(picks)
    )


@cache
def template_words() -> frozenset[str]:
    """Return every word of every template of every family, operands left out."""
    return frozenset(
        word
        for family in families.names()
        for which in ("observed", "unobserved", "dev", "negated")
        for phrasing in phrasings(family, which)
        for word in phrasing.template.split()
        if not word.startswith("{")
    )
