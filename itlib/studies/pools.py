"""Study 2c: what the pool does to selection, and what the comparison itself does.

Five questions about one design: how much of a pool may be wrong before hard examples are the wrong ones; whether a
larger pool helps; whether the silhouette tells how many clusters to make; what changes when examples or response tokens
are matched instead of steps; and whether the order of selectors survives another learning rate. Quotas per family are
looked at beside them. An arm that two questions need is one set of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.registry import selectors
from itlib.result import RunResult
from itlib.schema import param
from itlib.selected import with_notes
from itlib.selectors import ScoreSelector
from itlib.spec import RunSpec
from itlib.studies import selecting
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, variant
from itlib.studies.selecting import SelectingParams, choose, settings
from itlib.workbench import WARM

__all__ = [
    "ARMS",
    "CLAIMS",
    "UNEQUAL",
    "PoolsParams",
    "candidates",
    "choose",
    "clusters",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "quotas",
    "rates",
    "regimes",
    "run_designs",
    "sizes",
    "sweep",
    "variant",
]

CLAIMS = ("SE14", "SE16", "SE19")
UNEQUAL = {
    "steps": "equal steps, epochs and response tokens are compared with each other",
    "tokens": "selectors prefer longer or shorter examples",
    "supervised": "selectors prefer longer or shorter examples",
}  # budgets that differ between arms, and why
NOISY, REDUNDANT, RANDOM = "noisy", "redundant", "random"
SILHOUETTE = "silhouette"
STEPS, EPOCHS, TOKENS = "equal steps", "equal epochs", "equal tokens"
CHOSEN = "chosen"


@dataclass(frozen=True)
class Arm:
    """One way to select: the name of a selector, and what else of a spec it takes, such as a band."""

    selector: str
    fields: Mapping[str, Any] = field(default_factory=dict)


ARMS: dict[str, Arm] = {
    RANDOM: Arm(RANDOM),
    "longest": Arm("longest"),
    "perplexity_response": Arm("perplexity_response"),
    "ifd_loss": Arm("ifd_loss"),
    "ifd_loss bottom": Arm("ifd_loss", {"selection_band": "bottom"}),
    "rds": Arm("rds"),
    "k_means_random": Arm("k_means_random"),
    "oracle_clean": Arm("oracle_clean"),
}
AXES = {
    "sweep_arms": "sweep_seeds",
    "size_arms": "seeds",
    "regime_arms": "seeds",
    "rate_arms": "rate_seeds",
    "quota_arms": "sweep_seeds",
}


@dataclass(frozen=True)
class PoolsParams(SelectingParams):
    """Parameters of ``02c_pools``."""

    seeds: tuple[int, ...] = param((0,), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    pool_size: int = param(100, help="examples in the micro-world pool", minimum=2)
    ifd_scorer: str = param("warm-16", help="scorer of the arms ifd_*: base, or warm-N, tuned on N of the pool")
    noise_rates: tuple[float, ...] = param((0.0, 0.5), help="corrupted shares of a noisy pool", minimum=0, maximum=1)
    sweep_arms: tuple[str, ...] = param((RANDOM, "ifd_loss", "ifd_loss bottom"), help="arms at every corrupted share")
    sweep_seeds: tuple[int, ...] = param((0,), help="seeds of corrupted shares and quotas", minimum=0)
    pool_sizes: tuple[int, ...] = param((50, 100), help="sizes of a redundant pool", minimum=2)
    size_arms: tuple[str, ...] = param((RANDOM, "rds"), help="arms at every size of the pool")
    clusters: tuple[int, ...] = param((2, 4), help="n_clusters of kmq, in redundant pools", minimum=2)
    epochs: float = param(3.0, help="passes of every selection where epochs are equal", exclusive_minimum=0)
    response_tokens: int = param(410, help="supervised tokens where tokens are equal", unit="tokens", minimum=1)
    regime_arms: tuple[str, ...] = param((RANDOM, "longest"), help="arms at equal steps, epochs and tokens")
    rate_factor: float = param(3.0, help="by which the chosen rate is multiplied and divided", exclusive_minimum=1)
    rate_arms: tuple[str, ...] = param((RANDOM, "ifd_loss"), help="arms at three learning rates")
    rate_seeds: tuple[int, ...] = param((0,), help="seeds of other learning rates", minimum=0)
    quota_arms: tuple[str, ...] = param(("ifd_loss",), help="arms with and without equal numbers per family")

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("noise_rates", "pool_sizes", "clusters", *AXES, *AXES.values()):
            check_unique(self, key)
        _check_arms(self)
        for key in ("sweep_seeds", "rate_seeds"):
            if strangers := sorted(set(getattr(self, key)) - set(self.seeds)):
                raise InputError(f"{key}: {strangers} are not in seeds; parts of a study run on some of them")
        if self.ifd_scorer != "base" and not WARM.fullmatch(self.ifd_scorer):
            raise InputError(f"ifd_scorer: '{self.ifd_scorer}' is neither base nor warm-N, such as warm-100")
        if not 0 < self.noise_rate < 1:
            raise InputError(f"noise_rate: {self.noise_rate:g} makes no pool that is partly corrupted")
        if set(self.kinds) != {NOISY, REDUNDANT}:
            raise InputError(f"kinds: this study compares noisy with redundant pools, and kinds is {list(self.kinds)}")
        for key, size in (("pool_size", self.pool_size), ("pool_sizes", min(self.pool_sizes))):
            if self.n_train >= size:
                raise InputError(f"{key}: {size} leaves nothing to select; it must be above n_train {self.n_train}")
        if max(self.clusters) > self.pool_size:
            raise InputError(f"clusters: {max(self.clusters)} are more than the {self.pool_size} examples of the pool")


def _check_arms(params: PoolsParams) -> None:
    for key in AXES:
        for name in getattr(params, key):
            if name not in ARMS:
                raise InputError(f"{key}: '{name}' is no arm of this study{did_you_mean(name, ARMS)}")
    for key in ("sweep_arms", "size_arms", "regime_arms"):
        if RANDOM not in getattr(params, key):
            raise InputError(f"{key}: 'random' is missing, and the others are compared with it")
    for name in params.quota_arms:
        if not isinstance(selectors.get(ARMS[name].selector), ScoreSelector):
            raise InputError(f"quota_arms: '{name}' gives no scores to take quotas of")


def sweep(params: PoolsParams) -> dict[str, dict[float, str]]:
    """Return the runs' arm for every name of ``sweep_arms`` and corrupted share, ascending."""
    return {
        name: {
            rate: _place(NOISY, name, rate != params.noise_rate, f"noise {rate:g}")
            for rate in sorted(params.noise_rates)
        }
        for name in params.sweep_arms
    }


def sizes(params: PoolsParams) -> dict[str, dict[int, str]]:
    """Return the runs' arm for every name of ``size_arms`` and size of a redundant pool, ascending."""
    return {
        name: {
            size: _place(REDUNDANT, name, size != params.pool_size, f"pool {size}")
            for size in sorted(params.pool_sizes)
        }
        for name in params.size_arms
    }


def clusters(params: PoolsParams) -> dict[int, str]:
    """Return the runs' arm for every number of clusters, ascending."""
    return {k: f"{REDUNDANT}/kmq n_clusters={k}" for k in sorted(params.clusters)}


def regimes(params: PoolsParams) -> dict[str, dict[str, dict[str, str]]]:
    """Return the runs' arm by kind of pool, what is made equal, and name of ``regime_arms``."""
    return {
        kind: {
            regime: {name: _place(kind, name, regime != STEPS, regime) for name in params.regime_arms}
            for regime in (STEPS, EPOCHS, TOKENS)
        }
        for kind in params.kinds
    }


def rates(params: PoolsParams) -> dict[str, dict[str, dict[str, str]]]:
    """Return the runs' arm by kind of pool, learning rate ("chosen" first) and name of ``rate_arms``."""
    return {
        kind: {
            label: {name: _place(kind, name, label != CHOSEN, f"rate {label}") for name in params.rate_arms}
            for label in (CHOSEN, f"x{params.rate_factor:g}", f"/{params.rate_factor:g}")
        }
        for kind in params.kinds
    }


def quotas(params: PoolsParams) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the runs' arms without and with quotas per family, by kind of pool and name of ``quota_arms``."""
    return {
        kind: {name: (f"{kind}/{name}", f"{kind}/{name} (per family)") for name in params.quota_arms}
        for kind in params.kinds
    }


def _place(kind: str, name: str, changed: bool, what: str) -> str:
    """Name an arm; one that nothing was changed of is the same in every part of the study."""
    return f"{kind}/{name} ({what})" if changed else f"{kind}/{name}"


def designs(params: PoolsParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm, "<kind>/<name>" with what was changed of it in brackets; seeds ascending."""
    cells: dict[str, dict[int, RunSpec]] = {}

    def add(arm: str, name: str, seeds: Sequence[int], **fields: Any) -> None:
        kind = "clean" if fields.get("noise_rate") == 0 else arm.partition("/")[0]
        about = ARMS.get(name, Arm(name))
        own = dict(about.fields) | ({"scorer": params.ifd_scorer} if name.startswith("ifd") else {})
        runs = selecting.arm(params, setting, kind, about.selector, seeds=seeds, **own, **fields)
        cells.setdefault(arm, {}).update({run.seed: run for run in runs})

    for name, by_rate in sweep(params).items():
        for rate, arm in by_rate.items():
            add(arm, name, params.sweep_seeds, noise_rate=rate)
    for name, by_size in sizes(params).items():
        for size, arm in by_size.items():
            add(arm, name, params.seeds, pool_size=size)
    for k, arm in clusters(params).items():
        add(arm, "kmq", params.seeds, selector_options=(f"n_clusters={k}",))
    lengths = {
        STEPS: {},
        EPOCHS: {"budget": params.epochs, "budget_unit": "epochs"},
        TOKENS: {"budget": params.response_tokens, "budget_unit": "response_tokens"},
    }
    factors = (1.0, params.rate_factor, 1.0 / params.rate_factor)
    for kind in params.kinds:
        for regime, by_name in regimes(params)[kind].items():
            for name, arm in by_name.items():
                add(arm, name, params.seeds, **lengths[regime])
        for by_name, factor in zip(rates(params)[kind].values(), factors, strict=True):
            for name, arm in by_name.items():
                add(arm, name, params.rate_seeds, learning_rate=setting["learning_rate"] * factor)
        for name, (without, with_quotas) in quotas(params)[kind].items():
            add(without, name, params.sweep_seeds)
            add(with_quotas, name, params.sweep_seeds, stratified=True)
    return {arm: [runs[seed] for seed in sorted(runs)] for arm, runs in cells.items()}


def candidates(params: PoolsParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate, the same for every study of selection with these parameters.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, settings(params)[0]))
    return selecting.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return ``run_frame`` by arm and below it, with ``kind`` "note", the silhouettes of clusterings."""
    return with_notes(arm_frame(results), results, [SILHOUETTE])


def collect(params: PoolsParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: PoolsParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for runs in designs(params, settings(params)[0]).values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
