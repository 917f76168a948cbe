"""Study 4d: what is left of earlier tasks when they come one after another, by how much of a model is tuned.

A run learns the families in their order, each in a round of its own: equal shares of examples and steps, a fresh
optimizer and the whole schedule. An arm is a tuning method of ``tuned_arms`` and a word for what happens between:

    full                             nothing to merge: all weights go on
    lora 16 merged                   adapters become part of the weights, and fresh ones start (the usual case)
    lora 16 persistent               the same adapters go on
    half level=category redrawn      another half of the weights for every round; the same as merged
    half level=category held         the same half; the same as persistent
    full joint                       all families at once for as many steps: what a sequence could reach

The word comes last; without one an arm is merged. The rate of a method is chosen on dev items of the first family
alone, in runs of its one round, and serves all arms of the method: nobody knows later tasks when the first one starts.

A task has few wordings, one as in the sources, and its test items, whose operands no training has, are asked in these:
whether a task is still known shows best in the words that taught it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.continual import SCORE, round_frame
from itlib.errors import InputError
from itlib.execute import REFERENCE_LOSS
from itlib.fairness import undeclared
from itlib.frame import REFERENCE, probe_frame
from itlib.measures import measure_frame
from itlib.microworld.mixture import Mixture, pool_limit
from itlib.registry import families as known_families
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import PHRASINGS, Run, check_unique, replicates, variant
from itlib.studies.tuned_arms import (
    Rates,
    TunedArmsParams,
    arm_fields,
    at_edge,
    best_rates,
    check_arms,
    first_rates,
    rate_grid,
    tuned_base,
)

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "ContinualParams",
    "between",
    "blocked",
    "candidates",
    "choose",
    "chosen_rates",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "method_words",
    "pending",
    "run_designs",
    "sequential",
    "trials",
    "variant",
]

CLAIMS = ("L7", "L12", "L12-levels")
UNTUNED = "untuned"
JOINT = "joint"
BETWEEN = {"merged": "merged", "redrawn": "merged", "persistent": "persistent", "held": "persistent", JOINT: "one"}
JOINED = "joint training mixes all families in every batch, so that a last incomplete pass falls on other examples"
UNEQUAL = {"tokens": JOINED, "supervised": JOINED}  # of joint arms alone, see ``blocked``


@dataclass(frozen=True)
class ContinualParams(TunedArmsParams):
    """Parameters of ``04d_continual``. ``n_train`` and ``budget`` are those of a whole sequence."""

    n_train: int = param(32, help="training examples of all families together, an equal share each", minimum=1)
    eval_phrasing_set: str = param(
        "observed", help="test phrasings; observed asks in those that taught the family", choices=tuple(PHRASINGS)
    )
    n_phrasings: int = param(1, help="wordings of each family, in training and in the test; 0 takes all", minimum=0)
    families: tuple[str, ...] = param(
        ("plural", "past", "opposite", "category"), help="task families in their order; rates are chosen on the first"
    )
    arms: tuple[str, ...] = param(
        ("full", "lora 2 merged", "lora 2 persistent", "half redrawn", "full joint"),
        help="a tuning method, then merged, redrawn, persistent, held or joint",
    )
    knowledge: bool = param(True, help="measure at the end what is recalled of the facts that documents told")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no task families; this study needs microworld")
        check_unique(self, "families", "arms")
        _check_families(self.families)
        for key in ("n_train", "budget"):
            if getattr(self, key) % len(self.families):
                raise InputError(f"{key}: {getattr(self, key)} does not divide by {len(self.families)} families")
        share = self.n_train // len(self.families)
        for name in self.families:
            most = _examples(name, self.n_phrasings)
            if share > most:
                raise InputError(
                    f"n_train: '{name}' has {most} examples in these wordings, fewer than its share, {share}"
                )
        check_arms([method_words(arm) for arm in self.arms])
        meant: dict[tuple[str, str], str] = {}
        for arm in self.arms:
            twin = meant.setdefault((method_words(arm), between(arm)), arm)
            if twin != arm:
                raise InputError(f"arms: '{arm}' is the same as '{twin}'")
        if not sequential(self.arms):
            raise InputError("arms: none learns one family after another; name one that is not joint")


def _check_families(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise InputError("families: a sequence needs at least two")
    for name in names:
        try:
            family = known_families.get(name)
        except InputError as error:
            raise InputError(f"families: {error}") from None
        if family.respond is not None:
            raise InputError(f"families: '{name}' has many right responses, and a round is scored by exact match")


def _examples(family: str, n_phrasings: int) -> int:
    """Return how many different examples of a family a pool can hold."""
    return pool_limit(Mixture(families=(family,), n_phrasings=n_phrasings))


def method_words(arm: str) -> str:
    """Return the tuning method of an arm: the arm without its last word, where that is one about rounds."""
    words = arm.split()
    return " ".join(words[:-1] if words and words[-1] in BETWEEN else words)


def between(arm: str) -> str:
    """Return the field ``rounds`` of an arm, "merged" for an arm that does not say."""
    words = arm.split()
    return BETWEEN.get(words[-1], "merged") if words else "merged"


def sequential(arms: Sequence[str]) -> list[str]:
    """Return the arms that learn one family after another."""
    return [arm for arm in arms if between(arm) != "one"]


def methods(params: ContinualParams) -> list[str]:
    """Return the tuning methods of all arms once each: what gets a rate."""
    return list(dict.fromkeys(method_words(arm) for arm in params.arms))


def base(params: ContinualParams) -> RunSpec:
    """Return the spec of seed 0 that all arms share; rounds exist in our own loop only."""
    return with_fields(
        tuned_base(params),
        families=params.families,
        n_phrasings=params.n_phrasings,
        n_eval_phrasings=params.n_phrasings,
        selector="stratified",
        trainer="loop",
        measures=("recall",) if params.knowledge else (),
    )


def one_round(params: ContinualParams) -> RunSpec:
    """Return the spec of the first round alone, for choosing a rate; its pool holds at most what its family has."""
    n, first = len(params.families), params.families[:1]
    most = _examples(first[0], params.n_phrasings)
    share = {"n_train": params.n_train // n, "budget": params.budget // n, "pool_size": min(params.pool_size, most)}
    return with_fields(base(params), families=first, **share, measures=())


def candidates(params: ContinualParams) -> list[RunSpec]:
    """Return the dev runs: every method with every rate on the first family; empty where there is one rate.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, _for_arms(params, first_rates(params, methods(params)))))
    asked = params.eval_phrasing_set if params.eval_phrasing_set == "observed" else PHRASINGS[params.eval_phrasing_set]
    found = rate_grid(params, methods(params), one_round(params))
    dev = [with_fields(spec, eval_phrasing_set=asked) for spec in found]
    check_designs({"dev": dev})
    return dev


def choose(params: ContinualParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every arm: the one that did best for its method on the first family, on dev items."""
    return _for_arms(params, best_rates(params, methods(params), dev_results))


def _for_arms(params: ContinualParams, by_method: Rates) -> dict[str, float]:
    return {arm: by_method[method_words(arm)] for arm in params.arms}


def chosen_rates(params: ContinualParams, rates: Rates) -> pd.DataFrame:
    """Return one row per method: its rate, how many were tried, and whether it is the smallest or largest of them."""
    by_method = {method_words(arm): rate for arm, rate in rates.items()}
    edge = at_edge(params, by_method)
    tried = len(params.learning_rates)
    rows = [(name, rate, tried, edge[name]) for name, rate in by_method.items()]
    return pd.DataFrame(rows, columns=["method", "learning_rate", "tried", "at_an_edge"])


def trials(params: ContinualParams) -> dict[str, int]:
    """Return how many rates were tried for each arm; arms of one method share their trials."""
    return {arm: len(params.learning_rates) for arm in params.arms}


def blocked(table: pd.DataFrame) -> str:
    """Return why no verdict is fair, or nothing: between arms in sequence, which claims compare, no budget may differ.

    Args:
        table: From ``fairness.ledger``, joint arms included; what these were given is declared and no claim reads them.
    """
    return undeclared(table[table["arm"].isin(sequential(list(table["arm"])))], {})


def designs(params: ContinualParams, rates: Rates) -> Designs:
    """Return the test runs by arm, and the base of every seed as it was, "untuned"."""
    shared = base(params)
    cells: dict[str, RunSpec] = {UNTUNED: with_fields(shared, n_train=0)}
    for arm in params.arms:
        own: dict[str, Any] = {**arm_fields(method_words(arm)), "rounds": between(arm), "learning_rate": rates[arm]}
        cells[arm] = with_fields(shared, **own)
    return {arm: replicates([cell], params.seeds, params.base_seed) for arm, cell in cells.items()}


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, below it what was measured after each round, and recall.

    ``kind`` is "test" (after the last round), "round" (exact match of a family, or the loss on pretraining text, after
    ``round``, from 0) or "recall" (at the end, by ``frequency`` of a person). ``trained`` is the family of the round
    and ``place`` the round of the family asked; both are -1 or empty in other rows. A run that stopped has no round
    beyond.
    """
    parts = [arm_frame(results).assign(round=-1, place=-1, trained="")]
    for arm, runs in results.items():
        ours = {"arm": arm, "status": "done", "error": ""}
        in_rounds = [run for run in runs if run.spec.train.rounds != "one"]
        scores = round_frame(in_rounds).rename(columns={"accuracy": "value"})
        parts.append(scores.assign(**ours, kind="round", metric="exact_match"))
        parts.append(_documents(in_rounds).assign(**ours, kind="round", metric=REFERENCE_LOSS, family=REFERENCE))
        recall = measure_frame(runs, "recall").rename(columns={"recall": "value"})
        if len(recall):
            named = {"kind": "recall", "metric": "recall", "family": "people", "error": ""}
            parts.append(recall.assign(arm=arm, round=-1, place=-1, trained="", **named))
    filled = [part for part in parts if len(part)]
    frame = pd.concat(filled, ignore_index=True)
    return frame if "frequency" in frame else frame.assign(frequency=float("nan"))


def _documents(runs: Sequence[RunResult]) -> pd.DataFrame:
    """Return the loss on pretraining text after every round of every run."""
    probes = probe_frame(runs)
    if not len(probes):
        return pd.DataFrame(columns=["digest", "seed", "round", "trained", "place", "value"])
    rows = probes[~probes["metric"].str.startswith(SCORE)].sort_values(["digest", "step"], kind="stable")
    number = rows.groupby("digest").cumcount()
    trained = [names.split()[i] for names, i in zip(rows["families"], number, strict=True)]
    return rows[["digest", "seed", "value"]].assign(round=number, trained=trained, place=-1)


def collect(params: ContinualParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    rates = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, rates), run))


def pending(params: ContinualParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len(params.arms) * len(params.seeds)
    also = f"{len(params.seeds)} evaluations of untuned bases"
    return f"{n_test} test runs and {also} follow once dev has chosen rates"
