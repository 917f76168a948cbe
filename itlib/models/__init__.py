"""Base models. A registered model answers ``resolve``, ``load`` and ``parameters``."""

from __future__ import annotations

from pathlib import Path

from itlib.errors import InputError, did_you_mean


def resolve_name(text: str) -> dict[str, str]:
    """Turn what a user writes for ``model`` into spec fields.

    A registered name gives ``model``; an existing folder ``model="local"`` and ``model_path``; ``org/name`` with or
    without ``@revision`` gives ``model="hub"``, ``model_path`` and ``model_revision``.

    Raises:
        InputError: None of these, with the closest registered name; a folder that does not exist; a single file.
    """
    from itlib.hub import REPOSITORY
    from itlib.registry import models

    if text in models:
        return {"model": text}
    path = Path(text).expanduser()
    if path.is_dir():
        return {"model": "local", "model_path": str(path)}
    if path.is_file():
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
