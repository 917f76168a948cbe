"""What a run trains on: the selected examples, a second part beside them, and pretraining documents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from itlib.errors import InputError
from itlib.example import Example
from itlib.ordering import DOCUMENT, FIRST, SECOND, Traits
from itlib.registry import models, objectives, sources
from itlib.selection import CHOICE, augment, select
from itlib.spec import DataSpec, ModelSpec, RunSpec
from itlib.template import encode


@dataclass(frozen=True)
class TrainingSet:
    """The examples of a run, all within ``max_length``.

    Attributes:
        examples: Selected examples in the selector's order, then the second part, then documents.
        traits: What an order of training knows of each example.
        n_too_long: Rows of the selector's pool that exceed ``max_length``.
        selection: What the selection cost and what the selector told about itself; empty for a random one.
        paraphrases: Every example in another wording, where the objective looks at both; else empty.
    """

    examples: tuple[Example, ...]
    traits: tuple[Traits, ...]
    n_too_long: int
    selection: dict[str, Any] = field(default_factory=dict)
    paraphrases: tuple[Example, ...] = ()


def training_set(spec: RunSpec, load_base: Callable[[], tuple[Any, Any]], features: Path | None = None) -> TrainingSet:
    """Return the training set of a resolved spec.

    Parts do not depend on each other: the selected examples are the same whatever ``n_mix`` is, the second part is the
    same whatever ``n_train`` is, and smaller ones are prefixes of larger ones.

    Args:
        spec: A resolved spec with ``n_train`` > 0.
        load_base: Returns model and tokenizer, for selectors that score with the base.
        features: Where features of examples are kept for other runs; None keeps them in memory.

    Raises:
        InputError: Too few rows fit ``max_length`` and ``per_family_cap``, or ``pretraining_share`` is no document.
        RunError: The selector broke its promise.
    """
    selected, n_too_long, told = _selected(spec, load_base, features)
    parts = [(FIRST, selected), (SECOND, _mixed_in(spec))]
    n_documents = document_count(spec.data.pretraining_share, sum(len(examples) for _, examples in parts))
    parts.append((DOCUMENT, pretraining_documents(spec, n_documents)))
    examples = tuple(example for _, part in parts for example in part)
    traits = tuple(Traits(e.id, which, e.family, e.familiarity) for which, part in parts for e in part)
    return TrainingSet(examples, traits, n_too_long, told, _paraphrases(spec, examples))


def examples_without_model(spec: RunSpec) -> tuple[Example, ...]:
    """Return the training examples of a resolved spec whose selection and augmentation ask no model."""

    def no_model() -> Any:
        raise AssertionError("a random selection asks no model")

    return training_set(spec, no_model).examples


def selectors_pool(spec: RunSpec) -> list[Example]:
    """Return the examples that the selector of a resolved spec chooses from: those that fit, at most a cap of each."""
    return capped(_fitting_pool(spec.base, _pool_only(spec.data), spec.seed)[0], spec.data.per_family_cap)


def document_count(share: float, n_examples: int) -> int:
    """Return how many documents beside ``n_examples`` make up ``share`` of all sequences, to the nearest one.

    Raises:
        InputError: A share above 0 comes to no document at all.
    """
    count = round(share / (1.0 - share) * n_examples)
    if share > 0 and not count:
        raise InputError(f"pretraining_share: {share:g} beside {n_examples} examples is not one document")
    return count


def capped(examples: Sequence[Example], cap: int) -> list[Example]:
    """Return the examples without those that come after ``cap`` others of their family; all of them if ``cap`` is 0."""
    if not cap:
        return list(examples)
    taken: dict[str, int] = {}
    kept = []
    for example in examples:
        taken[example.family] = taken.get(example.family, 0) + 1
        if taken[example.family] <= cap:
            kept.append(example)
    return kept


def _selected(
    spec: RunSpec, load_base: Callable[[], tuple[Any, Any]], features: Path | None
) -> tuple[list[Example], int, dict[str, Any]]:
    data = spec.data
    fitting, n_too_long = _fitting_pool(spec.base, _pool_only(data), spec.seed)
    pool = capped(fitting, data.per_family_cap)
    budget = min(data.n_train, len(pool)) if data.n_train == data.pool_size else data.n_train
    if budget > len(pool) or not pool:
        raise InputError(
            f"n_train is {data.n_train}, but only {len(pool)} of {data.pool_size} pool rows {_what_fits(data)}"
        )
    selection = select(spec, pool, budget, load_base, features)
    chosen = [pool[row] for row in selection.rows]
    if data.augmentation == "none":
        return chosen, n_too_long, selection.totals
    changed, told = augment(spec, pool, chosen, load_base, features)
    return changed, n_too_long, selection.totals | told


def _paraphrases(spec: RunSpec, examples: Sequence[Example]) -> tuple[Example, ...]:
    if not objectives.get(spec.train.objective).paired:
        return ()
    source = sources.get(spec.data.source)
    found = tuple(source.paraphrase(example, spec.data, seed=spec.seed) for example in examples)
    n_too_long = len(found) - len(_fitting(found, spec.base, spec.data.max_length)[0])
    if n_too_long:
        raise InputError(f"max_length: {n_too_long} paraphrases are longer than {spec.data.max_length}; raise it")
    return found


def _mixed_in(spec: RunSpec) -> list[Example]:
    data = spec.data
    if not data.n_mix:
        return []
    size = sources.get(data.source).mix_size(data)
    phrasing_set = data.mix_phrasing_set or data.phrasing_set
    asked = replace(_pool_only(data), families=data.mix_families, phrasing_set=phrasing_set, pool_size=size)
    found = capped(_fitting_pool(spec.base, asked, spec.seed)[0], data.per_family_cap)[: data.n_mix]
    if len(found) < data.n_mix:
        raise InputError(f"n_mix is {data.n_mix}, but only {len(found)} of {size} mixed-in rows {_what_fits(data)}")
    return found


def pretraining_documents(spec: RunSpec, n: int) -> list[Example]:
    """Return the first n documents of a run's stream that fit ``max_length``; none of them is a reference text."""
    if not n:
        return []
    stream_of_documents = sources.get(spec.data.source).documents(seed=spec.seed)
    found: list[Example] = []
    while len(found) < n:
        found += _fitting(list(islice(stream_of_documents, max(n, 50))), spec.base, spec.data.max_length)[0]
    return found[:n]


def _what_fits(data: DataSpec) -> str:
    return f"fit max_length {data.max_length}" + (
        f" and per_family_cap {data.per_family_cap}" if data.per_family_cap else ""
    )


def _pool_only(data: DataSpec) -> DataSpec:
    """Return the data with what no pool depends on left out, so that one pool is made once."""
    no_choice = {name: field.default for name, field in DataSpec.__dataclass_fields__.items() if name in CHOICE}
    no_mix = {"mix_families": (), "n_mix": 0, "mix_phrasing_set": ""}
    return replace(data, **no_choice, **no_mix, n_train=0, per_family_cap=0, pretraining_share=0.0)


@functools.lru_cache(maxsize=32)  # the seeds of an arm, in every kind of pool
def _fitting_pool(base: ModelSpec, data: DataSpec, seed: int) -> tuple[tuple[Example, ...], int]:
    """Return the pool rows that fit ``max_length``, and how many do not; N then counts what is trained on."""
    return _fitting(sources.get(data.source).pool(data, seed=seed), base, data.max_length)


def _fitting(examples: Sequence[Example], base: ModelSpec, max_length: int) -> tuple[tuple[Example, ...], int]:
    encoded, audit = encode(examples, models.get(base.model).load(base)[1], max_length=max_length)
    return tuple(examples[row.example_index] for row in encoded), audit.n_dropped_too_long
