"""Fitting a curve over the number of training examples: four forms, one least-squares search, and a choice.

Every form is ``y = a + b * g(N; shape)`` with at most two shape parameters. For given shapes ``a`` and ``b`` are
weighted linear regression, so the fit is a search over shapes only: a grid, then zooms around its best node. There
are no starting values and no local minima to fall into, and a whole bootstrap is fitted at once. Least squares on
run-level points equals weighted least squares on the mean of each size, which is what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ALPHA_RANGE = (0.02, 5.0)
FORMS = ("constant", "log", "power", "logistic")
N_PARAMETERS = {"constant": 1, "log": 2, "power": 3, "logistic": 4}
ZOOMS = 4


@dataclass(frozen=True)
class Fit:
    """A fitted curve.

    Attributes:
        form: "constant" a; "log" a + b ln N; "power" a + b N^-alpha; "logistic" a + b / (1 + exp(-k (ln N - m))).
        parameters: Values of a, b and the shape parameters (alpha; k, m) of the form.
        rmse: Root mean squared residual of the size means, weighted by runs.
        error: Root mean squared error on sizes left out one at a time; NaN if not computed.
    """

    form: str
    parameters: dict[str, float] = field(hash=False)
    rmse: float
    error: float = float("nan")

    def predict(self, n: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the curve at sizes ``n`` (all above 0)."""
        shapes = np.array([[self.parameters[name] for name in _shape_names(self.form)]])
        basis = _basis(self.form, np.asarray(n, dtype=float), shapes)[0]
        return self.parameters["a"] + self.parameters["b"] * basis


def fit(form: str, n: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, *, falling: bool = False) -> Fit:
    """Fit one form to run-level points.

    Args:
        form: One of ``FORMS``.
        n: Training examples of each point, above 0.
        y: Value of each point.
        falling: The quantity falls with more data (a loss): "power" then has a >= 0 and b >= 0, otherwise b <= 0.
            Where the data want the other sign of b the power form becomes a constant with alpha NaN.

    Raises:
        ValueError: Unknown form, or fewer sizes than the form has parameters.
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    sizes, means, counts = _size_means(n, y)
    if len(sizes) < N_PARAMETERS[form]:
        raise ValueError(f"'{form}' needs {N_PARAMETERS[form]} sizes, there are {len(sizes)}")
    shapes, a, b, loss = fit_rows(form, sizes, means[None], counts[None], falling)
    parameters = {"a": float(a[0]), "b": float(b[0])}
    parameters |= {name: float(value) for name, value in zip(_shape_names(form), shapes[0], strict=True)}
    if form == "power" and b[0] == 0:
        parameters["alpha"] = float("nan")
    return Fit(form, parameters, float(np.sqrt(max(loss[0], 0.0) / counts.sum())))


def choose(n: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, *, falling: bool = False) -> Fit:
    """Fit every form that can be cross-validated and return the one with the least leave-one-size-out error.

    A form takes part if, with one size left out, there are still more sizes than parameters (log 4, power 5,
    logistic 6 sizes). Among equal errors the form with fewer parameters wins.
    """
    sizes, means, counts = _size_means(n, y)
    best: Fit | None = None
    for form in FORMS:
        if form != "constant" and len(sizes) < N_PARAMETERS[form] + 2:
            continue
        error = _left_out_error(form, sizes, means, counts, falling)
        if best is None or error < best.error * (1 - 1e-9):
            fitted = fit(form, n, y, falling=falling)
            best = Fit(form, fitted.parameters, fitted.rmse, error)
    assert best is not None
    return best


def _size_means(
    n: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, mean value and number of points of each size; points that are not finite are left out."""
    n, y = np.asarray(n, dtype=float), np.asarray(y, dtype=float)
    n, y = n[np.isfinite(y)], y[np.isfinite(y)]
    if not len(n) or n.min() <= 0:
        raise ValueError("a scaling curve needs finite values at sizes above 0")
    sizes, position = np.unique(n, return_inverse=True)
    counts = np.bincount(position).astype(float)
    return sizes, np.bincount(position, weights=y) / counts, counts


def _shape_names(form: str) -> tuple[str, ...]:
    return {"constant": (), "log": (), "power": ("alpha",), "logistic": ("k", "m")}[form]


def _basis(form: str, sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """g(N; shape) for every shape: shapes (..., parameters) give (..., sizes)."""
    log_n = np.log(sizes)
    if form == "constant":
        return np.zeros((*shapes.shape[:-1], len(sizes)))
    if form == "log":
        return np.broadcast_to(log_n, (*shapes.shape[:-1], len(sizes)))
    if form == "power":
        return np.exp(-shapes[..., :1] * log_n)
    return 1 / (1 + np.exp(-shapes[..., :1] * (log_n - shapes[..., 1:2])))


def _shape_axes(form: str, sizes: np.ndarray) -> list[np.ndarray]:
    """Grid axes: alpha and the steepness k are even in the logarithm, the midpoint m is even in ln N."""
    if form == "power":
        return [np.log(np.geomspace(*ALPHA_RANGE, 80))]
    if form == "logistic":
        return [np.log(np.geomspace(0.2, 8.0, 16)), np.linspace(np.log(sizes.min()), np.log(sizes.max()), 24)]
    return []


def fit_rows(
    form: str, sizes: np.ndarray, means: np.ndarray, counts: np.ndarray, falling: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit many curves at once: means and counts are (curves, sizes); returns shapes, a, b and the squared error."""
    axes = _shape_axes(form, sizes)
    curves = np.arange(len(means))
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)) if axes else np.zeros((1, 0))
    nodes = np.broadcast_to(nodes, (len(means), *nodes.shape))
    steps = np.array([axis[1] - axis[0] for axis in axes])
    bounds = [(axis[0], axis[-1]) for axis in axes]
    sign = {"power": 1 if falling else -1}.get(form, 0)
    for zoom in range(ZOOMS + 1 if axes else 1):
        a, b, loss = _regress(_basis(form, sizes, _natural(form, nodes)), means, counts, sign)
        best = loss.argmin(axis=1)
        centre = nodes[curves, best]
        if zoom == ZOOMS or not axes:
            break
        offsets = np.linspace(-1, 1, 21 if len(axes) == 1 else 9)
        grids = np.stack(np.meshgrid(*[offsets] * len(axes), indexing="ij"), axis=-1).reshape(-1, len(axes))
        nodes = centre[:, None] + grids * steps
        nodes = np.stack([np.clip(nodes[..., i], *bounds[i]) for i in range(len(axes))], axis=-1)
        steps = steps * (offsets[1] - offsets[0])
    return _natural(form, centre), a[curves, best], b[curves, best], loss[curves, best]


def _natural(form: str, nodes: np.ndarray) -> np.ndarray:
    """Grid coordinates to shape parameters: the first coordinate is a logarithm."""
    if nodes.shape[-1] == 0:
        return nodes
    return np.concatenate([np.exp(nodes[..., :1]), nodes[..., 1:]], axis=-1)


def _regress(
    basis: np.ndarray, means: np.ndarray, counts: np.ndarray, sign: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted regression on every basis (curves, nodes, sizes).

    With a sign, b has that sign or is 0; with sign +1 (a falling loss) a is at least 0 as well.
    """
    weight = (counts / counts.sum(axis=1, keepdims=True))[:, None]
    y = means[:, None] - (weight * means[:, None]).sum(axis=-1, keepdims=True)
    g_mean = (weight * basis).sum(axis=-1, keepdims=True)
    g = basis - g_mean
    variance = (weight * g * g).sum(axis=-1)
    usable = variance > 1e-300
    b = np.where(usable, (weight * g * y).sum(axis=-1) / np.where(usable, variance, 1), 0.0)
    if sign:
        b = np.where(b * sign > 0, b, 0.0)
    a = (weight * means[:, None]).sum(axis=-1) - b * g_mean[..., 0]
    if sign > 0:  # a falling quantity is a loss, and a loss cannot end below zero
        through_zero = (weight * basis * means[:, None]).sum(axis=-1) / (weight * basis * basis).sum(axis=-1)
        a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through_zero, b)
    residual = means[:, None] - a[..., None] - b[..., None] * basis
    return a, b, (weight * residual**2).sum(axis=-1) * counts.sum(axis=1, keepdims=True)


def _left_out_error(form: str, sizes: np.ndarray, means: np.ndarray, counts: np.ndarray, falling: bool) -> float:
    """Root mean squared error of each size's mean, predicted from the other sizes and weighted by runs."""
    if len(sizes) == 1:
        return 0.0
    errors = []
    for left_out in range(len(sizes)):
        kept = np.arange(len(sizes)) != left_out
        shapes, a, b, _ = fit_rows(form, sizes[kept], means[kept][None], counts[kept][None], falling)
        errors.append(means[left_out] - (a[0] + b[0] * _basis(form, sizes[left_out : left_out + 1], shapes)[0, 0]))
    return float(np.sqrt(np.average(np.square(errors), weights=counts)))
