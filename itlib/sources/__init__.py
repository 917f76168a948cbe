"""Sources of instruction data.

A registered source answers ``resolve``, ``check_evaluation``, ``pool``, ``held_out`` and ``reference``.
"""

from __future__ import annotations

from pathlib import Path

from itlib.errors import InputError, did_you_mean
from itlib.models import existing


def resolve_name(text: str) -> dict[str, str]:
    """Turn what a user writes for ``source`` into spec fields.

    A registered name gives ``source``; an existing file ``source="local"`` and ``data_path``; ``org/name``,
    ``org/name:subset`` and either with ``@revision`` give ``source="hub"``, ``data_path`` and ``data_revision``.

    Raises:
        InputError: Empty; none of these, with the closest registered name; or a file that does not exist.
    """
    from itlib.hub import REPOSITORY
    from itlib.registry import sources
    from itlib.sources._containers import SUFFIXES

    if not text.strip():
        raise InputError("data: empty; give microworld, a data file or org/name@revision, e.g. -p data PATH")
    if text in sources:
        return {"source": text}
    path = existing(text)
    if path and path.is_file():
        return {"source": "local", "data_path": str(path)}
    if path:
        raise InputError(f"data: {text} is a folder; name one data file")
    if text.startswith(("/", "./", "../", "~")) or Path(text).suffix.lower() in SUFFIXES:
        raise InputError(f"data: file not found: {text}")
    name, _, revision = text.partition("@")
    repository, _, _ = name.partition(":")
    if REPOSITORY.fullmatch(repository):
        return {"source": "hub", "data_path": name, "data_revision": revision}
    known = ", ".join(sources.names())
    raise InputError(
        f"data: unknown source '{text}'{did_you_mean(text, sources.names())}; "
        f"known: {known}, a data file, or org/name@revision"
    )
