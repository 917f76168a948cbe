"""Study 1d: which recipe to train with, and what can be seen early.

One probed run per seed shows form, content and drift while a model is tuned. A grid of batch size and rate, at equal
samples, asks whether a large batch loses anything and whether early signals tell the end; one more arm leaves out
warm-up and decay. Rates are chosen on dev, per batch size with seeds of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.errors import InputError
from itlib.frame import curve_frame, probe_frame
from itlib.grid import grid
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import chosen
from itlib.studies.chosen import (
    ChosenParams,
    Designs,
    arm_frame,
    check_apart,
    check_designs,
    choose,
    distinct,
    run_designs,
    tuned_base,
)
from itlib.studies.common import Run, best_on_dev, check_unique, on_dev, replicates, variant

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "RecipeParams",
    "batch_choice_grid",
    "best_rates",
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

CLAIMS = ("SC16", "SC17", "SC18", "SC19", "SC20", "SC21")
UNEQUAL = {
    "steps": "a larger batch takes fewer steps over equally many examples",
    "tokens": "few examples seen often have the length that these few happen to have",
    "supervised": "few examples seen often have the length that these few happen to have",
}  # budgets that differ between arms, and why
BATCHES = ("small", "large")


@dataclass(frozen=True)
class RecipeParams(ChosenParams):
    """Parameters of ``01d_recipe``."""

    probed_size: int = param(64, help="training examples of the probed run", minimum=1)
    n_probes: int = param(4, help="log-spaced probes beside step 0; 0 leaves the probed run out", minimum=0)
    probe_items: int = param(2, help="dev items per family of a probe", minimum=1)
    size: int = param(32, help="training examples of all other runs", minimum=1)
    small_batch: int = param(8, help="examples per step of the small batch", minimum=1)
    large_batch: int = param(32, help="examples per step of the large batch", minimum=1)
    batch_rates: tuple[float, ...] = param((1e-3, 4e-3), help="peak rates of both batches", exclusive_minimum=0)
    batch_choice_seeds: tuple[int, ...] = param((1000,), help="seeds of the dev runs per batch", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "batch_rates", "batch_choice_seeds")
        check_apart(self, "batch_choice_seeds")
        if self.large_batch <= self.small_batch:
            raise InputError(f"large_batch: {self.large_batch} is not above small_batch {self.small_batch}")
        for name in ("small_batch", "large_batch"):
            size = getattr(self, name)
            if self.samples % size:
                raise InputError(f"{name}: {self.samples} samples are no whole number of batches of {size}")

    @property
    def samples(self) -> int:
        """Examples seen by every run: ``budget`` steps of ``batch_size``."""
        return self.budget * self.batch_size


def candidates(params: RecipeParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}, None))
    return chosen.candidates(params)


def batch_grid(params: RecipeParams, base: RunSpec) -> list[RunSpec]:
    """Return every batch size with every rate, all of them seeing equally many samples."""
    sizes = [params.small_batch, params.large_batch]
    batches = {"batch_size": sizes, "budget": [params.samples // size for size in sizes]}
    return grid(with_fields(base, n_train=params.size), zipped=[batches], learning_rate=params.batch_rates)


def batch_choice_grid(params: RecipeParams, setting: Mapping[str, Any]) -> list[RunSpec]:
    """Return the dev runs that choose a rate per batch size; empty when there is one rate."""
    if len(params.batch_rates) == 1:
        return []
    base = on_dev(tuned_base(params, setting), n_eval=params.choice_eval)
    return replicates(batch_grid(params, base), params.batch_choice_seeds, params.base_seed)


def best_rates(params: RecipeParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate that dev chose for "small" and "large": the first within one standard error of the best."""
    if not dev_results:
        return dict.fromkeys(BATCHES, params.batch_rates[0])
    sizes = dict(zip(BATCHES, (params.small_batch, params.large_batch), strict=True))
    return {
        name: best_on_dev([r for r in dev_results if r.spec.train.batch_size == size], ["learning_rate"])[
            "learning_rate"
        ]
        for name, size in sizes.items()
    }


def designs(params: RecipeParams, setting: Mapping[str, Any], rates: Mapping[str, float] | None) -> Designs:
    """Return the test runs by arm.

    * "probed": the default recipe on ``probed_size`` examples, measured while it trains.
    * "default" and "plain": the default recipe on ``size`` examples, and the same without warm-up at a constant rate.
    * "grid": both batch sizes with every rate at equal samples. "small batch" and "large batch" are its runs at the
      rate that was chosen for them; without ``rates`` these two are left out.
    """
    base = tuned_base(params, setting)
    probes = {"n_train": params.probed_size, "n_probes": params.n_probes, "probe_items": params.probe_items}
    default = with_fields(base, n_train=params.size)
    cells = {
        "probed": [with_fields(base, **probes)] if params.n_probes else [],
        "default": [default],
        "plain": [with_fields(default, warmup_fraction=0.0, schedule="constant")],
        "grid": batch_grid(params, base),
    }
    for name, rate in (rates or {}).items():
        size = {"small": params.small_batch, "large": params.large_batch}[name]
        cells[f"{name} batch"] = [
            spec for spec in cells["grid"] if (spec.train.batch_size, spec.train.learning_rate) == (size, rate)
        ]
    return {name: replicates(arm, params.seeds, params.base_seed) for name, arm in cells.items()}


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, and below it the probes and curves of its runs.

    ``kind`` is "test", "probe" or "curve"; ``step`` is -1 for test rows. A curve has the metrics ``training_loss`` and
    ``gradient_norm``.
    """
    parts = [arm_frame(results).assign(step=-1)]
    if probes := probe_frame(results["probed"]).to_dict("records"):
        parts.append(pd.DataFrame(probes).assign(arm="probed", kind="probe", status="done", family="probes"))
    curves = curve_frame(results["grid"]).rename(columns={"loss": "training_loss"})
    measured = ["training_loss", "gradient_norm"]
    curves = curves.melt(
        id_vars=[name for name in curves.columns if name not in measured],
        value_vars=measured,
        var_name="metric",
        value_name="value",
    )
    parts.append(curves.assign(arm="grid", kind="curve", status="done", family="training"))
    return pd.concat(parts, ignore_index=True)


def collect(params: RecipeParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    rates = best_rates(params, run(batch_choice_grid(params, setting)))
    return distinct(run_designs(designs(params, setting, rates), run))


def pending(params: RecipeParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    planned = designs(params, {}, None)
    n_test = len({spec for arm in planned.values() for spec in arm})
    n_dev = 2 * len(params.batch_rates) * len(params.batch_choice_seeds) * (len(params.batch_rates) > 1)
    return f"{n_dev} dev runs that choose a rate per batch size, then {n_test} test runs"
