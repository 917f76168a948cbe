"""Selection of a subset that covers the pool: k-center and facility location, both greedy.

All pairs of a large pool are too many to compare, in time and in memory. Up to 2048 examples everything is compared
with everything; beyond, with a random sample of 2048 of them, so that time and memory grow in proportion to the pool.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from itlib.example import Example
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_subset
from itlib.selectors._vectors import pool_embeddings, squared_distances, unit

REFERENCE = 2048  # examples that all others are compared with; changing it changes selections from larger pools
BLOCK = 512


@selectors.register("k_center")
@by_subset
def k_center_selector(pool: Sequence[Example], budget: int, context: SelectionContext) -> np.ndarray:
    """Take the medoid, then again and again the example farthest from all that are taken (Gonzalez 1985).

    Distances are Euclidean between mean embeddings. The largest distance of any example to the nearest taken one is at
    most twice the smallest possible. It seeks out outliers, in a noisy pool corrupted examples: a negative control
    ("Diversify and Conquer", table 2). Ties are broken at random.

    In a pool of more than 2048 examples the medoid is the example with the smallest sum of distances to 2048 random
    ones: up to a factor that is the same for all, an unbiased estimate of its sum over the pool. Nothing else changes,
    the guarantee included, which holds from any start.
    """
    shuffled = context.rng.permutation(len(pool))
    points = pool_embeddings(context.features, pool, "mean")[shuffled]
    return shuffled[k_center(points, budget, medoid(points, reference(len(pool), context.rng)))]


@selectors.register("facility_location")
@by_subset
def facility_location_selector(pool: Sequence[Example], budget: int, context: SelectionContext) -> np.ndarray:
    """Take examples to which all others are as similar as can be: sum over i of max over taken j of s_ij.

    s is (1 + cosine) / 2 between mean embeddings; the Superfiltering.D code has the largest squared Euclidean distance
    between unit vectors minus the squared distance, which is the same up to scale and a constant and so gives the same
    order. Greedy choice reaches at least 1 - 1/e of the best value. Ties are broken at random.

    In a pool of more than 2048 examples the sum runs over 2048 random ones, while any example may be taken: for a given
    subset, an unbiased estimate of the mean over the pool. What is taken covers the sample a little better than the
    pool, the more so the larger the budget; where it comes near 2048, the choice comes near that random sample.
    """
    shuffled = context.rng.permutation(len(pool))
    vectors = unit(pool_embeddings(context.features, pool, "mean"))[shuffled].astype(np.float32)
    rows = reference(len(pool), context.rng)
    similarity = vectors @ (vectors if rows is None else vectors[rows]).T
    similarity += 1.0
    similarity /= 2.0
    return shuffled[facility_location(np.maximum(similarity, 0.0, out=similarity), budget)]


def reference(n: int, rng: np.random.Generator, least: int = 0) -> np.ndarray | None:
    """Return the rows of a random sample that a pool is compared with, or None where the pool is no larger than it.

    Nothing is drawn for None, so that a small pool leaves the stream as it was. Called with the examples in canonical
    order, or shuffled from it, the sample does not depend on the order of a file.

    Args:
        n: Size of the pool.
        rng: Draws the sample.
        least: Size of the sample where ``REFERENCE`` is smaller.
    """
    size = max(REFERENCE, least)
    return rng.permutation(n)[:size] if n > size else None


def facility_location(similarity: np.ndarray, k: int) -> np.ndarray:
    """Return ``k`` candidates in greedy order, each adding most to sum over i of max over chosen j of s[j, i].

    Lazy: what a candidate adds can only shrink, so one whose last known gain is below another's fresh one need not be
    looked at. The result is that of plain greedy choice; of equal gains the lower index comes first.

    Args:
        similarity: Shape (n_candidates, n_points), not negative.
        k: At most the number of candidates.
    """
    covered = np.zeros(similarity.shape[1], dtype=similarity.dtype)
    bounds = [(-_gain(row, covered), j, 0) for j, row in enumerate(similarity)]
    heapq.heapify(bounds)
    chosen: list[int] = []
    while len(chosen) < k:
        _, j, seen = heapq.heappop(bounds)
        if seen < len(chosen):
            heapq.heappush(bounds, (-_gain(similarity[j], covered), j, len(chosen)))
            continue
        chosen.append(j)
        np.maximum(covered, similarity[j], out=covered)
    return np.array(chosen, dtype=np.int64)


def _gain(row: np.ndarray, covered: np.ndarray) -> float:
    return float(np.maximum(row - covered, 0.0).sum(dtype=np.float64))


def k_center(points: np.ndarray, k: int, start: int | None = None) -> np.ndarray:
    """Return ``k`` rows, each the farthest from those before it; of equally far ones the lower index comes first.

    Args:
        points: Shape (n_points, width).
        k: At most the number of points.
        start: The first row; None is the medoid.
    """
    points = np.asarray(points, dtype=np.float64)
    chosen = [medoid(points) if start is None else start]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < k:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return np.array(chosen[:k], dtype=np.int64)


def medoid(points: np.ndarray, rows: np.ndarray | None = None) -> int:
    """Return the row with the smallest sum of Euclidean distances to all others, or to those in ``rows``."""
    centred = points - points.mean(axis=0)
    others = centred if rows is None else centred[rows]
    sums = np.empty(len(points))
    for begin in range(0, len(points), BLOCK):
        sums[begin : begin + BLOCK] = np.sqrt(squared_distances(centred[begin : begin + BLOCK], others)).sum(axis=1)
    return int(sums.argmin())
