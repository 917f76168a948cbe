"""Resolution: from what a user wrote to a spec that names its inputs by content.

Fingerprints of data and model, the budget that fits the pool, the trainer and the versions of all components are
written out. A resolved spec can be hashed; an unresolved one never is.
"""

from __future__ import annotations

from dataclasses import replace

from itlib.batching import BUDGET_UNITS
from itlib.errors import InputError, did_you_mean
from itlib.registry import Registry, methods, models, perturbations, selectors, sources
from itlib.spec import RunSpec
from itlib.train import SCHEDULES

CORE_VERSION = 1  # raise when training or evaluation code changes what a number means
LOOP_LIMIT = 50_000_000  # parameters; larger models go through transformers.Trainer
TRAINERS = ("auto", "loop", "transformers")
DTYPES = ("float32", "bfloat16")
SPLITS = ("dev", "test")


def resolve(spec: RunSpec) -> RunSpec:
    """Return the spec with fingerprints, trainer and component versions filled in.

    Raises:
        InputError: Anything a run could trip over that is visible before it: an unknown name, a missing or
            unreadable input, a value outside its bounds, more examples asked for than the pool holds.
    """
    _check_values(spec)
    base = models.get(spec.base.model).resolve(spec.base)
    data = sources.get(spec.data.source).resolve(spec.data)
    context = models.get(base.model).context_length(base)
    if 0 < context < data.max_length:
        raise InputError(f"max_length: {data.max_length} is above the {context} positions that the model was built for")
    train = spec.train
    if train.trainer == "auto":
        small = models.get(base.model).parameters(base) <= LOOP_LIMIT
        train = replace(train, trainer="loop" if small else "transformers")
    return replace(spec, base=base, data=data, train=train, components=_components(spec))


def _components(spec: RunSpec) -> tuple[str, ...]:
    used: list[tuple[Registry, str]] = [
        (methods, spec.tuning.method),
        (models, spec.base.model),
        (perturbations, spec.evaluate.perturbation),
        (selectors, spec.data.selector),
        (sources, spec.data.source),
    ]
    return (f"core {CORE_VERSION}", *(f"{r.kind} {name} {r.version(name)}" for r, name in used))


def _check_values(spec: RunSpec) -> None:
    train, data, evaluate = spec.train, spec.data, spec.evaluate
    for name, value, choices in (
        ("schedule", train.schedule, SCHEDULES),
        ("budget_unit", train.budget_unit, BUDGET_UNITS),
        ("trainer", train.trainer, TRAINERS),
        ("dtype", spec.base.dtype, DTYPES),
        ("split", evaluate.split, SPLITS),
    ):
        if value not in choices:
            raise InputError(f"{name}: '{value}' is not one of {', '.join(choices)}{did_you_mean(value, choices)}")
    for name, value in (
        ("learning_rate", train.learning_rate),
        ("budget", train.budget),
        ("batch_size", train.batch_size),
        ("micro_batch_tokens", train.micro_batch_tokens),
        ("gradient_clip", train.gradient_clip),
        ("n_eval", evaluate.n_eval),
        ("max_length", data.max_length),
        ("curve_points", train.curve_points),
        ("rank", spec.tuning.rank),
        ("alpha", spec.tuning.alpha),
        ("threads", spec.threads),
    ):
        if value <= 0:
            raise InputError(f"{name}: must be greater than 0, got {value:g}")
    for name, value in (
        ("warmup_fraction", train.warmup_fraction),
        ("noise_rate", data.noise_rate),
        ("severity", evaluate.severity),
    ):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: must be between 0 and 1, got {value:g}")
    for name, value in (
        ("seed", spec.seed),
        ("weight_decay", train.weight_decay),
        ("n_train", data.n_train),
        ("n_reference", evaluate.n_reference),
        ("base_seed", spec.base.base_seed),
    ):
        if value < 0:
            raise InputError(f"{name}: must not be negative, got {value:g}")
    if train.budget_unit == "steps" and train.budget != int(train.budget):
        raise InputError(f"budget: steps come whole, got {train.budget:g}")
