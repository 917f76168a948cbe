"""Calibration errors from sums over bins of confidence: the usual one, and one without its bias.

A finite bin of a perfectly calibrated model is right a little more or less often than it is confident, by chance alone.
The usual error adds up the sizes of these gaps and so is never 0; it is larger the fewer items a bin holds, and two
models with other spreads of confidence have other biases. The debiased error takes the expected square of the chance
gap off every squared gap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Sums = Sequence[float] | np.ndarray


def calibration_error(n: Sums, confidence: Sums, right: Sums) -> float:
    """Return the expected calibration error: the mean absolute gap between confidence and accuracy, over items.

    Args:
        n: Items of every bin; empty bins are left out.
        confidence: Summed confidence of every bin.
        right: How many items of every bin are right.

    Returns:
        NaN without items.

    Source: Naeini et al. 2015; Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599).
    """
    size, gap, _ = _bins(n, confidence, right, least=1)
    return float(size @ abs(gap) / size.sum()) if size.sum() else float("nan")


def squared_calibration_error(n: Sums, confidence: Sums, right: Sums) -> float:
    """Return the mean squared gap between confidence and accuracy without its bias, which can be below zero.

    Of a squared gap the variance of the accuracy in its bin is taken off, accuracy (1 - accuracy) / (n - 1). A bin of
    one item says nothing of its variance and is left out.

    Args:
        n: Items of every bin.
        confidence: Summed confidence of every bin.
        right: How many items of every bin are right.

    Returns:
        NaN where no bin has two items.

    Source: Kumar, Liang, Ma 2019, Verified Uncertainty Calibration (arXiv:1909.10155), definition of the debiased
        estimator. Theirs gives every bin one confidence; where confidence varies inside a bin, slightly too much is
        taken off, at most its variance, which is below 0.0004 for fifteen equally wide bins, over n - 1.
    """
    size, gap, accuracy = _bins(n, confidence, right, least=2)
    if not size.sum():
        return float("nan")
    return float(size @ (gap**2 - accuracy * (1 - accuracy) / (size - 1)) / size.sum())


def debiased_calibration_error(n: Sums, confidence: Sums, right: Sums) -> float:
    """Return the root of ``squared_calibration_error``, with its sign: in units of probability, and about 0 by chance.

    Arguments as there. The sign keeps what chance leaves of a calibrated model from adding up to an error.
    """
    square = squared_calibration_error(n, confidence, right)
    return float(np.sign(square) * np.sqrt(abs(square)))


def _bins(n: Sums, confidence: Sums, right: Sums, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return size, confidence minus accuracy, and accuracy of the bins with at least so many items."""
    size, sure, correct = (np.asarray(values, dtype=float) for values in (n, confidence, right))
    kept = size >= least
    size, sure, correct = size[kept], sure[kept], correct[kept]
    return size, (sure - correct) / size, correct / size
