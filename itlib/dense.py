"""A tuned model as plain weights: what adapters changed is written into the matrices of the base.

Spectra, weight arithmetic and the next round of continual learning look at weights, not at adapters. Merging is done
in float32, where the logits stay what they were to 1e-5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from itlib.errors import InputError, RunError
from itlib.packing import virtual_tokens

if TYPE_CHECKING:
    import torch


def dense(model: Any) -> Any:
    """Return the model with every adapter merged into its weights; a model without adapters comes back as it is.

    The model given is used up. Weights are trainable or not as they were found.

    Raises:
        RunError: The change is none of weights: a soft prompt, or experts that depend on the token.
    """
    from itlib.methods.mixture import mixture_layers

    if virtual_tokens(model) or any(True for _ in mixture_layers(model)):
        raise RunError("the tuned change cannot be written into the weights: it is none of weights")
    if not hasattr(model, "merge_and_unload"):
        return model
    try:
        return model.merge_and_unload(safe_merge=True)
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise RunError(f"the tuned change cannot be written into the weights: {error}") from None


def need_matrices(model: Any, method: str) -> None:
    """Refuse a model without linear layers inside its blocks, such as GPT-2, for a method that changes them.

    Raises:
        InputError: There are none.
    """
    if next(matrices(model), None) is None:
        raise InputError(
            f"method: '{method}' changes linear layers, and a {type(model).__name__} has none in its blocks"
        )


def matrices(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and weight, shape (out, in), of every linear layer inside the blocks of a plain model.

    Embeddings and the output layer, tied or not, are left out: they are tables of words, not maps between features.
    """
    import torch

    tables = {id(layer) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and id(module) not in tables:
            yield name, module.weight
