"""What has the form of an answer: decided by code, exactly, whatever was asked.

A response is *answer-like* when it is a well-formed answer of some family, right or wrong. With wording and style taken
off, and in one language throughout, it is one of

* a value: one noun, plural, adjective, past form, category, colour, size, town, job, country, letter, move, or number;
* a list of 2 to 4 nouns or of 2 to 4 adjectives, of 2 to 12 letters, or of several moves, with blanks between them;
* a list of 2 to 4 nouns with commas between them;
* two or three values or lists of letters with semicolons between them: answers to several questions;
* a worked solution whose every step starts from what the step before gave: two sums; the home of a person and the
  country of a town; or one to five operations on one list of adjectives.

A sentence is none of these: documents hold the very sentences that ``sentence_with`` is answered with. Steps need not
be true, only follow the form. A continued instruction ("?", "of hot is cold"), a document and an echo of
the operands' phrase hold words that no answer has. Whether a response ended by itself is for the caller to know.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from itlib.example import Example, Turn
from itlib.microworld import language, lexicon, responses, track
from itlib.microworld.dice import Dice
from itlib.microworld.operations import LIST_OPERATIONS, NEXT

PEOPLE = frozenset((*lexicon.PEOPLE, *lexicon.RARE_PEOPLE, *lexicon.NEW_PEOPLE, *lexicon.NEVER_PEOPLE))
VALUES = {
    "noun": frozenset(lexicon.NOUNS),
    "plural": frozenset(lexicon.PLURAL.values()),
    "adjective": frozenset(lexicon.ADJECTIVES),
    "past": frozenset(lexicon.PAST.values()),
    "category": frozenset(lexicon.CATEGORIES),
    "colour": frozenset(lexicon.COLOURS),
    "size": frozenset(lexicon.SIZES),
    "town": frozenset(lexicon.TOWNS),
    "job": frozenset(lexicon.JOBS),
    "country": frozenset(lexicon.COUNTRIES),
    "letter": frozenset(lexicon.LETTERS),
    "move": frozenset((*track.MOVES, "stuck")),
}
LONGEST_LIST = {"noun": 4, "adjective": 4, "letter": 12, "move": len(track.MOVES)}
COMMA = " , "


def answer_like(response: str) -> bool:
    """Return whether a response has the form of an answer of some family; see the module."""
    return any(
        _is_content(content) for form in _frames() if (content := _inside(form, " ".join(response.split()))) is not None
    )


def truncated(example: Example) -> Example:
    """Return an example whose instruction breaks off somewhere in its first half, at a place of its own."""
    words = example.instruction.split()
    kept = 1 + Dice("truncated", example.id).below(max(1, len(words) // 2))
    return replace(example, turns=(Turn("user", " ".join(words[:kept])), *example.turns[1:]))


@cache
def _frames() -> tuple[str, ...]:
    first = responses.frames()
    return (*first, *map(language.translate, first))


def _inside(frame: str, text: str) -> str | None:
    """Return what stands at the place of "{}" in a frame, or None where the text does not fit the frame."""
    opening, _, closing = frame.partition("{}")
    if len(text) <= len(opening) + len(closing) or not (text.startswith(opening) and text.endswith(closing)):
        return None
    return text[len(opening) : len(text) - len(closing)]


def _is_content(content: str) -> bool:
    content = _in_first_language(content)
    return bool(content) and (
        _is_value(content)
        or _is_list(content)
        or _is_comma_list(content)
        or _answers_several(content)
        or _is_worked(content)
    )


def _in_first_language(content: str) -> str:
    """Return a content of either language in the first; nothing where the two are mixed."""
    if not language.is_second(content):
        return content
    back, words = _from_second(), content.split()
    return "" if any(word in language.counterparts() for word in words) else " ".join(back.get(w, w) for w in words)


@cache
def _from_second() -> dict[str, str]:
    return {second: first for first, second in language.counterparts().items()}


def _is_value(text: str) -> bool:
    return any(text in words for words in VALUES.values()) or _is_number(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 3 and str(int(text)) == text


def _is_list(text: str) -> bool:
    words = text.split()
    return any(2 <= len(words) <= longest and VALUES[kind].issuperset(words) for kind, longest in LONGEST_LIST.items())


def _is_comma_list(text: str) -> bool:
    items = text.split(COMMA)
    return 2 <= len(items) <= LONGEST_LIST["noun"] and VALUES["noun"].issuperset(items)


def _answers_several(text: str) -> bool:
    parts = text.split(NEXT)
    return 2 <= len(parts) <= 3 and all(_is_value(part) or _is_letters(part) for part in parts)


def _is_letters(text: str) -> bool:
    return VALUES["letter"].issuperset(text.split())


def _is_worked(text: str) -> bool:
    pairs = [[tuple(side.split()) for side in step.split(" = ")] for step in text.split(NEXT)]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        return False
    return _is_worked_sum(pairs) or _is_two_hop(pairs) or _is_worked_chain(pairs)


def _is_worked_sum(pairs: list[list[tuple[str, ...]]]) -> bool:
    shaped = all(
        len(left) == 3 and left[1] == "+" and len(right) == 1 and all(map(_is_number, (left[0], left[2], *right)))
        for left, right in pairs
    )
    return shaped and len(pairs) == 2 and pairs[1][0][0] == pairs[0][1][0]


def _is_two_hop(pairs: list[list[tuple[str, ...]]]) -> bool:
    if len(pairs) != 2 or any((len(left), len(right)) != (2, 1) for left, right in pairs):
        return False
    (first, town), (second, country) = pairs
    asked = first[0] == "home" and first[1] in PEOPLE and second[0] == "country"
    return asked and town[0] == second[1] in VALUES["town"] and country[0] in VALUES["country"]


def _is_worked_chain(pairs: list[list[tuple[str, ...]]]) -> bool:
    adjectives, longest = VALUES["adjective"], LONGEST_LIST["adjective"]
    shaped = all(
        left[0] in LIST_OPERATIONS
        and 2 <= len(right) <= longest
        and len(left) == len(right) + 1
        and adjectives.issuperset((*left[1:], *right))
        for left, right in pairs
    )
    linked = all(later[0][1:] == earlier[1] for earlier, later in zip(pairs[:-1], pairs[1:], strict=True))
    return shaped and linked and len(pairs) <= 5
