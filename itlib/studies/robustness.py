"""Study 3: how much a tuned model depends on the wording of its instructions.

Every run is asked about the same items in many phrasings: those it was tuned on, others of the same kind, new ones, and
adversarial ones that ask for something else. Arms differ in how many phrasings of a family tuning showed, in the size
of the model, and in how often families occur. Which phrasings a run knows follows from its seed.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from itlib.errors import InputError
from itlib.microworld import world
from itlib.models import resolve_name
from itlib.packing import TRIMMED
from itlib.registry import families as registry
from itlib.registry import models
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.schema import param
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies import chosen
from itlib.studies.chosen import ChosenParams, Designs, check_designs, choose, distinct, run_designs, tuned_base
from itlib.studies.common import Run, base_spec, check_unique, one_per_base, replicate, replicates, variant
from itlib.studies.robustness_axes import traits

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "RobustnessParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "parameters",
    "pending",
    "run_designs",
    "training_counts",
    "variant",
]

CLAIMS = ("R1", "R2", "R3", "R4", "R10", "R13")
UNEQUAL = {
    "tokens": "phrasings differ in length",
    "supervised": "families in unequal numbers have responses of another length",
}  # budgets that differ between arms, and why
OBSERVED, UNOBSERVED, WRAPPER = "observed", "unobserved", "unobserved_wrapper"
NEGATED, WRONG, LITERAL, RANDOM = "negated", "wrong_task", "wrong_task_literal", "random"
PLAIN = (OBSERVED, UNOBSERVED, WRAPPER)
ADVERSARIAL = (NEGATED, WRONG, LITERAL, RANDOM)
UNTUNED, IMBALANCED = "untuned", "imbalanced"
_COLUMN = {name: place for place, name in enumerate(ITEM_COLUMNS)}


@dataclass(frozen=True)
class RobustnessParams(ChosenParams):
    """Parameters of ``03_robustness``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    n_train: int = param(64, help="training examples", minimum=1)
    phrasings: tuple[int, ...] = param((1, 4), help="phrasings per family that tuning shows, one arm each", minimum=1)
    asked: tuple[str, ...] = param(("colour", "plural", "alphabetical"), help="families asked in many phrasings")
    items: int = param(3, help="items of a family, the same in every phrasing", minimum=2)
    asked_phrasings: int = param(4, help="phrasings per set that every item is asked in", minimum=2)
    sizes: tuple[str, ...] = param(("micro-0.2m",), help="other sizes of model, tuned on the most phrasings")
    imbalance: float = param(1.0, help="Zipf exponent of families in one more arm; 0 leaves it out", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "phrasings", "asked")
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has one phrasing per item; this study needs microworld")
        if self.asked_phrasings < max(self.phrasings):
            raise InputError(
                f"asked_phrasings: {self.asked_phrasings} is below the {max(self.phrasings)} of phrasings; all that a "
                "run was tuned on must be asked"
            )
        for name in self.asked:
            if registry.get(name).constraints:
                raise InputError(f"asked: '{name}' is open-ended; a variance of wordings needs one right response")
        if twice := [size for size in self.sizes if size == self.model or self.sizes.count(size) > 1]:
            raise InputError(f"sizes: '{twice[0]}' is named twice, or is the model itself")
        for size in self.sizes:
            resolve_name(size)


def candidates(params: RobustnessParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: RobustnessParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm.

    * "k=<n>": tuned on n phrasings per family.
    * "untuned": every base as it is.
    * "<size>": other sizes, tuned on the most phrasings. Their rate is the one chosen for the model.
    * "imbalanced": families by Zipf's law, the most phrasings.

    All are asked in the sets that ask for a family's own answer. Adversarial sets, which cost more to ask than the run
    to train, are put to the untuned bases and to the model with the most phrasings: before tuning and after.
    """
    base = with_fields(
        tuned_base(params, setting),
        n_eval=params.items,
        eval_families=params.asked,
        n_eval_phrasings=params.asked_phrasings,
        eval_phrasing_set="+".join(PLAIN),
        n_train=params.n_train,
    )
    most, every = max(params.phrasings), {"eval_phrasing_set": "+".join((*PLAIN, *ADVERSARIAL))}
    cells = {f"k={k}": [with_fields(base, n_phrasings=k, **(every if k == most else {}))] for k in params.phrasings}
    cells[UNTUNED] = [with_fields(base, n_train=0, **every)]
    for size in params.sizes:
        sized = with_fields(base, n_phrasings=most, model_path="", model_revision="", **resolve_name(size))
        cells[size_name(sized)] = [sized]
    if params.imbalance:
        cells[IMBALANCED] = [with_fields(base, imbalance=params.imbalance, n_phrasings=most)]
    found = {name: replicates(arm, params.seeds, params.base_seed) for name, arm in cells.items()}
    return found | {UNTUNED: one_per_base(found[UNTUNED])}


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return one row per run, phrasing and item: what every statistic of the study reads.

    Columns: ``arm``, ``seed``, ``digest``, ``status``, ``model``, ``k`` (phrasings per family in tuning, 0 without
    tuning), ``family``, ``familiarity``, ``set``, ``instruction`` (a phrasing, unique within its set), ``item`` (its
    operands), ``trained`` (whether tuning showed this phrasing), ``operand``, ``order`` and ``content`` (see
    ``robustness_axes.traits``) and ``value`` (exact match). A run that did not finish is one row without a value.
    """
    parts = [_rows(name, result) for name, arm in results.items() for result in arm]
    return pd.concat(parts, ignore_index=True)


def _rows(arm: str, result: RunResult) -> pd.DataFrame:
    spec = result.spec
    about = {"arm": arm, "seed": spec.seed, "status": result.status, "model": size_name(spec)}
    about |= {"k": spec.data.n_phrasings if spec.data.n_train else 0}
    asked = [item for item in result.items if "/" in item[_COLUMN["phrasing"]]]
    if not asked:
        return pd.DataFrame([about])

    def column(name: str) -> list[Any]:
        return [item[_COLUMN[name]] for item in asked]

    family, named = column("family"), [_set_and_name(phrasing) for phrasing in column("phrasing")]
    item = [name.split("/")[3] for name in column("item")]
    found = [traits(*pair) for pair in zip(family, item, strict=True)]
    known = {(task, (OBSERVED, name)) for task, name in _trained(spec, tuple(dict.fromkeys(family)))}
    rows = {
        "digest": digest(spec)[:12],
        "family": family,
        "familiarity": column("familiarity"),
        "set": [which for which, _ in named],
        "instruction": [name for _, name in named],
        "item": item,
        "value": np.array(column("exact_match"), dtype=np.float64),
        **about,
        **{trait: [values[place] for values in found] for place, trait in enumerate(("operand", "order", "content"))},
        "trained": [pair in known for pair in zip(family, named, strict=True)],
    }
    return pd.DataFrame(rows)


@functools.cache
def _set_and_name(phrasing: str) -> tuple[str, str]:
    """Return the set and the name in it of a phrasing."""
    which, _, name = phrasing.partition("/")
    return which, name


def _trained(spec: RunSpec, families: Sequence[str]) -> set[tuple[str, str]]:
    """Return the (family, phrasing) that the pool of a run showed; none without tuning."""
    k = spec.data.n_phrasings if spec.data.n_train else 0
    return {(name, p.id) for name in families for p in world.phrasing_order(name, OBSERVED, spec.seed)[:k]}


def training_counts(spec: RunSpec) -> dict[str, int]:
    """Return how many training examples of every family a run saw: the first ``n_train`` of its shuffled pool."""
    from itlib.training_set import examples_without_model

    return Counter(example.family for example in examples_without_model(spec))


def size_name(spec: RunSpec) -> str:
    """Return what a model is called: its registered name, or the last part of its folder or hub id."""
    return Path(spec.base.model_path).name or spec.base.model


def parameters(params: RobustnessParams) -> dict[str, int]:
    """Return how many parameters the model and every other size have, by name."""
    found = {}
    for name in (params.model, *params.sizes):
        spec = replicate(with_fields(base_spec(params), **resolve_name(name)), 0)
        model = models.get(spec.base.model)
        found[size_name(spec)] = model.parameters(model.resolve(spec.base))
    return found


def collect(params: RobustnessParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    return distinct(run_designs(designs(params, choose(params, run(candidates(params)))), run))


def pending(params: RobustnessParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for arm in designs(params, {}).values() for spec in arm})
    return f"{n_test} test runs follow once dev has chosen among {len(params.learning_rates)} rates"
