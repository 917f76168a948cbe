"""What a pool is made of, which families there are to choose from, and what the world refuses to make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from itlib.errors import InputError
from itlib.microworld import language, noise, responses, splits
from itlib.microworld.families import CATEGORIES, Family
from itlib.microworld.phrasings import ADVERSARIAL, phrasings
from itlib.registry import families as registry


@dataclass(frozen=True)
class Mixture:
    """What a pool is made of. The defaults are balanced, clean, short, plain and in the first language.

    Attributes:
        families: Families to draw from; empty means the standard ones.
        phrasing_set: A key of ``phrasings.SETS`` that is not adversarial.
        n_phrasings: Templates per family, a random subset that nests in larger ones; 0 means all.
        n_operands: Different operands per family, a random subset that nests in larger ones and is the same for
            families that list the same operands, such as all that ask about one noun; 0 means all. With few, the pool
            is redundant: it asks the same things in many phrasings.
        imbalance: Zipf exponent s: the family of rank r comes in proportion to r^-s, in an order of ranks that the
            seed draws; 0 is balanced.
        second_language: Share of examples in the second language; families about the form of words stay in the first.
        response_wording: A key of ``responses.WORDINGS``.
        response_style: A key of ``responses.STYLES``.
        noise_kinds: Kinds of ``noise.KINDS`` to mix in, equally often; empty means all when ``noise_rate`` > 0.
        noise_rate: Share of corrupted examples, in [0, 1].
    """

    families: tuple[str, ...] = ()
    phrasing_set: str = "observed"
    n_phrasings: int = 0
    n_operands: int = 0
    imbalance: float = 0.0
    second_language: float = 0.0
    response_wording: str = "short"
    response_style: str = "plain"
    noise_kinds: tuple[str, ...] = ()
    noise_rate: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The families drawn from."""
        return self.families or default_families()


def every_family() -> tuple[str, ...]:
    """Return all instruction families, grouped by category."""
    return tuple(sorted(registry.names(), key=lambda name: (CATEGORIES.index(category(name)), name)))


def default_families() -> tuple[str, ...]:
    """Return the standard families, grouped by category: one right response each, of one instruction."""
    return tuple(name for name in every_family() if registry.get(name).standard)


def category(family: str) -> str:
    """Return a family's category, or raise ``InputError`` for an unknown family."""
    return registry.get(family).category


def check(mixture: Mixture, size: int, *, keys: tuple[str, str] = ("families", "pool_size")) -> None:
    """Refuse a pool that the world cannot give; ``keys`` name families and size in what is said.

    Raises:
        InputError: Unknown or repeated names, a value out of range, or more items than the world holds.
    """
    names = mixture.names
    _check_names(names, keys[0])
    noise.check(mixture.noise_kinds, mixture.noise_rate)
    responses.check(mixture.response_wording, mixture.response_style)
    if mixture.phrasing_set in ADVERSARIAL:
        raise InputError(f"phrasing_set '{mixture.phrasing_set}' is for evaluation only; a pool cannot be made of it")
    for name in names:
        available = len(phrasings(name, mixture.phrasing_set))
        if not 0 <= mixture.n_phrasings <= available:
            raise InputError(
                f"n_phrasings is {mixture.n_phrasings}; phrasing set '{mixture.phrasing_set}' has {available} per "
                "family (0 means all)"
            )
        if not registry.get(name).size("pool"):
            raise InputError(f"{keys[0]}: '{name}' can only be tested; nothing ever teaches it")
    if mixture.n_operands < 0:
        raise InputError(f"n_operands is {mixture.n_operands}; it is at least 1, or 0 for all")
    for key in ("imbalance", "second_language"):
        value, top = getattr(mixture, key), 1.0 if key == "second_language" else 10.0
        if not 0.0 <= value <= top:
            raise InputError(f"{key} is {value}; it lies between 0 and {top:g}")
    if mixture.second_language and all(registry.get(name).about_form for name in names):
        raise InputError("second_language: none of the families can be said in the second language")
    if mixture.second_language and mixture.phrasing_set == "name":
        raise InputError("phrasing_set 'name': families have names in the first language only; set second_language: 0")
    most = pool_limit(mixture)
    if not 0 <= size <= most:
        raise InputError(f"{keys[1]} is {size}; these families and phrasings hold at most {most} different items")


def pool_limit(mixture: Mixture) -> int:
    """Return how many different items a pool can hold."""
    return sum(
        _n_operands(registry.get(name), mixture) * (mixture.n_phrasings or len(phrasings(name, mixture.phrasing_set)))
        for name in mixture.names
    )


def _n_operands(family: Family, mixture: Mixture) -> int:
    size = family.size("pool")
    return min(size, mixture.n_operands) if mixture.n_operands else size


def check_held_out(
    split: str, n_per_family: int, *, families: tuple[str, ...], phrasing_set: str, spoken: str = "first"
) -> None:
    """Refuse held-out items that the world cannot give; arguments and errors as for ``held_out``."""
    names = families or default_families()
    _check_names(names, "eval_families")
    if splits.check(split) == "pool":
        raise InputError("split 'pool' is what models are tuned on; held-out splits are dev and test")
    language.check(spoken, "eval_language")
    if spoken == "second" and phrasing_set == "name":
        raise InputError("eval_phrasing_set 'name': families have names in the first language only; use another set")
    for name in names:
        family = registry.get(name)
        most = family.size(split) * len(phrasings(name, phrasing_set))
        if not 1 <= n_per_family <= most:
            raise InputError(
                f"n_eval is {n_per_family}; family '{name}' holds 1 to {most} {split} items "
                f"in phrasing set '{phrasing_set}'"
            )
        if spoken == "second" and family.about_form:
            raise InputError(
                f"eval_language: '{name}' rests on the form of words and is never asked in the second language"
            )


def check_crossed(split: str, n_per_family: int, *, families: tuple[str, ...], phrasing_sets: tuple[str, ...]) -> None:
    """Refuse crossed items that the world cannot give; arguments and errors as for ``world.crossed``."""
    if len(set(phrasing_sets)) < len(phrasing_sets):
        raise InputError(f"eval_phrasing_set names a set twice: {'+'.join(phrasing_sets)}")
    for which in phrasing_sets:
        check_held_out(split, 1, families=families, phrasing_set=which)
    for name in families or default_families():
        most = registry.get(name).size(split)
        if not 1 <= n_per_family <= most:
            raise InputError(f"n_eval is {n_per_family}; family '{name}' has 1 to {most} {split} items of its own")


def check_demonstrations(family: str, count: int) -> None:
    """Refuse more demonstrations of a family than pools hold operands of it."""
    most = registry.get(family).size("pool")
    if count > most:
        raise InputError(f"n_shots is {count}; family '{family}' has {most} operands in pools to demonstrate with")


def _check_names(names: Sequence[str], key: str) -> None:
    for name in names:
        registry.get(name)
    if len(set(names)) < len(names):
        raise InputError(f"{key} names a family twice: {', '.join(names)}")
