"""Selectors: which examples of a pool to train on under a budget.

A selector is a function ``(pool, budget, context, **options) -> row indices``, registered by name. It returns exactly
``budget`` unique indices in order of preference. Most selectors give every example a score; those are written as a
score function and decorated with ``by_score``: ranking, ties, bands and quotas per family then come for free, and a
smaller budget is a prefix of a larger one.

Options are keyword-only parameters with a default of type int, float, str or bool; a spec sets them as
``selector_options: ["n_clusters=20"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.example import Example

if TYPE_CHECKING:
    from itlib.features import Features
    from itlib.selectors._ledger import Ledger


@dataclass(frozen=True)
class Checkpoint:
    """A tuned scorer at one moment of its training.

    Attributes:
        model: The scorer with the weights of this moment, in evaluation mode.
        learning_rate: Mean learning rate since the checkpoint before.
        moments: Adam's first and second moment per trainable parameter, by name; without bias correction.
    """

    model: Any
    learning_rate: float
    moments: dict[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may look at besides the pool. It never sees test items.

    Attributes:
        rng: The run's stream for selection.
        features: Losses and embeddings of examples under the scorer, computed once for a pool; see ``itlib.features``.
        targets: Returns the development examples that a target-aware selector aims at.
        tune: ``tune(examples, epochs=4.0, checkpoints=1, method="full")`` tunes a fresh scorer on a few examples with
            the run's own optimisation settings and returns its checkpoints at evenly spaced steps, the last one at the
            end.
        features_of: Returns the features of another model, such as a tuned scorer; the name tells it from others.
        ledger: Takes down what selection costs and what a selector wants told about itself.
        tuning: What ``tune`` depends on beside the examples, for the address of numbers that are kept; empty where
            nothing may be kept.
    """

    rng: np.random.Generator
    features: Features
    targets: Callable[[], list[Example]]
    tune: Callable[..., list[Checkpoint]]
    features_of: Callable[[Any, str], Features]
    ledger: Ledger
    tuning: str = ""


Selector = Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class Scores:
    """One score per example of a pool.

    Attributes:
        values: Shape (n_pool,); higher comes first. An example whose score is NaN comes last.
        excluded: Shape (n_pool,), bool; examples that a method filters out. They are taken only when nothing else is
            left, best first, and counted as back-fill.
    """

    values: np.ndarray
    excluded: np.ndarray | None = None

    @property
    def n_kept(self) -> int:
        """Examples that have a score and are not filtered out."""
        kept = ~np.isnan(self.values)
        return int((kept if self.excluded is None else kept & ~self.excluded).sum())


@dataclass(frozen=True)
class ScoreSelector:
    """A selector that takes the examples with the highest scores; the order of the pool does not matter."""

    score: Callable[..., Scores | np.ndarray]

    def scores(self, pool: Sequence[Example], context: SelectionContext, **options: Any) -> Scores:
        """Return the scores of a pool, one per example in the pool's order."""
        order = canonical(pool)
        found = self.score([pool[row] for row in order], context, **options)
        found = found if isinstance(found, Scores) else Scores(np.asarray(found, dtype=np.float64))
        back = np.argsort(order)
        return Scores(found.values[back], None if found.excluded is None else found.excluded[back])

    def __call__(self, pool: Sequence[Example], budget: int, context: SelectionContext, **options: Any) -> np.ndarray:
        """Return the rows of the ``budget`` highest scores."""
        return ranked(pool, self.scores(pool, context, **options), context.rng)[:budget]


@dataclass(frozen=True)
class SubsetSelector:
    """A selector whose choice depends on what it has chosen already; the order of the pool does not matter."""

    select: Callable[..., np.ndarray]

    def __call__(self, pool: Sequence[Example], budget: int, context: SelectionContext, **options: Any) -> np.ndarray:
        """Return ``budget`` rows in the order in which they were chosen."""
        order = canonical(pool)
        return order[np.asarray(self.select([pool[row] for row in order], budget, context, **options))]


def by_score(score: Callable[..., Scores | np.ndarray]) -> ScoreSelector:
    """Make a selector of a function ``(pool, context, **options) -> scores``."""
    return ScoreSelector(score)


def by_subset(select: Callable[..., np.ndarray]) -> SubsetSelector:
    """Make a selector of a function ``(pool, budget, context, **options) -> rows``."""
    return SubsetSelector(select)


def canonical(pool: Sequence[Example]) -> np.ndarray:
    """Return the rows of a pool in the order of their ids, so that the order of a file decides nothing."""
    return np.array(sorted(range(len(pool)), key=lambda row: pool[row].id), dtype=np.int64)


def ranked(pool: Sequence[Example], scores: Scores, rng: np.random.Generator) -> np.ndarray:
    """Return all rows, best first: ties in random order, then what is excluded, then what has no score.

    Sorting by position would let the order of a file decide among equals; answers of one to three tokens tie often.
    """
    values = np.where(np.isnan(scores.values), -np.inf, scores.values)
    last = np.zeros(len(values), dtype=np.int64) if scores.excluded is None else scores.excluded.astype(np.int64)
    last[np.isnan(scores.values)] = 2
    tie = np.empty(len(values), dtype=np.int64)
    tie[canonical(pool)] = rng.permutation(len(values))
    return np.lexsort((tie, -values, last))
