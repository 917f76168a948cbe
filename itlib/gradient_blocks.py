"""Gradients of single examples in blocks that stay in a processor's cache: one parameter, a few examples at a time.

The gradient of a linear layer for one example is the product of what went into the layer and what came back to it, both
small. So one forward and one backward pass over many packed examples, without a gradient of any weight, leaves all that
is needed, and the products are formed a few examples at a time. Whoever reads them streams past gradients that
were never written to memory. Where a model has other kinds of tuned weights, ``itlib.gradients`` does the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.batching import micro_batches
from itlib.gradients import per_example_gradients, trainable
from itlib.packing import is_packed, packed
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch

CHUNK_TOKENS = 2048
BLOCK_NUMBERS = 2**18  # gradients of a block: a MiB in float32

Block = tuple[np.ndarray, str, "torch.Tensor"]


def gradient_blocks(
    model: Any, rows: Sequence[Encoded], *, pad_id: int, dtype: str = "float32", names: Sequence[str] | None = None
) -> Iterator[Block]:
    """Yield the gradient of the mean response loss of every row, a parameter and a few rows at a time.

    Args:
        model: As for ``per_example_gradients``.
        rows: Encoded examples.
        pad_id: Token id for padding, where a model is not packed.
        dtype: As for ``per_example_gradients``; "bfloat16" takes the slower way.
        names: Parameters to differentiate by; None takes those that require gradients.

    Yields:
        Positions into ``rows``, shape (n,); the name of a parameter; its gradients in nats, shape (n, *shape). The
        reader may overwrite them.
    """
    names = trainable(model) if names is None else list(names)
    owners = _owners(model, names) if is_packed(model) and dtype == "float32" else None
    if owners is None:
        for positions, gradients in per_example_gradients(model, rows, pad_id=pad_id, dtype=dtype, names=names):
            for name, found in gradients.items():
                yield positions, name, found
        return
    for group in micro_batches([len(row.input_ids) for row in rows], CHUNK_TOKENS):
        yield from _chunk(model, owners, [rows[position] for position in group], group)


def distinct(rows: Sequence[Encoded]) -> tuple[list[Encoded], np.ndarray]:
    """Return the rows that differ, in order, and for every row the position of its like among them."""
    first: dict[bytes, int] = {}
    contents = [row.input_ids.tobytes() + row.response_mask.tobytes() for row in rows]
    copy_of = np.array([first.setdefault(content, len(first)) for content in contents], dtype=np.int64)
    _, origin = np.unique(copy_of, return_index=True)
    return [rows[position] for position in origin], copy_of


def _owners(model: Any, names: Sequence[str]) -> dict[str, tuple[Any, str]] | None:
    """Return the layer of every parameter and its name there; None where one is of another kind than linear or norm.

    Norms are root-mean-square norms. Embeddings and an output layer, which does not see every token, are left to the
    general way.
    """
    import torch

    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    owners: dict[str, tuple[Any, str]] = {}
    modules = dict(model.named_modules())
    for name in names:
        path, _, own = name.rpartition(".")
        layer = modules[path]
        linear = type(layer) is torch.nn.Linear and own in ("weight", "bias")
        norm = type(layer).__name__.endswith("RMSNorm") and hasattr(layer, "variance_epsilon") and own == "weight"
        if id(layer) in ends or not (linear or norm):
            return None
        owners[name] = layer, own
    return owners if owners else None


def _chunk(
    model: Any, owners: dict[str, tuple[Any, str]], batch: Sequence[Encoded], group: np.ndarray
) -> Iterator[Block]:
    import torch

    arguments = packed([row.input_ids for row in batch], next(model.parameters()).device)
    rectangle = arguments["rectangle"]
    with _recorded({id(layer): layer for layer, _ in owners.values()}.values()) as seen, _frozen(model):
        _weighted_loss(model, arguments, batch).backward()
    real = torch.zeros(rectangle.n_rows * rectangle.longest, 1, device=rectangle.place_of.device)
    real[rectangle.place_of] = 1.0

    def laid_out(x: torch.Tensor, *, masked: bool) -> torch.Tensor:
        spread = x.flatten(0, -2).index_select(0, rectangle.token_at)
        return (spread * real if masked else spread).view(rectangle.n_rows, rectangle.longest, -1)

    with torch.no_grad():
        for name, (layer, own) in owners.items():
            entered, returned = seen[id(layer)]
            back = laid_out(returned, masked=True)
            into = laid_out(_normed(layer, entered) if not hasattr(layer, "in_features") else entered, masked=False)
            size = max(1, BLOCK_NUMBERS // dict(layer.named_parameters())[own].numel())
            for start in range(0, len(group), size):
                part = slice(start, start + size)
                yield group[part], name, _gradient(layer, own, into[part], back[part])


def _gradient(layer: Any, own: str, into: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Return gradients of n examples; ``into`` and ``back`` have the shape (n, length, width)."""
    if own == "bias":
        return back.sum(dim=1)
    if hasattr(layer, "in_features"):
        return back.mT @ into
    return (back * into).sum(dim=1)


def _normed(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Return what a root-mean-square norm multiplies by its weight."""
    import torch

    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + layer.variance_epsilon)


def _weighted_loss(model: Any, arguments: dict[str, Any], batch: Sequence[Encoded]) -> torch.Tensor:
    """Return the sum over rows of the mean loss of their response tokens, as a function of the embedded tokens."""
    import torch

    input_ids = arguments.pop("input_ids")
    embedded = model.get_input_embeddings()(input_ids).detach().requires_grad_(True)
    masks = [np.concatenate([[False], row.response_mask[1:]]) for row in batch]
    places = torch.as_tensor(np.flatnonzero(np.concatenate(masks)), device=embedded.device)
    shares = np.concatenate([np.full(mask.sum(), 1 / max(1, mask.sum()), dtype=np.float32) for mask in masks])
    with torch.enable_grad():
        logits = model(**arguments, inputs_embeds=embedded, logits_to_keep=places - 1).logits[0].float()
        losses = torch.nn.functional.cross_entropy(logits, input_ids[0, places], reduction="none")
        return (losses * torch.as_tensor(shares, device=losses.device)).sum()


@contextlib.contextmanager
def _recorded(layers: Any) -> Iterator[dict[int, list[Any]]]:
    """Take down, by the id of a layer, what goes into it and the gradient that comes back to its output."""
    seen: dict[int, list[Any]] = {}

    def hook(layer: Any, entered: tuple[Any, ...], left: Any) -> None:
        record = seen[id(layer)] = [entered[0].detach(), None]
        left.register_hook(lambda gradient: record.__setitem__(1, gradient))

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Let no weight require a gradient for a while: only what flows between layers is needed."""
    tuned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in tuned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in tuned:
            parameter.requires_grad_(True)
