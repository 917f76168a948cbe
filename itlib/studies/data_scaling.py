"""Study 1: how much each skill gains from more instruction data.

A *choice* phase picks learning rate and embedding treatment on dev items with seeds of its own; the *scaling* phase
then tunes on nested subsets of each seed's pool and evaluates once on test items.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from itlib.batching import BUDGET_UNITS
from itlib.errors import InputError
from itlib.grid import grid
from itlib.registry import methods
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies.common import (
    Run,
    StudyParams,
    base_spec,
    best_on_dev,
    check_unique,
    data_summary,
    on_dev,
    one_per_base,
    replicate,
    replicates,
    variant,
)
from itlib.train import SCHEDULES

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "DataScalingParams",
    "choice_grid",
    "choose",
    "collect",
    "data_summary",
    "pending",
    "scaling_grid",
    "variant",
]

EMBEDDINGS = ("frozen", "trained")
CHOSEN = ("learning_rate", "train_embeddings")
CLAIMS = ("SC1", "SC2", "SC7")
UNEQUAL = {
    "tokens": "few examples seen often have the length that these few happen to have",
    "supervised": "few examples seen often have the length that these few happen to have",
}  # budgets that differ between arms, and why


@dataclass(frozen=True)
class DataScalingParams(StudyParams):
    """Parameters of ``01_data_scaling``."""

    sizes: tuple[int, ...] = param((16, 64), help="training examples N", minimum=1)
    full_pool: bool = param(False, help="add one run on the whole pool with the first seed")
    seeds: tuple[int, ...] = param((0, 1), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    families: tuple[str, ...] = param((), help="micro-world task families; empty takes all")
    method: str = param("full", help="full or lora")
    rank: int = param(16, help="rank of a low-rank method", minimum=1)
    alpha: float = param(32.0, help="scale of a low-rank method, applied as alpha over rank", exclusive_minimum=0)
    learning_rates: tuple[float, ...] = param((1e-3, 2e-3), help="peak rates; dev decides", exclusive_minimum=0)
    embeddings: tuple[str, ...] = param(("frozen",), help="in full fine-tuning; dev decides", choices=EMBEDDINGS)
    choice_size: int = param(32, help="training examples of the dev runs", minimum=1)
    choice_eval: int = param(6, help="dev items per family; of a file, in all", minimum=1)
    choice_seeds: tuple[int, ...] = param((1000,), help="seeds of the dev runs, apart from seeds", minimum=0)
    budget: float = param(10.0, help="training length, equal for every N in steps", exclusive_minimum=0)
    budget_unit: str = param("steps", help="what budget counts", choices=BUDGET_UNITS)
    batch_size: int = param(16, help="examples per optimiser step", minimum=1)
    schedule: str = param("linear", help="learning rate after the warm-up", choices=SCHEDULES)
    warmup_fraction: float = param(0.03, help="share of the steps", minimum=0, maximum=1)
    weight_decay: float = param(0.0, help="decoupled weight decay", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "sizes", "seeds", "learning_rates", "embeddings", "choice_seeds")
        methods.get(self.method)
        shared = sorted(set(self.seeds) & set(self.choice_seeds))
        if shared:
            raise InputError(f"choice_seeds: {shared} are also in seeds; choices need seeds of their own")
        if self.budget_unit == "steps" and self.budget != int(self.budget):
            raise InputError(f"budget: steps come whole, got {self.budget:g}")


def _base(params: DataScalingParams) -> RunSpec:
    return with_fields(
        base_spec(params),
        families=params.families,
        method=params.method,
        rank=params.rank,
        alpha=params.alpha,
        budget=params.budget,
        budget_unit=params.budget_unit,
        batch_size=params.batch_size,
        schedule=params.schedule,
        warmup_fraction=params.warmup_fraction,
        weight_decay=params.weight_decay,
    )


def settings(params: DataScalingParams) -> list[dict[str, Any]]:
    """Return the candidate settings among which dev decides; one candidate needs no dev runs."""
    trained = [name == "trained" for name in params.embeddings] if params.method == "full" else [False]
    return [dict(zip(CHOSEN, cell, strict=True)) for cell in itertools.product(params.learning_rates, trained)]


def choice_grid(params: DataScalingParams) -> list[RunSpec]:
    """Return the dev runs: every candidate setting on every choice seed; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run: model, data, or a size above the pool.
    """
    candidates = settings(params)
    choosing = len(candidates) > 1
    largest = with_fields(_base(params), n_train=max([*params.sizes, params.choice_size * choosing]))
    for spec in one_per_base(replicates([largest], params.seeds, params.base_seed)):
        resolve(spec)
    if not choosing:
        return []
    base = with_fields(on_dev(_base(params), n_eval=params.choice_eval), n_train=params.choice_size)
    zipped = {name: [candidate[name] for candidate in candidates] for name in CHOSEN}
    return replicates(grid(base, zipped=[zipped]), params.choice_seeds, params.base_seed)


def choose(params: DataScalingParams, dev_results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the setting that did best on dev, or the only one there is."""
    return best_on_dev(dev_results, CHOSEN) if dev_results else settings(params)[0]


def scaling_grid(params: DataScalingParams, setting: Mapping[str, Any]) -> list[RunSpec]:
    """Return the test runs: every untuned base, every N on every seed, and the whole pool when asked for.

    An untuned base does not depend on the rest of a seed: it is measured once, with the first seed that tunes it.

    Raises:
        InputError: N is above the pool.
    """
    base = with_fields(_base(params), **setting)
    specs = [*_untuned(params, base), *replicates(grid(base, n_train=params.sizes), params.seeds, params.base_seed)]
    if params.full_pool:
        size = resolve(replace(base, data=replace(base.data, n_train=0))).data.pool_size
        if size not in params.sizes:
            specs.append(replicate(with_fields(base, n_train=size), params.seeds[0], params.base_seed))
    return specs


def _untuned(params: DataScalingParams, base: RunSpec) -> list[RunSpec]:
    return one_per_base(replicates([with_fields(base, n_train=0)], params.seeds, params.base_seed))


def collect(params: DataScalingParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs → results) and return the results of the scaling phase."""
    return run(scaling_grid(params, choose(params, run(choice_grid(params)))))


def pending(params: DataScalingParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len(_untuned(params, _base(params))) + len(params.sizes) * len(params.seeds) + params.full_pool
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
