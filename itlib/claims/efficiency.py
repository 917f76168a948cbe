"""Estimators of the efficiency claims: one effect per seed, NaN where a seed is incomplete or has no answer.

They read the frame of ``studies.efficiency.evidence``: one row per arm, run, family and metric, after training.
``examples`` is the N that an arm varies.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib.registry import claims
from itlib.stats import seed_curves

METRIC = "exact_match"


@claims.register("SC3")
def lead_of_size(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC3: lead of the larger over the smaller model at the largest set of both, and how far it exceeds the first."""
    small, large = (_curve(frame, f"{name} model") for name in ("smaller", "larger"))
    common = sorted(set(small.columns) & set(large.columns))
    if len(common) < 2:
        raise LookupError(f"the smaller and the larger model share {len(common)} sizes, at least 2 are needed")
    lead = {n: (large[n] - small[n]).to_numpy() for n in (common[0], common[-1])}
    return {"larger_minus_smaller": lead[common[-1]], "lead_grows": lead[common[-1]] - lead[common[0]]}


@claims.register("SC8")
def ratio_of_needs(frame: pd.DataFrame, *, share: float) -> dict[str, np.ndarray]:
    """SC8: log2 of N90 of the base over N90 of the model tuned before, at one target for both.

    The end of the grid stands for an N90 beyond it: the base then needs at least as many, the tuned model at most as
    many as we say. Where the end errs towards the claim, the ratio is at most 1. NaN where both reach the target at
    the smallest size (no ratio can be had), nothing is ever right, or a run is missing.
    """
    needs = needs_table(frame, share=share)
    smallest = min(_curve(frame, "new, base").columns)
    ratio = np.log2(needs["base"] / needs["tuned"])
    return {"log2_ratio": ratio.where((needs[["base", "tuned"]] > smallest).any(axis=1)).to_numpy()}


@claims.register("S005")
def three_gains(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """S005: slope over ln N, gain from more steps, and gain from pretraining."""
    rows = arm_rows(frame, "length")
    if missing := {"pretrained", "random"} - set(rows["initialisation"]):
        raise LookupError(f"no run starts from {' or '.join(sorted(missing))} weights")
    budgets = sorted(rows["budget"].unique())
    if len(budgets) < 2 or rows["examples"].nunique() < 2:
        raise LookupError("gains need at least two sizes and two training lengths")
    cells = {
        (start, budget): _table(frame, rows[(rows["initialisation"] == start) & (rows["budget"] == budget)])
        for start in ("pretrained", "random")
        for budget in budgets
    }
    longest, shortest = (cells["pretrained", budget] for budget in (budgets[-1], budgets[0]))
    means = {start: sum(_mean(cells[start, budget]) for budget in budgets) / len(budgets) for start, _ in cells}
    return {
        "slope": slopes(longest),
        "more_steps": _mean(longest) - _mean(shortest),
        "pretrained_minus_random": means["pretrained"] - means["random"],
    }


def needs_table(frame: pd.DataFrame, *, share: float) -> pd.DataFrame:
    """Return per seed the target and the N at which either arm reaches it.

    Columns: ``seed``, ``target`` (``share`` of the better arm's maximum), ``base`` and ``tuned`` (N by linear
    interpolation of exact match in ln N; an end of the grid where it lies beyond), ``base_beyond`` and
    ``tuned_beyond`` (whether it does).
    """
    base, tuned = (_curve(frame, f"new, {name}") for name in ("base", "tuned"))
    if base.shape[1] < 2 or list(base.columns) != list(tuned.columns):
        raise LookupError("the arms on new families need the same sizes, at least 2 of them")
    rows = []
    for seed in base.index:
        curves = [base.loc[seed], tuned.loc[seed]]
        best = max(float(curve.max(skipna=False)) for curve in curves)
        whole = all(curve.notna().all() for curve in curves) and best > 0
        (n_base, beyond_base), (n_tuned, beyond_tuned) = (
            size_needed(curve, share * best) if whole else (np.nan, False) for curve in curves
        )
        rows.append((seed, share * best if whole else np.nan, n_base, n_tuned, beyond_base, beyond_tuned))
    return pd.DataFrame(rows, columns=["seed", "target", "base", "tuned", "base_beyond", "tuned_beyond"])


def size_needed(curve: pd.Series, target: float) -> tuple[float, bool]:
    """Return the smallest N at which a curve (index N, ascending) reaches the target, and whether that is off the grid.

    Linear in ln N between sizes. A curve at or above the target from its smallest size on, or never, gives the
    smallest or the largest size.
    """
    sizes, values = curve.index.to_numpy(dtype=float), curve.to_numpy(dtype=float)
    reached = np.flatnonzero(values >= target - 1e-12)
    if not len(reached):
        return float(sizes[-1]), True
    first = int(reached[0])
    if first == 0:
        return float(sizes[0]), True
    between = (target - values[first - 1]) / (values[first] - values[first - 1])
    return float(np.exp(np.log(sizes[first - 1]) + between * np.log(sizes[first] / sizes[first - 1]))), False


def slopes(table: pd.DataFrame) -> np.ndarray:
    """Return the least-squares slope of each row over ln N (columns); NaN beside a NaN cell."""
    places = np.log(table.columns.to_numpy(dtype=float))
    places = places - places.mean()
    return table.to_numpy(dtype=float) @ places / (places @ places)


def arm_rows(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the rows of one arm, or raise ``LookupError``."""
    rows = frame[frame["arm"] == arm] if "arm" in frame.columns else frame.iloc[:0]
    if not len(rows):
        raise LookupError(f"the frame has no arm '{arm}'")
    return rows


def _curve(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    return _table(frame, arm_rows(frame, arm))


def _table(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Seeds of the whole frame by the sizes of these rows."""
    table = seed_curves(rows, METRIC, x="examples")
    return table.reindex(sorted(frame["seed"].unique()))


def _mean(table: pd.DataFrame) -> np.ndarray:
    """Mean over sizes, NaN beside a NaN cell."""
    return table.to_numpy(dtype=float).mean(axis=1)
