"""Estimators of the claims about parameter-efficient methods: one effect per seed, NaN where a run is missing.

They read the frame of ``studies.tuning_methods_scores.evidence``: ``arm`` is the name of a cell, ``kind`` says whether
a row is a score ("test"), facts recalled ("recall") or a cost ("cost"). Accuracy is exact match, the mean over
families. Arms that a claim compares at equal parameters are compared only if the parameters they trained are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.registry import claims

ACCURACY = "exact_match"


@claims.register("S139")
def accuracy_and_cost(frame: pd.DataFrame, *, full: str, light: Sequence[str], few: str) -> dict[str, np.ndarray]:
    """S139: all weights over one end of the model, that over a prefix; and a prefix's operations over those of all.

    Source: Zlotchevski et al. 2022 (arXiv:2208.13928), the three approaches of the abstract.
    """
    middle = np.mean([_values(frame, arm, ACCURACY) for arm in light], axis=0)
    return {
        "full_over_light": _values(frame, full, ACCURACY) - middle,
        "light_over_prefix": middle - _values(frame, few, ACCURACY),
        "operations": _values(frame, few, "gflops", "cost") / _values(frame, full, "gflops", "cost"),
    }


@claims.register("L13")
def sparse(
    frame: pd.DataFrame, *, dense: str, full: str, sparse: str, lora: str, within: float
) -> dict[str, np.ndarray]:
    """L13: the denser sparse arm minus full tuning, and a sparse arm minus LoRA with equally many parameters.

    Source: Ansell et al. 2024 (arXiv:2401.16405).
    """
    check_equal(frame, sparse, lora, within)
    return {
        "sparse_minus_full": difference(frame, dense, full),
        "sparse_minus_lora": difference(frame, sparse, lora),
    }


@claims.register("L15")
def knowledge_preserved(frame: pd.DataFrame, *, corda: str, lora: str, within: float) -> dict[str, np.ndarray]:
    """L15: facts recalled and accuracy with the knowledge-preserved start, minus those of LoRA.

    Source: CorDA (arXiv:2406.05223), knowledge-preserved adaptation.
    """
    check_equal(frame, corda, lora, within)
    return {
        "knowledge": _values(frame, corda, "recall", "recall") - _values(frame, lora, "recall", "recall"),
        "task": difference(frame, corda, lora),
    }


@claims.register("L16")
def instruction_previewed(frame: pd.DataFrame, *, corda: str, pissa: str, within: float) -> dict[str, np.ndarray]:
    """L16: accuracy with the instruction-previewed start minus that of PiSSA.

    Source: CorDA (arXiv:2406.05223), instruction-previewed adaptation.
    """
    check_equal(frame, corda, pissa, within)
    return {"task": difference(frame, corda, pissa)}


@claims.register("L19")
def placement(frame: pd.DataFrame, *, feedforward: str, attention: str, within: float) -> dict[str, np.ndarray]:
    """L19: accuracy of adapters in feed-forward layers minus that of as many parameters in attention.

    Source: He et al. 2022, Towards a Unified View of Parameter-Efficient Transfer Learning (arXiv:2110.04366).
    """
    check_equal(frame, feedforward, attention, within)
    return {"feedforward_minus_attention": difference(frame, feedforward, attention)}


@claims.register("L20")
def few_examples(frame: pd.DataFrame, *, part: str, small: str) -> dict[str, np.ndarray]:
    """L20: accuracy of an adapter on a small part of the data minus that of a smaller model tuned fully on all of it.

    Source: ILLUMINER (arXiv:2403.17536).
    """
    return {"part_minus_small": difference(frame, part, small)}


def by_seed(frame: pd.DataFrame, arm: str, metric: str, kind: str = "test") -> pd.Series:
    """Return the mean over families of one arm for every seed of the frame; NaN where a run or a family lacks.

    Of what is recalled, the mean is over people of every frequency that documents tell about, with equal weight: of
    people that nobody told about there is nothing to keep.

    Raises:
        LookupError: No run of the arm has the metric.
    """
    known = {"arm", "kind", "metric"} <= set(frame.columns)
    rows = frame[(frame["kind"] == kind) & (frame["arm"] == arm) & (frame["metric"] == metric)] if known else frame[:0]
    if kind == "recall" and len(rows):
        rows = rows[rows["frequency"] > 0]
    if not len(rows):
        raise LookupError(f"no {kind} row of arm '{arm}' has {metric}")
    cells = rows.pivot_table(index="seed", columns="family", values="value", aggfunc="mean", dropna=False)
    return cells.mean(axis=1, skipna=False).reindex(sorted(frame["seed"].unique()))


def difference(frame: pd.DataFrame, left: str, right: str) -> np.ndarray:
    """Return the accuracy of one arm minus that of another, per seed."""
    return _values(frame, left, ACCURACY) - _values(frame, right, ACCURACY)


def check_equal(frame: pd.DataFrame, left: str, right: str, within: float) -> None:
    """Refuse a comparison of arms that did not train equally many parameters.

    Raises:
        LookupError: An arm has no finished run, or the numbers differ by ``within`` of the smaller one or more.
    """
    counts = {arm: float(by_seed(frame, arm, "trainable", "cost").mean()) for arm in (left, right)}
    low, high = sorted(counts.values())
    if not high < low * (1 + within):
        told = " and ".join(f"{count:,.0f} ('{arm}')" for arm, count in counts.items())
        raise LookupError(f"the arms train {told} parameters, which differ by {within:.0%} or more")


def _values(frame: pd.DataFrame, arm: str, metric: str, kind: str = "test") -> np.ndarray:
    return by_seed(frame, arm, metric, kind).to_numpy(dtype=float)
