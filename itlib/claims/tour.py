"""The estimator of the tour's claim: one effect per seed, NaN where a seed is incomplete."""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib.registry import claims


@claims.register("TOUR")
def more_minus_fewer(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """TOUR: exact match of the most training examples minus that of the fewest, mean over families, per seed.

    Raises:
        LookupError: All runs that finished have one number of training examples.
    """
    rows = frame[(frame["metric"] == "exact_match") & frame["value"].notna()]
    by_size = rows.pivot_table(index="seed", columns="n_train", values="value")
    if by_size.shape[1] < 2:
        raise LookupError("runs of two numbers of training examples are needed")
    return {"more_minus_fewer": (by_size[by_size.columns.max()] - by_size[by_size.columns.min()]).to_numpy(dtype=float)}
