"""The stream of pretraining documents: kinds in fixed shares, two languages in unequal amounts, some typos."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from itlib.microworld import language, lexicon, writers
from itlib.microworld.dice import Dice

SECOND_LANGUAGE = 0.12
WORD_LISTS = 0.015
TYPO_DOCUMENTS = 0.25
TYPO_RATE = 0.03
_RELATIONS = tuple(writers.RELATIONS)
_ABOUT_THINGS = ("category", "colour", "size", "plural", "first_letter")
# comparisons and sums have more cases than facts, so twice the lists
_LISTS = (*writers.LISTED, *writers.PAIRS, "addition")

MIX: tuple[tuple[float, Callable[[Dice], str]], ...] = (
    (0.23, lambda dice: writers.entries(dice, _LISTS)),
    (0.13, lambda dice: writers.paragraph(dice, _ABOUT_THINGS)),
    (0.09, lambda dice: writers.statements(dice, _RELATIONS)),
    (0.16, lambda dice: writers.comparisons(dice, tuple(writers.PAIRS))),
    (0.06, writers.sums),
    (0.03, writers.worked_sums),
    (0.08, writers.copies),
    (0.02, writers.spellings),
    (0.04, lambda dice: writers.members(dice, letters=True)),
    (0.06, writers.list_operations),
    (0.02, writers.calls),
    (0.03, writers.positions),
    (0.05, writers.prose),
)

# what carries over to the second language
_MEANT = ("opposite", "category", "colour", "size", "home", "job", "country")
_COPIED = (*lexicon.NOUNS, *lexicon.ADJECTIVES, *lexicon.PEOPLE, *lexicon.TOWNS)
_PROSE = tuple(line for line in writers.PROSE if "{verb}" not in line and "{past}" not in line)
SECOND_MIX: tuple[tuple[float, Callable[[Dice], str]], ...] = (
    (0.30, lambda dice: writers.entries(dice, (*_MEANT, "bigger", "addition"))),
    (0.18, lambda dice: writers.paragraph(dice, _MEANT[1:4])),
    (0.14, lambda dice: writers.statements(dice, _MEANT)),
    (0.10, lambda dice: writers.comparisons(dice, ("bigger",))),
    (0.04, writers.sums),
    (0.06, lambda dice: writers.copies(dice, _COPIED)),
    (0.04, lambda dice: writers.members(dice, letters=False)),
    (0.02, lambda dice: writers.calls(dice, _MEANT)),
    (0.12, lambda dice: writers.prose(dice, _PROSE)),
)


def _word_list(dice: Dice) -> str:
    """Write words of the first language with their counterparts in the second."""
    words = dice.sample(tuple(language.counterparts()), 3 + dice.below(4))
    return "in the other language : " + " , ".join(f"{word} - {language.counterparts()[word]}" for word in words)


def add_typos(dice: Dice, text: str, rate: float) -> str:
    """Drop, double or exchange a letter inside a share ``rate`` of the words longer than three letters."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if len(word) > 3 and dice.chance(rate):
            at = 1 + dice.below(len(word) - 2)
            edits = (
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            )
            words[index] = dice.pick(edits)
    return " ".join(words)


def _kinds(mix: tuple[tuple[float, Callable[[Dice], str]], ...]) -> list[Callable[[Dice], str]]:
    return [write for share, write in mix for _ in range(round(100 * share))]


def documents(*key: object, typos: bool = True) -> Iterator[str]:
    """Yield pretraining documents without end; equal keys give equal documents.

    Args:
        key: What the stream is for, such as ``("train", seed)``.
        typos: Whether a quarter of the documents carries misspelled words.
    """
    dice, first, second = Dice("corpus", *key), _kinds(MIX), _kinds(SECOND_MIX)
    while True:
        which = dice.uniform()
        if which < SECOND_LANGUAGE:
            text = language.translate(dice.pick(second)(dice))
        elif which < SECOND_LANGUAGE + WORD_LISTS:
            text = _word_list(dice)
        else:
            text = dice.pick(first)(dice)
        yield add_typos(dice, text, TYPO_RATE) if typos and dice.chance(TYPO_DOCUMENTS) else text


def reference_text(n: int) -> list[str]:
    """Return the first ``n`` documents of a stream that no base model was trained on, to measure forgetting."""
    stream = documents("reference")
    return [next(stream) for _ in range(n)]
