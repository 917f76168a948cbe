"""Spotlight: attention that gives the words of the instruction at least a target share of its mass.

At every layer, head and query with mass m on the span of the instruction, 0 < m < target, log(target / m) is added to
the scores of the span before the softmax: its weights are multiplied by target / m and all are normalised again. The
new mass is target / (1 - m + target), which stays below the target. A query that sees no word of the span is left as it
is.

The span of a row are the words of its user turns that ask: operands and marks left out, and what a perturbation put
beside the instruction.

Source: Spotlight Your Instructions (2025), arXiv:2505.12025.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.decoding import Decoding
from itlib.errors import InputError
from itlib.example import Example
from itlib.template import Encoded, content_offsets
from itlib.train import pad_right, response_logits

if TYPE_CHECKING:
    import torch

KERNEL = "steered"
_SPAN: ContextVar[tuple[torch.Tensor, float] | None] = ContextVar("span", default=None)


def instruction_span(shown: Example, clean: Example, tokenizer: Any, length: int) -> np.ndarray:
    """Return which tokens of a row are words of its instruction.

    Args:
        shown: The example as it is asked.
        clean: The same before any perturbation. Where its text is still there in one piece, only that piece counts.
        tokenizer: Its tokenizer.
        length: Tokens of the row.

    Returns:
        Shape (length,), bool.
    """
    span = np.zeros(length, dtype=bool)
    for turn, (first, offsets) in content_offsets(shown, tokenizer).items():
        if shown.turns[turn].role != "user":
            continue
        text, own = shown.turns[turn].content, clean.turns[turn].content
        start = max(text.find(own), 0)
        end = start + len(own) if own in text else len(text)
        for word in re.finditer(r"\w+", text):
            if start <= word.start() and word.end() <= end and word.group() not in shown.operands:
                touched = (offsets[:, 0] < word.end()) & (offsets[:, 1] > word.start())
                span[first : first + len(offsets)] |= touched
    return span


def steered(weights: torch.Tensor, span: torch.Tensor, target: float) -> torch.Tensor:
    """Return attention weights after steering.

    Args:
        weights: Shape (..., keys); each row sums to one.
        span: Which keys to emphasise, bool, of a shape that broadcasts to that of ``weights``.
        target: The share aimed at, in [0, 1). A row that gives the span that much or more, or nothing, stays.
    """
    import torch

    mass = (weights * span).sum(-1, keepdim=True)
    within = weights / mass.clamp_min(torch.finfo(weights.dtype).tiny)  # of the span; at most 1 there
    raised = torch.where(span, target * within, weights)
    return torch.where((mass > 0) & (mass < target), raised / raised.sum(-1, keepdim=True), weights)


@dataclass(frozen=True, eq=False)
class Steering(Decoding):
    """Greedy decoding under steered attention.

    Attributes:
        spans: Per example (its position), from ``instruction_span``.
        target: The share of attention that the span is to get.
    """

    spans: Mapping[int, np.ndarray]
    target: float

    @contextlib.contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Switch the attention of the model; its own comes back afterwards.

        Raises:
            InputError: The model's attention is of another kind, so that ours would be another model; or it has a soft
                prompt, whose places no span knows.
        """
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise InputError("steering: a soft prompt shifts the places of words; set steering: 0")
        network = model.get_base_model() if hasattr(model, "get_base_model") else model
        own = network.config._attn_implementation
        wanted = _logits(network)
        _register()
        network.set_attn_implementation(KERNEL)
        before = _SPAN.set(None)
        try:
            if network.config._attn_implementation != KERNEL or not _agree(_logits(network), wanted):
                raise InputError(f"steering: the attention of {type(network).__name__} cannot be replaced by ours")
            yield
        finally:
            _SPAN.reset(before)
            network.set_attn_implementation(own)

    def take(self, rows: Sequence[int]) -> Steering:
        """Return the steering of some of the examples."""
        return Steering({new: self.spans[old] for new, old in enumerate(rows)}, self.target)

    def logits(
        self, model: Any, batch: Sequence[Encoded], pad_id: int
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Return the logits under steered attention, of rows padded on the right."""
        self._aim(pad_right([self.spans[row.example_index] for row in batch], 0), next(model.parameters()).device)
        return response_logits(model, batch, pad_id)

    def settings(self, rows: Sequence[int], lengths: Sequence[int], device: Any) -> dict[str, Any]:
        """Aim at the spans of prompts padded on the left; the tokens of an answer never belong to one."""
        spans = np.zeros((len(rows), max(lengths)), dtype=bool)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            spans[place, max(lengths) - length :] = self.spans[row][:length]
        self._aim(spans, device)
        return {}

    def _aim(self, spans: np.ndarray, device: Any) -> None:
        import torch

        _SPAN.set((torch.as_tensor(spans.astype(bool), device=device), self.target))


def _logits(network: Any) -> torch.Tensor:
    """Return the logits of a short text that is of no meaning."""
    import torch

    text = torch.arange(3, 10, device=network.device)[None] % network.config.vocab_size
    with torch.inference_mode():
        return network(input_ids=text, use_cache=False).logits.float()


def _agree(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.allclose(right, rtol=1e-2, atol=1e-2)


@functools.cache
def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(KERNEL, _attention)
    AttentionMaskInterface.register(KERNEL, eager_mask)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention and its weights; query, key and value have the shape (rows, heads, tokens, size)."""
    import torch

    shared = query.shape[1] // key.shape[1]  # grouped queries share keys and values
    key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = scores if attention_mask is None else scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32)
    if (aimed := _SPAN.get()) is not None:
        spans, target = aimed
        later = torch.nn.functional.pad(spans, (0, key.shape[2] - spans.shape[1]))  # what was generated since
        weights = steered(weights, later[:, None, None, :], target)
    weights = weights.to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights
