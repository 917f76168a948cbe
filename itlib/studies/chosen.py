"""What studies share that tune as ``01_data_scaling`` does: its length, its schedule, and its choice on dev.

The choice runs are those of ``01_data_scaling``: equal parameters give equal digests, and they come from the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from itlib.errors import InputError
from itlib.frame import run_frame
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import data_scaling
from itlib.studies.common import Run, StudyParams, base_spec, check_unique
from itlib.studies.data_scaling import EMBEDDINGS, DataScalingParams
from itlib.train import SCHEDULES

Designs = Mapping[str, Sequence[RunSpec]]


@dataclass(frozen=True)
class ChosenParams(StudyParams):
    """Parameters that mean what they mean in ``01_data_scaling``."""

    seeds: tuple[int, ...] = param((0, 1), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    learning_rates: tuple[float, ...] = param((1e-3, 2e-3), help="peak rates; dev decides", exclusive_minimum=0)
    embeddings: tuple[str, ...] = param(("frozen",), help="in full fine-tuning; dev decides", choices=EMBEDDINGS)
    choice_size: int = param(32, help="training examples of the dev runs", minimum=1)
    choice_eval: int = param(6, help="dev items per family; of a file, in all", minimum=1)
    choice_seeds: tuple[int, ...] = param((1000,), help="seeds of the dev runs, apart from seeds", minimum=0)
    budget: int = param(10, help="training length", unit="steps", minimum=1)
    batch_size: int = param(16, help="examples per optimiser step", minimum=1)
    schedule: str = param("linear", help="learning rate after the warm-up", choices=SCHEDULES)
    warmup_fraction: float = param(0.03, help="share of the steps", minimum=0, maximum=1)
    weight_decay: float = param(0.0, help="decoupled weight decay", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "seeds", "learning_rates", "embeddings", "choice_seeds")
        check_apart(self, "choice_seeds")


def check_apart(params: ChosenParams, name: str) -> None:
    """Refuse seeds of a choice that are also seeds of the study, naming their key."""
    shared = sorted(set(params.seeds) & set(getattr(params, name)))
    if shared:
        raise InputError(f"{name}: {shared} are also in seeds; choices need seeds of their own")


def as_data_scaling(params: ChosenParams, sizes: Sequence[int]) -> DataScalingParams:
    """Return the parameters of ``01_data_scaling`` that describe the same tuning, for these numbers of examples."""
    shared = {field.name for field in fields(DataScalingParams)} & {field.name for field in fields(params)}
    values = {name: getattr(params, name) for name in shared}
    return DataScalingParams(**values | {"sizes": tuple(sizes)})


def candidates(params: ChosenParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose."""
    return data_scaling.choice_grid(as_data_scaling(params, [params.choice_size]))


def choose(params: ChosenParams, dev_results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the setting that did best on dev, or the only one there is."""
    return data_scaling.choose(as_data_scaling(params, [params.choice_size]), dev_results)


def tuned_base(params: ChosenParams, setting: Mapping[str, Any]) -> RunSpec:
    """Return the spec of seed 0 with the study's training length and schedule and the chosen setting."""
    return with_fields(
        base_spec(params),
        budget=params.budget,
        batch_size=params.batch_size,
        schedule=params.schedule,
        warmup_fraction=params.warmup_fraction,
        weight_decay=params.weight_decay,
        **setting,
    )


def check_designs(designs: Designs) -> None:
    """Refuse, before any run, a design of which a run could not be made; every distinct spec is resolved once."""
    for spec in dict.fromkeys(spec for arm in designs.values() for spec in arm):
        resolve(spec)


def run_designs(designs: Designs, run: Run) -> dict[str, list[RunResult]]:
    """Run every distinct spec once and return the results arm by arm; a run may belong to several arms."""
    specs = list(dict.fromkeys(spec for arm in designs.values() for spec in arm))
    results = dict(zip(specs, run(specs), strict=True))
    return {name: [results[spec] for spec in arm] for name, arm in designs.items()}


def distinct(results: Mapping[str, Sequence[RunResult]]) -> list[RunResult]:
    """Return every result once, in the order of the arms."""
    return list({id(result): result for arm in results.values() for result in arm}.values())


def arm_frame(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return ``run_frame`` with the column ``arm``; the rows of a run stand under each of its arms."""
    return pd.concat(
        [run_frame(arm).assign(arm=name, kind="test") for name, arm in results.items() if arm], ignore_index=True
    )
