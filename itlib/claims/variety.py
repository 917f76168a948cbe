"""Estimators of the claims about variety of tasks: one effect per seed, NaN where a seed is incomplete.

They read a labelled frame (``itlib.roles``). The axes are "families", "categories", "phrasings", "tasks", "all
families" (tuned on everything) and "in context" (the untuned base, asked in document form).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from itlib.registry import claims
from itlib.roles import ALWAYS, HELD_OUT, TUNED, doublings, labelled, role_points, role_table

IN_CONTEXT = "in context"
DOCUMENT_FORM = "document_form"


@claims.register("SC10")
def family_slopes(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC10: gain per doubling of tuned families, on families never tuned on and on those tuned in every arm."""
    return {
        "held_out_slope": doublings(_table(frame, "families", HELD_OUT)),
        "seen_slope": doublings(_table(frame, "families", ALWAYS)),
    }


@claims.register("SC13")
def category_slope(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC13: gain per doubling of tuned categories, mean over the held-out categories of the seed."""
    return {"held_out_slope": doublings(_table(frame, "categories", HELD_OUT, per_category=True))}


@claims.register("SC14")
def tuned_minus_in_context(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """SC14: held-out accuracy after tuning on the most families, minus the base's in-context accuracy on them."""
    tuned = _table(frame, "families", HELD_OUT)
    names = labelled(frame, "families", HELD_OUT, "exact_match")[["seed", "family"]].drop_duplicates()
    base = _wide(labelled(frame, IN_CONTEXT, "", DOCUMENT_FORM)).reindex(index=tuned.index)
    own = {seed: list(group) for seed, group in names.groupby("seed")["family"]}
    known = [base.loc[seed].reindex(own[seed]).mean(skipna=False) if seed in own else np.nan for seed in tuned.index]
    return {"tuned_minus_in_context": tuned[max(tuned.columns)].to_numpy() - np.array(known, dtype=float)}


@claims.register("SC15")
def template_kinds(frame: pd.DataFrame, *, natural: str, name: str, none: str) -> dict[str, np.ndarray]:
    """SC15: held-out accuracy in natural instructions, by the kind of instruction that tuning showed."""
    table = _table(frame, "phrasings", HELD_OUT, x="phrasing_set")
    for kind in (natural, name, none):
        if kind not in table.columns:
            raise LookupError(f"no pool of axis 'phrasings' has phrasing set '{kind}'")
    table = table[[natural, name, none]]
    return {
        "natural_minus_name": (table[natural] - table[name]).to_numpy(),
        "name_minus_none": (table[name] - table[none]).to_numpy(),
    }


@claims.register("S119")
def task_slope(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """S119: gain per doubling of tasks per input at a fixed number of pairs, on tasks never tuned on."""
    return {"held_out_slope": doublings(_table(frame, "tasks", HELD_OUT))}


@claims.register("SC29")
def rank_correlation(frame: pd.DataFrame, *, minimum_families: int) -> dict[str, np.ndarray]:
    """SC29: Spearman correlation over families, per seed, of in-context accuracy of the base and tuned accuracy.

    NaN where a family of the seed is missing, or where one of the two is the same for all families.
    """
    tuned, base = correlated(frame)
    names = tuned.columns.intersection(base.columns)
    if len(names) < minimum_families:
        raise LookupError(f"{len(names)} families have both accuracies, at least {minimum_families} are needed")
    found = []
    for seed in _seeds(frame):
        after, before = (t.reindex(index=[seed])[names].to_numpy(dtype=float)[0] for t in (tuned, base))
        varied = np.isfinite([after, before]).all() and np.ptp(after) > 0 and np.ptp(before) > 0
        found.append(float(spearmanr(before, after).statistic) if varied else np.nan)
    return {"rank_correlation": np.array(found)}


def correlated(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the accuracies that SC29 compares, tuned and in context, as tables of seeds by families."""
    tuned = labelled(frame, "all families", (ALWAYS, TUNED), "exact_match")
    tuned = tuned[tuned["level"] == tuned["level"].max()]
    return _wide(tuned), _wide(labelled(frame, IN_CONTEXT, "", DOCUMENT_FORM))


def _table(frame: pd.DataFrame, axis: str, role: str, *, x: str = "level", per_category: bool = False) -> pd.DataFrame:
    """Complete seeds keep their values, incomplete ones become all NaN; rows are all seeds of the frame."""
    points = role_points(frame, axis, role, x=x, per_category=per_category)
    planned = sorted(frame.loc[frame["axis"] == axis, x].dropna().unique())
    table = role_table(points, _seeds(frame), x=x).reindex(columns=planned).astype(float)
    return table.where(table.notna().all(axis=1))


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "done"].pivot(index="seed", columns="family", values="value")


def _seeds(frame: pd.DataFrame) -> list[int]:
    return sorted(frame["seed"].unique())
