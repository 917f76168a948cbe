"""Study 2f: which selector suits a user's own file and model?

Every selector takes the same number of examples from the same pool, the model is tuned on each subset for equally many
steps, and the loss on held-out rows of the file says what it was worth. There are no claims here: what holds for a file
is for its owner to find out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from itlib.errors import InputError
from itlib.packing import TRIMMED
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
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
from itlib.studies.common import Run, check_unique, data_summary, one_per_base, replicates, variant
from itlib.studies.selecting import check_selectors

__all__ = [
    "CLAIMS",
    "OwnSelectionParams",
    "candidates",
    "choose",
    "collect",
    "data_summary",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "selecting_arms",
    "variant",
]

CLAIMS: tuple[str, ...] = ()
UNTUNED, RANDOM, FULL = "untuned", "random", "full"


@dataclass(frozen=True)
class OwnSelectionParams(ChosenParams):
    """Parameters of ``02f_own_data``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    pool_size: int = param(100, help="examples in the micro-world pool; a file is always taken whole", minimum=2)
    selectors: tuple[str, ...] = param(
        ("perplexity_response", "rds", "longest", "k_means_random"),
        help="selectors compared with random; options follow the name after a space",
    )
    n_train: int = param(16, help="examples that a selector takes", minimum=1)
    scorer: str = param("base", help="what scores: base, warm-N (tuned on N random examples), or another model")
    n_targets: int = param(2, help="dev items that target-aware selectors see; of a file, in all", minimum=1)
    full_pool: bool = param(True, help="also tune on the whole pool")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "selectors")
        if RANDOM in self.selectors:
            raise InputError("selectors: 'random' is always compared with; leave it out")
        check_selectors("selectors", self.selectors)


def designs(params: OwnSelectionParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm: "untuned", "random", "full" if asked for, and every selector under its own text.

    An untuned base does not depend on the rest of a seed: it is measured once. All other arms tune the same bases for
    equally many steps and are asked the same held-out rows.

    Raises:
        InputError: ``n_train`` leaves nothing to select.
    """
    base = with_fields(tuned_base(params, setting), n_targets=params.n_targets, describe_selection=True)
    untuned = with_fields(base, n_train=0)
    size = resolve(untuned).data.pool_size
    if params.n_train >= size:
        raise InputError(f"n_train: {params.n_train} leaves nothing to select; the pool has {size} examples")
    cells = {UNTUNED: untuned, RANDOM: with_fields(base, n_train=params.n_train)}
    if params.full_pool:
        cells[FULL] = with_fields(base, n_train=size)
    for text in params.selectors:
        name, *options = text.split()
        how = {"selector": name, "selector_options": tuple(options), "scorer": params.scorer}
        cells[text] = with_fields(base, n_train=params.n_train, **how)
    arms = {name: replicates([spec], params.seeds, params.base_seed) for name, spec in cells.items()}
    return {**arms, UNTUNED: one_per_base(arms[UNTUNED])}


def selecting_arms(params: OwnSelectionParams) -> list[str]:
    """Return the names of the arms that take ``n_train`` examples, the random one first."""
    return [RANDOM, *params.selectors]


def candidates(params: OwnSelectionParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate with random examples; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    first = {"learning_rate": params.learning_rates[0], "train_embeddings": params.embeddings[0] == "trained"}
    check_designs(designs(params, first))
    return chosen.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what tables and figures read: ``run_frame`` by arm."""
    return arm_frame(results)


def collect(params: OwnSelectionParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: OwnSelectionParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    first = {"learning_rate": params.learning_rates[0], "train_embeddings": False}
    n_test = len({spec for runs in designs(params, first).values() for spec in runs})
    n_settings = len(params.learning_rates) * len(params.embeddings)
    return f"{n_test} test runs follow once dev has chosen among {n_settings} settings"
