"""What is counted among the singular vectors of every run of ``04b_spectra``, and the frame that its claims read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.claims.spectra_study import CHANGE, ENERGY, INTRUDERS, NOISE, RANK, RUN, SPAN, TUNED, TURNED
from itlib.frame import run_frame
from itlib.measures import KEY
from itlib.measures.spectra import K
from itlib.result import RunResult
from itlib.spec import digest, flatten
from itlib.studies.spectra_study import EDITED, MEASURE, OTHER, UNTUNED, SpectraParams

EPSILONS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def vectors(result: RunResult) -> pd.DataFrame | None:
    """Return the measure of a run as a table, a row per matrix and singular vector; None where it has none."""
    found = result.totals.get(KEY, {}).get(MEASURE)
    return None if found is None else pd.DataFrame(found)


def evidence(params: SpectraParams, results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by kind and arm, and below it what was counted in each run.

    Args:
        params: The study's parameters.
        results: By "<kind>/<arm>", from ``spectra_study.designs`` and ``spectra_study.edited``.

    Returns:
        ``kind``, ``arm`` and ``base`` describe a run; an edited run has the arm whose weights were edited. Rows of
        ``counts`` have ``family`` "spectra" and, of the fields of the spec, those of ``claims.spectra_study.RUN``.
    """
    parts = []
    for name, runs in results.items():
        kind, _, arm = name.partition("/")
        about = {
            "kind": kind,
            "arm": {EDITED: params.edit_arm, UNTUNED: UNTUNED}.get(kind, arm),
            "base": {OTHER: params.other_model, UNTUNED: arm}.get(kind, params.model),
        }
        parts += [run_frame(runs).assign(**about)] if runs else []
        for run in runs:
            table = vectors(run)
            if table is not None:
                own = flatten(run.spec) | {"digest": digest(run.spec)[:12], "status": run.status} | about
                parts.append(counts(table).assign(**{key: own[key] for key in RUN}))
    return pd.concat(parts, ignore_index=True)


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return what is counted in one run, a row per number.

    Metrics: ``intruders``, the mean number per matrix among its first ``k`` singular vectors whose similarity with the
    base is below ``epsilon``, for the tuned matrix and for both controls (``variant``). Variant "span" counts those of
    the tuned matrix whose cosine with the span of base vectors of nearly the same singular value is below ``epsilon``
    as well: what is left when exchanges of neighbours are forgiven. ``intruder_energy``, the mean share of the squared
    singular values that lies in those of the tuned matrix; ``change``, the Frobenius norm over all matrices;
    ``effective_rank`` of the change, geometric mean over the matrices that moved.

    Args:
        table: From ``vectors``.
    """
    matrices = table.drop_duplicates("matrix")
    n_matrices = len(matrices)
    cosines = {TUNED: table["similarity"], NOISE: table["noise"], TURNED: table["turned"]}
    cosines[SPAN] = np.maximum(table["similarity"], np.sqrt(table["span"].clip(lower=0)))
    rows = [
        (INTRUDERS, variant, epsilon, float((values < epsilon).sum()) / n_matrices)
        for variant, values in cosines.items()
        for epsilon in EPSILONS
    ]
    energy = [float(table.loc[table["similarity"] < epsilon, "share"].sum()) / n_matrices for epsilon in EPSILONS]
    rows += [(ENERGY, TUNED, epsilon, value) for epsilon, value in zip(EPSILONS, energy, strict=True)]
    moved = matrices.loc[matrices["effective_rank"] > 0, "effective_rank"]
    rows.append((CHANGE, "", np.nan, float(np.sqrt((matrices["change"] ** 2).sum()))))
    rows.append((RANK, "", np.nan, float(np.exp(np.log(moved).mean())) if len(moved) else np.nan))
    found = pd.DataFrame(rows, columns=["metric", "variant", "epsilon", "value"])
    counted = found["epsilon"].notna()
    return found.assign(family=MEASURE, k=np.where(counted, K, np.nan), n_items=n_matrices, error="")


def base_matrices(params: SpectraParams, results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return every matrix of every base once: ``base``, ``base_seed``, ``matrix``, ``rows``, ``columns``, ``exponent``.

    Read off the runs that tuned it; a base without a finished run has no rows.
    """
    columns = ["matrix", "rows", "columns", "exponent"]
    parts = {}
    for name, runs in results.items():
        base = params.other_model if name.partition("/")[0] == OTHER else params.model
        for run in runs:
            key, table = (base, run.spec.base.base_seed), vectors(run)
            if table is not None and key not in parts:
                own = table[columns].drop_duplicates("matrix")
                parts[key] = own.assign(base=key[0], base_seed=key[1])
    order = ["base", "base_seed", *columns]
    return pd.concat(parts.values(), ignore_index=True)[order] if parts else pd.DataFrame(columns=order)
