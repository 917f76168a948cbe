"""How alike two sets of representations of the same items are."""

from __future__ import annotations

import numpy as np

from itlib.errors import InputError


def linear_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two representations of the same items, from 0 to 1.

    With centred X and Y it is |Y'X|² / (|X'X| |Y'Y|), Frobenius norms. Turning, mirroring and scaling either side as
    a whole change nothing. Two unrelated representations do not give 0 but about width / n_items: ask several times
    as many items as there are dimensions, and compare values taken on equally many.

    Args:
        left: Shape (n_items, width), finite.
        right: Shape (n_items, other_width), the same items in the same order.

    Returns:
        1 for representations that are equal up to rotation and scale; NaN where one side is the same for all items.

    Raises:
        InputError: Not two-dimensional, not the same number of items, or not finite.
    Cost: O(n_items * width * other_width).
    Source: Kornblith et al. (2019), arXiv:1905.00414.
    """
    x, y = (np.asarray(side, dtype=np.float64) for side in (left, right))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputError(f"representations have shapes {x.shape} and {y.shape}; the same items are rows of both")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("representations hold values that are not finite")
    x, y = x - x.mean(0), y - y.mean(0)
    if _constant(x, left) or _constant(y, right):
        return float("nan")
    shared = np.linalg.norm(y.T @ x) ** 2
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _constant(centred: np.ndarray, raw: np.ndarray) -> bool:
    """Return whether rows differ by no more than the rounding of their mean."""
    scale = float(np.abs(raw).max(initial=0.0))
    return not len(centred) or float(np.abs(centred).max()) <= 1e-12 * scale
