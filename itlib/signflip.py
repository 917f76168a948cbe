"""The exact paired sign-flip test, the interval got by inverting it, equivalence, and power. The unit is the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

from itlib.errors import InputError

EXACT_LIMIT = 16
MONTE_CARLO_DRAWS = 2**16 - 1
SIMULATION_LIMIT = 12
SIMULATED_STUDIES = 4000


@dataclass(frozen=True)
class SignFlip:
    """Result of a sign-flip test. ``effect`` is the mean difference, ``n`` the number of finite differences."""

    effect: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Equivalence:
    """Result of two one-sided tests. ``interval`` has confidence 1 - 2 * level."""

    effect: float
    interval: tuple[float, float]
    p_value: float
    n: int
    equivalent: bool


def sign_flip(
    differences: Sequence[float] | np.ndarray, *, alternative: str = "two-sided", monte_carlo_seed: int = 0
) -> SignFlip:
    """Paired sign-flip test of the null that the differences are symmetric around zero.

    All 2^n sign patterns are enumerated for n <= 16, so p is exact and at least 2 / 2^n two-sided; beyond that,
    65,535 seeded random patterns and the observed one are used. NaN differences are left out.

    Args:
        differences: One paired difference per seed.
        alternative: "two-sided", "greater" (the mean is above zero) or "less".
        monte_carlo_seed: Used only for n > 16.

    Returns:
        Mean difference, p value and n. Both numbers are NaN for n = 0.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative must be 'two-sided', 'greater' or 'less', not {alternative!r}")
    values = _finite(differences)
    if not len(values):
        return SignFlip(float("nan"), float("nan"), 0)
    sums, _ = _subsets(values, monte_carlo_seed)
    flipped, observed = values.sum() - 2 * sums, values.sum()
    tolerance = 1e-12 * np.abs(values).sum()  # equal sums added in another order must count as equal
    extreme = {
        "two-sided": np.abs(flipped) >= abs(observed) - tolerance,
        "greater": flipped >= observed - tolerance,
        "less": flipped <= observed + tolerance,
    }[alternative]
    return SignFlip(float(values.mean()), float(extreme.mean()), len(values))


def sign_flip_interval(
    differences: Sequence[float] | np.ndarray, confidence: float = 0.95, *, monte_carlo_seed: int = 0
) -> tuple[float, float]:
    """Interval of the shifts that the two-sided sign-flip test does not reject.

    Flipping a set of seeds beats the observed mean exactly when that set's own mean is below the shift, so the
    bounds are the k-th smallest and k-th largest mean over all non-empty sets of seeds, with
    k = floor((1 - confidence) / 2 * 2^n). The level reached is 1 - 2k / 2^n, at least ``confidence``
    (n = 6: 96.9 %, n = 8: 95.3 %, n = 10: 95.1 % for a nominal 95 %).

    Returns:
        Closed interval; (-inf, inf) where n is too small to reach the confidence (n <= 5 at 95 %).
    Source: Hartigan (1969), Using subsample values as typical values, JASA 64.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    values = _finite(differences)
    sums, sizes = _subsets(values, monte_carlo_seed)
    rank = _rank(len(sums), 1 - confidence)
    if rank < 1:
        return float("-inf"), float("inf")
    means = np.sort(sums[1:] / np.maximum(sizes[1:], 1))
    return float(means[rank - 1]), float(means[-rank])


def equivalence(differences: Sequence[float] | np.ndarray, margin: float, *, level: float = 0.05) -> Equivalence:
    """Two one-sided sign-flip tests that the mean difference lies strictly inside (-margin, margin).

    Equivalent at ``level`` exactly when the inverted interval of confidence 1 - 2 * level lies inside the margins.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, not {margin}")
    values = _finite(differences)
    low, high = sign_flip_interval(values, 1 - 2 * level)
    above = sign_flip(values + margin, alternative="greater")
    below = sign_flip(values - margin, alternative="less")
    mean = sign_flip(values).effect
    inside = -margin < low and high < margin
    return Equivalence(mean, (low, high), max(above.p_value, below.p_value), len(values), inside)


def power(effect: float, sd: float, n: int, *, level: float = 0.05) -> float:
    """Chance that the two-sided sign-flip test over ``n`` normal differences rejects at ``level``.

    Up to n = 12 by 4,000 simulated studies with a fixed seed (standard error at most .008); beyond that the paired
    t test's noncentral t (its far tail left out), which the sign-flip test approaches. Zero where n is too small to
    ever reject.
    """
    if _rank(2**n, level) < 1:
        return 0.0
    if sd == 0:
        return float(effect != 0)
    shift = abs(effect) / sd
    if n > SIMULATION_LIMIT:
        critical = t.ppf(1 - level / 2, n - 1)
        return float(nct.sf(critical, n - 1, shift * np.sqrt(n)))
    low, high = _simulated_bounds(n, level)
    return float(np.mean((low + shift > 0) | (high + shift < 0)))


def smallest_detectable_effect(
    differences: Sequence[float] | np.ndarray | None = None,
    *,
    sd: float | None = None,
    n: int | None = None,
    power: float = 0.8,
    level: float = 0.05,
) -> float:
    """Mean difference that the two-sided sign-flip test finds with the given power.

    Args:
        differences: Paired differences; ``sd`` and ``n`` default to their sample standard deviation and number.
        sd: Standard deviation of one difference.
        n: Number of seeds.
        power: Chance of finding the effect, 0..1.
        level: Two-sided level of the test.

    Returns:
        Effect in the units of the differences; infinite where no effect could be found (n <= 5 at level .05).
    """
    if differences is not None:
        values = _finite(differences)
        n = len(values) if n is None else n
        sd = (float(values.std(ddof=1)) if len(values) > 1 else float("nan")) if sd is None else sd
    if sd is None or n is None:
        raise ValueError("give differences, or sd and n")
    shift = _detectable_shift(n, power, level)
    return shift if np.isinf(shift) else sd * shift


def seeds_needed(distance: float, sd: float, *, power: float = 0.8, level: float = 0.05, most: int = 1000) -> float:
    """Number of seeds at which the two-sided sign-flip test finds a mean difference of ``distance``.

    Args:
        distance: True mean difference from what is tested, in the units of ``sd``; its sign does not matter.
        sd: Standard deviation of one seed's difference.
        power: Chance of finding it, 0..1.
        level: Two-sided level of the test.
        most: Beyond this the answer is infinite.

    Returns:
        A whole number, or infinity where the distance is 0 or more than ``most`` seeds would be needed.
    """

    def found(n: int) -> bool:
        return smallest_detectable_effect(sd=sd, n=n, power=power, level=level) <= abs(distance)

    return _first(found, most) if abs(distance) > 0 and found(most) else float("inf")


def equivalence_power(effect: float, margin: float, sd: float, n: int, *, level: float = 0.05) -> float:
    """Chance that two one-sided sign-flip tests over ``n`` normal differences find equivalence at ``level``.

    Both have to reject. They hardly ever fail in the same study, so the chance is that of the one plus that of the
    other minus 1; it is below .8 in the middle of the margins even where each test alone has .8.
    """
    if not abs(effect) < margin:
        return 0.0
    sides = [power(margin - effect, sd, n, level=2 * level), power(margin + effect, sd, n, level=2 * level)]
    return max(0.0, sum(sides) - 1.0)


def seeds_for_equivalence(
    effect: float, margin: float, sd: float, *, power: float = 0.8, level: float = 0.05, most: int = 1000
) -> float:
    """Number of seeds at which ``equivalence_power`` reaches ``power``; infinite beyond ``most``."""

    def found(n: int) -> bool:
        return equivalence_power(effect, margin, sd, n, level=level) >= power

    return _first(found, most) if found(most) else float("inf")


def _first(found: Callable[[int], bool], most: int) -> float:
    """Return the smallest whole number above 1 from which on ``found`` holds; it holds at ``most``."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return float(high)


def _finite(differences: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(differences, dtype=float).ravel()
    values = values[~np.isnan(values)]
    if np.isinf(values).any():
        raise InputError("differences contain an infinite value: leave out or mark the diverged run")
    return values


def _subsets(values: np.ndarray, monte_carlo_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes of all sets of values, or of random ones for n > 16. The empty set comes first."""
    if len(values) <= EXACT_LIMIT:
        sums, sizes = np.zeros(1), np.zeros(1, dtype=int)
        for value in values:
            sums, sizes = np.concatenate([sums, sums + value]), np.concatenate([sizes, sizes + 1])
        return sums, sizes
    chosen, sizes = _random_subsets(len(values), monte_carlo_seed)
    return chosen @ values, sizes


@lru_cache(maxsize=4)
def _random_subsets(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the empty set and random ones of ``n`` values, 1.0 for a member, and their sizes."""
    drawn = np.random.default_rng(seed).integers(2, size=(MONTE_CARLO_DRAWS, n))
    chosen = np.vstack([np.zeros((1, n)), drawn])
    return chosen, chosen.sum(axis=1)


def _rank(n_subsets: int, level: float) -> int:
    return int(np.floor(level / 2 * n_subsets + 1e-9))


@lru_cache(maxsize=32)
def _simulated_bounds(n: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Inverted-interval bounds of 4,000 standard normal studies: a shift is found where the bound plus it is > 0."""
    generator = np.random.default_rng(20240817)
    rank = _rank(2**n, level)
    members = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    members /= members.sum(axis=1, keepdims=True)
    low, high = [], []
    for _ in range(0, SIMULATED_STUDIES, 250):
        means = generator.standard_normal((250, n)) @ members.T
        low.append(np.partition(means, rank - 1, axis=1)[:, rank - 1])
        high.append(np.partition(means, -rank, axis=1)[:, -rank])
    return np.concatenate(low), np.concatenate(high)


@lru_cache(maxsize=4096)
def _detectable_shift(n: int, target: float, level: float) -> float:
    """Smallest shift in standard deviations found with power ``target``."""
    if _rank(2**n, level) < 1:
        return float("inf")
    if n <= SIMULATION_LIMIT:
        return float(np.quantile(-_simulated_bounds(n, level)[0], target))
    return float(brentq(lambda shift: power(shift, 1.0, n, level=level) - target, 1e-6, 20.0 / np.sqrt(n)))
