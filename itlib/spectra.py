"""Singular vectors of a weight matrix before and after tuning: which are new, and what happens when they shrink.

An *intruder dimension* is a left singular vector of the tuned matrix that is far from all of those of the base: its
largest absolute cosine with any of them is below a threshold. The count is over the first ``k`` of the tuned matrix.
Two things can make it large without meaning: a narrow matrix, in which every direction is close to some other, and a
flat spectrum, in which noise mixes neighbouring vectors. Hence the null band, the matched controls, the variant that
asks for the span of neighbours, and the exponent that tells whether a spectrum is too flat to be read.

Source: LoRA vs Full Fine-tuning: An Illusion of Equivalence (arXiv:2410.21228v3), sections 3 to 5; effective rank: Roy
and Vetterli (EUSIPCO 2007). The controls and the variant are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLAT = 0.2  # exponent of a power law below which singular vectors of neighbours are not told apart
NEAR = 0.1  # relative distance of singular values that count as neighbours


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular value decomposition of a matrix of shape (m, n), r = min(m, n).

    Attributes:
        left: Shape (m, r), orthonormal columns.
        values: Shape (r,), falling.
        right: Shape (r, n), orthonormal rows.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray


def decompose(matrix: np.ndarray) -> Spectrum:
    """Return the singular value decomposition of a matrix, in float64."""
    return Spectrum(*np.linalg.svd(np.asarray(matrix, dtype=np.float64), full_matrices=False))


def similarities(base: Spectrum, tuned: Spectrum, k: int = 10) -> np.ndarray:
    """Return the largest absolute cosine of each of the first k left singular vectors with any of the base's.

    Returns:
        Shape (min(k, r),), between 0 and 1.
    """
    return np.abs(base.left.T @ tuned.left[:, :k]).max(axis=0)


def spans(base: Spectrum, tuned: Spectrum, k: int = 10, near: float = NEAR) -> np.ndarray:
    """Return the share of each of the first k left singular vectors that lies among its neighbours in the base.

    Neighbours of the j-th are the base's vectors whose singular value is within ``near`` of the j-th of the tuned
    matrix, relatively. The share is the squared length of the projection on their span, 0 where there are none.
    Vectors of nearly equal values turn into each other at the slightest push; the span of all of them does not.
    """
    k = min(k, len(tuned.values))
    neighbours = np.abs(base.values[:, None] - tuned.values[None, :k]) <= near * tuned.values[:k]
    squared = (base.left.T @ tuned.left[:, :k]) ** 2
    return (squared * neighbours).sum(axis=0)


def count_below(values: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Return how many of ``values`` lie below each threshold, an integer each."""
    return (np.asarray(values).reshape(-1, 1) < np.asarray(thresholds)).sum(axis=0)


def effective_rank(values: np.ndarray) -> float:
    """Return exp of the entropy of singular values taken as shares; 0 for a matrix of zeros."""
    values = np.asarray(values, dtype=np.float64)
    if not values.sum() > 0:
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def power_law_exponent(values: np.ndarray) -> float:
    """Return a in value_j ~ j^-a, by least squares of logarithms over the first half of the spectrum.

    The first half, because the tail of a trained matrix falls off whatever its head does.
    """
    values = np.asarray(values, dtype=np.float64)
    head = values[: max(2, len(values) // 2)]
    head = head[head > 0]
    if len(head) < 2:
        return 0.0
    return float(-np.polyfit(np.log(np.arange(1, len(head) + 1)), np.log(head), 1)[0])


def null_similarities(m: int, n_vectors: int, *, n_draws: int, seed: int) -> np.ndarray:
    """Return draws of the largest absolute cosine of a random direction with ``n_vectors`` orthonormal ones.

    The direction is uniform on the sphere in m dimensions, so its cosines are its own first coordinates.
    """
    draws = np.random.default_rng(seed).standard_normal((n_draws, m))
    return (np.abs(draws[:, :n_vectors]) / np.linalg.norm(draws, axis=1, keepdims=True)).max(axis=1)


def matched_noise(change: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a Gaussian matrix with the Frobenius norm of ``change``: as large an update in no direction."""
    noise = rng.standard_normal(change.shape)
    return noise * (np.linalg.norm(change) / np.linalg.norm(noise))


def matched_spectrum(change: Spectrum, rng: np.random.Generator) -> np.ndarray:
    """Return a matrix with the singular values of ``change`` and random singular vectors: as low a rank, nowhere."""
    left = np.linalg.qr(rng.standard_normal(change.left.shape))[0]
    right = np.linalg.qr(rng.standard_normal(change.right.T.shape))[0].T
    return (left * change.values) @ right


def top_intruder(base: Spectrum, tuned: Spectrum, threshold: float, k: int = 10) -> int | None:
    """Return which of the first k singular vectors is the first intruder, counted from 0; None without one."""
    found = np.flatnonzero(similarities(base, tuned, k) < threshold)
    return int(found[0]) if len(found) else None


def neighbour_of(base: Spectrum, tuned: Spectrum, index: int, threshold: float) -> int | None:
    """Return the vector nearest to ``index`` that is no intruder, the one with the larger value first; or None."""
    close = similarities(base, tuned, len(tuned.values)) >= threshold
    order = sorted((abs(j - index), j) for j in range(len(close)) if close[j] and j != index)
    return order[0][1] if order else None


def scaled(matrix: np.ndarray, spectrum: Spectrum, index: int, scale: float) -> np.ndarray:
    """Return the matrix with one singular value multiplied by ``scale``: 1 changes nothing, 0 removes its direction.

    (The library's own ``reduce_intruder_dimension`` has the same scale, although its description says that more of it
    removes more.)
    """
    direction = np.outer(spectrum.left[:, index], spectrum.right[index])
    return matrix + (scale - 1.0) * spectrum.values[index] * direction


def random_direction(spectrum: Spectrum, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return a rank-one matrix of random directions with one of the singular values."""
    left, right = rng.standard_normal(spectrum.left.shape[0]), rng.standard_normal(spectrum.right.shape[1])
    return spectrum.values[index] * np.outer(left / np.linalg.norm(left), right / np.linalg.norm(right))
