"""Causal attention a block of queries at a time, with its gradients written down by hand.

Heads of small models are narrow, of eight to sixteen numbers. Four of the six matrix products of attention and its
gradients have a result of that width, and such a product reaches a third of what a processor can do, unless the result
lies the other way round, one row for each number of a head. Here all do. A block of queries looks at no later block of
keys, queries that share keys share products, and the scores of a block fit a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def causal_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float, block: int
) -> torch.Tensor:
    """Return what each query reads: values weighted by softmax(scale * keys . query) over its own place and earlier.

    Args:
        queries: Shape (n, size, sharing, length): so many queries at each place share keys and values.
        keys: Shape (n, size, length).
        values: Shape (n, size, length).
        scale: Factor of the scores.
        block: Places whose queries are worked on at once.

    Returns:
        Shape of the queries. Gradients of it have no gradients of their own.
    """
    return _Attention.apply(queries, keys, values, scale, block)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, block: int
    ) -> torch.Tensor:
        mixed, kept = torch.empty_like(queries), []
        for first, end, asked in _blocks(queries, block):
            scores = torch.bmm(asked.mT, keys[..., :end]).mul_(scale)
            latest = scores.view(len(scores), -1, end - first, end)[..., first:]  # keys of the places of the queries
            latest += torch.full_like(latest[0, 0], float("-inf")).triu_(1)
            weights = torch.softmax(scores, -1, out=scores)
            mixed[..., first:end] = torch.bmm(values[..., :end], weights.mT).view_as(mixed[..., first:end])
            if any(ctx.needs_input_grad):
                kept.append(weights)
        ctx.save_for_backward(queries, keys, values, mixed, *kept)
        ctx.scale, ctx.block = scale, block
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, mixed, *kept = ctx.saved_tensors
        for_queries, for_keys, for_values = map(torch.zeros_like, (queries, keys, values))
        through_softmax = (gradient * mixed).sum(1, keepdim=True)
        taken = (_blocks(x, ctx.block) for x in (queries, gradient, through_softmax))
        for (first, end, asked), (_, _, given), (_, _, mean), weights in zip(*taken, kept, strict=True):
            for_values[..., :end] += torch.bmm(given, weights)
            for_scores = torch.bmm(given.mT, values[..., :end]).sub_(mean.mT).mul_(weights)
            found = torch.bmm(keys[..., :end], for_scores.mT)
            for_queries[..., first:end] = found.view_as(for_queries[..., first:end])
            for_keys[..., :end] += torch.bmm(asked, for_scores)
        return for_queries.mul_(ctx.scale), for_keys.mul_(ctx.scale), for_values, None, None


def _blocks(x: torch.Tensor, block: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yield first place, end and all between, shape (n, size, sharing * places), of a tensor laid out like queries."""
    for first in range(0, x.shape[3], block):
        end = min(first + block, x.shape[3])
        yield first, end, x[..., first:end].flatten(2)
