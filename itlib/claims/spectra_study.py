"""Estimators of the claims about new singular directions: one effect per seed, NaN where a seed has no answer.

They read the frame of ``studies.spectra_study_scores.evidence``: the scores of every run, and below them what was
counted among its singular vectors. ``kind`` says what a run is for: "test" (every arm at the rate that dev chose),
"sweep" (some arms at all rates), "other" (a second base), "untuned", and "edited" (the weights of one arm with a
direction scaled). A count is the mean number per matrix among the first ``k`` vectors whose similarity is below
``epsilon``; ``variant`` says of what: the tuned matrix, one of its two controls, or the tuned matrix with exchanges of
neighbouring vectors forgiven.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from itlib.registry import claims

TEST, SWEEP, OTHER, UNTUNED, EDITED = "test", "sweep", "other", "untuned", "edited"
TUNED, NOISE, TURNED, SPAN = "tuned", "noise", "turned", "span"
VARIANTS = (TUNED, NOISE, TURNED, SPAN)
INTRUDERS, ENERGY, CHANGE, RANK = "intruders", "intruder_energy", "change", "effective_rank"
DRIFT = "reference_loss"
RUN = ("kind", "arm", "base", "base_seed", "seed", "learning_rate", "edit", "edit_scale", "digest", "status")
CELL = ("arm", "learning_rate")


@claims.register("L2")
def new_directions(
    frame: pd.DataFrame, *, low: str, high: str, full: str, epsilon: float, k: int
) -> dict[str, np.ndarray]:
    """L2: counts of the lowest rank, beyond those of noise of its size, of full tuning, and of the highest rank."""
    table = run_table(frame, epsilon=epsilon, k=k)
    counts = {arm: by_seed(frame, table, TUNED, arm=arm) for arm in (low, full, high)}
    return {
        "low_rank": counts[low],
        "beyond_noise": counts[low] - by_seed(frame, table, NOISE, arm=low),
        "full": counts[full],
        "high_rank": counts[high],
    }


@claims.register("L3")
def goes_with_forgetting(
    frame: pd.DataFrame, *, arms: Sequence[str], metric: str, epsilon: float, k: int
) -> dict[str, np.ndarray]:
    """L3: per seed, rank correlations of counts with forgetting, with the score, and with forgetting given the size."""
    table = run_table(frame, epsilon=epsilon, k=k, metric=metric)
    return {
        "forgetting": correlations(frame, table, arms, TUNED, "forgetting"),
        "accuracy": correlations(frame, table, arms, TUNED, "score"),
        "given_size": correlations(frame, table, arms, TUNED, "forgetting", given=CHANGE),
    }


@claims.register("L4")
def shrinking(
    frame: pd.DataFrame, *, arm: str, scale: float, metric: str, epsilon: float, k: int
) -> dict[str, np.ndarray]:
    """L4: loss and score with the first new direction shrunk, minus those of unchanged weights; and its neighbour."""
    table = run_table(frame, epsilon=epsilon, k=k, metric=metric)
    counts = by_seed(frame, table, TUNED, arm=arm)
    if not np.nansum(counts) > 0:
        raise LookupError(f"no run of arm '{arm}' has a direction that is new at {epsilon:g}: there is none to shrink")
    here = np.where(counts > 0, 1.0, np.nan)  # a seed with nothing to shrink has no answer

    def at(edit: str, value: float, column: str) -> np.ndarray:
        return here * by_seed(frame, table, column, kind=EDITED, arm=arm, edit=edit, edit_scale=value)

    return {
        "forgetting": at("intruder", scale, DRIFT) - at("intruder", 1.0, DRIFT),
        "accuracy": at("intruder", scale, "score") - at("intruder", 1.0, "score"),
        "beyond_neighbour": at("neighbour", scale, DRIFT) - at("intruder", scale, DRIFT),
    }


@claims.register("L5")
def fixed_alpha(frame: pd.DataFrame, *, fixed: str, growing: str, epsilon: float, k: int) -> dict[str, np.ndarray]:
    """L5: log effective rank of the change, and counts, with a fixed alpha minus those with one that grows."""
    table = run_table(frame, epsilon=epsilon, k=k)
    ranks = [by_seed(frame, table, RANK, arm=arm) for arm in (fixed, growing)]
    with np.errstate(divide="ignore"):
        logs = [np.where(values > 0, np.log(values), np.nan) for values in ranks]
    return {
        "effective_rank": logs[0] - logs[1],
        "intruders": by_seed(frame, table, TUNED, arm=fixed) - by_seed(frame, table, TUNED, arm=growing),
    }


@claims.register("L6")
def held_factor(frame: pd.DataFrame, *, held: str, trained: str, epsilon: float, k: int) -> dict[str, np.ndarray]:
    """L6: counts with the first factor held minus those with both factors trained."""
    table = run_table(frame, epsilon=epsilon, k=k)
    return {"intruders": by_seed(frame, table, TUNED, arm=held) - by_seed(frame, table, TUNED, arm=trained)}


def run_table(frame: pd.DataFrame, *, epsilon: float, k: int, metric: str = "exact_match") -> pd.DataFrame:
    """Return one row per run and kind: its score, what it forgot, how far it moved, and its counts.

    Columns: those of ``RUN``; ``score`` (mean over families of ``metric``, NaN where one is missing),
    ``reference_loss`` and ``forgetting`` (it minus that of the untuned base), ``change`` (Frobenius norm over all
    matrices), ``effective_rank`` (of the change, geometric mean over matrices), the counts of ``VARIANTS`` per matrix,
    and ``intruder_energy`` (share of the squared singular values that lies in what is counted as tuned). NaN where a
    run has none of it.

    Raises:
        LookupError: The frame has no counts, none at this threshold, or none among so many vectors.
    """
    if "variant" not in frame.columns or not (frame["metric"] == INTRUDERS).any():
        raise LookupError("the frame has no singular vectors of tuned matrices")
    counted = frame["metric"].isin([INTRUDERS, ENERGY])
    if set(frame.loc[counted, "k"]) != {k}:
        raise LookupError(f"the frame does not count among the first {k} singular vectors")
    at = counted & np.isclose(frame["epsilon"].astype(float), epsilon)
    if not at.any():
        raise LookupError(f"the frame has no counts at the threshold {epsilon:g}")
    runs = frame[list(RUN)].drop_duplicates().reset_index(drop=True)
    own = (frame["metric"] == metric) & (frame["family"] != "reference")
    scores = frame[own].groupby(["kind", "arm", "digest"])["value"].agg(["mean", "size"])
    complete = scores.loc[scores["size"] == scores["size"].max(), "mean"]
    columns = {"score": complete}
    for name in (DRIFT, CHANGE, RANK):
        columns[name] = _column(frame[frame["metric"] == name])
    for variant in VARIANTS:
        columns[variant] = _column(frame[at & (frame["metric"] == INTRUDERS) & (frame["variant"] == variant)])
    columns[ENERGY] = _column(frame[at & (frame["metric"] == ENERGY)])
    places = pd.MultiIndex.from_frame(runs[["kind", "arm", "digest"]])
    for name, values in columns.items():
        runs[name] = values.reindex(places).to_numpy(dtype=float)
    before = runs[runs["kind"] == UNTUNED].set_index(["base", "base_seed"])[DRIFT]
    bases = pd.MultiIndex.from_frame(runs[["base", "base_seed"]])
    runs["forgetting"] = runs[DRIFT] - before.reindex(bases).to_numpy(dtype=float)
    return runs


def _column(rows: pd.DataFrame) -> pd.Series:
    """Return the value of every run."""
    return rows.groupby(["kind", "arm", "digest"])["value"].mean()


def by_seed(frame: pd.DataFrame, table: pd.DataFrame, column: str, *, kind: str = TEST, **where: Any) -> np.ndarray:
    """Return a column of ``run_table`` for every seed of the frame, NaN where no run has it.

    Raises:
        LookupError: No run answers to the description, or none has a value.
    """
    rows = table[table["kind"] == kind]
    for name, value in where.items():
        rows = rows[np.isclose(rows[name], value) if isinstance(value, float) else rows[name] == value]
    named = ", ".join(f"{name} {value}" for name, value in where.items())
    if not len(rows):
        raise LookupError(f"the frame has no {kind} run with {named}")
    if rows[column].isna().all():
        raise LookupError(f"no {kind} run with {named} has {column.replace('_', ' ')}")
    return rows.set_index("seed")[column].reindex(sorted(frame["seed"].unique())).to_numpy(dtype=float)


def correlations(
    frame: pd.DataFrame, table: pd.DataFrame, arms: Sequence[str], x: str, y: str, *, given: str = ""
) -> np.ndarray:
    """Return, per seed of the frame, the Spearman correlation of two columns over the runs of the sweep.

    A seed without all of its runs, or in which a column does not vary, has none.

    Args:
        frame: The frame, for its seeds.
        table: From ``run_table``.
        arms: Whose runs of kind "sweep" are taken, at all their rates.
        x: One column.
        y: Another column.
        given: A third one whose ranks are taken out of both; empty for none.

    Raises:
        LookupError: An arm has no run in the sweep, or a column no value in any of them.
    """
    rows = table[table["kind"] == SWEEP]
    absent = [arm for arm in arms if arm not in set(rows["arm"])]
    if absent:
        raise LookupError(f"the frame has no sweep over rates of arm '{absent[0]}'")
    rows = rows[rows["arm"].isin(list(arms))]
    columns = [x, y, *([given] if given else [])]
    for name in columns:
        if rows[name].isna().all():
            raise LookupError(f"no run of the sweep has {name.replace('_', ' ')}")
    n_cells = len(rows[list(CELL)].drop_duplicates())
    found = {}
    for seed, group in rows.groupby("seed"):
        values = group[columns].to_numpy(dtype=float)
        whole = len(group) == n_cells and np.isfinite(values).all()
        found[seed] = partial_spearman(*values.T) if whole else np.nan
    return pd.Series(found, dtype=float).reindex(sorted(frame["seed"].unique())).to_numpy()


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None) -> float:
    """Return the correlation of the ranks of two variables, those of a third taken out of both where it is given.

    NaN where a variable does not vary, or where the third one leaves nothing of it.
    """
    ranks = [rankdata(values) for values in (x, y) if values is not None]
    if min(np.ptp(values) for values in ranks) == 0:
        return float("nan")
    plain = float(np.corrcoef(*ranks)[0, 1])
    if given is None:
        return plain
    third = rankdata(given)
    if np.ptp(third) == 0:
        return plain
    with_x, with_y = (float(np.corrcoef(values, third)[0, 1]) for values in ranks)
    left = (1 - with_x**2) * (1 - with_y**2)
    return (plain - with_x * with_y) / np.sqrt(left) if left > 1e-12 else float("nan")
