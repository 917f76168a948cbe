"""Statistics whose unit is the seed: tests, intervals, power, and mean curves from the tidy frame.

Verdicts rest on the sign-flip test and on the interval got by inverting it. Bootstrap intervals are for display:
a percentile bootstrap over eight to ten seeds rejects a true null about one time in ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.signflip import (
    Equivalence,
    SignFlip,
    equivalence,
    equivalence_power,
    power,
    seeds_for_equivalence,
    seeds_needed,
    sign_flip,
    sign_flip_interval,
    smallest_detectable_effect,
)

__all__ = [
    "Equivalence",
    "SignFlip",
    "bootstrap_interval",
    "equivalence",
    "equivalence_power",
    "holm",
    "mean_curve",
    "power",
    "run_points",
    "seed_curves",
    "sign_flip",
    "sign_flip_interval",
    "seeds_for_equivalence",
    "seeds_needed",
    "smallest_detectable_effect",
]


def bootstrap_interval(
    values: np.ndarray | pd.DataFrame, *, confidence: float = 0.95, draws: int = 2000, seed: int
) -> tuple[float, float]:
    """Hierarchical percentile bootstrap of a mean, for display only: seeds are resampled, then items inside each.

    Args:
        values: Shape (seeds,), or (seeds, items) with NaN where a seed lacks an item, or a frame with columns
            ``seed``, ``item``, ``value``. Give paired differences to compare two arms on the same items.
        confidence: Share of the bootstrap distribution inside the bounds.
        draws: Number of resampled studies.
        seed: Seed of the resampling.

    Returns:
        Bounds; (nan, nan) for fewer than two seeds or values that do not vary.
    """
    matrix = values.pivot(index="seed", columns="item", values="value") if isinstance(values, pd.DataFrame) else values
    matrix = np.asarray(matrix, dtype=float)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    rows = [row[~np.isnan(row)] for row in matrix]
    rows = [row for row in rows if len(row)]
    if len(rows) < 2 or np.ptp(np.concatenate(rows)) == 0:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    means = np.column_stack([_resampled_means(row, draws * len(rows), generator) for row in rows])
    picks = generator.integers(len(rows), size=(draws, len(rows)))
    order = np.arange(draws * len(rows)).reshape(draws, len(rows))  # a seed drawn twice gets fresh items each time
    tail = (1 - confidence) / 2
    low, high = np.quantile(means[order, picks].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-adjusted p values in the given order (statsmodels). NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.asarray(p_values, dtype=float).copy()
    finite = ~np.isnan(adjusted)
    if finite.any():
        adjusted[finite] = multipletests(adjusted[finite], method="holm")[1]
    return adjusted


def run_points(
    frame: pd.DataFrame, metric: str, *, by: Sequence[str] = ("familiarity",), x: str = "n_train"
) -> pd.DataFrame:
    """One value per run and group: the mean over task families with equal weight.

    A run in which a family of the group is missing or not finite yields no point, because a mean over other
    families is another quantity.

    Args:
        frame: Tidy frame, one row per run, family and metric.
        metric: Which metric to take.
        by: Grouping columns; empty for all families together.
        x: Column on the horizontal axis.

    Returns:
        Columns ``[*by, x, "seed", "value"]``, sorted.

    Raises:
        InputError: An unknown column, or several values for one cell because another column varies.
    """
    groups = list(by)
    for column in (*groups, x):
        if column not in frame.columns:
            raise InputError(f"frame has no column '{column}'{did_you_mean(column, frame.columns)}")
    rows = frame[(frame["metric"] == metric) & (frame["status"] == "done")]
    rows = rows.drop_duplicates()
    keys = list(dict.fromkeys([*groups, x, "seed", "family"]))
    _require_one_value(rows, keys, metric)
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=float))]
    expected = frame[frame["metric"] == metric]
    cells = [column for column in keys if column != "family" or "family" in groups]
    counts = rows.groupby(cells, sort=True)["value"].agg(["mean", "size"]).reset_index()
    if groups:
        needed = expected.groupby(groups)["family"].nunique().rename("needed").reset_index()
        counts = counts.merge(needed, on=groups)
    else:
        counts["needed"] = expected["family"].nunique()
    complete = counts[counts["size"] == counts["needed"]].rename(columns={"mean": "value"})
    return complete[[*groups, x, "seed", "value"]].sort_values([*groups, x, "seed"]).reset_index(drop=True)


def mean_curve(
    frame: pd.DataFrame,
    metric: str,
    *,
    by: Sequence[str] = ("familiarity",),
    x: str = "n_train",
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean over seeds of the family-averaged metric, with a bootstrap band over seeds for display.

    Returns:
        Columns ``[*by, x, "mean", "low", "high", "n_seeds"]`` for every group and every x that the frame plans, so
        that a gap shows as NaN with ``n_seeds`` 0. Bounds are NaN for one seed or zero variance.
    """
    groups = list(by)
    points = run_points(frame, metric, by=by, x=x)
    planned = sorted(frame[x].dropna().unique())
    names = frame.loc[frame["metric"] == metric, groups].drop_duplicates().sort_values(groups) if groups else None
    rows = []
    for name in names.itertuples(index=False) if names is not None else [()]:
        inside = points
        for column, value in zip(groups, name, strict=True):
            inside = inside[inside[column] == value]
        for position in planned:
            values = inside.loc[inside[x] == position, "value"].to_numpy(dtype=float)
            low, high = bootstrap_interval(values, confidence=confidence, seed=seed)
            mean = float(values.mean()) if len(values) else float("nan")
            rows.append((*name, position, mean, low, high, len(values)))
    return pd.DataFrame(rows, columns=[*groups, x, "mean", "low", "high", "n_seeds"])


def seed_curves(
    frame: pd.DataFrame, metric: str, *, where: Mapping[str, Sequence[str]] | None = None, x: str = "n_train"
) -> pd.DataFrame:
    """Family-averaged metric as a table of seeds (index) by x (columns), NaN where a run is missing or failed.

    Args:
        frame: Tidy frame, one row per run, family and metric.
        metric: Which metric to take.
        where: Column to allowed values, such as ``{"familiarity": ["latent"]}``. Every allowed value must occur.
        x: Column that becomes the columns of the table.

    Raises:
        LookupError: The metric or one of the allowed values has no row at all; the message says which.
    """
    rows = frame[frame["metric"] == metric]
    if not len(rows):
        raise LookupError(f"no row has metric '{metric}'")
    for column, allowed in (where or {}).items():
        present = set(rows[column])
        absent = [value for value in allowed if value not in present]
        if absent:
            raise LookupError(f"no {metric} row has {column} {', '.join(map(repr, absent))}")
        rows = rows[rows[column].isin(list(allowed))]
    points = run_points(rows, metric, by=(), x=x)
    table = points.pivot(index="seed", columns=x, values="value")
    return table.reindex(index=sorted(frame["seed"].unique()), columns=sorted(frame[x].unique())).astype(float)


def _resampled_means(row: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Means of ``draws`` resamples of one seed's items, in blocks that keep memory small."""
    if len(row) == 1:
        return np.full(draws, row[0])
    block = max(1, 2_000_000 // len(row))
    parts = []
    for start in range(0, draws, block):
        size = (min(block, draws - start), len(row))
        parts.append(row[generator.integers(len(row), size=size)].mean(axis=1))
    return np.concatenate(parts)


def _require_one_value(rows: pd.DataFrame, keys: list[str], metric: str) -> None:
    if not rows.duplicated(keys).any():
        return
    skip = {*keys, "digest", "value", "n_items", "metric", "status", "error"}
    varying = [column for column in rows.columns if column not in skip and rows[column].astype(str).nunique() > 1]
    names = ", ".join(varying) or "no other column"
    raise InputError(f"{metric}: several runs per ({', '.join(keys)}) cell, they differ in {names}; select one first")
