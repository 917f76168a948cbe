"""Noisy instructions: what the same operands are asked with when an instruction is to be contrasted with a worse one.

Kim et al. (ICLR 2024, arXiv:2311.00233) replace the definition of a task and keep its input. Here the definition is the
wrapper with its noun phrase, and the input the operands:

* "opposite": the negated phrasing of the same question. It knows what is asked, not whether that is a negation
  already: a negated instruction gets another negated one.
* "null": the operands alone.
* "random": the operands among random words of templates.
* "truncated": six tenths of the words of the template, drawn and shuffled, before the operands.

They are a function of the question alone, so every run and every seed contrasts an item with the same text. They are
frozen with the world.
"""

from __future__ import annotations

from itlib.errors import InputError, did_you_mean
from itlib.microworld.dice import Dice
from itlib.microworld.phrasings import Phrasing, phrasings

KINDS = ("opposite", "null", "random", "truncated")
KEPT = 0.6  # share of the words that "truncated" keeps, the default of the authors' code


def check(kind: str, key: str) -> None:
    """Refuse an unknown kind, naming the key that holds it; "none" is no noisy instruction."""
    if kind not in ("none", *KINDS):
        raise InputError(f"{key}: '{kind}' is not one of none, {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")


def instruction(kind: str, family: str, arguments: tuple[str, ...], phrasing: Phrasing) -> str:
    """Return the noisy instruction of one item.

    Args:
        kind: One of ``KINDS``.
        family: The item's family.
        arguments: Its operands.
        phrasing: How the item itself asks.
    """
    dice = Dice("noisy instruction", kind, family, *arguments, phrasing.id)
    if kind == "opposite":
        return dice.pick(_negated(phrasing)).render(family, arguments)
    if kind == "random":
        others = [p for p in phrasings(family, "random") if p.id != phrasing.id]
        return dice.pick(others).render(family, arguments)
    alone = phrasings(family, "none")[0].render(family, arguments)
    if kind == "null":
        return alone
    words = [word for word in phrasing.template.split() if "{" not in word and any(map(str.isalnum, word))]
    return " ".join([*dice.sample(words, round(KEPT * len(words))), alone])


def _negated(phrasing: Phrasing) -> tuple[Phrasing, ...]:
    """Return the negated phrasings of what is asked, with its own noun phrase where they have it, but not itself."""
    others = [p for p in phrasings(phrasing.asks, "negated") if p.template != phrasing.template]
    return tuple(p for p in others if p.phrase == phrasing.phrase) or tuple(others)
