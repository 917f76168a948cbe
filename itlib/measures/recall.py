"""Facts that documents told, asked as documents tell them: no instruction stands in the way of knowing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from itlib.measures import Measured
from itlib.microworld.gates import recall_by_frequency
from itlib.registry import measures, models
from itlib.spec import RunSpec


@measures.register("recall")
def measure_recall(about: Measured) -> dict[str, list[Any]]:
    """Return ``recall``, exact match on homes and jobs, by ``frequency`` of a person in documents; of the micro-world.

    See ``microworld.gates.recall_by_frequency``; frequency 0 is a guess, since nothing tells of these people.
    """
    return _columns(about.model, about.tokenizer)


def base_recall(specs: Sequence[RunSpec]) -> pd.DataFrame:
    """Return what the bases of runs know before tuning, each base once: untuned runs take no measure.

    Returns:
        Columns ``base_seed``, ``frequency`` and ``recall``.

    Cost: about a second per base of a million parameters.
    """
    from itlib.execute import fixed_threads

    bases = {spec.base.base_seed: spec.base for spec in specs}
    parts = []
    for seed, base in sorted(bases.items()):
        model, tokenizer = models.get(base.model).load(base)
        with fixed_threads(1):
            parts.append(pd.DataFrame(_columns(model.eval(), tokenizer)).assign(base_seed=seed))
    columns = ["base_seed", "frequency", "recall"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _columns(model: Any, tokenizer: Any) -> dict[str, list[Any]]:
    found = recall_by_frequency(model, tokenizer)
    return {"frequency": list(found), "recall": [float(f"{value:.6g}") for value in found.values()]}
