"""Study 2: does a selected twentieth of a pool do as well as all of it, and better than a random twentieth?

One arena per kind of pool (a random selection, selectors, and the whole pool, trained for equally many steps) and a
curve over budgets. The rate is chosen on dev with random selections alone, so that no selector brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec
from itlib.studies import selecting
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, variant
from itlib.studies.selecting import SelectingParams, arm, check_selectors, choose, settings
from itlib.workbench import WARM

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "DataSelectionParams",
    "arena",
    "candidates",
    "choose",
    "collect",
    "curve_arms",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = ("SE1", "SE1-noisy", "SE2", "SE9", "SE9-noisy", "SE13", "SE13-noisy", "SE25")
UNEQUAL = {
    "tokens": "selectors prefer longer or shorter examples; steps are equal",
    "supervised": "selectors prefer longer or shorter examples; steps are equal",
}  # budgets that differ between arms, and why
RANDOM, FULL = "random", "full"


@dataclass(frozen=True)
class DataSelectionParams(SelectingParams):
    """Parameters of ``02_data_selection``."""

    pool_size: int = param(100, help="examples in the micro-world pool", minimum=2)
    arms: tuple[str, ...] = param(
        ("ifd_loss", "rds", "oracle_clean"),
        help="selectors compared with random; options follow the name after a space",
    )
    ifd_scorer: str = param("warm-16", help="scorer of the arms ifd_*: base, or warm-N, tuned on N of the pool")
    curve: tuple[str, ...] = param((RANDOM, "rds"), help="selectors with a curve over budgets: random or of arms")
    budgets: tuple[int, ...] = param((32,), help="examples taken on the curve, beside n_train and the pool", minimum=1)
    curve_seeds: tuple[int, ...] = param((0, 1), help="seeds of the curve; twice n_train has all seeds", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "arms", "curve", "curve_seeds")
        if self.budgets:
            check_unique(self, "budgets")
        if RANDOM in self.arms:
            raise InputError("arms: 'random' is always compared with; leave it out")
        check_selectors("arms", self.arms)
        for name in self.curve:
            if name not in (RANDOM, *self.arms):
                hint = did_you_mean(name, (RANDOM, *self.arms))
                raise InputError(f"curve: '{name}' is neither random nor one of arms{hint}")
        if strangers := sorted(set(self.curve_seeds) - set(self.seeds)):
            raise InputError(f"curve_seeds: {strangers} are not in seeds; the curve runs on some of them")
        for key, size in (("n_train", self.n_train), *(("budgets", size) for size in self.budgets)):
            if size >= self.pool_size:
                raise InputError(f"{key}: {size} leaves nothing to select; it must be below pool_size {self.pool_size}")
        if self.ifd_scorer != "base" and not WARM.fullmatch(self.ifd_scorer):
            raise InputError(f"ifd_scorer: '{self.ifd_scorer}' is neither base nor warm-N, such as warm-100")
        if self.n_train in self.budgets:
            raise InputError(f"budgets: {self.n_train} is n_train and always there; leave it out")


def arena(params: DataSelectionParams) -> list[str]:
    """Return the names of the arms of one kind of pool that are compared at ``n_train``, and the whole pool."""
    return [FULL, RANDOM, *params.arms]


def curve_arms(params: DataSelectionParams) -> dict[tuple[str, str], dict[int, str]]:
    """Return, for every kind of pool and selector of the curve, its arms by number of examples, ascending.

    All of a pool is the same whatever selects it, so every curve ends in the arm "full".
    """
    ends = {params.n_train: "{kind}/{name}", params.pool_size: f"{{kind}}/{FULL}"}
    places = dict(sorted((ends | {size: f"{{kind}}/{{name}} ({size})" for size in params.budgets}).items()))
    return {
        (kind, name): {size: text.format(kind=kind, name=name) for size, text in places.items()}
        for kind in params.kinds
        for name in params.curve
    }


def designs(params: DataSelectionParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm, "<kind>/<name>" for the arena and "<kind>/<name> (<examples>)" on the curve.

    On the curve, twice ``n_train`` is run with all seeds, since a claim is about it; other budgets with
    ``curve_seeds``.
    """
    cells = {}
    for kind in params.kinds:
        cells[f"{kind}/{FULL}"] = arm(params, setting, kind, RANDOM, n_train=params.pool_size)
        for name in (RANDOM, *params.arms):
            cells[f"{kind}/{name}"] = _selected(params, setting, kind, name, params.n_train, params.seeds)
    for (kind, name), by_size in curve_arms(params).items():
        for size in params.budgets:
            seeds = params.seeds if size == 2 * params.n_train else params.curve_seeds
            cells[by_size[size]] = _selected(params, setting, kind, name, size, seeds)
    return cells


def _selected(
    params: DataSelectionParams, setting: Mapping[str, Any], kind: str, text: str, n_train: int, seeds: Sequence[int]
) -> list[RunSpec]:
    name, *options = text.split()
    fields = {"selector_options": tuple(options), "n_train": n_train}
    if name.startswith("ifd"):
        fields["scorer"] = params.ifd_scorer
    return arm(params, setting, kind, name, seeds=seeds, **fields)


def candidates(params: DataSelectionParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate, the same for every study of selection with these parameters.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, settings(params)[0]))
    return selecting.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what claims and tables read: ``run_frame`` by arm."""
    return arm_frame(results)


def collect(params: DataSelectionParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: DataSelectionParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for runs in designs(params, settings(params)[0]).values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
