"""Batches: how many steps a budget buys, which examples each step sees, and how a step is cut into pieces.

An *effective batch* is what one optimiser step sees. It is cut into *micro-batches* of similar length, each padded
on the right. A causal model cannot look to the right, so padding never reaches a real token and no attention
mask is needed; one example never shares a row with another. The loss is summed over micro-batches and
divided by the supervised tokens of the effective batch, so the cut changes no gradient beyond rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from itlib.errors import InputError

BUDGET_UNITS = ("steps", "epochs", "tokens", "response_tokens")
TOKEN_UNITS = BUDGET_UNITS[2:]


def example_order(n_examples: int, n_visits: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``n_visits`` row indices: whole shuffled passes over the data, one after another, cut at the end."""
    passes = max(1, math.ceil(n_visits / n_examples))
    return np.concatenate([rng.permutation(n_examples) for _ in range(passes)])[:n_visits]


def plan_steps(
    lengths: Sequence[int], *, budget: float, budget_unit: str, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the rows of every effective batch.

    Args:
        lengths: Tokens per example, shape (n_examples,); of its responses only where the unit counts those.
        budget: How many units to train.
        budget_unit: "steps", "epochs" (passes over the examples, may be fractional) or "tokens" (all tokens of the
            visited examples, prompt included) or "response_tokens" (supervised ones).
        batch_size: Examples per step. Only the last batch of an epoch or token budget may be smaller.
        rng: Decides the order.

    Raises:
        InputError: The budget buys no step, or the unit is unknown.
    """
    n = len(lengths)
    if budget_unit == "steps":
        n_visits = int(budget) * batch_size
    elif budget_unit == "epochs":
        n_visits = round(budget * n)
    elif budget_unit in TOKEN_UNITS:
        n_visits = math.ceil(budget / max(1.0, float(np.mean(lengths)))) + batch_size
    else:
        raise InputError(f"budget_unit: '{budget_unit}' is not one of {', '.join(BUDGET_UNITS)}")
    order = example_order(n, n_visits, rng)
    if budget_unit in TOKEN_UNITS:
        spent = np.cumsum(np.asarray(lengths)[order])
        while spent[-1] < budget:  # the estimate from the mean fell short
            order = np.concatenate([order, rng.permutation(n)])
            spent = np.cumsum(np.asarray(lengths)[order])
        order = order[: int(np.searchsorted(spent, budget)) + 1]
    if len(order) == 0:
        raise InputError(f"budget: {budget:g} {budget_unit} of {n} examples is not one training step")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def micro_batches(lengths: Sequence[int], max_tokens: int) -> list[np.ndarray]:
    """Cut examples into groups of similar length whose padded size stays within ``max_tokens``.

    An example longer than ``max_tokens`` gets a group of its own. Returns positions into ``lengths``, longest first.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    groups: list[list[int]] = []
    for position in order:
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and (len(groups[-1]) + 1) * longest <= max_tokens:
            groups[-1].append(int(position))
        else:
            groups.append([int(position)])
    return [np.array(group) for group in groups]


def pad_right(rows: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Stack rows of different length into one array of dtype int64, filled on the right."""
    padded = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
