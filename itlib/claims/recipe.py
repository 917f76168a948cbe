"""Estimators of the recipe claims: one effect per seed, NaN where a seed is incomplete or has no answer.

They read the frame of ``studies.recipe.evidence``: one row per arm, run, step, family and metric. ``kind`` says when a
value was measured: "test" after training, "probe" on dev items while training, "curve" by training itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from itlib.early_stopping import stopping_steps
from itlib.registry import claims
from itlib.stats import run_points, seed_curves

METRIC = "exact_match"
FOLLOWING = "instruction_following_full"
DRIFT = "reference_loss"


@claims.register("SC16")
def step_ratio(frame: pd.DataFrame, *, share: float) -> dict[str, np.ndarray]:
    """SC16: step at which form reaches ``share`` of its maximum over the step at which content does.

    NaN where content never leaves zero, or is there before the first step.
    """

    def ratio(probes: pd.DataFrame) -> float:
        content = first_reaching(probes[METRIC], share)
        return first_reaching(probes[FOLLOWING], share) / content if content > 0 else np.nan

    return {"step_ratio": _per_probed_run(frame, ratio, FOLLOWING, METRIC)}


@claims.register("SC17")
def share_after_plateau(frame: pd.DataFrame, *, share: float) -> dict[str, np.ndarray]:
    """SC17: share of the final rise in reference loss that follows the plateau of form; NaN without a rise."""

    def after(probes: pd.DataFrame) -> float:
        plateau = first_reaching(probes[FOLLOWING], share)
        rise = probes[DRIFT].iloc[-1] - probes[DRIFT].iloc[0]
        if not (rise > 0 and np.isfinite(plateau)):
            return np.nan
        return (probes[DRIFT].iloc[-1] - probes[DRIFT].loc[plateau]) / rise

    return {"share_after_plateau": _per_probed_run(frame, after, FOLLOWING, DRIFT)}


@claims.register("SC18")
def early_stop(frame: pd.DataFrame, *, threshold: float, slope: float) -> dict[str, np.ndarray]:
    """SC18: drift and form at the stopping step minus those at the end; NaN where the rule never stops."""
    rows = _of(frame, "probe", "probed")
    stops = stopping_steps(rows, metric=FOLLOWING, threshold=threshold, slope=slope)
    stop_of = stops.set_index("digest")["stop"]

    def difference(metric: str) -> Callable[[pd.DataFrame], float]:
        def at_stop_minus_end(probes: pd.DataFrame) -> float:
            stop = stop_of[probes.attrs["digest"]]
            return probes[metric].loc[stop] - probes[metric].iloc[-1] if np.isfinite(stop) else np.nan

        return at_stop_minus_end

    return {
        "drift_saved": _per_probed_run(frame, difference(DRIFT), FOLLOWING, DRIFT),
        "score_kept": _per_probed_run(frame, difference(FOLLOWING), FOLLOWING, DRIFT),
    }


@claims.register("SC19")
def large_minus_small(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC19: exact match of the large minus the small batch, each at the rate that dev chose for it."""
    return {"large_minus_small": scores(frame, "large batch") - scores(frame, "small batch")}


@claims.register("SC20")
def early_signals(frame: pd.DataFrame, *, early: float, settings: int) -> dict[str, np.ndarray]:
    """SC20: rank correlation of early gradient norm and early loss with final exact match, over a seed's settings.

    NaN for a seed with fewer than ``settings`` finished settings, or where all of them tie.
    """
    table = early_table(frame, early=early)
    effects: dict[str, list[float]] = {"gradient_norm": [], "early_loss": []}
    for seed in sorted(frame["seed"].unique()):
        group = table[table["seed"] == seed].dropna()
        for name, values in effects.items():
            whole = len(group) >= settings and group[name].nunique() > 1 and group["value"].nunique() > 1
            values.append(group[name].rank().corr(group["value"].rank()) if whole else np.nan)
    return {name: np.array(values) for name, values in effects.items()}


@claims.register("SC21")
def plain_minus_default(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC21: exact match without warm-up at a constant rate minus that of the default schedule."""
    return {"plain_minus_default": scores(frame, "plain") - scores(frame, "default")}


def first_reaching(scores: pd.Series, share: float) -> float:
    """Return the first step (index, ascending) with at least ``share`` of the largest score; NaN if none is above 0."""
    most = scores.max()
    if not most > 0:
        return float("nan")
    return float(scores.index[(scores >= share * most - 1e-9).to_numpy().argmax()])


def early_table(frame: pd.DataFrame, *, early: float, metric: str = METRIC) -> pd.DataFrame:
    """Return per run of the grid its early signals and its final score.

    Columns: ``seed``, ``batch_size``, ``learning_rate``, ``gradient_norm`` (mean over the curve's points within the
    first ``early`` share of the steps, the first step included), ``early_loss`` (mean over those steps), ``value``
    (``metric`` on test items, NaN for a run that did not finish).
    """
    keys = ["seed", "batch_size", "learning_rate"]
    tested = _of(frame, "test", "grid")
    if metric not in set(tested["metric"]):
        raise LookupError(f"no row has metric '{metric}'")
    curves = _of(frame, "curve", "grid").pivot(index=[*keys, "budget", "step"], columns="metric", values="value")
    rows = []
    for key, curve in curves.reset_index().groupby(keys, sort=True):
        curve = curve.sort_values("step")
        first = curve[curve["step"] <= early * curve["budget"]]
        lengths = np.diff(first["step"], prepend=0)
        loss = float(np.average(first["training_loss"], weights=lengths)) if len(first) else np.nan
        rows.append((*key, first["gradient_norm"].mean(), loss))
    signals = pd.DataFrame(rows, columns=[*keys, "gradient_norm", "early_loss"])
    final = run_points(tested, metric, by=["batch_size"], x="learning_rate")
    return signals.merge(final, on=keys, how="left")


def scores(frame: pd.DataFrame, arm: str, metric: str = METRIC) -> np.ndarray:
    """Return the score of an arm on test items, one per seed of the frame; NaN where a run is missing."""
    rows = _of(frame, "test", arm)
    table = seed_curves(rows, metric)
    return table.reindex(sorted(frame["seed"].unique())).iloc[:, 0].to_numpy(dtype=float)


def probe_table(frame: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Return, per seed, the probes of its run: steps (index, ascending) by metric; ``attrs`` hold the digest."""
    tables = {}
    for seed, group in _of(frame, "probe", "probed").groupby("seed"):
        tables[int(seed)] = group.pivot(index="step", columns="metric", values="value").sort_index()
        tables[int(seed)].attrs["digest"] = group["digest"].iloc[0]
    return tables


def _per_probed_run(frame: pd.DataFrame, effect: Callable[[pd.DataFrame], float], *metrics: str) -> np.ndarray:
    tables = probe_table(frame)
    finished = set(frame.loc[(frame["kind"] == "test") & (frame["status"] == "done"), "digest"])
    values = []
    for seed in sorted(frame["seed"].unique()):
        table = tables.get(int(seed))
        if table is None or table.attrs["digest"] not in finished:
            values.append(np.nan)
            continue
        absent = [name for name in metrics if name not in table.columns]
        if absent:
            raise LookupError(f"probes measured no {absent[0]}")
        values.append(float(effect(table)))
    return np.array(values)


def _of(frame: pd.DataFrame, kind: str, arm: str) -> pd.DataFrame:
    rows = frame[(frame["kind"] == kind) & (frame["arm"] == arm)] if "arm" in frame.columns else frame.iloc[:0]
    if not len(rows):
        raise LookupError(f"the frame has no {kind} rows of arm '{arm}'")
    return rows
