"""Study 3b: what helps a tuned model against new wordings, and what it costs.

Remedies are arms that see the same examples for equally many steps: more templates per family, a soft prompt,
alignment of paraphrases by KL in a soft prompt, in low-rank adapters and in all weights, and contrastive instruction
tuning beside its baseline. Every run answers the same items in phrasings it was tuned on, in new ones and in negated
ones; its stored weights then answer the first of its phrasings again under perturbations.

The paper of the soft prompt learns it on top of a model that was tuned on instructions, and so do the arms with two
stages: the first is plain tuning, at a rate of its own, the second the remedy. "full again" is their control: as many
more steps of the same. All other arms have one stage. Contrastive tuning and its baseline are compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from itlib.errors import InputError
from itlib.grid import grid
from itlib.packing import TRIMMED
from itlib.registry import perturbations
from itlib.resolve import MOST_VIRTUAL_TOKENS
from itlib.result import RunResult
from itlib.schema import coerce, param
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies.chosen import Designs, check_apart, check_designs, distinct, run_designs
from itlib.studies.common import (
    Run,
    StudyParams,
    base_spec,
    best_on_dev,
    check_unique,
    on_dev,
    replicates,
    variant,
)
from itlib.train import SCHEDULES

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "RemediesParams",
    "arms",
    "best_rates",
    "candidates",
    "collect",
    "comparisons",
    "contrasts",
    "designs",
    "distinct",
    "pending",
    "perturbed",
    "plain",
    "run_designs",
    "variant",
]

CLAIMS = ("R5", "R6", "R7")
UNEQUAL = {
    "steps": "a second stage comes after a first of equal length, and is compared with other second stages",
    "tokens": "an objective that looks at two wordings reads both",
    "supervised": "an objective that looks at two wordings reads both",
}  # budgets that differ between arms, and why
UNTUNED, AGAIN, PARAPHRASES = "untuned", "full again", "paraphrases"


@dataclass(frozen=True)
class RemediesParams(StudyParams):
    """Parameters of ``03b_remedies``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    eval_phrasing_set: str = param(
        "unobserved", help="phrasings that count as new; no pool has them", choices=("unobserved", "unobserved_wrapper")
    )
    pool_size: int = param(100, help="examples in the micro-world pool", minimum=2)
    n_reference: int = param(0, help="held-out pretraining documents that measure drift", minimum=0)
    seeds: tuple[int, ...] = param((0, 1), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    families: tuple[str, ...] = param(("plural", "colour"), help="task families of pool and test; empty takes all")
    n_train: int = param(32, help="training examples of every arm", minimum=2)
    diversity: tuple[int, ...] = param((1, 2), help="phrasings per family of the arms of plain tuning", minimum=1)
    n_phrasings: int = param(2, help="phrasings per family of all other arms, one of diversity", minimum=2)
    virtual_tokens: tuple[int, ...] = param(
        (2, 4), help="lengths of a soft prompt with KL; the last one also without", minimum=1,
        maximum=MOST_VIRTUAL_TOKENS,
    )  # fmt: skip
    kl_weight: float = param(1.0, help="of the divergence between wordings", minimum=0)
    contrast_batches: tuple[int, ...] = param((2, 8), help="examples of a contrast group", minimum=2)
    tau: float = param(0.05, help="temperature of the contrast", exclusive_minimum=0)
    rank: int = param(4, help="rank of the low-rank adapters", minimum=1)
    alpha: float = param(8.0, help="scale of the adapters, applied as alpha over rank", exclusive_minimum=0)
    full_rates: tuple[float, ...] = param((2e-3,), help="peak rates of all weights; dev decides", exclusive_minimum=0)
    lora_rates: tuple[float, ...] = param((1e-2,), help="peak rates of adapters; dev decides", exclusive_minimum=0)
    prompt_rates: tuple[float, ...] = param(
        (0.03, 0.1), help="peak rates of soft prompts; dev decides", exclusive_minimum=0
    )
    first_rate: float = param(2e-3, help="peak rate of the first stage of two", exclusive_minimum=0)
    choice_eval: int = param(4, help="dev items per family", minimum=1)
    choice_seeds: tuple[int, ...] = param((1000,), help="seeds of the dev runs, apart from seeds", minimum=0)
    budget: int = param(8, help="training length", unit="steps", minimum=1)
    batch_size: int = param(16, help="examples per optimiser step", minimum=2)
    schedule: str = param("linear", help="learning rate after the warm-up", choices=SCHEDULES)
    warmup_fraction: float = param(0.03, help="share of the steps", minimum=0, maximum=1)
    weight_decay: float = param(0.0, help="decoupled weight decay", minimum=0)
    n_eval_phrasings: int = param(3, help="phrasings of every kind in which each test item is asked", minimum=2)
    perturbed_by: tuple[str, ...] = param(("typo 1.0", "word_drop 0.25"), help="perturbations with their severity")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no phrasings for paraphrases; this study needs microworld")
        lists = ("seeds", "diversity", "virtual_tokens", "contrast_batches", "choice_seeds", "perturbed_by")
        check_unique(self, *lists, "full_rates", "lora_rates", "prompt_rates")
        check_apart(self, "choice_seeds")
        if self.n_phrasings not in self.diversity:
            raise InputError(f"n_phrasings: {self.n_phrasings} is not in diversity, and remedies are compared with it")
        if self.n_eval_phrasings < self.n_phrasings:
            raise InputError(f"n_eval_phrasings: {self.n_eval_phrasings} would leave out some of {self.n_phrasings}")
        if max(self.contrast_batches) > self.batch_size:
            raise InputError(f"contrast_batches: {max(self.contrast_batches)} is above batch_size {self.batch_size}")
        contrasts(self)


def contrasts(params: RemediesParams) -> dict[str, tuple[str, float]]:
    """Return the perturbation and severity of every entry of ``perturbed_by``, by its name."""
    found = {}
    for text in params.perturbed_by:
        name, _, severity = text.partition(" ")
        try:
            perturbations.get(name)
        except InputError as error:
            raise InputError(f"perturbed_by: {error}") from None
        number = coerce(severity, float, key=f"perturbed_by: {name}", where="severity")
        if not 0 < number <= 1:
            raise InputError(f"perturbed_by: severity of {name} must be above 0 and at most 1, got {severity}")
        if name in found:
            raise InputError(f"perturbed_by: '{name}' is given twice")
        found[name] = (name, number)
    return found


def plain(k: int) -> str:
    """Return the name of the arm of plain tuning on ``k`` phrasings per family."""
    return f"full k={k}"


def arms(params: RemediesParams) -> dict[str, dict[str, Any]]:
    """Return what every tuned arm differs in, as spec fields by name; the arms of plain tuning come first."""
    longest = params.virtual_tokens[-1]
    kl = {"objective": "kl_align", "objective_options": (f"weight={params.kl_weight:g}",)}
    lora = {"method": "lora", "rank": params.rank, "alpha": params.alpha}
    found: dict[str, dict[str, Any]] = {plain(k): {"n_phrasings": k} for k in sorted(params.diversity)}
    stages = {AGAIN: {}, "prompt": {"method": "prompt", "n_virtual_tokens": longest}}
    for n in params.virtual_tokens:
        stages[f"prompt + KL N={n}"] = {"method": "prompt", "n_virtual_tokens": n, **kl}
    stages |= {"LoRA + KL": {**lora, **kl}, "full + KL": kl}
    first = {"first_steps": params.budget, "first_rate": params.first_rate}
    found |= {name: {**fields, **first} for name, fields in stages.items()}
    found[PARAPHRASES] = {"objective": PARAPHRASES}
    for size in params.contrast_batches:
        options = (f"contrast_batch={size}", f"tau={params.tau:g}")
        found[f"CoIN B={size}"] = {"objective": "coin", "objective_options": options}
    return {name: {"n_phrasings": params.n_phrasings, **fields} for name, fields in found.items()}


def rates_of(params: RemediesParams, arm: str) -> tuple[float, ...]:
    """Return the candidate rates of an arm: those of what it moves."""
    by_method = {"full": params.full_rates, "lora": params.lora_rates, "prompt": params.prompt_rates}
    return by_method[arms(params)[arm].get("method", "full")]


def tuned_base(params: RemediesParams) -> RunSpec:
    """Return the spec of seed 0 that all arms share, with items asked once; objectives exist in our own loop only."""
    return with_fields(
        base_spec(params),
        families=params.families,
        n_train=params.n_train,
        trainer="loop",
        budget=params.budget,
        batch_size=params.batch_size,
        schedule=params.schedule,
        warmup_fraction=params.warmup_fraction,
        weight_decay=params.weight_decay,
    )


def comparisons(params: RemediesParams) -> list[tuple[str, str]]:
    """Return the pairs of arms whose difference says what a remedy adds: it, and what it is compared with."""
    by_stage = {name: "first_steps" in fields for name, fields in arms(params).items()}
    own = plain(params.n_phrasings)
    pairs = [(name, AGAIN) for name, two in by_stage.items() if two and name != AGAIN]
    pairs += [(plain(k), own) for k in sorted(params.diversity) if k != params.n_phrasings]
    pairs += [(PARAPHRASES, own)]
    return pairs + [(f"CoIN B={size}", PARAPHRASES) for size in params.contrast_batches]


def candidates(params: RemediesParams) -> list[RunSpec]:
    """Return the dev runs: every arm with every rate on seeds of their own; an arm with one rate has none.

    They are asked dev items in dev phrasings, which are as new as the test phrasings.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {name: rates_of(params, name)[0] for name in arms(params)}))
    base = on_dev(tuned_base(params), n_eval=params.choice_eval)
    found: list[RunSpec] = []
    for name, fields in arms(params).items():
        rates = rates_of(params, name)
        cells = grid(with_fields(base, **fields), learning_rate=rates) if len(rates) > 1 else []
        found += replicates(cells, params.choice_seeds, params.base_seed)
    return found


def best_rates(params: RemediesParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every arm: the first within one standard error of its best on dev, or the only one."""
    chosen, start = {}, 0
    for name in arms(params):
        rates = rates_of(params, name)
        if len(rates) == 1:
            chosen[name] = rates[0]
            continue
        stop = start + len(rates) * len(params.choice_seeds)
        chosen[name] = best_on_dev(dev_results[start:stop], ["learning_rate"])["learning_rate"]
        start = stop
    return chosen


def designs(params: RemediesParams, rates: Mapping[str, float]) -> Designs:
    """Return the test runs by arm: every item in familiar, new and negated phrasings, weights kept.

    An untuned base does not depend on the rest of a seed but in the order of its phrasings, and is measured per seed.
    """
    sets = f"observed+{params.eval_phrasing_set}+negated"
    base = with_fields(tuned_base(params), eval_phrasing_set=sets, n_eval_phrasings=params.n_eval_phrasings)
    untuned = with_fields(base, n_train=0, n_phrasings=params.n_phrasings)
    cells = {UNTUNED: untuned} | {
        name: replace(with_fields(base, learning_rate=rates[name], **fields), keep_weights=True)
        for name, fields in arms(params).items()
    }
    return {name: replicates([cell], params.seeds, params.base_seed) for name, cell in cells.items()}


def perturbed(params: RemediesParams, test_runs: Designs) -> Designs:
    """Return the runs that ask stored weights again under perturbations, by arm.

    They are asked the first phrasing of their seed, which every arm was tuned on: the perturbation alone is new.
    """
    asked = {"eval_phrasing_set": "observed", "n_eval_phrasings": 1, "n_reference": 0}
    return {
        arm: [
            replace(with_fields(spec, **asked, perturbation=name, severity=severity), keep_weights=False)
            for name, severity in contrasts(params).values()
            for spec in runs
        ]
        for arm, runs in test_runs.items()
        if arm != UNTUNED
    }


def collect(params: RemediesParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    rates = best_rates(params, run(candidates(params)))
    test_runs = designs(params, rates)
    results = run_designs(test_runs, run)
    return distinct(results) + distinct(run_designs(perturbed(params, test_runs), run))


def pending(params: RemediesParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    test_runs = designs(params, {name: rates_of(params, name)[0] for name in arms(params)})
    n_test, n_again = (
        len({digest(spec) for runs in part.values() for spec in runs})
        for part in (test_runs, perturbed(params, test_runs))
    )
    return f"{n_test} test runs follow once dev has chosen rates, and {n_again} more evaluations of their weights"
