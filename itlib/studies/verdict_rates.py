"""Study 90b: are verdicts right as often as they say?

Runs of one setting that differ in their seeds alone, several on every base. What is judged are invented studies made of
them; see ``itlib.verdict_rates``. A second setting on some of the seeds shows what pairing by seed is worth.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from itlib import verdict_rates as core
from itlib.engines import spread
from itlib.errors import InputError
from itlib.frame import REFERENCE, item_frame, run_frame
from itlib.packing import TRIMMED
from itlib.result import RunResult
from itlib.schema import param
from itlib.selected import scores
from itlib.spec import RunSpec, with_fields
from itlib.stats import power
from itlib.studies import chosen
from itlib.studies.chosen import (
    ChosenParams,
    Designs,
    arm_frame,
    check_designs,
    choose,
    distinct,
    run_designs,
    tuned_base,
)
from itlib.studies.common import Run, check_unique, replicates, variant

__all__ = [
    "VerdictRatesParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "judged",
    "pending",
    "run_designs",
    "spread_of_pairs",
    "variant",
]

SAME, OTHER = "same", "other rate"
DIRECTIONS = ("greater", "less", "different", "equivalent")
REAL, NORMAL = "pairs of runs", "normal"


@dataclass(frozen=True)
class VerdictRatesParams(ChosenParams):
    """Parameters of ``90b_verdict_rates``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    base_seed: int = param(0, help="-1: seed i tunes shipped base i; else this base for all seeds", minimum=-1)
    seeds: tuple[int, ...] = param(
        tuple(range(12)), help="replicates: base, pool, subset, order, initialisation", minimum=0
    )
    n_train: int = param(32, help="training examples", minimum=1)
    margin: float = param(0.03, help="margin of the invented claims", exclusive_minimum=0)
    study_seeds: tuple[int, ...] = param((6,), help="seeds of an invented study", minimum=6)
    parts: tuple[int, ...] = param((1, 2), help="parts of an invented claim", minimum=1)
    draws: int = param(40, help="invented studies of every kind", minimum=1)
    paired_seeds: tuple[int, ...] = param((0, 1, 2, 3), help="seeds with a second setting, some of seeds", minimum=0)
    rate_factor: float = param(2.0, help="by which its learning rate is larger", exclusive_minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "study_seeds", "parts", "paired_seeds")
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no families to make parts of; this study needs microworld")
        if strangers := sorted(set(self.paired_seeds) - set(self.seeds)):
            raise InputError(f"paired_seeds: {strangers} are not in seeds")
        if len(self.paired_seeds) < 2:
            raise InputError("paired_seeds: one seed shows no spread; name two or more")


def candidates(params: VerdictRatesParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run, or there are too few runs of a base for its largest study.
    """
    plan = designs(params, {})
    check_designs(plan)
    bases = [spec.base.base_seed for spec in plan[SAME]]
    counts = [bases.count(base) for base in dict.fromkeys(bases)]
    needed = 2 * math.ceil(max(params.study_seeds) / len(counts))
    if min(counts) < needed or len(set(counts)) > 1:
        raise InputError(
            f"seeds: {len(params.seeds)} seeds are {', '.join(map(str, counts))} runs of the bases; studies of "
            f"{max(params.study_seeds)} seeds need {needed} of each or more, and equally many"
        )
    return chosen.candidates(params)


def designs(params: VerdictRatesParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm: "same" on all seeds, and "other rate" on ``paired_seeds``."""
    base = with_fields(tuned_base(params, setting), n_train=params.n_train)
    other = with_fields(base, learning_rate=params.rate_factor * base.train.learning_rate)
    return {
        SAME: replicates([base], params.seeds, params.base_seed),
        OTHER: replicates([other], params.paired_seeds, params.base_seed),
    }


def cells(params: VerdictRatesParams) -> list[tuple[str, core.Cell]]:
    """Return every kind of invented study, with where its scores come from.

    Claims of several parts are judged at the border, where any part may be wrong, and where all of them are true.
    """
    one = [
        core.Cell(direction, truth, n, margin=params.margin)
        for direction in DIRECTIONS
        for truth in core.TRUTHS
        for n in params.study_seeds
    ]
    several = [
        core.Cell(direction, "border", params.study_seeds[0], k, params.margin)
        for direction in DIRECTIONS
        for k in params.parts
        if k > 1
    ]
    first = [cell for cell in one if cell.n_seeds == params.study_seeds[0]]
    return [(REAL, cell) for cell in (*one, *several)] + [(NORMAL, cell) for cell in first]


def judged(
    params: VerdictRatesParams, results: Sequence[RunResult], *, engine: str = "serial", workers: int = 0
) -> pd.DataFrame:
    """Return one row per kind of invented study.

    Columns: ``scores`` (where they come from), ``claim`` (its direction), ``truth``, ``seeds``, ``parts``, the share
    of each verdict, ``wrong`` and ``allowed``, ``found`` and ``promised`` (NaN where nothing is promised), and
    ``error``, the Monte-Carlo standard error of the larger of both shares.

    Args:
        params: Parameters of the study.
        results: Of the arm "same".
        engine: Where studies are judged, as in ``engines.spread``.
        workers: As there.
    """
    groups = core.replicates(run_frame(results))
    found = components(results)
    sizes = (groups[0].shape[1], params.n_eval)
    tasks = [
        (core.rates, cell, groups, params.draws, 0)
        if source == REAL
        else (core.normal_rates, cell, found, sizes, params.draws, 0)
        for source, cell in cells(params)
    ]
    rows = []
    for (source, cell), shares in zip(
        cells(params), spread(operator.call, tasks, engine=engine, workers=workers), strict=True
    ):
        wrong, right = core.wrong(cell, shares), core.found(cell, shares)
        promised = core.POWER if cell.truth != "border" else math.nan
        worst = np.nanmax([wrong, right])
        rows.append(
            {
                "scores": source,
                "claim": cell.direction,
                "truth": cell.truth,
                "seeds": cell.n_seeds,
                "parts": cell.n_parts,
                **shares,
                "wrong": wrong,
                "allowed": 0.05,
                "found": right,
                "promised": promised,
                "error": math.sqrt(worst * (1 - worst) / params.draws),
            }
        )
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Return one row per direction and source of scores: the largest share of wrong verdicts and the worst power.

    ``bound`` is .05 plus twice its Monte-Carlo error; ``farthest`` is the share found that lies farthest from what is
    promised. ``holds`` says whether no share is above the bound and none farther than 5 points, plus twice the error.
    """
    bound = 0.05 + 2 * math.sqrt(0.05 * 0.95 / draws)
    reach = 0.05 + 2 * math.sqrt(core.POWER * (1 - core.POWER) / draws)
    found = []
    for (source, claim), group in rows.groupby(["scores", "claim"], sort=False):
        away = (group["found"] - group["promised"]).abs()
        far = group.loc[away.idxmax(), "found"]
        holds = group["wrong"].max() <= bound and away.max() <= reach
        found.append(
            {
                "scores": source,
                "claim": claim,
                "most wrong": group["wrong"].max(),
                "bound": bound,
                "farthest": far,
                "promised": core.POWER,
                "holds": "yes" if holds else "no",
            }
        )
    return pd.DataFrame(found)


def components(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return the variance components of single answers over the runs of the arm "same"."""
    rows = item_frame(results)
    rows = rows[(rows["family"] != REFERENCE) & rows["exact_match"].notna()]
    bases = {run.spec.seed: run.spec.base.base_seed for run in results}
    items = rows["family"].astype(str) + " " + rows["item"].astype(str)
    table = {"base": rows["seed"].map(bases), "run": rows["seed"], "item": items, "value": rows["exact_match"]}
    return core.components(pd.DataFrame(table))


def pairing(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what common random numbers are worth: one row per way to compare two settings.

    "same seed" pairs runs that share base, data, order and initialisation, "same base" runs of one base and other
    seeds, "nothing shared" any two runs. ``sd`` is that of one difference; ``seeds`` is how many seeds it takes in
    relation to "same seed" to find the same effect: the ratio of variances. "same base" is left out where no two
    seeds have one.
    """
    frame = arm_frame(results)
    left, right = scores(frame, OTHER), scores(frame, SAME)
    bases = {run.spec.seed: run.spec.base.base_seed for run in results[SAME]}
    shared = [seed for seed in left.index if seed in right.index]
    differences = {
        "same seed": [left[s] - right[s] for s in shared],
        "same base": [left[s] - right[t] for s in left.index for t in right.index if s != t and bases[s] == bases[t]],
        "nothing shared": [left[s] - right[t] for s in left.index for t in right.index if bases[s] != bases[t]],
    }
    sd = {name: float(np.std(values, ddof=1)) for name, values in differences.items() if len(values) > 1}
    rows = [(name, len(differences[name]), value, (value / sd["same seed"]) ** 2) for name, value in sd.items()]
    return pd.DataFrame(rows, columns=["pairs", "n", "sd", "seeds"])


def spread_of_pairs(results: Sequence[RunResult]) -> float:
    """Return the standard deviation of the difference of two runs of one base; see ``verdict_rates.pair_sd``."""
    return core.pair_sd(core.replicates(run_frame(results)))


def promises(params: VerdictRatesParams, sd: float) -> pd.DataFrame:
    """Return the power of the test against a difference of the margin by number of seeds, for this spread."""
    return pd.DataFrame([(n, power(params.margin, sd, n)) for n in range(6, 41, 2)], columns=["seeds", "power"]).assign(
        margin=params.margin, sd=sd
    )


def collect(params: VerdictRatesParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: VerdictRatesParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n = len(params.seeds) + len(params.paired_seeds)
    return f"{n} test runs follow once dev has chosen among {len(params.learning_rates)} settings"
