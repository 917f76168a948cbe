"""Objectives: what a training step minimises.

A registered objective is a frozen dataclass; its fields are its options, given as "name=value" texts, and it refuses
values out of range when it is made. It answers three things:

    paired                                        whether it sees every example in a second wording too
    needs_families                                whether it sees the task family of every example
    groups(batch, most_tokens)                    -> positions of the examples of each backward pass
    loss(model, batch, *, pad_id, dtype)          -> the loss of one group, summed over its supervised tokens

The loop divides by the supervised tokens of the examples of the whole step, so ``loss`` must be a sum that gives the
same gradient however a step is cut. Objectives run in our loop only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.errors import InputError
from itlib.registry import objectives
from itlib.schema import options
from itlib.spec import DataSpec, TrainSpec
from itlib.template import Encoded

KEY = "objective_options"


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples that an objective sees together.

    Attributes:
        rows: Encoded examples.
        paraphrases: The same examples in another wording, with equal responses, in the same order; empty for an
            objective that is not ``paired``.
        families: Task family of each example; empty for an objective that is neither ``paired`` nor asks for them.
    """

    rows: Sequence[Encoded]
    paraphrases: Sequence[Encoded] = ()
    families: Sequence[str] = ()

    def at(self, positions: Sequence[int] | np.ndarray) -> Batch:
        """Return the examples at these positions."""
        parts = (self.rows, self.paraphrases, self.families)
        return Batch(*([part[i] for i in positions] if part else () for part in parts))

    @property
    def texts(self) -> list[Encoded]:
        """All rows that a forward pass reads, second wordings after the examples."""
        return [*self.rows, *self.paraphrases]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example, its second wording included."""
        others = [len(row.input_ids) for row in self.paraphrases] or [0] * len(self.rows)
        return [len(row.input_ids) + other for row, other in zip(self.rows, others, strict=True)]


class Plain:
    """What most objectives share: they see micro-batches of similar length."""

    paired = False
    needs_families = False

    def groups(self, batch: Batch, most_tokens: int) -> list[np.ndarray]:
        """Return the micro-batches of a step; an example counts with its second wording."""
        return micro_batches(batch.lengths, most_tokens)


def objective_of(spec: TrainSpec) -> Any:
    """Return the objective of a run with its options.

    Raises:
        InputError: There is none of that name, an option is unknown or out of range.
    """
    kind = objectives.get(spec.objective)
    return kind(**options(kind, spec.objective_options, spec.objective, KEY))


def written_options(spec: TrainSpec) -> tuple[str, ...]:
    """Return the options of a run in one spelling: those that differ from their defaults, in their own order."""
    objective = objective_of(spec)
    values = [(field.name, getattr(objective, field.name), field.default) for field in fields(objective)]
    return tuple(f"{name}={value}" for name, value, default in values if value != default)


def check_objective(train: TrainSpec, data: DataSpec, source: Any) -> None:
    """Refuse an objective that a run with resolved data and trainer cannot have.

    Raises:
        InputError: An unknown objective or option; a trainer other than our loop; or an objective that needs
            paraphrases of what has none.
    """
    objective = objective_of(train)
    if train.objective == "response":
        return
    if train.trainer != "loop":
        raise InputError(f"objective: '{train.objective}' runs in our own loop only; set trainer: loop")
    if not objective.paired:
        return
    needs = f"objective: '{train.objective}' needs paraphrases"
    if not hasattr(source, "paraphrase"):
        raise InputError(f"{needs}; source '{data.source}' has no phrasings to make them of")
    if data.augmentation != "none" or data.pretraining_share:
        raise InputError(f"{needs}; set augmentation: none and pretraining_share: 0")
    if getattr(objective, "contrast_batch", 0) > train.batch_size:
        raise InputError(f"{KEY}: contrast_batch {objective.contrast_batch} is above batch_size {train.batch_size}")
    source.check_paraphrases(data)


def check_pairs(rows: Sequence[Encoded], paraphrases: Sequence[Encoded]) -> None:
    """Raise ``ValueError`` where a paraphrase has another response than its example: tokens are compared one by one."""
    if len(rows) != len(paraphrases):
        raise ValueError(f"{len(rows)} examples have {len(paraphrases)} paraphrases; each needs one")
    for row, other in zip(rows, paraphrases, strict=True):
        if not np.array_equal(supervised(row), supervised(other)):
            raise ValueError(f"example {row.example_index}: its paraphrase has another response")


def supervised(row: Encoded) -> np.ndarray:
    """Return the supervised tokens of a row, the first one of a row left out: it is never predicted."""
    return row.input_ids[1:][row.response_mask[1:]]
