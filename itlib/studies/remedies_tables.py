"""Tables of ``03b_remedies``: one row per arm, from the frame that its claims read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.claims.remedies import by_seed, sigma
from itlib.drop_rate import drop_rate_interval, performance_drop_rate
from itlib.errors import InputError
from itlib.stats import sign_flip, sign_flip_interval

SHOWN = ("familiar", "new", "gap", "sigma", "negation")
POOLS = ("response", "prompt")


def rates(chosen: Mapping[str, float]) -> pd.DataFrame:
    """Return the learning rate of every arm."""
    return pd.DataFrame(list(chosen.items()), columns=["arm", "learning_rate"])


def points(frame: pd.DataFrame, arms: Sequence[str], metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return ``arm``, ``metric``, ``seed`` and ``value``, a row per run; NaN where a run has no score.

    Args:
        frame: The frame.
        arms: Arms in the order of the result.
        metrics: Of the rows of kind "test", and "sigma", the standard deviation between new phrasings.
    """
    rows = []
    for arm in arms:
        for metric in metrics:
            for seed, value in _values(frame, arm, metric).items():
                rows.append((arm, metric, seed, value))
    return pd.DataFrame(rows, columns=["arm", "metric", "seed", "value"])


def remedies(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return one row per arm: means over seeds of the scores of ``points``, and the finished runs."""
    scores = points(frame, arms)
    table = scores.pivot_table(index="arm", columns="metric", values="value", aggfunc="mean", dropna=False)
    counts = scores[scores["metric"] == "new"].groupby("arm")["value"].count().rename("runs")
    return table.reindex(index=list(arms), columns=list(SHOWN)).join(counts).rename_axis("arm").reset_index()


def differences(frame: pd.DataFrame, pairs: Sequence[tuple[str, str]], metrics: Sequence[str] = SHOWN) -> pd.DataFrame:
    """Return per pair of arms and metric the mean difference over seeds, its sign-flip interval, p and the seeds."""
    rows = []
    for left, right in pairs:
        for metric in metrics:
            paired = (_values(frame, left, metric) - _values(frame, right, metric)).dropna().to_numpy(dtype=float)
            mean = float(paired.mean()) if len(paired) else np.nan
            p_value = sign_flip(paired).p_value if len(paired) else np.nan
            rows.append((f"{left} minus {right}", metric, mean, sign_flip_interval(paired), p_value, len(paired)))
    return pd.DataFrame(rows, columns=["difference", "metric", "mean", "interval", "p", "seeds"])


def drops(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return the performance drop rate of every arm under every perturbation, with its interval over seeds.

    The rate is a ratio of sums over seeds and families; seeds are resampled, clean and perturbed together.

    Returns:
        Columns ``arm``, ``perturbation``, ``severity``, ``clean`` and ``perturbed`` (mean exact match), ``drop``,
        ``low``, ``high``, ``seeds``; NaN where an arm has no run, or answers nothing even without a perturbation.
    """
    again = frame[(frame["kind"] == "perturbed") & (frame["metric"] == "exact_match")]
    kinds = again[["perturbation", "severity"]].drop_duplicates().itertuples(index=False)
    rows = [(arm, name, severity, *_drop(frame, again, arm, name)) for name, severity in kinds for arm in arms]
    columns = ["arm", "perturbation", "severity", "clean", "perturbed", "drop", "low", "high", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def cosines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per arm, pooling and seed the cosines of positives and of hard negatives, and their distance."""
    rows = []
    pairs = frame[frame["kind"] == "pairs"]
    for arm in dict.fromkeys(pairs["arm"]):
        for pool in POOLS:
            found = {
                side: by_seed(frame, arm, f"{side}_{pool}", kind="pairs").dropna() for side in ("positive", "negative")
            }
            for seed in found["positive"].index.intersection(found["negative"].index):
                near, far = found["positive"][seed], found["negative"][seed]
                rows.append((arm, pool, seed, near, far, near - far))
    return pd.DataFrame(rows, columns=["arm", "pool", "seed", "positives", "hard_negatives", "apart"])


def cosine_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds of ``cosines``, and how many seeds there are."""
    keys = ["arm", "pool"]
    means = table.groupby(keys, sort=False)[["positives", "hard_negatives", "apart"]].mean()
    return means.join(table.groupby(keys)["seed"].count().rename("seeds")).reset_index()


def _values(frame: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """Return a score of an arm per seed of the frame, NaN where no run has it."""
    seeds = sorted(frame["seed"].unique())
    try:
        if metric == "sigma":
            return pd.Series(sigma(frame, arm), index=seeds)
        return by_seed(frame, arm, metric)
    except LookupError:
        return pd.Series(np.nan, index=seeds)


def _drop(frame: pd.DataFrame, again: pd.DataFrame, arm: str, name: str) -> tuple[float, ...]:
    clean = frame[(frame["kind"] == "clean") & (frame["arm"] == arm)]
    hit = again[(again["arm"] == arm) & (again["perturbation"] == name)]
    before, after = (
        rows.pivot_table(index="seed", columns="family", values="value", aggfunc="mean") for rows in (clean, hit)
    )
    seeds = before.index.intersection(after.index)
    tables = [part.reindex(index=seeds, columns=before.columns).to_numpy(dtype=float) for part in (before, after)]
    if not len(seeds):
        return (*[np.nan] * 5, 0)
    try:
        found = performance_drop_rate(*tables), *drop_rate_interval(*tables, seed=0)
    except InputError:  # nothing is right even without a perturbation, so there is nothing to lose
        found = (np.nan, np.nan, np.nan)
    return (*(float(part.mean()) for part in tables), *found, len(seeds))
