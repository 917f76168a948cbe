"""Estimators of the decoding claims: one effect per seed, NaN where a seed is incomplete or has no answer.

They read the frame of ``studies.decoding.evidence``: one row per evaluation of a tuned model, family and metric.
Evaluations are told apart by their fields and by ``sentences``, the irrelevant ones beside an instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.registry import claims

METRIC = "exact_match"
PLAIN = {"contrast": "none", "contrast_weight": 0.0, "noisy_prompt": "none", "steering": 0.0, "sentences": 0}


@claims.register("R8")
def opposite_gain(frame: pd.DataFrame, *, phrasing_set: str, weight: float) -> dict[str, np.ndarray]:
    """R8: exact match with the opposite instruction contrasted minus that of plain decoding."""
    contrasted = scores(frame, phrasing_set, contrast="opposite", contrast_weight=weight)
    return {"opposite_minus_plain": contrasted - scores(frame, phrasing_set)}


@claims.register("R9")
def degradation_and_gain(
    frame: pd.DataFrame, *, phrasing_set: str, weight: float, kinds: Sequence[str]
) -> dict[str, np.ndarray]:
    """R9: rank correlation, over noisy instructions and families, of what each costs and what contrasting it gains.

    NaN for a seed that lacks a run, or in which all costs or all gains tie.
    """
    table = cost_and_gain(frame, phrasing_set, weight, kinds)
    values = []
    for seed in sorted(frame["seed"].unique()):
        group = table[table["seed"] == seed]
        whole = len(group) and group[["cost", "gain"]].notna().all(axis=None)
        values.append(rank_correlation(group["cost"], group["gain"]) if whole else np.nan)
    return {"rank_correlation": np.array(values)}


@claims.register("R16")
def steered_compliance(
    frame: pd.DataFrame, *, phrasing_set: str, target: float, high: float, sentences: Sequence[int]
) -> dict[str, np.ndarray]:
    """R16: exact match at a middle target minus that without steering, and minus that at the highest target.

    Both are means over items with each number of irrelevant sentences.
    """
    at = {
        share: np.mean([scores(frame, phrasing_set, steering=share, sentences=n) for n in sentences], axis=0)
        for share in (0.0, target, high)
    }
    return {"steered_minus_plain": at[target] - at[0.0], "middle_minus_high": at[target] - at[high]}


def by_family(frame: pd.DataFrame, phrasing_set: str, metric: str = METRIC, **fields: Any) -> pd.DataFrame:
    """Return the scores of one evaluation: seeds (index, all of the frame) by families (columns, all that have any).

    Args:
        frame: See the module.
        phrasing_set: In which phrasings the items are asked.
        metric: Which metric to take.
        fields: Fields of the evaluation that differ from ``PLAIN``.

    Returns:
        NaN where a run is missing or did not finish.

    Raises:
        LookupError: No run was evaluated like this.
    """
    known = frame[frame["metric"] == metric]
    rows = known[(known["eval_phrasing_set"] == phrasing_set) & (known["status"] == "done")]
    for name, value in (PLAIN | fields).items():
        same = np.isclose(rows[name].astype(float), value) if isinstance(value, float) else rows[name] == value
        rows = rows[same]
    if not len(rows):
        said = ", ".join(f"{name} {value}" for name, value in fields.items()) or "plain decoding"
        raise LookupError(f"no {metric} row has {said} in phrasings '{phrasing_set}'")
    table = rows.drop_duplicates(["digest", "family"]).pivot(index="seed", columns="family", values="value")
    families = sorted(known["family"].unique())
    return table.reindex(index=sorted(frame["seed"].unique()), columns=families).astype(float)


def scores(frame: pd.DataFrame, phrasing_set: str, metric: str = METRIC, **fields: Any) -> np.ndarray:
    """Return the mean over families of one evaluation, one per seed; see ``by_family``."""
    return by_family(frame, phrasing_set, metric, **fields).mean(axis=1, skipna=False).to_numpy()


def cost_and_gain(
    frame: pd.DataFrame, phrasing_set: str, weight: float, kinds: Sequence[str], metric: str = METRIC
) -> pd.DataFrame:
    """Return per noisy instruction, seed and family what it costs as the prompt and what contrasting it gains.

    Columns: ``kind``, ``seed``, ``family``, ``cost`` (plain minus the noisy instruction alone), ``gain`` (contrasted
    minus plain).
    """
    plain, parts = by_family(frame, phrasing_set, metric), []
    for kind in kinds:
        alone = by_family(frame, phrasing_set, metric, noisy_prompt=kind)
        contrasted = by_family(frame, phrasing_set, metric, contrast=kind, contrast_weight=weight)
        columns = {
            "cost": (plain - alone).stack(future_stack=True),
            "gain": (contrasted - plain).stack(future_stack=True),
        }
        parts.append(pd.DataFrame(columns).reset_index().assign(kind=kind))
    return pd.concat(parts, ignore_index=True)[["kind", "seed", "family", "cost", "gain"]]


def rank_correlation(left: pd.Series, right: pd.Series) -> float:
    """Return Spearman's correlation; NaN where either does not vary."""
    if left.nunique() < 2 or right.nunique() < 2:
        return float("nan")
    return float(left.rank().corr(right.rank()))
