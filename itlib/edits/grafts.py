"""Grafting: only a share of the entries that tuning changed keeps its change, all others go back to the base.

The scale is that share, over all matrices together: at 1 all of them keep it, at 0 the model is the base. Embeddings,
output layer and norms go back to the base whatever the share.

Source: Task-Specific Skill Localization in Fine-tuned Language Models (arXiv:2302.06600), section 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from itlib.batching import micro_batches
from itlib.dense import matrices
from itlib.measures import Measured
from itlib.registry import edits
from itlib.spec import stream
from itlib.template import Encoded, encode
from itlib.train import response_logits

if TYPE_CHECKING:
    import torch

STEPS, BATCH, BATCH_TOKENS = 50, 64, 4096
BIAS = 5.0  # a mask starts at the sigmoid of minus this, or at one minus it


@edits.register("graft_largest")
def graft_largest(about: Measured, scale: float) -> None:
    """Keep the entries that moved most."""
    start, moved = _change(about)
    _graft(about.model, start, _largest(moved.abs(), scale), moved)


@edits.register("graft_random")
def graft_random(about: Measured, scale: float) -> None:
    """Keep entries drawn at random."""
    import torch

    start, moved = _change(about)
    generator = torch.Generator().manual_seed(int(stream(about.spec.seed, "graft").integers(2**31)))
    _graft(about.model, start, _largest(torch.rand(len(moved), generator=generator).to(moved.device), scale), moved)


@edits.register("graft_learned")
def graft_learned(about: Measured, scale: float) -> None:
    """Keep the entries that a mask learned on the training examples finds.

    The mask starts at the entries that moved most, each value near 0 or 1, and follows the gradient of the training
    loss; at the end the entries with the largest values are kept. Steps are scaled by the largest gradient, so that
    every step moves some entry by one.
    """
    import torch

    start, moved = _change(about)
    if scale in (0.0, 1.0):
        _graft(about.model, start, _largest(moved.abs(), scale), moved)
        return
    logit = torch.where(_largest(moved.abs(), scale), BIAS, -BIAS)
    rows, _ = encode(about.trained_on(), about.tokenizer, max_length=about.spec.data.max_length)
    rng = stream(about.spec.seed, "graft")
    about.model.requires_grad_(False)
    for _ in range(STEPS):
        value = logit.sigmoid()
        _set(about.model, start + value * moved)
        batch = [rows[i] for i in rng.permutation(len(rows))[:BATCH]]
        gradient = _gradient(about, batch) * moved * value * (1 - value)
        largest = gradient.abs().max()
        if not float(largest) > 0:
            break
        logit = logit - gradient / largest
    _graft(about.model, start, _largest(logit, scale), moved)


def _change(about: Measured) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all matrix entries of the base and what tuning added, as long vectors; the rest goes back to the base."""
    import torch

    base = about.base()
    inside = {f"{name}.weight" for name, _ in matrices(about.model)}
    own, others = dict(base.named_parameters()), dict(about.model.named_parameters())
    with torch.no_grad():
        for name, weight in others.items():
            if name not in inside and name in own:
                weight.copy_(own[name])
        start = torch.cat([weight.flatten() for _, weight in matrices(base)])
        return start, torch.cat([weight.flatten() for _, weight in matrices(about.model)]) - start


def _largest(score: torch.Tensor, share: float) -> torch.Tensor:
    """Return a mask of the ``share`` of entries with the largest score, rounded up."""
    import torch

    mask = torch.zeros(len(score), dtype=torch.bool, device=score.device)
    mask[score.topk(min(len(score), math.ceil(share * len(score)))).indices] = True
    return mask


def _graft(model: Any, start: torch.Tensor, mask: torch.Tensor, moved: torch.Tensor) -> None:
    _set(model, start + mask * moved)


def _set(model: Any, entries: torch.Tensor) -> None:
    import torch

    place = 0
    with torch.no_grad():
        for _, weight in matrices(model):
            weight.copy_(entries[place : place + weight.numel()].view_as(weight))
            place += weight.numel()


def _gradient(about: Measured, batch: list[Encoded]) -> torch.Tensor:
    """Return the gradient of the mean response loss of a batch by all matrix entries."""
    import torch

    weights = [weight.requires_grad_(True) for _, weight in matrices(about.model)]
    total = sum(int(row.response_mask[1:].sum()) for row in batch)
    for group in micro_batches([len(row.input_ids) for row in batch], BATCH_TOKENS):
        logits, targets, _ = response_logits(about.model, [batch[i] for i in group], about.pad_id)
        (torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / total).backward()
    found = torch.cat([weight.grad.flatten() for weight in weights])
    for weight in weights:
        weight.grad = None
        weight.requires_grad_(False)
    return found
