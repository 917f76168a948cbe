"""Study 2e: does a selection that was made with one model serve another?

A small model scores, and the model of the study is tuned on what it took, beside the same selection scored by the model
itself. A larger model is tuned on what the model of the study selected in clusters, once and in rounds. How far scorers
of several sizes agree on single examples is measured without any run; see ``transfer_scores``.

The smaller and the larger model are shipped as one base each, so all seeds share them: an interval over seeds speaks of
new pools and of new bases of the middle size, never of new small or large ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.errors import InputError
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec
from itlib.studies import selecting
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, variant
from itlib.studies.selecting import SelectingParams, arm, choose, settings

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "TransferParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "scored",
    "variant",
]

CLAIMS = ("SE4", "SE7", "SE11", "SE11-noisy", "SE20")
UNEQUAL = {
    "tokens": "selectors prefer longer or shorter examples; steps are equal",
    "supervised": "selectors prefer longer or shorter examples; steps are equal",
}  # budgets that differ between arms, and why
RANDOM, REDUNDANT = "random", "redundant"
IFD, LESS = "ifd_ppl", "less_sgd"
ROUNDS = ("kmq", "iterative_kmq")


@dataclass(frozen=True)
class TransferParams(SelectingParams):
    """Parameters of ``02e_transfer``."""

    pool_size: int = param(100, help="examples in the micro-world pool", minimum=2)
    small: str = param("micro-0.2m", help="a smaller model that scores for the model")
    large: str = param("micro-4m", help="a larger model, tuned on what the model selects; empty leaves it out")
    other_scorers: tuple[str, ...] = param((), help="further scorers of the agreement, such as warm-100")
    large_seeds: tuple[int, ...] = param((0,), help="seeds of the larger model, some of seeds", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "large_seeds")
        _check_models(self)
        if self.n_train >= self.pool_size:
            raise InputError(f"n_train: {self.n_train} leaves nothing to select; pool_size is {self.pool_size}")
        if strangers := sorted(set(self.large_seeds) - set(self.seeds)):
            raise InputError(f"large_seeds: {strangers} are not in seeds; the larger model runs on some of them")
        if self.large and self.base_seed >= 0:
            raise InputError("base_seed: the larger model gets what base i selects with seed i; take -1, or no large")


def _check_models(params: TransferParams) -> None:
    named: dict[str, str] = {"base": "model"}
    texts = [("model", params.model), ("small", params.small), ("large", params.large)]
    for key, text in (*texts, *(("other_scorers", text) for text in params.other_scorers)):
        if not text and key != "large":
            raise InputError(f"{key}: empty; name a scorer, such as micro-0.2m or warm-100")
        if text and text in named:
            raise InputError(f"{key}: '{text}' is also {named[text]}; scorers are compared with each other")
        named[text] = key


def scored(kind: str) -> tuple[str, ...]:
    """Return the selectors that both the model and the smaller one score for in a kind of pool."""
    return (IFD, LESS) if kind == REDUNDANT else (LESS,)


def designs(params: TransferParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm.

    * "<kind>/random", "<kind>/<selector>" scored by the model itself, and "<kind>/<selector> by <small>". IFD is the
      subject of claims about pools where everything is right, and is left out elsewhere.
    * "redundant/kmq" and "redundant/iterative_kmq" for the model, and "... for <large>": the larger model is tuned on
      what the model of the study takes, as the paper takes Llama-2's selection for Llama-3. It has the same rate, since
      that is also the rate of the scorer between rounds, and another one would give another selection.
    """
    cells = {}
    for kind in params.kinds:
        cells[f"{kind}/{RANDOM}"] = arm(params, setting, kind, RANDOM)
        for name in scored(kind):
            cells[f"{kind}/{name}"] = arm(params, setting, kind, name)
            cells[f"{kind}/{name} by {params.small}"] = arm(params, setting, kind, name, scorer=params.small)
    for name in ROUNDS if REDUNDANT in params.kinds else ():
        cells[f"{REDUNDANT}/{name}"] = arm(params, setting, REDUNDANT, name)
        if params.large:
            larger = dataclasses.replace(params, model=params.large, large="")
            how = {"seeds": params.large_seeds, "scorer": params.model}
            cells[f"{REDUNDANT}/{name} for {params.large}"] = arm(larger, setting, REDUNDANT, name, **how)
    return cells


def candidates(params: TransferParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate, the same for every study of selection with these parameters.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, settings(params)[0]))
    return selecting.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]], agreement: pd.DataFrame) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, and the rows of ``transfer_tables.agreement`` below it."""
    frame = arm_frame(results)
    return pd.concat([frame, agreement], ignore_index=True) if len(agreement) else frame


def collect(params: TransferParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: TransferParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for runs in designs(params, settings(params)[0]).values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
