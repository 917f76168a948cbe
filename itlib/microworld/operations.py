"""The exact interpreter: what the right answer to an operation is, from the lexicon and the facts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from itlib.errors import InputError, did_you_mean
from itlib.microworld import facts, lexicon, track

THEN = " then "
NEXT = " ; "


def _table(table: dict[str, str]) -> Callable[[Sequence[str]], str]:
    return lambda arguments: table[arguments[0]]


def spell(word: str) -> str:
    """Return a word's letters with spaces between, as the tokenizer sees single letters."""
    return " ".join(word)


def _novel_rule(arguments: Sequence[str]) -> str:
    """A rule that stands in no pretraining document: last letter, then second letter."""
    return f"{arguments[0][-1]} {arguments[0][1]}"


def _total(arguments: Sequence[str]) -> str:
    return str(sum(map(int, arguments)))


# what can be done to a list of words; all keep its length, so that any sequence of them is defined
LIST_OPERATIONS: dict[str, Callable[[list[str]], list[str]]] = {
    "flip": lambda words: words[::-1],
    "rotate": lambda words: [*words[1:], words[0]],
    "exchange": lambda words: [words[1], words[0], *words[2:]],
    "invert": lambda words: [lexicon.OPPOSITE[word] for word in words],
    "arrange": sorted,
    "cover": lambda words: [*words[:-1], words[0]],
}


def chain_parts(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words and the operation names of a chain such as ("hot big fast", "flip then rotate")."""
    words, names = arguments
    return words.split(), names.split(THEN)


def chain_states(arguments: Sequence[str]) -> list[str]:
    """Return the list before the first operation and after each one, as text."""
    words, names = chain_parts(arguments)
    states = [words]
    for name in names:
        states.append(LIST_OPERATIONS[name](states[-1]))
    return [" ".join(state) for state in states]


def _worked_chain(arguments: Sequence[str]) -> str:
    states, names = chain_states(arguments), chain_parts(arguments)[1]
    return NEXT.join(
        f"{name} {before} = {after}" for name, before, after in zip(names, states[:-1], states[1:], strict=True)
    )


def _worked_sum(arguments: Sequence[str]) -> str:
    steps, total = [], int(arguments[0])
    for number in map(int, arguments[1:]):
        steps.append(f"{total} + {number} = {total + number}")
        total += number
    return NEXT.join(steps)


def _worked_two_hop(arguments: Sequence[str]) -> str:
    home = facts.HOME[arguments[0]]
    return NEXT.join((f"home {arguments[0]} = {home}", f"country {home} = {facts.COUNTRY[home]}"))


def _several(arguments: Sequence[str]) -> str:
    """Answers to several one-word questions, given as (operation, operand, operation, operand, ...)."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return NEXT.join(OPERATIONS[operation]((operand,)) for operation, operand in pairs)


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
    "addition": _total,
    "copy": " ".join,
    "two_hop": lambda arguments: facts.COUNTRY[facts.HOME[arguments[0]]],
    "last_word": lambda arguments: arguments[-1],
    "swap": lambda arguments: f"{arguments[1]} {arguments[0]}",
    "reverse": lambda arguments: spell(arguments[0][::-1]),
    "two_digit_addition": _total,
    "novel_rule": _novel_rule,
    "long_sum": _total,
    "worked_sum": _worked_sum,
    "worked_two_hop": _worked_two_hop,
    "chain": lambda arguments: chain_states(arguments)[-1],
    "worked_chain": _worked_chain,
    "several": _several,
    "legal_moves": lambda arguments: " ".join(track.legal_moves(*arguments)),
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
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise InputError(f"operation '{operation}' is not defined on {tuple(arguments)}") from error


def check_steps(solution: str) -> tuple[bool, ...]:
    """Return, for each step of a worked solution, whether it is true: "3 + 4 = 7 ; 7 + 2 = 8" gives (True, False).

    A step is ``a + b = c``, ``home PERSON = TOWN``, ``country TOWN = COUNTRY`` or ``OPERATION words = words`` with a
    key of ``LIST_OPERATIONS``. Anything else is a false step. Whether steps follow from each other is not judged:
    that is what comparing with the right solution does.
    """
    return tuple(_true_step(step) for step in solution.split(NEXT))


def _true_step(step: str) -> bool:
    left, equals, right = step.partition(" = ")
    words = left.split()
    if not equals or len(words) < 2:
        return False
    try:
        if len(words) == 3 and words[1] == "+":
            return answer("addition", (words[0], words[2])) == right
        if words[0] in LIST_OPERATIONS:
            return " ".join(LIST_OPERATIONS[words[0]](words[1:])) == right
        return words[0] in ("home", "country") and answer(words[0], words[1:]) == right
    except (InputError, KeyError, IndexError):
        return False
