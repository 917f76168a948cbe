"""Singular vectors of every matrix before and after tuning; see ``itlib.spectra``."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

from itlib import spectra
from itlib.dense import dense, matrices
from itlib.measures import Measured
from itlib.registry import measures
from itlib.spec import stream

K = 10  # singular vectors of a matrix that are looked at


@measures.register("spectra")
def measure_spectra(about: Measured) -> dict[str, list[Any]]:
    """Return one entry per matrix and singular vector.

    Beside ``matrix``, ``rows``, ``columns`` and ``index`` there are

    * ``similarity``: largest absolute cosine with any left singular vector of the base, and ``noise`` and ``turned``,
      the same with the change replaced by Gaussian noise of its norm, and by its spectrum in random directions;
    * ``span``: squared projection on the vectors of the base with nearly the same singular value;
    * ``share``: of the tuned matrix's squared singular values;
    * ``change``, ``effective_rank``, ``exponent``, the same for all vectors of a matrix: Frobenius norm and effective
      rank of what tuning added, and how steeply the singular values of the base fall.

    A matrix that did not move has a change of 0 and similarities of 1.
    """
    after = {name: _array(weight) for name, weight in matrices(dense(copy.deepcopy(about.model)))}
    before = _base_matrices(about)
    rng = stream(about.spec.seed, "spectra")
    rows: list[dict[str, Any]] = []
    for name, weight in after.items():
        base = before[name]
        change = weight - base.matrix
        rows.extend(_vectors(name, base, change, rng))
    return {column: [row[column] for row in rows] for column in rows[0]}


measure_spectra.needs_weights = True


def _vectors(name: str, base: _Base, change: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    size, added = float(np.linalg.norm(change)), spectra.decompose(change)
    k = min(K, len(base.spectrum.values))
    tuned = spectra.decompose(base.matrix + change) if size else base.spectrum
    controls = (
        {"noise": spectra.matched_noise(change, rng), "turned": spectra.matched_spectrum(added, rng)} if size else {}
    )
    columns = {
        "similarity": spectra.similarities(base.spectrum, tuned, k),
        "span": spectra.spans(base.spectrum, tuned, k),
    }
    for control in ("noise", "turned"):
        other = spectra.decompose(base.matrix + controls[control]) if size else base.spectrum
        columns[control] = spectra.similarities(base.spectrum, other, k)
    columns["share"] = tuned.values[:k] ** 2 / (tuned.values**2).sum()
    whole = {
        "change": _short(size),
        "effective_rank": _short(spectra.effective_rank(added.values)) if size else 0.0,
        "exponent": _short(base.exponent),
    }
    place = {"matrix": name, "rows": change.shape[0], "columns": change.shape[1]}
    return [
        {**place, "index": index, **{column: _short(values[index]) for column, values in columns.items()}, **whole}
        for index in range(k)
    ]


class _Base:
    """A matrix of the base and what is the same for every run that tunes it."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.spectrum = spectra.decompose(matrix)
        self.exponent = spectra.power_law_exponent(self.spectrum.values)


def _base_matrices(about: Measured) -> dict[str, _Base]:
    """Return the matrices of the base; those of a base on the disk are decomposed once in a process."""
    base = about.spec.base
    key = f"{base.model_fingerprint} {base.initialisation} {about.spec.seed if base.initialisation == 'random' else ''}"
    return _decomposed(key, _Loader(about.base))


class _Loader:
    """A way to load a base that does not tell apart what loads the same."""

    def __init__(self, load: Any) -> None:
        self.load = load

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Loader)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=8)
def _decomposed(key: str, loader: _Loader) -> dict[str, _Base]:
    return {name: _Base(_array(weight)) for name, weight in matrices(loader.load())}


def _array(weight: Any) -> np.ndarray:
    return weight.detach().double().cpu().numpy()


def _short(value: float) -> float:
    return float(f"{value:.6g}")
