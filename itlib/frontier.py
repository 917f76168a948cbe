"""Learning against forgetting: the least that a method forgets at every accuracy, and how two methods compare there.

A cloud holds a point (learning, forgetting) for every setting of a method: a learning rate, a length. Its frontier is
the lower hull, the largest convex function below all points that never falls. Every point of it can be had: a coin
that picks one of two models has, in expectation, the mean accuracy and the mean loss of the two, so that the straight
line between two points belongs to the method as they do. Reaching more than was asked for is no fault, so that to the
left of the point that forgets least the frontier is flat.

Source: the curves of learning against forgetting are those of LoRA Learns Less and Forgets Less (arXiv:2405.09673),
section 4.3; hull, matched accuracy and area are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Frontier:
    """A convex function that never falls, by its corners; without corners it is nowhere defined.

    Attributes:
        learning: Shape (k,), rising.
        forgetting: Shape (k,), never falling.
    """

    learning: np.ndarray
    forgetting: np.ndarray

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest learning of the cloud; NaN without a point."""
        if not len(self.learning):
            return float("nan"), float("nan")
        return float(self.learning[0]), float(self.learning[-1])

    def at(self, level: float | np.ndarray) -> np.ndarray:
        """Return the forgetting at each level of learning, NaN outside of the span."""
        level = np.asarray(level, dtype=float)
        if not len(self.learning):
            return np.full(level.shape, np.nan)
        return np.interp(level, self.learning, self.forgetting, left=np.nan, right=np.nan)


NOWHERE = Frontier(np.zeros(0), np.zeros(0))


def frontier(learning: np.ndarray, forgetting: np.ndarray) -> Frontier:
    """Return the frontier of a cloud.

    Args:
        learning: Shape (n,); more is better. Points with a NaN are left out.
        forgetting: Shape (n,); less is better.
    """
    points = np.column_stack([np.asarray(learning, dtype=float), np.asarray(forgetting, dtype=float)])
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return NOWHERE
    corners: list[np.ndarray] = []
    for point in points[np.lexsort((points[:, 1], points[:, 0]))]:
        if corners and point[0] == corners[-1][0]:
            continue  # as much learned, and more or as much forgotten
        while len(corners) > 1 and _turns_right(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    hull = np.array(corners)
    least = len(hull) - 1 - int(np.argmin(hull[::-1, 1]))
    start = [[hull[0, 0], hull[least, 1]]] if least else []
    return Frontier(*np.array([*start, *hull[least:]]).T)


def shared_span(left: Frontier, right: Frontier) -> tuple[float, float]:
    """Return the range of learning in which both are defined; NaN where there is none."""
    low, high = np.maximum(left.span[0], right.span[0]), np.minimum(left.span[1], right.span[1])
    return (float(low), float(high)) if low <= high else (float("nan"), float("nan"))


def mean_gap(left: Frontier, right: Frontier, most: float = np.inf) -> float:
    """Return the area between two frontiers over the width of the shared range: left minus right, on average there.

    Exact, since both are straight between corners. NaN where the shared range is empty or a single point.

    Args:
        left: A frontier.
        right: Another.
        most: Where the range ends at the latest. At its upper end a frontier is as steep as the rate that went too far.
    """
    low, high = shared_span(left, right)
    high = min(high, most)
    if not low < high:
        return float("nan")
    corners = np.concatenate([left.learning, right.learning])
    places = np.unique(np.concatenate([[low, high], corners[(corners > low) & (corners < high)]]))
    return float(np.trapezoid(left.at(places) - right.at(places), places) / (high - low))


def _turns_right(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> bool:
    """Return whether the second point lies on or above the line from the first to the third."""
    (x, y), (u, v) = second - first, third - first
    return bool(x * v - y * u <= 0)
