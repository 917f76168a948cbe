"""Who lives where and what has which colour: assigned once from one seed, part of what the world is.

A changed ``FACT_SEED`` is another world: the shipped base models know only this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from itlib.microworld import lexicon
from itlib.microworld.dice import ranked

FACT_SEED = 20


def _assign(keys: Sequence[str], values: Sequence[str], relation: str) -> dict[str, str]:
    """Give each key a value, values as evenly used as possible, by the keys' hash order."""
    order = ranked(keys, "fact", FACT_SEED, relation)
    assigned = {key: values[index % len(values)] for index, key in enumerate(order)}
    return {key: assigned[key] for key in keys}


def _assign_people(values: Sequence[str], relation: str) -> dict[str, str]:
    groups = (lexicon.PEOPLE, lexicon.RARE_PEOPLE, lexicon.NEW_PEOPLE, lexicon.NEVER_PEOPLE)
    return {key: value for people in groups for key, value in _assign(people, values, relation).items()}


COLOUR = _assign(lexicon.NOUNS, lexicon.COLOURS, "colour")
SIZE = _assign(lexicon.NOUNS, lexicon.SIZES, "size")
HOME = _assign_people(lexicon.TOWNS, "home")
JOB = _assign_people(lexicon.JOBS, "job")
COUNTRY = _assign(lexicon.TOWNS, lexicon.COUNTRIES, "country")
SIZE_RANK = {noun: lexicon.SIZES.index(size) for noun, size in SIZE.items()}

# how often documents speak of a rare person, relative to a frequent one: a quarter of the rare people at each level
RARE_LEVELS = (1 / 8, 1 / 16, 1 / 32, 1 / 64)
FREQUENCY = {person: 1.0 for person in lexicon.PEOPLE} | {
    person: RARE_LEVELS[index % len(RARE_LEVELS)]
    for index, person in enumerate(ranked(lexicon.RARE_PEOPLE, "frequency", FACT_SEED))
}
