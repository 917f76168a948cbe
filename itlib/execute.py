"""Execution: the only place where data, model, method, training and evaluation meet."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from itlib.errors import InputError, RunError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.provenance import provenance
from itlib.registry import methods, models, perturbations, selectors, sources
from itlib.result import RunResult
from itlib.selectors import SelectionContext
from itlib.spec import DataSpec, EvalSpec, RunSpec, stream
from itlib.store import Store
from itlib.template import encode
from itlib.train import train


def run_one(spec: RunSpec, store: Store, *, retry_failed: bool = False) -> RunResult:
    """Return the result of a resolved spec: from the store when it is there, else computed and stored.

    A failure is stored and returned as a result with status "failed"; only an interrupt passes through.
    """
    with store.lock(spec):
        stored = store.get(spec)
        if stored is not None:
            return stored
        failure = store.get_failure(spec)
        if failure is not None and not retry_failed:
            return failure
        started = time.perf_counter()
        try:
            result = execute(spec, store)
        except Exception as error:  # an unknown error of one run must not stop the others: it becomes a row
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            record = provenance(time.perf_counter() - started) | {"traceback": traceback.format_exc()}
            result = RunResult(spec, "failed", error=line, provenance=record)
            store.put_failure(result)
            return result
        return store.put(result)


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
    device = _device(spec.device)
    with _fixed_threads(spec.threads), torch.random.fork_rng(devices=_cuda_devices(spec.device)):
        # The stream "initialisation" feeds adapters and dropout; both draw from torch's own generator.
        torch.manual_seed(int(stream(spec.seed, "initialisation").integers(2**31)))
        model, tokenizer = models.get(spec.base.model).load(spec.base)
        model = model.to(device)
        weights = store.weights(spec) if store is not None else None
        if weights is not None:
            model = methods.get(spec.tuning.method).load(model, spec.tuning, weights)
            record = store.training_record(spec)
            diverged, curve, totals = False, tuple(record["curve"]), record["totals"]
        else:
            model, diverged, curve, totals = _tune(model, tokenizer, spec, store)
        items = () if diverged else _evaluate(model, tokenizer, spec)
    status = "diverged" if diverged else "done"
    return RunResult(spec, status, items, curve, totals, provenance(time.perf_counter() - started))


def _tune(model: Any, tokenizer: Any, spec: RunSpec, store: Store | None) -> tuple[Any, bool, tuple, dict[str, Any]]:
    if spec.data.n_train == 0:
        return model, False, (), {"n_parameters": sum(p.numel() for p in model.parameters())}
    chosen = _select(spec)
    encoded, audit = encode(chosen, tokenizer, max_length=spec.data.max_length)
    method = methods.get(spec.tuning.method)
    model = method.attach(model, spec.tuning)
    fit = train if spec.train.trainer == "loop" else _transformers_trainer()
    trace = fit(model, encoded, spec.train, seed=spec.seed, pad_id=pad_id(tokenizer), dtype=spec.base.dtype)
    totals = {
        **trace.totals,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "audit": asdict(audit),
    }
    if spec.keep_weights and store is not None and not trace.diverged:
        store.put_weights(
            spec, lambda folder: method.save(model, folder, spec.base), {"curve": trace.curve, "totals": totals}
        )
    return model, trace.diverged, trace.curve, totals


def _select(spec: RunSpec) -> list[Example]:
    pool = _pool(spec.data.source, replace(spec.data, n_train=1, selector="random", max_length=1), spec.seed)
    context = SelectionContext(
        rng=stream(spec.seed, "selection"),
        load_base=lambda: models.get(spec.base.model).load(spec.base),
        dev=lambda: sources.get(spec.data.source).held_out(spec.data, replace(spec.evaluate, split="dev")),
    )
    rows = selectors.get(spec.data.selector)(pool, spec.data.n_train, context)
    unique = len(set(map(int, rows)))
    if not len(rows) == unique == spec.data.n_train:
        raise RunError(f"selector '{spec.data.selector}' gave {unique} unique rows, not {spec.data.n_train}")
    return [pool[int(i)] for i in rows]


@functools.lru_cache(maxsize=2)
def _pool(source: str, data: DataSpec, seed: int) -> tuple[Example, ...]:
    return tuple(sources.get(source).pool(data, seed=seed))


def _evaluate(model: Any, tokenizer: Any, spec: RunSpec) -> tuple[tuple[Any, ...], ...]:
    source = sources.get(spec.data.source)
    model.eval()
    scores: tuple[tuple[Any, ...], ...] = ()
    reference = source.reference(spec.data, spec.evaluate.n_reference) if spec.evaluate.n_reference else []
    for examples, exact_match in (
        (_perturbed(source.held_out(spec.data, spec.evaluate), spec.evaluate), source.exact_match),
        (reference, False),
    ):
        if not examples:
            continue
        encoded, _ = encode(examples, tokenizer, max_length=max(spec.data.max_length, 256))
        scores += score_items(
            model, examples, encoded, pad_id=pad_id(tokenizer), dtype=spec.base.dtype, exact_match=exact_match
        )
    return scores


def _perturbed(examples: list[Example], evaluation: EvalSpec) -> list[Example]:
    """Apply the perturbation to every user turn; each item has its own stream, so subsets agree."""
    if evaluation.perturbation == "none":
        return examples
    perturb = perturbations.get(evaluation.perturbation)
    changed = []
    for example in examples:
        rng = stream(0, f"perturbation {evaluation.perturbation} {example.id}")
        turns = tuple(
            Turn(turn.role, perturb(turn.content, evaluation.severity, rng)) if turn.role == "user" else turn
            for turn in example.turns
        )
        changed.append(replace(example, turns=turns))
    return changed


def pad_id(tokenizer: Any) -> int:
    """Return an id for padding; it is never seen by a real token, so any valid id serves."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0


def _transformers_trainer() -> Any:
    from itlib.trainer import train_with_transformers

    return train_with_transformers


def _device(name: str) -> Any:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: 'cuda' was asked for and no NVIDIA GPU is visible; use device: auto or cpu")
    return torch.device(name)


def _cuda_devices(name: str) -> list[int]:
    return [0] if name == "cuda" else []


@contextlib.contextmanager
def _fixed_threads(threads: int) -> Iterator[None]:
    """Fix torch's thread count inside a run: it moves the last bits of sums, so it is part of the spec."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
