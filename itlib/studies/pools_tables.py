"""Tables of ``02c_pools``: one function per question, from the frame that its claims read.

Arms are given as the study names them (``pools.sweep``, ``sizes``, ``regimes``, ...). An arm without a finished run has
no points, or NaN: never a zero. Only the three claims were declared before the runs; all else here explores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from itlib.arms import slope_per_fourfold
from itlib.claims.pools import clustered, rank_correlations
from itlib.result import RunResult
from itlib.selected import mechanism, scores
from itlib.stats import bootstrap_interval, sign_flip_interval

SIDES = {"all": "all families", "targets": "target families"}
HARD, EASY, RANDOM = "ifd_loss", "ifd_loss bottom", "random"
TAKEN = ("clean_share", "duplicate_share", "family_entropy", "mean_response_words", "mean_response_loss")


# ---- how much of a pool is wrong ----------------------------------------------------------------------------


def curve(frame: pd.DataFrame, arms: Mapping[str, Mapping[float, str]], seeds: Sequence[int], x: str) -> pd.DataFrame:
    """Return exact match over an axis, on all families and on the targets.

    Args:
        frame: The frame.
        arms: Name of a selector to place on the axis to arm.
        seeds: Those that every place has.
        x: Name of the axis.

    Returns:
        Columns ``selector``, ``families``, ``x``, ``mean``, ``low`` and ``high`` (bootstrap over seeds, for display),
        ``n_seeds``.
    """
    rows = []
    for name, places in arms.items():
        for side, label in SIDES.items():
            for place, arm in places.items():
                values = _scores(frame, arm, seeds, side).to_numpy()
                low, high = bootstrap_interval(values, seed=0) if len(values) else (np.nan, np.nan)
                rows.append((name, label, place, _mean(values), low, high, len(values)))
    return pd.DataFrame(rows, columns=["selector", "families", x, "mean", "low", "high", "n_seeds"])


def turns(frame: pd.DataFrame, arms: Mapping[str, Mapping[float, str]], seeds: Sequence[int]) -> pd.DataFrame:
    """Return per seed the corrupted share at which hard examples turn from good to wrong.

    Columns ``seed``, ``against_easy`` and ``against_random``: where the exact match of the hardest examples, by IFD,
    falls below that of the easiest and of random ones; see ``crossing``. NaN where an arm is not there.
    """
    rows = []
    for seed in seeds:
        crossings = []
        for other in (EASY, RANDOM):
            gaps = {
                rate: _mean(_scores(frame, arms[HARD][rate], [seed]) - _scores(frame, arms[other][rate], [seed]))
                for rate in (arms[HARD] if {HARD, other} <= set(arms) else ())
            }
            crossings.append(crossing(list(gaps), list(gaps.values())))
        rows.append((seed, *crossings))
    return pd.DataFrame(rows, columns=["seed", "against_easy", "against_random"])


def crossing(places: Sequence[float], gaps: Sequence[float]) -> float:
    """Return where a gap first falls from above 0 to 0 or below, on straight lines between its places.

    Returns:
        Infinity where the gap is above 0 everywhere, minus infinity where it never is, NaN where it is below 0 first,
        above 0 later and never falls again, where a gap is missing, or where there is none.
    """
    gaps = np.asarray(gaps, dtype=float)
    if not len(gaps) or not np.isfinite(gaps).all():
        return float("nan")
    above = gaps > 0
    falls = np.flatnonzero(above[:-1] & ~above[1:])
    if len(falls):
        i = falls[0]
        return float(places[i] + (places[i + 1] - places[i]) * gaps[i] / (gaps[i] - gaps[i + 1]))
    return float("inf") if above.all() else float("-inf") if not above.any() else float("nan")


def turns_sentence(table: pd.DataFrame) -> str:
    """Return, in words, at which corrupted share hard examples stop being better."""
    said = []
    for column, other in (("against_easy", "easy"), ("against_random", "random")):
        values = table[column].to_numpy(dtype=float)
        within = values[np.isfinite(values)]
        where = f" (median {np.median(within):.2f}, {within.min():.2f} to {within.max():.2f})" if len(within) else ""
        said.append(
            f"hard examples fall below {other} ones at a share within the range in {len(within)} of {len(values)} "
            f"seeds{where}, are never better in {int(np.isneginf(values).sum())}, "
            f"always in {int(np.isposinf(values).sum())}, and cannot be placed in {int(np.isnan(values).sum())}"
        )
    return "Corrupted share: " + "; ".join(said) + "."


def taken(results: Mapping[str, Sequence[RunResult]], arms: Mapping[str, Mapping[float, str]]) -> pd.DataFrame:
    """Return what was selected at every corrupted share, means over seeds: ``selector``, ``noise_rate``, contents."""
    made_of = mechanism({arm: results[arm] for places in arms.values() for arm in places.values()})
    means = made_of.groupby("arm", sort=False)[list(TAKEN)].mean()
    rows = [
        {"selector": name, "noise_rate": rate, **means.loc[arm]}
        for name, places in arms.items()
        for rate, arm in places.items()
    ]
    return pd.DataFrame(rows)


# ---- how large a pool is, and how many clusters -------------------------------------------------------------


def slopes(frame: pd.DataFrame, arms: Mapping[str, Mapping[int, str]], seeds: Sequence[int]) -> pd.DataFrame:
    """Return per selector and families the slope of exact match per doubling of the pool, with sign-flip interval."""
    rows = []
    for name, places in arms.items():
        for side, label in SIDES.items():
            table = pd.DataFrame({size: _scores(frame, arm, seeds, side) for size, arm in places.items()}).dropna()
            found = slope_per_fourfold(table) / 2.0 if len(places) > 1 else np.array([])
            told = _told(found, "slope per doubling")
            rows.append({"selector": name, "families": label, **told, "seeds": len(found)})
    return pd.DataFrame(rows)


def clusterings(frame: pd.DataFrame, arms: Mapping[int, str]) -> pd.DataFrame:
    """Return ``claims.pools.clustered``, or nothing where silhouettes or scores are missing."""
    try:
        return clustered(frame, dict(arms))
    except LookupError:
        return pd.DataFrame(columns=["n_clusters", "seed", "silhouette", "value"], dtype=float)


def by_clusters(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and spread over seeds by number of clusters, from ``clusterings``."""
    means = table.groupby("n_clusters")[["silhouette", "value"]].agg(["mean", "std"])
    means.columns = means.columns.map(" ".join)
    return means.assign(seeds=table.groupby("n_clusters")["seed"].nunique()).reset_index()


def clusters_sentence(table: pd.DataFrame) -> str:
    """Return, in words, the rank correlation of silhouette and score over numbers of clusters."""
    found = rank_correlations(table).dropna() if len(table) else pd.Series(dtype=float)
    if not len(found):
        return "No seed has silhouettes and scores of several numbers of clusters."
    positive = int((found > 0).sum())
    return (
        f"Rank correlation of silhouette and exact match over {table['n_clusters'].nunique()} numbers of clusters: "
        f"mean {found.mean():+.2f} over {len(found)} seeds, positive in {positive}."
    )


# ---- what is made equal, at which rate, with which quotas ---------------------------------------------------


def regime_points(
    frame: pd.DataFrame, arms: Mapping[str, Mapping[str, Mapping[str, str]]], seeds: Sequence[int]
) -> pd.DataFrame:
    """Return the exact match of every run: columns ``kind``, ``regime``, ``arm``, ``seed``, ``value``."""
    rows = [
        (kind, regime, name, seed, value)
        for kind, by_regime in arms.items()
        for regime, by_name in by_regime.items()
        for name, arm in by_name.items()
        for seed, value in _scores(frame, arm, seeds).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "regime", "arm", "seed", "value"])


def regime_table(
    frame: pd.DataFrame,
    results: Mapping[str, Sequence[RunResult]],
    arms: Mapping[str, Mapping[str, Mapping[str, str]]],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Return per kind, regime and arm how long it trained, what it reached, and its difference to random.

    Columns: ``kind``, ``regime``, ``arm``, ``steps``, ``examples seen``, ``response tokens``, ``score`` (means over
    finished runs), ``vs random`` with its sign-flip interval, ``seeds``.
    """
    rows = []
    for kind, by_regime in arms.items():
        for regime, by_name in by_regime.items():
            for name, arm in by_name.items():
                seen = _spent(results[arm])
                values, random = (_scores(frame, other, seeds) for other in (arm, by_name[RANDOM]))
                gap = (values - random).dropna() if name != RANDOM else values[:0]
                row = {"kind": kind, "regime": regime, "arm": name, **seen, "score": _mean(values)}
                rows.append({**row, **_told(gap.to_numpy(), "vs random"), "seeds": len(values)})
    return pd.DataFrame(rows)


def rate_table(
    frame: pd.DataFrame, arms: Mapping[str, Mapping[str, Mapping[str, str]]], seeds: Sequence[int]
) -> pd.DataFrame:
    """Return the score of every arm at every learning rate, and how the order of arms agrees with that at the first.

    Columns: ``kind``, ``rate``, one per arm (mean over seeds that have all arms at this rate and the first), ``tau``
    (Kendall, of the order of these means), ``tau per seed`` (mean of the tau of each seed), ``seeds``.
    """
    rows = []
    for kind, by_rate in arms.items():
        tables = {
            rate: pd.DataFrame({name: _scores(frame, arm, seeds) for name, arm in by_name.items()})
            for rate, by_name in by_rate.items()
        }
        first = next(iter(tables.values())).dropna()
        for rate, table in tables.items():
            shared = first.index.intersection(table.dropna().index)
            mine, theirs = table.loc[shared], first.loc[shared]
            each = [_tau(mine.loc[seed], theirs.loc[seed]) for seed in shared]
            row = {"kind": kind, "rate": rate, **mine.mean(), "tau": _tau(mine.mean(), theirs.mean())}
            rows.append({**row, "tau per seed": _mean(each), "seeds": len(shared)})
    return pd.DataFrame(rows)


def quota_table(
    frame: pd.DataFrame, arms: Mapping[str, Mapping[str, tuple[str, str]]], seeds: Sequence[int]
) -> pd.DataFrame:
    """Return per kind and selector the score without and with quotas per family, their difference and interval."""
    rows = []
    for kind, by_name in arms.items():
        for name, (without, with_quotas) in by_name.items():
            plain, quota = (_scores(frame, arm, seeds) for arm in (without, with_quotas))
            gap = (quota - plain).dropna()
            row = {"kind": kind, "selector": name, "without": _mean(plain), "with quotas": _mean(quota)}
            rows.append({**row, **_told(gap.to_numpy(), "difference"), "seeds": len(gap)})
    return pd.DataFrame(rows)


def _scores(frame: pd.DataFrame, arm: str, seeds: Sequence[int], side: str = "all") -> pd.Series:
    """Return scores by seed; an arm of which no run has a value has no scores."""
    try:
        values = scores(frame, arm, on=side)
    except LookupError:
        return pd.Series(dtype=float, index=pd.Index([], dtype=int, name="seed"))
    return values[values.index.isin(list(seeds))]


def _spent(runs: Sequence[RunResult]) -> dict[str, float]:
    done = [run.totals for run in runs if run.status == "done"]
    names = {"steps": "n_steps", "examples seen": "n_examples_seen", "response tokens": "n_response_tokens"}
    return {label: _mean([totals.get(name, np.nan) for totals in done]) for label, name in names.items()}


def _tau(left: pd.Series, right: pd.Series) -> float:
    """Return Kendall's tau-b; NaN where one of the orders is all ties or has fewer than two entries."""
    if len(left) < 2 or left.nunique() < 2 or right.nunique() < 2:
        return float("nan")
    return float(kendalltau(left, right).statistic)


def _told(effects: np.ndarray, name: str) -> dict[str, object]:
    if not len(effects):
        return {name: np.nan, f"{name} interval": (np.nan, np.nan)}
    return {name: float(effects.mean()), f"{name} interval": sign_flip_interval(effects)}


def _mean(values: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Return the mean of the finite values, NaN if there is none."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
