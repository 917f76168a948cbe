"""Facts that documents told, asked as documents tell them: no instruction stands in the way of knowing."""

from __future__ import annotations

from typing import Any

from itlib.measures import Measured
from itlib.microworld.gates import recall_by_frequency
from itlib.registry import measures


@measures.register("recall")
def measure_recall(about: Measured) -> dict[str, list[Any]]:
    """Return ``recall``, exact match on homes and jobs, by ``frequency`` of a person in documents; of the micro-world.

    See ``microworld.gates.recall_by_frequency``; frequency 0 is a guess, since nothing tells of these people.
    """
    found = recall_by_frequency(about.model, about.tokenizer)
    return {"frequency": list(found), "recall": [float(f"{value:.6g}") for value in found.values()]}
