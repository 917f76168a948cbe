"""Estimators of the data-scaling claims: one effect per seed, NaN where a seed is incomplete or has no answer.

Gains run from the smallest to the largest number of training examples in the frame (an untuned run, N = 0, is left
out), because the papers' curves start at their smallest training set too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.registry import claims
from itlib.scaling import exponents, last_quadrupling_gain, total_gain, value_at
from itlib.stats import seed_curves

METRIC = "exact_match"
MINIMUM_SIZES = 4


@claims.register("SC1")
def exponent_difference(frame: pd.DataFrame, *, early: str, late: str) -> dict[str, np.ndarray]:
    """SC1: alpha of familiarity ``early`` minus alpha of ``late``, y = a - b N^-alpha fitted to each seed's curve.

    NaN where a curve of that seed does not rise at all, so that it has no exponent.
    """
    curves = [_curves(frame, {"familiarity": [name]}) for name in (early, late)]
    return {"exponent_difference": exponents(curves[0]) - exponents(curves[1])}


@claims.register("SC2")
def share_of_gain(frame: pd.DataFrame, *, early: str, late: str, at: float) -> dict[str, np.ndarray]:
    """SC2: share of each familiarity's total gain that is reached at ``at`` examples (interpolated in ln N)."""
    early_curves, late_curves = (_curves(frame, {"familiarity": [name]}) for name in (early, late))
    smallest, largest = min(early_curves.columns), max(early_curves.columns)
    if not smallest < at < largest:
        raise LookupError(f"N = {at:g} lies outside the sizes {smallest:g} to {largest:g}")
    return {"early_share": _share(early_curves, at), "late_share": _share(late_curves, at)}


@claims.register("SC7")
def shapes(frame: pd.DataFrame, *, groups: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """SC7: last-quadrupling gains of the rising and saturated families, and total gain of the flat ones."""
    rising, saturated, flat = (_curves(frame, {"family": groups[name]}) for name in ("rising", "saturated", "flat"))
    if max(rising.columns) / min(rising.columns) < 4:
        raise LookupError("the sizes span less than one quadrupling")
    last_rising, last_saturated = last_quadrupling_gain(rising), last_quadrupling_gain(saturated)
    return {
        "rising_last_gain": last_rising,
        "rising_minus_saturated": last_rising - last_saturated,
        "flat_total_gain": total_gain(flat),
    }


def _curves(frame: pd.DataFrame, where: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Complete seeds keep their values, incomplete ones become all NaN; rows are all seeds of the frame."""
    table = seed_curves(frame, METRIC, where=where)
    table = table[[size for size in table.columns if size > 0]]
    if table.shape[1] < MINIMUM_SIZES:
        raise LookupError(f"a curve needs at least {MINIMUM_SIZES} sizes, there are {table.shape[1]}")
    return table.where(table.notna().all(axis=1))


def _share(table: pd.DataFrame, at: float) -> np.ndarray:
    """Share of the total gain reached at size ``at``; NaN where the total gain is not above 0."""
    gain = total_gain(table)
    reached = value_at(table, at) - table[min(table.columns)].to_numpy()
    return np.where(gain > 0, reached / np.where(gain > 0, gain, 1.0), np.nan)
