"""What a scaling curve says: exponent and its interval, sizes that reach a share, last gains, and a label.

Tables of curves have seeds as rows and numbers of training examples as columns (``stats.seed_curves``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from itlib.curvefit import ALPHA_RANGE, FORMS, N_PARAMETERS, Fit, choose, fit, fit_rows
from itlib.stats import equivalence, sign_flip_interval

__all__ = [
    "ALPHA_RANGE",
    "FORMS",
    "Fit",
    "choose",
    "describe",
    "exponent_interval",
    "exponents",
    "fit",
    "label",
    "last_quadrupling_gain",
    "predictions",
    "size_reaching",
    "total_gain",
    "value_at",
]

SATURATED_GAIN = 0.10
SATURATED_BOUND = 0.25
FLAT_MARGIN = 0.03


def exponents(table: pd.DataFrame, *, falling: bool = False) -> np.ndarray:
    """Exponent alpha of the power form, one per row.

    Args:
        table: Rows are replicates, columns are sizes above 0. A row with NaN gives NaN.
        falling: See ``fit``.

    Returns:
        Shape (rows,), inside ``ALPHA_RANGE``; .02 means indistinguishable from a straight line in ln N or convex,
        and NaN that the row does not move in the stated direction at all.
    """
    sizes = table.columns.to_numpy(dtype=float)
    values = table.to_numpy(dtype=float)
    alphas = np.full(len(values), np.nan)
    whole = np.isfinite(values).all(axis=1)
    if whole.any():
        shapes, _, b, _ = fit_rows("power", sizes, values[whole], np.ones_like(values[whole]), falling)
        alphas[whole] = np.where(b == 0, np.nan, shapes[:, 0])
    return alphas


def exponent_interval(
    table: pd.DataFrame, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0, falling: bool = False
) -> tuple[float, float]:
    """Seed-bootstrap interval of alpha: whole seeds (rows) are resampled and their mean curve refitted.

    Percentiles of ln alpha, expanded for few seeds.

    Args:
        table: Rows are seeds, columns are sizes above 0; NaN cells are left out of the means.
        confidence: Share of the bootstrap distribution inside the bounds.
        draws: Number of resampled studies.
        seed: Seed of the resampling.
        falling: See ``fit``.

    Returns:
        Bounds; (nan, nan) for fewer than two seeds, or if alpha is undefined in more than half of the draws.

    Source: the expansion is Hesterberg (2015), What teachers should know about the bootstrap, section 3.
    """
    values = table.to_numpy(dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    picks = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    present = np.isfinite(values).astype(float)
    counts = present[picks].sum(axis=1)
    sums = np.where(np.isfinite(values), values, 0.0)[picks].sum(axis=1)
    drawn = (counts > 0).sum(axis=1) >= N_PARAMETERS["power"]
    means = sums[drawn] / np.maximum(counts[drawn], 1)
    shapes, _, b, _ = fit_rows("power", table.columns.to_numpy(dtype=float), means, counts[drawn], falling)
    alphas = shapes[b != 0, 0]
    if len(alphas) < draws / 2:
        return float("nan"), float("nan")
    # Percentiles over few seeds are too narrow: resampled means vary by (n - 1) / n only, and normal instead of t
    # tails are taken. Widened by both factors, planted exponents are covered in 93 to 97 % of draws at 8 and 10 seeds.
    tail = (1 + confidence) / 2
    factor = np.sqrt(len(values) / (len(values) - 1)) * t.ppf(tail, len(values) - 1) / norm.ppf(tail)
    centre = np.log(np.median(alphas))
    widened = centre + (np.log(alphas) - centre) * factor
    low, high = np.quantile(widened, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.exp(low)), float(np.exp(high))


def value_at(table: pd.DataFrame, n: float) -> np.ndarray:
    """Value of each row at size ``n``, by interpolation in ln N; NaN outside the sizes or beside a NaN cell."""
    sizes = np.log(table.columns.to_numpy(dtype=float))
    rows = table.to_numpy(dtype=float)
    return np.array([np.interp(np.log(n), sizes, row, left=np.nan, right=np.nan) for row in rows])


def last_quadrupling_gain(table: pd.DataFrame, *, falling: bool = False) -> np.ndarray:
    """Gain from a quarter of the largest size to the largest, per row; positive is better."""
    largest = float(max(table.columns))
    gain = value_at(table, largest) - value_at(table, largest / 4)
    return -gain if falling else gain


def total_gain(table: pd.DataFrame, *, falling: bool = False) -> np.ndarray:
    """Gain from the smallest to the largest size, per row; positive is better."""
    gain = table[max(table.columns)].to_numpy(dtype=float) - table[min(table.columns)].to_numpy(dtype=float)
    return -gain if falling else gain


def label(table: pd.DataFrame, fitted: Fit, *, falling: bool = False) -> str:
    """Call a curve "flat", "saturated", "rising" or "undetermined" from per-seed gains and exact intervals.

    Flat: every size mean lies within .03 of the grand mean and the total gain is equivalent to 0 within .03.
    Saturated: the curve has risen (the interval of the total gain lies above 0), the last quadrupling changes it by
    less than 10 % of the fitted range, and the upper end of that gain's 95 % interval is below 25 %. Rising: the
    last quadrupling gains at least 10 % of the range and its interval lies above 0. Fewer than six complete seeds
    reach no 95 % interval, so their curves stay undetermined.
    """
    complete = table.dropna()
    if not len(complete):
        return "undetermined"
    means = complete.mean(axis=0).to_numpy()
    near = np.abs(means - means.mean()).max() < FLAT_MARGIN
    totals = total_gain(complete, falling=falling)
    if near and equivalence(totals, FLAT_MARGIN).equivalent:
        return "flat"
    spread = float(np.ptp(fitted.predict(complete.columns.to_numpy(dtype=float))))
    gains = last_quadrupling_gain(complete, falling=falling)
    low, high = sign_flip_interval(gains)
    risen = sign_flip_interval(totals)[0] > 0
    if risen and abs(gains.mean()) < SATURATED_GAIN * spread and high < SATURATED_BOUND * spread:
        return "saturated"
    if gains.mean() >= SATURATED_GAIN * spread and low > 0:
        return "rising"
    return "undetermined"


def describe(
    points: pd.DataFrame,
    *,
    by: Sequence[str] = ("familiarity",),
    x: str = "n_train",
    falling: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per group: chosen form, exponent with interval, N50, N90, last gain and label.

    Args:
        points: Run-level points from ``stats.run_points``. Sizes of 0 are left out.
        by: Grouping columns.
        x: Column of sizes.
        falling: The quantity falls with more data (a loss).
        draws: Bootstrap draws for the interval of alpha.
        seed: Seed of the bootstrap.

    Returns:
        Columns ``[*by, form, error, alpha, alpha_low, alpha_high, n50, n90, last_gain, last_gain_low,
        last_gain_high, total_gain, n_seeds, label, fit]``. The exponent is always that of the power form, whichever
        form was chosen; ``n_seeds`` counts seeds with every size. Gains are NaN without a complete seed.
    """
    rows = []
    for name, group in points[points[x] > 0].groupby(list(by), sort=True):
        table = group.pivot(index="seed", columns=x, values="value")
        fitted = choose(group[x], group["value"], falling=falling)
        sizes = table.columns.to_numpy(dtype=float)
        power = fit("power", group[x], group["value"], falling=falling) if len(sizes) >= 3 else None
        low, high = exponent_interval(table, draws=draws, seed=seed, falling=falling) if power else (np.nan, np.nan)
        complete = table.dropna()
        last = last_quadrupling_gain(complete, falling=falling)
        gain_low, gain_high = sign_flip_interval(last)
        rows.append(
            {
                **dict(zip(by, name, strict=True)),
                "form": fitted.form,
                "error": fitted.error,
                "alpha": power.parameters["alpha"] if power else np.nan,
                "alpha_low": low,
                "alpha_high": high,
                "n50": size_reaching(fitted, sizes, 0.5),
                "n90": size_reaching(fitted, sizes, 0.9),
                "last_gain": _mean(last),
                "last_gain_low": gain_low,
                "last_gain_high": gain_high,
                "total_gain": _mean(total_gain(complete, falling=falling)),
                "n_seeds": len(complete),
                "label": label(table, fitted, falling=falling),
                "fit": fitted,
            }
        )
    return pd.DataFrame(rows)


def size_reaching(fitted: Fit, sizes: np.ndarray, share: float) -> float:
    """Smallest N at which the curve has covered ``share`` of its change over the observed sizes; NaN if constant."""
    grid = np.geomspace(sizes.min(), sizes.max(), 4001)
    curve = fitted.predict(grid)
    change = curve - curve[0]
    if change[-1] == 0:
        return float("nan")
    return float(np.exp(np.interp(share, change / change[-1], np.log(grid))))


def predictions(
    described: pd.DataFrame,
    sizes: Sequence[float] | np.ndarray,
    *,
    by: Sequence[str] = ("familiarity",),
    x: str = "n_train",
    n_points: int = 100,
) -> pd.DataFrame:
    """Tabulate the curves of ``describe`` for drawing: columns ``[*by, x, "fit"]``, log-spaced over ``sizes``."""
    positive = [size for size in sizes if size > 0]
    grid = np.geomspace(min(positive), max(positive), n_points)
    parts = [
        pd.DataFrame({**{column: row[column] for column in by}, x: grid, "fit": row["fit"].predict(grid)})
        for _, row in described.iterrows()
    ]
    return pd.concat(parts, ignore_index=True)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
