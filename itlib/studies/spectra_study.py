"""Study 4b: does low-rank adaptation write new singular directions into the weights, and do they cause forgetting?

Every tuned matrix is compared with what it was before: which of its first singular vectors are far from all of those of
the base, and how many there would be if the change were random. Arms differ in rank, in the rule by which the scale of
the adapter follows the rank, and in whether its first factor is trained; each has the learning rate that dev chose for
it. A sweep over rates asks whether counts go with forgetting once the size of the change is the same. An intervention
scales a new direction, a neighbour or a random one in the stored weights of one arm. A second base with a steeper
spectrum shows what a flat one adds.

Source: LoRA vs Full Fine-tuning: An Illusion of Equivalence (arXiv:2410.21228v3).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from itlib.errors import InputError
from itlib.fairness import ledger
from itlib.registry import methods
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies.chosen import Designs, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, one_per_base, replicates, variant
from itlib.studies.tuned_arms import (
    Rates,
    TunedArmsParams,
    arm_fields,
    at_edge,
    best_rates,
    check_arms,
    first_rates,
    rate_grid,
    rates_of,
    trials,
    tuned_base,
)

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "SpectraParams",
    "at_edge",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "edited",
    "given",
    "pending",
    "rules",
    "run_designs",
    "scale_of",
    "variant",
]

CLAIMS = ("L2", "L3", "L4", "L5", "L6")
TEST, SWEEP, OTHER, UNTUNED, EDITED = "test", "sweep", "other", "untuned", "edited"  # kinds of runs
EDITS = ("intruder", "neighbour", "random_direction")
MEASURE = "spectra"
GROWING = "alpha = 2 x rank"
UNEQUAL = {
    "trials": "arms of the second base take the rates that dev chose on the first one; no claim is judged there"
}  # budgets that differ between arms, and why


@dataclass(frozen=True)
class SpectraParams(TunedArmsParams):
    """Parameters of ``04b_spectra``."""

    arms: tuple[str, ...] = param(
        ("full", "lora 1", "lora 4", "rslora 4"), help="tuning methods; dev chooses a rate for each"
    )
    sweep_arms: tuple[str, ...] = param(("lora 1", "lora 4"), help="arms that are also tested at all rates")
    other_model: str = param("micro-1m-adamw", help="a base with another spectrum; empty leaves it out")
    other_arms: tuple[str, ...] = param(("full", "lora 1"), help="arms on the other base, at the same rates")
    edit_arm: str = param("lora 1", help="whose stored weights are edited, decided before any run")
    edits: tuple[str, ...] = param(EDITS, help="which direction is scaled", choices=EDITS)
    edit_scales: tuple[float, ...] = param(
        (0.5, 1.0), help="what its singular value is multiplied with; 1 changes nothing", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "arms", "sweep_arms", "edits", "edit_scales")
        check_arms(self.arms)
        _check_distinct(self.arms)
        for arm in self.arms:
            if not methods.get(arm.split()[0]).mergeable:
                raise InputError(f"arms: '{arm}' changes no weights, so it has no singular vectors to look at")
        for key, named in (
            ("sweep_arms", self.sweep_arms),
            ("edit_arm", (self.edit_arm,)),
            ("other_arms", self.other_arms),
        ):
            strangers = [arm for arm in named if arm not in self.arms]
            if strangers:
                raise InputError(f"{key}: '{strangers[0]}' is not in arms, where every arm gets its rate")
        if bool(self.other_model) != bool(self.other_arms):
            raise InputError("other_arms: name arms where there is an other_model, and none where there is not")
        if len(set(self.other_arms)) < len(self.other_arms):
            raise InputError(f"other_arms: the list repeats a value: {list(self.other_arms)}")
        if self.other_model == self.model:
            raise InputError(f"other_model: '{self.model}' is also model; name a base with another spectrum, or none")
        if 1.0 not in self.edit_scales:
            raise InputError("edit_scales: 1 is missing; unchanged weights are what the others are compared with")


def _check_distinct(arms: Sequence[str]) -> None:
    """Refuse two names of one arm, such as "lora 4" and "lora 4 alpha=8"."""
    seen: dict[str, str] = {}
    for arm in arms:
        first = seen.setdefault(repr(sorted(arm_fields(arm).items())), arm)
        if first != arm:
            raise InputError(f"arms: '{first}' and '{arm}' are the same")


def scale_of(arm: str) -> float | None:
    """Return what the product of an adapter's factors is multiplied with; None for arms that no rule of scale is about.

    Those are methods other than low-rank adaptation and its rank-stabilised form (alpha over the root of the rank), and
    variants with options or with some of the layers alone.
    """
    fields = arm_fields(arm)
    plain = fields["method"] in ("lora", "rslora") and not fields["method_options"] and "targets" not in fields
    if not plain:
        return None
    return fields["alpha"] / (fields["rank"] if fields["method"] == "lora" else math.sqrt(fields["rank"]))


def rules(arms: Sequence[str]) -> pd.DataFrame:
    """Return which arms show how each rule of scale goes with the rank.

    Rules are read off the arms: alpha of twice the rank, a fixed alpha, and a fixed alpha over the root of the rank.
    Where two rules have the same scale at a rank, one arm stands for both.

    Returns:
        Columns ``rule``, ``rank``, ``arm``, by rule and ascending rank; then the other arms under their own names, with
        a rank of 0 where they have none.
    """
    plain = {arm: arm_fields(arm) | {"scale": scale_of(arm)} for arm in arms if scale_of(arm) is not None}
    rows = []
    for rule, scale in dict.fromkeys(_rule(fields) for fields in plain.values()):
        for rank in sorted({fields["rank"] for fields in plain.values()}):
            here = {arm: fields for arm, fields in plain.items() if fields["rank"] == rank}
            same = [arm for arm, fields in here.items() if math.isclose(fields["scale"], _scale(rule, scale, rank))]
            rows.extend((rule, rank, arm) for arm in same[:1])
    rows += [(arm, arm_fields(arm).get("rank", 0), arm) for arm in arms if arm not in plain]
    return pd.DataFrame(rows, columns=["rule", "rank", "arm"])


def _rule(fields: Mapping[str, Any]) -> tuple[str, float]:
    if fields["method"] == "rslora":
        return f"rank-stabilised, alpha = {fields['alpha']:g}", fields["alpha"]
    if fields["alpha"] == 2 * fields["rank"]:
        return GROWING, 2.0
    return f"alpha = {fields['alpha']:g}", fields["alpha"]


def _scale(rule: str, constant: float, rank: int) -> float:
    if rule == GROWING:
        return constant
    return constant / (math.sqrt(rank) if rule.startswith("rank-stabilised") else rank)


def candidates(params: SpectraParams) -> list[RunSpec]:
    """Return the dev runs: every arm with every rate on seeds of their own; empty where there is one rate.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    test_runs = designs(params, first_rates(params, params.arms))
    check_designs({**test_runs, **edited(params, test_runs)})
    return rate_grid(params, params.arms)


def choose(params: SpectraParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every arm: the first within one standard error of the best of its own on dev."""
    return best_rates(params, params.arms, dev_results)


def designs(params: SpectraParams, rates: Rates) -> Designs:
    """Return the test runs by kind and arm, as "<kind>/<arm>".

    * "test": every arm at its own rate. Weights of the arm to be edited are kept.
    * "sweep": some arms at all their rates; the one at the chosen rate is the same run.
    * "other": some arms on the other base, at the rates chosen on the first.
    * "untuned": each base once, to say what tuning made it forget.
    """
    found = {f"{TEST}/{arm}": list(_runs(params, arm, [rates[arm]], rates)) for arm in params.arms}
    found |= {f"{SWEEP}/{arm}": list(_runs(params, arm, rates_of(params, arm), rates)) for arm in params.sweep_arms}
    found[f"{UNTUNED}/{params.model}"] = _untuned(params)
    if params.other_model:
        other = dataclasses.replace(params, model=params.other_model, other_model="", other_arms=(), base_seed=-1)
        try:
            found |= {f"{OTHER}/{arm}": list(_runs(other, arm, [rates[arm]], {})) for arm in params.other_arms}
            found[f"{UNTUNED}/{params.other_model}"] = _untuned(other)
        except InputError as error:
            raise InputError(f"other_model: {error}") from None
    return found


def _untuned(params: SpectraParams) -> list[RunSpec]:
    return one_per_base(replicates([with_fields(tuned_base(params), n_train=0)], params.seeds, params.base_seed))


def _runs(params: SpectraParams, arm: str, at: Sequence[float], rates: Rates) -> Iterator[RunSpec]:
    """Yield the runs of an arm on all seeds at some rates; weights are kept where they are to be edited."""
    shared = with_fields(tuned_base(params), measures=(MEASURE,), **arm_fields(arm))
    for rate in at:
        kept = arm == params.edit_arm and rate == rates.get(arm)
        cell = replace(with_fields(shared, learning_rate=rate), keep_weights=kept)
        yield from replicates([cell], params.seeds, params.base_seed)


def edited(params: SpectraParams, test_runs: Designs) -> Designs:
    """Return the evaluations of stored weights with one direction of each matrix scaled, by "edited/<edit>"."""
    stored = test_runs[f"{TEST}/{params.edit_arm}"]
    return {
        f"{EDITED}/{edit}": [
            replace(with_fields(spec, measures=(), edit=edit, edit_scale=scale), keep_weights=False)
            for scale in sorted(params.edit_scales)
            for spec in stored
        ]
        for edit in params.edits
    }


def given(params: SpectraParams, results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return the ledger of every tuned arm, those of the other base included; see ``itlib.fairness``."""
    named = {arm: f"{TEST}/{arm}" for arm in params.arms}
    named |= {f"{arm} ({params.other_model})": f"{OTHER}/{arm}" for arm in params.other_arms}
    tried = dict.fromkeys(named, 0) | trials(params, params.arms)
    return ledger({label: results[name] for label, name in named.items()}, tried)


def collect(params: SpectraParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    test_runs = designs(params, choose(params, run(candidates(params))))
    results = run_designs(test_runs, run)
    return distinct(results) + distinct(run_designs(edited(params, test_runs), run))


def pending(params: SpectraParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    test_runs = designs(params, first_rates(params, params.arms))
    n_test, n_edits = (
        len({digest(spec) for runs in part.values() for spec in runs})
        for part in (test_runs, edited(params, test_runs))
    )
    return f"{n_test} test runs follow once dev has chosen rates, and {n_edits} evaluations of stored weights"
