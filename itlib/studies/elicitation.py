"""Why do addition and copying follow an instruction so poorly, when documents of the same form are continued right?

Each of the two skills is tuned alone and among other families, with the number of its examples held where it can be,
and asked on new operands in phrasings that the pool has: a matter of operands, not of wording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from itlib.frame import run_frame
from itlib.microworld import world
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies.common import Run, StudyParams, base_spec, check_unique, replicates, variant

__all__ = ["SKILLS", "ElicitationParams", "arms", "collect", "effects", "pending", "score_frame", "variant"]

SKILLS = ("addition", "copy")
ARMS = ("alone, few operands", "alone", "with the other categories", "with all families")


@dataclass(frozen=True)
class ElicitationParams(StudyParams):
    """Parameters of ``elicitation``. Choices were fixed before the runs; nothing is selected on their outcome."""

    seeds: tuple[int, ...] = param((0,), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    n_alone: int = param(40, help="examples of a skill tuned alone", minimum=1)
    few_operands: int = param(10, help="different operands in the arm with few", minimum=1)
    n_mixed: int = param(200, help="examples in all when tuned among other families", minimum=1)
    learning_rate: float = param(2e-3, help="peak rate of every arm", exclusive_minimum=0)
    budget: float = param(10.0, help="optimiser steps of every arm", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "seeds")


def arms(params: ElicitationParams) -> dict[tuple[str, str], list[RunSpec]]:
    """Return the specs of each (skill, arm), one per seed, all evaluated on the dev items of the skill alone.

    * "alone, few operands": the skill only, many phrasings of few operands.
    * "alone": the skill only, as many operands as there are.
    * "with the other categories": among the standard families that are not of the skill's own category.
    * "with all families": among all standard families, its relatives included.
    """
    base = with_fields(
        base_spec(params),
        learning_rate=params.learning_rate,
        budget=params.budget,
        split="dev",
        eval_phrasing_set="observed",
    )
    standard = world.default_families()
    designs: dict[tuple[str, str], list[RunSpec]] = {}
    for skill in SKILLS:
        strangers = tuple(name for name in standard if world.category(name) != world.category(skill))
        alone = {"families": (skill,), "n_train": params.n_alone, "pool_size": params.n_alone}
        mixed = {"n_train": params.n_mixed, "pool_size": max(params.pool_size, params.n_mixed)}
        for arm, fields in zip(
            ARMS,
            (
                alone | {"n_operands": params.few_operands},
                alone,
                mixed | {"families": (*strangers, skill)},
                mixed,
            ),
            strict=True,
        ):
            spec = with_fields(base, eval_families=(skill,), **fields)
            designs[skill, arm] = replicates([spec], params.seeds, params.base_seed)
    return designs


def collect(params: ElicitationParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results)."""
    return run([spec for specs in arms(params).values() for spec in specs])


def pending(params: ElicitationParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet: nothing, there is no choice to make."""
    return ""


def score_frame(params: ElicitationParams, results: Sequence[RunResult]) -> pd.DataFrame:
    """Return exact match per run as (skill, arm, seed, examples, value); ``examples`` are those of the skill."""
    cells = [cell for cell, specs in arms(params).items() for _ in specs]
    rows = []
    for result, (skill, arm) in zip(results, cells, strict=True):
        frame = run_frame([result])
        data = result.spec.data
        rows.append(
            {
                "skill": skill,
                "arm": arm,
                "seed": result.spec.seed,
                "examples": round(data.n_train / (len(data.families) or len(world.default_families()))),
                "value": frame.loc[frame["metric"] == "exact_match", "value"].mean(),
            }
        )
    return pd.DataFrame(rows)


def effects(scores: pd.DataFrame) -> pd.DataFrame:
    """Return per skill and arm the examples of the skill, and mean and standard deviation over seeds."""
    grouped = scores.groupby(["skill", "arm"], sort=False)
    columns = {"examples": ("examples", "first"), "mean": ("value", "mean"), "sd": ("value", "std")}
    return grouped.agg(**columns, seeds=("value", "count")).reset_index()
