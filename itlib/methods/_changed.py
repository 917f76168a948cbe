"""Saving a change as the plain tensors that it ends in, for methods that no adapter file can describe."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from itlib.errors import RunError
from itlib.spec import ModelSpec

WEIGHTS = "changed.safetensors"
BASE = "itlib_base.json"


def save_changed(model: Any, names: Iterable[str], folder: Path, base: ModelSpec) -> None:
    """Write these tensors of a plain model, with the fingerprint of the base they belong to."""
    from safetensors.torch import save_file

    state = model.state_dict()
    tensors = {name: state[name].detach().clone().contiguous() for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    (folder / BASE).write_text(json.dumps({"base_fingerprint": base.model_fingerprint}, indent=2) + "\n")


def load_changed(model: Any, folder: Path) -> Any:
    """Return the base with the saved tensors in place of its own.

    Raises:
        RunError: A tensor is not in the base, or has another shape.
    """
    import torch
    from safetensors.torch import load_file

    state = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in load_file(folder / WEIGHTS).items():
            if name not in state or state[name].shape != tensor.shape:
                raise RunError(f"{folder.name} changes '{name}' {tuple(tensor.shape)}, which the base does not have")
            state[name].copy_(tensor)
    return model.eval()
