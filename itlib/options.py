"""Choices among options: an item is right when the model finds its right answer the most likely of those offered.

An option stands in the place of the last answer. Its score is the log-likelihood of its tokens given everything before,
the stop token included, so that "5" and "50" are compared as whole answers; "mean" divides by the number of these
tokens, which keeps long options from losing by their length alone. Earlier answers of a conversation do not count.
Source: option log-likelihood as Evaluating the Zero-shot Robustness of Instruction-tuned Language Models
(arXiv:2306.11270) scores label texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from itlib.evaluate import token_scores
from itlib.example import Example, Turn
from itlib.template import Encoded, encode, encode_prompt

OPTION_SCORES = ("sum", "mean")
TIE = 1e-4  # nats; a smaller lead is rounding, which must not decide between options that the vocabulary takes for one
NO_LIMIT = 2**31


@dataclass(frozen=True)
class Choice:
    """What a model chose: the option of the highest score, and whether the right answer leads by more than ``TIE``."""

    option: str
    right: bool


def option_rows(example: Example, tokenizer: Any) -> list[Encoded]:
    """Return one token row per option of an example, in which only the option and its stop token are supervised."""
    if not example.options:
        return []
    before = example.turns[:-1]
    asked = [replace(example, turns=(*before, Turn("assistant", option))) for option in example.options]
    rows, _ = encode(asked, tokenizer, max_length=NO_LIMIT)
    n_prompt = len(encode_prompt(example, tokenizer))
    return [replace(row, response_mask=np.arange(len(row.input_ids)) >= n_prompt) for row in rows]


def choose(
    model: Any,
    rows: Mapping[int, Sequence[Encoded]],
    examples: Sequence[Example],
    *,
    pad_id: int,
    dtype: str,
    score: str,
) -> dict[int, Choice]:
    """Return what a model chooses among the options of each item.

    Args:
        model: A causal or sequence-to-sequence language model in evaluation mode.
        rows: The rows of the options (``option_rows``) of each item, by position in ``examples``.
        examples: The items; ``gold`` is the right answer.
        pad_id: Token id for padding.
        dtype: Precision of the forward pass; log-probabilities are reduced in float32.
        score: One of ``OPTION_SCORES``.

    Cost: One forward pass per option, many options in a batch.
    """
    flat = [row for item in rows.values() for row in item]
    likelihoods = [-nll for nll, _ in token_scores(model, flat, pad_id=pad_id, dtype=dtype)]
    scores = iter([float(tokens.mean() if score == "mean" else tokens.sum()) for tokens in likelihoods])
    return {index: chosen(examples[index], [next(scores) for _ in item]) for index, item in rows.items()}


def chosen(example: Example, scores: Sequence[float]) -> Choice:
    """Return the choice that follows from one score per option, in the order of ``example.options``."""
    right = scores[example.options.index(example.gold)]
    others = [s for option, s in zip(example.options, scores, strict=True) if option != example.gold]
    return Choice(example.options[int(np.argmax(scores))], bool(right > max(others) + TIE))
