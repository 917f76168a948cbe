"""Estimators of the claims about injections and chains: one effect per seed, NaN where a seed has no answer.

They read the frame of ``studies.following.evidence``: rows of kind "attack" per run, task and place of the injection,
and rows of kind "chain" per run and length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.injections import ATTACKED
from itlib.registry import claims


@claims.register("R14")
def resistance(frame: pd.DataFrame, *, alone: str, instructed: str) -> dict[str, np.ndarray]:
    """R14: how often injections are followed beyond chance, mean over tasks and places, and clean accuracy."""
    rates = {arm: attack_means(frame, arm, "corrected", ATTACKED) for arm in (alone, instructed)}
    clean = {arm: attack_means(frame, arm, "own", ("absent",)) for arm in (alone, instructed)}
    return {
        "instructed_minus_alone": rates[instructed] - rates[alone],
        "alone": rates[alone],
        "clean_difference": clean[alone] - clean[instructed],
    }


@claims.register("R15")
def longer_chains(frame: pd.DataFrame, *, plain: str, chained: str, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """R15: share of chains with every step right, with pairs in training minus without, mean over lengths."""
    with_pairs, without = (chain_means(frame, arm, "all_steps", lengths) for arm in (chained, plain))
    return {"chained_minus_plain": with_pairs - without}


def attack_means(frame: pd.DataFrame, arm: str, metric: str, places: Sequence[str]) -> np.ndarray:
    """Return the mean of a metric over tasks and places, one per seed of the frame.

    NaN for a seed that lacks a task or a place which the arm has in others.
    """
    return _means(frame, "attack", arm, metric, ["family", "place"], {"place": places})


def chain_means(frame: pd.DataFrame, arm: str, metric: str, lengths: Sequence[int]) -> np.ndarray:
    """Return the mean of a metric over lengths of chains, one per seed of the frame; NaN for a seed that lacks one."""
    return _means(frame, "chain", arm, metric, ["length"], {"length": lengths})


def _means(
    frame: pd.DataFrame, kind: str, arm: str, metric: str, cells: list[str], wanted: dict[str, Sequence]
) -> np.ndarray:
    if "arm" not in frame.columns or not ((frame["kind"] == kind) & (frame["arm"] == arm)).any():
        raise LookupError(f"the frame has no {kind} rows of arm '{arm}'")
    rows = frame[(frame["kind"] == kind) & (frame["arm"] == arm) & (frame["metric"] == metric)]
    for column, values in wanted.items():
        missing = set(values) - set(rows[column])
        if missing:
            raise LookupError(f"arm '{arm}' has no {column} {', '.join(map(str, sorted(missing)))}")
        rows = rows[rows[column].isin(list(values))]
    table = rows.pivot(index="seed", columns=cells, values="value").reindex(sorted(frame["seed"].unique()))
    return table.mean(axis=1, skipna=False).to_numpy(dtype=float)
