"""Uniform random selection, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.example import Example
from itlib.registry import selectors
from itlib.selectors import SelectionContext


@selectors.register("random")
def random(pool: Sequence[Example], budget: int, context: SelectionContext) -> np.ndarray:
    """Return the first ``budget`` rows of one permutation of the pool, so that budgets nest."""
    return context.rng.permutation(len(pool))[:budget]
