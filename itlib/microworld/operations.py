"""The exact interpreter: what the right answer to an operation is, from the lexicon and the facts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from itlib.errors import InputError, did_you_mean
from itlib.microworld import facts, lexicon


def _table(table: dict[str, str]) -> Callable[[Sequence[str]], str]:
    return lambda arguments: table[arguments[0]]


def spell(word: str) -> str:
    """Return a word's letters with spaces between, as the tokenizer sees single letters."""
    return " ".join(word)


def _novel_rule(arguments: Sequence[str]) -> str:
    """A rule that stands in no pretraining document: last letter, then second letter."""
    return f"{arguments[0][-1]} {arguments[0][1]}"


OPERATIONS: dict[str, Callable[[Sequence[str]], str]] = {
    "opposite": _table(lexicon.OPPOSITE),
    "past": _table(lexicon.PAST),
    "plural": _table(lexicon.PLURAL),
    "category": _table(lexicon.CATEGORY),
    "colour": _table(facts.COLOUR),
    "size": _table(facts.SIZE),
    "home": _table(facts.HOME),
    "job": _table(facts.JOB),
    "country": _table(facts.COUNTRY),
    "first_letter": lambda arguments: arguments[0][0],
    "longer": lambda arguments: max(arguments, key=len),
    "bigger": lambda arguments: max(arguments, key=facts.SIZE_RANK.__getitem__),
    "alphabetical": lambda arguments: min(arguments),
    "addition": lambda arguments: str(int(arguments[0]) + int(arguments[1])),
    "copy": " ".join,
    "two_hop": lambda arguments: facts.COUNTRY[facts.HOME[arguments[0]]],
    "last_word": lambda arguments: arguments[-1],
    "swap": lambda arguments: f"{arguments[1]} {arguments[0]}",
    "reverse": lambda arguments: spell(arguments[0][::-1]),
    "two_digit_addition": lambda arguments: str(int(arguments[0]) + int(arguments[1])),
    "novel_rule": _novel_rule,
}


def answer(operation: str, arguments: Sequence[str]) -> str:
    """Return the right answer of an operation, as words separated by single spaces.

    Args:
        operation: A key of ``OPERATIONS``.
        arguments: Operands, words of the world or decimal numbers. Pairwise operations ("longer", "bigger",
            "alphabetical") presuppose operands that differ in what is compared.

    Raises:
        InputError: Unknown operation, or an operand the operation is not defined on.
    """
    if operation not in OPERATIONS:
        raise InputError(f"unknown operation '{operation}'{did_you_mean(operation, OPERATIONS)}")
    try:
        return OPERATIONS[operation](arguments)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"operation '{operation}' is not defined on {tuple(arguments)}") from error
