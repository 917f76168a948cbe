"""Estimators of the claims about low-rank and full fine-tuning: one effect per seed, NaN where a seed has no answer.

They read the frame of ``studies.lora_vs_full.evidence``: rows of kind "test" have ``arm`` and ``point``, which is "own
rate" (the learning rate that dev chose for the arm), "another rate" (any other setting of the same arm) or "untuned".
Learning is a metric, the mean over families; forgetting is how much the loss on reference documents rose over that of
the untuned base of the seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib.frontier import NOWHERE, Frontier, frontier, mean_gap
from itlib.registry import claims
from itlib.stats import run_points

UNTUNED, OWN, OTHER = "untuned", "own rate", "another rate"
LOSS = "reference_loss"
SETTING = ["arm", "point", "seed", "base_seed", "learning_rate", "budget", "digest", "status"]


@claims.register("L1")
def matches(frame: pd.DataFrame, *, metric: str, low_rank: str, full: str) -> dict[str, np.ndarray]:
    """L1: difference in learning, each arm at its own rate."""
    table = points(frame, metric)
    return {"low_rank_minus_full": _own(table, low_rank, "learning") - _own(table, full, "learning")}


@claims.register("L8")
def learns_and_forgets_less(frame: pd.DataFrame, *, metric: str, low_rank: str, full: str) -> dict[str, np.ndarray]:
    """L8: differences in learning and forgetting at own rates, and in forgetting on average over equal accuracies."""
    table = points(frame, metric)
    learned, forgot = (_own(table, low_rank, what) - _own(table, full, what) for what in ("learning", "forgetting"))
    gaps = compared(table, low_rank, full)["gap"].to_numpy(dtype=float)
    return {"learns_less": learned, "forgets_less": forgot, "forgets_less_at_equal_accuracy": gaps}


@claims.register("L9")
def forgets_more_at_equal_accuracy(
    frame: pd.DataFrame, *, metric: str, low_rank: str, full: str
) -> dict[str, np.ndarray]:
    """L9: difference in forgetting at the smaller of the two accuracies that the arms have at their own rates."""
    table = points(frame, metric)
    for arm in (low_rank, full):
        _own(table, arm, "forgetting")
        if not ((table["arm"] == arm) & (table["point"] == OTHER)).any():
            raise LookupError(f"arm '{arm}' was tuned at one rate only; frontier: true adds the others")
    both = compared(table, low_rank, full)
    return {"low_rank_minus_full_at_equal_accuracy": (both["left"] - both["right"]).to_numpy(dtype=float)}


def points(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row per run: its setting, what it learned and what it forgot, NaN where one is unknown.

    Columns: ``SETTING``, ``learning`` (mean of the metric over families with equal weight) and ``forgetting`` (NaN
    without reference documents before or after tuning).
    """
    rows = frame[frame["kind"] == "test"]
    runs = rows[SETTING].drop_duplicates(["arm", "digest"]).reset_index(drop=True)
    keys = ["arm", "digest"]
    learned = run_points(rows, metric, by=("arm",), x="digest").set_index(keys)["value"]
    losses = rows[rows["metric"] == LOSS].drop_duplicates(keys).set_index(keys)["value"]
    places = pd.MultiIndex.from_frame(runs[keys])
    loss = pd.Series(losses.reindex(places).to_numpy(dtype=float))
    base = runs["point"] == UNTUNED
    before = loss[base].groupby(runs.loc[base, "base_seed"]).first()
    forgotten = loss - runs["base_seed"].map(before).astype(float)
    return runs.assign(learning=learned.reindex(places).to_numpy(dtype=float), forgetting=forgotten)


def frontiers(table: pd.DataFrame, arm: str) -> dict[int, Frontier]:
    """Return the frontier of an arm for every seed: all its settings, and the untuned base of the seed.

    A setting that diverged has no point. Where a run failed the frontier is nowhere defined, since nobody knows what it
    would have been; so it is where an arm was tuned in one setting only.

    Args:
        table: From ``points``.
        arm: Its name.
    """
    mine, base = table[table["arm"] == arm], table[table["point"] == UNTUNED].set_index("base_seed")
    found = {}
    for seed, cloud in mine.groupby("seed"):
        if (cloud["status"] == "failed").any() or not (cloud["point"] == OTHER).any():
            found[int(seed)] = NOWHERE
            continue
        start = base.loc[base.index == cloud["base_seed"].iloc[0], ["learning", "forgetting"]]
        both = pd.concat([start, cloud[["learning", "forgetting"]]]).to_numpy(dtype=float)
        found[int(seed)] = frontier(both[:, 0], both[:, 1])
    return found


def compared(table: pd.DataFrame, left: str, right: str) -> pd.DataFrame:
    """Return, for every seed of the table, what two arms forget where they learn as much.

    Args:
        table: From ``points``.
        left: Name of an arm.
        right: Name of another.

    Returns:
        Index seed. ``level`` is the smaller of the two accuracies at own rates, ``left`` and ``right`` what the arms
        forget there, ``gap`` left minus right on average over the accuracies up to there. NaN where unknown.
    """
    seeds = sorted(table["seed"].unique())
    hulls = {arm: frontiers(table, arm) for arm in (left, right)}
    own = {arm: _at_own_rate(table, arm, "learning").reindex(seeds) for arm in (left, right)}
    level = np.minimum(own[left], own[right]).rename("level")
    rows = []
    for seed in seeds:
        one, two = hulls[left].get(seed, NOWHERE), hulls[right].get(seed, NOWHERE)
        rows.append((float(one.at(level[seed])), float(two.at(level[seed])), mean_gap(one, two, level[seed])))
    found = pd.DataFrame(rows, columns=["left", "right", "gap"], index=pd.Index(seeds, name="seed"))
    return found.assign(level=level)[["level", "left", "right", "gap"]]


def _at_own_rate(table: pd.DataFrame, arm: str, what: str) -> pd.Series:
    mine = table[(table["arm"] == arm) & (table["point"] == OWN)]
    return mine.set_index("seed")[what].astype(float)


def _own(table: pd.DataFrame, arm: str, what: str) -> np.ndarray:
    """Return what an arm learned or forgot at its own rate, one value per seed of the table."""
    values = _at_own_rate(table, arm, what)
    if not len(values):
        raise LookupError(f"the frame has no run of arm '{arm}'")
    if what == "forgetting" and values.isna().all():
        raise LookupError("forgetting was not measured: no loss on reference documents before and after tuning")
    if values.isna().all():
        raise LookupError(f"no finished run of arm '{arm}' has the metric of the claim in all families")
    return values.reindex(sorted(table["seed"].unique())).to_numpy(dtype=float)
