"""Steps until something is learned, where some runs never get there: right-censored steps, their curves and tests.

A run that is stopped before it gets there has taken at least that many steps. Leaving such runs out would make slow
learning look fast, and counting their last step as the one that got there would do the same a little less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, ecdf, logrank


def steps_to(curve: pd.Series, target: float, start: float, end: float) -> tuple[float, bool]:
    """Return how many steps after ``start`` a curve first reaches a target, and whether it does so by ``end``.

    Args:
        curve: Scores by step (index, ascending). Steps between two of them count as the later one.
        target: Score to reach.
        start: Step that counts as 0; a curve that is there already takes 0 steps.
        end: Last step that is looked at. Where the target is not reached, the steps are those up to here.

    Returns:
        Steps and whether the target was reached; NaN and False for a target that is not finite, or no scores.
    """
    window = curve[(curve.index >= start) & (curve.index <= end)].dropna()
    if not np.isfinite(target) or not len(window):
        return float("nan"), False
    there = np.flatnonzero(window.to_numpy(dtype=float) >= target - 1e-9)
    if not len(there):
        return float(end - start), False
    return float(window.index[there[0]] - start), True


def survival_curve(steps: Sequence[float], reached: Sequence[bool]) -> pd.DataFrame:
    """Return the Kaplan-Meier estimate of the share of runs that have not got there, over steps.

    Args:
        steps: Steps per run; NaN for a run without an answer, which is left out.
        reached: Whether the run got there at that step; else it is right-censored.

    Returns:
        Columns ``step`` and ``share``: the share after each step, from step 0 with everybody. Empty without runs.
    """
    times = _censored(steps, reached)
    if times is None:
        return pd.DataFrame({"step": [], "share": []}, dtype=float)
    curve = ecdf(times).sf
    table = pd.DataFrame({"step": [0.0, *curve.quantiles], "share": [1.0, *curve.probabilities]})
    return table.drop_duplicates("step", keep="last", ignore_index=True)


def log_rank(
    steps: Sequence[float], reached: Sequence[bool], other_steps: Sequence[float], other_reached: Sequence[bool]
) -> float:
    """Return the two-sided p value of the log-rank test that two sets of runs get there equally fast (scipy).

    It takes runs for independent, whatever seeds they share, and is shown beside tests that are paired. NaN where a set
    is empty, no run of either gets there, or nobody is before another, as when all get there at one step.
    """
    left, right = _censored(steps, reached), _censored(other_steps, other_reached)
    if left is None or right is None or not (np.any(reached) or np.any(other_reached)):
        return float("nan")
    with np.errstate(invalid="ignore"):
        return float(logrank(left, right).pvalue)


def _censored(steps: Sequence[float], reached: Sequence[bool]) -> CensoredData | None:
    values, events = np.asarray(steps, dtype=float), np.asarray(reached, dtype=bool)
    known = np.isfinite(values)
    return CensoredData.right_censored(values[known], ~events[known]) if known.any() else None
