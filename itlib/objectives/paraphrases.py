"""Objectives that see every example in two wordings: both answered, and answered alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itlib.errors import InputError
from itlib.objectives import Batch, Plain
from itlib.objectives.response import summed_loss
from itlib.registry import objectives
from itlib.train import autocast, response_logits

if TYPE_CHECKING:
    import torch


@objectives.register("paraphrases")
@dataclass(frozen=True, kw_only=True)
class Paraphrases(Plain):
    """Cross-entropy of the response after the instruction, plus that of the same response after a paraphrase.

    The baseline of ``kl_align`` and ``coin``: it sees what they see. A step reads twice the tokens of "response", and
    its loss is the sum of two means.
    """

    paired = True

    def loss(self, model: Any, batch: Batch, *, pad_id: int, dtype: str) -> torch.Tensor:
        """Return the summed negative log-likelihood of both wordings, in nats."""
        return summed_loss(model, batch.texts, pad_id=pad_id, dtype=dtype)


@objectives.register("kl_align")
@dataclass(frozen=True, kw_only=True)
class AlignedByKL(Plain):
    """``paraphrases`` plus a pull of the paraphrase's next-token distributions to those of the example.

    At every response token the divergence KL(reference || paraphrase) is added, ``weight`` times. The reference is the
    model itself after the original instruction, without a gradient: otherwise both could meet in what is right for
    neither.

    Source: Evaluating the Zero-shot Robustness of Instruction-tuned Language Models (Sun et al., 2023,
    arXiv:2306.11270), section 5, which does so with a soft prompt. It does not give the weight.
    """

    paired = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1e6:
            raise InputError(f"objective_options: weight must be between 0 and 1000000, got {self.weight:g}")

    def loss(self, model: Any, batch: Batch, *, pad_id: int, dtype: str) -> torch.Tensor:
        """Return the summed loss of both wordings and the weighted divergence of one from the other, in nats."""
        import torch

        with autocast(next(model.parameters()).device, dtype):
            logits, targets, _ = response_logits(model, batch.texts, pad_id)
        both = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        reference, paraphrase = logits.chunk(2)  # equal responses, row after row
        return both + self.weight * divergence(reference, paraphrase)


def divergence(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return KL(reference || other) summed over rows, in nats; no gradient reaches the reference.

    Args:
        reference: Logits of shape (n_tokens, vocabulary).
        other: Logits of the same shape.
    """
    import torch

    wanted = torch.log_softmax(reference.detach(), dim=-1)
    return torch.nn.functional.kl_div(torch.log_softmax(other, dim=-1), wanted, reduction="sum", log_target=True)
