"""Constraints that ask the micro-world: what kind and colour things have, which moves are legal, what is meant."""

from __future__ import annotations

from functools import cache

from itlib.constraints.text import listed
from itlib.errors import InputError
from itlib.microworld import facts, language, lexicon, responses, track
from itlib.registry import constraints


@cache
def _in_both_languages(table: str) -> frozenset[tuple[str, str]]:
    """Return (noun, value) pairs as either language says them; the two are never mixed within a pair."""
    pairs = {"member": lexicon.CATEGORY, "coloured": facts.COLOUR}[table].items()
    other = language.counterparts()
    return frozenset({*pairs, *((other[noun], other[value]) for noun, value in pairs)})


def _all_have(table: str, words: list[str], value: str) -> bool:
    known = _in_both_languages(table)
    if value not in {other for _, other in known}:
        raise InputError(f"the world has no '{value}'")
    return all((item, value) in known for item in listed(words))


@constraints.register("member")
def member(words: list[str], argument: str) -> bool:
    """Every item of the list is a thing of the kind."""
    return _all_have("member", words, argument)


@constraints.register("coloured")
def coloured(words: list[str], argument: str) -> bool:
    """Every item of the list has the colour."""
    return _all_have("coloured", words, argument)


@constraints.register("legal_move")
def legal_move(words: list[str], argument: str) -> bool:
    """The first word is a legal move on the track, for "PIECE WALL WALL"."""
    cells = argument.split()
    if tuple(cells) not in track.positions():
        raise InputError(f"needs the cells of a piece and of two walls, lower wall first, not '{argument}'")
    legal = track.legal_moves(*cells)
    return bool(words) and words[0] in (*legal, *(language.counterparts()[move] for move in legal))


@constraints.register("content")
def content(words: list[str], argument: str) -> bool:
    """The response says just this, in any wording and style of the world."""
    if not argument:
        raise InputError("needs the content that a response should have")
    text = " ".join(words)
    return any(text == frame.replace("{}", argument) for frame in _frames())


@cache
def _frames() -> tuple[str, ...]:
    first = responses.frames()
    return (*first, *map(language.translate, first))
