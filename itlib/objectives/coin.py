"""Contrastive instruction tuning: paraphrases close together, other answers far apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import InputError, did_you_mean
from itlib.objectives import Batch, supervised
from itlib.objectives._states import POOLS, logits_and_states
from itlib.registry import objectives
from itlib.train import autocast

if TYPE_CHECKING:
    import torch

MOST = 10_000  # examples of a contrast group; more is a slip of the keyboard


@objectives.register("coin")
@dataclass(frozen=True, kw_only=True)
class CoIN:
    """``paraphrases`` plus a contrast of hidden states, clipped to the size of the generation loss.

    The examples of a step are cut into contrast groups. Within a group the state of an example shall be closer to that
    of its own paraphrase than to those of the other paraphrases, and the other way round. Examples of one family come
    next to each other, so that negatives share an instruction and differ in operands wherever a step has several of a
    family: these are the hard ones. The last group of a step may be smaller; alone, an example has no negatives.

    The contrast of a group counts with the share of supervised tokens that its examples have in the step.

    Attributes:
        tau: Temperature of the cosines.
        weight: Of the contrast, before it is clipped; see ``clipped``.
        contrast_batch: Examples of a contrast group. The published code has 2: one negative, which is the hard one.
        pool: The token whose state stands for a row: the last one ("response", as published) or the last one before
            the response ("prompt"). The former has read the answer, which makes positives alike for that reason alone.

    Source: Contrastive Instruction Tuning (Yan et al., ACL Findings 2024, arXiv:2402.11138), and its code.
    """

    paired = True
    tau: float = 0.05
    weight: float = 1000.0
    contrast_batch: int = 2
    pool: str = "response"

    def __post_init__(self) -> None:
        if not 0 < self.tau <= 1e6:
            raise InputError(f"objective_options: tau must be above 0 and at most 1000000, got {self.tau:g}")
        if not 0 <= self.weight <= 1e6:
            raise InputError(f"objective_options: weight must be between 0 and 1000000, got {self.weight:g}")
        if not 2 <= self.contrast_batch <= MOST:
            raise InputError(
                f"objective_options: contrast_batch must be between 2 and {MOST}, got {self.contrast_batch}"
            )
        if self.pool not in POOLS:
            known = f"{', '.join(POOLS)}{did_you_mean(self.pool, POOLS)}"
            raise InputError(f"objective_options: pool '{self.pool}' is not one of {known}")

    def groups(self, batch: Batch, most_tokens: int) -> list[np.ndarray]:
        """Return whole contrast groups, as many together as fit ``most_tokens``."""
        order = np.argsort(np.array(batch.families), kind="stable")
        cuts = np.split(order, range(self.contrast_batch, len(order), self.contrast_batch))
        lengths = np.array(batch.lengths)
        found: list[list[np.ndarray]] = []
        room = 0
        for cut in cuts:
            needed = int(lengths[cut].sum())
            if found and needed <= room:
                found[-1].append(cut)
                room -= needed
            else:
                found.append([cut])
                room = most_tokens - needed
        return [np.concatenate(cuts) for cuts in found]

    def loss(self, model: Any, batch: Batch, *, pad_id: int, dtype: str) -> torch.Tensor:
        """Return the summed loss of both wordings plus the clipped contrast of every group, in nats."""
        import torch

        with autocast(next(model.parameters()).device, dtype):
            logits, targets, states = logits_and_states(model, batch.texts, self.pool, pad_id)
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        counts = [len(supervised(row)) for row in batch.rows]
        edges = np.cumsum([0, *counts])
        originals, others = states.chunk(2)
        first, second = each.chunk(2)
        total = each.sum()
        for start in range(0, len(counts), self.contrast_batch):
            mine = slice(start, min(start + self.contrast_batch, len(counts)))
            tokens = slice(int(edges[mine.start]), int(edges[mine.stop]))
            n_tokens = tokens.stop - tokens.start
            generation = (first[tokens].sum() + second[tokens].sum()) / n_tokens
            contrast = contrastive(originals[mine], others[mine], self.tau)
            total = total + n_tokens * clipped(contrast, generation, self.weight)
        return total


def contrastive(originals: torch.Tensor, others: torch.Tensor, tau: float) -> torch.Tensor:
    """Return half of the row and column cross-entropies of cosines over ``tau``, the pairs on the diagonal.

    Args:
        originals: States of shape (n, width).
        others: States of their paraphrases, same shape and order.
        tau: Temperature.

    Returns:
        A scalar in nats: log n where all states are equal, near 0 where pairs are equal and all else is orthogonal.
    """
    import torch

    left, right = (torch.nn.functional.normalize(states.float(), dim=-1) for states in (originals, others))
    scores = left @ right.T / tau
    pairs = torch.arange(len(scores), device=scores.device)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(scores, pairs) + cross_entropy(scores.T, pairs)) / 2


def clipped(contrast: torch.Tensor, generation: torch.Tensor, weight: float) -> torch.Tensor:
    """Return min(``weight`` * contrast, generation): a weighted contrast that never outweighs the generation loss.

    The factor carries no gradient, so a clipped contrast still pulls, in its own direction only.
    """
    ratio = generation.detach() / contrast.detach().clamp_min(1e-30)
    return contrast * ratio.clamp_max(weight)
