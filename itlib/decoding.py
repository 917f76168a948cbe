"""How answers are decoded: what stands between a model and the token it gives next.

``Decoding`` is plain greedy decoding. ``itlib.contrast`` and ``itlib.steering`` intervene; both score closed items with
teacher forcing and answer open-ended ones by generation, under the same rule for the next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.template import Encoded
from itlib.train import response_logits

if TYPE_CHECKING:
    import torch


class Decoding:
    """The most likely token of the model itself."""

    def on(self, model: Any) -> AbstractContextManager[None]:
        """Return a context in which ``model`` may be asked; it leaves the model as it was."""
        return nullcontext()

    def take(self, rows: Sequence[int]) -> Decoding:
        """Return the same rule for some of the examples, which then count from 0."""
        return self

    def logits(
        self, model: Any, batch: Sequence[Encoded], pad_id: int
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Return what decides the supervised tokens of a batch, in the form of ``train.response_logits``."""
        return response_logits(model, batch, pad_id)

    def knows(self, row: int) -> bool:
        """Return whether an example can be asked under this rule."""
        return True

    def longest(self, row: int, prompt: np.ndarray) -> int:
        """Return how many tokens of context an example has before its answer."""
        return len(prompt)

    def apart(self, row: int) -> int:
        """Return a number by which examples are told apart that must not share a batch of generation."""
        return 0

    def settings(self, rows: Sequence[int], lengths: Sequence[int], device: Any) -> dict[str, Any]:
        """Return further arguments of ``generate`` for a batch of prompts of these lengths, padded on the left."""
        return {}
