"""Estimators of the claim on prompting against tuning: one effect per seed, NaN where a seed is incomplete.

They read the frame of ``studies.prompting.evidence``: accuracy rows by arm, family and wrappers, and similarity rows by
pair of arms, wrappers and layer.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib.registry import claims

TUNED, HELD_OUT = "tuned", "held out"
OBSERVED, WRAPPER = "observed", "unobserved_wrapper"


@claims.register("S031")
def tuning_minus_prompting(frame: pd.DataFrame, *, tuned: str, prompted: str) -> dict[str, np.ndarray]:
    """S031: tuned model minus prompted base in accuracy, in what is lost out of distribution, and in stability."""
    inside = {arm: accuracies(frame, arm, TUNED, OBSERVED) for arm in (tuned, prompted)}
    lost = {arm: inside[arm] - accuracies(frame, arm, HELD_OUT, WRAPPER) for arm in (tuned, prompted)}
    return {
        "in_distribution": inside[tuned] - inside[prompted],
        "lost_outside": lost[tuned] - lost[prompted],
        "stability": stabilities(frame, tuned) - stabilities(frame, prompted),
    }


def accuracies(frame: pd.DataFrame, arm: str, role: str, which: str) -> np.ndarray:
    """Return the exact match of an arm on families of a role in a set of wrappers, mean over families, per seed.

    Raises:
        LookupError: No run of the arm finished, or it was not asked this.
    """
    mine = frame[(frame["arm"] == arm) & frame["value"].notna()]
    if not len(mine):
        raise LookupError(f"no run of arm '{arm}' finished")
    rows = mine[(mine["role"] == role) & (mine["set"] == which)]
    if not len(rows):
        raise LookupError(f"arm '{arm}' was not asked about families {role} in {which} phrasings")
    by_family = rows.pivot_table(index="seed", columns="family", values="value")
    return by_family.mean(axis=1, skipna=False).reindex(_seeds(frame)).to_numpy(dtype=float)


def stabilities(frame: pd.DataFrame, arm: str) -> np.ndarray:
    """Return the similarity of an arm's representations between observed and new wrappers, mean over layers, per seed.

    Raises:
        LookupError: Layers of the arm were not compared.
    """
    if {"left", "right", "left_set", "right_set"} <= set(frame.columns):
        same = (frame["left"] == arm) & (frame["right"] == arm)
        rows = frame[same & (frame["left_set"] == OBSERVED) & (frame["right_set"] == WRAPPER)]
        if len(rows):
            by_layer = rows.pivot_table(index="seed", columns="layer", values="value")
            return by_layer.mean(axis=1, skipna=False).reindex(_seeds(frame)).to_numpy(dtype=float)
    raise LookupError(f"layers of arm '{arm}' were not compared between wrappers")


def _seeds(frame: pd.DataFrame) -> list[int]:
    return sorted(frame["seed"].unique())
