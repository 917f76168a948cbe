"""What a stored model thinks where an answer begins: states of every layer at the last token of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.errors import InputError
from itlib.evaluate import BATCH_TOKENS
from itlib.execute import fixed_threads, load_base, scored_items
from itlib.packing import is_packed, packed
from itlib.placement import placed
from itlib.spec import RunSpec, key
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.template import encode_prompt, in_form, pad_id
from itlib.train import autocast, pad_right


def run_states(spec: RunSpec, store: Store) -> np.ndarray:
    """Return the states of a run's model at the last prompt token of its own test items, in their order.

    Args:
        spec: A resolved spec; untuned, or with weights kept.
        store: Where the weights are.

    Returns:
        Shape (n_layers, n_items, width), float32; see ``last_prompt_states``.

    Raises:
        InputError: The run was tuned and its weights were not kept.
    """
    weights = store.weights(spec) if spec.data.n_train else None
    if spec.data.n_train and weights is None:
        raise InputError(f"run {key(spec)} kept no weights, so its representations cannot be read")
    with fixed_threads(spec.threads):
        model, tokenizer = load_base(spec)
        model = placed(model, spec)
        if weights is not None:
            model = load_tuned(model, spec, weights)
        model.eval()
        asking = in_form(tokenizer, spec.evaluate.shot_form)
        prompts = [encode_prompt(item, asking) for item in scored_items(spec)]
        return last_prompt_states(model, prompts, pad=pad_id(tokenizer), dtype=spec.base.dtype)


def last_prompt_states(model: Any, prompts: Sequence[np.ndarray], *, pad: int, dtype: str) -> np.ndarray:
    """Return the output of every layer at the last token of every prompt.

    Embeddings are left out: the last token, at which an answer begins, is the same in every prompt. The last layer is
    taken after the final norm, as the library gives it.

    Args:
        model: A causal language model in evaluation mode.
        prompts: Token ids, one array per item.
        pad: Token id for padding on the right, which no real token sees.
        dtype: Precision of the forward pass.

    Returns:
        Shape (n_layers, n_prompts, width), float32.
    """
    import torch

    device = next(model.parameters()).device
    states: list[np.ndarray] = [np.empty(0)] * len(prompts)
    with torch.inference_mode():
        for group in micro_batches([len(prompt) for prompt in prompts], BATCH_TOKENS[device.type]):
            with autocast(device, dtype):
                found = _last_states(model, [prompts[i] for i in group], pad)
            for row, position in enumerate(group):
                states[position] = found[:, row]
    return np.stack(states, axis=1)


def _last_states(model: Any, rows: Sequence[np.ndarray], pad: int) -> np.ndarray:
    """Return the states of one batch, shape (n_layers, n_rows, width)."""
    import torch

    device = next(model.parameters()).device
    ends = np.array([len(row) for row in rows])
    how: dict[str, Any] = {"output_hidden_states": True, "logits_to_keep": 1}
    if is_packed(model):
        layers = model(**packed(rows, device), **how).hidden_states[1:]
        at = torch.as_tensor(np.cumsum(ends) - 1, device=device)
        return torch.stack([layer[0, at] for layer in layers]).float().cpu().numpy()
    input_ids = torch.as_tensor(pad_right(rows, pad), device=device)
    layers = model(input_ids=input_ids, use_cache=False, **how).hidden_states[1:]
    at = torch.as_tensor(ends - 1, device=device)
    return torch.stack([layer[torch.arange(len(rows), device=device), at] for layer in layers]).float().cpu().numpy()
