"""Hidden states of the last layer at chosen tokens, from the same forward pass as the logits of the responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.packing import is_packed, leading_outputs, packed
from itlib.template import Encoded
from itlib.train import pad_right

if TYPE_CHECKING:
    import torch

POOLS = ("response", "prompt")


def pooled_at(row: Encoded, pool: str) -> int:
    """Return the token that stands for a row: its last one, or the last before its last response."""
    if pool == "response":
        return len(row.input_ids) - 1
    starts = np.flatnonzero(row.response_mask & ~np.concatenate([[False], row.response_mask[:-1]]))
    return max(int(starts[-1]) - 1, 0)


def logits_and_states(
    model: Any, rows: Sequence[Encoded], pool: str, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logits of supervised tokens, the tokens they predict, and one hidden state per row.

    Args:
        model: A causal language model.
        rows: Encoded examples.
        pool: Where the state of a row is taken, of ``POOLS``.
        pad_id: Token id for padding; it is never seen by a real token.

    Returns:
        Logits of shape (n_supervised, vocabulary) and targets, row after row; states of shape (n_rows, width), after
        the model's last norm. All in float32.
    """
    import torch

    device = next(model.parameters()).device
    masks = [np.concatenate([[False], row.response_mask[1:]]) for row in rows]
    at = np.array([pooled_at(row, pool) for row in rows])
    wanted = {"output_hidden_states": True}
    if is_packed(model):
        arguments = packed([row.input_ids for row in rows], device)
        starts = np.cumsum([0, *map(len, masks)])[:-1]
        places = torch.as_tensor(np.flatnonzero(np.concatenate(masks)), device=device)
        given = model(**arguments, logits_to_keep=places - 1, **wanted)
        states = given.hidden_states[-1][0, torch.as_tensor(starts + at, device=device)]
        return given.logits[0].float(), arguments["input_ids"][0, places], states.float()
    input_ids = torch.as_tensor(pad_right([row.input_ids for row in rows], pad_id), device=device)
    line, column = np.nonzero(pad_right(masks, 0))
    line, column = torch.as_tensor(line, device=device), torch.as_tensor(column, device=device)
    before = leading_outputs(model)
    given = model(input_ids=input_ids, use_cache=False, **wanted)
    every = torch.arange(len(rows), device=device)
    states = given.hidden_states[-1][every, torch.as_tensor(at + before, device=device)]
    return given.logits[line, column - 1 + before].float(), input_ids[line, column], states.float()
