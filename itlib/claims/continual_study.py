"""Estimators of the claims about tasks in sequence: one effect per seed, NaN where a seed has no answer.

They read the frame of ``studies.continual_study.evidence``: rows of kind "round" hold exact match of every family after
every round, rows of kind "recall" what is known at the end by frequency of a person in documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.continual import transfer
from itlib.registry import claims


@claims.register("L7")
def adapters_in_sequence(frame: pd.DataFrame, *, full: str, low: str, lower: str) -> dict[str, np.ndarray]:
    """L7: backward transfer of adapters minus full fine-tuning, and of the lower rank minus the higher one."""
    back = {arm: sequence(frame, arm)["backward_transfer"].to_numpy() for arm in (full, low, lower)}
    return {"low_rank_minus_full": back[low] - back[full], "lower_minus_low_rank": back[lower] - back[low]}


@claims.register("L12")
def half_or_full(frame: pd.DataFrame, *, full: str, half: str) -> dict[str, np.ndarray]:
    """L12: overall performance, backward transfer and recall at the end, half minus full fine-tuning."""
    ours, theirs = sequence(frame, half), sequence(frame, full)
    found = {name: (ours[name] - theirs[name]).to_numpy() for name in ("overall", "backward_transfer")}
    return {**found, "knowledge": (knowledge(frame, half) - knowledge(frame, full)).to_numpy()}


@claims.register("L12-levels")
def levels_of_half(frame: pd.DataFrame, *, levels: Sequence[str]) -> dict[str, np.ndarray]:
    """L12-levels: overall performance of neighbours in the order of three arms, the first minus the second."""
    first, second, third = (sequence(frame, arm)["overall"].to_numpy() for arm in levels)
    return {"category_minus_layer": first - second, "layer_minus_model": second - third}


def sequence(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return backward transfer and overall performance of an arm, one row per seed of the frame.

    A run that did not finish its rounds has NaN.

    Returns:
        Columns ``backward_transfer`` and ``overall``, see ``continual.transfer``.

    Raises:
        LookupError: No run of the arm was measured after its rounds.
    """
    rows = _rows(frame, arm, "round", "exact_match")
    table = transfer(rows.rename(columns={"value": "accuracy"})).set_index("seed")
    return table[["backward_transfer", "overall"]].reindex(sorted(frame["seed"].unique()))


def knowledge(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Return recall at the end of an arm per seed of the frame: the mean over frequencies above 0, equally weighted.

    Raises:
        LookupError: No run of the arm was asked.
    """
    rows = _rows(frame, arm, "recall", "recall")
    told = rows[rows["frequency"] > 0]
    return told.groupby("seed")["value"].mean().reindex(sorted(frame["seed"].unique()))


def _rows(frame: pd.DataFrame, arm: str, kind: str, metric: str) -> pd.DataFrame:
    if "kind" not in frame.columns or "arm" not in frame.columns:
        raise LookupError("the frame does not say which arm and kind its rows are of")
    rows = frame[(frame["arm"] == arm) & (frame["kind"] == kind) & (frame["metric"] == metric)]
    if not len(rows):
        what = "score after a round" if kind == "round" else kind
        raise LookupError(f"the frame has no {what} of arm '{arm}'")
    return rows
