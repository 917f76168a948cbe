"""Planted frames: what a study would store if its families followed curves that we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

SIZES = (25, 50, 100, 200, 400, 800, 1600, 3200)

Curve = Callable[[float], float]


def power(a: float, b: float, alpha: float) -> Curve:
    """a - b N^-alpha."""
    return lambda n: a - b * n**-alpha


FAMILIES: dict[str, tuple[str, Curve]] = {
    "opposite": ("latent", power(0.99, 6.0, 1.0)),
    "past": ("latent", power(0.98, 4.0, 0.9)),
    "longer": ("latent", lambda n: 0.30 + 0.12 * np.log(n / 25)),
    "two_hop": ("composed", lambda n: 0.05 + 0.14 * np.log(n / 25)),
    "swap": ("composed", lambda n: 0.6 / (1 + np.exp(-2 * (np.log(n) - np.log(1600))))),
    "reverse": ("flat", lambda n: 0.0),
    "two_digit_addition": ("flat", lambda n: 0.01),
}


def frame(
    families: dict[str, tuple[str, Curve]] | None = None,
    *,
    seeds: Sequence[int] = range(8),
    sizes: Sequence[int] = SIZES,
    noise: float = 0.02,
    metric: str = "exact_match",
    rng_seed: int = 0,
    **columns: object,
) -> pd.DataFrame:
    generator = np.random.default_rng(rng_seed)
    rows = []
    for seed in seeds:
        for n in sizes:
            for family, (familiarity, curve) in (families or FAMILIES).items():
                spread = 0.0 if familiarity == "flat" else noise
                value = float(curve(n) + generator.normal(0, spread)) if spread else float(curve(n))
                rows.append({
                    "digest": f"{seed:04d}{n:06d}", "status": "done", "seed": seed, "n_train": n,
                    "method": "full", "model": "micro-1m", "learning_rate": 1e-3, "rank": 16,
                    "source": "microworld", "split": "test", "eval_phrasing_set": "observed",
                    "family": family, "category": "words", "familiarity": familiarity, "metric": metric, "value": value,
                    "n_items": 50, "error": "",
                } | columns)  # fmt: skip
    return pd.DataFrame(rows)


def fail(data: pd.DataFrame, seed: int, n: int, status: str = "failed") -> pd.DataFrame:
    """The same frame with one run failed: a single row with an empty metric and no value."""
    gone = (data["seed"] == seed) & (data["n_train"] == n)
    nothing = {"family": "", "category": "", "familiarity": "", "metric": "", "value": np.nan, "n_items": 0}
    row = data[gone].iloc[:1].assign(status=status, **nothing)
    return pd.concat([data[~gone], row], ignore_index=True)
