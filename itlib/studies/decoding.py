"""Study 3c: can decoding make a tuned model follow instructions better, without another training step?

One model is tuned per seed and kept. Every arm asks the same items of it again: with the logits of a noisy instruction
taken away (Instructive Decoding), with a noisy instruction as the prompt, with attention steered to the instruction
while irrelevant sentences stand beside it (Spotlight), and in negated phrasings, which a remedy must not make worse.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from itlib.errors import InputError
from itlib.microworld.noisy_instructions import KINDS
from itlib.packing import TRIMMED
from itlib.perturbations.sentence import MOST_SENTENCES
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import chosen
from itlib.studies.chosen import ChosenParams, Designs, arm_frame, check_designs, choose, distinct, tuned_base
from itlib.studies.common import Run, check_unique, replicates, variant

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "DecodingParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "phrasing_sets",
    "run_designs",
    "variant",
]

CLAIMS = ("R8", "R9", "R16")
UNEQUAL: dict[str, str] = {}  # budgets that differ between arms, and why: none
NEGATED = "negated"
DISTRACTOR = "irrelevant_sentences"


@dataclass(frozen=True)
class DecodingParams(ChosenParams):
    """Parameters of ``03c_decoding``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    n_train: int = param(16, help="training examples of the one model per seed", minimum=1)
    contrast_weights: tuple[float, ...] = param((-0.3,), help="of the noisy logits", exclusive_minimum=-1, maximum=1)
    judged_weight: float = param(-0.3, help="the weight of tables and claims, one of contrast_weights")
    steering_targets: tuple[float, ...] = param(
        (0.2, 0.5),
        help="share of attention for the instruction, above 0 and below 1",
        exclusive_minimum=0,
        maximum=0.99,
    )
    judged_target: float = param(0.2, help="the target of tables and claims, one of steering_targets")
    distractors: tuple[int, ...] = param(
        (0, 1), help="irrelevant sentences beside an instruction", minimum=0, maximum=MOST_SENTENCES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no phrasings to make noisy ones of; this study needs microworld")
        check_unique(self, "contrast_weights", "steering_targets", "distractors")
        for name, values in (("judged_weight", "contrast_weights"), ("judged_target", "steering_targets")):
            if getattr(self, name) not in getattr(self, values):
                raise InputError(f"{name}: {getattr(self, name):g} is not one of {values}")
        if 0 in self.contrast_weights:
            raise InputError("contrast_weights: 0 is plain decoding, which is always there")
        if 0 not in self.distractors:
            raise InputError("distractors: 0 is missing; longer ones are compared with none")


def phrasing_sets(params: DecodingParams) -> list[str]:
    """Return the phrasings of the contrasts: those of the study, and those of the pool."""
    return list(dict.fromkeys([params.eval_phrasing_set, "observed"]))


def candidates(params: DecodingParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: DecodingParams, setting: Mapping[str, Any]) -> Designs:
    """Return the evaluations by arm, of one tuned model per seed.

    * "tuned": plain decoding in the phrasings of the study; this is the run that keeps the weights.
    * "plain": plain decoding in observed and in negated phrasings.
    * "contrast": every noisy instruction with every weight, in the phrasings of the study and in observed ones.
    * "noisy": every noisy instruction as the prompt, in both.
    * "negated": the judged contrasts and the judged target, in negated phrasings.
    * "steering": every target, 0 included, with every number of irrelevant sentences, in the phrasings of the study.
    """
    tuned = with_fields(tuned_base(params, setting), n_train=params.n_train)
    again = with_fields(tuned, n_reference=0)
    sets = phrasing_sets(params)
    judged = [{"contrast": kind, "contrast_weight": params.judged_weight} for kind in KINDS]
    judged.append({"steering": params.judged_target})
    fields: dict[str, list[dict[str, Any]]] = {
        "plain": [{"eval_phrasing_set": which} for which in (*sets[1:], NEGATED)],
        "contrast": [
            {"eval_phrasing_set": which, "contrast": kind, "contrast_weight": weight}
            for which, kind, weight in itertools.product(sets, KINDS, params.contrast_weights)
        ],
        "noisy": [{"eval_phrasing_set": s, "noisy_prompt": kind} for s, kind in itertools.product(sets, KINDS)],
        NEGATED: [{"eval_phrasing_set": NEGATED, **remedy} for remedy in judged],
        "steering": [
            {"steering": target, **_beside(count)}
            for target, count in itertools.product((0.0, *params.steering_targets), params.distractors)
            if target or count
        ],
    }
    cells = {"tuned": [with_fields(tuned, keep_weights=True)]}
    cells |= {name: [with_fields(again, **changes) for changes in arm] for name, arm in fields.items()}
    return {name: replicates(arm, params.seeds, params.base_seed) for name, arm in cells.items()}


def _beside(sentences: int) -> dict[str, Any]:
    return {"perturbation": DISTRACTOR, "severity": sentences / MOST_SENTENCES} if sentences else {}


def run_designs(designs: Designs, run: Run) -> dict[str, list[RunResult]]:
    """Run every evaluation once: the models are tuned first, so that all other evaluations find their weights."""
    run(designs["tuned"])
    return chosen.run_designs(designs, run)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` with the columns ``arm`` and ``sentences``, the irrelevant ones."""
    frame = arm_frame(results)
    return frame.assign(sentences=(frame["severity"] * MOST_SENTENCES).round().astype(int))


def collect(params: DecodingParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of all evaluations."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: DecodingParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_models, n_all = len(params.seeds), sum(map(len, designs(params, {}).values()))
    return f"{n_models} models to tune once dev has chosen, and {n_all - n_models} further evaluations of them"
