"""Shrinking one singular direction of every matrix: an intruder, one beside it, or a random one of the same size.

A scale of 1 changes nothing, 0 removes the direction. Matrices without an intruder stay as they are for all three, so
that the three change the same matrices.

Source: LoRA vs Full Fine-tuning (arXiv:2410.21228v3), section 6, which scales the first intruder of every matrix, and
its neighbour for comparison; the random direction is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from itlib import spectra
from itlib.dense import matrices
from itlib.measures import Measured
from itlib.registry import edits
from itlib.spec import stream

THRESHOLD = 0.5  # cosine below which a direction is an intruder


@edits.register("intruder")
def scale_intruder(about: Measured, scale: float) -> None:
    """Multiply the singular value of the first intruder of every matrix by ``scale``."""
    for weight, _, tuned, matrix, index in _with_intruders(about):
        _set(weight, spectra.scaled(matrix, tuned, index, scale))


@edits.register("neighbour")
def scale_neighbour(about: Measured, scale: float) -> None:
    """Multiply the singular value of the direction nearest to the first intruder that is none by ``scale``."""
    for weight, base, tuned, matrix, index in _with_intruders(about):
        near = spectra.neighbour_of(base, tuned, index, THRESHOLD)
        if near is not None:
            _set(weight, spectra.scaled(matrix, tuned, near, scale))


@edits.register("random_direction")
def take_random_direction(about: Measured, scale: float) -> None:
    """Take away 1 - ``scale`` times a random direction with the singular value of the first intruder."""
    rng = stream(about.spec.seed, "random directions")
    for weight, _, tuned, matrix, index in _with_intruders(about):
        _set(weight, matrix - (1.0 - scale) * spectra.random_direction(tuned, index, rng))


def _with_intruders(about: Measured) -> Iterator[tuple[Any, spectra.Spectrum, spectra.Spectrum, np.ndarray, int]]:
    """Yield weight, both spectra, the matrix and the index of its first intruder, of every matrix that has one."""
    before = {name: weight.detach().double().cpu().numpy() for name, weight in matrices(about.base())}
    for name, weight in matrices(about.model):
        matrix = weight.detach().double().cpu().numpy()
        base, tuned = spectra.decompose(before[name]), spectra.decompose(matrix)
        index = spectra.top_intruder(base, tuned, THRESHOLD)
        if index is not None:
            yield weight, base, tuned, matrix, index


def _set(weight: Any, matrix: np.ndarray) -> None:
    import torch

    with torch.no_grad():
        weight.copy_(torch.as_tensor(matrix))
