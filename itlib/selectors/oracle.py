"""Oracles: what a selector could reach if it knew what no selector knows. They bound the others from above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.errors import InputError, RunError
from itlib.example import Example
from itlib.gradients import mean_losses, per_example_gradients, trainable_without_embeddings
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_score


@selectors.register("oracle_clean")
@by_score
def oracle_clean(pool: Sequence[Example], context: SelectionContext) -> np.ndarray:
    """Take examples without noise first, in random order; then the corrupted ones, in random order.

    It reads ``Example.noise``, which only a source that adds the noise itself can fill in. Where all examples are
    clean it is random selection.
    """
    clean = np.array([float(example.noise == "none") for example in pool])
    context.ledger.note("n_clean", float(clean.sum()))
    return clean


@selectors.register("oracle_loo")
@by_score
def oracle_loo(
    pool: Sequence[Example],
    context: SelectionContext,
    *,
    learning_rate: float = 0.01,
    most: int = 400,
    warm: int = 0,
) -> np.ndarray:
    """Score examples by the fall of the mean target loss after one step on that example alone; higher comes first.

    This is the quantity that influence methods such as LESS approximate to first order, measured: every example gets
    its own copy of the weights, moved by one step of plain gradient descent on its mean response loss, and every target
    is scored under it. Weights other than embeddings move. A selection that needs more examples than were measured is
    filled with random ones; ``n_scored`` tells how many were.

    Args:
        pool: Candidates.
        context: Targets and the scorer.
        learning_rate: Size of the step.
        most: How many examples, drawn at random, are measured.
        warm: First tune the scorer on that many random examples of the pool; 0 takes it as it is.

    Raises:
        RunError: A measured fall is not finite; NaN is the mark of an example that was not measured.
    """
    if not learning_rate > 0:
        raise InputError(f"selector_options: learning_rate: must be above 0, got {learning_rate:g}")
    if most < 1:
        raise InputError(f"selector_options: most: must be at least 1, got {most}")
    if not 0 <= warm <= len(pool):
        raise InputError(f"selector_options: warm: must be from 0 to the {len(pool)} examples of the pool, got {warm}")
    targets = context.targets()
    if not targets:
        raise InputError("n_targets: oracle_loo measures the loss of target examples, and there is none")
    model = context.features.model
    if warm:
        model = context.tune([pool[row] for row in context.rng.permutation(len(pool))[:warm]])[-1].model
    scored = context.rng.permutation(len(pool))[:most]
    context.ledger.note("n_scored", len(scored))
    values = np.full(len(pool), np.nan)
    falls = _falls(pool, scored, targets, context, model, learning_rate)
    n_wrong = int((~np.isfinite(falls)).sum())
    if n_wrong:
        raise RunError(
            f"oracle_loo: the target loss is not finite after the step on {n_wrong} of {len(falls)} examples; "
            "a smaller learning_rate in selector_options may help"
        )
    values[scored] = falls
    return values


def _falls(
    pool: Sequence[Example],
    scored: np.ndarray,
    targets: Sequence[Example],
    context: SelectionContext,
    model: object,
    learning_rate: float,
) -> np.ndarray:
    """Return the fall of the mean target loss by one step on each scored example, in nats, shape (n_scored,)."""
    features = context.features
    encoded = features.encoded(pool)
    rows, target_rows = [encoded[row] for row in scored], features.encoded(targets)
    how = {"pad_id": features.pad_id, "dtype": features.dtype}
    names = trainable_without_embeddings(model)
    parameters = dict(model.named_parameters())
    weights = {name: parameters[name].detach() for name in names}
    before = mean_losses(model, {name: weight[None] for name, weight in weights.items()}, target_rows, **how)[0]
    after = np.zeros(len(rows))
    for positions, gradients in per_example_gradients(model, rows, names=names, **how):
        moved = {name: weights[name] - learning_rate * gradient for name, gradient in gradients.items()}
        after[positions] = mean_losses(model, moved, target_rows, **how)
    _count(context, rows, target_rows, sum(parameter.numel() for parameter in parameters.values()))
    return before - after


def _count(context: SelectionContext, rows: Sequence, target_rows: Sequence, n_parameters: int) -> None:
    n_tokens = sum(len(row.input_ids) for row in rows)
    n_target_tokens = sum(len(row.input_ids) for row in target_rows) * (1 + len(rows))
    context.ledger.backward("gradients of the scored examples", n_tokens=n_tokens, n_parameters=n_parameters)
    context.ledger.forward("targets before and after each", n_tokens=n_target_tokens, n_parameters=n_parameters)
