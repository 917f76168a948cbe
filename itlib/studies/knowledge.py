"""Study 4e: what does tuning on instructions change, form or knowledge; and how sure is the tuned model of it?

Two courses on one base. The *styled* course puts answers between the opening and closing of a style, so that each of
their tokens is one of form or one of content. The *taught* course adds facts that no document tells, with short
answers, so that the first token is the answer: what a model that learns new facts says about people of whom it was
told nothing, how sure it is, and in how few of its changed entries the skill sits. Arms of a course differ in their
tuning method and in their rate, which dev chooses per arm on the styled course. The weights of the taught course are
kept and evaluated again: on questions that nobody can answer, with all changes taken back (which is the base), and
with a share of them grafted on the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from itlib.errors import InputError
from itlib.frame import run_frame
from itlib.measures import measure_frame
from itlib.microworld.responses import STYLES, WORDINGS
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies.chosen import Designs, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, variant
from itlib.studies.tuned_arms import (
    Rates,
    TunedArmsParams,
    arm_runs,
    at_edge,
    best_rates,
    check_arms,
    first_rates,
    rate_grid,
    trials,
    tuned_base,
)

__all__ = [
    "CLAIMS",
    "COURSE_OF",
    "UNEQUAL",
    "KnowledgeParams",
    "at_edge",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evaluations",
    "evidence",
    "pending",
    "run_all_parts",
    "trials",
    "variant",
]

CLAIMS = ("L10", "L11", "L18")
STYLED, TAUGHT = "styled", "taught"
COURSE_OF = {"L10": STYLED, "L11": TAUGHT, "L18": TAUGHT}  # whose budgets decide whether a claim may be judged
UNTAUGHT, BEFORE, GRAFT, TEST = "untaught", "before", "graft", "test"
UNEQUAL: dict[str, str] = {}  # budgets that differ between arms of a course, and why: none
LARGEST, RANDOM, LEARNED = "graft_largest", "graft_random", "graft_learned"
# measure -> the columns that say what a row of it is about; what is left are its numbers
MEASURES = {
    "token_shift": ("position", "token"),
    "recall": ("frequency",),
    "borrowing": ("family",),
    "calibration": ("bin",),
}
Parts = Mapping[str, Designs]
Results = Mapping[str, Mapping[str, Sequence[RunResult]]]


@dataclass(frozen=True)
class KnowledgeParams(TunedArmsParams):
    """Parameters of ``04e_knowledge``."""

    arms: tuple[str, ...] = param(("full", "lora 4"), help="a method with its rank and options, on styled answers")
    families: tuple[str, ...] = param(
        ("home", "rare_home", "colour"), help="families that every run is tuned on and asked"
    )
    response_wording: str = param("short", help="of answers in the styled course", choices=tuple(WORDINGS))
    response_style: str = param(
        "polite", help="of answers in the styled course", choices=tuple(name for name in STYLES if name != "plain")
    )
    taught_arms: tuple[str, ...] = param(("full", "lora 4"), help="of arms: those that are also taught new facts")
    new_families: tuple[str, ...] = param(("new_home", "new_job"), help="facts that the taught course adds")
    untaught_families: tuple[str, ...] = param(
        ("never_home", "never_job"), help="questions whose answer is told nowhere; asked after the taught course"
    )
    taught_eval: int = param(4, help="evaluation items per family of the taught course", minimum=1)
    grafted: str = param("full", help="of taught_arms: the one whose changes are grafted on the base")
    graft_shares: tuple[float, ...] = param(
        (0.01, 0.1), help="shares of entries: largest changes, and random ones", exclusive_minimum=0, maximum=1
    )
    learned_shares: tuple[float, ...] = param(
        (0.01,), help="shares of entries that a learned mask picks; 50 gradient steps", exclusive_minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no facts that are known to be told or not; needs microworld")
        lists = ("arms", "families", "taught_arms", "new_families", "untaught_families", "graft_shares")
        check_unique(self, *lists, "learned_shares")
        check_arms(self.arms)
        for arm in self.taught_arms:
            if arm not in self.arms:
                raise InputError(f"taught_arms: '{arm}' is not in arms, and its rate is chosen there")
        if self.grafted not in self.taught_arms:
            raise InputError(f"grafted: '{self.grafted}' is not in taught_arms")
        for key, others in (
            ("new_families", self.families),
            ("untaught_families", (*self.families, *self.new_families)),
        ):
            shared = [name for name in getattr(self, key) if name in others]
            if shared:
                raise InputError(f"{key}: '{shared[0]}' is among the families that are trained")


def candidates(params: KnowledgeParams) -> list[RunSpec]:
    """Return the dev runs: every arm with each of its rates on the styled course.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    tests = designs(params, first_rates(params, params.arms))
    for part in (*tests.values(), *evaluations(params, tests).values()):
        check_designs(part)
    return rate_grid(params, params.arms, with_fields(_styled(params), measures=()))


def choose(params: KnowledgeParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every arm, by what dev says of the styled course."""
    return best_rates(params, params.arms, dev_results)


def designs(params: KnowledgeParams, rates: Rates) -> dict[str, Designs]:
    """Return the test runs by course and arm; the weights of the taught course are kept."""
    taught = arm_runs(params, params.taught_arms, rates, base=_taught(params))
    return {
        STYLED: arm_runs(params, params.arms, rates, base=_styled(params)),
        TAUGHT: {arm: [replace(spec, keep_weights=True) for spec in runs] for arm, runs in taught.items()},
    }


def _styled(params: KnowledgeParams) -> RunSpec:
    return with_fields(
        tuned_base(params),
        families=params.families,
        response_wording=params.response_wording,
        response_style=params.response_style,
        measures=("token_shift", "recall"),
    )


def _taught(params: KnowledgeParams) -> RunSpec:
    return with_fields(
        tuned_base(params),
        families=(*params.families, *params.new_families),
        n_eval=params.taught_eval,
        measures=("borrowing", "calibration", "recall"),
    )


def evaluations(params: KnowledgeParams, tests: Parts) -> dict[str, Designs]:
    """Return the runs that ask the kept weights of the taught course again, by what is asked and by arm.

    * "untaught": every arm, on the questions that it cannot know.
    * "before": the grafted arm with all its changes taken back, which is the base of the seed.
    * "graft": the grafted arm with a share of its changed entries, by each way to pick them.
    """
    grafted = {params.grafted: tests[TAUGHT][params.grafted]}
    untaught = {"eval_families": params.untaught_families, "measures": ("borrowing", "calibration"), "n_reference": 0}
    before = {"edit": RANDOM, "edit_scale": 0.0, "measures": ("calibration", "recall")}
    grafts = [(edit, share) for edit in (LARGEST, RANDOM) for share in params.graft_shares]
    grafts += [(LEARNED, share) for share in params.learned_shares]
    graft = [
        {"edit": edit, "edit_scale": share, "measures": ("calibration",), "n_reference": 0} for edit, share in grafts
    ]
    return {
        UNTAUGHT: _asked_again(tests[TAUGHT], [untaught]),
        BEFORE: _asked_again(grafted, [before]),
        GRAFT: _asked_again(grafted, graft),
    }


def _asked_again(runs: Designs, ways: Sequence[Mapping[str, Any]]) -> dict[str, list[RunSpec]]:
    return {
        arm: [replace(with_fields(spec, **fields), keep_weights=False) for fields in ways for spec in specs]
        for arm, specs in runs.items()
    }


def run_all_parts(parts: Parts, run: Run) -> dict[str, dict[str, list[RunResult]]]:
    """Run every part (a course, or what is asked again) and return its results by arm."""
    specs = list(dict.fromkeys(spec for part in parts.values() for arm in part.values() for spec in arm))
    known = dict(zip(specs, run(specs), strict=True))
    return {name: run_designs(part, lambda asked: [known[spec] for spec in asked]) for name, part in parts.items()}


def evidence(results: Results) -> pd.DataFrame:
    """Return what the claims read: scores and measures of every evaluation, a row per run and number.

    Args:
        results: Results by course or by what was asked again, and by arm.

    Returns:
        The columns of ``run_frame`` and

        * ``course`` and ``arm`` of the training;
        * ``evaluation``: "test", "untaught", "before" (the base) or "graft";
        * ``kind``: of scores the evaluation, of other rows the measure they are from ("token_shift", "recall",
          "borrowing", "calibration"), whose numbers are metrics;
        * ``position`` and ``token``, ``frequency``, ``bin``: what a row of a measure is about, -1 or empty elsewhere.

        Empty bins are left out. A run that failed or diverged is a row without a value.
    """
    parts = []
    for part, arms in results.items():
        course, evaluation = (part, TEST) if part in (STYLED, TAUGHT) else (TAUGHT, part)
        for arm, runs in arms.items():
            about = {"course": course, "arm": arm, "evaluation": evaluation}
            parts.append(run_frame(runs).assign(kind=evaluation, **about))
            measured = (_numbers(measure_frame(runs, name), name) for name in MEASURES)
            parts += [rows.assign(**about) for rows in measured if len(rows)]
    frame = pd.concat(parts, ignore_index=True)
    nothing = {"position": -1, "token": "", "frequency": -1.0, "bin": -1, "error": ""}
    absent = {name: frame.get(name, pd.Series(value, frame.index)).fillna(value) for name, value in nothing.items()}
    return frame.assign(**{name: values.astype(type(nothing[name])) for name, values in absent.items()})


def _numbers(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a measure in long form: one row per number, which its column names."""
    if not len(table):
        return table
    table = table.rename(columns={"kind": "token"})  # form or content; the frame has a kind of its own
    if name == "calibration":
        table = table[table["n"] > 0]
    columns = list(table.columns)
    numbers = [column for column in columns[: columns.index("digest")] if column not in MEASURES[name]]
    kept = [column for column in columns if column not in numbers]
    rows = table.melt(id_vars=kept, value_vars=numbers, var_name="metric", value_name="value")
    groups = {} if "family" in rows else {"family": "all"}
    return rows.assign(kind=name, category="all", familiarity="all", n_items=0, **groups)


def collect(params: KnowledgeParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of tests and evaluations."""
    tests = designs(params, choose(params, run(candidates(params))))
    results = run_all_parts(tests, run) | run_all_parts(evaluations(params, tests), run)
    return [result for part in results.values() for result in distinct(part)]


def pending(params: KnowledgeParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    tests = designs(params, first_rates(params, params.arms))
    n_test, n_again = (
        len({digest(spec) for part in parts.values() for runs in part.values() for spec in runs})
        for parts in (tests, evaluations(params, tests))
    )
    return f"{n_test} test runs follow once dev has chosen rates, and {n_again} more evaluations of their weights"
