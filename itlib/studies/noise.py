"""Study 3d: how fast noise in responses is learned, unlearned, and learned again.

One run goes through four phases on the same questions, clean, noisy, clean, noisy, and is probed evenly in all of them:
in which form does it answer now? A control meets the noise in the last phase only. Arms of a seed share base, questions
and the order of all visits; they differ in responses alone. The rate is constant, so that no phase learns at a lower
one than another, and it is the one that dev chose for plain tuning: none was chosen for noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from itlib.augmentations.noise_phases import TRANSFORMS, as_sentence, changes
from itlib.errors import InputError
from itlib.example import Example
from itlib.frame import probe_frame
from itlib.packing import TRIMMED
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import chosen
from itlib.studies.chosen import (
    ChosenParams,
    Designs,
    arm_frame,
    check_designs,
    choose,
    distinct,
    run_designs,
    tuned_base,
)
from itlib.studies.common import Run, check_unique, replicates, variant

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "NoiseParams",
    "asked",
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

CLAIMS = ("R11", "R12")
UNEQUAL = {
    "tokens": "noisy responses are longer or shorter than clean ones",
    "supervised": "noisy responses are longer or shorter than clean ones",
}  # budgets that differ between arms, and why
PHASES, CONTROL_PHASES = "clean,noisy,clean,noisy", "clean,clean,clean,noisy"
N_PHASES = 4


@dataclass(frozen=True)
class NoiseParams(ChosenParams):
    """Parameters of ``03d_noise``. ``budget`` is the length of the dev runs; phases have their own."""

    cpu_kernel: ClassVar[str] = TRIMMED

    question_families: tuple[str, ...] = param(
        ("category", "colour", "size", "job"), help="families of one word from few, answered in a sentence"
    )
    questions: int = param(24, help="training questions, the same in every phase", minimum=1)
    phase_steps: int = param(6, help="length of each of four phases", unit="steps", minimum=1)
    probe_every: int = param(2, help="distance of probes; divides a phase", unit="steps", minimum=1)
    probe_items: int = param(2, help="dev items per family of a probe", minimum=1)
    transforms: tuple[str, ...] = param(
        ("word_reversal", "letter_reversal", "irrelevant"), help="noise of responses", choices=TRANSFORMS
    )
    controls: tuple[str, ...] = param(
        ("word_reversal",), help="noise that also comes for the first time in the last phase", choices=TRANSFORMS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "question_families", "transforms")
        if len(set(self.controls)) < len(self.controls):
            raise InputError(f"controls: the list repeats a value: {list(self.controls)}")
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no families with known answers; this study needs microworld")
        if self.phase_steps % self.probe_every:
            raise InputError(f"probe_every: {self.probe_every} does not divide a phase of {self.phase_steps} steps")


def candidates(params: NoiseParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: NoiseParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm: every transform by its name, and "control" with the name of each control."""
    base = with_fields(
        tuned_base(params, setting),
        families=params.question_families,
        eval_families=params.question_families,
        n_train=params.questions,
        augmentation="noise_phases",
        order="as_given",
        budget=1,
        budget_unit="epochs",
        schedule="constant",
        warmup_fraction=0.0,
        n_probes=N_PHASES * params.phase_steps // params.probe_every,
        probe_spacing="even",
        probe_items=params.probe_items,
    )
    arms = {name: _phases(params, base, name, PHASES) for name in params.transforms}
    arms |= {f"control {name}": _phases(params, base, name, CONTROL_PHASES) for name in params.controls}
    return {name: replicates([spec], params.seeds, params.base_seed) for name, spec in arms.items()}


def _phases(params: NoiseParams, base: RunSpec, transform: str, phases: str) -> RunSpec:
    visits = params.phase_steps * params.batch_size
    options = (f"transform={transform}", f"phases={phases}", f"phase_examples={visits}", "sentence=true")
    return with_fields(base, augmentation_options=options)


def asked(params: NoiseParams) -> dict[int, list[Example]]:
    """Return, per seed, the training questions that every rule changes, in the form that they are answered in."""
    from itlib.training_set import examples_without_model

    arm = [
        resolve(with_fields(spec, augmentation="none", augmentation_options=()))
        for spec in designs(params, {})[params.transforms[0]]
    ]
    seeds = {spec.seed: map(as_sentence, examples_without_model(spec)) for spec in arm}
    return {seed: [example for example in examples if changes(example)] for seed, examples in seeds.items()}


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what the claims read: ``run_frame`` by arm, and below it the probes of its runs.

    ``kind`` is "test" or "probe"; ``step`` is -1 for test rows. ``transform``, ``phases`` and ``phase_steps`` describe
    the run. Test items are asked at the end, after a noisy phase, and scored in clean form.
    """
    parts = [arm_frame(results).assign(step=-1)]
    for arm, runs in results.items():
        probes = probe_frame(runs)
        if len(probes):
            parts.append(probes.assign(arm=arm, kind="probe", status="done", family="probes"))
    frame = pd.concat(parts, ignore_index=True)
    given = [dict(text.split("=") for text in words.split()) for words in frame["augmentation_options"]]
    visits = pd.Series([int(options["phase_examples"]) for options in given], index=frame.index)
    return frame.assign(
        transform=[options["transform"] for options in given],
        phases=[options["phases"] for options in given],
        phase_steps=visits // frame["batch_size"],
    )


def collect(params: NoiseParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: NoiseParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for arm in designs(params, {}).values() for spec in arm})
    return f"{n_test} test runs follow once dev has chosen a setting"
