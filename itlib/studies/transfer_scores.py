"""Scores of single examples under scorers of several sizes, behind two claims of ``02e_transfer``.

Nothing is tuned but scorers. They are measured once per seed and kind of pool. An exact repetition has the score of its
original and is left out: two scorers would agree on it for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.engines import spread
from itlib.example import Example
from itlib.execute import load_base
from itlib.registry import selectors
from itlib.resolve import resolve
from itlib.selection import scores
from itlib.spec import RunSpec, digest, stream, with_fields
from itlib.studies.pool_bench import pool_of
from itlib.studies.selecting import arm
from itlib.studies.transfer import IFD, RANDOM, TransferParams
from itlib.workbench import selection_context

LP = "lp"
BASE = "base"
COLUMNS = ("kind_of_pool", "seed", "digest", "score", "scorer", "item", "noise", "value")


def scorers(params: TransferParams) -> dict[str, tuple[str, ...]]:
    """Return the scorers of each score, the smallest first; "base" is the model itself.

    A model of another size cannot be warmed up first, so IFD is compared between models as they are. LP tunes its
    scorer by itself; the larger model is left out, as it takes four times as long as the model.
    """
    large = (params.large,) if params.large else ()
    return {IFD: (params.small, BASE, *large, *params.other_scorers), LP: (params.small, BASE)}


def example_frame(
    params: TransferParams,
    setting: Mapping[str, Any],
    folder: Path | None = None,
    *,
    engine: str = "serial",
    workers: int = 0,
) -> pd.DataFrame:
    """Return one row per kind of pool, seed, score, scorer and example; see ``COLUMNS``.

    * ifd_ppl: PPL(A|Q) / PPL(A).
    * lp: place in the order of LP(1) over the whole pool, without clusters, as a share; 0 is the hardest.

    ``digest`` is that of the random arm of the same seed, whose pool this is.

    Args:
        params: Parameters of the study.
        setting: What dev chose; scorers are tuned with it.
        folder: Where features and scores are kept for selectors; None computes them anew.
        engine: Where pools are scored, as in ``engines.spread``.
        workers: As there.
    """
    tasks = [
        (spec, kind, folder)
        for kind in params.kinds
        for score, names in scorers(params).items()
        for scorer in names
        for spec in map(resolve, arm(params, setting, kind, score, scorer=scorer))
    ]
    return pd.concat(spread(_part, tasks, engine=engine, workers=workers), ignore_index=True)


def _part(spec: RunSpec, kind: str, folder: Path | None) -> pd.DataFrame:
    measure = {IFD: _difficulty, LP: _hardness}[spec.data.selector]
    with pool_of(spec) as pool:
        return _rows(spec, kind, pool, measure(spec, pool, folder))


def _difficulty(spec: RunSpec, pool: Sequence[Example], folder: Path | None) -> np.ndarray:
    return scores(spec, pool, lambda: load_base(spec), folder).values


def _hardness(spec: RunSpec, pool: Sequence[Example], folder: Path | None) -> np.ndarray:
    context = selection_context(spec, pool, lambda: load_base(spec), folder)
    # a tie-break that two scorers share would pass for agreement
    context = replace(context, rng=stream(spec.seed, f"ties under {spec.data.scorer}"))
    order = selectors.get(LP)(pool, len(pool), context, n_clusters=0)
    places = np.empty(len(pool))
    places[order] = np.arange(len(pool)) / len(pool)
    return places


def _rows(spec: RunSpec, kind: str, pool: Sequence[Example], values: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "kind_of_pool": kind,
            "seed": spec.seed,
            "digest": digest(resolve(with_fields(spec, selector=RANDOM, components=())))[:12],
            "score": spec.data.selector,
            "scorer": spec.data.scorer,
            "item": [example.id for example in pool],
            "noise": [example.noise for example in pool],
            "value": values,
        }
    )
    return table.loc[table["noise"] != "duplicate", list(COLUMNS)]
