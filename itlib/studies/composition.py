"""Study 1c: does it matter what is trained together, in which amounts and in which order?

*General* families (part A) are latent in the base, *special* ones (part B) are learned slowly. Where one part is added
to another, steps grow with the examples, so that every example of the first part is seen equally often in all arms.
The learning rate is chosen by the same dev runs as in ``01_data_scaling``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itlib.errors import InputError
from itlib.ordering import NEEDS_SECOND_PART, kept_count
from itlib.registry import families as family_registry
from itlib.registry import methods
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies import data_scaling
from itlib.studies.chosen import ChosenParams, as_data_scaling
from itlib.studies.common import (
    Run,
    base_spec,
    check_unique,
    data_summary,
    one_per_base,
    replicates,
    variant,
)
from itlib.studies.data_scaling import DataScalingParams
from itlib.training_set import document_count

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "CompositionParams",
    "choice_grid",
    "choose",
    "collect",
    "data_summary",
    "experiments",
    "pending",
    "run_equivalents",
    "composition_grid",
    "variant",
]

CLAIMS = ("SC4", "SC5", "SC6", "SC30", "SC11", "SC12", "SC22", "O11", "O12")
UNEQUAL = {
    "steps": "what is added to a part is seen beside it, so that the part itself is seen equally often",
    "tokens": "what is added to a part is seen beside it, and tasks differ in length",
    "supervised": "what is added to a part is seen beside it, and tasks differ in length",
}  # budgets that differ between arms, and why
STRATEGIES = ("mixed", *NEEDS_SECOND_PART)
ARRANGEMENTS = ("mixed", "phased", "curriculum", "reverse", "interleaved")
GENERAL = ("opposite", "plural", "colour", "home", "longer")
SPECIAL = ("two_hop", "copy", "last_word", "swap", "addition")


@dataclass(frozen=True)
class CompositionParams(ChosenParams):
    """Parameters of ``01c_composition``."""

    general: tuple[str, ...] = param(GENERAL, help="families of part A, latent in the base")
    special: tuple[str, ...] = param(SPECIAL, help="families of part B, learned slowly")
    mixing_sizes: tuple[int, ...] = param((16, 64), help="special examples, alone and beside as many", minimum=1)
    n_fixed: int = param(32, help="examples of a part that is held fixed, and of both in the strategies", minimum=1)
    ratio_amounts: tuple[int, ...] = param((8, 16, 32), help="examples of the other part beside it", minimum=1)
    strategies: tuple[str, ...] = param(STRATEGIES, help="orders of the two parts", choices=STRATEGIES)
    kept_fraction: float = param(
        0.0625, help="of the first part, in the second stage of dual_stage", exclusive_minimum=0, maximum=1
    )
    imbalance: float = param(1.5, help="Zipf exponent of the unbalanced pool that caps act on", minimum=0, maximum=10)
    cap_size: int = param(64, help="examples of the unbalanced pool", minimum=1)
    caps: tuple[int, ...] = param((4, 8), help="most examples of a family; 0 is no cap and always run", minimum=1)
    order_size: int = param(64, help="examples of all families in orders and pretraining shares", minimum=1)
    pretraining_shares: tuple[float, ...] = param((0.0, 0.25), help="documents, of all sequences", minimum=0)
    orders: tuple[str, ...] = param(ARRANGEMENTS, help="arrangements of equal visits", choices=ARRANGEMENTS)
    method: str = param("full", help="full or lora")
    rank: int = param(16, help="rank of a low-rank method", minimum=1)
    alpha: float = param(32.0, help="scale of a low-rank method, applied as alpha over rank", exclusive_minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(
            self, "general", "special", "mixing_sizes", "ratio_amounts", "strategies", "caps",
            "pretraining_shares", "orders",
        )  # fmt: skip
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no task families to compose; this study needs 'microworld'")
        methods.get(self.method)
        _check_families(self)
        _check_sizes(self)
        _scaling(self)


def _check_families(params: CompositionParams) -> None:
    for key in ("general", "special"):
        for name in getattr(params, key):
            try:
                teachable = family_registry.get(name).size("pool")
            except InputError as error:
                raise InputError(f"{key}: {error}") from None
            if not teachable:
                raise InputError(f"{key}: '{name}' can only be tested; nothing ever teaches it")
    shared = [name for name in params.general if name in params.special]
    if shared:
        raise InputError(f"special: {shared} are also in general; the two parts share no family")


def _check_sizes(params: CompositionParams) -> None:
    for key in ("mixing_sizes", "n_fixed", "ratio_amounts", "order_size"):
        value = getattr(params, key)
        largest = max(value) if isinstance(value, tuple) else value
        if largest > params.pool_size:
            raise InputError(f"{key}: {largest} is more than pool_size {params.pool_size}")
    if len(params.ratio_amounts) < 3:
        raise InputError(f"ratio_amounts: a slope needs at least three amounts, got {list(params.ratio_amounts)}")
    for key, reference in (("strategies", "mixed"), ("orders", "mixed"), ("pretraining_shares", 0.0)):
        values = getattr(params, key)
        if reference not in values or len(values) < 2:
            raise InputError(f"{key}: needs {reference!r} and something to compare with it, got {list(values)}")
    if max(params.caps) >= params.cap_size:
        raise InputError(f"caps: {max(params.caps)} caps nothing in a pool of cap_size {params.cap_size}")
    if "dual_stage" in params.strategies:
        kept_count(params.kept_fraction, params.n_fixed)
    for share in params.pretraining_shares:
        if share > 0.9:
            raise InputError(f"pretraining_shares: {share:g} is above 0.9, the largest share")
        try:
            document_count(share, params.order_size)
        except InputError as error:
            raise InputError(f"pretraining_shares: {error}") from None


def _scaling(params: CompositionParams) -> DataScalingParams:
    """Return the parameters under which 01_data_scaling makes the same choice and the same run at ``order_size``."""
    return as_data_scaling(params, [params.order_size])


def choice_grid(params: CompositionParams) -> list[RunSpec]:
    """Return the dev runs of 01_data_scaling: every candidate setting on every choice seed.

    Raises:
        InputError: Model or data cannot be used, or a size is above the pool.
    """
    return data_scaling.choice_grid(_scaling(params))


def choose(params: CompositionParams, dev_results: Sequence[RunResult]) -> dict[str, Any]:
    """Return the setting that did best on dev, or the only one there is."""
    return data_scaling.choose(_scaling(params), dev_results)


def _base(params: CompositionParams, setting: Mapping[str, Any]) -> RunSpec:
    trained = ("method", "rank", "alpha", "budget", "batch_size", "schedule", "warmup_fraction", "weight_decay")
    return with_fields(base_spec(params), **{name: getattr(params, name) for name in trained}, **setting)


def _steps(params: CompositionParams, n_rows: int, n_own: int) -> float:
    """Return the steps in which ``n_own`` of ``n_rows`` examples are seen as often as in ``budget`` steps alone."""
    return float(max(1, round(params.budget * n_rows / n_own)))


def _beside(params: CompositionParams, base: RunSpec, n: int, n_mix: int, *, own: int, order: str = "mixed") -> RunSpec:
    """Return the run on ``n`` special and ``n_mix`` general examples, where ``own`` examples keep their visits."""
    kept = kept_count(params.kept_fraction, n) if order == "dual_stage" else 0
    return with_fields(
        base,
        families=params.special,
        n_train=n,
        mix_families=params.general if n_mix else (),
        n_mix=n_mix,
        order=order,
        kept_fraction=params.kept_fraction,
        budget=_steps(params, n + n_mix + kept, own),
        eval_families=(*params.general, *params.special),
    )


def experiments(params: CompositionParams, setting: Mapping[str, Any]) -> dict[str, list[RunSpec]]:
    """Return the test runs of each experiment on every seed; a run can take part in several.

    * untuned: every base as it is.
    * mixing: special examples alone, and beside as many general ones in twice the steps.
    * amounts: ``n_fixed`` examples of one part beside each amount of the other.
    * strategies: ``n_fixed`` of each part, mixed, special first, or special first and kept in part.
    * caps: all of an unbalanced pool, and what caps leave of it, at equal steps.
    * documents: all families with each share of pretraining documents.
    * orders: all families in each order at equal steps; "mixed" is the run of 01_data_scaling at this size.
    """
    base = _base(params, setting)
    fixed = params.n_fixed
    every = with_fields(base, n_train=params.order_size)
    unbalanced = with_fields(base, imbalance=params.imbalance, pool_size=params.cap_size, n_train=params.cap_size)
    arms = {
        "mixing": [_beside(params, base, n, n_mix, own=n) for n in params.mixing_sizes for n_mix in (0, n)],
        "amounts": [_beside(params, base, fixed, n, own=fixed) for n in params.ratio_amounts]
        + [_beside(params, base, n, fixed, own=fixed) for n in params.ratio_amounts if n != fixed],
        "strategies": [_beside(params, base, fixed, fixed, own=fixed, order=order) for order in params.strategies],
        "caps": [with_fields(unbalanced, per_family_cap=cap) for cap in (0, *params.caps)],
        "documents": [
            with_fields(
                every,
                pretraining_share=share,
                budget=_steps(params, params.order_size + document_count(share, params.order_size), params.order_size),
            )
            for share in params.pretraining_shares
        ],
        "orders": [with_fields(every, order=order) for order in params.orders],
    }
    untuned = one_per_base(replicates([with_fields(base, n_train=0)], params.seeds, params.base_seed))
    tuned = {name: replicates(specs, params.seeds, params.base_seed) for name, specs in arms.items()}
    return {"untuned": untuned, **tuned}


def composition_grid(params: CompositionParams, setting: Mapping[str, Any]) -> list[RunSpec]:
    """Return every test run once."""
    runs = {digest(spec): spec for specs in experiments(params, setting).values() for spec in specs}
    return list(runs.values())


def run_equivalents(params: CompositionParams, specs: Sequence[RunSpec]) -> float:
    """Return the steps of tuned runs in units of ``budget``, the run that other notebooks of this study count in."""
    return sum(spec.train.budget for spec in specs if spec.data.n_train) / params.budget


def collect(params: CompositionParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    return run(composition_grid(params, choose(params, run(choice_grid(params)))))


def pending(params: CompositionParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    candidates = data_scaling.settings(_scaling(params))
    n_test = len(composition_grid(params, candidates[0]))
    return f"{n_test} test runs follow once dev has chosen among {len(candidates)} settings"
