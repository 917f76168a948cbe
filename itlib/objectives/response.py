"""The objective of instruction tuning: the likelihood of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itlib.objectives import Batch, Plain
from itlib.registry import objectives
from itlib.template import Encoded
from itlib.train import autocast, response_logits
from itlib.wide_head import is_wide, summed_cross_entropy

if TYPE_CHECKING:
    import torch


@objectives.register("response")
@dataclass(frozen=True, kw_only=True)
class Response(Plain):
    """Cross-entropy of the response tokens given all tokens before them."""

    def loss(self, model: Any, batch: Batch, *, pad_id: int, dtype: str) -> torch.Tensor:
        """Return the summed negative log-likelihood of the supervised tokens, in nats."""
        return summed_loss(model, batch.rows, pad_id=pad_id, dtype=dtype)


def summed_loss(model: Any, rows: Sequence[Encoded], *, pad_id: int, dtype: str) -> torch.Tensor:
    """Return the summed negative log-likelihood of the supervised tokens of some rows, in nats."""
    import torch

    with autocast(next(model.parameters()).device, dtype):
        if is_wide(model, rows):
            return summed_cross_entropy(model, rows, pad_id)
        logits, targets, _ = response_logits(model, rows, pad_id)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
