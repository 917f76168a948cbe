"""Greedy decoding of open-ended items: what the model says when nobody gives it the words before.

The library decodes. Ours are the prompt (the tokens before the last answer of the row that training would see), batches
that leave every answer as it would be alone, and the settings: a model's own may sample or punish repetition, so they
are set aside.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.decoding import Decoding
from itlib.encoder_decoder import is_encoder_decoder, read_by_encoder, start_token_id
from itlib.example import Example
from itlib.packing import virtual_tokens
from itlib.template import encode_prompt, stop_token_id
from itlib.train import autocast

MAX_NEW_TOKENS = 32
BATCH_TOKENS = 16384


def responses(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    pad_id: int,
    dtype: str,
    context_length: int,
    decoding: Decoding | None = None,
    most_new: Sequence[int] | None = None,
) -> list[str]:
    """Return the greedy answer to every example as text; see ``finished_responses``."""
    how = {"pad_id": pad_id, "dtype": dtype, "context_length": context_length}
    how |= {"decoding": decoding, "most_new": most_new}
    return [text for text, _ in finished_responses(model, tokenizer, examples, **how)]


def finished_responses(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    pad_id: int,
    dtype: str,
    context_length: int,
    decoding: Decoding | None = None,
    most_new: Sequence[int] | None = None,
) -> list[tuple[str, bool]]:
    """Return the greedy answer to every example, its last assistant turn left out, and whether it ended by itself.

    Generation ends at the stop token of the chat template, at the tokenizer's end of sequence, after
    as many tokens as ``most_new`` says, or where the context ends. Each run of blanks or line ends becomes one blank.

    Args:
        model: A causal or sequence-to-sequence model in evaluation mode, with or without adapters.
        tokenizer: Its tokenizer.
        examples: Conversations that end in an assistant turn; that turn is not shown.
        pad_id: Token id for padding, masked: on the left, where a decoder goes on, and on the right for an encoder.
        dtype: Precision of the forward pass.
        context_length: Positions that the model was built for.
        decoding: How answers are decoded, of these examples; None is plain.
        most_new: Most tokens of each answer, the stop token included; None means ``MAX_NEW_TOKENS`` for all.
    """
    decoding = decoding or Decoding()
    most_new = [MAX_NEW_TOKENS] * len(examples) if most_new is None else most_new
    stop = {stop_token_id(tokenizer), tokenizer.eos_token_id} - {None}
    prompts = [encode_prompt(example, tokenizer) for example in examples]
    how = {"pad_id": pad_id, "dtype": dtype, "context_length": context_length}
    answers = greedy(model, prompts, stop_ids=sorted(stop), decoding=decoding, most_new=most_new, **how)
    plain = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    lengths = map(decoding.longest, range(len(prompts)), prompts)
    return [
        (" ".join(tokenizer.decode(answer, **plain).split()), len(answer) < room(length, context_length, most))
        for length, answer, most in zip(lengths, answers, most_new, strict=True)
    ]


def room(length: int, context_length: int, most_new: int = MAX_NEW_TOKENS) -> int:
    """Return how many tokens may follow a prompt, the stop token included; 0 or less where there is no place."""
    return min(most_new, context_length - length)


def room_for(n_tokens: int) -> int:
    """Return how many tokens a right answer of ``n_tokens`` is given: whole steps of ``MAX_NEW_TOKENS``.

    It follows from the item alone, and few different limits leave large batches.
    """
    return MAX_NEW_TOKENS * math.ceil(n_tokens / MAX_NEW_TOKENS)


def greedy(
    model: Any,
    prompts: Sequence[np.ndarray],
    *,
    stop_ids: Sequence[int],
    pad_id: int,
    dtype: str,
    context_length: int,
    decoding: Decoding | None = None,
    most_new: Sequence[int] | None = None,
) -> list[list[int]]:
    """Return the most likely next tokens after each prompt, up to and without the first stop token.

    Prompts of similar length share a batch; those so long that the context cuts their answer share one only with
    prompts of the same length, so that an answer depends on its own prompt alone. So do all prompts behind a soft
    prompt: the library would count padding between the two as positions.
    """
    import torch

    decoding = decoding or Decoding()
    device = next(model.parameters()).device
    most_new = [MAX_NEW_TOKENS] * len(prompts) if most_new is None else most_new
    lengths = map(decoding.longest, range(len(prompts)), prompts)
    rooms = [room(length, context_length, most) for length, most in zip(lengths, most_new, strict=True)]
    soft = bool(virtual_tokens(model))  # no padding may come between a soft prompt and what it stands before
    kinds = [(space, decoding.apart(row), soft * len(prompts[row])) for row, space in enumerate(rooms)]
    answers: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode(), _plain_settings(model) as network:
        for kind in sorted({kind for kind in kinds if kind[0] > 0}):
            space, rows = kind[0], np.array([row for row, other in enumerate(kinds) if other == kind])
            for group in micro_batches([len(prompts[row]) + space for row in rows], BATCH_TOKENS):
                asked = [prompts[row] for row in rows[group]]
                shown, n_shown = _shown(model, asked, pad_id, device)
                further = decoding.settings(rows[group].tolist(), [len(prompt) for prompt in asked], device)
                with autocast(device, dtype):
                    tokens = network.generate(
                        **shown,
                        max_new_tokens=space,
                        do_sample=False,
                        eos_token_id=list(stop_ids) or None,
                        pad_token_id=pad_id,
                        **further,
                    )
                for row, answer in zip(rows[group], tokens[:, n_shown:].tolist(), strict=True):
                    end = next((place for place, token in enumerate(answer) if token in stop_ids), len(answer))
                    answers[row] = answer[:end]
    return answers


def _shown(model: Any, prompts: Sequence[np.ndarray], pad_id: int, device: Any) -> tuple[dict[str, Any], int]:
    """Return what stands before the answers, and how many tokens of the output it takes: an encoder's takes none."""
    import torch

    if is_encoder_decoder(model):
        return {**read_by_encoder(prompts, pad_id, device), "decoder_start_token_id": start_token_id(model)}, 1
    input_ids, mask = pad_left(prompts, pad_id)
    arguments = {"input_ids": input_ids, "attention_mask": mask}
    return {name: torch.as_tensor(rows, device=device) for name, rows in arguments.items()}, input_ids.shape[1]


def pad_left(rows: Sequence[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Stack rows of different length, filled on the left, with the mask of real tokens; both int64."""
    shape = len(rows), max(map(len, rows))
    padded, mask = np.full(shape, fill, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for i, row in enumerate(rows):
        padded[i, shape[1] - len(row) :] = row
        mask[i, shape[1] - len(row) :] = 1
    return padded, mask


@contextlib.contextmanager
def _plain_settings(model: Any) -> Iterator[Any]:
    """Give the network, its adapters included, with the library's default settings; its own come back afterwards.

    Low-rank adapters sit inside the network; a soft prompt stands before it and is put there by the wrapper alone.
    """
    from transformers import GenerationConfig

    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = network.generation_config
    network.generation_config = GenerationConfig()
    try:
        yield model if virtual_tokens(model) else network
    finally:
        network.generation_config = own
