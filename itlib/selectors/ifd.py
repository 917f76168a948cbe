"""Instruction-following difficulty: how much an instruction helps the scorer to predict its response.

L(A|Q) is the mean loss of the response after its prompt, L(A) that of the same tokens after a neutral prefix, L(Q) that
of the prompt. Two scores go by the same name and order examples differently: a ratio of losses and one of perplexities.
Close to 1 the instruction hardly helps, above 1 it misleads: instruction and response do not belong together.

The public codes find the response by a search in the text and measure the prompt by encoding it again; here masks are
by token index. That of Superfiltering leaves the first response token out of L(A) and not out of L(A|Q), so a response
of one token has no score, and turns any error into score 0; here both count all T response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from itlib.errors import InputError
from itlib.example import Example
from itlib.features import Losses
from itlib.registry import selectors
from itlib.selectors import Scores, SelectionContext, by_score, by_subset
from itlib.selectors._vectors import pool_embeddings, squared_distances, unit
from itlib.selectors.coverage import facility_location, reference
from itlib.selectors.perplexity import finite_losses

BLOCK = 512


@selectors.register("ifd_loss", version=2)
@by_score
def ifd_loss(pool: Sequence[Example], context: SelectionContext) -> Scores:
    """Score examples by L(A|Q) / L(A); higher comes first, what is above 1 is left out and what is exactly 1 is not.

    Source: "From Quantity to Quality" (Cherry LLM, arXiv:2308.12032), whose scorer is first tuned on 1,000 examples
    (here ``scorer: warm-N``); its second version takes the base. There a budget is a share of what survives the filter,
    and a template unknown to the scorer can leave nothing; here the budget is met exactly, and ``n_filtered`` tells how
    many examples are above 1.
    """
    ratio = ratio_of_losses(*_response_losses(pool, context))
    return Scores(ratio, _filtered(~(ratio <= 1.0), context))


@selectors.register("ifd_ppl", version=2)
@by_score
def ifd_ppl(pool: Sequence[Example], context: SelectionContext) -> Scores:
    """Score examples by PPL(A|Q) / PPL(A); higher comes first, what is not below 1 is left out.

    Source: "Superfiltering" (arXiv:2402.00530), whose scorer is far smaller than the model that is tuned (here
    ``scorer``). Its code takes a share of 52,002 examples whatever the size of the pool.
    """
    ratio = ratio_of_perplexities(*_response_losses(pool, context))
    return Scores(ratio, _filtered(~(ratio < 1.0), context))


@selectors.register("ic_ifd", version=2)
@by_score
def ic_ifd(pool: Sequence[Example], context: SelectionContext) -> np.ndarray:
    """Score examples by L(A|Q) / (L(Q) L(A)); higher comes first, so improbable instructions come late.

    Source: "Smaller Language Models Are Better Instruction Evolvers" (arXiv:2412.11231). Nothing is filtered out. One
    of its scripts divides by L(Q) as the paper does, the one that writes the ranking multiplies by it; beyond batches
    of one it would score padding. The score is in 1/nats: it ranks examples under one scorer and is not for comparing
    scorers.
    """
    losses = _losses(pool, context)
    return instruction_aware(losses.instruction, losses.conditional, losses.unconditional)


@selectors.register("superfiltering_diverse", version=2)
@by_subset
def superfiltering_diverse(
    pool: Sequence[Example], budget: int, context: SelectionContext, *, share: float = 0.2
) -> np.ndarray:
    """Of the examples with the highest ``ifd_ppl`` take those to which the others of them are most similar.

    Source: "Superfiltering" (arXiv:2402.00530), variant D: the best 20 % of the pool, then greedy facility location to
    the budget. Candidates are at least as many as the budget, so from a fifth of the pool on this is ``ifd_ppl``.
    Similarity is exp(-d / width) with d the Euclidean distance between mean embeddings scaled to length 1, the kernel
    of the library that the authors use. They embed with a sentence encoder, here the scorer's last layer serves.

    Of more than 2048 candidates, similarity to 2048 random ones of them counts, while any may be taken: the mean over a
    sample is an unbiased estimate of the mean over all, and time and memory grow in proportion to the candidates.

    Options:
        share: Part of the pool that facility location chooses from, in (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"selector_options: share: must be greater than 0 and at most 1, got {share:g}")
    losses = _losses(pool, context)
    ratio = ratio_of_perplexities(losses.conditional, losses.unconditional)
    filtered = _filtered(~(ratio < 1.0), context)
    n_kept = len(pool) - int(filtered.sum())
    context.ledger.note("n_backfilled", max(0, budget - n_kept))
    n_candidates = max(budget, min(round(share * len(pool)), n_kept))
    candidates = np.lexsort((context.rng.permutation(len(pool)), -ratio, filtered))[:n_candidates]
    vectors = unit(pool_embeddings(context.features, pool, "mean"))[candidates]
    similarity = exponential_similarity(vectors, reference(n_candidates, context.rng))
    return candidates[facility_location(similarity, budget)]


# ---- mathematics: arrays in, arrays out ---------------------------------------------------------------------


def ratio_of_losses(conditional: np.ndarray, unconditional: np.ndarray) -> np.ndarray:
    """Return L(A|Q) / L(A), shape (n,); NaN where L(A) is 0: what the scorer is sure of cannot get easier."""
    return _quotient(conditional, unconditional)


def ratio_of_perplexities(conditional: np.ndarray, unconditional: np.ndarray) -> np.ndarray:
    """Return PPL(A|Q) / PPL(A) = exp(L(A|Q) - L(A)), shape (n,)."""
    return np.exp(np.minimum(conditional - unconditional, 700.0))


def instruction_aware(instruction: np.ndarray, conditional: np.ndarray, unconditional: np.ndarray) -> np.ndarray:
    """Return L(A|Q) / (L(Q) L(A)) in 1/nats, shape (n,); NaN where L(Q) or L(A) is 0."""
    return _quotient(conditional, instruction * unconditional)


def exponential_similarity(vectors: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Return exp(-d / width) of n vectors with all of them or those in ``rows``, d their Euclidean distance.

    Shape (n, n), or (n, n_rows) in single precision.
    """
    if rows is None:
        distances = np.sqrt(squared_distances(vectors, vectors))
        np.fill_diagonal(distances, 0.0)  # which rounding makes as large as 1e-8
        return np.exp(-distances / vectors.shape[1])
    found = np.empty((len(vectors), len(rows)), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        distances = np.sqrt(squared_distances(vectors[start : start + BLOCK], vectors[rows]))
        found[start : start + BLOCK] = np.exp(-distances / vectors.shape[1])
    found[rows, np.arange(len(rows))] = 1.0
    return found


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def _losses(pool: Sequence[Example], context: SelectionContext) -> Losses:
    losses = context.features.losses(pool)
    for part in (losses.instruction, losses.conditional, losses.unconditional):
        finite_losses(part)
    return losses


def _response_losses(pool: Sequence[Example], context: SelectionContext) -> tuple[np.ndarray, np.ndarray]:
    conditional, unconditional = context.features.response_losses(pool)
    return finite_losses(conditional), finite_losses(unconditional)


def _filtered(excluded: np.ndarray, context: SelectionContext) -> np.ndarray:
    context.ledger.note("n_filtered", int(excluded.sum()))
    return excluded
