"""Training one end of the model: its output layer, its two tables of words, or its last block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itlib.methods import Setting
from itlib.methods._changed import load_changed
from itlib.methods._subset import Subset, blocks, tables
from itlib.registry import methods
from itlib.spec import MethodSpec


@dataclass(frozen=True)
class Head(Subset):
    """Train the output layer alone. One that is tied to the embeddings is cut loose first, so that these stay."""

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Return the model with gradients for its output layer alone."""
        return super().attach(untied(model), spec, setting)

    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return the weight of the output layer."""
        return tables(model)[1:]

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base with the saved output layer."""
        return load_changed(untied(model), folder)


@dataclass(frozen=True)
class EmbeddingAndHead(Subset):
    """Train embeddings and output layer, one matrix where they are tied, and nothing between them."""

    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return the weights of both tables."""
        return tables(model)


@dataclass(frozen=True)
class LastLayer(Subset):
    """Train the last block alone."""

    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return all weights of the last block."""
        last = f"{blocks(model)[-1]}."
        return [name for name, _ in model.named_parameters() if name.startswith(last)]


def untied(model: Any) -> Any:
    """Return the model with an output layer of its own, at first equal to the embeddings it was tied to."""
    import torch

    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is words.weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    return model


methods.register("head")(Head())
methods.register("embedding_head")(EmbeddingAndHead())
methods.register("last_layer")(LastLayer())
