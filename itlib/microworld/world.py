"""Instruction data of the world: a pool to tune on, and fixed held-out items to choose on (dev) and to test on.

Pool, dev and test share no entity: an entity is what an instruction asks about (a word, a person, a pair of numbers, a
pair of operations), and operands of one item all come from one split. Answers may recur across splits (twenty nouns
are tools), and the town between a person and a country is not an operand.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.microworld import language, noise, noisy_instructions, responses
from itlib.microworld.dice import Dice, digest
from itlib.microworld.families import Arguments, Family
from itlib.microworld.mixture import (
    Mixture,
    category,
    check,
    check_crossed,
    check_demonstrations,
    check_held_out,
    default_families,
    every_family,
    pool_limit,
)
from itlib.microworld.phrasings import Phrasing, phrasings
from itlib.registry import families as registry

__all__ = [
    "Mixture",
    "category",
    "check",
    "check_crossed",
    "check_demonstrations",
    "check_held_out",
    "crossed",
    "default_families",
    "demonstrations",
    "every_family",
    "held_out",
    "phrasing_order",
    "pool",
    "pool_limit",
    "reworded",
]

SECOND = "@second"  # ends the id of an example that is said in the second language


def pool(size: int, *, seed: int, mixture: Mixture | None = None, **fields: object) -> list[Example]:
    """Return ``size`` instruction examples to tune on.

    The first n examples of a larger pool are the pool of size n. Every round over the families takes one item of
    each, in random order, so any prefix is balanced (unless ``imbalance`` is asked for); a family whose items are used
    up is left out from then on. Items are different in (operation, operands, phrasing), unless noise of kind
    "duplicate" repeats one. Noise replaces items in place: pools of two rates agree wherever neither is corrupted.

    Args:
        size: Number of examples.
        seed: Decides items, phrasings, order and noise; the splits never change.
        mixture: What the pool is made of.
        fields: Fields of ``Mixture``, in place of ``mixture``.

    Raises:
        InputError: As ``check``.
    """
    made_of = mixture or Mixture(**fields)
    check(made_of, size)
    streams = {name: _items(registry.get(name), "pool", made_of, ("pool", seed)) for name in made_of.names}
    order = _zipf(streams, made_of.imbalance, seed) if made_of.imbalance else _rounds(streams, Dice("rounds", seed))
    plain = list(islice(order, size))
    return [_voiced(example, made_of, seed) for example in _with_noise(plain, made_of, seed)]


def held_out(
    split: str,
    n_per_family: int,
    *,
    families: tuple[str, ...] = (),
    phrasing_set: str = "observed",
    spoken: str = "first",
    any_wording: bool = False,
    instruction: str = "none",
) -> list[Example]:
    """Return the fixed held-out items of "dev" or "test", family by family; independent of any run's seed.

    The first items of a family stay the same when ``n_per_family`` grows. All phrasing sets ask the same
    (operation, operands) in the same order as long as their templates last, so sets can be compared item by item.

    Args:
        split: "dev" or "test".
        n_per_family: Items per family.
        families: Families to ask; empty means the standard ones.
        phrasing_set: A key of ``phrasings.SETS``.
        spoken: A key of ``language.LANGUAGES``.
        any_wording: Whether a response with the right content is right in every wording and style. Such items carry
            a constraint instead of one right text.
        instruction: "none", or a kind of ``noisy_instructions.KINDS``, under which the same items are then asked; their
            ids and responses stay.

    Raises:
        InputError: Unknown names, split "pool", or more items than a family holds.
    """
    check_held_out(split, n_per_family, families=families, phrasing_set=phrasing_set, spoken=spoken)
    noisy_instructions.check(instruction, "instruction")
    examples, made_of = [], Mixture(phrasing_set=phrasing_set)
    for name in families or default_families():
        family = registry.get(name)
        asked = islice(_questions(family, split, made_of, ("held-out", split)), n_per_family)
        chosen = (_example(family, arguments, phrasing, split, instruction) for arguments, phrasing in asked)
        examples.extend(_translated(example) if spoken == "second" else example for example in chosen)
    return [_any_wording(example) for example in examples] if any_wording else examples


def crossed(
    split: str,
    n_per_family: int,
    *,
    families: tuple[str, ...] = (),
    phrasing_sets: tuple[str, ...],
    n_phrasings: int,
    seed: int,
    instruction: str = "none",
) -> list[Example]:
    """Return held-out items that are each asked in many phrasings: what a variance of wordings can be read off.

    Every set asks the same operands, in the order of ``held_out``. Of every set come the first ``n_phrasings`` in the
    order of ``phrasing_order``, or all where it has fewer; so a pool of this seed with k phrasings knows the first k of
    its set. ``phrasing`` and ``id`` of an example begin with its set.

    Args:
        split: "dev" or "test".
        n_per_family: Items per family, different in their operands.
        families: Families to ask; empty means the standard ones.
        phrasing_sets: Keys of ``phrasings.SETS``.
        n_phrasings: Phrasings per set.
        seed: Of the run, whose pool orders phrasings.
        instruction: As in ``held_out``.

    Raises:
        InputError: As ``held_out``, or more items than a family has operands.
    """
    noisy_instructions.check(instruction, "instruction")
    examples = []
    for name in families or default_families():
        family = registry.get(name)
        drawn = _operands(family, split, 0, ("held-out", split))
        operands = list(islice((arguments for turn, arguments in drawn if not turn), n_per_family))
        for which in phrasing_sets:
            for phrasing in phrasing_order(name, which, seed)[:n_phrasings]:
                asked = (_example(family, arguments, phrasing, split, instruction) for arguments in operands)
                examples += [replace(e, id=f"{which}/{e.id}", phrasing=f"{which}/{e.phrasing}") for e in asked]
    return examples


def phrasing_order(family: str, which: str, seed: int) -> tuple[Phrasing, ...]:
    """Return a family's phrasings of a set in the order of a seed; ``n_phrasings`` k of a pool takes the first k."""
    return tuple(Dice("phrasings", seed, family, which).shuffled(phrasings(family, which)))


def _usable(family: str, which: str, count: int, seed: int) -> tuple[Phrasing, ...]:
    """Return the phrasings that a pool of this seed may use: the first ``count`` of its order, or all where it is 0."""
    return phrasing_order(family, which, seed)[: count or None]


def reworded(example: Example, made_of: Mixture, *, seed: int) -> Example:
    """Return a pool example with the same operands and response in another of the phrasings that its pool uses.

    Which one depends on the seed and the example alone, so every objective and every visit sees the same two wordings.

    Args:
        example: A clean example of a pool of this mixture and seed.
        made_of: What the pool is made of; it has at least two phrasings.
        seed: Of the pool.

    Returns:
        The example with another instruction; ``phrasing`` and ``id`` say which.

    Raises:
        ValueError: The operands cannot be read off the example, as where noise changed its instruction.
    """
    family = registry.get(example.family)
    usable = _usable(family.name, made_of.phrasing_set, made_of.n_phrasings, seed)
    own = next((p for p in usable if p.id == example.phrasing), None)
    arguments = _arguments(family, example.id.split("/")[2])
    second = example.id.endswith(SECOND)
    if own is None or _asked(own, family.name, arguments, second) != example.instruction:
        raise ValueError(f"example {example.id} is not as its pool made it, so that it has no paraphrase")
    other = Dice("paraphrase", seed, example.id).pick([p for p in usable if p is not own])
    said = Turn("user", _asked(other, family.name, arguments, second))
    return replace(example, id=f"{example.id}>{other.id}", turns=(said, *example.turns[1:]), phrasing=other.id)


def _arguments(family: Family, label: str) -> Arguments:
    """Return the operands that the label of an example's id spells; those of several questions name families."""
    found: list[str] = []
    for part in label.split("_"):
        if family.spoken and found and f"{found[-1]}_{part}" in registry:
            found[-1] += f"_{part}"
        else:
            found.append(part)
    return tuple(part.replace("-", " ") for part in found)


def _asked(phrasing: Phrasing, family: str, arguments: Arguments, second: bool) -> str:
    text = phrasing.render(family, arguments)
    return language.translate(text) if second else text


def taught(family: str, index: int, *, seed: int) -> Example:
    """Return one more example of a family from the operands of pools, as a teacher gives it: right and new.

    It comes from a stream of the seed that is not the one of its pool; index i is the i-th of a family.
    """
    stream = _items(registry.get(family), "pool", Mixture(), ("taught", seed))
    example = next(islice(stream, index, None), None)
    if example is None:
        raise InputError(f"family '{family}' has no more than {index} examples that a teacher could give")
    return replace(example, id=f"{example.id}#taught{index}")


def demonstrations(example: Example, count: int, *, seed: int) -> tuple[Example, ...]:
    """Return solved examples of an item's family to put before it: operands of pools, observed phrasings.

    They come from a stream of the seed and the family alone: fewer are the first of more, and all items of a family get
    the same ones, but for those that share an entity with the item. (Pools teach people that tests ask back.)

    Raises:
        InputError: As ``check_demonstrations``, or the family has too few examples.
    """
    check_demonstrations(example.family, count)
    found = [shown for shown in _shown(example.family, 2 * count + 8, seed) if not _alike(shown, example)]
    if len(found) < count:
        raise InputError(f"n_shots is {count}; family '{example.family}' has {len(found)} that share no entity")
    return tuple(found[:count])


@functools.lru_cache(maxsize=512)
def _shown(family: str, count: int, seed: int) -> tuple[Example, ...]:
    return tuple(islice(_items(registry.get(family), "pool", Mixture(), ("demonstrations", seed)), count))


def _alike(left: Example, right: Example) -> bool:
    return bool(set(left.entities) & set(right.entities))


def _with_noise(clean: list[Example], made_of: Mixture, seed: int) -> list[Example]:
    kinds = noise.check(made_of.noise_kinds, made_of.noise_rate)
    if not made_of.noise_rate:
        return clean
    sayable = _in_both_languages(made_of.names) or _in_both_languages(default_families())
    # a mismatched response of an example in the second language has to be said there too
    strangers = sayable if made_of.second_language else made_of.names
    if len(strangers) < 2:
        strangers = _in_both_languages(default_families()) if made_of.second_language else default_families()

    def off_target(example: Example, dice: Dice) -> Example:
        if not registry.get(example.family).about_form:
            return _translated(example)
        family = registry.get(dice.pick(sayable))
        phrasing = dice.pick(phrasings(family.name, made_of.phrasing_set))
        return _translated(_example(family, family.sample(dice, "pool"), phrasing, "pool"))

    return noise.corrupt(clean, kinds, made_of.noise_rate, seed=seed, names=strangers, off_target=off_target)


def _in_both_languages(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not registry.get(name).about_form)


def _rounds(streams: dict[str, Iterator[Example]], dice: Dice) -> Iterator[Example]:
    """Yield one example of every family per round, families in random order, until all are used up."""
    while streams:
        for name in dice.shuffled(tuple(streams)):
            example = next(streams[name], None)
            if example is None:
                del streams[name]
            else:
                yield example


def _zipf(streams: dict[str, Iterator[Example]], exponent: float, seed: int) -> Iterator[Example]:
    """Yield examples of families drawn in proportion to rank^-exponent, ranks in an order of the seed."""
    dice = Dice("imbalance", seed)
    weights = {name: (rank + 1) ** -exponent for rank, name in enumerate(dice.shuffled(tuple(streams)))}
    while weights:
        point = dice.uniform() * sum(weights.values())
        for name, weight in weights.items():  # noqa: B007  the last name catches what rounding leaves over
            point -= weight
            if point < 0:
                break
        example = next(streams[name], None)
        if example is None:
            del weights[name]
        else:
            yield example


def _items(family: Family, split: str, made_of: Mixture, key: tuple) -> Iterator[Example]:
    """Yield a family's different items: all operands once before any returns in another phrasing."""
    return (_example(family, *asked, split) for asked in _questions(family, split, made_of, key))


def _questions(family: Family, split: str, made_of: Mixture, key: tuple) -> Iterator[tuple[Arguments, Phrasing]]:
    """Yield what the items of a family ask, and how."""
    count = made_of.n_phrasings
    every = phrasings(family.name, made_of.phrasing_set)
    templates = phrasing_order(family.name, made_of.phrasing_set, key[-1])[:count] if count else every
    for turn, arguments in _operands(family, split, made_of.n_operands, key):
        if turn >= len(templates):
            if family.every or made_of.n_operands:
                return
            continue  # one drawn operand tuple has had all its phrasings; millions of others have not
        # each operand tuple walks all templates from its own starting point, so that no pair repeats
        start = digest("phrasing", *key, family.name, *arguments) % len(templates)
        yield arguments, templates[(start + turn) % len(templates)]


def _operands(family: Family, split: str, limit: int, key: tuple) -> Iterator[tuple[int, Arguments]]:
    """Yield (turn, operands) without end; every operand tuple comes once per turn.

    A limit draws its operands by their kind: families that ask about one noun then ask about the same nouns.
    """
    dice, listed = Dice("operands", *key, family.name), family.every(split) if family.every else None
    if limit and (listed is None or limit < len(listed)):
        few = Dice("few operands", *key, family.operand)
        listed = few.shuffled(listed)[:limit] if listed else _different(family, split, limit, few)
    if listed is not None:
        turn = 0
        while True:
            for arguments in dice.shuffled(listed):
                yield turn, arguments
            turn += 1
    used: dict[Arguments, int] = {}
    while True:  # the space is of millions: a repeat is rare and simply takes its next phrasing
        arguments = family.draw(dice, split)
        used[arguments] = used.get(arguments, -1) + 1
        yield used[arguments], arguments


def _different(family: Family, split: str, count: int, dice: Dice) -> list[Arguments]:
    found: dict[Arguments, None] = {}
    while len(found) < min(count, family.size(split)):
        found[family.draw(dice, split)] = None
    return list(found)


def _example(
    family: Family, arguments: Arguments, phrasing: Phrasing, split: str, instruction: str = "none"
) -> Example:
    judge = registry.get(phrasing.asks) if phrasing.literal else family
    operands = arguments if judge.operand == family.operand else tuple(family.echo(arguments).split())
    label = "_".join(arguments).replace(" ", "-")
    dice = Dice("response", family.name, label, phrasing.id)
    right = family.echo(arguments) if phrasing.unchanged else judge.response(operands, split, dice)
    open_ended = judge.constraints and not phrasing.unchanged
    asks = phrasing.render(family.name, arguments)
    if instruction != "none":
        asks = noisy_instructions.instruction(instruction, family.name, arguments, phrasing)
    return Example(
        id=f"{split}/{family.name}/{label}/{phrasing.id}",
        turns=(Turn("user", asks), Turn("assistant", right)),
        family=family.name,
        category=family.category,
        familiarity=family.familiarity,
        phrasing=phrasing.id,
        entities=family.about(arguments),
        gold=right,
        constraints=judge.constraints(operands) if open_ended else (),
    )


def _voiced(example: Example, made_of: Mixture, seed: int) -> Example:
    """Return a pool example in the language, wording and style that the mixture asks for; duplicates stay equal."""
    if not made_of.second_language and (made_of.response_wording, made_of.response_style) == ("short", "plain"):
        return example
    dice = Dice("voice", seed, example.id.partition(noise.DUPLICATE)[0])
    second = dice.chance(made_of.second_language) and not registry.get(example.family).about_form
    if second and example.noise != "off_target":
        example = _translated(example)
    if (made_of.response_wording, made_of.response_style) == ("short", "plain") or example.constraints:
        return example
    frame = responses.frame(made_of.response_wording, made_of.response_style, dice)
    if second or example.noise == "off_target":
        frame = language.translate(frame)
    said = Turn("assistant", frame.replace("{}", example.response))
    return replace(example, turns=(*example.turns[:-1], said), gold=frame.replace("{}", example.gold))


def _translated(example: Example) -> Example:
    """Return the same example in the second language; its entities stay named in the first."""
    turns = tuple(Turn(turn.role, language.translate(turn.content)) for turn in example.turns)
    return replace(
        example,
        id=f"{example.id}{SECOND}",
        turns=turns,
        gold=language.translate(example.gold),
        constraints=tuple(_translated_constraint(text) for text in example.constraints),
    )


def _translated_constraint(text: str) -> str:
    name, _, argument = text.partition(" ")
    return f"{name} {language.translate(argument)}" if name in ("include", "member", "coloured") else text


def _any_wording(example: Example) -> Example:
    return example if example.constraints else replace(example, constraints=(f"content {example.gold}",))
