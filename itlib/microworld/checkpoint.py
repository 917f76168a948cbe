"""Checkpoints of a pretraining run: weights, optimiser moments and a record, in one safetensors file.

A new checkpoint is written aside and renamed over the older one. Resuming is exact: nothing else of a run has a state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itlib.errors import InputError
from itlib.files import write_atomic

if TYPE_CHECKING:
    import torch


def save(path: Path, model: Any, optimisers: list, record: dict[str, Any]) -> None:
    """Write the state of a run; ``record`` is kept as JSON in the header of the file."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().contiguous() for name, tensor in _tensors(model, optimisers).items()}
    write_atomic(path, to_bytes(tensors, metadata={"record": json.dumps(record)}))


def load(path: Path, model: Any, optimisers: list, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Restore model and optimisers in place and return the record, or None when there is no checkpoint.

    Raises:
        InputError: The file cannot be read, or its record differs from ``identity`` in one of its keys.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of a pretraining run ({error}); remove it to start anew") from error
    for key, value in identity.items():
        if record.get(key) != json.loads(json.dumps(value)):
            raise InputError(f"{path}: checkpoint of a run with other {key}; remove it to start anew")
    _restore(model, optimisers, tensors)
    return record


def _tensors(model: Any, optimisers: list) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    for number, optimiser in enumerate(optimisers):
        for parameter, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser{number}.{parameter}.{key}": value for key, value in state.items()}
    return tensors


def _restore(model: Any, optimisers: list, tensors: dict[str, torch.Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for number, optimiser in enumerate(optimisers):
        content = optimiser.state_dict()
        content["state"] = {}
        for name, value in tensors.items():
            owner, _, rest = name.partition(".")
            if owner == f"optimiser{number}":
                parameter, key = rest.split(".")
                content["state"].setdefault(int(parameter), {})[key] = value
        optimiser.load_state_dict(content)
