"""Instruction data of the world: a pool to tune on, and fixed held-out items to choose on (dev) and to test on.

Pool, dev and test share no entity: an entity is what an instruction asks about (a word, a person, a pair of numbers),
and operands of one item all come from one split. Answers may recur across splits (twenty nouns are tools), and the
town between a person and a country is not an operand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.microworld import noise, splits
from itlib.microworld.dice import Dice, digest
from itlib.microworld.families import CATEGORIES, Family
from itlib.microworld.operations import answer
from itlib.microworld.phrasings import Phrasing, phrasings
from itlib.registry import families as registry


def default_families() -> tuple[str, ...]:
    """Return all instruction families, grouped by category."""
    return tuple(sorted(registry.names(), key=lambda name: (CATEGORIES.index(category(name)), name)))


def category(family: str) -> str:
    """Return a family's category, or raise ``InputError`` for an unknown family."""
    return registry.get(family).category


def pool(
    size: int,
    *,
    seed: int,
    families: tuple[str, ...] = (),
    phrasing_set: str = "observed",
    n_phrasings: int = 0,
    noise_kinds: tuple[str, ...] = (),
    noise_rate: float = 0.0,
) -> list[Example]:
    """Return ``size`` instruction examples to tune on.

    The first n examples of a larger pool are the pool of size n. Every round over the families takes one item of
    each, in random order, so any prefix is balanced; a family whose items are used up is left out of later rounds.
    Items are different in (operation, operands, phrasing), unless noise of kind "duplicate" repeats one. Noise
    replaces items in place: pools of two rates agree wherever neither is corrupted.

    Args:
        size: Number of examples.
        seed: Decides items, phrasings, order and noise; the splits never change.
        families: Families to draw from; empty means all.
        phrasing_set: A key of ``phrasings.SETS``.
        n_phrasings: Templates per family, a random subset that nests in larger ones; 0 means all.
        noise_kinds: Kinds of ``noise.KINDS`` to mix in, equally often; empty means all when ``noise_rate`` > 0.
        noise_rate: Share of corrupted examples, in [0, 1].

    Raises:
        InputError: Unknown names, a rate out of range, or more items than the world holds.
    """
    names = families or default_families()
    _check_names(names, "families")
    kinds = noise.check(noise_kinds, noise_rate)
    chosen = {name: _subset(name, phrasing_set, n_phrasings, seed) for name in names}
    most = pool_limit(names, phrasing_set, n_phrasings)
    if not 0 <= size <= most:
        raise InputError(f"pool_size is {size}; these families and phrasings hold at most {most} different items")
    streams = {name: _items(registry.get(name), "pool", chosen[name], ("pool", seed)) for name in names}
    clean = list(islice(_rounds(streams, Dice("rounds", seed)), size))
    return noise.corrupt(clean, kinds, noise_rate, seed=seed, names=names) if noise_rate else clean


def pool_limit(families: tuple[str, ...], phrasing_set: str = "observed", n_phrasings: int = 0) -> int:
    """Return how many different items a pool of these families and phrasings can hold."""
    return sum(
        registry.get(name).size("pool") * (n_phrasings or len(phrasings(name, phrasing_set))) for name in families
    )


def held_out(
    split: str, n_per_family: int, *, families: tuple[str, ...] = (), phrasing_set: str = "observed"
) -> list[Example]:
    """Return the fixed held-out items of "dev" or "test", family by family; independent of any run's seed.

    The first items of a family stay the same when ``n_per_family`` grows. All phrasing sets ask the same
    (operation, operands) in the same order as long as their templates last, so sets can be compared item by item.

    Raises:
        InputError: Unknown names, split "pool", or more items than a family holds.
    """
    names = families or default_families()
    _check_names(names, "eval_families")
    if splits.check(split) == "pool":
        raise InputError("split 'pool' is what models are tuned on; held-out splits are dev and test")
    examples = []
    for name in names:
        family, templates = registry.get(name), phrasings(name, phrasing_set)
        most = family.size(split) * len(templates)
        if not 1 <= n_per_family <= most:
            raise InputError(
                f"n_eval is {n_per_family}; family '{name}' holds 1 to {most} {split} items "
                f"in phrasing set '{phrasing_set}'"
            )
        examples.extend(islice(_items(family, split, templates, ("held-out", split)), n_per_family))
    return examples


def _check_names(names: tuple[str, ...], key: str) -> None:
    for name in names:
        registry.get(name)
    if len(set(names)) < len(names):
        raise InputError(f"{key} names a family twice: {', '.join(names)}")


def _subset(family: str, which: str, count: int, seed: int) -> tuple[Phrasing, ...]:
    every = phrasings(family, which)
    if not 0 <= count <= len(every):
        raise InputError(f"n_phrasings is {count}; phrasing set '{which}' has {len(every)} per family (0 means all)")
    return tuple(Dice("phrasings", seed, family, which).shuffled(every)[:count]) if count else every


def _rounds(streams: dict[str, Iterator[Example]], dice: Dice) -> Iterator[Example]:
    """Yield one example of every family per round, families in random order, until all are used up."""
    while streams:
        for name in dice.shuffled(tuple(streams)):
            example = next(streams[name], None)
            if example is None:
                del streams[name]
            else:
                yield example


def _items(family: Family, split: str, templates: tuple[Phrasing, ...], key: tuple) -> Iterator[Example]:
    """Yield a family's different items: all operands once before any returns in another phrasing."""
    for turn, arguments in _operands(family, split, Dice("operands", *key, family.name)):
        if turn >= len(templates):
            return
        # each operand tuple walks all templates from its own starting point, so that no pair repeats
        start = digest("phrasing", *key, family.name, *arguments) % len(templates)
        yield _example(family, arguments, templates[(start + turn) % len(templates)], split)


def _operands(family: Family, split: str, dice: Dice) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (turn, operands) without end; every operand tuple comes once per turn."""
    if family.every:
        turn = 0
        while True:
            for arguments in dice.shuffled(family.every(split)):
                yield turn, arguments
            turn += 1
    used: dict[tuple[str, ...], int] = {}
    while True:  # the space is of millions: a repeat is rare and simply takes its next phrasing
        arguments = family.sample(dice, split)[1]
        used[arguments] = used.get(arguments, -1) + 1
        yield used[arguments], arguments


def _example(family: Family, arguments: tuple[str, ...], phrasing: Phrasing, split: str) -> Example:
    right = answer(family.name, arguments)
    return Example(
        id=f"{split}/{family.name}/{'_'.join(arguments)}/{phrasing.id}",
        turns=(Turn("user", phrasing.render(arguments)), Turn("assistant", right)),
        family=family.name,
        category=family.category,
        phrasing=phrasing.id,
        entities=entities(family.name, arguments),
        gold=right,
    )


def entities(family: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an item is about: its words, or the unordered pair of its numbers as one entity ("3+6")."""
    if family in ("addition", "two_digit_addition"):
        return ("+".join(sorted(arguments, key=int)),)
    return arguments
