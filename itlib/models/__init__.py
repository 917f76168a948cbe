"""Base models. A registered model answers ``resolve``, ``load``, ``parameters`` and ``context_length``.

One that may be a sequence-to-sequence model also answers ``encoder_decoder``, and one that says its type
``architecture``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from itlib.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from itlib.spec import ModelSpec


def existing(text: str) -> Path | None:
    """Return the path of a file or folder that is there, or None where no path of that name can be."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL byte, an unknown user's home, a locked folder
        return None


def is_encoder_decoder(model: ModelSpec) -> bool:
    """Return whether a spec names a sequence-to-sequence model; none is shipped."""
    from itlib.registry import models

    registered = models.get(model.model)
    return hasattr(registered, "encoder_decoder") and registered.encoder_decoder(model)


def architecture(model: ModelSpec) -> str:
    """Return the type of the model that a spec names, such as "llama"; empty where it does not say."""
    from itlib.registry import models

    registered = models.get(model.model)
    return registered.architecture(model) if hasattr(registered, "architecture") else ""


def resolve_name(text: str) -> dict[str, str]:
    """Turn what a user writes for ``model`` into spec fields.

    A registered name gives ``model``; an existing folder ``model="local"`` and ``model_path``; ``org/name`` with or
    without ``@revision`` gives ``model="hub"``, ``model_path`` and ``model_revision``.

    Raises:
        InputError: Empty; none of these, with the closest registered name; a folder that does not exist; a single file.
    """
    from itlib.hub import REPOSITORY
    from itlib.registry import models

    if not text.strip():
        raise InputError("model: empty; give a shipped model, a folder or org/name@revision, e.g. -p model PATH")
    if text in models:
        return {"model": text}
    path = existing(text)
    if path and path.is_dir():
        return {"model": "local", "model_path": str(path)}
    if path:
        raise InputError(f"{text} is a file; name the folder that holds config.json and model.safetensors")
    if text.startswith(("/", "./", "../", "~")):
        raise InputError(f"model folder not found: {text}")
    repository, _, revision = text.partition("@")
    if REPOSITORY.fullmatch(repository):
        return {"model": "hub", "model_path": repository, "model_revision": revision}
    raise InputError(
        f"unknown model '{text}'{did_you_mean(text, models.names())}; "
        f"known: {', '.join(models.names())}, a model folder, or org/name@revision"
    )
