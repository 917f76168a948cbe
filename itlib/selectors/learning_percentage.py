"""Learning percentage: how much of what can be learned of an example the scorer learns in its first epoch.

P_e is the perplexity of a response, given its prompt, after epoch e of tuning the scorer on the whole pool; P_0 is from
before. What is learned late is hard. The exponential makes differences of perplexities heavy-tailed: they hang on the
P_0 of a few outliers; with ``logarithmic`` P is the loss instead.

Source: "Smaller Language Models are capable of selecting Instruction-Tuning Training Data for Larger Language Models"
(arXiv:2402.10430). Every cluster of the pool gives its share of the budget. The authors cut each cluster into 100 / p
pieces and take the first, which rounds up: where they ask for 1 % and a cluster has fewer than 100 examples it gives
one all the same, and of 1,000 clusters of Alpaca comes nearly twice what was asked for. Here largest remainders meet
the budget exactly. Their code also leaves tokens with a loss of exactly zero out of the mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from itlib.example import Example
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_subset
from itlib.selectors._options import within
from itlib.selectors.clusters import cluster, largest_remainder
from itlib.selectors.perplexity import finite_losses
from itlib.shards import table


@selectors.register("lp")
@by_subset
def lp(
    pool: Sequence[Example],
    budget: int,
    context: SelectionContext,
    *,
    n_clusters: int = 20,
    logarithmic: bool = False,
    hardest: bool = True,
) -> np.ndarray:
    """Take of every cluster the examples with the lowest LP(1) = (P_0 - P_1) / (P_0 - P_3), the hardest ones.

    It tunes the scorer for 3 epochs on the pool and runs it over the pool at three moments. An example on which
    nothing was learned has LP(1) = 0; ties are broken at random.

    Options:
        n_clusters: Clusters of k-means over mean embeddings; 0 ranks the pool as a whole. The paper has 1,000.
        logarithmic: P is the mean loss instead of its exponential.
        hardest: False takes the highest LP(1), the easiest examples.
    """
    within("n_clusters", n_clusters, 0, len(pool), " (the size of the pool)")
    before, first, last = (_scale(losses, logarithmic) for losses in _losses(pool, context, epochs=3))
    return _taken(pool, budget, context, learning_percentage(before, first, last), n_clusters, hardest)


@selectors.register("lp_app")
@by_subset
def lp_app(
    pool: Sequence[Example],
    budget: int,
    context: SelectionContext,
    *,
    n_clusters: int = 20,
    logarithmic: bool = False,
    hardest: bool = True,
) -> np.ndarray:
    """Take of every cluster the examples with the lowest (P_0 - P_1) / P_0, which approximates ``lp`` in one epoch.

    It tunes the scorer for 1 epoch on the pool and runs it over the pool at two moments.

    Options:
        n_clusters: Clusters of k-means over mean embeddings; 0 ranks the pool as a whole. The paper has 1,000.
        logarithmic: P is the mean loss instead of its exponential.
        hardest: False takes the highest values, the easiest examples.
    """
    within("n_clusters", n_clusters, 0, len(pool), " (the size of the pool)")
    before, first, _ = (_scale(losses, logarithmic) for losses in _losses(pool, context, epochs=1))
    return _taken(pool, budget, context, approximate_learning_percentage(before, first), n_clusters, hardest)


# ---- mathematics: arrays in, arrays out ---------------------------------------------------------------------


def learning_percentage(before: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return (P_0 - P_1) / (P_0 - P_n), shape (n,); 0 where nothing changed. It can be below 0 and above 1."""
    return _share(before - first, before - last)


def approximate_learning_percentage(before: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return (P_0 - P_1) / P_0, shape (n,)."""
    return _share(before - first, before)


def lowest_of_clusters(scores: np.ndarray, labels: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Return the ``budget`` rows that have the lowest scores of their clusters, lowest first; ties in random order.

    Args:
        scores: Shape (n,).
        labels: Cluster of every row, shape (n,); each gives in proportion to its size, by largest remainders.
        budget: At most n.
        rng: Breaks ties.
    """
    order = np.lexsort((rng.permutation(len(scores)), scores))
    sizes = np.bincount(labels)
    taken = np.zeros(len(scores), dtype=bool)
    for number, quota in enumerate(largest_remainder(sizes, budget, sizes)):
        taken[order[labels[order] == number][:quota]] = True
    return order[taken[order]]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole != 0)


# ---- the scorer ---------------------------------------------------------------------------------------------


def _losses(pool: Sequence[Example], context: SelectionContext, *, epochs: int) -> list[np.ndarray]:
    """Return the response losses of the pool before tuning, after the first epoch and after the last, each (n_pool,).

    They are kept on the disk: both ends of the ranking, and every execution of a notebook, read the same ones.
    """
    features = context.features
    tune = functools.cache(lambda: context.tune(pool, epochs=float(epochs), checkpoints=epochs))

    def after(epoch: int) -> np.ndarray:
        model = tune()[0 if epoch == 1 else -1].model
        return context.features_of(model, f"epoch {epoch} of {epochs}").conditional_losses(pool)

    @functools.cache
    def tuned() -> dict[str, np.ndarray]:
        return {"first": after(1), "last": after(epochs)}

    before = features.conditional_losses(pool)
    found = tuned() if not context.tuning else _kept(pool, context, epochs, tuned)
    if not tune.cache_info().currsize:
        _count(context, pool, epochs)
    return [finite_losses(losses) for losses in (before, found["first"], found["last"])]


def _kept(
    pool: Sequence[Example], context: SelectionContext, epochs: int, tuned: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return ``tuned()`` from the disk where it is there; nothing is tuned then."""
    address = context.features.address(f"learning percentage of {epochs} epochs {context.tuning}", pool)

    def part(rows: slice) -> dict[str, np.ndarray]:
        return {name: losses[rows] for name, losses in tuned().items()}

    return table(context.features.folder, address, len(pool), part)


def _count(context: SelectionContext, pool: Sequence[Example], epochs: int) -> None:
    """Take down what tuning and measuring cost when they were read from the disk."""
    n_tokens = sum(len(row.input_ids) for row in context.features.encoded(pool))
    size = {"n_parameters": context.features.n_parameters}
    context.ledger.backward("learning percentage, tuning", n_tokens=epochs * n_tokens, **size)
    for epoch in {1, epochs}:
        context.ledger.forward(f"learning percentage, epoch {epoch}", n_tokens=n_tokens, **size)


def _scale(losses: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Return P: the perplexity of every response, or its logarithm."""
    return losses if logarithmic else np.exp(losses)


def _taken(
    pool: Sequence[Example],
    budget: int,
    context: SelectionContext,
    learned: np.ndarray,
    n_clusters: int,
    hardest: bool,
) -> np.ndarray:
    labels = cluster(pool, context, n_clusters) if n_clusters else np.zeros(len(pool), dtype=np.int64)
    return lowest_of_clusters(learned if hardest else -learned, labels, budget, context.rng)
