"""Methods that train some tensors of the model as they are and hold the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from itlib.errors import InputError
from itlib.methods import Method, Setting
from itlib.methods._changed import load_changed, save_changed
from itlib.spec import MethodSpec, ModelSpec


@dataclass(frozen=True)
class Subset(Method):
    """Train the tensors that ``names`` gives; everything else keeps its bits."""

    causal_only: ClassVar[bool] = True

    @abstractmethod
    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return the names of the tensors that move, as ``named_parameters`` has them."""

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Return the model with gradients for these tensors alone."""
        chosen = set(self.names(model, spec, setting or Setting()))
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in chosen)
        return model

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write the tensors that moved, with the fingerprint of the base."""
        save_changed(model, [name for name, weight in model.named_parameters() if weight.requires_grad], folder, base)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base with the saved tensors."""
        return load_changed(model, folder)


def blocks(model: Any) -> list[str]:
    """Return the names of the blocks of a causal model in order ("model.layers.0", ...).

    Raises:
        InputError: The model has no list of as many modules as its configuration has layers.
    """
    import torch

    n_layers = getattr(model.config, "num_hidden_layers", 0)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers > 0:
            return [f"{name}.{index}" for index in range(n_layers)]
    raise InputError(f"method: no list of {n_layers} blocks was found in a {type(model).__name__}")


def tables(model: Any) -> tuple[str, str]:
    """Return the names of the weights of embeddings and output layer; tied ones have one name."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    layers = model.get_input_embeddings(), model.get_output_embeddings()
    return tuple(names[id(layer.weight)] for layer in layers)
