"""Study 4: does low-rank adaptation learn as much as full fine-tuning, and forget less?

Arms are tuning methods that see the same data in the same order for equally many steps, each at a learning rate of its
own that dev chose among equally many. What an arm forgets is how much the loss on documents of pretraining rises over
that of the untuned base of the seed.

One rate per arm is one point of what it could do. The frontier runs every arm at all of its candidate rates, so that
arms can be compared where they learn equally much. Its points are ends of runs, not probes on the way: a run that is
stopped early has not come down its schedule, so that it forgets what the same length would not have cost; probes ask
other items in other wordings than the test does; and they cannot be had for files. The runs at the chosen rates are
points of it already. Where there is time, ``more_steps`` adds lengths, each with a schedule of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from itlib.claims.lora_vs_full import OTHER, OWN, UNTUNED
from itlib.errors import InputError
from itlib.frame import run_frame
from itlib.measures import KEY as MEASURES
from itlib.measures.recall import base_recall
from itlib.methods import method_of, written_options
from itlib.registry import models
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import MethodSpec, RunSpec, with_fields
from itlib.spectra import count_below
from itlib.store import Store
from itlib.studies.chosen import Designs, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, one_per_base, replicates, variant
from itlib.studies.tuned_arms import (
    Rates,
    TunedArmsParams,
    arm_fields,
    arm_runs,
    best_rates,
    check_arms,
    first_rates,
    rate_grid,
    rates_of,
    tuned_base,
)

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "LoraVsFullParams",
    "base_recall",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "frontier_designs",
    "known_before",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = ("L1", "L8", "L9")
UNEQUAL: Mapping[str, str] = {}  # no budget differs between the arms
THRESHOLD = 0.5  # cosine below which a direction counts as new, as in arXiv:2410.21228


@dataclass(frozen=True)
class LoraVsFullParams(TunedArmsParams):
    """Parameters of ``04_lora_vs_full``."""

    arms: tuple[str, ...] = param(
        ("full", "lora 16", "lora 16 qv"), help="tuning methods; the first is what others are compared with"
    )
    frontier: bool = param(True, help="also run every arm at all of its candidate rates on all seeds")
    more_steps: tuple[int, ...] = param((), help="further training lengths of the frontier", unit="steps", minimum=1)
    spectra: bool = param(True, help="singular values of what tuning changed; slow for wide models")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "arms")
        check_arms(self.arms)
        _check_different(self.arms)
        if self.budget in self.more_steps:
            raise InputError(f"more_steps: {self.budget} is the budget, which the frontier has anyway")
        if len(set(self.more_steps)) < len(self.more_steps):
            raise InputError(f"more_steps: the list repeats a value: {list(self.more_steps)}")
        if self.more_steps and not self.frontier:
            raise InputError("more_steps: lengths of the frontier, which frontier: false leaves out")


def _check_different(arms: Sequence[str]) -> None:
    """Refuse two names of one arm."""
    known: dict[MethodSpec, str] = {}
    for arm in arms:
        spec = MethodSpec(**arm_fields(arm))
        spec = replace(spec, method_options=written_options(spec))
        if spec in known:
            raise InputError(f"arms: '{known[spec]}' and '{arm}' are the same arm")
        known[spec] = arm


def candidates(params: LoraVsFullParams) -> list[RunSpec]:
    """Return the dev runs: every arm with every candidate rate; empty where there is one.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    rates = first_rates(params, params.arms)
    check_designs(designs(params, rates))
    check_designs(frontier_designs(params, rates))
    return rate_grid(params, params.arms)


def choose(params: LoraVsFullParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the learning rate of every arm; see ``tuned_arms.best_rates``."""
    return best_rates(params, params.arms, dev_results)


def designs(params: LoraVsFullParams, rates: Rates) -> Designs:
    """Return the test runs by arm at the chosen rates, and under "untuned" every base once."""
    base = tuned_base(params)
    untuned = replicates([with_fields(base, n_train=0)], params.seeds, params.base_seed)
    found: dict[str, Sequence[RunSpec]] = {UNTUNED: one_per_base(untuned)}
    for arm in params.arms:
        found |= arm_runs(params, [arm], rates, base=base, measures=_measures(params, base, arm))
    return found


def frontier_designs(params: LoraVsFullParams, rates: Rates) -> Designs:
    """Return the further runs by arm: all other rates, and all rates at other lengths; empty without a frontier."""
    found: dict[str, Sequence[RunSpec]] = {}
    if not params.frontier:
        return found
    base = tuned_base(params)
    for arm in params.arms:
        settings = [(rate, steps) for steps in (params.budget, *params.more_steps) for rate in rates_of(params, arm)]
        settings.remove((rates[arm], params.budget))
        cells = [with_fields(base, **arm_fields(arm), learning_rate=rate, budget=steps) for rate, steps in settings]
        found[arm] = replicates(cells, params.seeds, params.base_seed)
    return found


def _measures(params: LoraVsFullParams, base: RunSpec, arm: str) -> tuple[str, ...]:
    """Return what is read off the runs of an arm: facts where the base is one of ours, spectra where weights change."""
    found = ("recall",) if _is_shipped(base) else ()
    weights = method_of(MethodSpec(**arm_fields(arm))).mergeable
    return (*found, "spectra") if params.spectra and weights else found


def _is_shipped(spec: RunSpec) -> bool:
    """Return whether a base was told our facts."""
    return hasattr(models.get(spec.base.model), "base_seeds")


def known_before(results: Mapping[str, Sequence[RunResult]], store: Store | None = None) -> pd.DataFrame:
    """Return what the untuned bases know, see ``base_recall``; empty where they were not told our facts.

    Args:
        results: From ``designs``.
        store: Where it is kept once it is known; None keeps nothing.
    """
    shipped = [result.spec for result in results[UNTUNED] if _is_shipped(result.spec)]
    return base_recall(shipped, store and store.features)


def evidence(
    results: Mapping[str, Sequence[RunResult]],
    others: Mapping[str, Sequence[RunResult]],
    before: pd.DataFrame,
) -> pd.DataFrame:
    """Return what claims, tables and figures read: one tidy frame.

    Rows of kind "test" are those of ``run_frame`` with ``arm`` and ``point``: "own rate", "another rate" or "untuned".
    Rows of kind "recall" have ``frequency``. Rows of kind "weights" have one metric of the whole model each: ``change``
    (Frobenius norm), ``effective_rank`` (of the change of a matrix, mean over those that moved), and ``new``,
    ``new_noise`` and ``new_turned``: directions among the first ten of a matrix that the base does not have (mean), the
    same for noise as large as the change and for its singular values in random directions.

    Args:
        results: From ``designs``.
        others: From ``frontier_designs``.
        before: From ``known_before``.
    """
    parts = []
    for arm, runs in results.items():
        about = {"arm": arm, "point": UNTUNED if arm == UNTUNED else OWN}
        parts.append(run_frame(runs).assign(kind="test", frequency=np.nan, **about))
        read_off = [_known(before, run) if arm == UNTUNED else _read_off(run) for run in runs]
        about_runs = [_fields(run) for run in runs]
        rows = [fields | row for fields, found in zip(about_runs, read_off, strict=True) for row in found]
        parts.append(pd.DataFrame(rows).assign(**about))
    for arm, runs in others.items():
        parts.append(run_frame(runs).assign(kind="test", frequency=np.nan, arm=arm, point=OTHER))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _fields(run: RunResult) -> dict[str, Any]:
    """Return what every row of a run has in common."""
    nothing = {"category": "", "familiarity": "", "n_items": 0}
    fields: dict[Any, Any] = run_frame([run]).iloc[0].to_dict()
    return fields | nothing


def _known(before: pd.DataFrame, run: RunResult) -> list[dict[str, Any]]:
    mine = before[before["base_seed"] == run.spec.base.base_seed]
    return _recalled(mine["frequency"], mine["recall"])


def _read_off(run: RunResult) -> list[dict[str, Any]]:
    """Return rows of what measures gave; a run that stopped has none."""
    found = run.totals.get(MEASURES, {})
    recall, weights = found.get("recall"), found.get("spectra")
    rows = _recalled(recall["frequency"], recall["recall"]) if recall else []
    named = {"kind": "weights", "family": "weights", "frequency": np.nan}
    return rows + [
        named | {"metric": key, "value": value} for key, value in (_summary(weights) if weights else {}).items()
    ]


def _recalled(frequencies: Iterable[float], values: Iterable[float]) -> list[dict[str, Any]]:
    named = {"kind": "recall", "family": "people", "metric": "recall"}
    return [named | {"frequency": f, "value": value} for f, value in zip(frequencies, values, strict=True)]


def _summary(columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    vectors = pd.DataFrame(columns)
    vectors = vectors[vectors["change"] > 0]
    whole = vectors.drop_duplicates("matrix")
    found = {"change": float(np.sqrt((whole["change"] ** 2).sum()))}
    found["effective_rank"] = float(whole["effective_rank"].mean())
    for name, column in (("new", "similarity"), ("new_noise", "noise"), ("new_turned", "turned")):
        found[name] = float(count_below(vectors[column].to_numpy(), [THRESHOLD])[0] / len(whole))
    return found


def collect(params: LoraVsFullParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    rates = choose(params, run(candidates(params)))
    results = distinct(run_designs(designs(params, rates), run))
    return results + distinct(run_designs(frontier_designs(params, rates), run))


def pending(params: LoraVsFullParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    rates = first_rates(params, params.arms)
    n_test, n_more = (
        len({spec for runs in part.values() for spec in runs})
        for part in (designs(params, rates), frontier_designs(params, rates))
    )
    return f"{n_test} test runs follow once dev has chosen rates, and {n_more} at the other rates"
