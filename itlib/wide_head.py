"""The loss of a wide vocabulary without all its logits at once.

A billion-parameter model has 130 000 tokens to choose from: for 30 000 supervised tokens that is 16 GB of logits, and
as much of gradients. The library's cross-entropy takes the states before the head and works through them in pieces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from itlib.template import Encoded
from itlib.train import response_logits

if TYPE_CHECKING:
    import torch

LARGE = {"cuda": 2**28}  # logits of one backward pass, a gibibyte in float32, from which on they are taken in pieces
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3")  # their logits are the product of the head, no more


def is_wide(model: Any, rows: Sequence[Encoded]) -> bool:
    """Return whether the logits of the supervised tokens are so many that they are taken in pieces.

    On GPUs alone: it moves last digits, and numbers of processors are kept. Only of architectures whose head is one
    matrix product, with no adapter on it, and where torch has the function.
    """
    import torch

    large = LARGE.get(model.device.type)
    if (
        large is None
        or model.config.model_type not in PLAIN
        or not hasattr(torch.nn.functional, "linear_cross_entropy")
    ):
        return False
    n_supervised = sum(int(row.response_mask[1:].sum()) for row in rows)
    return n_supervised * model.config.vocab_size >= large and type(model.get_output_embeddings()) is torch.nn.Linear


def summed_cross_entropy(model: Any, rows: Sequence[Encoded], pad_id: int) -> torch.Tensor:
    """Return the summed negative log-likelihood of the supervised tokens, in nats, of a model that is wide.

    It is that of the logits up to rounding; under autocast the product is taken in its precision.
    """
    import torch
    from torch.nn.functional import linear_cross_entropy

    head = model.get_output_embeddings()
    with _without(head):
        states, targets, _ = response_logits(model, rows, pad_id)
    kind = states.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    bias = None if head.bias is None else head.bias.to(precision)
    return linear_cross_entropy(
        states.to(precision),
        head.weight.to(precision),
        targets,
        linear_bias=bias,
        reduction="sum",
        options=torch.nn.LinearCrossEntropyOptions(),
    ).float()


@contextlib.contextmanager
def _without(head: Any) -> Iterator[None]:
    """Let a model give the states before its head in place of logits."""
    head.forward = lambda states: states
    try:
        yield
    finally:
        del head.forward
