"""What studies of selection share: kinds of pools, arms that differ in the selector alone, and the choice of a rate.

Two kinds of pools answer different questions. In a *noisy* pool half of the responses or instructions are corrupted; in
a *redundant* one everything is right, but half of it repeats and families come in very unequal numbers. A method that
wins in one may lose in the other, so no number here is a mean over both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from itlib.errors import InputError
from itlib.grid import grid
from itlib.microworld import world
from itlib.packing import TRIMMED
from itlib.registry import selectors
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import options, param
from itlib.spec import RunSpec, with_fields
from itlib.studies.chosen import ChosenParams, tuned_base
from itlib.studies.common import best_on_dev, check_unique, on_dev, replicate, replicates
from itlib.studies.data_scaling import CHOSEN

KINDS = ("clean", "noisy", "redundant")
CORRUPTIONS = ("wrong", "mismatched", "truncated", "duplicate")


@dataclass(frozen=True)
class SelectingParams(ChosenParams):
    """Parameters shared by the notebooks of study 2."""

    cpu_kernel: ClassVar[str] = TRIMMED

    kinds: tuple[str, ...] = param(("noisy", "redundant"), help="kinds of pools", choices=KINDS)
    n_train: int = param(16, help="examples that a selector takes", minimum=1)
    noise_rate: float = param(0.5, help="corrupted share of a noisy pool, repeated share of a redundant one", minimum=0)
    imbalance: float = param(1.0, help="Zipf exponent of the families in a redundant pool", minimum=0)
    n_targets: int = param(2, help="dev items per target family that target-aware selectors see", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no known noise; this study needs microworld")
        check_unique(self, "kinds")


def pool_fields(params: SelectingParams, kind: str) -> dict[str, Any]:
    """Return the spec fields that make a pool of one kind."""
    if kind == "noisy":
        return {"noise_rate": params.noise_rate, "noise_kinds": CORRUPTIONS}
    if kind == "redundant":
        return {"noise_rate": params.noise_rate, "noise_kinds": ("duplicate",), "imbalance": params.imbalance}
    return {}


def target_categories() -> list[str]:
    """Return the categories that take turns as the target: those of which a base knows every standard family."""
    names = world.default_families()
    return [
        category
        for category in dict.fromkeys(map(world.category, names))
        if any(_latent(name) for name in names if world.category(name) == category)
    ]


def targets_of(seed: int) -> tuple[str, ...]:
    """Return the target families of a seed: the latent standard families of one category, categories by turns."""
    categories = target_categories()
    chosen = categories[seed % len(categories)]
    return tuple(n for n in world.default_families() if world.category(n) == chosen and _latent(n))


def _latent(name: str) -> bool:
    from itlib.registry import families

    return families.get(name).familiarity == "latent"


def arm(
    params: SelectingParams,
    setting: Mapping[str, Any],
    kind: str,
    selector: str,
    *,
    seeds: Sequence[int] | None = None,
    **fields: Any,
) -> list[RunSpec]:
    """Return the runs of one arm, a run per seed: same pools, base, items and order of training as any other arm.

    Args:
        params: Parameters of the study.
        setting: What dev chose.
        kind: Kind of pool.
        selector: Its registered name.
        seeds: Replicates; None takes those of the study.
        fields: Further spec fields, such as ``selector_options`` or another ``n_train``.
    """
    base = with_fields(tuned_base(params, setting), **_common(params, kind), selector=selector)
    base = with_fields(base, **fields)
    runs = [replicate(base, seed, params.base_seed) for seed in (params.seeds if seeds is None else seeds)]
    return [with_fields(run, target_families=targets_of(run.seed)) for run in runs]


def _common(params: SelectingParams, kind: str) -> dict[str, Any]:
    made_of = pool_fields(params, kind)
    return {**made_of, "n_train": params.n_train, "n_targets": params.n_targets, "describe_selection": True}


def settings(params: SelectingParams) -> list[dict[str, Any]]:
    """Return the candidate settings among which dev decides."""
    trained = [name == "trained" for name in params.embeddings]
    return [dict(zip(CHOSEN, (rate, on), strict=True)) for rate in params.learning_rates for on in trained]


def candidates(params: SelectingParams) -> list[RunSpec]:
    """Return the choice runs: random subsets of every kind of pool under every setting; empty with one setting.

    A rate chosen with a selector would favour it; all selectors get the one that suits random subsets.

    Raises:
        InputError: A run cannot be made.
    """
    found: list[RunSpec] = []
    if len(settings(params)) < 2:
        return found
    zipped = {name: [setting[name] for setting in settings(params)] for name in CHOSEN}
    for kind in params.kinds:
        plain = with_fields(tuned_base(params, settings(params)[0]), **pool_fields(params, kind))
        base = with_fields(on_dev(plain, n_eval=params.choice_eval), n_train=params.choice_size)
        found += replicates(grid(base, zipped=[zipped]), params.choice_seeds, params.base_seed)
    for spec in found:
        resolve(spec)
    return found


def choose(params: SelectingParams, dev_results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the setting that did best on dev over all kinds of pools, or the only one there is."""
    return best_on_dev(dev_results, CHOSEN) if dev_results else settings(params)[0]


def check_selectors(key: str, names: Sequence[str]) -> None:
    """Refuse selectors that do not exist, naming their key; "name option=value ..." sets options."""
    for text in names:
        name, *given = text.split()
        try:
            options(selectors.get(name), given, name)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
