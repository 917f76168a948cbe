"""Nuggets: examples that help as the one demonstration before others.

Source: One-Shot Learning as Instruction Data Prospector for Large Language Models (Li et al., ACL 2024,
arXiv:2312.10302).
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.errors import InputError
from itlib.example import Example
from itlib.features import Features
from itlib.registry import selectors
from itlib.selectors import SelectionContext, by_score
from itlib.selectors._options import within
from itlib.selectors._vectors import pool_embeddings
from itlib.selectors.clusters import k_means
from itlib.shards import table
from itlib.template import Encoded, stop_token_id
from itlib.train import autocast, pad_right

SECOND_SHARE = 0.2  # of the candidates, those that the second stage looks at
BATCH_TOKENS = 2048  # tokens whose keys and values are held at once; what fits a cache is faster on a CPU
ROUNDING = 1e-5  # of a log-likelihood, or nats below 1; what batches of another shape can make of equal ones


@dataclass(frozen=True, eq=False)
class Joinable:
    """Examples as token rows that can stand one behind the other.

    A joined row is ``prefixes[i]`` and then ``suffixes[j]``; anchor j without a demonstration is ``start`` and then
    ``suffixes[j]``.

    Attributes:
        start: What every row begins with, once: the bos token where the rows have one, else nothing.
        prefixes: Per example: start, separator, and its row up to the token that ends it.
        suffixes: Per example: separator and its row.
        masks: Per suffix, True where a token is part of a response.
    """

    start: np.ndarray
    prefixes: list[np.ndarray]
    suffixes: list[np.ndarray]
    masks: list[np.ndarray]


@selectors.register("nuggets")
@by_score
def nuggets(
    pool: Sequence[Example], context: SelectionContext, *, n_anchors: int = 10, second_stage: int = 50
) -> np.ndarray:
    """Score an example by the share of anchors whose response it makes more likely as their one demonstration.

    Golden score of Nuggets: over anchors j the mean of 1[log p(A_j | Q_i, A_i, Q_j) > log p(A_j | Q_j)],
    strictly, with sums over response tokens; higher comes first. Anchors are the examples nearest to the centres of
    k-means over mean embeddings. A likelihood that moves by less than rounding has not moved.

    Two stages approximate the method where the pool is large: a few anchors for all candidates, then more of them for
    the best fifth, which scores 1 plus its second golden score and so is not passed by the rest.

    The public code gives a bos token to demonstrations but not to anchors alone, puts nothing between demonstration and
    anchor, cuts anchors at 200 tokens while dividing by their whole length, and pools padding into embeddings. Here the
    same separator, the token that ends a turn, stands before an anchor with and without a demonstration, nothing is
    cut, and padding never counts. What does not fit into the scorer's context together with the longest anchor has no
    score and is noted as ``n_unscored``. An anchor is its own candidate, too.

    Options:
        n_anchors: Anchors for all candidates; no more than the pool has examples that fit twice into the context.
        second_stage: Anchors for the best fifth, under the same limit; 0 leaves it at one stage.
    """
    within("n_anchors", n_anchors, 1)
    within("second_stage", second_stage, 0)
    rows = joinable(context.features, pool)
    longest = context_length(context.features.model)
    points = pool_embeddings(context.features, pool, "mean")
    twice = [i for i in range(len(pool)) if len(rows.prefixes[i]) + len(rows.suffixes[i]) <= longest]
    if not twice:
        raise InputError(f"nuggets: no two examples fit into the {longest} positions of the scorer; choose another one")
    able = np.array(twice)
    first, second = (able[medoids(points[able], min(n, len(able)), context.rng)] for n in (n_anchors, second_stage))
    room = longest - max(len(rows.suffixes[j]) for j in [*first, *second])
    candidates = np.array([i for i, prefix in enumerate(rows.prefixes) if len(prefix) <= room], dtype=np.int64)
    context.ledger.note("n_unscored", len(pool) - len(candidates))
    context.ledger.note("n_anchors", len(first))
    values = np.full(len(pool), np.nan)
    values[candidates] = _stage(rows, candidates, first, context)
    if second_stage:
        shuffled = context.rng.permutation(candidates)
        order = shuffled[np.argsort(-values[shuffled], kind="stable")]
        best = order[: math.ceil(SECOND_SHARE * len(order))]
        values[best] = 1.0 + _stage(rows, best, second, context)
    return values


# ---- mathematics: arrays in, arrays out ---------------------------------------------------------------------


def golden_scores(one_shot: np.ndarray, zero_shot: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the share of anchors that each demonstration makes strictly more likely, shape (n_candidates,).

    Args:
        one_shot: Log-likelihoods of anchors after a demonstration in nats, shape (n_candidates, n_anchors).
        zero_shot: The same without a demonstration, shape (n_anchors,).
        rounding: By how much a likelihood must rise at least, shape (n_anchors,) or one number.
    """
    return (one_shot - zero_shot[None, :] > rounding).mean(axis=1)


def medoids(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows nearest to the centre of their cluster, one per cluster of k-means, shape (k,)."""
    if not k:
        return np.zeros(0, dtype=np.int64)
    labels, centres = k_means(points, k, rng)
    distances = ((points - centres[labels]) ** 2).sum(axis=1)
    return np.array([np.where(labels == c, distances, np.inf).argmin() for c in range(k)], dtype=np.int64)


# ---- token rows and the model -------------------------------------------------------------------------------


def joinable(features: Features, examples: Sequence[Example]) -> Joinable:
    """Return examples as rows that can be joined; the separator is the stop token of the chat template."""
    return join(features.encoded(examples), stop_token_id(features.tokenizer), features.tokenizer.bos_token_id)


def join(rows: Sequence[Encoded], separator: int, bos: int | None) -> Joinable:
    """Return token rows that can be joined: bos once, at the very start, and ``separator`` before every example."""
    begins = [bos is not None and row.input_ids[0] == bos for row in rows]
    start = np.array([bos] if any(begins) else [], dtype=np.int32)
    between = np.array([separator], dtype=np.int32)
    bodies = [row.input_ids[int(has_bos) :] for row, has_bos in zip(rows, begins, strict=True)]
    masks = [row.response_mask[int(has_bos) :] for row, has_bos in zip(rows, begins, strict=True)]
    return Joinable(
        start=start,
        prefixes=[np.concatenate([start, between, body[:-1]]) for body in bodies],  # the next separator ends it
        suffixes=[np.concatenate([between, body]) for body in bodies],
        masks=[np.concatenate([[False], mask]) for mask in masks],
    )


def context_length(model: Any) -> int:
    """Return how many positions a model was built for; no limit where its config names none."""
    known = (getattr(model.config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len"))
    return next((value for value in known if isinstance(value, int) and value > 0), sys.maxsize)


def log_likelihoods(
    model: Any,
    prefixes: Sequence[np.ndarray],
    suffixes: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    pad_id: int,
    dtype: str,
    batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """Return the log-likelihood of the marked tokens of every suffix after every prefix, in nats.

    The keys and values of a prefix are computed once for all suffixes. Prefixes of the same length share a batch, so
    none is padded; suffixes are padded on the right, where a causal model does not look.

    Args:
        model: A causal language model in evaluation mode.
        prefixes: Token rows; one may be empty.
        suffixes: Token rows that follow; their first token is not marked.
        masks: Per suffix, True where a token counts.
        pad_id: Token id for padding.
        dtype: Precision of the forward pass; sums are in float64.
        batch_tokens: Tokens whose keys and values are held at once; a single pair of rows may exceed it.

    Returns:
        Array of shape (n_prefixes, n_suffixes), float64.
    """
    import torch

    lengths = np.array([len(prefix) for prefix in prefixes])
    result = np.zeros((len(prefixes), len(suffixes)))
    device = next(model.parameters()).device
    with torch.inference_mode(), autocast(device, dtype):
        for length in np.unique(lengths):
            groups = micro_batches([length + len(suffix) for suffix in suffixes], batch_tokens)
            largest = max(len(group) * (length + len(suffixes[group[0]])) for group in groups)
            for chunk in _chunks(np.flatnonzero(lengths == length), max(1, batch_tokens // largest)):
                cache = _cache(model, np.stack([prefixes[i] for i in chunk]), device)
                for group in groups:
                    ids = pad_right([suffixes[j] for j in group], pad_id)
                    marked = pad_right([masks[j] for j in group], 0).astype(bool)
                    result[np.ix_(chunk, group)] = _continued(model, cache, len(chunk), ids, marked)
    return result


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


def _cache(model: Any, prefixes: np.ndarray, device: Any) -> Any:
    """Return the keys and values of prefixes, shape (n_prefixes, length), or None if they are empty."""
    import torch

    if not prefixes.shape[1]:
        return None
    ids = torch.as_tensor(prefixes.astype(np.int64), device=device)
    first = torch.zeros(1, dtype=torch.long, device=device)  # no logits are needed, but none cannot be asked for
    return model(input_ids=ids, use_cache=True, **_kept(model, first)).past_key_values


def _continued(model: Any, cache: Any, n_prefixes: int, ids: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of the marked tokens of every row after every prefix, shape (n_prefixes, n_rows).

    The cache stays as it is: a forward pass would add to it.
    """
    import torch

    device = next(model.parameters()).device
    tokens = torch.as_tensor(np.tile(ids, (n_prefixes, 1)), device=device)
    columns = np.flatnonzero(marked[:, 1:].any(axis=0))  # a token is predicted one column before its own
    keep = torch.as_tensor(columns, device=device)
    past = {"use_cache": False}
    if cache is not None:
        expanded = copy.deepcopy(cache)
        expanded.batch_repeat_interleave(len(ids))
        past = {"past_key_values": expanded, "use_cache": True}
    kept = _kept(model, keep)
    logits = model(input_ids=tokens, **past, **kept).logits
    logits = logits if kept else logits[:, keep]
    log_probabilities = torch.log_softmax(logits.float(), dim=-1)
    found = log_probabilities.gather(2, tokens[:, keep + 1, None])[..., 0].double().cpu().numpy()
    return np.where(marked[:, columns + 1], found.reshape(n_prefixes, len(ids), -1), 0.0).sum(axis=2)


def _kept(model: Any, columns: Any) -> dict[str, Any]:
    """Return the argument that keeps the head of the model to some columns, or nothing where it has none."""
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {"logits_to_keep": columns} if "logits_to_keep" in inspect.signature(network.forward).parameters else {}


def _stage(rows: Joinable, candidates: np.ndarray, anchors: np.ndarray, context: SelectionContext) -> np.ndarray:
    """Return the golden scores of candidates over anchors, both given as rows of the pool, shape (n_candidates,)."""
    features = context.features
    suffixes, masks = [rows.suffixes[j] for j in anchors], [rows.masks[j] for j in anchors]
    prefixes = [rows.prefixes[i] for i in candidates]
    how = {"pad_id": features.pad_id, "dtype": features.dtype}
    zero_shot = log_likelihoods(features.model, [rows.start], suffixes, masks, **how)[0]
    n_anchor_tokens = sum(map(len, suffixes))
    n_tokens = sum(map(len, prefixes)) + len(prefixes) * n_anchor_tokens + len(rows.start) + n_anchor_tokens
    content = b"".join(row.tobytes() + b"|" for row in [*prefixes, *suffixes])
    name = f"nuggets {features.name} {hashlib.sha256(content).hexdigest()}"
    context.ledger.forward(name, n_tokens=n_tokens, n_parameters=features.n_parameters)

    def measured(part: slice) -> dict[str, np.ndarray]:
        return {"one_shot": log_likelihoods(features.model, prefixes[part], suffixes, masks, **how)}

    address = hashlib.sha256(f"{name} {features.dtype}".encode()).hexdigest()
    one_shot = table(features.folder, address, len(prefixes), measured)["one_shot"]
    return golden_scores(one_shot, zero_shot, ROUNDING * np.maximum(1.0, -zero_shot))
