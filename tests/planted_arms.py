"""A planted frame of study 4: arms whose learning and forgetting by rate we know, on bases with known losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

FAMILIES = ("plural", "colour")
FREQUENCIES = (0.0, 0.125, 1.0)
RATES = (0.0005, 0.001, 0.002, 0.004)
OWN = 0.002
Curve = Callable[[float, int], tuple[float, float]]  # (rate, seed) -> (learning, forgetting)


def curve(most: float, cost: float, *, wobble: float = 0.0) -> Curve:
    """Learning that rises with the rate up to ``most`` at the last, and forgetting ``cost`` per squared learning."""

    def at(rate: float, seed: int) -> tuple[float, float]:
        learned = most * (RATES.index(rate) + 1) / len(RATES) + wobble * (seed - 3.5)
        return learned, cost * learned**2

    return at


ARMS: Mapping[str, Curve] = {
    "full": curve(0.8, 0.10),
    "lora 16": curve(0.6, 0.05),
    "lora 16 qv": curve(0.4, 0.20),
}


def rows_of(arm: str, point: str, seed: int, rate: float, scores: Mapping[tuple[str, str], float], **changes: object):
    about = {
        "digest": f"{arm} {rate} {seed}", "status": "done", "kind": "test", "arm": arm, "point": point, "seed": seed,
        "base_seed": seed, "learning_rate": rate, "budget": 100.0, "category": "", "familiarity": "", "n_items": 30,
        "error": "", "frequency": np.nan, "method": arm.split()[0],
    } | changes  # fmt: skip
    return [about | {"family": family, "metric": metric, "value": v} for (family, metric), v in scores.items()]


def frame(
    arms: Mapping[str, Curve] = ARMS,
    *,
    seeds: Sequence[int] = range(8),
    frontier: bool = True,
    reference: bool = True,
    metric: str = "exact_match",
    rates: Sequence[float] = RATES,
) -> pd.DataFrame:
    """Scores of two families around what a run learned, losses of base and run on documents, recall and weights."""
    rows = []
    for seed in seeds:
        before = 1.0 + 0.1 * seed
        loss = {("reference", "reference_loss"): before} if reference else {}
        nothing = {(family, metric): 0.0 for family in FAMILIES}
        rows += rows_of("untuned", "untuned", seed, 1e-3, nothing | loss)
        rows += _recall("untuned", "untuned", seed, (0.0, 0.5, 1.0))
        for arm, at in arms.items():
            for rate in rates:
                if rate != OWN and not frontier:
                    continue
                learned, forgot = at(rate, seed)
                scores = {(FAMILIES[0], metric): learned - 0.05, (FAMILIES[1], metric): learned + 0.05}
                loss = {("reference", "reference_loss"): before + forgot} if reference else {}
                point = "own rate" if rate == OWN else "another rate"
                rows += rows_of(arm, point, seed, rate, scores | loss)
            rows += _recall(arm, "own rate", seed, (0.0, 0.5 - at(OWN, seed)[1], 1.0))
            weights = {("weights", name): value for name, value in WEIGHTS.items()}
            rows += rows_of(arm, "own rate", seed, OWN, weights, kind="weights")
    return pd.DataFrame(rows)


WEIGHTS = {"change": 2.0, "effective_rank": 9.0, "new": 1.5, "new_noise": 0.5, "new_turned": 1.0}


def _recall(arm: str, point: str, seed: int, values: Sequence[float]):
    return [
        row
        for frequency, value in zip(FREQUENCIES, values, strict=True)
        for row in rows_of(arm, point, seed, OWN, {("people", "recall"): value}, kind="recall", frequency=frequency)
    ]


def fail(data: pd.DataFrame, arm: str, rate: float, seed: int, status: str = "failed") -> pd.DataFrame:
    """The same frame with one run stopped: one row without a metric."""
    gone = (data["arm"] == arm) & (data["learning_rate"] == rate) & (data["seed"] == seed) & (data["kind"] == "test")
    row = data[gone].iloc[:1].assign(status=status, family="", metric="", value=np.nan)
    return pd.concat([data[~gone], row], ignore_index=True)
