"""Constraints: what a response to an open-ended item must fulfil, and the share of them that it does.

A constraint is a text "name argument", such as "count 3", "distinct" or "include wolf". A registered constraint is a
function ``(words, argument) -> bool`` over the blank-separated words of a response. It raises ``InputError`` for an
argument that it cannot use before it looks at the words, so that ``validate`` can try it on no words at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from itlib.errors import InputError
from itlib.registry import constraints as registry


def check(constraints: Sequence[str], response: str) -> dict[str, bool]:
    """Return which constraints the response fulfils; an empty response fulfils none.

    Raises:
        InputError: An unknown constraint, or an argument that it cannot use.
    """
    words = response.split()
    return {text: _holds(text, words) and bool(words) for text in constraints}


def graded(constraints: Sequence[str], response: str) -> float:
    """Return the share of constraints that the response fulfils, in [0, 1].

    Raises:
        InputError: No constraint at all, an unknown one, or an argument that it cannot use.
    """
    if not constraints:
        raise InputError("an item without constraints cannot be graded by them; give it at least one")
    fulfilled = check(constraints, response)
    return sum(fulfilled.values()) / len(fulfilled)


def validate(constraints: Sequence[str]) -> None:
    """Refuse constraints that could never be checked.

    Raises:
        InputError: An unknown constraint, an argument that it cannot use, or one constraint given twice.
    """
    for text in constraints:
        _holds(text, [])
    if len(set(constraints)) < len(constraints):
        raise InputError(f"constraints name one twice: {', '.join(constraints)}")


def _holds(text: str, words: list[str]) -> bool:
    name, _, argument = text.partition(" ")
    try:
        return registry.get(name)(words, argument)
    except InputError as error:
        raise InputError(f"constraint '{text}': {error}") from None
