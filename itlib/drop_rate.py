"""The performance drop rate: which share of a model's score a perturbation costs, and its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.errors import InputError


def performance_drop_rate(clean: Sequence[float] | np.ndarray, perturbed: Sequence[float] | np.ndarray) -> float:
    """Share of the clean score that is lost: 1 - sum(perturbed) / sum(clean), a ratio of sums.

    Args:
        clean: Scores such as accuracies, higher is better, of any shape.
        perturbed: Scores of the same items, same shape. A pair with a NaN on either side is left out.

    Returns:
        0 where nothing is lost, 1 where everything is, below 0 where the perturbed scores are better.

    Raises:
        InputError: Shapes differ, a score is infinite, or the clean scores sum to 0, so that there is nothing to lose.
    Source: PromptBench, Zhu et al. (2023), arXiv:2306.04528.
    """
    before, after = _paired(clean, perturbed)
    return float(1 - after.sum() / before.sum())


def drop_rate_interval(
    clean: Sequence[float] | np.ndarray,
    perturbed: Sequence[float] | np.ndarray,
    seed: int,
    n: int = 2000,
    *,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the drop rate: replicates are resampled, clean and perturbed together.

    Every resample is a ratio of sums, not a mean of ratios. With few replicates the interval is too narrow, as of any
    percentile bootstrap. Resamples whose clean scores sum to 0 have no drop rate and are left out.

    Args:
        clean: Shape (replicates,) or (replicates, items, ...).
        perturbed: Scores of the same items, same shape. A pair with a NaN on either side is left out.
        seed: Seed of the resampling.
        n: Number of resamples.
        confidence: Share of the bootstrap distribution inside the bounds.

    Returns:
        Bounds; (nan, nan) for fewer than two replicates.

    Raises:
        InputError: As ``performance_drop_rate``.
    """
    before, after = (scores.reshape(len(scores), -1).sum(axis=1) for scores in _paired(clean, perturbed))
    if len(before) < 2:
        return float("nan"), float("nan")
    picks = np.random.default_rng(seed).integers(len(before), size=(n, len(before)))
    sums = before[picks].sum(axis=1)
    rates = 1 - after[picks].sum(axis=1)[sums != 0] / sums[sums != 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)


def _paired(
    clean: Sequence[float] | np.ndarray, perturbed: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of one or more axes with zeros on both sides of a missing pair."""
    before, after = np.atleast_1d(np.asarray(clean, dtype=float)), np.atleast_1d(np.asarray(perturbed, dtype=float))
    if before.shape != after.shape:
        raise InputError(f"clean scores have shape {before.shape} and perturbed ones {after.shape}; give equal shapes")
    if np.isinf(before).any() or np.isinf(after).any():
        raise InputError("scores contain an infinite value: leave out or mark the diverged run")
    missing = np.isnan(before) | np.isnan(after)
    before, after = np.where(missing, 0.0, before), np.where(missing, 0.0, after)
    if before.sum() == 0:
        raise InputError("the clean scores sum to 0: there is nothing that a perturbation could cost")
    return before, after
