"""Scores by role: what a run never saw, what it was tuned on, and what the base knew, along one axis of a study.

A *labelled* frame is a tidy frame (``frame.run_frame``) with three more columns. ``axis`` names the comparison a row
belongs to, ``level`` is the run's place on it (a number of families), and ``role`` says what the family is to its run:
``HELD_OUT`` (tuned on in no arm of the seed), ``ALWAYS`` (in every arm of the seed) or ``TUNED`` (in this arm). Roles
may fall to other families in every seed, so a mean is taken within a seed first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.errors import InputError
from itlib.stats import bootstrap_interval

HELD_OUT, ALWAYS, TUNED = "held out", "in every arm", "tuned"
LABELS = ("axis", "level", "role")


def role_points(
    frame: pd.DataFrame,
    axis: str,
    roles: str | Sequence[str],
    *,
    x: str = "level",
    metric: str = "exact_match",
    per_category: bool = False,
) -> pd.DataFrame:
    """Return one mean per run of an axis: over the families of some roles, each with equal weight.

    A run that lacks a family which another run of its seed has, or whose value is not finite, gives no point. That is
    asked of roles that mean the same families in every arm; ``TUNED`` families grow in number by design.

    Args:
        frame: A labelled frame.
        axis: The comparison.
        roles: One role or several.
        x: Column that places a run on the axis.
        metric: Which metric to take.
        per_category: Families have equal weight within their category, and categories have equal weight.

    Returns:
        Columns ``[x, "seed", "value"]``, sorted.

    Raises:
        LookupError: The frame is not labelled, or has no such row.
        InputError: Two runs lie at one place of one seed.
    """
    rows = labelled(frame, axis, roles, metric)
    rows = rows[rows["status"] == "done"]
    if rows.duplicated([x, "seed", "family"]).any():
        raise InputError(f"{metric}: several runs of axis '{axis}' per {x}, seed and family; select one first")
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    counts = rows.groupby(["seed", x])["family"].size()
    if TUNED not in ([roles] if isinstance(roles, str) else roles):
        counts = counts[counts == counts.groupby("seed").transform("max")]
    cells = [x, "seed", *(["category"] if per_category else [])]
    means = rows.groupby(cells)["value"].mean().groupby([x, "seed"]).mean().reset_index()
    kept = pd.MultiIndex.from_frame(means[["seed", x]]).isin(counts.index)
    return means[kept].sort_values([x, "seed"]).reset_index(drop=True)


def labelled(frame: pd.DataFrame, axis: str, roles: str | Sequence[str], metric: str) -> pd.DataFrame:
    """Return the rows of an axis, of some roles and of one metric; ``LookupError`` in one line if there are none."""
    absent = [name for name in LABELS if name not in frame.columns]
    if absent:
        raise LookupError(f"the frame has no column '{absent[0]}'; its runs are not those of this study")
    names = [roles] if isinstance(roles, str) else list(roles)
    rows = frame[(frame["axis"] == axis) & frame["role"].isin(names) & (frame["metric"] == metric)]
    if not len(rows):
        raise LookupError(f"no {metric} row of axis '{axis}' is about families that are {' or '.join(names)}")
    return rows


def role_table(points: pd.DataFrame, seeds: Sequence[int], *, x: str = "level") -> pd.DataFrame:
    """Return points as a table of seeds (index) by places on the axis (columns), NaN where a run has none."""
    return points.pivot(index="seed", columns=x, values="value").reindex(index=list(seeds))


def doublings(table: pd.DataFrame) -> np.ndarray:
    """Return the least-squares slope of each row against the binary logarithm of the columns: gain per doubling.

    Rows with NaN give NaN.

    Raises:
        LookupError: There is only one column.
    """
    if table.shape[1] < 2:
        raise LookupError("a slope needs at least two levels, there is one")
    places = np.log2(table.columns.to_numpy(dtype=float))
    centred = places - places.mean()
    return table.to_numpy(dtype=float) @ centred / (centred @ centred)


def role_curve(points: pd.DataFrame, *, x: str = "level", confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return mean over seeds with a bootstrap band for display: ``[x, "mean", "low", "high", "n_seeds"]``."""
    rows = []
    for place, group in points.groupby(x, sort=True):
        values = group["value"].to_numpy(dtype=float)
        rows.append((place, values.mean(), *bootstrap_interval(values, confidence=confidence, seed=seed), len(values)))
    return pd.DataFrame(rows, columns=[x, "mean", "low", "high", "n_seeds"])
