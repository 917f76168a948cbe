"""Study 1b: does variety of tasks help tasks that were never tuned on?

Four comparisons, each at a fixed number of examples: families, categories, kinds of instruction, and tasks per input.
All use the setting that study 1 chooses on dev, and its runs on all families; see ``itlib.roles`` for the roles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.frame import REFERENCE, run_frame
from itlib.microworld import splits, world, writers
from itlib.microworld.dice import Dice
from itlib.microworld.phrasings import ADVERSARIAL, SETS
from itlib.registry import families
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.roles import ALWAYS, HELD_OUT, TUNED
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import data_scaling
from itlib.studies.chosen import ChosenParams, as_data_scaling
from itlib.studies.common import Run, check_unique, replicate, variant
from itlib.studies.data_scaling import DataScalingParams

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "Arm",
    "VarietyParams",
    "arms",
    "choice_grid",
    "choose",
    "collect",
    "held_out_families",
    "labelled_frame",
    "pending",
    "rotated",
    "variant",
]

CLAIMS = ("SC10", "SC13", "SC14", "SC15", "S119", "SC29")
UNEQUAL = {
    "tokens": "instructions of other tasks and templates are longer or shorter",
    "supervised": "responses of other tasks are longer or shorter",
}  # budgets that differ between arms, and why
POOLABLE = tuple(name for name in SETS if name not in ADVERSARIAL)
INPUT = "noun"  # the kind of operand about which several tasks can be asked


@dataclass(frozen=True)
class VarietyParams(ChosenParams):
    """Parameters of ``01b_variety``."""

    n_train: int = param(24, help="training examples of every arm but tasks per input", minimum=1)
    n_families: tuple[int, ...] = param((2, 4), help="families tuned on", minimum=1)
    held_out: tuple[str, ...] = param((), help="families never tuned on; empty takes the rule")
    n_categories: tuple[int, ...] = param((1, 2), help="categories tuned on", minimum=1)
    held_out_categories: int = param(2, help="categories that a seed holds out", minimum=1)
    phrasing_sets: tuple[str, ...] = param(
        ("observed", "name", "none"), help="instructions tuned on, with the most families", choices=POOLABLE
    )
    n_tasks: tuple[int, ...] = param((2, 3), help="tasks per input", minimum=1)
    n_pairs: int = param(12, help="pairs of a task and an input, whatever the number of tasks", minimum=1)
    held_out_tasks: int = param(2, help="tasks about the same inputs that a seed holds out", minimum=1)
    n_all: int = param(32, help="training examples when tuned on all families", minimum=1)
    n_in_context: int = param(6, help="dev items per family that a base is asked in context", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no task families to vary; this study needs microworld")
        check_unique(self, "n_families", "n_categories", "phrasing_sets", "n_tasks")
        _scaling(self)  # checks what study 1 checks, in its words
        _check_families(self)
        _check_most(self, "n_categories", "held_out_categories", len(_categories()), "categories")
        _check_most(self, "n_tasks", "held_out_tasks", len(_tasks()), "tasks about a noun")
        if self.held_out_tasks > len(_askable_tasks()):
            raise InputError(f"held_out_tasks: at most {len(_askable_tasks())}, the tasks that a base knows")
        nouns = len(splits.words(INPUT, "pool"))
        for tasks in self.n_tasks:
            if self.n_pairs % tasks or self.n_pairs // tasks > nouns:
                raise InputError(
                    f"n_pairs: {self.n_pairs} pairs are no whole number of inputs, 1 to {nouns}, for {tasks} tasks"
                )


@dataclass(frozen=True)
class Arm:
    """One run of one comparison: its place on the axis, and which families it never sees or always sees."""

    axis: str
    level: int
    spec: RunSpec
    held_out: tuple[str, ...]
    always: tuple[str, ...]


def held_out_families() -> tuple[str, ...]:
    """Return the families that no arm is tuned on, by rule.

    From every category that has families of which documents hold lists (they alone can be asked of a base in context),
    the one with the most test operands, because its score is the finest; among equals, the first by name.
    """
    listed = [name for name in world.default_families() if name in writers.LISTED]
    return tuple(
        max(
            sorted(name for name in listed if world.category(name) == category),
            key=lambda name: families.get(name).size("test"),
        )
        for category in dict.fromkeys(map(world.category, listed))
    )


def rotated(names: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Return the ``count`` names that seed holds out: the next ones round the circle, so that turns are equal."""
    return tuple(names[(seed * count + step) % len(names)] for step in range(count))


def choice_grid(params: VarietyParams) -> list[RunSpec]:
    """Return the dev runs of study 1: the same specs, so that they are computed once for all its notebooks.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    for arm in arms(params, data_scaling.settings(_scaling(params))[0]):
        resolve(arm.spec)
    return data_scaling.choice_grid(_scaling(params))


def choose(params: VarietyParams, dev_results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the setting that did best on dev, as study 1 does."""
    return data_scaling.choose(_scaling(params), dev_results)


def arms(params: VarietyParams, setting: Mapping[str, Any]) -> list[Arm]:
    """Return every arm on every seed. An arm may stand on two axes; then both have equal specs.

    Pools hold no more than an arm is tuned on: families come in equal numbers then, also where one holds too few items
    for its share of a larger pool. Within an axis the arms of a seed are nested in what they are tuned on.
    """
    designs = (_all_families, _family_arms, _phrasing_arms, _category_arms, _task_arms)
    base = data_scaling.scaling_grid(_scaling(params), setting)[-1]
    found = []
    for seed in params.seeds:
        own = replicate(base, seed, params.base_seed)
        found += [arm for design in designs for arm in design(params, own)]
    return found


def collect(params: VarietyParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return one result per arm."""
    return run([arm.spec for arm in arms(params, choose(params, run(choice_grid(params))))])


def pending(params: VarietyParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    candidates = data_scaling.settings(_scaling(params))
    n_test = len({arm.spec for arm in arms(params, candidates[0])})
    return f"{n_test} test runs follow once dev has chosen among {len(candidates)} settings"


def labelled_frame(designed: Sequence[Arm], results: Sequence[RunResult]) -> pd.DataFrame:
    """Return the tidy frame of all arms with the columns of ``roles.LABELS``.

    A run that stands on two axes has its rows twice. Reference documents and failed runs have no role.
    """
    parts = []
    for arm, result in zip(designed, results, strict=True):
        role = {"": "", REFERENCE: ""} | dict.fromkeys(arm.always, ALWAYS) | dict.fromkeys(arm.held_out, HELD_OUT)
        part = run_frame([result])
        part.insert(0, "axis", arm.axis)
        part.insert(1, "level", arm.level)
        part.insert(2, "role", [role.get(name, TUNED) for name in part["family"]])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _scaling(params: VarietyParams) -> DataScalingParams:
    """Return the parameters under which 01_data_scaling makes the same choice and the same run at ``n_all``."""
    return as_data_scaling(params, [params.n_all])


def _tuned_on(spec: RunSpec, names: Sequence[str], held_out: Sequence[str], n: int, **fields: Any) -> RunSpec:
    asked = (*held_out, *names)
    return with_fields(spec, families=tuple(names), eval_families=asked, n_train=n, pool_size=n, **fields)


def _all_families(params: VarietyParams, spec: RunSpec) -> list[Arm]:
    return [Arm("all families", params.n_all, spec, (), world.default_families())]


def _family_order(params: VarietyParams, seed: int) -> tuple[tuple[str, ...], list[str]]:
    held_out = params.held_out or held_out_families()
    others = [name for name in world.default_families() if name not in held_out]
    return held_out, Dice("variety of families", seed).shuffled(others)


def _family_arms(params: VarietyParams, spec: RunSpec) -> list[Arm]:
    held_out, order = _family_order(params, spec.seed)
    always = tuple(order[: min(params.n_families)])
    return [
        Arm("families", count, _tuned_on(spec, order[:count], held_out, params.n_train), held_out, always)
        for count in params.n_families
    ]


def _phrasing_arms(params: VarietyParams, spec: RunSpec) -> list[Arm]:
    held_out, order = _family_order(params, spec.seed)
    names = tuple(order[: max(params.n_families)])
    tuned = _tuned_on(spec, names, held_out, params.n_train)
    return [
        Arm("phrasings", len(names), with_fields(tuned, phrasing_set=which), held_out, names)
        for which in params.phrasing_sets
    ]


def _category_arms(params: VarietyParams, spec: RunSpec) -> list[Arm]:
    away = rotated(_categories(), params.held_out_categories, spec.seed)
    others = [name for name in _categories() if name not in away]
    order = Dice("variety of categories", spec.seed).shuffled(others)
    held_out, always = _members(away), _members(order[: min(params.n_categories)])
    return [
        Arm("categories", count, _tuned_on(spec, _members(order[:count]), held_out, params.n_train), held_out, always)
        for count in params.n_categories
    ]


def _task_arms(params: VarietyParams, spec: RunSpec) -> list[Arm]:
    held_out = rotated(_askable_tasks(), params.held_out_tasks, spec.seed)
    others = [name for name in _tasks() if name not in held_out]
    order = Dice("variety of tasks", spec.seed).shuffled(others)
    always = tuple(order[: min(params.n_tasks)])
    return [
        Arm(
            "tasks",
            count,
            _tuned_on(spec, order[:count], held_out, params.n_pairs, n_operands=params.n_pairs // count, n_phrasings=1),
            held_out,
            always,
        )
        for count in params.n_tasks
    ]


def _categories() -> list[str]:
    return list(dict.fromkeys(map(world.category, world.default_families())))


def _members(categories: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for category in categories for name in _standard(lambda n, c=category: world.category(n) == c))


def _tasks() -> list[str]:
    return _standard(lambda name: families.get(name).operand == INPUT)


def _askable_tasks() -> list[str]:
    """Return the tasks that may be held out: a skill that no document shows could only ever score zero."""
    return [name for name in _tasks() if families.get(name).familiarity == "latent"]


def _standard(which: Callable[[str], bool]) -> list[str]:
    return [name for name in world.default_families() if which(name)]


def _check_families(params: VarietyParams) -> None:
    standard = world.default_families()
    for name in params.held_out:
        if name not in standard:
            raise InputError(f"held_out: '{name}' is no standard family{did_you_mean(name, standard)}")
    if len(set(params.held_out)) < len(params.held_out):
        raise InputError(f"held_out: the list repeats a value: {list(params.held_out)}")
    left = len(standard) - len(params.held_out or held_out_families())
    if max(params.n_families) > left:
        raise InputError(f"n_families: {max(params.n_families)} families, and {left} are left to tune on")


def _check_most(params: VarietyParams, key: str, away: str, total: int, what: str) -> None:
    left = total - getattr(params, away)
    if max(getattr(params, key)) > left:
        raise InputError(f"{key}: {max(getattr(params, key))} asked for, and {left} of {total} {what} are left")
