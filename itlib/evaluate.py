"""Scores of a tuned model, item by item.

Exact match is teacher-forced: every supervised token, the stop token included, must be the most likely one given
the gold tokens before it. Greedy decoding produces the gold response exactly when this holds, because at each step it
then sees the same prefix; so no generation is needed. *Lenient* exact match ignores the stop token.

An item with constraints has many right responses. It is scored by what the model generates: the share of constraints
that the text fulfils, and no exact match. Its likelihood is that of the one response it comes with.

An item with options is right when the model chooses the right one (``itlib.options``); this is then its exact match.

Where an evaluation asks for generated answers (``EvalSpec.answers``), every other item that has a prompt is right when
the text that the model generates is that of the right response, each run of blanks and line ends read as one blank. So
rows of a file, of which nobody says whether another wording would be right too, get an exact match if it is asked for.

All of this holds for interventions in decoding too (``itlib.decoding``): what decides a token then are their logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.batching import micro_batches
from itlib.constraints import graded
from itlib.decoding import Decoding
from itlib.example import Example
from itlib.template import Encoded
from itlib.train import autocast

if TYPE_CHECKING:
    from itlib.options import Choice

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}  # what fits a cache is faster on a CPU, more at once on a GPU
MOST_LOGITS = 2**30  # of one forward pass on a GPU, 4 GiB in float32: a wide vocabulary gets smaller batches


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
    chosen: Mapping[int, Choice] | None = None,
) -> tuple[tuple[Any, ...], ...]:
    """Score items under a model.

    Args:
        model: A causal or sequence-to-sequence language model in evaluation mode.
        examples: The items; ``encoded[i].example_index`` points into them.
        encoded: Their encoding. Items too long for the model are absent here and so from the result.
        pad_id: Token id for padding.
        dtype: Precision of the forward pass; log-probabilities are always reduced in float32.
        exact_match: Whether the source has one right response per item; if not, both match scores are None. They
            are None in any case for items with constraints.
        generated: What the model says to each item with constraints and to those whose text is to match
            (``generate.responses``), by position in ``examples``. The latter have no lenient match.
        decoding: How answers are decoded; None is plain.
        chosen: What the model chooses for each item with options (``options.choose``), by position in ``examples``.
            Such an item has no lenient match.

    Returns:
        One tuple per encoded item in the order of ``result.ITEM_COLUMNS``.
    """
    generated, chosen = generated or {}, chosen or {}
    scores = []
    by_token = token_scores(model, encoded, pad_id=pad_id, dtype=dtype, decoding=decoding)
    for row, (nll, right) in zip(encoded, by_token, strict=True):
        example, index = examples[row.example_index], row.example_index
        strict = lenient = share = None
        answer = ""
        if example.constraints:
            answer = generated[index]
            share = _as_stored(graded(example.constraints, answer))
        elif example.options:
            answer, strict = chosen[index].option, float(chosen[index].right)
        elif index in generated:
            answer = generated[index]
            strict = float(answer.split() == (example.gold or example.response).split())
        elif exact_match:
            strict, lenient = float(right.all()), float(right[:-1].all())
        scores.append(_item(example, row, nll, (strict, lenient, share), answer))
    return tuple(scores)


def token_scores(
    model: Any, encoded: Sequence[Encoded], *, pad_id: int, dtype: str, decoding: Decoding | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (negative log-likelihood in nats, is the most likely token) of the supervised tokens of every row.

    Rows of similar length share a forward pass. Arguments as in ``score_items``.
    """
    import torch

    device = next(model.parameters()).device
    decoding = decoding or Decoding()
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0, dtype=bool))] * len(encoded)
    with torch.inference_mode():
        for group in micro_batches([len(e.input_ids) for e in encoded], batch_tokens(device.type, model)):
            batch = [encoded[i] for i in group]
            with autocast(device, dtype):
                logits, targets, row_of = decoding.logits(model, batch, pad_id)
            nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
            right = (logits.argmax(-1) == targets).cpu().numpy()
            for row, position in enumerate(group):
                found[position] = nll[row_of == row], right[row_of == row]
    return found


def batch_tokens(device_type: str, model: Any) -> int:
    """Return the tokens of a forward pass that fit a cache, or the memory of a GPU with the logits of all of them."""
    most = BATCH_TOKENS[device_type]
    return most if device_type == "cpu" else min(most, max(1, MOST_LOGITS // model.config.vocab_size))


def _item(
    example: Example, encoded: Encoded, nll: np.ndarray, matches: tuple[float | None, ...], answer: str
) -> tuple[Any, ...]:
    return (
        example.id, example.family, example.category, example.familiarity, example.phrasing,
        *matches, _as_stored(nll.sum()), len(nll), encoded.n_response_bytes, answer,
    )  # fmt: skip


def _as_stored(value: float) -> float:
    """Round to what is stored, so that a fresh result and one read back are the same object."""
    return float(format(value, ".9g"))
