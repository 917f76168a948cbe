"""Study 1e: how many examples a model needs, and what size, training length, pretraining and prior tuning buy.

The curve over N of the middle model is that of ``01_data_scaling``: the same runs, from the same store. Beside it stand
a smaller and a larger model, other lengths and random weights, and new task families learned by the base and by a
model that was tuned on all other families before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.grid import grid
from itlib.microworld import world
from itlib.models import resolve_name as resolve_model
from itlib.resolve import INITIALISATIONS
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
from itlib.studies.common import Run, check_unique, replicates, variant

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "EfficiencyParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = ("SC3", "SC8", "S005")
UNEQUAL = {
    "steps": "the number of visits is an axis of the study",
    "tokens": "the number of visits is an axis of the study",
    "supervised": "the number of visits is an axis of the study",
}  # budgets that differ between arms, and why
SMALLER, MIDDLE, LARGER = "smaller model", "middle model", "larger model"
NEW_BASE, NEW_TUNED = "new, base", "new, tuned"


@dataclass(frozen=True)
class EfficiencyParams(ChosenParams):
    """Parameters of ``01e_efficiency``. Without a smaller or larger model, or new families, that arm is left out."""

    sizes: tuple[int, ...] = param((16, 64), help="training examples N of the curve of the model", minimum=1)
    smaller_model: str = param("micro-0.2m", help="a model below it; empty leaves it out")
    smaller_sizes: tuple[int, ...] = param((16, 64), help="its training examples N", minimum=1)
    larger_model: str = param("micro-4m", help="a model above it; empty leaves it out")
    larger_sizes: tuple[int, ...] = param((16, 64), help="its training examples N", minimum=1)
    length_sizes: tuple[int, ...] = param((16, 64), help="N of the runs of other lengths or weights", minimum=1)
    budgets: tuple[int, ...] = param((4, 10), help="their training lengths", unit="steps", minimum=1)
    initialisations: tuple[str, ...] = param(INITIALISATIONS, help="their weights", choices=INITIALISATIONS)
    new_families: tuple[str, ...] = param(
        ("plural", "size", "two_hop", "swap"), help="families held out of the prior tuning; empty leaves it out"
    )
    new_sizes: tuple[int, ...] = param((8, 16), help="N of the new families", minimum=1)
    prior_size: int = param(32, help="examples of all other families in the prior tuning", minimum=1)
    passes: int = param(3, help="visits of every example in both arms on new families", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = ("sizes", "smaller_sizes", "larger_sizes", "length_sizes", "budgets", "initialisations", "new_sizes")
        check_unique(self, *axes)
        standard = world.default_families()
        for name in self.new_families:
            if name not in standard:
                raise InputError(f"new_families: '{name}' is no standard family{did_you_mean(name, standard)}")
        if len(set(self.new_families)) < len(self.new_families):
            raise InputError(f"new_families: the list repeats a value: {list(self.new_families)}")
        if len(self.new_families) == len(standard):
            raise InputError("new_families: none of the standard families is left for the prior tuning")


def candidates(params: EfficiencyParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: EfficiencyParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm; a run may belong to several arms.

    * "middle model": the curve of the study's own model, as in ``01_data_scaling``. "smaller model" and "larger model":
      the same for other models; where one base is shipped, all seeds tune that one.
    * "length": sizes crossed with training lengths and initial weights.
    * "new, base" and "new, tuned": see ``new_designs``.

    Raises:
        InputError: New families are asked of data that has none, or a model or data cannot be found.
    """
    base = tuned_base(params, setting)
    if params.new_families and base.data.source != "microworld":
        raise InputError(f"new_families: data '{params.data}' has no task families; leave the list empty")
    cells = {MIDDLE: grid(base, n_train=params.sizes)}
    for arm, model, sizes in (
        (SMALLER, params.smaller_model, params.smaller_sizes),
        (LARGER, params.larger_model, params.larger_sizes),
    ):
        cells[arm] = grid(with_fields(base, **resolve_model(model)), n_train=sizes) if model else []
    cells["length"] = grid(
        base, n_train=params.length_sizes, budget=params.budgets, initialisation=params.initialisations
    )
    cells |= new_designs(params, base) if params.new_families else {NEW_BASE: [], NEW_TUNED: []}
    return {name: replicates(arm, params.seeds, params.base_seed) for name, arm in cells.items()}


def new_designs(params: EfficiencyParams, base: RunSpec) -> dict[str, list[RunSpec]]:
    """Return the runs that learn new families: by the base alone, and after other families.

    Both arms see the same new examples (the first N of one pool, so sizes nest) equally often, ``passes`` times, and
    are tested on the new families alone. The tuned arm first makes as many passes over ``prior_size`` examples of all
    other standard families. The rate is constant: the new part comes last, and under a falling rate it would be
    learned at a lower one than in the other arm.
    """
    new = params.new_families
    others = tuple(name for name in world.default_families() if name not in new)
    common = with_fields(
        base, eval_families=new, budget=params.passes, budget_unit="epochs", schedule="constant", warmup_fraction=0.0
    )
    alone = grid(
        with_fields(common, families=new), zipped=[{"n_train": params.new_sizes, "pool_size": params.new_sizes}]
    )
    after = grid(
        with_fields(common, families=others, n_train=params.prior_size, mix_families=new, order="sequential"),
        n_mix=params.new_sizes,
    )
    return {NEW_BASE: alone, NEW_TUNED: after}


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, with ``examples`` for the N that an arm varies."""
    frame = arm_frame(results)
    return frame.assign(examples=frame["n_train"].where(frame["arm"] != NEW_TUNED, frame["n_mix"]))


def collect(params: EfficiencyParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: EfficiencyParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for arm in designs(params, {}).values() for spec in arm})
    return f"{n_test} test runs follow once dev has chosen a setting"
