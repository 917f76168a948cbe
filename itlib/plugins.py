"""Components from outside the package: of installed packages, and files in a folder that the user names.

A package announces modules by the entry point group ``itlib.plugins``; a folder is named by ``ITLIB_PLUGINS`` (several
are joined as in ``PATH``). Their modules register components as those of the package do. This runs their code: name
only what you would run yourself.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from itlib.errors import InputError

FOLDERS = "ITLIB_PLUGINS"
GROUP = "itlib.plugins"
_PACKAGE = "itlib_plugins"
_loaded: set[str] = set()


def load() -> None:
    """Import every plugin that was not imported before.

    Raises:
        InputError: A folder does not exist, or a plugin cannot be imported.
    """
    for point in importlib.metadata.entry_points(group=GROUP):
        with _once(point.value, f"plugin '{point.name}' of an installed package") as new:
            if new:
                point.load()
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise InputError(f"{FOLDERS}: '{folder}' is no folder")
        for path in sorted(Path(folder).glob("[!_]*.py")):
            with _once(str(path.resolve()), f"{FOLDERS}: {path}") as new:
                if new:
                    _import_file(path.resolve())


@contextlib.contextmanager
def _once(name: str, told: str) -> Iterator[bool]:
    """Say whether a plugin is new. One that fails stays so: no later lookup may go on without it."""
    new = name not in _loaded
    _loaded.add(name)  # before it runs: a plugin may look up components itself
    try:
        yield new
    except Exception as error:
        _loaded.discard(name)
        raise InputError(f"{told}: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}") from error


def _import_file(path: Path) -> None:
    name = f"{_PACKAGE}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
