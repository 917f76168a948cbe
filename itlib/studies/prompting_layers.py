"""Layers of ``03f_prompting``: how alike base, prompted and tuned models represent the same items.

The states are those at the last token of a prompt, where the answer begins, of every layer; see
``itlib.representations``. They are computed from stored weights, so a second execution computes them again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.representations import run_states
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.similarity import linear_cka
from itlib.store import Store
from itlib.studies.prompting import OBSERVED, SETS, WRAPPER, PromptingParams, compared

COLUMNS = ("seed", "left", "right", "left_set", "right_set", "layer", "value")
SAME = tuple((which, which) for which in SETS)
DIGITS = 6  # what is stored; the last digits of a sum depend on the machine


def similarities(params: PromptingParams, results: Mapping[str, Sequence[RunResult]], store: Store) -> pd.DataFrame:
    """Return the linear CKA of every layer between models on the same items, and of every model between wrappers.

    Pairs of arms (base and largest size, without and with demonstrations) are compared on the items of each set of
    wrappers. Beside that stands each arm against itself, the same operands asked in observed and in unobserved
    wrappers: how stable its representations are under a change of prompt. A seed of which one of the arms did not
    finish has no row.

    Columns: ``seed``, ``left`` and ``right`` (arms), ``left_set`` and ``right_set``, ``layer`` (from 1), ``value``.
    """
    rows: list[tuple[object, ...]] = []
    if params.compare_layers:
        for seed, runs in _finished(params, results):
            states = {arm: _by_set(result, run_states(result.spec, store)) for arm, result in runs.items()}
            for left, right in itertools.combinations(states, 2):
                rows += [(seed, left, right, *row) for row in _layers(states[left], states[right], SAME)]
            for arm, mine in states.items():
                rows += [(seed, arm, arm, *row) for row in _layers(mine, mine, [(OBSERVED, WRAPPER)])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _finished(
    params: PromptingParams, results: Mapping[str, Sequence[RunResult]]
) -> Iterator[tuple[int, dict[str, RunResult]]]:
    """Yield every seed of which all compared arms finished, with the result of each arm."""
    for position, seed in enumerate(params.seeds):
        runs = {arm: results[arm][position] for arm in compared(params)}
        if all(result.status == "done" for result in runs.values()):
            yield seed, runs


def _by_set(result: RunResult, states: np.ndarray) -> dict[str, np.ndarray]:
    """Return the states of each set of wrappers, (n_layers, n_items, width); row i asks the same operands in both."""
    place = ITEM_COLUMNS.index("phrasing")
    sets = np.array([item[place].split("/")[0] for item in result.items if "/" in item[place]])
    return {which: states[:, sets == which] for which in SETS}


def _layers(
    left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str, int, float]]:
    return [
        (a, b, layer + 1, round(linear_cka(x, y), DIGITS))
        for a, b in pairs
        for layer, (x, y) in enumerate(zip(left[a], right[b], strict=True))
    ]
