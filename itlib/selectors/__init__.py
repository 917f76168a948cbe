"""Selectors: which examples of a pool to train on under a budget.

A selector is a function ``(pool, budget, context) -> row indices``, registered by name. It returns exactly
``budget`` unique indices in order of preference, so that a smaller budget is a prefix of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from itlib.example import Example


@dataclass(frozen=True)
class SelectionContext:
    """What a selector may look at besides the pool. It never sees test items.

    Attributes:
        rng: The run's stream for selection.
        load_base: Returns ``(model, tokenizer)`` of the base model, for selectors that score with it.
        dev: Returns development examples, for selectors that aim at a target.
    """

    rng: np.random.Generator
    load_base: Callable[[], tuple[Any, Any]]
    dev: Callable[[], list[Example]]


Selector = Callable[[Sequence[Example], int, SelectionContext], np.ndarray]
