"""What a run gives back: per-item scores, a training curve, an audit, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from itlib.spec import RunSpec

_NAMES = ("item", "family", "category", "familiarity", "phrasing")
_SCORES = ("exact_match", "exact_match_lenient", "graded", "nll")
_COUNTS = ("n_tokens", "n_bytes")
ITEM_COLUMNS = (*_NAMES, *_SCORES, *_COUNTS, "generated")
_SCORED = len(_NAMES)  # where scores begin, then counts, and what comes after them
_COUNTED = _SCORED + len(_SCORES)
_LAST = _COUNTED + len(_COUNTS)
REFERENCE = "reference"  # the family of held-out pretraining text
STATUSES = ("done", "diverged", "failed")


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        spec: The resolved spec that was executed.
        status: "done"; "diverged" when the loss stopped being finite; "failed" when an error stopped the run.
        items: One tuple per evaluated item, in the order of ``ITEM_COLUMNS``. ``nll`` is the summed negative
            log-likelihood of the supervised tokens in nats; scores that an item does not define are None. An
            open-ended item has ``graded``, the share of its constraints that the text ``generated`` fulfils, and no
            exact match. ``exact_match`` of an item with options says whether the right one was chosen; ``generated`` is
            the option chosen. For every other item ``generated`` is the text that was matched where the evaluation asks
            for generated answers, and empty otherwise.
        curve: Training loss (nats per supervised token) and gradient norm at evenly spaced steps.
        totals: Counts of the whole run: steps, tokens, supervised tokens, parameters, audit of the loss mask.
        provenance: Versions, commit, device and wall time. Never part of a comparison between two results.
        error: One line, for a failed run.
        probes: What was measured during training, one mapping per probed step; see ``itlib.probes``.
    """

    spec: RunSpec
    status: str
    items: tuple[tuple[Any, ...], ...] = ()
    curve: tuple[dict[str, float], ...] = ()
    totals: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    probes: tuple[dict[str, float], ...] = ()


def item_from_text(cells: Sequence[str]) -> tuple[Any, ...]:
    """Return one item from the text of its cells, an empty score being None; ``ValueError`` where a cell is wrong."""
    if len(cells) != len(ITEM_COLUMNS):
        raise ValueError(f"an item has {len(ITEM_COLUMNS)} cells, not {len(cells)}")
    names, scores, counts, rest = cells[:_SCORED], cells[_SCORED:_COUNTED], cells[_COUNTED:_LAST], cells[_LAST:]
    return (*names, *[float(cell) if cell else None for cell in scores], *map(int, counts), *rest)
