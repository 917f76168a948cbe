"""Planted results of the composition study: the grid of its cpu profile, with scores that we made up."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pandas as pd

from itlib.frame import run_frame
from itlib.microworld import world
from itlib.params import from_yaml
from itlib.registry import families
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.studies import composition
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
Score = Callable[[RunSpec, bool], float]  # of a run, and whether the family asked is special


@functools.cache
def params():
    """The cpu profile."""
    return from_yaml(project_root() / "params" / "cpu" / "01c_composition.yaml").params


@functools.cache
def specs() -> tuple[RunSpec, ...]:
    """Every resolved test run of the cpu profile."""
    return tuple(resolve(spec) for spec in composition.composition_grid(params(), SETTING))


def frame(score: Score, specs: tuple[RunSpec, ...] | None = None) -> pd.DataFrame:
    """The frame of the study, had every run scored as ``score`` says on each family."""
    return run_frame([_result(spec, score) for spec in (specs if specs is not None else globals()["specs"]())])


def _result(spec: RunSpec, score: Score) -> RunResult:
    items = []
    for name in spec.evaluate.eval_families or world.default_families():
        family = families.get(name)
        value = score(spec, name in params().special)
        about = (f"{name}-0", name, family.category, family.familiarity, "")
        items.append((*about, value, value, None, 1.0, 2, 4, ""))
    reference = 2.0 if spec.data.n_train else 1.5
    items.append(("reference/0", "reference", "reference", "reference", "", None, None, None, reference, 1, 4, ""))
    return RunResult(spec, "done", tuple(items))


def as_papers_say(spec: RunSpec, special: bool) -> float:
    """Scores under which every claim of the study holds, shifted from seed to seed."""
    return _by_arm(spec, special, holds=True) + 0.005 * (spec.seed % 8)


def against_papers(spec: RunSpec, special: bool) -> float:
    """Scores under which every claim of the study fails."""
    return _by_arm(spec, special, holds=False) + 0.005 * (spec.seed % 8)


def _by_arm(spec: RunSpec, special: bool, *, holds: bool) -> float:
    data, order = spec.data, spec.train.order
    if not data.n_train:
        return 0.0
    if data.imbalance:
        values = {0: 0.50, 16: 0.56, 32: 0.57, 64: 0.58} if holds else {0: 0.60, 16: 0.40, 32: 0.45, 64: 0.50}
        return values[data.per_family_cap]
    if not data.families:
        orders = {"mixed": 0.60, "phased": 0.605, "curriculum": 0.59, "reverse": 0.58, "interleaved": 0.62}
        bad = {"mixed": 0.60, "phased": 0.70, "curriculum": 0.59, "reverse": 0.58, "interleaved": 0.58}
        shares = (
            {0.0: 0.0, 0.05: 0.05, 0.25: 0.02, 0.5: -0.10} if holds else {0.0: 0.0, 0.05: -0.02, 0.25: -0.05, 0.5: 0.1}
        )
        return (orders if holds else bad)[order] + shares[data.pretraining_share]
    if data.n_train == data.n_mix == 400:
        own = (
            {"mixed": 0.60, "sequential": 0.30, "dual_stage": 0.55}
            if holds
            else {"mixed": 0.60, "sequential": 0.70, "dual_stage": 0.5}
        )
        other = (
            {"mixed": 0.80, "sequential": 0.83, "dual_stage": 0.82}
            if holds
            else {"mixed": 0.80, "sequential": 0.70, "dual_stage": 0.60}
        )
        return (own if special else other)[order]
    if 400 in (data.n_train, data.n_mix) and data.n_mix:
        less = {100: 1, 25: 2}[min(data.n_train, data.n_mix)]
        return (0.60 if special else 0.80) - (0.0 if holds else 0.10 * less)
    gain = {25: 0.08, 200: 0.0, 1600: -0.06}[data.n_train] * (1 if data.n_mix else 0)
    return 0.5 + (gain if holds else -gain)
