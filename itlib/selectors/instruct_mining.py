"""Selection by a linear rule for the loss after tuning, fitted to many small tunings (InstructMining)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.example import Example
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_score
from itlib.selectors._options import within
from itlib.selectors._targets import aims
from itlib.selectors._vectors import pool_embeddings, squared_distances
from itlib.selectors.coverage import reference
from itlib.selectors.perplexity import finite_losses

INDICATORS = ("response_length", "conditional_loss", "unconditional_loss", "knn_6", "instruction_length")
N_NEIGHBOURS = 6
FEWEST_SUBSETS = len(INDICATORS) + 3  # leaving one out, there is one more than the rule has coefficients
TILT = 1.0
BLOCK = 512


@selectors.register("instruct_mining", version=2)
@by_score
def instruct_mining(
    pool: Sequence[Example], context: SelectionContext, *, n_subsets: int = 30, subset_size: int = 64
) -> np.ndarray:
    """Score examples by the loss that a linear rule of their indicators predicts; the lowest loss comes first.

    A fresh scorer is tuned for one epoch on each of ``n_subsets`` subsets of the pool, and its mean loss on the target
    examples is measured. Least squares of that loss on the means of five indicators over the subset give the rule:
    tokens of the response, L(A|Q), L(A), mean distance to the 6 nearest neighbours (Knn_6), tokens of the instruction.
    Half of the subsets are random. The other half are mixed: drawn with weights exp(z . u) for standardised indicators
    z and a random direction u of length 1, because means of random subsets hardly differ. ``leave_one_out_r2`` tells
    what the rule is worth: at 0 or below it predicts no better than the mean, and the selection means nothing.
    In a pool of more than 2048 examples neighbours are looked for among 2048 random ones, so that time grows in
    proportion to the pool. They are farther off than the nearest of all, everywhere, which the slope of the rule makes
    good; a copy counts only if it is in the sample.

    Source: "Instruction Mining" (arXiv:2307.06290), whose rules for log loss have signs of their own: version 1
    1.0694 - 0.1498 Rew + 8.257e-5 Len - 0.9350 Knn_6. Rewards and a chooser of the size are left out.

    Args:
        pool: Candidates.
        context: Targets and the scorer.
        n_subsets: Tunings that the rule is fitted to.
        subset_size: Examples per subset, at most half of the pool.
    """
    within("n_subsets", n_subsets, FEWEST_SUBSETS)
    within("subset_size", subset_size, 1, max(1, len(pool) // 2), " (half of the pool)")
    targets = aims(context)
    indicators = measured_indicators(pool, context)
    subsets = drawn_subsets(indicators, n_subsets, subset_size, context.rng)
    losses = []
    for number, rows in enumerate(subsets):
        model = context.tune([pool[row] for row in rows], epochs=1.0)[-1].model
        features = context.features_of(model, f"tuned on subset {number}")
        losses.append(finite_losses(features.conditional_losses(targets)).mean())
    means = np.stack([indicators[rows].mean(axis=0) for rows in subsets])
    rule = fit_rule(means, np.array(losses))
    context.ledger.note("leave_one_out_r2", leave_one_out_r2(means, np.array(losses)))
    for name, slope in zip(INDICATORS, rule[1:], strict=True):
        context.ledger.note(f"slope_{name}", float(slope))
    return -predicted(rule, indicators)


def measured_indicators(pool: Sequence[Example], context: SelectionContext) -> np.ndarray:
    """Return the indicators of every example in the order of ``INDICATORS``, shape (n_pool, 5), float64."""
    losses = context.features.losses(pool)
    vectors = pool_embeddings(context.features, pool, "mean")
    return np.column_stack(
        [
            losses.n_response_tokens,
            finite_losses(losses.conditional),
            finite_losses(losses.unconditional),
            neighbour_distance(vectors, N_NEIGHBOURS, reference(len(pool), context.rng)),
            losses.n_prompt_tokens,
        ]
    ).astype(np.float64)


# ---- mathematics: arrays in, arrays out ---------------------------------------------------------------------


def neighbour_distance(points: np.ndarray, k: int, among: np.ndarray | None = None) -> np.ndarray:
    """Return the mean Euclidean distance of every point to its k nearest others, or to all if they are fewer.

    Shape (n_points,); 0 for a point without others.

    Args:
        points: Shape (n_points, width).
        k: Number of neighbours.
        among: Different rows that neighbours are taken from, never the point itself; None is all.
    """
    points = points - points.mean(axis=0)
    among = np.arange(len(points)) if among is None else np.sort(among)
    others = points[among]
    k = min(k, len(among) - 1)
    found = np.zeros(len(points))
    for start in range(0, len(points) if k else 0, BLOCK):
        stop = min(start + BLOCK, len(points))
        squares = squared_distances(points[start:stop], others)
        here = np.arange(*np.searchsorted(among, [start, stop]))
        squares[among[here] - start, here] = np.inf
        found[start:stop] = np.sqrt(np.partition(squares, k - 1, axis=1)[:, :k]).mean(axis=1)
    return found


def drawn_subsets(indicators: np.ndarray, n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return n subsets of ``size`` different rows each: random and mixed ones in turn, beginning with a random one."""
    scaled, _, _ = _standardised(indicators)
    subsets = []
    for number in range(n):
        tilt = np.zeros(len(scaled))
        if number % 2:
            direction = rng.normal(size=scaled.shape[1])
            tilt = TILT * (scaled @ (direction / np.linalg.norm(direction)))
        keys = tilt + rng.gumbel(size=len(scaled))  # the highest are a sample without replacement, weights exp(tilt)
        subsets.append(np.argsort(-keys, kind="stable")[:size])
    return subsets


def fit_rule(indicators: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return intercept and slopes of the least squares of losses on indicators, shape (1 + n_indicators,).

    Columns are standardised for the fit, so that their units decide nothing even where it is not unique: of equally
    good rules it is the one with the smallest slopes per standard deviation. A constant column has slope 0.

    Args:
        indicators: Shape (n_subsets, n_indicators).
        losses: Shape (n_subsets,).
    """
    scaled, middle, spread = _standardised(indicators)
    centre = losses.mean()
    slopes = np.linalg.lstsq(scaled, losses - centre, rcond=1e-10)[0] / spread
    return np.concatenate([[centre - slopes @ middle], slopes])


def predicted(rule: np.ndarray, indicators: np.ndarray) -> np.ndarray:
    """Return the losses that a rule predicts, shape (n,)."""
    return rule[0] + indicators @ rule[1:]


def leave_one_out_r2(indicators: np.ndarray, losses: np.ndarray) -> float:
    """Return 1 - the squared errors of rules fitted without each subset over those of the mean without it.

    1 is a perfect rule, and one that predicts no better than the mean of the others is at 0 or below. Losses without
    any difference give 0.
    """
    errors, spread = 0.0, 0.0
    for left in range(len(losses)):
        others = np.arange(len(losses)) != left
        rule = fit_rule(indicators[others], losses[others])
        errors += float((losses[left] - predicted(rule, indicators[left : left + 1])[0]) ** 2)
        spread += float((losses[left] - losses[others].mean()) ** 2)
    return 1.0 - errors / spread if spread > 0 else 0.0


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns with mean 0 and standard deviation 1, their means and deviations; constant ones become 0."""
    middle, spread = values.mean(axis=0), values.std(axis=0)
    varied = spread > 1e-12 * np.maximum(np.abs(middle), 1e-300)
    spread = np.where(varied, spread, 1.0)
    return np.where(varied, (values - middle) / spread, 0.0), middle, spread
