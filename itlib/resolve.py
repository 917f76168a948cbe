"""Resolution: from what a user wrote to a spec that names its inputs by content.

Fingerprints of data and model, the trainer and the versions of all components are written out, and fields that the
chosen components ignore take their defaults. A resolved spec can be hashed; an unresolved one never is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from itlib import selection
from itlib.batching import BUDGET_UNITS, TOKEN_UNITS
from itlib.continual import ROUNDS, check_rounds
from itlib.edits import NONE, check_edit
from itlib.errors import InputError, did_you_mean
from itlib.methods import method_of
from itlib.methods import written_options as written_method_options
from itlib.models import is_encoder_decoder
from itlib.models._folder import ATTENTION
from itlib.models._quantized import NO_QUANTIZATION, QUANTIZATIONS
from itlib.objectives import check_objective, written_options
from itlib.options import OPTION_SCORES
from itlib.ordering import NEEDS_FAMILIES, NEEDS_SECOND_PART, ORDERS, kept_count
from itlib.packing import KERNEL, TRIMMED
from itlib.parallel import DDP, FSDP, ONE, PARALLEL, SHARDED, check_parallel
from itlib.probes import SPACINGS, probe_evaluation
from itlib.registry import (
    Registry,
    augmentations,
    edits,
    measures,
    methods,
    models,
    objectives,
    perturbations,
    selectors,
    sources,
)
from itlib.spec import DataSpec, EvalSpec, MethodSpec, RunSpec, TrainSpec
from itlib.template import SHOT_FORMS
from itlib.train import SCHEDULES
from itlib.training_set import document_count
from itlib.workbench import target_evaluation

OPTIONS_VERSION = 1  # raise when options are read or scored otherwise; named only for data that has them
CORE_VERSION = 2  # raise when training or evaluation code changes what a number means
LOOP_LIMIT = {"cpu": 50_000_000, "cuda": 1_500_000_000}  # parameters; larger causal models go through the Trainer
ENCODER_DECODER_SELECTORS = ("random", "stratified", "longest", "shortest", "bm25")  # they ask no model for a loss
TRAINERS = ("auto", "loop", "transformers")
DTYPES = ("float32", "bfloat16")
SPLITS = ("dev", "test")
ANSWERS = ("teacher_forced", "generated")
INITIALISATIONS = ("pretrained", "random")
DEVICES = ("cpu", "cuda")
STEERABLE = ("sdpa", "eager", KERNEL, TRIMMED)
MOST_EXAMPLES = 10**9  # examples seen in one run; more is a slip of the keyboard
MOST_TOKENS = 10**12
MOST_PROCESSES = 4096
MOST_PRETRAINING = 0.9
MOST_VIRTUAL_TOKENS = 1000
READ_BY_METHODS = ("train_embeddings", "rank", "alpha", "targets", "n_virtual_tokens")  # each by some of them
RESPONSE = "response"  # the objective that runs had before there were others


def resolve(spec: RunSpec) -> RunSpec:
    """Return the spec with fingerprints, trainer and component versions filled in and ignored fields at their defaults.

    Raises:
        InputError: Anything a run could trip over that is visible before it: an unknown name, a missing or
            unreadable input, a value outside its bounds, more examples asked for than the pool or a held-out split
            holds.
    """
    _check_choices(spec)
    _check_bounds(spec)
    base = models.get(spec.base.model).resolve(spec.base)
    source = sources.get(spec.data.source)
    data = source.resolve(spec.data)
    if spec.evaluate.n_shots and not hasattr(source, "demonstrations"):
        raise InputError(f"n_shots: source '{spec.data.source}' has no task families to demonstrate; set it to 0")
    source.check_evaluation(data, spec.evaluate)
    _check_decoding(spec)
    _check_measures(spec)
    _check_quantization(spec)
    scorer = selection.check(data)
    if data.target_families:
        try:
            source.check_evaluation(data, target_evaluation(data, spec.evaluate))
        except InputError as error:
            raise InputError(f"target_families: {error}") from None
    n_examples = _check_training(replace(spec, data=data), source) if data.n_train > 0 else 0
    _check_budget(spec.train, n_examples)
    if spec.evaluate.answers == "generated" and _holds_documents(source, data):
        raise InputError(f"answers: {data.data_path} holds plain documents, which ask nothing; leave it out")
    encoder_decoder = is_encoder_decoder(base)
    if encoder_decoder:
        _check_encoder_decoder(replace(spec, data=data), source)
    context = models.get(base.model).context_length(base)
    if 0 < context < data.max_length:
        raise InputError(f"max_length: {data.max_length} is above the {context} positions that the model was built for")
    if _has_virtual_tokens(spec.tuning) and 0 < context < data.max_length + spec.tuning.n_virtual_tokens:
        longest = f"max_length {data.max_length} and {spec.tuning.n_virtual_tokens} virtual tokens"
        raise InputError(f"n_virtual_tokens: {longest} are above the {context} positions that the model was built for")
    train = spec.train if data.n_train else replace(spec.train, parallel=ONE, processes=1, nodes=1)
    if train.parallel == FSDP and spec.tuning.method != SHARDED:
        train = replace(train, parallel=DDP)
    if train.trainer == "auto":
        small = encoder_decoder or models.get(base.model).parameters(base) <= LOOP_LIMIT[spec.device]
        ours = small and train.parallel == ONE
        train = replace(train, trainer="loop" if ours else "transformers")
    if train.parallel != ONE and base.attention == TRIMMED:  # shards are cut by the class of a layer
        base = replace(base, attention=KERNEL)
    if data.n_train > 0:
        check_parallel(replace(spec, train=train))
        check_objective(train, data, source)
        if train.rounds != "one":
            check_rounds(replace(spec, data=data, train=train))
        if spec.tuning.first_steps and train.trainer != "loop":
            raise InputError("first_steps: a first stage runs in our own loop only; set trainer: loop")
        if method_of(spec.tuning).documents and not hasattr(source, "documents"):
            raise InputError(
                f"method: '{spec.tuning.method}' reads pretraining documents, and source '{spec.data.source}' has none"
            )
        if method_of(spec.tuning).own_optimizer and train.trainer != "loop":
            raise InputError(f"method: '{spec.tuning.method}' runs in our own loop only; set trainer: loop")
    components = _components(spec, scorer)
    evaluate = spec.evaluate
    if hasattr(source, "has_options") and source.has_options(data):
        components += (f"options {OPTIONS_VERSION}",)
    else:
        evaluate = replace(evaluate, option_score=EvalSpec().option_score)
    resolved = replace(spec, base=base, data=data, train=train, evaluate=evaluate, components=components)
    return _without_ignored(resolved)


def _components(spec: RunSpec, scorer: str) -> tuple[str, ...]:
    used: list[tuple[Registry, str]] = [
        (methods, spec.tuning.method),
        (models, spec.base.model),
        (perturbations, spec.evaluate.perturbation),
        (selectors, spec.data.selector),
        (sources, spec.data.source),
    ]
    if spec.data.augmentation != "none":
        used.append((augmentations, spec.data.augmentation))
    if spec.train.objective != RESPONSE and spec.data.n_train > 0:
        used.append((objectives, spec.train.objective))
    if spec.data.n_train > 0:
        used += [(measures, name) for name in sorted(spec.evaluate.measures)]
        used += [(edits, spec.evaluate.edit)] if spec.evaluate.edit != NONE else []
    found = [f"core {CORE_VERSION}", *(f"{r.kind} {name} {r.version(name)}" for r, name in used)]
    return (*found, f"scorer {scorer}") if scorer else tuple(found)


def _without_ignored(spec: RunSpec) -> RunSpec:
    """Return the spec with every field that its components ignore at its default: one run, one digest."""
    tuning, data, evaluate, default = spec.tuning, spec.data, spec.evaluate, MethodSpec()
    train = spec.train
    if data.noise_rate == 0:
        data = replace(data, noise_kinds=())
    if data.n_train == 0:
        data = replace(data, **_no_choice(data, "selector"), per_family_cap=0, n_mix=0, pretraining_share=0.0)
        train = replace(train, order="mixed", objective=RESPONSE, objective_options=(), rounds="one")
        evaluate = replace(evaluate, n_probes=0)
    if data.n_mix == 0:
        data = replace(data, mix_families=())
    if data.n_mix == 0 or data.mix_phrasing_set == data.phrasing_set:
        data = replace(data, mix_phrasing_set="")
    if data.selector == "random" and data.augmentation == "none":
        data = replace(data, **_no_choice(data, "selector", "describe_selection"))
    train = replace(train, objective_options=written_options(train))
    if data.n_train == 0 or train.trainer != "loop":
        train = replace(train, compile_after=0)
    if train.order != "dual_stage":
        train = replace(train, kept_fraction=TrainSpec().kept_fraction)
    if evaluate.n_probes == 0:
        evaluate = replace(evaluate, probe_items=EvalSpec().probe_items, probe_spacing=EvalSpec().probe_spacing)
    read = method_of(tuning).reads
    tuning = replace(tuning, **{name: getattr(default, name) for name in READ_BY_METHODS if name not in read})
    tuning = replace(tuning, method_options=written_method_options(tuning))
    if data.n_train == 0:
        tuning = replace(tuning, first_steps=0)
    if tuning.first_steps == 0:
        tuning = replace(tuning, first_rate=default.first_rate)
    if evaluate.perturbation == "none":
        evaluate = replace(evaluate, severity=0.0)
    evaluate = replace(evaluate, measures=tuple(sorted(evaluate.measures)))
    if data.n_train == 0:
        evaluate = replace(evaluate, measures=(), edit=NONE)
    if evaluate.edit == NONE:
        evaluate = replace(evaluate, edit_scale=EvalSpec().edit_scale)
    if evaluate.contrast == "none" or evaluate.contrast_weight == 0:
        evaluate = replace(evaluate, contrast="none", contrast_weight=0.0)
    if evaluate.injection != "none":
        evaluate = replace(evaluate, free_answers=True)
    return replace(spec, tuning=tuning, data=data, train=train, evaluate=evaluate)


def _no_choice(data: DataSpec, *but: str) -> dict[str, Any]:
    """Return the defaults of the fields that say how examples are chosen."""
    return {name: type(data).__dataclass_fields__[name].default for name in selection.CHOICE if name not in but}


def _has_virtual_tokens(tuning: MethodSpec) -> bool:
    return "n_virtual_tokens" in method_of(tuning).reads


def _check_choices(spec: RunSpec) -> None:
    for name, value, choices in (
        ("schedule", spec.train.schedule, SCHEDULES),
        ("budget_unit", spec.train.budget_unit, BUDGET_UNITS),
        ("trainer", spec.train.trainer, TRAINERS),
        ("parallel", spec.train.parallel, PARALLEL),
        ("order", spec.train.order, ORDERS),
        ("rounds", spec.train.rounds, ROUNDS),
        ("initialisation", spec.base.initialisation, INITIALISATIONS),
        ("quantization", spec.base.quantization, QUANTIZATIONS),
        ("dtype", spec.base.dtype, DTYPES),
        ("attention", spec.base.attention, ATTENTION),
        ("split", spec.evaluate.split, SPLITS),
        ("probe_spacing", spec.evaluate.probe_spacing, SPACINGS),
        ("answers", spec.evaluate.answers, ANSWERS),
        ("option_score", spec.evaluate.option_score, OPTION_SCORES),
        ("shot_form", spec.evaluate.shot_form, SHOT_FORMS),
        ("device", spec.device, DEVICES),
    ):
        if value not in choices:
            raise InputError(f"{name}: '{value}' is not one of {', '.join(choices)}{did_you_mean(value, choices)}")


def _check_bounds(spec: RunSpec) -> None:
    train, data, evaluate = spec.train, spec.data, spec.evaluate
    for name, value in (
        ("learning_rate", train.learning_rate),
        ("budget", train.budget),
        ("gradient_clip", train.gradient_clip),
        ("alpha", spec.tuning.alpha),
        ("first_rate", spec.tuning.first_rate),
    ):
        if value <= 0:
            raise InputError(f"{name}: must be greater than 0, got {value:g}")
    for name, value in (
        ("warmup_fraction", train.warmup_fraction),
        ("kept_fraction", train.kept_fraction),
        ("noise_rate", data.noise_rate),
        ("severity", evaluate.severity),
    ):
        if not 0 <= value <= 1:
            raise InputError(f"{name}: must be between 0 and 1, got {value:g}")
    if not 0 <= data.pretraining_share <= MOST_PRETRAINING:
        raise InputError(
            f"pretraining_share: must be between 0 and {MOST_PRETRAINING:g}, got {data.pretraining_share:g}"
        )
    if train.weight_decay < 0:
        raise InputError(f"weight_decay: must not be negative, got {train.weight_decay:g}")
    for name, value, least, most in (
        ("batch_size", train.batch_size, 1, 1_000_000),
        ("micro_batch_tokens", train.micro_batch_tokens, 1, 10**9),
        ("curve_points", train.curve_points, 1, 10_000),
        ("processes", train.processes, 1, MOST_PROCESSES),
        ("nodes", train.nodes, 1, MOST_PROCESSES),
        ("n_eval", evaluate.n_eval, 1, 100_000),
        ("n_reference", evaluate.n_reference, 0, 100_000),
        ("n_probes", evaluate.n_probes, 0, 10_000),
        ("probe_items", evaluate.probe_items, 1, 100_000),
        ("n_eval_phrasings", evaluate.n_eval_phrasings, 0, 10_000),
        ("max_new_tokens", evaluate.max_new_tokens, 1, 10_000),
        ("n_shots", evaluate.n_shots, 0, 1_000),
        ("per_family_cap", data.per_family_cap, 0, 10_000_000),
        ("n_mix", data.n_mix, 0, 10_000_000),
        ("max_length", data.max_length, 1, 1_000_000),
        ("pool_size", data.pool_size, 0, 10_000_000),
        ("n_train", data.n_train, 0, 10_000_000),
        ("rank", spec.tuning.rank, 1, 65_536),
        ("n_virtual_tokens", spec.tuning.n_virtual_tokens, 1, MOST_VIRTUAL_TOKENS),
        ("first_steps", spec.tuning.first_steps, 0, MOST_EXAMPLES // max(1, train.batch_size)),
        ("threads", spec.threads, 1, 1024),
        ("seed", spec.seed, 0, 2**31 - 1),
        ("base_seed", spec.base.base_seed, 0, 2**31 - 1),
    ):
        if value < least:
            wrong = "must not be negative" if least == 0 else "must be greater than 0"
            raise InputError(f"{name}: {wrong}, got {value}")
        if value > most:
            raise InputError(f"{name}: must be at most {most}, got {value}")


def _check_decoding(spec: RunSpec) -> None:
    """Refuse weights and shares out of bounds, and interventions that would be one on top of the other."""
    evaluate = spec.evaluate
    if not -1 < evaluate.contrast_weight <= 1:
        raise InputError(f"contrast_weight: must be above -1 and at most 1, got {evaluate.contrast_weight:g}")
    if not 0 <= evaluate.steering < 1:
        raise InputError(f"steering: must be at least 0 and below 1, got {evaluate.steering:g}")
    if evaluate.contrast != "none" and evaluate.steering:
        raise InputError("steering: cannot be combined with a contrast; set steering: 0 or contrast: none")
    if evaluate.contrast != "none" and evaluate.noisy_prompt != "none":
        raise InputError("noisy_prompt: asks with a noisy instruction alone; set contrast: none")
    apart = {"contrast": evaluate.contrast, "noisy_prompt": evaluate.noisy_prompt, "injection": evaluate.injection}
    clash = [name for name, value in apart.items() if value != "none"] + ["steering"] * bool(evaluate.steering)
    if evaluate.n_shots and clash:
        raise InputError(
            f"n_shots: demonstrations cannot be combined with {clash[0]}; set one of the two to its default"
        )
    if evaluate.steering and spec.base.attention not in STEERABLE:
        raise InputError(f"steering: attention is '{spec.base.attention}'; one of {', '.join(STEERABLE)} is needed")


def _check_quantization(spec: RunSpec) -> None:
    """Refuse weights in few bits where they cannot be, or where they would be what is tuned."""
    how, evaluate = spec.base.quantization, spec.evaluate
    if how == NO_QUANTIZATION:
        return
    for wrong, told in (
        (spec.device != "cuda", f"'{how}' needs an NVIDIA GPU; set device: cuda"),
        (spec.base.model not in ("local", "hub"), f"'{how}' is for models from a folder or the hub"),
        (not method_of(spec.tuning).on_quantized, f"'{how}' leaves method '{spec.tuning.method}' nothing to tune"),
        (spec.tuning.first_steps > 0 or spec.train.rounds != "one", f"'{how}' cannot be combined with other stages"),
        (bool(evaluate.measures) or evaluate.edit != NONE, f"'{how}' has no weights to measure or edit"),
    ):
        if wrong:
            raise InputError(f"quantization: {told}")


def _check_measures(spec: RunSpec) -> None:
    """Refuse measures and edits that there are not, and those of weights where the method changes none."""
    evaluate, method = spec.evaluate, method_of(spec.tuning)
    if len(set(evaluate.measures)) < len(evaluate.measures):
        raise InputError(f"measures: the list repeats a name: {', '.join(evaluate.measures)}")
    check_edit(evaluate.edit, evaluate.edit_scale)
    for name in evaluate.measures:
        if getattr(measures.get(name), "needs_weights", False) and not method.mergeable:
            raise InputError(f"measures: '{name}' reads weights, and method '{spec.tuning.method}' changes none")
    if evaluate.edit != NONE and not method.mergeable:
        raise InputError(
            f"edit: '{evaluate.edit}' changes weights, and method '{spec.tuning.method}' tunes none of them"
        )


def _check_training(spec: RunSpec, source: Any) -> int:
    """Refuse parts and orders that cannot be, for resolved data; return how many examples one epoch has."""
    train, data, evaluate = spec.train, spec.data, spec.evaluate
    n_instructions = data.n_train + data.n_mix
    n_examples = n_instructions + document_count(data.pretraining_share, n_instructions)
    if train.order in NEEDS_SECOND_PART and not data.n_mix:
        raise InputError(f"order: '{train.order}' needs a second part; set mix_families and n_mix")
    if train.order in NEEDS_FAMILIES and hasattr(source, "rows"):
        raise InputError(f"order: '{train.order}' goes by task families, which source '{data.source}' does not have")
    if data.augmentation != "none":
        if train.order in NEEDS_FAMILIES:
            raise InputError(f"order: '{train.order}' goes by task families, which augmented examples may not have")
        if getattr(augmentations.get(data.augmentation), "needs_teacher", False) and not hasattr(source, "instance"):
            raise InputError(f"augmentation: '{data.augmentation}' needs a teacher; source '{data.source}' has none")
    if train.order == "dual_stage":
        n_examples += kept_count(train.kept_fraction, data.n_train)
    if evaluate.n_probes:
        if not hasattr(source, "answer_like"):
            raise InputError(f"n_probes: source '{data.source}' cannot tell an answer from a continuation; set it to 0")
        try:
            source.check_evaluation(data, probe_evaluation(evaluate))
        except InputError as error:
            raise InputError(f"probe_items: {error}") from None
    return n_examples


def _holds_documents(source: Any, data: DataSpec) -> bool:
    return hasattr(source, "rows") and source.rows(data).parsed.format == "text"


def _check_encoder_decoder(spec: RunSpec, source: Any) -> None:
    """Refuse what needs a model that reads and writes one text, for resolved data."""
    data, evaluate = spec.data, spec.evaluate
    selectable = ", ".join(ENCODER_DECODER_SELECTORS)
    documents = _holds_documents(source, data)
    for wrong, told in (
        (documents, f"data: {data.data_path} holds plain documents; give prompts with answers"),
        (spec.train.trainer == "transformers", "trainer: 'transformers' tunes causal models only; use loop"),
        (spec.train.objective != "response", f"objective: '{spec.train.objective}' is for causal models; use response"),
        (method_of(spec.tuning).causal_only, f"method: '{spec.tuning.method}' is for causal models"),
        (data.pretraining_share > 0, "pretraining_share: documents have no prompt; set it to 0"),
        (data.n_train and data.selector not in ENCODER_DECODER_SELECTORS,
         f"selector: '{data.selector}' scores with a causal model; use one of {selectable}"),
        (data.n_train and data.augmentation != "none", f"augmentation: '{data.augmentation}' needs a causal model"),
        (evaluate.n_probes > 0, "n_probes: probes are for causal models; set it to 0"),
        (evaluate.contrast != "none", "contrast: it is for causal models; set it to none"),
        (evaluate.shot_form != "turns", "shot_form: an encoder has its own form; set it to turns"),
        (evaluate.steering > 0, "steering: it is for causal models; set it to 0"),
        (spec.tuning.first_steps > 0, "first_steps: a first stage is for causal models; set it to 0"),
        (evaluate.n_reference > 0 and not hasattr(source, "rows"),
         "n_reference: reference texts have no prompt; set it to 0"),
    ):  # fmt: skip
        if wrong:
            raise InputError(f"{told} (the model is an encoder-decoder)")


def _check_budget(train: TrainSpec, n_examples: int) -> None:
    budget, unit = train.budget, train.budget_unit
    if unit == "steps" and budget != int(budget):
        raise InputError(f"budget: steps come whole, got {budget:g}")
    if unit in TOKEN_UNITS and budget > MOST_TOKENS:
        raise InputError(f"budget: must be at most {MOST_TOKENS} tokens, got {budget:g}")
    seen = {"steps": budget * train.batch_size, "epochs": budget * n_examples}.get(unit, 0)
    if seen > MOST_EXAMPLES:
        of = f"batches of {train.batch_size}" if unit == "steps" else f"{n_examples} examples"
        raise InputError(f"budget: {budget:g} {unit} of {of} see more than {MOST_EXAMPLES} examples, the most allowed")
    if n_examples > 0 and unit == "epochs" and round(seen) < 1:
        raise InputError(
            f"budget: {budget:g} epochs of {n_examples} examples is not one training step; at least "
            f"{1 / n_examples:.3g} is"
        )
