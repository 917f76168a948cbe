"""Components from outside the package: of installed packages, and files in a folder that the user names.

A package announces modules by the entry point group ``itlib.plugins``; a folder is named by ``ITLIB_PLUGINS`` (several
are joined as in ``PATH``). Their modules register components as those of the package do. This runs their code: name
only what you would run yourself.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
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
        if point.value not in _loaded:
            _loaded.add(point.value)
            try:
                point.load()
            except Exception as error:
                raise InputError(f"plugin '{point.name}' of an installed package: {_reason(error)}") from error
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise InputError(f"{FOLDERS}: '{folder}' is no folder")
        for path in sorted(Path(folder).glob("[!_]*.py")):
            _load_file(path.resolve())


def _load_file(path: Path) -> None:
    if str(path) in _loaded:
        return
    _loaded.add(str(path))
    name = f"{_PACKAGE}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{FOLDERS}: {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
