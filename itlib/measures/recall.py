"""Facts that documents told, asked as documents tell them: no instruction stands in the way of knowing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.measures import Measured
from itlib.microworld.gates import frequencies, recall_by_frequency
from itlib.registry import measures, models
from itlib.shards import table
from itlib.spec import ModelSpec, RunSpec

VERSION = 1  # raise when what is asked changes


@measures.register("recall")
def measure_recall(about: Measured) -> dict[str, list[Any]]:
    """Return ``recall``, exact match on homes and jobs, by ``frequency`` of a person in documents; of the micro-world.

    See ``microworld.gates.recall_by_frequency``; frequency 0 is a guess, since nothing tells of these people.
    """
    return _columns(about.model, about.tokenizer)


def base_recall(specs: Sequence[RunSpec], folder: Path | None = None) -> pd.DataFrame:
    """Return what the bases of runs know before tuning, each base once: untuned runs take no measure.

    Args:
        specs: Resolved specs of runs.
        folder: Where the numbers are kept by fingerprint and attention of a base (``itlib.shards``), so that a notebook
            that is opened again loads no model; None keeps nothing.

    Returns:
        Columns ``base_seed``, ``frequency`` and ``recall``.

    Cost: about a second per base of a million parameters, once.
    """
    bases = {spec.base.base_seed: spec.base for spec in specs}
    parts = []
    for seed, base in sorted(bases.items()):
        address = hashlib.sha256(f"recall {VERSION} {base.model_fingerprint} {base.attention}".encode()).hexdigest()
        found = table(folder, address, len(frequencies()), partial(_of_base, base))
        parts.append(pd.DataFrame(found).assign(base_seed=seed))
    columns = ["base_seed", "frequency", "recall"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _of_base(base: ModelSpec, rows: slice) -> dict[str, np.ndarray]:
    from itlib.execute import fixed_threads

    model, tokenizer = models.get(base.model).load(base)
    with fixed_threads(1):
        return {name: np.array(column)[rows] for name, column in _columns(model.eval(), tokenizer).items()}


def _columns(model: Any, tokenizer: Any) -> dict[str, list[Any]]:
    found = recall_by_frequency(model, tokenizer)
    return {"frequency": list(found), "recall": [float(f"{value:.6g}") for value in found.values()]}
