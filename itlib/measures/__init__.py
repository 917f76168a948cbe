"""Measures: what is read off a tuned model beside the scores of its items.

A registered measure is a function of a ``Measured`` that gives plain data for JSON. A run that asks for it
(``EvalSpec.measures``) stores what it gives under its name in the totals, so that it is computed once, beside the
training, and found again with the run. ``measure_frame`` makes one tidy table of a measure over many runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from itlib.example import Example
from itlib.registry import measures
from itlib.result import RunResult
from itlib.spec import RunSpec, digest, flatten

KEY = "measures"


@dataclass(frozen=True, eq=False)
class Measured:
    """A tuned model and what a measure may compare it with.

    Attributes:
        spec: The resolved spec of the run.
        model: The tuned model in evaluation mode; a measure leaves it as it was.
        tokenizer: Its tokenizer.
        base: Gives the base as it was before tuning, loaded anew: what an adapter was wrapped around may have been
            changed with it.
        items: The held-out items of the run, as they are asked.
        trained_on: Gives the examples that the run was trained on.
        pad_id: Token id for padding.
        context_length: Positions that the model was built for.
    """

    spec: RunSpec
    model: Any
    tokenizer: Any
    base: Callable[[], Any]
    items: Sequence[Example]
    trained_on: Callable[[], Sequence[Example]]
    pad_id: int
    context_length: int


def measured(about: Measured) -> dict[str, Any]:
    """Return what every measure of a run gives, by name."""
    return {name: measures.get(name)(about) for name in about.spec.evaluate.measures}


def measure_frame(results: Sequence[RunResult], name: str) -> pd.DataFrame:
    """Return one measure of many runs as one table: its columns, and ``digest``, ``status`` and all fields of the spec.

    A measure gives a mapping of columns to lists of equal length. Runs without it, untuned or diverged ones among
    them, have no row.
    """
    parts = []
    for result in results:
        found = result.totals.get(KEY, {}).get(name)
        if found is None:
            continue
        fields = {key: value for key, value in flatten(result.spec).items() if not key.endswith("_path")}
        fields = {key: " ".join(map(str, v)) if isinstance(v, tuple) else v for key, v in fields.items()}
        parts.append(pd.DataFrame(found).assign(digest=digest(result.spec)[:12], status=result.status, **fields))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["digest", "status"])
