"""What a run gives back: per-item scores, a training curve, an audit, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from itlib.spec import RunSpec

_SCORES = ("exact_match", "exact_match_lenient", "nll", "n_tokens", "n_bytes")
ITEM_COLUMNS = ("item", "family", "category", "phrasing", *_SCORES)
STATUSES = ("done", "diverged", "failed")


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        spec: The resolved spec that was executed.
        status: "done"; "diverged" when the loss stopped being finite; "failed" when an error stopped the run.
        items: One tuple per evaluated item, in the order of ``ITEM_COLUMNS``. ``nll`` is the summed negative
            log-likelihood of the supervised tokens in nats; scores that a source does not define are None.
        curve: Training loss (nats per supervised token) and gradient norm at evenly spaced steps.
        totals: Counts of the whole run: steps, tokens, supervised tokens, parameters, audit of the loss mask.
        provenance: Versions, commit, device and wall time. Never part of a comparison between two results.
        error: One line, for a failed run.
    """

    spec: RunSpec
    status: str
    items: tuple[tuple[Any, ...], ...] = ()
    curve: tuple[dict[str, float], ...] = ()
    totals: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: str = ""
