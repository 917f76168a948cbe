"""Execution: the only place where data, model, method, training and evaluation meet."""

from __future__ import annotations

import contextlib
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from itlib.continual import SCORE
from itlib.contrast import Contrast
from itlib.decoding import Decoding
from itlib.edits import NONE, edited
from itlib.errors import InputError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.form_probes import FormProber
from itlib.generate import responses, room_for
from itlib.measures import KEY as MEASURES
from itlib.measures import Measured, measured
from itlib.options import choose, option_rows
from itlib.packing import virtual_tokens
from itlib.parallel import ONE, train_apart
from itlib.placement import fallen_back, placed
from itlib.probes import Prober
from itlib.provenance import provenance, watch_memory
from itlib.registry import perturbations, sources
from itlib.result import ITEM_COLUMNS, REFERENCE, RunResult
from itlib.spec import EvalSpec, RunSpec, stream
from itlib.stages import load_tuned
from itlib.steering import Steering, instruction_span
from itlib.store import Store
from itlib.template import Encoded, encode, encode_prompt, in_form, pad_id
from itlib.training_set import training_set
from itlib.tune import Tuned, context_length, load_base, tune

REFERENCE_LOSS = "reference_loss"


def run_one(spec: RunSpec, store: Store, *, retry_failed: bool = False) -> RunResult:
    """Return the result of a resolved spec: from the store when it is there, else computed and stored.

    A failure is stored and returned as a result with status "failed"; only an interrupt passes through.
    """
    with store.lock(spec):
        stored = store.get(spec)
        if stored is not None and not weights_missing(spec, stored, store):
            return stored
        failure = store.get_failure(spec)
        if failure is not None and not retry_failed:
            return failure
        started = time.perf_counter()
        try:
            result = execute(spec, store)
        except Exception as error:  # an error of one run must not stop the others: it becomes a row
            line = " ".join(f"{type(error).__name__}: {error}".split())[:500] + _what_would_fit(error, spec)
            record = provenance(time.perf_counter() - started) | {"traceback": traceback.format_exc()}
            result = RunResult(spec, "failed", error=line, provenance=record)
            store.put_failure(result)
            return result
        return store.put(result)  # a disk that is full or gone stops the batch: the next run would meet it too


def _what_would_fit(error: Exception, spec: RunSpec) -> str:
    """Return what to set so that a run that ran out of memory may fit; empty for other errors."""
    if not isinstance(error, MemoryError) and not re.search(r"out of memory|can't allocate memory", str(error), re.I):
        return ""
    now = spec.train.micro_batch_tokens
    return f"; micro_batch_tokens is {now}; a run with {now // 2} may fit"


def weights_missing(spec: RunSpec, stored: RunResult, store: Store) -> bool:
    """Return whether a stored run lacks weights it was asked to keep; a diverged or untuned one has none to keep."""
    wanted = spec.keep_weights and spec.data.n_train > 0 and stored.status == "done"
    return wanted and store.weights(spec) is None


def execute(spec: RunSpec, store: Store | None = None) -> RunResult:
    """Run one resolved spec: select, tune, evaluate.

    Args:
        spec: A resolved spec. Equal specs give bit-identical scores on one device class and library version.
        store: Where trained weights are looked up and, with ``spec.keep_weights``, kept. None trains always.

    Returns:
        A result with status "done" or "diverged".
    """
    import torch

    started = time.perf_counter()
    watch_memory()
    _check_device(spec.device)
    outcome = _trained_apart(spec, store)
    with fixed_threads(spec.threads), torch.random.fork_rng(devices=_cuda_devices(spec.device)):
        model, tokenizer = load_base(spec)
        _check_room(spec, tokenizer)
        model = placed(model, spec)
        told = fallen_back(model, spec)
        prober = _prober(spec, tokenizer)
        watched = prober is not None or spec.train.rounds != "one"  # what is measured on the way needs the way
        weights = store.weights(spec) if store is not None and not watched else None
        if weights is not None:
            record = store.training_record(spec)
            tuned = Tuned(load_tuned(model, spec, weights), False, tuple(record["curve"]), record["totals"])
        elif outcome is not None:  # it diverged
            tuned = Tuned(model, True, tuple(outcome["curve"]), outcome["totals"])
        else:
            tuned = tune(model, tokenizer, spec, store, prober, lambda now: _by_family(now, tokenizer, spec))
        items, n_too_long, read_off = ((), 0, {}) if tuned.diverged else _judged(tuned.model, tokenizer, spec, store)
    status = "diverged" if tuned.diverged else "done"
    totals = {**tuned.totals, "n_eval_too_long": n_too_long, **told, **read_off}
    probes = tuple(prober.rows) if prober else tuned.probes
    return RunResult(spec, status, items, tuned.curve, totals, provenance(time.perf_counter() - started), probes=probes)


def _trained_apart(spec: RunSpec, store: Store | None) -> dict[str, Any] | None:
    """Train a run of several processes, before this one takes up a device; None for others and where weights are."""
    if spec.train.parallel == ONE or not spec.data.n_train or (store is not None and store.weights(spec)):
        return None
    return train_apart(spec, store)


def _prober(spec: RunSpec, tokenizer: Any) -> Prober | None:
    """Return what measures during training; a run that probes always trains, so that there is something to measure."""
    if not spec.evaluate.n_probes:
        return None
    kind = FormProber if spec.data.augmentation == "noise_phases" else Prober
    return kind(spec, tokenizer, pad_id=pad_id(tokenizer), context_length=context_length(spec.base))


def _judged(
    model: Any, tokenizer: Any, spec: RunSpec, store: Store | None
) -> tuple[tuple[tuple[Any, ...], ...], int, dict[str, Any]]:
    """Return the scores of items, how many are too long for the model, and what measures give, for the totals.

    The model is edited first where the evaluation says so.
    """
    evaluate = spec.evaluate
    if not (evaluate.measures or evaluate.edit != NONE):
        return (*_evaluate(model, tokenizer, spec), {})
    model.eval()
    features = store and store.features  # what a selector looked at is not computed again
    about = Measured(
        spec,
        model,
        tokenizer,
        base=lambda: placed(load_base(spec)[0], spec),
        items=scored_items(spec),
        trained_on=lambda: training_set(spec, lambda: load_base(spec), features).examples,
        pad_id=pad_id(tokenizer),
        context_length=context_length(spec.base) - virtual_tokens(model),
    )
    about = edited(about)
    items, n_too_long = _evaluate(about.model, tokenizer, spec)
    return items, n_too_long, {MEASURES: measured(about)} if evaluate.measures else {}


def _by_family(model: Any, tokenizer: Any, spec: RunSpec) -> dict[str, float]:
    """Return exact match of every family of a run's own items, and the loss on its reference documents."""
    items, _ = _evaluate(model, tokenizer, spec)
    table = pd.DataFrame(list(items), columns=list(ITEM_COLUMNS))
    documents = table[table["family"] == REFERENCE]
    scores = table[table["family"] != REFERENCE].groupby("family")["exact_match"].mean().dropna()
    found = {f"{SCORE}{family}": float(value) for family, value in scores.items()}
    if len(documents):
        found[REFERENCE_LOSS] = float(documents["nll"].sum() / documents["n_tokens"].sum())
    return found


def _evaluate(model: Any, tokenizer: Any, spec: RunSpec) -> tuple[tuple[tuple[Any, ...], ...], int]:
    """Return the scores of held-out and reference items, and how many items are longer than the model's context.

    Reference documents answer no instruction: they are always scored as the model itself gives them.
    """
    asking = in_form(tokenizer, spec.evaluate.shot_form)
    source = sources.get(spec.data.source)
    model.eval()
    asked = _asked(spec)
    shown = scored_items(spec, asked)
    items, n_too_long = _scored(model, asking, spec, shown, source.exact_match, asked)
    documents = source.reference(spec.data, spec.evaluate.n_reference) if spec.evaluate.n_reference else []
    more, n_more_too_long = _scored(model, tokenizer, spec, documents, False)
    return items + more, n_too_long + n_more_too_long


def _scored(
    model: Any,
    tokenizer: Any,
    spec: RunSpec,
    examples: list[Example],
    exact_match: bool,
    asked: list[Example] | None = None,
) -> tuple[tuple[tuple[Any, ...], ...], int]:
    """Return the scores of the items that fit the model, all their options included, and how many do not.

    Answers are decoded as the evaluation says where ``asked`` are the items before any perturbation, else plainly.
    """
    if not examples:
        return (), 0
    positions = context_length(spec.base) - virtual_tokens(model)
    how = {"pad_id": pad_id(tokenizer), "dtype": spec.base.dtype}
    encoded, _ = encode(examples, tokenizer, max_length=positions, last_only=spec.evaluate.n_shots > 0)
    decoding = Decoding() if asked is None else _decoding(spec, tokenizer, asked, examples, encoded)
    kept = [row.example_index for row in encoded if decoding.knows(row.example_index)]
    offered = {index: option_rows(examples[index], tokenizer) for index in kept if examples[index].options}
    too_long = {i for i, rows in offered.items() if max(len(row.input_ids) for row in rows) > positions}
    offered = {index: rows for index, rows in offered.items() if index not in too_long}
    scored = set(kept) - too_long
    encoded = [row for row in encoded if row.example_index in scored]
    with decoding.on(model):
        generated = _generated(model, tokenizer, spec, examples, encoded, decoding)
        chosen = choose(model, offered, examples, score=spec.evaluate.option_score, **how)
        how |= {"exact_match": exact_match, "generated": generated, "chosen": chosen, "decoding": decoding}
        return score_items(model, examples, encoded, **how), len(examples) - len(encoded)


def _generated(
    model: Any, tokenizer: Any, spec: RunSpec, examples: list[Example], encoded: list[Encoded], decoding: Decoding
) -> dict[int, str]:
    """Return what the model says to open-ended items and, where generated answers are asked for, to others that ask."""
    limits: dict[int, int] = {}
    for row in encoded:
        example = examples[row.example_index]
        if example.constraints:
            limits[row.example_index] = spec.evaluate.max_new_tokens
        elif spec.evaluate.answers == "generated" and not example.options and len(example.turns) > 1:
            n_answer = len(row.input_ids) - len(encode_prompt(example, tokenizer))
            limits[row.example_index] = room_for(n_answer)
    positions = context_length(spec.base) - virtual_tokens(model)
    how = {"pad_id": pad_id(tokenizer), "dtype": spec.base.dtype, "context_length": positions}
    how |= {"most_new": list(limits.values()), "decoding": decoding.take(list(limits))}
    answers = responses(model, tokenizer, [examples[index] for index in limits], **how)
    return dict(zip(limits, answers, strict=True))


def scored_items(spec: RunSpec, asked: list[Example] | None = None) -> list[Example]:
    """Return the items that a run is scored on: perturbed where it says so, after demonstrations where it has some.

    Demonstrations are never perturbed. They follow from seed, family and item, so arms of a comparison share them.

    Args:
        spec: A resolved spec.
        asked: Its items before any of this, where the caller has them.
    """
    items = _perturbed(_asked(spec) if asked is None else asked, spec.evaluate)
    if not spec.evaluate.n_shots:
        return items
    source = sources.get(spec.data.source)
    shown = [source.demonstrations(item, spec.evaluate.n_shots, seed=spec.seed) for item in items]
    return [
        replace(item, turns=(*(turn for example in examples for turn in example.turns), *item.turns))
        for item, examples in zip(items, shown, strict=True)
    ]


def _check_room(spec: RunSpec, tokenizer: Any) -> None:
    """Refuse, before anything is trained, demonstrations that do not fit into the model's context with an item."""
    n, positions = spec.evaluate.n_shots, context_length(spec.base)
    asking = in_form(tokenizer, spec.evaluate.shot_form)
    longest = encode(scored_items(spec), asking, max_length=sys.maxsize)[1].longest if n else 0
    if longest > positions:
        raise InputError(
            f"n_shots: with {n} demonstrations the longest row has {longest} tokens; model '{spec.base.model}' was "
            f"built for {positions} positions"
        )


def _asked(spec: RunSpec) -> list[Example]:
    """Return the held-out items of a run, in one phrasing each or in many; to be answered freely where asked.

    A noisy instruction takes the place of their own if asked for.
    """
    source = sources.get(spec.data.source)
    if spec.evaluate.noisy_prompt != "none":
        found = source.noisy(spec.data, spec.evaluate, spec.evaluate.noisy_prompt, seed=spec.seed)
    elif spec.evaluate.n_eval_phrasings:
        found = source.crossed(spec.data, spec.evaluate, seed=spec.seed)
    else:
        found = source.held_out(spec.data, spec.evaluate)
    if not spec.evaluate.free_answers:
        return found
    return [item if item.constraints else replace(item, constraints=(f"answer {item.gold}",)) for item in found]


def _decoding(
    spec: RunSpec, tokenizer: Any, asked: list[Example], shown: list[Example], encoded: list[Encoded]
) -> Decoding:
    """Return how the answers of a run are decoded; ``asked`` are the items before any perturbation."""
    evaluate = spec.evaluate
    if evaluate.contrast != "none":
        source = sources.get(spec.data.source)
        noisy = source.noisy(spec.data, evaluate, evaluate.contrast, seed=spec.seed)
        rows, _ = encode(noisy, tokenizer, max_length=context_length(spec.base))
        return Contrast({row.example_index: row for row in rows}, evaluate.contrast_weight)
    if evaluate.steering:
        places = {row.example_index: len(row.input_ids) for row in encoded}
        spans = {i: instruction_span(shown[i], asked[i], tokenizer, length) for i, length in places.items()}
        return Steering(spans, evaluate.steering)
    return Decoding()


def _perturbed(examples: list[Example], evaluation: EvalSpec) -> list[Example]:
    """Apply the perturbation to every user turn, the operands kept; each item has its own stream, so subsets agree."""
    if evaluation.perturbation == "none":
        return examples
    perturb = perturbations.get(evaluation.perturbation)
    changed = []
    for example in examples:
        rng = stream(0, f"perturbation {evaluation.perturbation} {example.id}")
        keep = example.operands
        turns = tuple(
            Turn(turn.role, perturb(turn.content, evaluation.severity, rng, keep)) if turn.role == "user" else turn
            for turn in example.turns
        )
        changed.append(replace(example, turns=turns))
    return changed


def _check_device(name: str) -> None:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: 'cuda' was asked for and no NVIDIA GPU is visible; use device: auto or cpu")


def _cuda_devices(name: str) -> list[int]:
    return [0] if name == "cuda" else []


@contextlib.contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Fix the threads of torch and of numpy's linear algebra inside a run.

    They move the last bits of sums, so they are part of the spec; and workers that each take all cores for a singular
    value decomposition stand in each other's way.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
