"""Selection by clusters: "Diversify and Conquer", k-means with random, quality-weighted and iterated sampling.

Every budget is met exactly: shares become whole numbers by the method of largest remainders, where the public code
cuts ``budget / n_clusters`` down to a whole number per cluster, which for many clusters selects nothing at all.

Lloyd's algorithm needs the more iterations the more points there are, so that its time would grow faster than the pool.
Centres are therefore found on at most 2048 examples, or 20 per cluster, drawn at random; see ``k_means``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.errors import InputError
from itlib.example import Example
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_subset
from itlib.selectors._feedback import SCORES, lead_of_gold
from itlib.selectors._options import one_of, within
from itlib.selectors._vectors import pool_embeddings, squared_distances
from itlib.selectors.coverage import reference

QUALITIES = ("perplexity", "uniform", "clean")
RESTARTS = 4
MOST_ITERATIONS = 100
FEWEST_PER_CLUSTER = 20  # points that centres are found on, where the sample of coverage.py has fewer
SILHOUETTE_SAMPLE = 2000  # points; the silhouette needs all pairs
BLOCK = 512


@selectors.register("k_means_random")
@by_subset
def k_means_random(
    pool: Sequence[Example], budget: int, context: SelectionContext, *, n_clusters: int = 20
) -> np.ndarray:
    """Take a random sample of every cluster, as large as the cluster's share of the pool (section 2.1, kM-Random).

    Clusters are those of k-means over mean embeddings of instruction and response.

    Options:
        n_clusters: k; the paper wants it far below the budget.
    """
    labels = cluster(pool, context, n_clusters)
    return _proportional(labels, np.zeros(len(pool)), budget, context)


@selectors.register("kmq")
@by_subset
def kmq(
    pool: Sequence[Example],
    budget: int,
    context: SelectionContext,
    *,
    n_clusters: int = 20,
    quality: str = "perplexity",
) -> np.ndarray:
    """Take of every cluster its share of the budget, good examples with higher probability (section 2.1, kMQ).

    The paper draws with replacement, in proportion to the quality; a training set has no use for the same example
    twice, so this draws without.

    Options:
        n_clusters: k.
        quality: What probabilities are proportional to. "perplexity" is 1 / PPL(A|Q) under the scorer, the softmax of
            the mean log-likelihood; "uniform" makes all alike; "clean" is an oracle that knows which examples are not
            corrupted, and takes others, counted as back-fill, only where a cluster has too few.
    """
    log_quality = log_qualities(pool, context, quality)
    return _proportional(cluster(pool, context, n_clusters), log_quality, budget, context)


@selectors.register("iterative_kmq")
@by_subset
def iterative_kmq(
    pool: Sequence[Example],
    budget: int,
    context: SelectionContext,
    *,
    n_clusters: int = 20,
    quality: str = "perplexity",
    score: str = "perplexity",
    n_rounds: int = 3,
) -> np.ndarray:
    """Take the budget in rounds, each time moving towards clusters that training on the last rounds left unlearned.

    Section 2.2, algorithm 1: all clusters start with the same weight. After each round a fresh scorer is tuned for one
    epoch on all that has been taken, answers the same instructions, and cluster j is scored by the mean s_j of
    score(gold) - score(answer) over what was taken of it; its weight is multiplied by s_j / sum of all s (equation 6).
    A cluster of which nothing was taken has the mean score of the others. Scores below 0 count as 0; if none is above,
    weights stay. The public code draws from exp(s) alone, forgets the weights of the round before, and divides the
    budget by the number of clusters once too often.

    Options:
        n_clusters: k.
        quality: How examples of one cluster are drawn, as in ``kmq``.
        score: "perplexity": ln PPL(gold) - ln PPL(answer) of the responses under the tuned scorer (equation 7);
            "agreement": 1 where the answer is not exactly the gold one, else 0.
        n_rounds: Rounds of the same size; the paper has 3.
    """
    one_of("score", score, SCORES)
    within("n_rounds", n_rounds, 1)
    log_quality = log_qualities(pool, context, quality)
    labels = cluster(pool, context, n_clusters)
    weights = np.full(n_clusters, 1.0 / n_clusters)
    chosen = np.empty(0, dtype=np.int64)
    sizes = [size for size in largest_remainder(np.ones(n_rounds), budget, np.full(n_rounds, budget)) if size]
    for turn, size in enumerate(sizes):
        if turn:
            lead = lead_of_gold([pool[row] for row in chosen], context, score, f"after round {turn}")
            weights = reweighted(weights, labels[chosen], lead)
        left = np.setdiff1d(np.arange(len(pool)), chosen)
        quotas = largest_remainder(weights, int(size), np.bincount(labels[left], minlength=n_clusters))
        found, _ = sample(log_quality[left], labels[left], quotas, context.rng)
        chosen = np.concatenate([chosen, left[found]])
    context.ledger.note("n_backfilled", int(np.isneginf(log_quality[chosen]).sum()))
    context.ledger.note("n_clusters_left", int((weights > 0).sum()))
    return chosen


def _proportional(labels: np.ndarray, log_quality: np.ndarray, budget: int, context: SelectionContext) -> np.ndarray:
    sizes = np.bincount(labels)
    chosen, n_backfilled = sample(log_quality, labels, largest_remainder(sizes, budget, sizes), context.rng)
    context.ledger.note("n_backfilled", n_backfilled)
    return chosen


def cluster(pool: Sequence[Example], context: SelectionContext, n_clusters: int) -> np.ndarray:
    """Return the cluster of every example, shape (n_pool,), and note the silhouette, by which the paper chooses k."""
    within("n_clusters", n_clusters, 1, len(pool), " (the size of the pool)")
    points = pool_embeddings(context.features, pool, "mean")
    labels, _ = k_means(points, n_clusters, context.rng)
    seen = context.rng.permutation(len(pool))[:SILHOUETTE_SAMPLE]
    if len(np.unique(labels[seen])) > 1:
        context.ledger.note("silhouette", silhouette(points[seen], labels[seen]))
    return labels


def log_qualities(pool: Sequence[Example], context: SelectionContext, quality: str) -> np.ndarray:
    """Return the logarithm of every example's quality up to a constant, shape (n_pool,); see ``kmq``."""
    one_of("quality", quality, QUALITIES)
    if quality == "uniform":
        return np.zeros(len(pool))
    if quality == "clean":
        return np.where([example.noise == "none" for example in pool], 0.0, -np.inf)
    losses = context.features.conditional_losses(pool)
    if not np.isfinite(losses).all():
        raise InputError("quality: the scorer's losses are not finite; choose another scorer or quality=uniform")
    return -losses


def reweighted(weights: np.ndarray, labels: np.ndarray, lead: np.ndarray) -> np.ndarray:
    """Return the weights of clusters after a round: w_j s_j / sum of s, scaled to sum 1 (equations 5 and 6).

    Args:
        weights: Shape (n_clusters,), not negative.
        labels: Clusters of the examples that were scored.
        lead: score(gold) - score(answer) of each of them.
    """
    counts = np.bincount(labels, minlength=len(weights))
    means = np.bincount(labels, lead, minlength=len(weights)) / np.maximum(counts, 1)
    means = np.maximum(np.where(counts > 0, means, means[counts > 0].mean()), 0.0)
    if (weights * means).sum() <= 0:
        return weights
    return weights * means / (weights * means).sum()


def sample(
    log_weights: np.ndarray, labels: np.ndarray, quotas: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Draw examples of every cluster without replacement, each time in proportion to the weights that are left.

    The highest sums of a log-weight and Gumbel noise are such a sample. Examples of weight 0 come only when a cluster
    has nothing else, in random order.

    Returns:
        Rows in random order among clusters, ``quotas[j]`` of cluster j, and how many of them have weight 0.
    """
    keys = log_weights + rng.gumbel(size=len(log_weights))
    order = np.lexsort((rng.permutation(len(keys)), -keys))
    taken = np.zeros(len(keys), dtype=bool)
    for number, quota in enumerate(quotas):
        taken[order[labels[order] == number][:quota]] = True
    rows = order[taken[order]]
    return rows, int(np.isneginf(log_weights[rows]).sum())


def largest_remainder(shares: np.ndarray, total: int, capacity: np.ndarray) -> np.ndarray:
    """Return whole numbers in proportion to ``shares`` that sum to ``total`` exactly, none above its capacity.

    What a full one cannot take goes to the others in proportion to their shares, and when those with a share are full,
    to the rest in proportion to their capacity.

    Args:
        shares: Shape (n,), not negative; their scale does not matter.
        total: At most the sum of the capacities.
        capacity: Shape (n,), whole numbers.

    Raises:
        ValueError: The capacities do not hold ``total``.
    """
    capacity = np.asarray(capacity, dtype=np.int64)
    if capacity.sum() < total:
        raise ValueError(f"a total of {total} exceeds the capacity of {capacity.sum()}")
    wanted = np.zeros(len(capacity))
    open_, rest = capacity > 0, float(total)
    while open_.any():
        pull = np.where(open_, shares, 0.0)
        pull = pull if pull.sum() > 0 else np.where(open_, capacity, 0.0)
        part = rest * pull / pull.sum()
        full = open_ & (part > capacity)
        if not full.any():
            wanted[open_] = part[open_]
            break
        wanted[full] = capacity[full]
        rest -= float(capacity[full].sum())
        open_ &= ~full
    quotas = np.floor(wanted + 1e-9).astype(np.int64)
    remainders = np.where(quotas < capacity, np.round(wanted - quotas, 9), -1.0)
    quotas[np.argsort(-remainders, kind="stable")[: total - quotas.sum()]] += 1
    return quotas


def k_means(
    points: np.ndarray, k: int, rng: np.random.Generator, *, n_restarts: int = RESTARTS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the clusters of k-means: the best of several runs of Lloyd's algorithm from k-means++ starts.

    Of more than 2048 points, or 20 ``k`` if that is more, the runs see a random sample of that size, whose mean squared
    distance to given centres is an unbiased estimate of that of all. Then all points go to the nearest centre, once.

    Args:
        points: Shape (n_points, width), at least ``k`` of them.
        k: Number of clusters; none stays empty, even where there are fewer different points.
        rng: Draws the starts.
        n_restarts: Runs; the one with the lowest sum of squared distances is returned.

    Returns:
        Labels, shape (n_points,), and centres, shape (k, width), the means of the points with their label.
    """
    middle = points.mean(axis=0)
    centred = np.asarray(points, dtype=np.float64) - middle
    rows = reference(len(points), rng, FEWEST_PER_CLUSTER * k)
    seen = centred if rows is None else centred[rows]
    best_cost, best = np.inf, None
    for _ in range(n_restarts):
        labels, centres = _lloyd(seen, seen[_starts(seen, k, rng)], MOST_ITERATIONS)
        cost = float(((seen - centres[labels]) ** 2).sum())
        if cost < best_cost:
            best_cost, best = cost, (labels, centres)
    best = best if rows is None else _lloyd(centred, best[1], 1)
    return best[0], best[1] + middle


def _starts(points: np.ndarray, k: int, rng: np.random.Generator) -> list[int]:
    """Return k different rows, each drawn in proportion to its squared distance from those before (k-means++)."""
    rows = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    while len(rows) < k:
        nearest = np.minimum(nearest, ((points - points[rows[-1]]) ** 2).sum(axis=1))
        nearest[rows[-1]] = 0.0
        if nearest.sum() > 0:
            rows.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        else:
            rows.append(int(rng.choice(np.setdiff1d(np.arange(len(points)), rows))))
    return rows


def _lloyd(points: np.ndarray, centres: np.ndarray, n_iterations: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full(len(points), -1)
    for _ in range(n_iterations):
        distances = squared_distances(points, centres)
        found = _none_empty(distances.argmin(axis=1), distances)
        if np.array_equal(found, labels):
            break
        labels = found
        members = np.eye(len(centres))[labels]
        centres = members.T @ points / members.sum(axis=0)[:, None]
    return labels, centres


def _none_empty(labels: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Give each cluster without a point the point farthest from its own centre, of clusters that keep another."""
    sizes = np.bincount(labels, minlength=distances.shape[1])
    own = distances[np.arange(len(labels)), labels]
    for empty in np.flatnonzero(sizes == 0):
        moved = int(np.where(sizes[labels] > 1, own, -1.0).argmax())
        sizes[labels[moved]] -= 1
        labels[moved], sizes[empty] = empty, 1
    return labels


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean silhouette of a clustering, in [-1, 1] (Rousseeuw 1987); a point alone in its cluster counts 0.

    Raises:
        ValueError: Fewer than two clusters.
    """
    names, labels = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError("the silhouette needs two clusters")
    points = points - points.mean(axis=0)
    members = np.eye(len(names))[labels]
    sizes = members.sum(axis=0)
    found = np.zeros(len(points))
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        distances = np.sqrt(squared_distances(points[rows], points))
        distances[np.arange(len(rows)), rows] = 0.0
        totals = distances @ members
        here = np.arange(len(rows)), labels[rows]
        inside = totals[here] / np.maximum(sizes[labels[rows]] - 1, 1)
        means = totals / sizes
        means[here] = np.inf
        outside = means.min(axis=1)
        apart = np.where(np.maximum(inside, outside) > 0, np.maximum(inside, outside), 1.0)
        found[rows] = np.where(sizes[labels[rows]] > 1, (outside - inside) / apart, 0.0)
    return float(found.mean())
