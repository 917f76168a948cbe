"""Corrupted examples with their right answers kept: what a selector should find and a model should not learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from itlib.constraints import graded
from itlib.errors import InputError, did_you_mean
from itlib.example import Example, Turn
from itlib.microworld.dice import Dice
from itlib.registry import families

KINDS = ("wrong", "mismatched", "truncated", "duplicate", "off_target")
DUPLICATE = "#duplicate"
_BLOCK = 100


def check(kinds: Sequence[str], rate: float) -> tuple[str, ...]:
    """Return the kinds to use (all, when none is named), or raise ``InputError`` for unknown kinds or a bad rate."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"noise_kinds has '{kind}'{did_you_mean(kind, KINDS)}; known: {', '.join(KINDS)}")
    if len(set(kinds)) < len(kinds):
        raise InputError(f"noise_kinds names a kind twice: {', '.join(kinds)}")
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"noise_rate is {rate}; it is a share between 0 and 1")
    return tuple(kinds) or KINDS


def corrupt(
    examples: Sequence[Example],
    kinds: Sequence[str],
    rate: float,
    *,
    seed: int,
    names: Sequence[str],
    off_target: Callable[[Example, Dice], Example],
) -> list[Example]:
    """Return the examples with a share ``rate`` of them replaced by corrupted versions of themselves.

    In every hundred consecutive examples the share is exact up to rounding, at random places; kinds take turns in
    random order. Each corrupted example keeps its right answer in ``gold`` and names its kind in ``noise``.

    * wrong: the response is another answer of the same family.
    * mismatched: the response answers an instruction of another family of ``names``.
    * truncated: the instruction breaks off in its first half.
    * off_target: nothing is wrong, but it is not what anybody asks at test: ``off_target(example, dice)`` gives the
      example in the second language, or another one where it cannot be said there.
    * duplicate: an exact repetition of an earlier clean example, of the same family where there is one. As long as
      nothing clean came before, a duplicate that is due waits for the next example.

    Only earlier examples are repeated, so a prefix of a noisy pool is the smaller noisy pool.
    """
    dice, result, clean, turns, due = Dice("noise", seed), [], [], [], 0
    for index, example in enumerate(examples):
        if index % _BLOCK == 0:
            places = dice.shuffled(range(index, index + _BLOCK))
        # rounding of rate times place, so that each block of hundred holds its share and rates in between average out
        place = places[index % _BLOCK]
        due += int((place + 1) * rate + 1e-9) - int(place * rate + 1e-9)
        turns = turns or dice.shuffled(kinds)
        if due and (clean or turns[-1] != "duplicate"):
            kind = turns.pop()
            if kind == "duplicate":
                source = dice.pick([other for other in clean if other.family == example.family] or clean)
                result.append(replace(source, id=f"{source.id}{DUPLICATE}{index}", noise=kind))
            elif kind == "off_target":
                result.append(replace(off_target(example, dice), id=f"{example.id}#{kind}", noise=kind))
            else:
                result.append(_corrupted(kind, example, dice, names))
            due -= 1
        else:
            clean.append(example)
            result.append(example)
    return result


def _corrupted(kind: str, example: Example, dice: Dice, names: Sequence[str]) -> Example:
    if kind == "truncated":
        words = example.instruction.split()
        kept = " ".join(words[: 1 + dice.below(max(1, len(words) // 2))])
        turns = (Turn("user", kept), *example.turns[1:])
    else:
        sources = (example.family,) if kind == "wrong" else [name for name in names if name != example.family]
        response = _other_answer(example, sources, dice)
        turns = (*example.turns[:-1], Turn("assistant", response))
    return replace(example, id=f"{example.id}#{kind}", noise=kind, turns=turns)


def _other_answer(example: Example, sources: Sequence[str], dice: Dice) -> str:
    while True:
        family = families.get(dice.pick(sources))
        response = family.response(family.sample(dice, "pool"), "pool", dice)
        if example.constraints:
            if graded(example.constraints, response) < 1:
                return response
        elif response != example.gold:
            return response
