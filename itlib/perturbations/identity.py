"""No change: the clean condition."""

from __future__ import annotations

import numpy as np

from itlib.registry import perturbations


@perturbations.register("none")
def none(text: str, severity: float, rng: np.random.Generator, keep: frozenset[str] = frozenset()) -> str:
    """Return the text as it is."""
    return text
