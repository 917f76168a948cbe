"""The serial engine: one run after another in this process. Easiest to debug."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from itlib.execute import run_one
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.store import Store


def run_serially(specs: Sequence[RunSpec], store: Store, retry_failed: bool) -> Iterator[RunResult]:
    """Yield results as they are finished."""
    for spec in specs:
        yield run_one(spec, store, retry_failed=retry_failed)
