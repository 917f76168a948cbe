"""Corrupted examples with their right answers kept: what a selector should find and a model should not learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from itlib.errors import InputError, did_you_mean
from itlib.example import Example, Turn
from itlib.microworld.dice import Dice
from itlib.microworld.operations import answer
from itlib.registry import families

KINDS = ("wrong", "mismatched", "truncated", "duplicate")
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
    examples: Sequence[Example], kinds: Sequence[str], rate: float, *, seed: int, names: Sequence[str]
) -> list[Example]:
    """Return the examples with a share ``rate`` of them replaced by corrupted versions of themselves.

    In every hundred consecutive examples the share is exact up to rounding, at random places; kinds take turns in
    random order. Each corrupted example keeps its right answer in ``gold`` and names its kind in ``noise``.

    * wrong: the response is another answer of the same family.
    * mismatched: the response answers an instruction of another family of ``names`` (of all, where there is one only).
    * truncated: the instruction breaks off in its first half.
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
            result.append(_corrupted(turns.pop(), example, clean, dice, names, index))
            due -= 1
        else:
            clean.append(example)
            result.append(example)
    return result


def _corrupted(
    kind: str, example: Example, clean: Sequence[Example], dice: Dice, names: Sequence[str], index: int
) -> Example:
    if kind == "duplicate":
        source = dice.pick([other for other in clean if other.family == example.family] or clean)
        return replace(source, id=f"{source.id}#duplicate{index}", noise=kind)
    if kind == "truncated":
        words = example.instruction.split()
        kept = " ".join(words[: 1 + dice.below(max(1, len(words) // 2))])
        turns = (Turn("user", kept), *example.turns[1:])
    else:
        response = _other_answer(example, _sources(kind, example.family, names), dice)
        turns = (*example.turns[:-1], Turn("assistant", response))
    return replace(example, id=f"{example.id}#{kind}", noise=kind, turns=turns)


def _sources(kind: str, own: str, names: Sequence[str]) -> Sequence[str]:
    """Return the families whose answers a wrong or mismatched response may come from."""
    if kind == "wrong":
        return (own,)
    return [name for name in names if name != own] or [name for name in families.names() if name != own]


def _other_answer(example: Example, sources: Sequence[str], dice: Dice) -> str:
    while True:
        response = answer(*families.get(dice.pick(sources)).sample(dice, "pool"))
        if response != example.gold:
            return response
