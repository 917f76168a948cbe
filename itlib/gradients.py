"""Gradients of single examples, and losses under many sets of weights, both many at a time.

Selection by influence needs the gradient of every example by itself. A loop of backward passes, one example each,
leaves most of a machine idle; ``torch.func`` runs a chunk of examples of similar length at once and still gives each
its own gradient. Rows are padded on the right and masked by token index, as in training, and the loss of an example is
the mean over its supervised tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.batching import micro_batches
from itlib.template import Encoded
from itlib.train import autocast, pad_right, padded_logits

if TYPE_CHECKING:
    import torch

CHUNK_TOKENS = 2048
MOST_NUMBERS = 2**26  # gradients held at a time: 256 MiB in float32
_PREFIX = "model."


def trainable(model: Any) -> list[str]:
    """Return the names of the parameters that require gradients; tied ones count once."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def trainable_without_embeddings(model: Any) -> list[str]:
    """Return ``trainable`` without input embeddings and a tied output layer: what full fine-tuning moves by default.

    A base model as it is loaded requires gradients everywhere. Gradients of embeddings would tell which words two
    examples share rather than what they teach.
    """
    embeddings = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    parameters = dict(model.named_parameters())
    return [name for name in trainable(model) if id(parameters[name]) not in embeddings]


def per_example_gradients(
    model: Any,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    chunk_tokens: int = CHUNK_TOKENS,
    dtype: str = "float32",
    names: Sequence[str] | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
    """Yield the gradient of the mean response loss of every row, a chunk of rows at a time.

    Args:
        model: A causal language model in evaluation mode, plain or with peft adapters. It is left as it is.
        rows: Encoded examples.
        pad_id: Token id for padding; it changes no gradient.
        chunk_tokens: Padded tokens of a chunk at most; a longer row is a chunk of its own.
        dtype: "bfloat16" runs the forward pass under autocast, as training does.
        names: Parameters to differentiate by; None takes those that require gradients.

    Yields:
        Positions into ``rows``, shape (n,), longest rows first; and per parameter its gradients in nats, shape
        (n, *shape of the parameter), in the precision of the parameter.
    """
    import torch

    weights = _detached(model, trainable(model) if names is None else names)
    most = max(1, MOST_NUMBERS // sum(weight.numel() for weight in weights.values()))
    for group in micro_batches([len(row.input_ids) for row in rows], chunk_tokens):
        for positions in np.split(group, range(most, len(group), most)):
            batch = [rows[position] for position in positions]
            input_ids, mask = _padded(batch, pad_id)
            columns = np.flatnonzero(mask.any(axis=0))
            shares = mask[:, columns] / np.maximum(mask.sum(axis=1, keepdims=True), 1)
            loss = _loss(model, mask.any(axis=0, keepdims=True), dtype, one_row=True)
            with _vectorisable(model), torch.no_grad():
                gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(
                    weights, *_tensors(model, input_ids, input_ids[:, columns], shares)
                )
            yield positions, {name.removeprefix(_PREFIX): found for name, found in gradients.items()}


def mean_losses(
    model: Any,
    weights: Mapping[str, torch.Tensor],
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    chunk_tokens: int = CHUNK_TOKENS,
    dtype: str = "float32",
) -> np.ndarray:
    """Return the mean response loss of the rows under each of n sets of weights, shape (n,), float64.

    Every row counts the same, however long its response.

    Args:
        model: As for ``per_example_gradients``.
        weights: Values of some parameters, by name, each of shape (n, *shape of the parameter); the others are those
            of the model.
        rows: Encoded examples.
        pad_id: Token id for padding.
        chunk_tokens: Padded tokens of a chunk at most, all n copies counted.
        dtype: As for ``per_example_gradients``.
    """
    import torch

    stacked = {_PREFIX + name: weight.detach() for name, weight in weights.items()}
    n = len(next(iter(stacked.values())))
    total = np.zeros(n)
    for group in micro_batches([len(row.input_ids) for row in rows], max(1, chunk_tokens // n)):
        input_ids, mask = _padded([rows[position] for position in group], pad_id)
        places = tuple(np.argwhere(mask).T)
        shares = 1.0 / (mask.sum(axis=1)[places[0]] * len(rows))
        loss = _loss(model, mask, dtype, one_row=False)
        with _vectorisable(model), torch.no_grad():
            found = torch.func.vmap(loss, in_dims=(0, None, None, None))(
                stacked, *_tensors(model, input_ids, input_ids[places], shares)
            )
        total += found.double().cpu().numpy()
    return total


def _loss(model: Any, mask: np.ndarray, dtype: str, *, one_row: bool) -> Callable[..., torch.Tensor]:
    """Return ``loss(weights, input_ids, targets, shares)``: the weighted loss of the tokens where ``mask`` is True.

    The mask is the same for all that is vectorised over, so that its places are known beforehand: of rows that differ
    it holds the places that any of them needs, and ``shares`` is 0 where a row does not.
    """
    import torch

    class Predictor(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return padded_logits(self.model, input_ids, mask)[0]

    predictor = Predictor()
    device = next(model.parameters()).device

    def loss(weights: Any, input_ids: Any, targets: Any, shares: Any) -> torch.Tensor:
        with autocast(device, dtype):
            logits = torch.func.functional_call(predictor, weights, (input_ids[None] if one_row else input_ids,))
        return (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * shares).sum()

    return loss


def _padded(batch: Sequence[Encoded], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids and supervised places, both (n, length); the first token of a row is never predicted."""
    mask = pad_right([row.response_mask for row in batch], 0).astype(bool)
    mask[:, 0] = False
    return pad_right([row.input_ids for row in batch], pad_id), mask


def _tensors(model: Any, input_ids: np.ndarray, targets: np.ndarray, shares: np.ndarray) -> list[torch.Tensor]:
    import torch

    device = next(model.parameters()).device
    arrays = (input_ids, targets, shares.astype(np.float32))
    return [torch.as_tensor(array, device=device) for array in arrays]


def _detached(model: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
    parameters = dict(model.named_parameters())
    if not names:
        raise ValueError("no parameter of the model requires gradients")
    return {_PREFIX + name: parameters[name].detach() for name in names}


@contextlib.contextmanager
def _vectorisable(model: Any) -> Iterator[None]:
    """Let the model compute attention by plain matrix products for a while: fused kernels cannot be vectorised over."""
    config = (model.get_base_model() if hasattr(model, "get_base_model") else model).config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
