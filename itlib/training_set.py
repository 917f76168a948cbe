"""What a run trains on: the selected examples, a second part beside them, and pretraining documents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from itlib.errors import InputError, RunError
from itlib.example import Example
from itlib.ordering import DOCUMENT, FIRST, SECOND, Traits
from itlib.registry import models, selectors, sources
from itlib.selectors import SelectionContext
from itlib.spec import DataSpec, ModelSpec, RunSpec, stream
from itlib.template import encode


@dataclass(frozen=True)
class TrainingSet:
    """The examples of a run, all within ``max_length``.

    Attributes:
        examples: Selected examples in the selector's order, then the second part, then documents.
        traits: What an order of training knows of each example.
        n_too_long: Rows of the selector's pool that exceed ``max_length``.
    """

    examples: tuple[Example, ...]
    traits: tuple[Traits, ...]
    n_too_long: int


def training_set(spec: RunSpec, load_base: Callable[[], tuple[Any, Any]]) -> TrainingSet:
    """Return the training set of a resolved spec.

    Parts do not depend on each other: the selected examples are the same whatever ``n_mix`` is, the second part is the
    same whatever ``n_train`` is, and smaller ones are prefixes of larger ones.

    Args:
        spec: A resolved spec with ``n_train`` > 0.
        load_base: Returns model and tokenizer, for selectors that score with the base.

    Raises:
        InputError: Too few rows fit ``max_length`` and ``per_family_cap``, or ``pretraining_share`` is no document.
        RunError: The selector broke its promise.
    """
    selected, n_too_long = _selected(spec, load_base)
    parts = [(FIRST, selected), (SECOND, _mixed_in(spec))]
    n_documents = document_count(spec.data.pretraining_share, sum(len(examples) for _, examples in parts))
    parts.append((DOCUMENT, _documents(spec, n_documents)))
    examples = tuple(example for _, part in parts for example in part)
    traits = tuple(Traits(e.id, which, e.family, e.familiarity) for which, part in parts for e in part)
    return TrainingSet(examples, traits, n_too_long)


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


def _selected(spec: RunSpec, load_base: Callable[[], tuple[Any, Any]]) -> tuple[list[Example], int]:
    data = spec.data
    fitting, n_too_long = _fitting_pool(spec.base, _pool_only(data), spec.seed)
    pool = capped(fitting, data.per_family_cap)
    budget = min(data.n_train, len(pool)) if data.n_train == data.pool_size else data.n_train
    if budget > len(pool):
        raise InputError(f"n_train is {budget}, but only {len(pool)} of {data.pool_size} pool rows {_what_fits(data)}")
    context = SelectionContext(
        rng=stream(spec.seed, "selection"),
        load_base=load_base,
        dev=lambda: sources.get(data.source).held_out(data, replace(spec.evaluate, split="dev")),
    )
    rows = [int(row) for row in selectors.get(data.selector)(pool, budget, context)]
    if not len(rows) == len(set(rows)) == budget:
        raise RunError(f"selector '{data.selector}' gave {len(set(rows))} unique rows, not {budget}")
    return [pool[row] for row in rows], n_too_long


def _mixed_in(spec: RunSpec) -> list[Example]:
    data = spec.data
    if not data.n_mix:
        return []
    size = sources.get(data.source).mix_size(data)
    asked = replace(_pool_only(data), families=data.mix_families, pool_size=size)
    found = capped(_fitting_pool(spec.base, asked, spec.seed)[0], data.per_family_cap)[: data.n_mix]
    if len(found) < data.n_mix:
        raise InputError(f"n_mix is {data.n_mix}, but only {len(found)} of {size} mixed-in rows {_what_fits(data)}")
    return found


def _documents(spec: RunSpec, n: int) -> list[Example]:
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
    return replace(data, n_train=0, selector="", per_family_cap=0, mix_families=(), n_mix=0, pretraining_share=0.0)


@functools.lru_cache(maxsize=8)
def _fitting_pool(base: ModelSpec, data: DataSpec, seed: int) -> tuple[tuple[Example, ...], int]:
    """Return the pool rows that fit ``max_length``, and how many do not; N then counts what is trained on."""
    return _fitting(sources.get(data.source).pool(data, seed=seed), base, data.max_length)


def _fitting(examples: Sequence[Example], base: ModelSpec, max_length: int) -> tuple[tuple[Example, ...], int]:
    encoded, audit = encode(examples, models.get(base.model).load(base)[1], max_length=max_length)
    return tuple(examples[row.example_index] for row in encoded), audit.n_dropped_too_long
