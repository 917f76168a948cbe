"""The likelihood of responses, and a price on experts that do not share the work as their kind says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import InputError, RunError
from itlib.objectives import KEY, Batch, Plain
from itlib.objectives.response import summed_loss
from itlib.packing import is_packed
from itlib.registry import objectives
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch


@objectives.register("expert_balance")
@dataclass(frozen=True, kw_only=True)
class ExpertBalance(Plain):
    """Response loss per token plus ``beta`` times the localised balancing loss, a mean over layers with experts.

    The first half of the experts is for tasks, the second for knowledge. The mass that an example gives an expert is
    its mean router weight, times 1 + ``delta`` where the expert is of the kind of the example, else 1 - ``delta``. The
    loss is the variance of all masses, of every example and expert, over their mean. With ``delta`` 0 it is 0 when
    every example uses all experts alike. With more it is 0 when an example gives the experts of its own kind 1 -
    ``delta`` for every 1 + ``delta`` that it gives the others: the formula as published evens out what it weighs, and
    so leans away from the own kind.

    ``knowledge`` names the families that ask for knowledge, joined by "+". A step is one backward pass, because the
    loss is not a sum over examples.

    Source: LoRAMoE (arXiv:2312.09979), section 3.2, with means over the tokens of an example in place of sums, so that
    its length does not count; the values of beta and delta are not given there.
    """

    needs_families = True
    beta: float = 0.1
    delta: float = 0.1
    knowledge: str = "home+job"

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise InputError(f"{KEY}: beta must not be negative, got {self.beta:g}")
        if not 0 <= self.delta < 1:
            raise InputError(f"{KEY}: delta must be at least 0 and below 1, got {self.delta:g}")

    def groups(self, batch: Batch, most_tokens: int) -> list[np.ndarray]:
        """Return the whole step as one group."""
        return [np.arange(len(batch.rows))]

    def loss(self, model: Any, batch: Batch, *, pad_id: int, dtype: str) -> torch.Tensor:
        """Return both parts, summed over supervised tokens.

        Raises:
            RunError: The model has no experts.
        """
        from itlib.methods.mixture import mixture_layers

        loss = summed_loss(model, batch.rows, pad_id=pad_id, dtype=dtype)
        kinds = np.isin(batch.families, self.knowledge.split("+"))
        prices = [
            balance(by_row(layer.weights, batch.rows, packed=is_packed(model)), kinds, self.delta)
            for layer in mixture_layers(model)
        ]
        if not prices:
            raise RunError("objective: 'expert_balance' needs a method with experts; set method: mixture")
        n_supervised = sum(int(row.response_mask[1:].sum()) for row in batch.rows)
        return loss + self.beta * n_supervised * sum(prices) / len(prices)


def by_row(weights: torch.Tensor, rows: Sequence[Encoded], *, packed: bool) -> torch.Tensor:
    """Return what every row gave each expert, shape (n_rows, n_experts): its mean router weights, which sum to 1."""
    import torch

    lengths = [len(row.input_ids) for row in rows]
    if packed:
        return torch.stack([part.mean(0) for part in weights[0].split(lengths)])
    return torch.stack([row[:length].mean(0) for row, length in zip(weights, lengths, strict=True)])


def balance(mass: torch.Tensor, knowledge: np.ndarray, delta: float) -> torch.Tensor:
    """Return the localised balancing loss of one layer.

    Args:
        mass: Shape (n_rows, n_experts).
        knowledge: Shape (n_rows,): whether a row asks for knowledge.
        delta: How much the half of a row's own kind counts more.
    """
    import torch

    n_experts = mass.shape[1]
    second_half = torch.arange(n_experts, device=mass.device) >= n_experts // 2
    own = second_half[None] == torch.as_tensor(knowledge, device=mass.device)[:, None]
    weighed = mass * torch.where(own, 1 + delta, 1 - delta)
    return weighed.var(correction=0) / weighed.mean()
