"""Constraints that need no knowledge of any world: number, order and choice of words and of listed items.

A list is written with " , " between its items. An item may have several words; an empty one, as after a comma at the
end, is an item that no list should have and fails whatever asks for items.
"""

from __future__ import annotations

from itlib.errors import InputError
from itlib.registry import constraints

SEPARATOR = ","


def listed(words: list[str]) -> list[str]:
    """Return the items of a list in order, an empty one as ""; the words of an item are joined by one blank."""
    items: list[list[str]] = [[]]
    for word in words:
        if word == SEPARATOR:
            items.append([])
        else:
            items[-1].append(word)
    return [" ".join(item) for item in items]


def spoken(words: list[str]) -> list[str]:
    """Return the words that hold a letter or a digit: punctuation that stands alone is no word."""
    return [word for word in words if any(character.isalnum() for character in word)]


@constraints.register("count")
def count(words: list[str], argument: str) -> bool:
    """The list has exactly N items."""
    wanted, items = number(argument), listed(words)
    return len(items) == wanted and all(items)


@constraints.register("distinct")
def distinct(words: list[str], argument: str) -> bool:
    """No item of the list comes twice."""
    nothing(argument)
    items = listed(words)
    return all(items) and len(set(items)) == len(items)


@constraints.register("sorted")
def alphabetical(words: list[str], argument: str) -> bool:
    """The items of the list stand in alphabetical order; equal neighbours are in order."""
    nothing(argument)
    items = listed(words)
    return all(items) and items == sorted(items)


@constraints.register("include")
def include(words: list[str], argument: str) -> bool:
    """The word occurs."""
    return word(argument) in words


@constraints.register("exclude")
def exclude(words: list[str], argument: str) -> bool:
    """The word does not occur."""
    return word(argument) not in words


@constraints.register("starts_with")
def starts_with(words: list[str], argument: str) -> bool:
    """Every item of the list starts with the letter."""
    letter = word(argument)
    if len(letter) != 1 or not letter.isalpha():
        raise InputError(f"needs one letter, not '{argument}'")
    return all(item.startswith(letter) for item in listed(words))


@constraints.register("first_word")
def first_word(words: list[str], argument: str) -> bool:
    """The response begins with the word."""
    return spoken(words)[:1] == [word(argument)]


@constraints.register("last_word")
def last_word(words: list[str], argument: str) -> bool:
    """The response ends with the word; punctuation after it does not count."""
    return spoken(words)[-1:] == [word(argument)]


@constraints.register("answer")
def answer(words: list[str], argument: str) -> bool:
    """The response is this text, word by word."""
    if not argument.strip():
        raise InputError("needs the text that a response should be")
    return words == argument.split()


@constraints.register("at_least")
def at_least(words: list[str], argument: str) -> bool:
    """The response has N words or more; punctuation that stands alone is no word."""
    return number(argument) <= len(spoken(words))


@constraints.register("at_most")
def at_most(words: list[str], argument: str) -> bool:
    """The response has N words or fewer; punctuation that stands alone is no word."""
    return number(argument) >= len(spoken(words))


def number(argument: str) -> int:
    """Return the argument as a whole number of at least 1, or raise ``InputError``."""
    if not (argument.isascii() and argument.isdecimal()) or int(argument) < 1:
        raise InputError(f"needs a whole number of at least 1, not '{argument}'")
    return int(argument)


def word(argument: str) -> str:
    """Return the argument as a single word, or raise ``InputError``."""
    if len(argument.split(" ")) != 1 or not argument.strip():
        raise InputError(f"needs one word, not '{argument}'")
    return argument


def nothing(argument: str) -> None:
    """Raise ``InputError`` for a constraint that takes no argument and was given one."""
    if argument:
        raise InputError(f"takes no argument, got '{argument}'")
