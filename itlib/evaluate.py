"""Scores of a tuned model, item by item.

Exact match is teacher-forced: every supervised token, the stop token included, must be the most likely one given
the gold tokens before it. Greedy decoding produces the gold response exactly when this holds, because at each step it
then sees the same prefix; so no generation is needed. *Lenient* exact match ignores the stop token.

An item with constraints has many right responses. It is scored by what the model generates: the share of constraints
that the text fulfils, and no exact match. Its likelihood is that of the one response it comes with.

All of this holds for interventions in decoding too (``itlib.decoding``): what decides a token then are their logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.constraints import graded
from itlib.decoding import Decoding
from itlib.example import Example
from itlib.template import Encoded
from itlib.train import autocast

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}  # what fits a cache is faster on a CPU, more at once on a GPU


def score_items(
    model: Any,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    *,
    pad_id: int,
    dtype: str,
    exact_match: bool,
    generated: Mapping[int, str] | None = None,
    decoding: Decoding | None = None,
) -> tuple[tuple[Any, ...], ...]:
    """Score items under a model.

    Args:
        model: A causal language model in evaluation mode.
        examples: The items; ``encoded[i].example_index`` points into them.
        encoded: Their encoding. Items too long for the model are absent here and so from the result.
        pad_id: Token id for padding.
        dtype: Precision of the forward pass; log-probabilities are always reduced in float32.
        exact_match: Whether the source has one right response per item; if not, both match scores are None. They
            are None in any case for items with constraints.
        generated: What the model says to each item with constraints (``generate.responses``), by position in
            ``examples``.
        decoding: How answers are decoded; None is plain.

    Returns:
        One tuple per encoded item in the order of ``result.ITEM_COLUMNS``.
    """
    import torch

    device = next(model.parameters()).device
    generated, decoding = generated or {}, decoding or Decoding()
    scores: list[tuple[Any, ...]] = [()] * len(encoded)
    with torch.inference_mode():
        for group in micro_batches([len(e.input_ids) for e in encoded], BATCH_TOKENS[device.type]):
            batch = [encoded[i] for i in group]
            with autocast(device, dtype):
                logits, targets, row_of = decoding.logits(model, batch, pad_id)
            nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
            right = (logits.argmax(-1) == targets).cpu().numpy()
            for row, position in enumerate(group):
                mine = row_of == row
                example = examples[encoded[position].example_index]
                answer = generated[encoded[position].example_index] if example.constraints else ""
                closed = exact_match and not example.constraints
                scores[position] = _item(example, encoded[position], nll[mine], right[mine], closed, answer)
    return tuple(scores)


def _item(
    example: Example, encoded: Encoded, nll: np.ndarray, right: np.ndarray, exact_match: bool, answer: str
) -> tuple[Any, ...]:
    strict = float(right.all()) if exact_match else None
    lenient = float(right[:-1].all()) if exact_match else None
    share = _as_stored(graded(example.constraints, answer)) if example.constraints else None
    return (
        example.id, example.family, example.category, example.familiarity, example.phrasing,
        strict, lenient, share, _as_stored(nll.sum()), len(nll), encoded.n_response_bytes, answer,
    )  # fmt: skip


def _as_stored(value: float) -> float:
    """Round to what is stored, so that a fresh result and one read back are the same object."""
    return float(format(value, ".9g"))
