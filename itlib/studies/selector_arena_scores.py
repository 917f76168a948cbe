"""Measurements on single examples behind three claims of ``02b_selectors``; nothing is trained for them but a scorer.

They are made once per seed on the pools and bases of the study's runs: IFD by kind of corruption, gradient norms by
length of the response, and whether a base answers better after one demonstration.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.engines import spread
from itlib.example import Example
from itlib.execute import load_base
from itlib.generate import responses
from itlib.gradients import per_example_gradients, trainable_without_embeddings
from itlib.registry import selectors
from itlib.resolve import resolve
from itlib.selectors import SelectionContext
from itlib.selectors.less import norms
from itlib.selectors.nuggets import context_length
from itlib.spec import RunSpec, digest, with_fields
from itlib.studies.pool_bench import pool_of
from itlib.studies.selecting import arm
from itlib.studies.selector_arena import RANDOM, REDUNDANT, SelectorArenaParams
from itlib.workbench import selection_context

NOISY = "noisy"
IFD, GRADIENT, ZERO_SHOT, ONE_SHOT = "ifd", "gradient_norm", "zero_shot_match", "one_shot_match"
COLUMNS = (
    "arm", "kind", "status", "digest", "seed", "scorer", "item", "family", "noise", "response_tokens", "metric",
    "value", "target_families",
)  # fmt: skip


def example_frame(
    params: SelectorArenaParams,
    setting: Mapping[str, Any],
    folder: Path | None = None,
    *,
    engine: str = "serial",
    workers: int = 0,
) -> pd.DataFrame:
    """Return one row per seed, example and metric, with ``kind`` "example"; see ``COLUMNS``.

    * ifd: L(A|Q) / L(A) of every example of a noisy pool, under every scorer of ``scorers``.
    * gradient_norm: of the mean response loss by all weights but embeddings, under the base, first ``gradient_rows``
      examples of a redundant pool.
    * zero_shot_match, one_shot_match: whether the base gives the right response to ``in_context_items`` instructions
      of a redundant pool, alone and after another example of the same family.

    ``digest`` is that of the random arm of the same seed, whose pool and base these are. ``response_tokens`` counts the
    stop token. A kind of pool that the study leaves out has no rows.

    Args:
        params: Parameters of the study.
        setting: What dev chose; a warm scorer is tuned with it.
        folder: Where features are kept for selectors; None keeps them in memory.
        engine: Where pools are scored, as in ``engines.spread``.
        workers: As there.
    """
    tasks: list[tuple[Any, ...]] = []
    if NOISY in params.kinds:
        tasks += [
            (_difficulty, spec, folder)
            for scorer in params.scorers
            for spec in arm(params, setting, NOISY, "ifd_loss", scorer=scorer)
        ]
    if REDUNDANT in params.kinds:
        for spec in arm(params, setting, REDUNDANT, RANDOM):
            tasks += [(_gradients, spec, params.gradient_rows)] if params.gradient_rows else []
            tasks += [(_in_context, spec, params.in_context_items)] if params.in_context_items else []
    parts = spread(operator.call, tasks, engine=engine, workers=workers)
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return found[list(COLUMNS)]


def with_examples(frame: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """Return what the claims read: the frame of the runs, and the rows of ``example_frame`` below it."""
    return pd.concat([frame, examples], ignore_index=True) if len(examples) else frame


def _difficulty(spec: RunSpec, folder: Path | None) -> pd.DataFrame:
    with _bench(spec, folder) as (pool, context):
        values = selectors.get("ifd_loss").scores(pool, context).values
        return _rows(with_fields(spec, selector=RANDOM), NOISY, pool, context, {IFD: values}, spec.data.scorer)


def _gradients(spec: RunSpec, n: int) -> pd.DataFrame:
    with _bench(spec) as (pool, context):
        few, features = pool[:n], context.features
        lengths = np.zeros(len(few))
        names = trainable_without_embeddings(features.model)
        how = {"pad_id": features.pad_id, "dtype": features.dtype, "names": names}
        for positions, gradients in per_example_gradients(features.model, features.encoded(few), **how):
            lengths[positions] = norms(gradients).double().cpu().numpy()
        return _rows(spec, REDUNDANT, few, context, {GRADIENT: lengths})


def _in_context(spec: RunSpec, n: int) -> pd.DataFrame:
    with _bench(spec) as (pool, context):
        pairs = demonstrated(pool, n)
        asked = [example for example, _ in pairs]
        shown = [replace(example, turns=(*other.turns, *example.turns)) for example, other in pairs]
        values = {ZERO_SHOT: _matches(asked, context), ONE_SHOT: _matches(shown, context)}
        return _rows(spec, REDUNDANT, asked, context, values)


def demonstrated(pool: Sequence[Example], n: int) -> list[tuple[Example, Example]]:
    """Return the first ``n`` examples with different instructions, each with another example of its family.

    The other one has another instruction and another response, so that copying it is never right. Fewer come where the
    pool has no more.
    """
    found: list[tuple[Example, Example]] = []
    seen: set[str] = set()
    for example in pool:
        if len(found) == n:
            break
        others = (
            other
            for other in pool
            if other.family == example.family
            and other.instruction != example.instruction
            and other.response != example.response
        )
        other = next(others, None)
        if other is not None and example.instruction not in seen:
            seen.add(example.instruction)
            found.append((example, other))
    return found


def _matches(examples: Sequence[Example], context: SelectionContext) -> np.ndarray:
    features = context.features
    how = {"pad_id": features.pad_id, "dtype": features.dtype, "context_length": context_length(features.model)}
    texts = responses(features.model, features.tokenizer, examples, **how)
    wanted = [" ".join(example.response.split()) for example in examples]
    return np.array([float(text == right) for text, right in zip(texts, wanted, strict=True)])


def _rows(
    spec: RunSpec,
    kind: str,
    examples: Sequence[Example],
    context: SelectionContext,
    values: Mapping[str, np.ndarray],
    scorer: str = "base",
) -> pd.DataFrame:
    shared = {
        "arm": f"{kind}/examples",
        "kind": "example",
        "status": "done",
        "digest": digest(resolve(spec))[:12],
        "seed": spec.seed,
        "scorer": scorer,
        "item": [example.id for example in examples],
        "family": [example.family for example in examples],
        "noise": [example.noise for example in examples],
        "response_tokens": [int(row.response_mask.sum()) for row in context.features.encoded(examples)],
        "target_families": "",
    }
    return pd.concat([pd.DataFrame({**shared, "metric": name, "value": found}) for name, found in values.items()])


@contextlib.contextmanager
def _bench(spec: RunSpec, folder: Path | None = None) -> Iterator[tuple[list[Example], SelectionContext]]:
    """Give the pool and the scorer of a spec, with the threads of a run and a random state of its own."""
    resolved = resolve(spec)
    with pool_of(resolved) as pool:
        yield pool, selection_context(resolved, pool, lambda: load_base(resolved), folder)
