"""Tuning of one run: its base, what it trains on, its method, and the loop that fits it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from itlib.continual import train_in_rounds
from itlib.methods import N_CALIBRATION, Setting, method_of
from itlib.probes import Prober
from itlib.registry import models, sources
from itlib.spec import ModelSpec, RunSpec, stream
from itlib.stages import first_stage, kept_first, save_tuned
from itlib.store import Store
from itlib.template import Encoded, encode, pad_id
from itlib.train import TrainingTrace, train
from itlib.training_set import TrainingSet, pretraining_documents, training_set


@dataclass(frozen=True, eq=False)
class Tuned:
    """A tuned model and what its tuning left behind.

    Attributes:
        model: Ready to be evaluated, as its stored weights would give it back.
        diverged: The loss stopped being finite.
        curve: See ``train.TrainingTrace``.
        totals: Counts of the run so far.
        probes: What was measured after each round of continual learning; empty for other runs.
    """

    model: Any
    diverged: bool
    curve: tuple[dict[str, float], ...]
    totals: dict[str, Any]
    probes: tuple[dict[str, float], ...] = ()


def load_base(spec: RunSpec) -> tuple[Any, Any]:
    """Return the base model of a run, its weights drawn anew where the spec says so, and its tokenizer."""
    import torch

    model, tokenizer = models.get(spec.base.model).load(spec.base)
    if spec.base.initialisation == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(spec.seed, "random weights").integers(2**31)))
            model = type(model)(model.config).float().eval()
    return model, tokenizer


def context_length(base: ModelSpec) -> int:
    """Return the positions that a model was built for; a very large number where it does not say."""
    return models.get(base.model).context_length(base) or sys.maxsize


def tune(
    model: Any,
    tokenizer: Any,
    spec: RunSpec,
    store: Store | None,
    prober: Prober | None,
    by_family: Callable[[Any], dict[str, float]],
) -> Tuned:
    """Tune the base of a run as its spec says, and keep its weights where asked to.

    Args:
        model: The base.
        tokenizer: Its tokenizer.
        spec: A resolved spec.
        store: Where weights and features are kept; None keeps neither.
        prober: What measures during training.
        by_family: Gives the scores of a model after a round of continual learning.
    """
    if spec.data.n_train == 0:
        return Tuned(model, False, (), {"n_parameters": sum(p.numel() for p in model.parameters())})
    features = store and store.features
    data = training_set(spec, lambda: load_base(spec), features)
    encoded, audit = encode(data.examples, tokenizer, max_length=spec.data.max_length)
    if prober is not None:
        prober.saw(data.examples)
    model, begun = first_stage(model, encoded, spec, traits=data.traits, pad_id=pad_id(tokenizer))
    if begun is not None and begun.diverged:
        return Tuned(model, True, begun.curve, begun.totals)
    first, setting = kept_first(model, spec), _setting(spec, tokenizer, encoded)
    n_parameters = sum(p.numel() for p in model.parameters())
    if spec.train.rounds != "one":
        model, trace, rows, n_trained = train_in_rounds(model, encoded, data.traits, spec, setting, by_family)
    else:
        model, trace, n_trained, n_parameters = _in_one(model, tokenizer, encoded, data, spec, setting, prober, store)
        rows = ()
    totals = {
        **trace.totals,
        **({"n_first_steps": begun.totals["n_steps"]} if begun else {}),
        **setting.notes,
        **data.selection,
        "n_parameters": n_parameters,
        "n_trainable_parameters": n_trained,
        "audit": {**asdict(audit), "n_pool_too_long": data.n_too_long},
    }
    if spec.keep_weights and store is not None and not trace.diverged:
        record = {"curve": trace.curve, "totals": totals}
        store.put_weights(spec, lambda folder: save_tuned(model, folder, spec, first), record)
    return Tuned(model, trace.diverged, trace.curve, totals, rows)


def _in_one(
    model: Any,
    tokenizer: Any,
    encoded: list[Encoded],
    data: TrainingSet,
    spec: RunSpec,
    setting: Setting,
    prober: Prober | None,
    store: Store | None,
) -> tuple[Any, TrainingTrace, int, int]:
    """Return the tuned model, its trace, the weights that were trained and all weights, those of adapters included."""
    import torch

    # Adapters and dropout draw from torch's own generator. It is seeded right before each of them, so that nothing
    # that ran earlier, such as a selector, can change what two arms of a comparison share.
    torch.manual_seed(int(stream(spec.seed, "initialisation").integers(2**31)))
    method = method_of(spec.tuning)
    model = method.attach(model, spec.tuning, setting)
    if spec.train.activation_checkpointing:
        checkpointed(model, on=True)
    torch.manual_seed(int(stream(spec.seed, "dropout").integers(2**31)))
    fit = train if spec.train.trainer == "loop" else _transformers_trainer()
    how = {"seed": spec.seed, "pad_id": setting.pad_id, "dtype": setting.dtype}
    if method.own_optimizer:
        how["optimizer"] = partial(method.optimizer, model, spec.train, seed=spec.seed)
    if data.paraphrases:  # only the loop has objectives that look at them
        how["paraphrases"] = encode(data.paraphrases, tokenizer, max_length=spec.data.max_length)[0]
    if spec.train.trainer != "loop" and store is not None:
        how["checkpoints"] = store.checkpoints(spec)
    trace = fit(model, encoded, spec.train, traits=data.traits, on_step=prober, **how)
    if spec.train.activation_checkpointing:
        checkpointed(model, on=False)
    n_trained, n_parameters = method.n_trained(model), sum(p.numel() for p in model.parameters())
    return method.finished(model), trace, n_trained, n_parameters


def checkpointed(model: Any, *, on: bool) -> None:
    """Let the backward pass compute activations again, or no more. Gradients then have to reach the first block."""
    newer = hasattr(model, "activation_checkpointing_enable")  # older transformers know the other name alone
    name = "activation_checkpointing" if newer else "gradient_checkpointing"
    if on:
        getattr(model, f"{name}_enable")({"use_reentrant": False})
        model.enable_input_require_grads()
    else:
        getattr(model, f"{name}_disable")()
        model.disable_input_require_grads()


def _setting(spec: RunSpec, tokenizer: Any, encoded: list[Encoded]) -> Setting:
    """Return what the method of a run may look at before it starts."""
    source = sources.get(spec.data.source)

    def documents() -> list[Encoded]:
        found = pretraining_documents(spec, N_CALIBRATION) if hasattr(source, "documents") else []
        return encode(found, tokenizer, max_length=spec.data.max_length)[0]

    how = {"train": spec.train, "seed": spec.seed, "pad_id": pad_id(tokenizer), "dtype": spec.base.dtype}
    return Setting(encoded, documents, **how)


def _transformers_trainer() -> Any:
    from itlib.trainer import train_with_transformers

    return train_with_transformers
