"""The tour: one world, one base, a few runs, one figure and one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from itlib.errors import InputError
from itlib.packing import TRIMMED
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies.common import Run, StudyParams, base_spec, check_unique, replicates, variant

__all__ = ["CLAIMS", "UNEQUAL", "TourParams", "collect", "pending", "runs", "variant"]

CLAIMS = ("TOUR",)
UNEQUAL = {"tokens": "examples differ in length", "supervised": "examples differ in length"}  # budgets, and why


@dataclass(frozen=True)
class TourParams(StudyParams):
    """Parameters of ``00_tour``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    seeds: tuple[int, ...] = param((0, 1), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    sizes: tuple[int, ...] = param((16, 64), help="training examples, fewest first", minimum=1)
    learning_rate: float = param(2e-3, help="peak rate", exclusive_minimum=0)
    budget: int = param(10, help="training length", unit="steps", minimum=1)
    batch_size: int = param(16, help="examples per optimiser step", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "seeds", "sizes")
        if list(self.sizes) != sorted(self.sizes) or len(self.sizes) < 2:
            raise InputError(f"sizes: {list(self.sizes)} must be two numbers or more, fewest first")


def runs(params: TourParams) -> list[RunSpec]:
    """Return a run per size and seed; the last size keeps the weights of the first seed, so that it can be asked."""
    base = with_fields(
        base_spec(params), learning_rate=params.learning_rate, budget=params.budget, batch_size=params.batch_size
    )
    specs = replicates([with_fields(base, n_train=n) for n in params.sizes], params.seeds, params.base_seed)
    shown = specs.index(next(s for s in specs if s.data.n_train == params.sizes[-1]))
    return [with_fields(spec, keep_weights=number == shown) for number, spec in enumerate(specs)]


def collect(params: TourParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results)."""
    return run(runs(params))


def pending(params: TourParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet: nothing."""
    return ""
