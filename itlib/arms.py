"""Arms of a study that are not sizes: tables of seeds by named arms, and what can be said about a best arm.

An arm is named by the spec fields that make it. Which runs belong to it is read off the frame, so that one frame can
hold many comparisons and a run can take part in several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.stats import seed_curves

__all__ = ["arm_table", "chosen_on_other_half", "select", "slope_per_fourfold", "variance_shares"]


def select(frame: pd.DataFrame, fields: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the runs whose spec has these values; a tuple or list is compared as the frame writes it.

    Raises:
        LookupError: The frame lacks a field, or no run has these values; the message says which.
    """
    keep = pd.Series(True, index=frame.index)
    for name, value in fields.items():
        if name not in frame.columns:
            raise LookupError(f"the frame does not say '{name}' of its runs")
        keep &= frame[name] == _as_written(value)
        if not keep.any():
            raise LookupError(f"no run has {name} {_shown(value)}{_beside(fields, name)}")
    return frame[keep]


def arm_table(
    frame: pd.DataFrame, arms: Mapping[str, Mapping[str, Any]], *, metric: str, families: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the mean over families as a table of seeds (index) by arms (columns).

    Args:
        frame: Tidy frame, one row per run, family and metric.
        arms: Name of every arm to the fields that select its runs.
        metric: Which metric to take.
        families: The mean is over these with equal weight; empty takes all that the arms were asked.

    Returns:
        All seeds of the frame, NaN where an arm lacks a run, or a family of it.

    Raises:
        LookupError: An arm has no run at all, or no run has the metric or one of the families.
        InputError: Two runs of one seed answer to one arm.
    """
    rows = pd.concat([select(frame, fields).assign(arm=name) for name, fields in arms.items()])
    table = seed_curves(rows, metric, where={"family": families} if len(families) else None, x="arm")
    table.columns.name = None
    return table.reindex(index=sorted(frame["seed"].unique()))[list(arms)]


def slope_per_fourfold(table: pd.DataFrame) -> np.ndarray:
    """Return the least-squares slope of each row against log4 of its columns; NaN beside a NaN cell."""
    places = np.log(table.columns.to_numpy(dtype=float)) / np.log(4)
    places = places - places.mean()
    return table.to_numpy(dtype=float) @ places / (places @ places)


def chosen_on_other_half(table: pd.DataFrame) -> pd.Series:
    """Return for every seed the column with the best mean over the *other* half of the seeds, the first among equals.

    Complete seeds are dealt alternately to two halves. What a choice gains on the seeds that made it is too good; on
    the other half it is not. Incomplete seeds, and all if a half is empty, get None.
    """
    complete = table.dropna()
    halves = [complete.iloc[0::2], complete.iloc[1::2]]
    chosen = pd.Series([None] * len(table), index=table.index, dtype=object)
    if all(len(half) for half in halves):
        for mine, other in (halves, halves[::-1]):
            best = other.mean().idxmax()
            chosen[mine.index] = pd.Series([best] * len(mine), index=mine.index, dtype=object)
    return chosen


def variance_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Return what part of the variance in a table of seeds by arms lies between arms, between seeds, and in neither.

    Crossed analysis of variance with one value per cell, on the complete seeds. The variance component of a factor is
    (its mean square - mean square of the rest) / levels of the other factor, and 0 where that is negative.

    Returns:
        Columns ``source``, ``degrees_of_freedom``, ``mean_square``, ``variance``, ``share`` (of the summed variances)
        for "arm", "seed" and "rest"; numbers are NaN with fewer than two complete seeds or two arms.
    """
    values = table.dropna().to_numpy(dtype=float)
    n_seeds, n_arms = values.shape
    names = ["arm", "seed", "rest"]
    if n_seeds < 2 or n_arms < 2:
        nothing = dict.fromkeys(("degrees_of_freedom", "mean_square", "variance", "share"), np.nan)
        return pd.DataFrame([{"source": name, **nothing} for name in names])
    by_arm, by_seed, all_over = values.mean(axis=0), values.mean(axis=1), values.mean()
    rest = values - by_arm - by_seed[:, None] + all_over
    freedom = np.array([n_arms - 1, n_seeds - 1, (n_arms - 1) * (n_seeds - 1)])
    squares = [n_seeds * ((by_arm - all_over) ** 2).sum(), n_arms * ((by_seed - all_over) ** 2).sum(), (rest**2).sum()]
    mean_square = np.array(squares) / freedom
    excess = np.maximum(mean_square[:2] - mean_square[2], 0.0)
    variance = np.array([excess[0] / n_seeds, excess[1] / n_arms, mean_square[2]])
    share = variance / variance.sum() if variance.sum() else np.full(3, np.nan)
    columns = {"degrees_of_freedom": freedom, "mean_square": mean_square, "variance": variance, "share": share}
    return pd.DataFrame({"source": names, **columns})


def _as_written(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _shown(value: Any) -> str:
    text = repr(_as_written(value))
    return text if len(text) <= 40 else f"{text[:36]} ...'"


def _beside(fields: Mapping[str, Any], name: str) -> str:
    """Return what was asked for before ``name``, without what is empty or 0."""
    before = list(fields)[: list(fields).index(name)]
    shown = ", ".join(f"{other} {_shown(fields[other])}" for other in before if fields[other])
    return f" beside {shown}" if shown else ""
