"""When to stop tuning: as soon as the format of answers is learned, before what the base knows drifts away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

THRESHOLD = 0.9
SLOPE = 0.01
WINDOW = 3


def stopping_index(
    scores: Sequence[float], *, threshold: float = THRESHOLD, slope: float = SLOPE, window: int = WINDOW
) -> int | None:
    """Return the first evaluation at which to stop, or None if there is none.

    It is the first one whose score is at least ``threshold`` and at which the last ``window`` scores rise by less than
    ``slope`` per evaluation (least squares). A falling score counts as one that rises no more. Before ``window``
    evaluations nothing stops.

    Source: the plateau of the instruction-following score in Becoming self-instruct (arXiv:2307.03692), made a rule.
    """
    places = np.arange(window) - (window - 1) / 2
    for index in range(window - 1, len(scores)):
        rise = float(places @ np.asarray(scores[index + 1 - window : index + 1], dtype=float) / (places @ places))
        # scores are shares of few items, so a rise of just ``slope`` is common and must not hang on rounding
        if scores[index] >= threshold - 1e-9 and rise < slope - 1e-9:
            return index
    return None


def stopping_steps(probes: pd.DataFrame, *, metric: str = "instruction_following", **rule: float) -> pd.DataFrame:
    """Return where each run of a probe frame would have stopped.

    Args:
        probes: As ``frame.probe_frame`` gives it.
        metric: The score that the rule looks at.
        rule: ``threshold``, ``slope`` and ``window`` of ``stopping_index``.

    Returns:
        One row per run: ``digest``, ``stop`` (the step, NaN where the rule never stops), ``last`` (its last probe).
    """
    rows = []
    for run, group in probes.loc[probes["metric"] == metric].groupby("digest", sort=False):
        group = group.sort_values("step")
        index = stopping_index(group["value"].tolist(), **rule)
        stop = np.nan if index is None else float(group["step"].iloc[index])
        rows.append({"digest": run, "stop": stop, "last": int(group["step"].iloc[-1])})
    return pd.DataFrame(rows, columns=["digest", "stop", "last"])
