"""Estimators of the claims on remedies: one effect per seed, NaN where a run of the seed is missing.

They read the frame of ``studies.remedies_scores.evidence``: one row per arm, run, family and metric. ``kind`` says what
was measured: "test" in familiar, new and negated phrasings, "clean" and "perturbed" in one phrasing, "pairs" cosines.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from itlib.registry import claims


@claims.register("R5")
def soft_prompt(frame: pd.DataFrame, *, remedy: str, tuned: str, weights: str) -> dict[str, np.ndarray]:
    """R5: gap and spread with the aligned soft prompt minus plain tuning; new phrasings against aligned weights."""
    return {
        "gap": difference(frame, remedy, tuned, "gap"),
        "spread": sigma(frame, remedy) - sigma(frame, tuned),
        "over_weights": difference(frame, remedy, weights, "new"),
    }


@claims.register("R6")
def contrastive(
    frame: pd.DataFrame, *, remedy: str, baseline: str, perturbations: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """R6: exact match under perturbations, mean over all of them, with contrastive tuning minus its baseline."""
    rows = frame[frame["kind"] == "perturbed"] if "kind" in frame.columns else frame.iloc[:0]
    for name, severity in perturbations.items():
        found = rows.loc[rows["perturbation"] == name, "severity"] if len(rows) else pd.Series(dtype=float)
        if not len(found) or not np.isclose(found, severity).all():
            raise LookupError(f"no run was asked under {name} at severity {severity:g}")
    frame = frame[(frame["kind"] != "perturbed") | frame["perturbation"].isin(list(perturbations))]
    return {"perturbed": difference(frame, remedy, baseline, "exact_match", kind="perturbed")}


@claims.register("R7")
def states(frame: pd.DataFrame, *, remedy: str, baseline: str) -> dict[str, np.ndarray]:
    """R7: cosine of paraphrase pairs, and its distance from that of hard negatives, minus those of the baseline."""

    def change(metric: str) -> np.ndarray:
        return difference(frame, remedy, baseline, metric, kind="pairs")

    apart = {pool: change(f"positive_{pool}") - change(f"negative_{pool}") for pool in ("response", "prompt")}
    return {
        "positives": change("positive_response"),
        "apart_response": apart["response"],
        "apart_prompt": apart["prompt"],
    }


def by_seed(frame: pd.DataFrame, arm: str, metric: str, *, kind: str = "test") -> pd.Series:
    """Return the mean over families (and perturbations) of one arm for every seed of the frame; NaN where one lacks.

    Raises:
        LookupError: No run of the arm has the metric.
    """
    rows = frame[(frame["kind"] == kind) & (frame["arm"] == arm)] if "arm" in frame.columns else frame.iloc[:0]
    rows = rows[rows["metric"] == metric] if len(rows) else rows
    if not len(rows):
        raise LookupError(f"no {kind} run of arm '{arm}' has {metric}")
    cells = rows.pivot_table(index="seed", columns=["perturbation", "family"], values="value", aggfunc="mean")
    return cells.mean(axis=1, skipna=False).reindex(sorted(frame["seed"].unique()))


def sigma(frame: pd.DataFrame, arm: str) -> np.ndarray:
    """Return the standard deviation between new phrasings of an arm, per seed.

    Variances are averaged over families before what is below zero is cut off; see ``robustness``.
    """
    variance = by_seed(frame, arm, "variance_new").to_numpy(dtype=float)
    return np.sqrt(np.where(variance < 0, 0.0, variance))


def difference(frame: pd.DataFrame, left: str, right: str, metric: str, *, kind: str = "test") -> np.ndarray:
    """Return left minus right, per seed."""
    pair = (by_seed(frame, arm, metric, kind=kind).to_numpy(dtype=float) for arm in (left, right))
    return np.subtract(*pair)
