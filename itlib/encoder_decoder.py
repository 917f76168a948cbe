"""Sequence-to-sequence models: the encoder reads all that stands before the last answer, the decoder gives the answer.

A token row looks as for any other model: the prompt with its end of sequence (``segments.ENCODER_DECODER_TEMPLATE``),
then the answer with its own, which alone is supervised. Here it is cut at the first supervised token. The encoder sees
no padding because of its attention mask; the decoder is causal, so that padding on its right reaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.batching import pad_right
from itlib.errors import InputError
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch

KINDS = ("mt5", "t5", "umt5")  # model_type; Flan-T5, T0, Tk-Instruct and mT0 are of these kinds


def is_encoder_decoder(model: Any) -> bool:
    """Return whether a loaded model, with or without adapters, is a sequence-to-sequence model."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def cut(row: Encoded) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens that the encoder reads and those that the decoder is asked for."""
    start = int(row.response_mask.argmax())
    return row.input_ids[:start], row.input_ids[start:]


def start_token_id(model: Any) -> int:
    """Return the token that stands before every answer in the decoder.

    Raises:
        InputError: The config names none, and no padding token, which T5 begins with.
    """
    names = ("decoder_start_token_id", "pad_token_id")
    found = next((token for name in names if (token := getattr(model.config, name, None)) is not None), None)
    if found is None:
        raise InputError("the model's config.json names no decoder_start_token_id, so no answer can begin")
    return found


def read_by_encoder(prompts: Sequence[np.ndarray], pad_id: int, device: Any) -> dict[str, Any]:
    """Return the encoder's part of a forward pass: prompts padded on the right, and the mask of real tokens."""
    import torch

    mask = pad_right([np.ones(len(prompt)) for prompt in prompts], 0)
    return {
        "input_ids": torch.as_tensor(pad_right(prompts, pad_id), device=device),
        "attention_mask": torch.as_tensor(mask, device=device),
    }


def answer_logits(model: Any, batch: Sequence[Encoded], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return float32 logits that predict the answers of a batch; result as of ``train.response_logits``."""
    import torch

    device = next(model.parameters()).device
    prompts, answers = zip(*map(cut, batch), strict=True)
    before = [np.concatenate([[start_token_id(model)], answer[:-1]]) for answer in answers]
    shown = torch.as_tensor(pad_right(before, pad_id), device=device)
    logits = model(**read_by_encoder(prompts, pad_id, device), decoder_input_ids=shown, use_cache=False).logits
    lengths = np.array([len(answer) for answer in answers])
    real = torch.as_tensor(np.arange(lengths.max()) < lengths[:, None], device=device)
    targets = torch.as_tensor(np.concatenate(answers).astype(np.int64), device=device)
    return logits[real].float(), targets, np.repeat(np.arange(len(batch)), lengths)
