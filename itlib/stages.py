"""Tuning in two stages: all weights first, then the method of the run on the model that this gave.

A remedy for a tuned model starts from a tuned model. The first stage is plain tuning on responses with the examples,
batches and random streams of the run, so it is bit for bit the run of method "full" with that many steps at that rate.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from itlib.methods import method_of
from itlib.ordering import Traits
from itlib.spec import MethodSpec, ModelSpec, RunSpec, TrainSpec, stream
from itlib.template import Encoded
from itlib.train import TrainingTrace, train

FIRST = "first"  # folder with the model of the first stage, below the weights of a run that changes little of it


def first_stage(
    model: Any, examples: Sequence[Encoded], spec: RunSpec, *, traits: Sequence[Traits], pad_id: int
) -> tuple[Any, TrainingTrace | None]:
    """Return the model that the method of a run starts from, and how it was tuned; the base and None with one stage."""
    import torch

    if not spec.tuning.first_steps:
        return model, None
    settings = {"learning_rate": spec.tuning.first_rate, "budget": spec.tuning.first_steps, "budget_unit": "steps"}
    plain = replace(spec.train, **settings, objective=TrainSpec.objective, objective_options=())
    model = method_of(MethodSpec()).attach(model, MethodSpec())
    torch.manual_seed(int(stream(spec.seed, "dropout").integers(2**31)))
    trace = train(model, examples, plain, seed=spec.seed, traits=traits, pad_id=pad_id, dtype=spec.base.dtype)
    return model, trace


def kept_first(model: Any, spec: RunSpec) -> Any:
    """Return a copy of the first stage's model where the weights of the run will not hold it, else None."""
    needed = spec.keep_weights and spec.tuning.first_steps and spec.tuning.method != "full"
    return copy.deepcopy(model) if needed else None


def save_tuned(model: Any, folder: Path, spec: RunSpec, first: Any) -> None:
    """Write what a run changed, with the model of the first stage where ``kept_first`` gave one.

    A run in rounds ends in plain weights, which are all that is left of its methods, where these change weights.
    """
    if _ends_in_weights(spec):
        method_of(MethodSpec()).save(model, folder, started_from(spec))
        return
    method_of(spec.tuning).save(model, folder, started_from(spec))
    if first is not None:
        method_of(MethodSpec()).save(first, folder / FIRST, spec.base)


def load_tuned(model: Any, spec: RunSpec, folder: Path) -> Any:
    """Return the tuned model of a run from its base and its stored weights, ready for evaluation."""
    if _ends_in_weights(spec):
        return method_of(MethodSpec()).load(model, spec.tuning, folder)
    if (folder / FIRST).is_dir():
        model = method_of(MethodSpec()).load(model, MethodSpec(), folder / FIRST)
    return method_of(spec.tuning).load(model, spec.tuning, folder)


def _ends_in_weights(spec: RunSpec) -> bool:
    return spec.train.rounds != "one" and method_of(spec.tuning).mergeable


def started_from(spec: RunSpec) -> ModelSpec:
    """Return the base that kept adapters belong to; random weights and a tuned model are not the base on the disk."""
    fingerprint = spec.base.model_fingerprint
    if spec.base.initialisation != "pretrained":
        fingerprint = f"random weights of seed {spec.seed}, {fingerprint}"
    if spec.tuning.first_steps:
        fingerprint = f"tuned for {spec.tuning.first_steps} steps at {spec.tuning.first_rate:g}, {fingerprint}"
    return replace(spec.base, model_fingerprint=fingerprint)
