"""Study 3e: whose instructions a tuned model follows: those hidden in its input, and several in a row.

*Injections.* An instruction of another task stands inside the input. One arm never saw an instruction: a base tuned on
the bare inputs of one task. Others were tuned on instructions of all families, before that task or with it among them.
All arms train at one constant rate, so that a part that comes last is learned like one that comes alone.

*Chains.* Operations on a list, one after another, with their steps shown. One arm trains on single operations, the
other on single ones and pairs, at equally many tokens; both are asked for one to five, in pairs that no training had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.injections import PLACES
from itlib.microworld import world
from itlib.microworld.families.chains import LENGTHS
from itlib.packing import TRIMMED
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
from itlib.studies.following_scores import attack_rows, chain_rows

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "FollowingParams",
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

CLAIMS = ("R14", "R15")
UNEQUAL = {
    "steps": "tuning for one task and for many is compared at equal accuracy of the task, chains at equal tokens",
    "tokens": "tuning for one task and for many is compared at equal accuracy of the task, chains at equal tokens",
    "supervised": "tuning for one task and for many is compared at equal accuracy of the task, chains at equal tokens",
}  # budgets that differ between arms, and why
ALONE, THEN, INSTRUCTED, NEGATIVES = "task alone", "instructed, then task", "instructed", "instructed with negatives"
SINGLES, PAIRS = "singles", "singles and pairs"
CHAIN_TOKENS = 64  # of an answer: five steps of eight tokens and four separators, the stop token, and some room


@dataclass(frozen=True)
class FollowingParams(ChosenParams):
    """Parameters of ``03e_following``. ``budget`` is the length of instruction tuning and of the dev runs."""

    cpu_kernel: ClassVar[str] = TRIMMED

    tasks: tuple[str, ...] = param(("longer",), help="families that are tuned alone and attacked")
    task_size: int = param(16, help="training examples of a task", minimum=1)
    task_steps: int = param(5, help="training length of a task", unit="steps", minimum=1)
    negative_share: float = param(0.5, help="examples with an injection in the arm of negatives", minimum=0, maximum=1)
    n_attacked: int = param(6, help="test items per task, each asked at every place", minimum=1)
    chain_size: int = param(32, help="training examples of both arms on chains", minimum=1)
    chain_tokens: int = param(4000, help="training length of both arms on chains", unit="tokens", minimum=1)
    n_chains: int = param(2, help="test items per length of a chain", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "tasks")
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no other tasks to inject; this study needs microworld")
        standard = world.default_families()
        for name in self.tasks:
            if name not in standard:
                raise InputError(f"tasks: '{name}' is no standard family{did_you_mean(name, standard)}")
        if self.task_size * self.budget % self.task_steps:
            raise InputError(
                f"task_size: {self.task_size} examples in {self.task_steps} steps are no whole number in {self.budget}"
            )

    @property
    def instruction_size(self) -> int:
        """Examples of instruction tuning: visited as often as those of a task, in ``budget`` steps."""
        return self.task_size * self.budget // self.task_steps


def candidates(params: FollowingParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: FollowingParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm; arms that tune on one task have a run per task and seed, "ARM/TASK".

    Raises:
        InputError: A task has many right responses.
    """
    cells = injection_designs(params, tuned_base(params, setting)) | chain_designs(params, tuned_base(params, setting))
    return {name: replicates([spec], params.seeds, params.base_seed) for name, spec in cells.items()}


def injection_designs(params: FollowingParams, base: RunSpec) -> dict[str, RunSpec]:
    """Return the runs that are attacked.

    * "task alone/TASK": the base tuned on inputs and responses of one task, without any instruction.
    * "instructed, then task/TASK": instructions of all other families first, then the same as before.
    * "instructed": instructions of all families, that of the task among them.
    * "instructed with negatives": the same, ``negative_share`` of the examples with an injection that is not followed.
    """
    attacked = {"n_eval": params.n_attacked, "injection": "+".join(PLACES)}
    common = with_fields(base, schedule="constant", warmup_fraction=0.0, **attacked)
    instructed = with_fields(
        common, n_train=params.instruction_size, eval_families=params.tasks, eval_phrasing_set="observed"
    )
    options = (f"share={params.negative_share:g}",)
    cells = {
        INSTRUCTED: instructed,
        NEGATIVES: with_fields(instructed, augmentation="with_injections", augmentation_options=options),
    }
    for task in params.tasks:
        bare = with_fields(common, eval_families=(task,), eval_phrasing_set="none")
        cells[f"{ALONE}/{task}"] = with_fields(
            bare, families=(task,), phrasing_set="none", n_train=params.task_size, budget=params.task_steps
        )
        cells[f"{THEN}/{task}"] = with_fields(
            bare,
            families=tuple(name for name in world.default_families() if name != task),
            n_train=params.instruction_size,
            mix_families=(task,),
            mix_phrasing_set="none",
            n_mix=params.task_size,
            order="sequential",
            budget=params.budget + params.task_steps,
        )
    return cells


def chain_designs(params: FollowingParams, base: RunSpec) -> dict[str, RunSpec]:
    """Return the runs on chains: single operations, or single ones and pairs, with their steps.

    Both arms train on equally many tokens of equally many examples. They are asked for one to five operations and
    answer freely, since steps can be right where the whole is not. The list and the names of the operations are the
    whole question: a chain is its own instruction, and no other words have to be understood.
    """
    common = with_fields(
        base,
        n_train=params.chain_size,
        budget=params.chain_tokens,
        budget_unit="tokens",
        phrasing_set="none",
        eval_phrasing_set="none",
        eval_families=chain_families(LENGTHS),
        n_eval=params.n_chains,
        free_answers=True,
        max_new_tokens=CHAIN_TOKENS,
    )
    arms = {SINGLES: (1,), PAIRS: (1, 2)}
    return {name: with_fields(common, families=chain_families(lengths)) for name, lengths in arms.items()}


def chain_families(lengths: Sequence[int]) -> tuple[str, ...]:
    """Return the families of chains of these lengths that show their steps."""
    return tuple(f"worked_chain_{length}" for length in lengths)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, and below it rows of attacks and of chains per run.

    ``arm`` is the name without its task. ``kind`` is "test", "attack" (``place`` of the injection, ``family`` is the
    task; metrics "hit", "collision", "corrected" and "own") or "chain" (``length``; metrics "all_steps", "independent",
    "step", "true_step" and "final").
    """
    parts = [arm_frame(results)]
    for arm, runs in results.items():
        for rows in (attack_rows(runs), chain_rows(runs)):
            if len(rows):
                parts.append(rows.assign(arm=arm))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(arm=frame["arm"].str.partition("/")[0])


def collect(params: FollowingParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: FollowingParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for arm in designs(params, {}).values() for spec in arm})
    return f"{n_test} test runs follow once dev has chosen a setting"
