"""Folders: the project's root, its results, and the store of runs below them."""

from __future__ import annotations

import os
from pathlib import Path

from itlib.errors import InputError
from itlib.store import Store


def project_root() -> Path:
    """Return the nearest folder, from the current one upwards, that holds ``params/`` and ``notebooks/``.

    Outside a project it is the checkout the package was installed from, or the current folder.
    """
    here = Path.cwd()
    checkout = Path(__file__).resolve().parents[1]
    for folder in (here, *here.parents, checkout):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


def results_root(results: str = "") -> Path:
    """Return the results folder: the one given, else ``ITLIB_RESULTS``, else ``results/`` of the project."""
    return Path(results or os.environ.get("ITLIB_RESULTS") or project_root() / "results").expanduser().absolute()


def study_folder(results: str, profile: str, study: str, variant: str = "") -> Path:
    """Return ``<results>/<profile>/<study>[-<variant>]`` and check that it stays below the results folder.

    Raises:
        InputError: A name contains a path separator or points upwards.
    """
    for name in (profile, study, variant or "none"):
        if not name or Path(name).name != name or name.startswith("."):
            raise InputError(f"'{name}' cannot name a results folder")
    return results_root(results) / profile / (f"{study}-{variant}" if variant else study)


def open_store(results: str = "") -> Store:
    """Return the store of runs that every study of one results folder shares; ``ITLIB_STORE`` names another folder."""
    return Store(Path(os.environ.get("ITLIB_STORE") or results_root(results) / "store").expanduser().absolute())
